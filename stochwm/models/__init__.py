"""World models: one file each."""

from .base import AbstractFilter as AbstractFilter
from .base import AbstractWorldModel as AbstractWorldModel
from .base import on_observations as on_observations
from .markov import Markov as Markov
from .markov import never_ends as never_ends
from .markov import no_reward as no_reward
