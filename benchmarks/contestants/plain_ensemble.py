"""What one writes with Equinox alone: the particles split over vmapped members, one scan."""

from _contest import serve
from _shapes import DEPTH, HORIZON, MEMBERS, SIZES, WIDTH, gains, starts


def prepare(task, particles):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    state, action = SIZES[task]

    def make(key):
        sizes = (state + action, 2 * state, WIDTH, DEPTH)
        return eqx.nn.MLP(*sizes, activation=jax.nn.silu, key=key)

    members = eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), MEMBERS))
    matrix = jnp.asarray(gains(task))
    first = jnp.asarray(starts(particles, task)).reshape(MEMBERS, -1, state)

    @eqx.filter_jit
    def rollout(members, states, key):
        def step(states, key):
            noise = jax.random.normal(key, states.shape)

            def of_member(member, states, noise):
                def one(s, e):
                    out = member(jnp.concatenate([s, jnp.tanh(s @ matrix)]))
                    mean, raw = jnp.split(out, 2)
                    return s + mean + (1e-3 + jax.nn.softplus(raw)) * e

                return jax.vmap(one)(states, noise)

            states = eqx.filter_vmap(of_member)(members, states, noise)
            return states, states

        return jax.lax.scan(step, states, jax.random.split(key, HORIZON))

    key = jax.random.key(3)
    return lambda: jax.block_until_ready(rollout(members, first, key)), {}


serve(prepare)
