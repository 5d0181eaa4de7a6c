# make demo and make test need Python >= 3.11 and make, nothing else.
# uv is used instead of pip where it is on the PATH; UV= (empty) turns that off.

SUPPORTED := python3.11 python3.12 python3.13 python3
ifndef PYTHON
PYTHON := $(shell for p in $(SUPPORTED); do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
endif
UV ?= $(shell command -v uv 2>/dev/null)
VENV ?= .venv
BIN := $(VENV)/bin
# Compiled XLA programs are kept between runs: a second `make test` takes a fraction of the first.
# JAX_ENABLE_COMPILATION_CACHE=0 runs without.
JAX_CACHE := JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.cache/jax
# Processes that share the tests. More than one pays off only where cores are idle. One that dies is
# not replaced: the run then ends with its test, instead of waiting for what the dead one had.
# What runs once and small spends its time compiling, a third of it on optimisation.
QUICK := XLA_FLAGS=--xla_backend_optimization_level=0
JOBS ?= 1
SHARED := $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile --max-worker-restart=0)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo dev test x64 strict lint format types docs examples smoke lowest release bench lock clean

help:  ## show this list
	@grep -hE '^[a-z0-9]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

# --- environments -----------------------------------------------------------------------------
# $(call install,ENVIRONMENT,REQUIREMENTS,HOW): hashes are checked, nothing is resolved. Bytecode is
# half of pip's time: the environments used often get it on all cores, the others as they run.
PIP = $(if $(UV),$(UV) pip install --quiet --python $(1)/bin/python,$\
	$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-compile)
define install
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with venv found: make PYTHON=/its/path" >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@echo "installing $(2) into $(1): this takes a minute or two"
	@$(PIP) --require-hashes -r $(2)
	@$(PIP) --no-deps --no-build-isolation $(3) .
endef

$(VENV)/.installed-%: requirements/%.txt pyproject.toml
	$(call install,$(VENV),$<,-e)
	@$(if $(filter demo,$*),,$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true)
	@touch $@

dev: $(VENV)/.installed-dev  ## install everything a contributor needs into .venv

# --- what a person types ----------------------------------------------------------------------
demo: $(VENV)/.installed-demo  ## install into .venv, learn a world, write its report
	$(BIN)/stochwm demo $(ARGS)

bench: $(VENV)/.installed-demo  ## print the benchmark table and write its JSON
	$(JAX_CACHE) $(BIN)/python benchmarks/worlds.py $(ARGS)

# --- checks -----------------------------------------------------------------------------------
test: $(VENV)/.installed-test  ## run all tests (ARGS="-m 'not slow'", JOBS=2)
	$(BIN)/python -m pytest $(SHARED) $(ARGS)

# Densities, entropies and gradients against their oracles, and the loops, in double precision.
X64 := $(addprefix tests/test_,distributions_oracles.py rollout.py)
x64: $(VENV)/.installed-test  ## run a part of the tests in double precision (X64=tests for all)
	JAX_ENABLE_X64=1 $(BIN)/python -m pytest $(SHARED) \
		$(X64) -m 'not slow' $(ARGS)

strict: $(VENV)/.installed-test  ## every job once, where a reused key or a leaked tracer is an error
	JAX_CHECK_TRACER_LEAKS=1 $(BIN)/python -m pytest tests/test_faults_strict.py $(ARGS)

lint: $(VENV)/.installed-dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev  ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev  ## pyright in basic mode
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.installed-dev  ## build the site in docs/_build/html; a warning or failing tutorial is an error
	MPLBACKEND=Agg $(QUICK) $(JAX_CACHE) $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@for page in docs/_build/html/tutorials/*.html; do grep -q '_images/' $$page \
		|| { echo "$$page shows no picture" >&2; exit 1; }; done

examples: $(VENV)/.installed-dev  ## run every example at a small size
	@set -e; for example in examples/*.py; do test -e "$$example" || continue; echo "== $$example"; \
		STOCHWM_FAST=1 MPLBACKEND=Agg $(QUICK) $(JAX_CACHE)-examples $(BIN)/python "$$example"; done

smoke:  ## install and try the package on every other supported Python that is present
	@set -e; for python in $$($(PYTHON) tools/pythons.py 3.12 3.13); do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		$(MAKE) --no-print-directory .cache/env-$$version/.tried PYTHON=$$python; done

.cache/env-%/.tried: FORCE
	$(call install,.cache/env-$*,requirements/demo.txt,--force-reinstall)
	$(QUICK) .cache/env-$*/bin/python -P tools/smoke.py

lowest:  ## install and try the package with the lowest versions that it admits
	$(call install,.cache/env-lowest,requirements/lowest.txt,--force-reinstall)
	$(QUICK) .cache/env-lowest/bin/python -P tools/smoke.py

FORCE:

release: smoke lowest strict  ## what is tried before a release, beside CI: takes an hour
	$(MAKE) test ARGS="-m processes"
	$(MAKE) x64 X64=tests

# --- upkeep -----------------------------------------------------------------------------------
COMPILE = uv pip compile pyproject.toml --group build --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

lock:  ## pin requirements/*.txt anew (needs uv; UPGRADE=--upgrade takes newer versions)
	$(COMPILE) $(UPGRADE) --extra dev --output-file requirements/dev.txt
	$(COMPILE) --upgrade --extra test --constraints requirements/dev.txt --output-file requirements/test.txt
	$(COMPILE) --upgrade --extra plots --constraints requirements/dev.txt --output-file requirements/demo.txt
	$(COMPILE) $(UPGRADE) --extra plots --resolution lowest-direct --output-file requirements/lowest.txt
	@if grep -nE '://|(^| )@ ' requirements/*.txt; then echo "an address got into a lock file" >&2; exit 1; fi

clean:  ## remove .venv, caches and built documents
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis build dist docs/_build
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
