"""Probabilistic world models for stochastic and multimodal futures."""

from typing import TYPE_CHECKING

from ._devices import use_host_devices as use_host_devices
from ._guard import AbstractGuard as AbstractGuard
from ._propagation import imagine_moment_matched as imagine_moment_matched
from ._propagation import imagine_particles as imagine_particles
from ._propagation import imagine_ts1 as imagine_ts1
from ._propagation import imagine_tsinf as imagine_tsinf
from ._rollout import Filtered as Filtered
from ._rollout import Trajectory as Trajectory
from ._rollout import imagine as imagine
from ._rollout import observe as observe
from ._rollout import replay as replay
from ._storage import StorageError as StorageError
from ._storage import load_metadata as load_metadata
from ._storage import load_tree as load_tree
from ._storage import save_tree as save_tree

if TYPE_CHECKING:
    from ._learn import LearnConfig as LearnConfig
    from ._learn import Run as Run
    from ._learn import learn as learn
    from ._train import AgentConfig as AgentConfig
    from ._train import AgentRun as AgentRun
    from ._train import dream_agent as dream_agent
    from ._train import play_agent as play_agent
    from ._train import train_agent as train_agent

__version__ = "0.1.0"


def __getattr__(name: str):
    """The two jobs on first use (PEP 562): they need Gymnasium and optax, which are slow."""
    if name in ("LearnConfig", "Run", "learn"):
        from . import _learn as job
    elif name in ("AgentConfig", "AgentRun", "dream_agent", "play_agent", "train_agent"):
        from . import _train as job
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(job, name)
