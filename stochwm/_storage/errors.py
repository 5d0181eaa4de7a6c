"""The one error of this folder."""


class StorageError(ValueError):
    """A tree cannot be saved or loaded: what came, what was expected, and how to mend it."""
