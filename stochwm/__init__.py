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

if TYPE_CHECKING:
    from ._learn import LearnConfig as LearnConfig
    from ._learn import Run as Run
    from ._learn import learn as learn

__version__ = "0.1.0"


def __getattr__(name: str):
    """The main job on first use (PEP 562): it alone needs Gymnasium and optax, which are slow."""
    if name not in ("LearnConfig", "Run", "learn"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _learn

    return getattr(_learn, name)
