"""stochwm: training steps of an ensemble of Gaussians, many in one call, as `fit` does them."""

from _contest import serve
from _shapes import DEPTH, SIZES, WIDTH


def prepare(task, members, devices, steps=50, rows=20_000):
    import jax
    import numpy as np
    import optax

    import stochwm

    stochwm.use_host_devices(devices)
    from stochwm.data import Transitions
    from stochwm.training.engine import begin, make_chunk, make_inputs
    from stochwm.training.losses import negative_log_likelihood
    from stochwm.training.trainable import partition_trainable
    from stochwm.transitions import Ensemble, Gaussian

    state, action = SIZES[task]
    rng = np.random.default_rng(0)
    s, a, e = (rng.normal(size=(rows, n)).astype(np.float32) for n in (state, action, state))
    zeros, ones = np.zeros(rows, np.float32), np.ones(rows, np.float32)
    data = Transitions(s, a, zeros, ones, s + 0.1 * e, np.zeros(rows, int))
    make = lambda key: Gaussian(state, action, width=WIDTH, depth=DEPTH, key=key)  # noqa: E731
    ensemble = Ensemble(make, members, key=jax.random.key(0))
    trainable, fixed = partition_trainable(ensemble.members)
    optimizer = optax.adam(1e-3)
    options = {"num_members": members, "bootstrap": True}
    inputs = make_inputs(fixed, data, None, key=jax.random.key(1), devices=devices, **options)
    chunk = make_chunk(negative_log_likelihood(), optimizer, 256, 10, devices)
    kept = [begin(trainable, optimizer)]

    def run():
        kept[0], trace = chunk(inputs, kept[0], steps)
        jax.block_until_ready(trace)

    return run, {"steps": steps}


serve(prepare)
