"""The second job: train an agent, watch it play, and see what it dreams."""

from .config import AgentConfig as AgentConfig
from .dream import DreamtBeside as DreamtBeside
from .dream import dream_agent as dream_agent
from .play import Played as Played
from .play import play_agent as play_agent
from .run import AgentRun as AgentRun
from .train import train_agent as train_agent
