"""Worlds whose law is known, and dreams: models and Gymnasium environments at once."""

from .base import AbstractWorld as AbstractWorld
from .cricket import Cricket as Cricket
from .curtain import Curtain as Curtain
from .doors import Doors as Doors
from .dream import DreamEnv as DreamEnv
from .dream_vector import DreamVectorEnv as DreamVectorEnv
from .fork import Fork as Fork
from .galton import Galton as Galton
from .gym import WorldEnv as WorldEnv
from .hidden_switch import HiddenSwitch as HiddenSwitch
from .mixture_walk import MixtureWalk as MixtureWalk
from .noisy_tv import NoisyTV as NoisyTV
from .registration import WORLDS as WORLDS
from .registration import register_worlds as register_worlds
from .switch_filter import SwitchFilter as SwitchFilter
from .switch_filter import SwitchMemory as SwitchMemory
from .video import render_video as render_video
from .wet_chicken import WetChicken as WetChicken
