"""stochwm: a mixture density imagines, and each draw's log density is recorded."""

import time

from _contest import serve
from _shapes_mixture import ACTION, COMPONENTS, HORIZON, STATE, WIDTH, gains, layers, starts


def prepare(particles, devices):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    import stochwm

    stochwm.use_host_devices(devices)
    from stochwm.models import Markov
    from stochwm.transitions import AbstractTransition, MixtureDensity

    class Delta(AbstractTransition):
        """Predicts the change of state, so that long rollouts stay finite."""

        kernel: MixtureDensity

        def __call__(self, s, a):
            return self.kernel(s, a).affine(0.9 * s, 0.1)

    key = jax.random.key(0)
    options = {"num_components": COMPONENTS, "width": WIDTH, "depth": 2}
    kernel = MixtureDensity(STATE, ACTION, **options, key=key)
    new = [jnp.asarray(weight).T for weight in layers()]
    where = lambda k: [layer.weight for layer in k.network.layers]  # noqa: E731
    model = Markov(Delta(eqx.tree_at(where, kernel, new)))
    matrix = jnp.asarray(gains())
    policy = lambda s, *, key: jnp.tanh(s @ matrix)  # noqa: E731
    first = jnp.asarray(starts(particles))
    record = lambda s, a, prediction, after: prediction.log_prob(after)  # noqa: E731

    def rollout(model, states, key):
        options = {"key": key, "length": HORIZON, "devices": devices, "record": record}
        last, trajectory = stochwm.imagine_particles(model, policy, states, **options)
        return last, trajectory.state, trajectory.aux

    arrays, static = eqx.partition(model, eqx.is_array)
    run = jax.jit(lambda arrays, *rest: rollout(eqx.combine(arrays, static), *rest))
    start = time.perf_counter()
    traced = run.trace(arrays, first, key)
    trace_s = time.perf_counter() - start
    traced.lower().compile()
    extra = {"compile_s": time.perf_counter() - start, "trace_s": trace_s}
    return lambda: jax.block_until_ready(run(arrays, first, key)), extra


serve(prepare)
