"""What the main job is told: one flat table of choices, written into the run folder."""

import dataclasses
import json
import math
from typing import Annotated, Any, Literal, get_args

import tyro

from ..data.checks import checked_seed

Family = Literal[
    "auto",
    "mixture",
    "full-mixture",
    "discrete-latent",
    "boxes",
    "categorical",
    "autoregressive",
]


EnvId = Annotated[str, tyro.conf.arg(metavar="ENV_ID")]

FRACTIONS = (0.8, 0.1, 0.1)
"""Of the episodes: for training, validation and test."""


@dataclasses.dataclass(frozen=True)
class LearnConfig:
    """Choices of `learn`.

    Attributes:
        env_id: a registered Gymnasium id, such as `Pendulum-v1` or `stochwm/Fork-v0`; or, with
            `data`, what the world is called.
        data: recorded episodes to learn from instead of collecting any: a folder that
            `Episodes.save` wrote, or the id of a Minari data set in the local store.
        env_args: `NAME=VALUE` for `gymnasium.make`, such as `is_rainy=true`; values are JSON, and
            text where they are not.
        seed: of everything random, in [0, 2**32).
        steps: transitions to collect; of `data`, all are used.
        policy: to collect with: `random`, or `module:attribute` of a function `(state, *, key) ->
            action`.
        family: what the ensemble predicts; `auto` is `categorical` where every observation is
            discrete, `mixture` elsewhere. `discrete-latent` is a mixture too, trained on its exact
            likelihood, whose components are the codes of one categorical. `boxes` suit noise with
            sharp edges, and make atoms of values that come again exactly.
        members: kernels in each ensemble.
        components: components of each mixture, or classes of a discrete latent.
        width: hidden units a layer.
        depth: hidden layers.
        updates: optimiser steps at most; validation may stop earlier.
        batch_size: examples a step and member.
        learning_rate: at the start of its cosine schedule.
        noise: standard deviation of target noise, in units of the state; by default the convention
            of the world, and 0.1 on one-hot dimensions, where a density needs it. Boxes need some
            in every dimension: 0.05 standard deviations of its change where there would be none.
        horizons: steps ahead at which futures are scored and drawn.
        futures: imagined futures a start in the charts.
    """

    env_id: EnvId
    data: str | None = None
    env_args: tuple[str, ...] = ()
    seed: int = 0
    steps: int = 20_000
    policy: str = "random"
    family: Family = "auto"
    members: int = 5
    components: int = 8
    width: int = 128
    depth: int = 2
    updates: int = 4_000
    batch_size: int = 256
    learning_rate: float = 1e-2
    noise: float | None = None
    horizons: tuple[int, ...] = (1, 2, 5, 10, 20)
    futures: int = 1_000

    def __post_init__(self):
        """Refuse impossible numbers before anything is collected."""
        checked_seed(self.seed)
        least = {"steps": 3, "members": 1, "components": 1, "width": 1, "depth": 0, "updates": 1}
        for name, number in (least | {"batch_size": 1, "futures": 2}).items():
            if getattr(self, name) < number:
                raise ValueError(f"{name} must be at least {number}, but is {getattr(self, name)}.")
        if self.family not in get_args(Family):
            raise ValueError(f"family must be one of {get_args(Family)}, but is {self.family!r}.")
        if not self.horizons or min(self.horizons) < 1:
            raise ValueError(f"horizons must be positive integers, but are {self.horizons}.")
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise ValueError(f"noise must be finite and not negative, but is {self.noise}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, but is {self.learning_rate}.")
        if self.data is not None and self.policy != "random":
            raise ValueError(
                f"policy {self.policy!r} would choose actions, but those of data are recorded: "
                "leave one of the two out."
            )
        object.__setattr__(self, "horizons", tuple(sorted(set(self.horizons))))
        self.env_kwargs  # noqa: B018, raises where one is no NAME=VALUE

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """`env_args` as keyword arguments of `gymnasium.make`."""
        return keywords_of(self.env_args)

    def to_json(self) -> str:
        """JSON text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> "LearnConfig":
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is not of this version of the library, or of an agent.
        """
        data: Any = json.loads(text)
        known = {field.name for field in dataclasses.fields(LearnConfig)}
        if isinstance(data, dict) and "agent" in data:
            raise ValueError(
                "it is of `stochwm train`, whose runs hold an agent and have no report: use "
                "`stochwm play` or `stochwm dream`; history.png has the curves."
            )
        if not isinstance(data, dict) or set(data) != known:
            have = sorted(data) if isinstance(data, dict) else data
            raise ValueError(
                f"the configuration of a run must have the entries {sorted(known)}, but has "
                f"{have}: it comes from another version."
            )
        lists: Any = {name: tuple(data[name]) for name in ("env_args", "horizons")}
        return LearnConfig(**(data | lists))


def keywords_of(env_args: tuple[str, ...]) -> dict[str, Any]:
    """Texts `NAME=VALUE` as keyword arguments; values are JSON, and text where they are not.

    Raises:
        ValueError: one has another form.
    """
    return dict(_named(text) for text in env_args)


def _named(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"env_args must be NAME=VALUE, as in is_rainy=true, but one is {text!r}.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
