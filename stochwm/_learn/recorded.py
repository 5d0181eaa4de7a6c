"""Episodes that were recorded before, in place of an environment to collect from."""

from .._storage import StorageError, saved_at
from ..data import Episodes, from_minari


def recorded(name: str) -> Episodes:
    """The episodes in a folder, or of a Minari data set in the local store.

    Raises:
        FileNotFoundError: neither is there.
        ImportError: there is no such folder, and minari is not installed.
        StorageError: the folder holds something else, or is damaged.
    """
    try:
        return Episodes.load(name) if saved_at(name) else from_minari(name)
    except StorageError as error:
        made = "stochwm.data.from_arrays makes Episodes of arrays, and their save(FOLDER) writes it"
        raise StorageError(f"data must be a folder of episodes, but {error}. {made}.") from error
    except (FileNotFoundError, ImportError) as error:
        what = f"data {name!r} is neither a folder of episodes nor a Minari data set here"
        raise type(error)(f"{what}: {error}") from error
