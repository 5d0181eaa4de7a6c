"""Figures carry what they were given, and say which argument is wrong."""

import subprocess
import sys

import numpy as np
import pytest

from stochwm import report
from stochwm.calibration import PitHistogram
from stochwm.report import clouds, style

pytest.importorskip("matplotlib")

STEPS = 12
NAMES = ["x", "y", "heading"]


def fork(n: int, seed: int = 0) -> np.ndarray:
    """Particles that go left or right: `[n, STEPS + 1, 3]`."""
    rng = np.random.default_rng(seed)
    side = np.where(rng.random((n, 1)) < 0.6, 1.0, -1.0)
    time = np.arange(STEPS + 1)
    y = side * 0.1 * time + 0.01 * rng.normal(size=(n, STEPS + 1))
    x = 0.3 * time + 0.05 * rng.normal(size=(n, STEPS + 1))
    return np.stack([x, y, 0.001 * y], axis=-1)


def gaussian(n: int) -> np.ndarray:
    """The same mean and spread without branches."""
    cloud = fork(500)
    noise = np.random.default_rng(1).normal(size=(n, 1, 1))
    return cloud.mean(axis=0) + noise * cloud.std(axis=0)


def ended(futures: np.ndarray) -> np.ndarray:
    """The first future stops after step 5."""
    futures = futures.copy()
    futures[0, 6:] = np.nan
    return futures


def lines(axes, gid: str) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in axes.lines if line.get_gid() == gid]


def texts(figure) -> str:
    import matplotlib.text

    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_a_long_headline_stays_inside_the_figure():
    figure = style.new_figure(4.0, 2.0, label="empty")
    title = "Outcomes by step of the dimensions that vary most (darker: larger share of futures)"
    with style.house_style():
        style.titled(figure, title)
    headline = figure.findobj(lambda artist: getattr(artist, "get_text", str)() != "")[0]
    assert headline.get_text().split() == title.split()
    assert 2 <= len(headline.get_text().splitlines()) <= 3
    assert headline.get_window_extent().x1 <= figure.bbox.width


def test_long_names_of_dimensions_stay_beside_their_rows():
    names = ["position along the track in metres", "angular velocity of the pole", "short"]
    shares = np.full((10, 3), 0.1)
    flat = PitHistogram(np.linspace(0, 1, 11), shares, shares, shares)
    for figure in (
        report.fan_chart({"model": fork(50)}, fork(3), names=names),
        report.pit_histograms({"model": flat}, names=names),
    ):
        figure.canvas.draw()
        labels = [axes.yaxis.label for axes in figure.axes]
        assert [label.get_text().replace("\n", " ") for label in labels] == names
        boxes = [label.get_window_extent() for label in labels]
        for above, below in zip(boxes, boxes[1:], strict=False):
            assert above.y0 > below.y1
        assert boxes[0].y1 <= figure.bbox.height


# --- fan chart --------------------------------------------------------------------------------
def test_fan_chart_draws_every_dimension_of_every_model_and_the_real_future():
    real = ended(fork(3, seed=5))
    figure = report.fan_chart({"mixture": fork(200), "Gaussian": gaussian(100)}, real, names=NAMES)
    assert len(figure.axes) == 6
    for row, dim in ((0, 0), (1, 1), (2, 2)):
        for axes in figure.axes[2 * row : 2 * row + 2]:
            np.testing.assert_array_equal(lines(axes, "real"), real[..., dim])
        left, right = figure.axes[2 * row : 2 * row + 2]
        assert left.get_ylim() == right.get_ylim()
        assert left.get_ylabel() == NAMES[dim]
    assert "mixture" in texts(figure)
    assert "3 real" not in texts(figure)
    figure.canvas.draw()


def test_fan_chart_claims_no_real_future_where_only_the_start_is_known():
    real = np.full((1, STEPS + 1, 3), np.nan)
    real[:, 0] = 0.0
    figure = report.fan_chart({"imagined": fork(20)}, real, names=NAMES)
    assert "Imagined futures" in texts(figure)
    assert "real" not in texts(figure) + figure.get_label()


def test_fan_chart_median_is_the_median():
    cloud = fork(101)
    figure = report.fan_chart({"mixture": cloud}, fork(1), names=NAMES, dims=[1])
    (median,) = lines(figure.axes[0], "quantile 0.5")
    np.testing.assert_allclose(median, np.median(cloud[..., 1], axis=0))


def test_fan_chart_shading_keeps_the_gap_between_two_branches():
    from matplotlib.collections import QuadMesh

    imagined = {"mixture": fork(400), "Gaussian": gaussian(400)}
    figure = report.fan_chart(imagined, fork(4), names=NAMES, dims=[1])
    filled = {}
    for axes, label in zip(figure.axes, imagined, strict=True):
        (mesh,) = axes.findobj(QuadMesh)
        share = np.ma.filled(mesh.get_array(), 0.0)
        edges = mesh.get_coordinates()[:, 0, 1]
        middle = np.abs((edges[1:] + edges[:-1]) / 2) < 0.5
        filled[label] = share[middle, -1].sum()
    assert filled["mixture"] == 0
    assert filled["Gaussian"] > 0.2


def test_fan_chart_shades_the_share_of_the_particles():
    cloud = np.array([[0.1, 0.1], [0.1, 0.9], [0.1, np.nan], [0.1, 0.1]])
    share = clouds.shares_by_step(cloud, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(share, [[1, 0], [2 / 3, 1 / 3]])


def test_fan_chart_picks_what_varies_and_says_so():
    wide = np.concatenate([fork(50) * scale for scale in (1.0, 0.0, 5.0)], axis=-1)
    names = [f"s{i}" for i in range(9)]
    figure = report.fan_chart({"mixture": wide}, wide[:2], names=names, max_dims=2)
    assert [axes.get_ylabel() for axes in figure.axes] == ["s1", "s7"]
    assert "the 2 of 9 state dimensions" in texts(figure)


def test_fan_chart_is_not_ruled_by_a_model_that_explodes():
    wild = gaussian(100) * np.geomspace(1, 1e8, STEPS + 1)[:, None]
    figure = report.fan_chart({"mixture": fork(100), "Gaussian": wild}, fork(2), names=NAMES)
    low, high = figure.axes[2].get_ylim()
    assert high - low < 6
    assert "outside the range" in texts(figure)


def test_fan_chart_shows_some_of_many_real_futures_and_says_so():
    figure = report.fan_chart({"mixture": fork(50)}, fork(40), names=NAMES, dims=[1])
    assert len(lines(figure.axes[0], "real")) == 24
    assert "24 of 40" in texts(figure)


def test_fan_chart_of_particles_that_end_and_of_a_state_that_stands_still():
    cloud = fork(20)
    cloud[:, 8:] = np.nan
    figure = report.fan_chart({"mixture": cloud}, ended(fork(2)), names=NAMES)
    figure.canvas.draw()
    still = np.ones((5, STEPS + 1, 3))
    report.fan_chart({"mixture": still}, still[:1], names=NAMES).canvas.draw()


BAD_FANS = {
    "imagined must hold": {"imagined": {}},
    r"imagined\['mixture'\] must have the shape": {"imagined": {"mixture": fork(5)[0]}},
    "imagined and real must share": {"real": fork(2)[:, :4]},
    "imagined must have one last axis": {"imagined": {"a": fork(5), "b": fork(5)[..., :2]}},
    "real must have the shape": {"real": fork(2)[:0]},
    "real must not contain infinity": {"real": np.full((1, STEPS + 1, 3), np.inf)},
    "real contains nothing but NaN": {"real": np.full((1, STEPS + 1, 3), np.nan)},
    "names must hold": {"names": ["x"]},
    "dims must be": {"dims": [0, 3]},
    "max_dims must be": {"max_dims": 0},
}


@pytest.mark.parametrize("message", BAD_FANS)
def test_fan_chart_names_the_bad_argument(message):
    good = {"imagined": {"mixture": fork(5)}, "real": fork(2), "names": NAMES}
    arguments = good | BAD_FANS[message]
    with pytest.raises(ValueError, match=message):
        report.fan_chart(arguments.pop("imagined"), arguments.pop("real"), **arguments)


# --- one step ---------------------------------------------------------------------------------
def test_scatter_has_a_panel_with_margins_for_each_source_on_one_range():
    draws = {"real": fork(10)[:, -1], "mixture": fork(300)[:, -1], "Gaussian": gaussian(300)[:, -1]}
    figure = report.one_step_scatter(draws, names=NAMES)
    panels = [axes for axes in figure.axes if axes.collections and axes.axison]
    assert len(figure.axes) == 9
    assert len(panels) == 3
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert panels[0].get_xlabel() == "x"
    assert panels[0].get_ylabel() == "y"
    np.testing.assert_allclose(panels[0].collections[0].get_offsets(), draws["real"][:, :2])
    assert "x and y, of 3 dimensions" in texts(figure)
    figure.canvas.draw()


def test_scatter_draws_the_dimensions_asked_for():
    figure = report.one_step_scatter({"mixture": fork(50)[:, -1]}, names=NAMES, dims=(2, 0))
    panel = figure.axes[0]
    assert panel.get_xlabel() == "heading"
    assert panel.get_ylabel() == "x"


@pytest.mark.parametrize("constant", [False, True])
def test_scatter_of_one_dimension_is_a_histogram_on_one_axes(constant):
    many, few = fork(400)[:, -1, 1:2], fork(3)[:, -1, 1:2]
    if constant:
        many, few = (np.pad(a, ((0, 0), (0, 2)), constant_values=4.0) for a in (many, few))
    draws = {"mixture": many, "real": few}
    figure = report.one_step_scatter(draws, names=["y", "a", "b"][: many.shape[1]])
    (axes,) = figure.axes
    outline = next(p for p in axes.patches if p.get_label() == "mixture")
    assert outline.get_data().values.sum() == pytest.approx(1.0, abs=0.01)
    ticks = next(c for c in axes.collections if c.get_label() == "real")
    assert sorted(s[0, 0] for s in ticks.get_segments()) == sorted(few[:, 0])
    assert axes.get_xlabel() == "y"
    figure.canvas.draw()


BAD_SCATTERS = {
    "draws must hold": {"draws": {}},
    r"draws\['mixture'\] must have the shape": {"draws": {"mixture": fork(5)}},
    r"draws\['mixture'\] must not contain NaN": {"draws": {"mixture": np.full((4, 3), np.nan)}},
    "names must hold": {"names": ["x", "y"]},
    "dims must be different": {"dims": (1, 1)},
    "dims must be one or two": {"dims": (0, 1, 2)},
}


@pytest.mark.parametrize("message", BAD_SCATTERS)
def test_scatter_names_the_bad_argument(message):
    good = {"draws": {"mixture": fork(5)[:, -1]}, "names": NAMES}
    arguments = good | BAD_SCATTERS[message]
    with pytest.raises(ValueError, match=message):
        report.one_step_scatter(arguments.pop("draws"), **arguments)


# --- discrete ---------------------------------------------------------------------------------
def test_outcome_bars_show_the_frequencies_of_what_occurs():
    draws = np.eye(4)[[0, 0, 0, 3]]
    law = np.array([[0.5, 0.0, 0.0, 0.5]])
    figure = report.outcome_bars({"mixture": draws, "true law": law}, names=list("abcd"))
    (axes,) = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0.75, 0.25], [0.5, 0.5]]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "d"]
    figure.canvas.draw()


def test_outcome_bars_leave_out_the_rare_and_say_so():
    frequency = np.arange(1.0, 21.0)[None] / 210
    figure = report.outcome_bars({"law": frequency}, names=[f"cell {i}" for i in range(20)])
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels == [f"cell {i}" for i in range(8, 20)]
    assert "8 rarer" in texts(figure)


@pytest.mark.parametrize(
    ("probabilities", "names", "message"),
    [
        ({}, ["a"], "probabilities must hold"),
        ({"m": np.array([[0.5, 1.5]])}, ["a", "b"], r"probabilities\['m'\] must hold one-hot"),
        ({"m": np.array([0.5, 0.5])}, ["a", "b"], r"probabilities\['m'\] must have the shape"),
        ({"m": np.array([[0.5, 0.5]])}, ["a"], "names must hold"),
    ],
)
def test_outcome_bars_name_the_bad_argument(probabilities, names, message):
    with pytest.raises(ValueError, match=message):
        report.outcome_bars(probabilities, names=names)


def test_outcome_fan_shows_the_share_of_the_futures_that_go_on():
    from matplotlib.collections import QuadMesh

    cloud = np.eye(3)[np.array([[0, 0, 2], [0, 2, 2], [0, 2, 2], [0, 2, 0]])]
    real = np.eye(3)[np.array([[0, 2, 2], [0, 0, 0]])]
    real[1, 1:] = np.nan
    figure = report.outcome_fan({"categorical": cloud}, real, names=list("abc"))
    shares = [np.ma.filled(axes.findobj(QuadMesh)[0].get_array(), 0) for axes in figure.axes]
    np.testing.assert_allclose(shares[0], [[1, 0.25, 0.25], [0, 0.75, 0.75]])
    np.testing.assert_allclose(shares[1], [[1, 0, 0], [0, 1, 1]])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "c"]
    figure.canvas.draw()


def test_outcome_fan_refuses_values_that_are_no_shares():
    with pytest.raises(ValueError, match=r"imagined\['mixture'\] must hold one-hot"):
        report.outcome_fan({"mixture": fork(5)}, np.clip(fork(5), 0, 1), names=NAMES)


# --- series -----------------------------------------------------------------------------------
HISTORY = [
    {"step": s, "loss": 1e6 if s == 0 else -2 + 5 / s}
    | ({"validation_loss": -1.9} if s % 5 else {})
    for s in range(100)
]


def test_learning_curves_draw_both_losses_in_a_readable_range():
    only_training = [{"step": r["step"], "loss": r["loss"] + 1} for r in HISTORY]
    figure = report.learning_curves({"mixture": HISTORY, "Gaussian": only_training})
    (axes,) = figure.axes
    np.testing.assert_allclose(lines(axes, "train mixture")[0], [r["loss"] for r in HISTORY])
    assert len(lines(axes, "held-out mixture")[0]) == 80
    assert not lines(axes, "held-out Gaussian")
    low, high = axes.get_ylim()
    assert low < -1.95
    assert -1 < high < 2
    assert axes.get_ylabel() == "negative log-likelihood (nats)"
    figure.canvas.draw()


def test_learning_curves_skip_what_was_not_measured():
    rows = [{"step": 1, "loss": np.nan}, {"step": 2, "loss": 1.0, "validation_loss": None}]
    figure = report.learning_curves({"model": rows})
    assert lines(figure.axes[0], "train model")[0].tolist() == [1.0]
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ({}, "histories must hold"),
        ({"m": []}, r"histories\['m'\] must be a list of at least one row"),
        ({"m": [{"loss": 1.0}]}, r"histories\['m'\] must have a step"),
        ({"m": [{"step": 1, "loss": np.nan}]}, r"histories\['m'\] must have a finite loss"),
    ],
)
def test_learning_curves_name_the_bad_argument(histories, message):
    with pytest.raises(ValueError, match=message):
        report.learning_curves(histories)


@pytest.mark.parametrize(("last", "scale"), [(10, "linear"), (50, "log")])
def test_score_by_horizon_draws_values_and_bands(last, scale):
    entry = {"horizon": np.array([1, 2, last]), "value": [0.1, 0.2, 0.4]}
    banded = entry | {"low": [0.0, 0.1, 0.3], "high": [0.2, 0.3, np.nan]}
    figure = report.score_by_horizon({"mixture": banded, "law": entry}, ylabel="energy score")
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.1, 0.2, 0.4]] * 2
    assert len(axes.collections) == 1
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, r"scores\['m'\] must hold"),
        ({"horizon": [1]}, r"scores\['m'\] must have horizon and value"),
        ({"horizon": [1], "value": [1], "low": [0]}, "both of low and high"),
        ({"horizon": [1, 2], "value": [1]}, "columns of one length"),
        ({"horizon": [2, 1], "value": [1, 1]}, r"\['horizon'\] must increase"),
        ({"horizon": [0, 1], "value": [1, 1]}, r"\['horizon'\] must increase"),
    ],
)
def test_score_by_horizon_names_the_bad_argument(entry, message):
    with pytest.raises(ValueError, match=message):
        report.score_by_horizon({"m": entry}, ylabel="score")


# --- pictures ---------------------------------------------------------------------------------
def test_filmstrip_shows_every_frame_with_its_caption():
    frames = [np.full((4, 6, 3), i, np.uint8) for i in range(7)] + [np.zeros((4, 6), np.uint8)]
    captions = [f"step {i}" for i in range(8)]
    figure = report.filmstrip(frames, captions)
    assert [axes.get_title(loc="left") for axes in figure.axes] == captions
    for axes, frame in zip(figure.axes, frames, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), frame)
    figure.canvas.draw()


def test_filmstrip_names_the_bad_argument():
    frame = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match="frames must hold"):
        report.filmstrip([], [])
    with pytest.raises(ValueError, match="captions must hold"):
        report.filmstrip([frame], ["a", "b"])
    with pytest.raises(TypeError, match=r"frames\[1\] must be a uint8"):
        report.filmstrip([frame, frame / 255], ["a", "b"])
    with pytest.raises(ValueError, match=r"frames\[0\] must have the shape"):
        report.filmstrip([frame[0, 0]], ["a"])


# --- style ------------------------------------------------------------------------------------
def test_colours_follow_roles_and_never_repeat():
    names = ["mixture", "Gaussian", "true law", "real", "persistence", "Gaussian mixture", "other"]
    chosen = report.colours(names)
    assert [chosen[n] for n in names[:5]] == list(style.ROLES[r] for r in style.ROLES)
    assert len(set(chosen.values())) == len(names)
    assert report.colours(["Gaussian mixture"])["Gaussian mixture"] == style.ROLES["model"]


def test_figures_leave_settings_and_pyplot_alone():
    code = (
        "import sys, numpy as np, stochwm.report as report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib\n"
        "matplotlib.rcParams['font.size'] = 17\n"
        "figure = report.one_step_scatter({'real': np.eye(3)}, names=list('abc'))\n"
        "figure.canvas.draw()\n"
        "assert matplotlib.rcParams['font.size'] == 17\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'stochwm\[plots\]'"):
        report.learning_curves({"mixture": HISTORY})
    with pytest.raises(ImportError, match=r"pip install 'stochwm\[plots\]'"):
        report.filmstrip([np.zeros((2, 2), np.uint8)], ["a"])


def test_a_notebook_shows_a_figure():
    figure = report.learning_curves({"mixture": HISTORY})
    assert figure._repr_png_().startswith(b"\x89PNG")  # what IPython asks any object for
