"""Random actions lie in the space and cover it; policies are found by name."""

import jax
import numpy as np
import pytest
from gymnasium import spaces as gs
from gymnasium.vector.utils import iterate

from stochwm.data import RandomPolicy, flat_space, load_policy, unflatten_value

BOUNDS = np.array([[-2, 1], [3, np.inf], [-np.inf, -5], [-np.inf, np.inf], [-3e38, 3e38]], "f4")
SPACE = gs.Tuple(
    (
        gs.Box(BOUNDS[:, 0], BOUNDS[:, 1]),
        gs.Discrete(3, start=2),
        gs.MultiDiscrete([2, 2]),
        gs.MultiBinary(1),
        gs.Box(-1, 1, (1,), np.int8),
    )
)


@pytest.fixture(scope="module")
def actions():
    policy = RandomPolicy(flat_space(SPACE, "action"))
    keys = jax.random.split(jax.random.key(0), 4000)
    return np.asarray(jax.jit(jax.vmap(lambda key: policy(None, key=key)))(keys))


def test_every_action_is_in_the_space(actions):
    from gymnasium.vector.utils import batch_space

    batch = batch_space(SPACE, len(actions))
    values = unflatten_value(SPACE, actions)
    assert all(value in SPACE for value in iterate(batch, values))


def test_marginals(actions):
    uniform, above, below, free = (actions[:, i] for i in range(4))
    assert abs(uniform.mean() + 0.5) < 0.08
    assert abs(uniform.std() - 3 / np.sqrt(12)) < 0.05
    assert abs(above.mean() - 4) < 0.08
    assert abs(below.mean() + 6) < 0.08
    assert abs(free.mean()) < 0.08
    assert abs(free.std() - 1) < 0.05
    assert abs((actions[:, 4] / 3e38).mean()) < 0.05
    np.testing.assert_allclose(actions[:, 5:8].mean(0), 1 / 3, atol=0.04)
    np.testing.assert_allclose(actions[:, 8:12].mean(0), 1 / 2, atol=0.04)
    assert set(np.unique(actions[:, 5:12])) == {0, 1}
    correlations = np.corrcoef(np.delete(actions, [7, 9, 11], axis=1).T)
    others = correlations[~np.eye(len(correlations), dtype=bool)]
    assert np.abs(others).max() < 0.55  # within a one-hot block
    assert np.abs(correlations[:5, 5:]).max() < 0.07
    assert np.abs(correlations[7:, :7]).max() < 0.07


def test_load_policy(tmp_path, monkeypatch):
    (tmp_path / "my_policies.py").write_text(
        "class Best: pass\nclass Namespace:\n    zero = staticmethod(lambda state, *, key: 0)\n"
        "def one(state, *, key): return 1\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_policy("my_policies:one")(None, key=None) == 1
    assert load_policy("my_policies:Namespace.zero")(None, key=None) == 0
    for name in ("my_policies:number", "my_policies:Best"):
        with pytest.raises(TypeError, match="expected a function or module instance"):
            load_policy(name)
    for name, message in {
        "my_policies": "named module:attribute",
        ":one": "named module:attribute",
        "my_policies:two": "has no attribute 'two'",
        "no_such_policies:one": "cannot import 'no_such_policies'",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_policy(name)
