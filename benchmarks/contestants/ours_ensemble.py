"""stochwm: an ensemble of Gaussians imagines, TS-infinity or TS-1."""

import time

from _contest import serve
from _shapes import DEPTH, HORIZON, MEMBERS, SIZES, WIDTH, gains, layers, starts


def prepare(task, particles, devices, way="imagine_tsinf", noise=True, out=None, record="nothing"):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    import stochwm

    stochwm.use_host_devices(devices)
    from stochwm.distributions import Deterministic
    from stochwm.models import Markov
    from stochwm.transitions import AbstractTransition, Ensemble, Gaussian

    state, action = SIZES[task]

    class Delta(AbstractTransition):
        """Predicts the change of state, as the peer does; without noise, its mean alone."""

        kernel: Gaussian

        def __call__(self, s, a):
            prediction = self.kernel(s, a)
            return prediction.affine(s, 1.0) if noise else Deterministic(s + prediction.loc)

    def make(key):
        return Delta(Gaussian(state, action, width=WIDTH, depth=DEPTH, key=key))

    ensemble = Ensemble(make, MEMBERS, key=jax.random.key(0))
    for i, (weight, bias) in enumerate(layers(2 * state, task)):
        where = lambda e, i=i: (  # noqa: E731
            e.members.kernel.network.layers[i].weight,
            e.members.kernel.network.layers[i].bias,
        )
        new = jnp.asarray(weight).mT, jnp.asarray(bias)[:, 0]
        ensemble = eqx.tree_at(where, ensemble, new)
    matrix = jnp.asarray(gains(task))
    policy = lambda s, *, key: jnp.tanh(s @ matrix)  # noqa: E731
    first = jnp.asarray(starts(particles, task))
    extras = {
        "nothing": {},
        "states off": {"save": lambda s: None},
        "distributions": {"record": lambda s, a, p, n: p},
    }[record]

    def rollout(model, states, key):
        propagate = getattr(stochwm, way)
        options = {"key": key, "length": HORIZON, "devices": devices, **extras}
        last, trajectory = propagate(model, policy, states, **options)
        return last, trajectory.state, trajectory.aux

    start = time.perf_counter()
    model = Markov(ensemble)
    keys = jax.random.key(3)
    run = eqx.filter_jit(rollout)
    jax.block_until_ready(run(model, first, keys))
    compile_s = time.perf_counter() - start
    if out is not None:
        np.save(out, np.asarray(run(model, first, keys)[0]))
    return lambda: jax.block_until_ready(run(model, first, keys)), {"compile_s": compile_s}


serve(prepare)
