"""Pictures of agents: what time uncovers, which dreams fade, and files of frames."""

import numpy as np
import pytest

from stochwm.report import agent_history, dream_video, write_gif, write_png

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

ROWS, DREAMS = 6, 8


def drawn(**changes):
    """Dreams that spread, of which the second has ended at row 3."""
    random = np.random.default_rng(0)
    real = np.cumsum(random.normal(size=(ROWS, 2)), axis=0)
    cloud = real + random.normal(size=(DREAMS, ROWS, 2))
    ended = np.zeros((DREAMS, ROWS), bool)
    ended[1, 3:] = True
    black = np.zeros((DREAMS, ROWS, 4, 4, 3), np.uint8)
    arguments = {
        "observations": (cloud, real),
        "rewards": (cloud[..., 0], real[:, 0]),
        "ended": (ended, 4),
        "seen": 2,
        "names": ["x", "y"],
        "frames": (black, black[0]),
    } | changes
    return dream_video(**arguments)


def test_time_uncovers_the_charts_and_dreams_that_are_over_fade():
    frames = drawn()
    assert frames.shape[0] == ROWS
    assert frames.dtype == np.uint8
    ink = [(frame < 250).sum() for frame in frames[:, 200:]]  # below the pictures
    assert all(np.diff(ink) > 0)
    pictures = frames[:, 60:140]
    dark = (pictures.max(axis=-1) == 0).sum(axis=(1, 2))
    pale = (pictures == 255 - 255 // 4).all(axis=-1).sum(axis=(1, 2))
    assert (pale[:4] < 50).all()  # at row 3 it ends, and that row still counts
    assert (pale[4:] > 1000).all()
    assert (dark[4:] < dark[3]).all()


def test_categories_are_drawn_as_shares():
    cells = np.eye(3)[np.random.default_rng(0).integers(3, size=(DREAMS, ROWS))]
    frames = drawn(
        observations=(cells, cells[0]), names=["a", "b", "c"], one_hot=[True] * 3, frames=None
    )
    assert frames.shape[0] == ROWS
    assert frames.std() > 10
    mixed = np.concatenate([cells, np.linspace(0, 1, cells.size // 3).reshape(DREAMS, ROWS, 1)], -1)
    more = drawn(
        observations=(mixed, mixed[0]),
        names=["a", "b", "c", "x"],
        one_hot=[True, True, True, False],
        frames=None,
    )
    assert more.shape[1] > frames.shape[1]  # a chart of x below
    with pytest.raises(ValueError, match="one_hot must have a flag for each of the 3 names"):
        drawn(observations=(cells, cells[0]), names=["a", "b", "c"], one_hot=[True], frames=None)
    with pytest.raises(ValueError, match="names must hold one name for each of the 3"):
        drawn(observations=(cells, cells[0]))
    small = np.zeros((DREAMS, ROWS, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="must be of one size"):
        drawn(frames=(small, small[0, :, :2]))


def test_files_of_frames_hold_all_of_them(tmp_path):
    frames = np.zeros((3, 4, 8, 3), np.uint8)
    frames[1, :, :4], frames[2] = (255, 0, 0), 255
    write_gif(tmp_path / "a.gif", frames, fps=20.0)
    with Image.open(tmp_path / "a.gif") as movie:
        assert (movie.n_frames, movie.size, movie.info["duration"]) == (3, (240, 120), 50)
        movie.seek(1)
        assert movie.convert("RGB").getpixel((10, 10)) == (255, 0, 0)
        assert movie.convert("RGB").getpixel((200, 10)) == (0, 0, 0)
    write_png(tmp_path / "a.png", frames[1])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (240, 120)
    with pytest.raises(ValueError, match=r"\[time, height, width, 3\]"):
        write_gif(tmp_path / "b.gif", frames[..., 0])
    with pytest.raises(ValueError, match="at most 50"):
        write_gif(tmp_path / "b.gif", frames, fps=51.0)


def test_a_history_shows_what_it_holds():
    rows = [{"env_steps": 10 * i, "mean_return": i, "kl": None, "entropy": 1.0} for i in range(4)]
    figure = agent_history(rows, title="ppo")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["return of an episode", "entropy of the policy (nats)"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata()[:, 0], [0, 10, 20, 30])
    whole = rows + [{"env_steps": 40, "imagined_return": 3.0, "real_return": 2.5, "kl": 0.4}]
    labels = {line.get_label() for axes in agent_history(whole).axes for line in axes.lines}
    assert {"imagined (model)", "real", "KL"} <= labels
    with pytest.raises(ValueError, match="at least one row"):
        agent_history([])
