"""The documentation site: `make docs` builds it, and executes the tutorials, with -W."""

import tomllib
import typing
from pathlib import Path

# jaxtyping and equinox then name their types as a reader writes them: Float[Array, 'dim'].
typing.GENERATING_DOCUMENTATION = "stochwm"

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

project = "stochwm"
author = "The stochwm authors"
copyright = "The stochwm authors"
release = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "myst_nb"]
# Tutorials are Python files in the percent format; this file is one that is none.
exclude_patterns = ["_build", "conf.py", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"stochwm {release}"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 2
# Docstrings quote code with single backticks, as Markdown does.
default_role = "literal"

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / ".jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 900
# A progress bar rewrites one line many times, which a page shows as many lines.
nb_output_stderr = "remove"
nb_merge_streams = True

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
suppress_warnings = ["mystnb.unknown_mime_type"]
