"""How an agent learned: everything that its history holds, over the steps of the environment."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import series, style

if TYPE_CHECKING:
    import matplotlib.figure

# What is drawn together, and the words for each; agents without a model have but some of it.
_PANELS: dict[str, dict[str, str]] = {
    "return of an episode": {"mean_return": "real"},
    "return from a state, discounted": {
        "imagined_return": "imagined (model)",
        "real_return": "real",
    },
    "losses of the world model (nats)": {
        "observation_loss": "observation",
        "reward_loss": "reward",
        "discount_loss": "continue",
        "divergence_loss": "KL, as trained",
    },
    "KL(posterior || prior), raw (nats)": {"kl": "KL"},
    "losses of the agent": {
        "actor_loss": "actor",
        "policy_loss": "policy",
        "critic_loss": "critic",
        "value_loss": "value",
    },
    "entropy of the policy (nats)": {"entropy": "entropy"},
}
_LOSSES = ("losses of the world model (nats)", "losses of the agent")
_FEW = 12  # rows that are all shown; of more, the losses of the first ones do not set the range


@style.styled
def agent_history(
    history: Sequence[Mapping[str, Any]], *, title: str = "How the agent learned"
) -> "matplotlib.figure.Figure":
    """Returns, losses by term, KL and entropy of an agent that learned.

    Args:
        history: rows of `train_dreamer` or `train_ppo`. What no row holds is left out.
        title: the headline.

    Raises:
        ValueError: there is nothing to draw.
        ImportError: matplotlib is missing.
    """
    panels = {
        label: {words: series.column(history, name, "env_steps") for name, words in terms.items()}
        for label, terms in _PANELS.items()
    }
    panels = {
        label: {words: points for words, points in curves.items() if len(points[0])}
        for label, curves in panels.items()
    }
    panels = {label: curves for label, curves in panels.items() if curves}
    if not panels:
        raise ValueError("history must hold at least one row with something known, but is empty.")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    label = f"Curves over the steps of the environment: {', '.join(panels)}."
    figure = style.new_figure(3.3 * columns, 0.4 + 2.4 * rows, label=label)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (name, curves) in zip(grid, panels.items(), strict=False):
        _draw(axes, name, curves)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("steps of the environment")
        axes.tick_params(labelbottom=True)
    style.titled(figure, title)
    return figure


def _draw(axes: Any, name: str, curves: dict[str, np.ndarray]) -> None:
    tints = style.colours(curves)
    for words, points in curves.items():
        few = len(points[0]) <= 40
        alone = len(curves) == 1 and style.role_colour(words) is None
        colour = style.ROLES["model"] if alone else tints[words]
        axes.plot(*points, color=colour, lw=1.4, marker="o" if few else None, ms=2.5, label=words)
    if name in _LOSSES and max(len(points[0]) for points in curves.values()) > _FEW:
        none = np.empty((2, 0))
        axes.set_ylim(*series.readable({words: (x, none) for words, x in curves.items()}))
    axes.set_title(name)
    axes.grid(True)
    style.whole_numbers(axes)
    if len(curves) > 1:
        axes.legend(loc="best", fontsize=7.5)
