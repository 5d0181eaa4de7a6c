"""Real data: spaces as flat vectors, collection, episodes, standardisation."""

from .arrays import from_arrays as from_arrays
from .codec import flatten_value as flatten_value
from .codec import unflatten_value as unflatten_value
from .collect import CollectionError as CollectionError
from .collect import collect as collect
from .episodes import Episodes as Episodes
from .fits import check_spaces as check_spaces
from .minari import from_minari as from_minari
from .minari import to_minari as to_minari
from .named import make_env as make_env
from .normalise import fit_standardiser as fit_standardiser
from .normalise import standardisers as standardisers
from .pins import find_pins as find_pins
from .policies import RandomPolicy as RandomPolicy
from .policies import load_policy as load_policy
from .spaces import FlatSpace as FlatSpace
from .spaces import flat_space as flat_space
from .views import Transitions as Transitions
from .views import Windows as Windows
