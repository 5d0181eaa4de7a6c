"""Losses: functions of a transition and one example, which `fit` averages over batches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import energy_score
from ..distributions.checks import as_float, check_positive

Loss = Callable[..., Float[Array, ""]]
"""`loss(model, example, *, key) -> scalar` for one example without a batch axis."""


def negative_log_likelihood(noise: Any = 0.0) -> Loss:
    """The loss -log p(s' + e | s, a) with e ~ N(0, diag noise^2), in nats.

    Target noise is for worlds whose next state has atoms (a clipped or discrete dimension): there
    the likelihood of a density has no upper bound. Score such models with the same noise.

    Args:
        noise: standard deviation of the target noise, a scalar or `[state]`, in units of the state.

    Returns:
        A loss over `Transitions` rows, or anything with `state`, `action` and `next_state`.

    Raises:
        ValueError: a noise that is NaN, infinite or negative, or, when the loss is called, of
            another size than the state.
    """
    blurred = blur(noise)

    def loss(model: Any, example: Any, *, key: PRNGKeyArray) -> Float[Array, ""]:
        target = blurred(example.next_state, key)
        return -model(example.state, example.action).log_prob(target)

    return loss


def smoothed_likelihood(noise: Any) -> Loss:
    """The loss -log q(s' + e | s, a), where q is the prediction seen through the same noise as s'.

    As `negative_log_likelihood(noise)`, but the noise is no part of what is learned: q is
    `prediction.smoothed(noise)`, and the model itself, with its futures, stays free of it. Boxes
    need it, which give neither density nor gradient to what lies outside them.

    Args:
        noise: standard deviation of the noise, a positive scalar or `[state]`, in units of the
            state: wide enough to see over the gaps of the data, narrower than what is to be told
            apart.

    Returns:
        A loss over `Transitions` rows.

    Raises:
        ValueError: a noise that is not positive and finite, or, when the loss is called, of
            another size than the state.
    """
    blurred, noise = blur(noise), as_float("noise", noise)
    check_positive("noise", noise)

    def loss(model: Any, example: Any, *, key: PRNGKeyArray) -> Float[Array, ""]:
        target = blurred(example.next_state, key)
        return -model(example.state, example.action).smoothed(noise).log_prob(target)

    return loss


def rollout_likelihood(noise: Any = 0.0) -> Loss:
    """The mean over a window of -log p(s_{t+1} | x_t, a_t), where x_t is imagined, in nats.

    The first state is real; later ones are draws of the model itself, through which the gradient
    flows, so that the model learns to predict from states that it will really meet (Venkatraman et
    al. 2015, "Improving multi-step prediction of learned time series models").

    Args:
        noise: as for `negative_log_likelihood`.

    Returns:
        A loss over `Windows` rows: `state` `[horizon + 1, state]`, `action` `[horizon, action]`.

    Raises:
        ValueError: as `negative_log_likelihood`.
    """
    blurred = blur(noise)

    def loss(model: Any, example: Any, *, key: PRNGKeyArray) -> Float[Array, ""]:
        def step(imagined, inputs):
            action, target, key = inputs
            key_noise, key_draw = jax.random.split(key)
            prediction = model(imagined, action)
            score = -prediction.log_prob(blurred(target, key_noise))
            return prediction.sample(seed=key_draw), score

        keys = jax.random.split(key, example.action.shape[0])
        inputs = (example.action, example.state[1:], keys)
        _, losses = jax.lax.scan(step, _start(model, example), inputs)
        return jnp.mean(losses)

    return loss


def rollout_energy(num_particles: int = 16, scale: Any = 1.0) -> Loss:
    """The mean energy score of imagined particles against a real window, in units of `scale`.

    A strictly proper score of the joint distribution at every horizon (Gneiting & Raftery 2007,
    "Strictly proper scoring rules", equation 22), in its fair form: the mean distance to the real
    state minus half the mean distance between different particles. It needs samples only, whose
    gradient reaches every parameter.

    Args:
        num_particles: imagined futures a window, at least 2.
        scale: what a unit of each dimension is, a scalar or `[state]`: use the training
            standard deviations.

    Returns:
        A loss over `Windows` rows: `state` `[horizon + 1, state]`, `action` `[horizon, action]`.

    Raises:
        ValueError: `num_particles` is below 2; a scale that is not positive and finite, or, when
            the loss is called, of another size than the state.
    """
    if num_particles < 2:
        raise ValueError(f"num_particles must be at least 2, but is {num_particles}.")
    scale = as_float("scale", scale)
    check_positive("scale", scale)

    def loss(model: Any, example: Any, *, key: PRNGKeyArray) -> Float[Array, ""]:
        def step(particles, inputs):
            action, target, key = inputs
            keys = jax.random.split(key, num_particles)
            draw = lambda state, seed: model(state, action).sample(seed=seed)  # noqa: E731
            particles = jax.vmap(draw)(particles, keys)
            return particles, energy_score(particles / scale, target / scale)

        keys = jax.random.split(key, example.action.shape[0])
        state = _start(model, example)
        _check_size("scale", scale, state)
        start = jnp.broadcast_to(state, (num_particles, *state.shape))
        _, scores = jax.lax.scan(step, start, (example.action, example.state[1:], keys))
        return jnp.mean(scores)

    return loss


def blur(noise: Any) -> Callable[[Array, PRNGKeyArray], Array]:
    """`(target, key) -> target + e` with e ~ N(0, diag noise^2); no noise is not drawn."""
    known = np.asarray(noise, float)  # in numpy: a loss may be made where another is traced
    if not (np.isfinite(known) & (known >= 0)).all():
        raise ValueError(f"noise must be finite and not negative, but is {noise}.")

    def blurred(target, key):
        _check_size("noise", known, target)
        if not known.any():
            return target
        return target + jnp.asarray(known, float) * jax.random.normal(key, target.shape)

    return blurred


def _check_size(name: str, value: Array | np.ndarray, state: Any) -> None:
    """Raise `ValueError` where broadcasting would make a state of another size."""
    if value.shape not in ((), state.shape):
        raise ValueError(
            f"{name} must be one number or one a dimension of the state, {list(state.shape)}, but "
            f"has shape {value.shape}."
        )


def _start(model: Any, example: Any) -> Array:
    """The first state, in the precision of the model's own draws: a loop must not change it."""

    def draw(state):
        return model(state, example.action[0]).sample(seed=jax.random.key(0))

    return example.state[0].astype(jax.eval_shape(draw, example.state[0]).dtype)
