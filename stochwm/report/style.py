"""The look of the house: colours by role, one place that imports matplotlib, one way to a figure.

Figures are made without pyplot, so that a report leaves no global state behind, works in threads
and never opens a window.
"""

import contextlib
import functools
import io
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure

# After Okabe & Ito, "Color universal design" (2008): told apart with every kind of colour vision.
ROLES = {
    "model": "#0B6FB8",
    "baseline": "#D55E00",
    "truth": "#00916A",
    "data": "#1F2430",
    "persistence": "#868E99",
}
# For names without a role, and for the second name of a role.
SPARE = ("#B5478F", "#E0A000", "#4FB0E5", "#6B4FA3", "#7A6A2B")
INK = "#1F2430"
MUTED = "#69717D"
HAIRLINE = "#DDE1E6"

# The first word found in a name decides: a Gaussian mixture is a mixture.
_WORDS = (
    ("persistence", ("persistence", "climatology", "constant", "before")),
    ("truth", ("law", "truth", "true", "oracle", "exact")),
    ("data", ("real", "data", "observed", "held-out")),
    ("model", ("mixture", "model", "categorical", "autoregressive", "after")),
    ("baseline", ("gaussian", "normal", "baseline")),
)
_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 6.0,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "figure.facecolor": "white",
    "figure.titlesize": 10.5,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}


def require_matplotlib() -> ModuleType:
    """The matplotlib module, imported when the first figure is made.

    Raises:
        ImportError: naming the extra to install.
    """
    try:
        import matplotlib
        import matplotlib.backends.backend_agg
        import matplotlib.colors
        import matplotlib.figure
        import matplotlib.lines
        import matplotlib.patches
        import matplotlib.patheffects
        import matplotlib.ticker
    except ImportError as error:
        raise ImportError(
            "Figures need matplotlib, which is an optional extra: pip install 'stochwm[plots]'"
        ) from error
    return matplotlib


@contextlib.contextmanager
def house_style() -> Iterator[ModuleType]:
    """Matplotlib in the style of the house, inside a `with` block; settings are put back after it.

    Raises:
        ImportError: naming the extra to install, when matplotlib is missing.
    """
    matplotlib = require_matplotlib()
    with matplotlib.rc_context():
        # Not the user's settings: a figure of the report looks the same everywhere.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield matplotlib


def styled(function: Callable) -> Callable:
    """Run a function that draws inside `house_style`."""

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with house_style():
            return function(*args, **kwargs)

    return inside


def new_figure(width: float, height: float, *, label: str) -> "matplotlib.figure.Figure":
    """An empty figure on an Agg canvas, unknown to pyplot, with constrained layout.

    Args:
        width, height: in inches.
        label: what the figure shows, in words; the page gives it to those who cannot see it.

    Raises:
        ImportError: naming the extra to install, when matplotlib is missing.
    """
    matplotlib = require_matplotlib()
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    figure.set_label(label)
    # Notebooks draw by themselves only what pyplot knows; of anything else they ask this.
    setattr(figure, "_repr_png_", functools.partial(_to_png, figure))  # noqa: B010
    return figure


def _to_png(figure: "matplotlib.figure.Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def colours(names: Iterable[str]) -> dict[str, str]:
    """One colour a name, as `#rrggbb`: by its role where the name tells one, never twice the same.

    "mixture" and "model" are blue, "Gaussian" and "baseline" vermilion, "law" and "true" green,
    "real" and "data" near black, "persistence" and "before" grey, "after" blue. The first name of
    a role gets its colour.
    """
    chosen: dict[str, str] = {}
    spare = list(SPARE)
    for name in names:
        colour = role_colour(name)
        if colour is None or colour in chosen.values():
            colour = spare[0]
            spare = [*spare[1:], spare[0]]
        chosen[name] = colour
    return chosen


def role_colour(name: str) -> str | None:
    """The colour of the role that a name tells; None where it tells none."""
    return ROLES.get(_role(name) or "")


def _role(name: str) -> str | None:
    lowered = name.lower()
    return next((role for role, words in _WORDS if any(w in lowered for w in words)), None)


def shades(colour: str) -> "matplotlib.colors.Colormap":
    """Nothing where masked, then from a visible tint to a deep tone of `colour`."""
    colors = require_matplotlib().colors
    red, green, blue = colors.to_rgb(colour)
    tint = tuple(1 - 0.16 * (1 - x) for x in (red, green, blue))
    deep = tuple(0.45 * x for x in (red, green, blue))
    steps = [(0.0, tint), (0.65, (red, green, blue)), (1.0, deep)]
    return colors.LinearSegmentedColormap.from_list("shades", steps)


def titled(figure: "matplotlib.figure.Figure", title: str) -> None:
    """A headline over the whole figure, at its left edge, in as many lines as it takes."""
    headline = figure.suptitle(title, x=0.012, ha="left", fontweight="bold")
    room = 0.976 * figure.bbox.width
    lines: list[str] = []
    for word in title.split(" "):
        headline.set_text(" ".join([*lines[-1:], word]))
        if lines and headline.get_window_extent().width <= room:
            lines[-1] = headline.get_text()
        else:
            lines.append(word)
    headline.set_text("\n".join(lines))


def name_row(axes: "matplotlib.axes.Axes", name: str, letters: int = 18) -> None:
    """The label of a row of panels, in as many lines as keep it out of the rows beside it."""
    axes.set_ylabel(textwrap.fill(name, letters, break_long_words=False))


def legend_below(figure: "matplotlib.figure.Figure", handles: list, columns: int = 4) -> None:
    """One legend for all panels, under them."""
    figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))


def whole_numbers(axes: "matplotlib.axes.Axes") -> None:
    """Ticks of the horizontal axis at whole steps, with thousands separated."""
    ticker = require_matplotlib().ticker
    axes.xaxis.set_major_locator(ticker.MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
