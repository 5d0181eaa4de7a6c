import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.envs import Doors


@pytest.fixture(scope="module")
def tables():
    """The law as P[state, action, next], the rewards r[state, action], and the first cell's law."""
    world = Doors()
    cells, doors = world.observation_space.n, world.action_space.n
    states, actions = jnp.eye(int(cells)), jnp.eye(int(doors))

    def entry(state, action):
        return world.law(state, action).mean(), world.reward(state, action, state)

    over_actions = jax.vmap(entry, (None, 0))
    probs, rewards = jax.jit(jax.vmap(over_actions, (0, None)))(states, actions)
    return world, np.asarray(probs), np.asarray(rewards), np.asarray(world.initial().mean())


def value(tables, policy=None):
    """Expected return from the start, by backward induction over the law; default: the best."""
    world, probs, rewards, start = tables
    v = np.zeros(probs.shape[0])
    for _ in range(2 * world.stages):
        q = rewards + probs @ v
        v = q.max(-1) if policy is None else np.sum(policy * q, axis=-1)
        v[-1] = 0.0
    return start @ v


def lobby_rows(world, table, row):
    for stage in range(world.stages):
        table[world.cell(stage)] = row
    return table


def looking(tables):
    """In a hall take the open door."""
    world, probs, _, _ = tables
    policy = np.zeros(probs.shape[:2])
    policy[-1, 0] = 1.0
    for stage in range(world.stages):
        for door in range(world.doors):
            policy[world.cell(stage, door + 1), door] = 1.0
    return policy


def test_rows_are_distributions(tables):
    _, probs, _, start = tables
    np.testing.assert_allclose(probs.sum(-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(start.sum(), 1.0, atol=1e-6)
    np.testing.assert_allclose(probs[-1, :, -1], 1.0)  # the end is the end


def test_best_return_is_the_number_of_stages(tables):
    np.testing.assert_allclose(value(tables), 5.0, rtol=1e-6)


def test_always_safe(tables):
    world, policy = tables[0], looking(tables)
    policy = lobby_rows(world, policy, [1, 0, 0, 0])
    np.testing.assert_allclose(value(tables, policy), 5 * (0.7 * 0.6 + 0.3), rtol=1e-6)


def test_entering_without_looking_pays_one_over_k(tables):
    world, probs, _, _ = tables
    blind = np.full(probs.shape[:2], 0.0)
    blind[:, 2] = 1.0  # enters, then door 2 whatever is open: an open-loop plan
    np.testing.assert_allclose(value(tables, blind), 5 / 4, rtol=1e-6)
    assert 1 / world.doors < float(world.safe)


def test_the_hall_opens_each_door_equally_often(tables):
    world, probs, rewards, _ = tables
    hall = probs[world.cell(1), 3]
    halls = [world.cell(1, k + 1) for k in range(4)]
    np.testing.assert_allclose(hall[halls], 0.25, rtol=1e-6)
    np.testing.assert_allclose(hall.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(rewards[halls], np.eye(4))
    after = probs[halls[0], 2]
    np.testing.assert_allclose(after[world.cell(2)], 0.7, rtol=1e-6)
    np.testing.assert_allclose(after[world.cell(2, 1)], 0.3 / 4, rtol=1e-6)
    np.testing.assert_allclose(probs[world.cell(4, 1), 0, -1], 1.0)


def test_entropy_of_the_chance_steps(tables):
    world = tables[0]
    eye, act = jnp.eye(26), jnp.eye(4)
    np.testing.assert_allclose(world.entropy(eye[world.cell(0)], act[1]), np.log(4), rtol=1e-5)
    of_start = -0.7 * np.log(0.7) - 0.3 * np.log(0.3 / 4)
    np.testing.assert_allclose(world.entropy(eye[world.cell(0)], act[0]), of_start, rtol=1e-5)
    assert world.entropy(eye[world.cell(4)], act[0]) == 0.0


def test_only_the_end_ends(tables):
    world = tables[0]
    eye, act = jnp.eye(26), jnp.eye(4)
    assert world.discount(eye[world.cell(4)], act[0], eye[-1]) == 0.0
    assert world.discount(eye[0], act[0], eye[world.cell(4, 2)]) == 1.0
    assert world.state_names[world.cell(2, 3)] == "2: door 2"
    assert world.state_names[-1] == "end"


def test_gradient_of_the_law_is_finite_at_impossible_cells(tables):
    world = tables[0]

    def cost(forced):
        law = Doors(forced=forced).law(jnp.eye(26)[0], jnp.eye(4)[0])
        return law.log_prob(jnp.eye(26)[world.cell(1)])

    np.testing.assert_allclose(jax.grad(cost)(0.3), -1 / 0.7, rtol=1e-5)
