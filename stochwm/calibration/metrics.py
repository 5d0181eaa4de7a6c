"""What `evaluate` can measure: a table of metrics by name."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions.choice import nan_unless
from .crps import crps
from .joint_scores import energy_score, variogram_score
from .pit import pit


class Metric(NamedTuple):
    """One metric of predicted futures."""

    says: str
    """What its number means, in words."""
    of_cloud: Callable[[Array, Array, PRNGKeyArray], Array] | None
    """`(cloud [particles, dim], value [dim], key) -> number`; None: it needs a density."""
    is_score: bool = True
    """Whether it is a proper score: lower is better, differences mean something."""


def covered90(cloud: Float[Array, "particles dim"], value: Float[Array, " dim"]) -> Array:
    """Share of dimensions inside their central 90 % interval, 0.9 on average if it is right.

    The PIT of a cloud is uniform between two numbers, by ranks with ties broken at random; this is
    the probability that it lies between 0.05 and 0.95. So an interval that ends inside an atom
    covers a part of it, where a closed interval would cover all of it and too much.
    """
    number = cloud.shape[0] + 1
    below, ties = jnp.sum(cloud < value, axis=0), jnp.sum(cloud == value, axis=0)
    left, right = below / number, (below + ties + 1) / number
    inside = jnp.clip(right, 0.05, 0.95) - jnp.clip(left, 0.05, 0.95)
    return jnp.mean(nan_unless(~jnp.isnan(cloud).any(axis=0), inside / (right - left)))


METRICS = {
    "nll": Metric("negative log-likelihood, nats; lower is better", None),
    "energy": Metric(
        "energy score of the joint state, in units of scale; lower is better",
        lambda cloud, value, key: energy_score(cloud, value),
    ),
    "crps": Metric(
        "mean CRPS of the dimensions, in units of scale; lower is better",
        lambda cloud, value, key: jnp.mean(crps(cloud, value)),
    ),
    "variogram": Metric(
        "variogram score: how dimensions hang together, in units of scale; lower is better",
        lambda cloud, value, key: variogram_score(cloud, value),
    ),
    "coverage90": Metric(
        "share of dimensions inside their central 90 % interval; 0.9 is right",
        lambda cloud, value, key: covered90(cloud, value),
        is_score=False,
    ),
    "pit": Metric(
        "p-value of uniform PIT values, by episode; below 0.05 the spread or place is wrong",
        lambda cloud, value, key: pit(cloud, value, key=key),
        is_score=False,
    ),
}
DEFAULT = ("nll", "energy", "crps", "coverage90")


def metric_names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """Names of metrics in the order of the table; "default" stands for the default ones.

    Raises:
        ValueError: a name that is not in the table, or no name.
    """
    asked = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    names = DEFAULT if asked == ("default",) else asked
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise ValueError(f"metrics must be names out of {list(METRICS)}, but are {list(asked)}.")
    return tuple(name for name in METRICS if name in names)
