"""What every test shares: a headless plot backend, kept XLA programs, reproducible hypothesis."""

import gc
import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
# Compiling is most of what the tests do: a third of it is optimisation that small arrays never
# repay. tests/test_devices.py compares bits, in processes that do optimise.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import jax
import pytest

ROOT = Path(__file__).parent.parent
# Every compiled program takes some ten memory maps, of which Linux lends a process 65,530. A run of
# all tests in two processes needs more, and a process that gets none dies of a segmentation fault.
MAPS, MOST_MAPS = Path("/proc/self/maps"), 15_000

# The first jit of a test costs an example far more than a run does. Drawing examples from a fixed
# seed keeps a red test red.
hypothesis.settings.register_profile(
    "stochwm", deadline=None, max_examples=25, derandomize=True, database=None
)
hypothesis.settings.load_profile("stochwm")


def pytest_configure(config):
    """Keeps compiled programs under .cache/jax, which turns most of a second run's time into reads.

    JAX_ENABLE_COMPILATION_CACHE=0 runs without, JAX_COMPILATION_CACHE_DIR elsewhere.
    """
    if not jax.config.jax_enable_compilation_cache:
        return
    # jax does not write its cache files in one step, so two processes must not share a folder.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder = jax.config.jax_compilation_cache_dir or str(ROOT / ".cache" / "jax-tests" / worker)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A run that was killed may leave half a file; jax then warns and compiles.
    config.addinivalue_line(
        "filterwarnings", "ignore:Error (reading|writing) persistent compilation:UserWarning"
    )


def pytest_collection_finish():
    """What was imported stays for good: no collection of garbage looks at it again.

    What is compiled stays for long, so that all of it is looked at a fifth as often as by default.
    """
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 50)


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """Forgets compiled programs after a file of tests, once they are many."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
