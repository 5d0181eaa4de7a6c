"""What one writes with Equinox and optax alone: one jitted, vmapped step a call."""

from _contest import serve
from _shapes import DEPTH, SIZES, WIDTH


def prepare(task, members, steps=50):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    state, action = SIZES[task]
    rng = np.random.default_rng(0)
    s, a = (rng.normal(size=(members, 256, n)).astype(np.float32) for n in (state, action))
    batch = jnp.asarray(np.concatenate([s, a], -1)), jnp.asarray(s + 0.1 * rng.normal(size=s.shape))
    batch = jax.tree.map(lambda x: x.astype(jnp.float32), batch)

    def make(key):
        return eqx.nn.MLP(state + action, 2 * state, WIDTH, DEPTH, activation=jax.nn.silu, key=key)

    models = eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), members))
    optimizer = optax.adam(1e-3)
    opt_state = eqx.filter_vmap(lambda m: optimizer.init(eqx.filter(m, eqx.is_array)))(models)

    def loss(model, x, y):
        mean, raw = jnp.split(jax.vmap(model)(x), 2, axis=-1)
        scale = 1e-3 + jax.nn.softplus(raw)
        return jnp.mean(jnp.sum(0.5 * ((y - mean) / scale) ** 2 + jnp.log(scale), axis=-1))

    @eqx.filter_jit(donate="all")
    def step(models, opt_state, batch):
        def one(model, opt_state, x, y):
            value, grads = eqx.filter_value_and_grad(loss)(model, x, y)
            updates, opt_state = optimizer.update(grads, opt_state)
            return eqx.apply_updates(model, updates), opt_state, value

        return *eqx.filter_vmap(one)(models, opt_state, *batch), batch

    kept = [(models, opt_state, batch)]

    def run():
        for _ in range(steps):
            models, opt_state, _, batch = step(*kept[0])
            kept[0] = (models, opt_state, batch)
        jax.block_until_ready(kept[0])

    return run, {"steps": steps}


serve(prepare)
