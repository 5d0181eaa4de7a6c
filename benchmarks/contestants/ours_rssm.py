"""stochwm: an RSSM with DreamerV3's sizes imagines under an actor."""

import time

from _contest import serve
from _shapes_rssm import (
    ACTIONS,
    BINS,
    BLOCKS,
    GROUPS,
    HORIZON,
    MIX,
    SIZES,
    starts,
    weights,
)


def prepare(size, devices, out=None):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    import stochwm

    stochwm.use_host_devices(devices)
    from stochwm.agents.actors import OneHotActor
    from stochwm.distributions import LatentState
    from stochwm.models import RSSM, CategoricalLatent, Perceptron, SymexpTwoHot

    shape, given, key = SIZES[size], weights(SIZES[size]), jax.random.key(0)
    make = lambda part: Perceptron(  # noqa: E731
        given[part][0].shape[0],
        given[part][-1].shape[1],
        shape.hidden,
        len(given[part]) - 1,
        key=key,
    )
    model = RSSM(
        action_bounds=(-np.ones(ACTIONS), np.ones(ACTIONS)),  # as they are, for one-hot actions
        latent=CategoricalLatent(GROUPS, shape.classes, MIX),
        encoder=lambda x: x,
        embedding=1,
        make_decoder=lambda features, key: None,
        reward_scalar=SymexpTwoHot(BINS),
        deter=shape.deter,
        width=shape.hidden,
        blocks=BLOCKS,
        horizon=None,
        key=key,
    )
    model = eqx.tree_at(lambda m: m.prior_head, model, make("prior"))
    where = lambda m: [  # noqa: E731
        *[linear for embed in m.cell.embed for linear in embed.hidden],
        m.cell.mix,
        m.cell.gates,
        *[
            linear
            for head in (m.prior_head, m.reward_head, m.discount_head)
            for linear in (*head.hidden, head.output)
        ],
    ]
    order = ("embed", "mix", "gates", "prior", "reward", "discount")
    model = filled(model, where, [weight for part in order for weight in given[part]])
    actor = filled(make("actor"), lambda m: [*m.hidden, m.output], given["actor"])
    head = OneHotActor((ACTIONS,), MIX)
    states = LatentState(*map(jnp.asarray, starts(shape)))

    @eqx.filter_jit
    def run(model, actor, states, key):
        policy = lambda s, *, key: head(actor(model.features(s))).sample(seed=key)  # noqa: E731
        options = {"key": key, "length": HORIZON, "devices": devices}
        return stochwm.imagine_particles(model, policy, states, **options)[1]

    if out is not None:

        def first(state):
            deter = model.cell(state.deter, state.stoch, jnp.eye(ACTIONS)[0])
            features = model.features(LatentState(deter, state.stoch))
            heads = (actor, model.reward_head, model.discount_head)
            return deter, model.prior_head(deter), *[head(features) for head in heads]

        np.savez(out, *jax.vmap(first)(states))
    start = time.perf_counter()
    jax.block_until_ready(run(model, actor, states, key))
    compile_s = time.perf_counter() - start
    return lambda: jax.block_until_ready(run(model, actor, states, key)), {"compile_s": compile_s}


def filled(module, where, new):
    """The module with these weights, `[inputs, outputs]`, in the layers that `where` lists."""
    import equinox as eqx
    import jax.numpy as jnp

    transposed = [jnp.asarray(weight).mT for weight in new]
    return eqx.tree_at(lambda m: [layer.weight for layer in where(m)], module, transposed)


serve(prepare)
