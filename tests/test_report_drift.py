"""Figures of drift carry what they were given; the area under a ROC curve is a share of pairs."""

import numpy as np
import pytest

from stochwm import report
from stochwm.drift import auroc

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
TRUTH = RNG.random(80) < 0.3
SCORES = {"variance": RNG.normal(size=80) + 2 * TRUTH, "steps": RNG.integers(0, 4, 80)}


def line(axes, gid):
    (found,) = [line for line in axes.lines if line.get_gid() == gid]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def texts(figure):
    import matplotlib.text

    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


# --- auroc --------------------------------------------------------------------------------------
def test_auroc_of_four_cases_by_hand():
    # True: 3 and 1. False: 1 and 0. Pairs: 3 > 1, 3 > 0, 1 = 1, 1 > 0.
    assert auroc([3, 1, 1, 0], np.array([True, True, False, False])) == 3.5 / 4


@pytest.mark.parametrize("name", SCORES)
def test_auroc_is_the_share_of_pairs_in_order(name):
    score = np.asarray(SCORES[name], float)
    true, false = score[TRUTH][:, None], score[~TRUTH][None]
    share = np.mean((true > false) + 0.5 * (true == false))
    assert auroc(score, TRUTH) == pytest.approx(share, abs=1e-12)
    assert auroc(-score, TRUTH) == pytest.approx(1 - share, abs=1e-12)


def test_auroc_knows_infinity_and_names_what_is_wrong():
    assert auroc([np.inf, -np.inf], np.array([True, False])) == 1
    both = np.array([True, False])
    for score, truth, message in (
        ([1.0, 2.0], np.array([True, True]), "cases of both kinds, but all 2 are True"),
        ([1.0, np.nan], both, "score must not be NaN"),
        ([1.0], both, r"shapes \(1,\) and \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            auroc(score, truth)
    with pytest.raises(TypeError, match="truth must be boolean"):
        auroc([1.0, 2.0], np.array([1, 0]))


# --- ROC curves ---------------------------------------------------------------------------------
def test_the_area_under_each_curve_is_its_auroc():
    figure = report.roc_curves(SCORES, TRUTH)
    for name, score in SCORES.items():
        x, y = line(figure.axes[0], f"curve {name}")
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(y, x) == pytest.approx(auroc(score, TRUTH), abs=1e-12)
        assert f"{name}: {auroc(score, TRUTH):.3f}" in texts(figure)
    figure.canvas.draw()
    with pytest.raises(ValueError, match=r"scores\['short'\] and truth must be"):
        report.roc_curves({"short": [1.0]}, TRUTH)


# --- ribbons ------------------------------------------------------------------------------------
def ribbons():
    kinds = RNG.gamma(2.0, size=(2, 40, 6, 3)) * [1, 0.1, 5]
    kinds[:, :10, 4:] = np.nan  # ten futures end after four steps
    return kinds


def test_ribbons_draw_medians_of_the_most_uncertain_dimensions():
    epistemic, aleatoric = ribbons()
    trusted = np.arange(40) % 7
    options = {"names": ["x", "y", "z"], "max_dims": 2, "trusted": trusted}
    figure = report.uncertainty_ribbons(epistemic, aleatoric, **options)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["x", "z"]
    for axes, dim in zip(figure.axes, (0, 2), strict=True):
        for name, kind in (("epistemic", epistemic), ("aleatoric", aleatoric)):
            x, y = line(axes, f"median {name}")
            np.testing.assert_array_equal(x, np.arange(1, 7))
            np.testing.assert_allclose(y, np.nanmedian(kind[..., dim], axis=0))
        # Of each kind the band of 90 % of the futures, then that of half of them.
        first = [c.get_paths()[0].vertices for c in axes.collections]
        ends = [np.sort(np.unique(v[v[:, 0] == 1, 1])) for v in first]
        expected = [
            np.nanquantile(kind[:, 0, dim], levels)
            for kind in (epistemic, aleatoric)
            for levels in ([0.05, 0.95], [0.25, 0.75])
        ]
        np.testing.assert_allclose(ends, expected)
        assert line(axes, "trusted")[0][0] == np.median(trusted) + 0.5
    assert "the 2 of 3 most uncertain" in texts(figure)
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epistemic": -1.0}, "epistemic must be standard deviations"),
        ({"aleatoric": 1.0, "cut": 5}, "must have the same shape"),
        ({"trusted": np.zeros(3)}, "trusted must have one number for each of 40"),
        ({"names": ["x"]}, "one name for each of the 3 dimensions"),
    ],
)
def test_ribbons_name_the_bad_argument(change, message):
    cut = change.pop("cut", None)
    kinds = {name: np.ones((40, 6, 3)) for name in ("epistemic", "aleatoric")}
    for name in kinds:
        kinds[name] *= change.pop(name, 1.0)
    kinds["aleatoric"] = kinds["aleatoric"][:, :cut]
    with pytest.raises(ValueError, match=message):
        report.uncertainty_ribbons(**kinds, **({"names": ["x", "y", "z"]} | change))


# --- trusted horizon ----------------------------------------------------------------------------
@pytest.mark.parametrize("length", [6, 90])
def test_histogram_counts_every_future_once(length):
    steps = np.minimum(RNG.integers(0, 2 * length, 200), length)
    figure = report.trusted_horizon_histogram({"near": steps, "far": steps // 2}, length=length)
    axes = figure.axes[0]
    bars, last = ([p for p in axes.patches if p.get_gid() == gid] for gid in ("bars", "to the end"))
    ended, to_the_end = bars[0].get_data().values.sum(), last[0].get_height()
    assert to_the_end == np.mean(steps == length)
    assert ended == pytest.approx(np.mean(steps < length))
    x, y = line(axes, "still")
    np.testing.assert_allclose(y, [np.mean(steps >= t) for t in x])
    assert "near: half are trusted for" in texts(figure)
    figure.canvas.draw()


@pytest.mark.parametrize("bad", [[7], [-1], [0.5]])
def test_histogram_refuses_what_is_no_horizon(bad):
    with pytest.raises(ValueError, match="must be whole numbers from 0 to 6"):
        report.trusted_horizon_histogram({"model": bad}, length=6)


# --- filmstrip ----------------------------------------------------------------------------------
def test_a_cut_dream_is_bleached_from_the_cut_on():
    frames = [np.full((4, 6, 3), 10 * i, np.uint8) for i in range(5)]
    captions = [str(i) for i in range(5)]
    figure = report.filmstrip(frames, captions, trusted=3)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    for before, after in zip(frames[:3], shown[:3], strict=True):
        np.testing.assert_array_equal(before, after)
    assert all(picture.ndim == 2 and picture.min() > 150 for picture in shown[3:])
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 3 + ["not trusted"] * 2
    whole = report.filmstrip(frames, captions, trusted=5)
    assert "not trusted" not in texts(whole)
    figure.canvas.draw()
    with pytest.raises(ValueError, match="trusted must be from 0 to 5 frames, but is 6"):
        report.filmstrip(frames, captions, trusted=6)
