"""The same rollout on plain JAX: with distrax's mixture, or with the network alone."""

from _contest import serve
from _shapes_mixture import COMPONENTS, HORIZON, STATE, gains, layers, starts


def prepare(particles, head):
    import time

    import jax
    import jax.numpy as jnp

    weights = [jnp.asarray(w) for w in layers()]
    matrix = jnp.asarray(gains())
    first = jnp.asarray(starts(particles))

    def network(states):
        x = jnp.concatenate([states, jnp.tanh(states @ matrix)], axis=-1)
        for weight in weights[:-1]:
            x = jax.nn.silu(x @ weight)
        return x @ weights[-1]

    def mixture(states, key):
        import distrax

        out = network(states).reshape(-1, COMPONENTS, 1 + 2 * STATE)
        loc = 0.9 * states[:, None] + 0.1 * out[..., 1 : 1 + STATE]
        scale = 0.1 * (1e-3 + jax.nn.softplus(out[..., 1 + STATE :]))
        parts = distrax.Independent(distrax.Normal(loc, scale), 1)
        law = distrax.MixtureSameFamily(distrax.Categorical(logits=out[..., 0]), parts)
        draw = law.sample(seed=key)
        return draw, law.log_prob(draw)

    def alone(states, key):
        out = network(states)
        return 0.9 * states + 0.1 * out[:, :STATE], out[:, 0]

    @jax.jit
    def rollout(states, key):
        def step(states, key):
            after, log_prob = (mixture if head == "distrax" else alone)(states, key)
            return after, (after, log_prob)

        return jax.lax.scan(step, states, jax.random.split(key, HORIZON))

    key = jax.random.key(3)
    start = time.perf_counter()
    rollout.trace(first, key)
    trace_s = time.perf_counter() - start
    return lambda: jax.block_until_ready(rollout(first, key)), {"trace_s": trace_s}


serve(prepare)
