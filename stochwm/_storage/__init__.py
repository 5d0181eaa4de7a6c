"""Saving and loading trees: safetensors for arrays, JSON for the rest, no pickle."""

from .errors import StorageError as StorageError
from .manifest import library_version as library_version
from .steps import latest_step as latest_step
from .steps import load_step as load_step
from .steps import load_step_metadata as load_step_metadata
from .steps import save_step as save_step
from .texts import write_text as write_text
from .trees import load_metadata as load_metadata
from .trees import load_tree as load_tree
from .trees import save_tree as save_tree
from .trees import saved_at as saved_at
