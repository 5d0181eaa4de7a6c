"""Benchmark worlds whose law is known, as JAX models and as Gymnasium environments."""

from .base import AbstractWorld as AbstractWorld
from .doors import Doors as Doors
from .fork import Fork as Fork
from .gym import WorldEnv as WorldEnv
from .registration import WORLDS as WORLDS
from .registration import register_worlds as register_worlds
from .wet_chicken import WetChicken as WetChicken
