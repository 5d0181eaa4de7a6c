"""The most that this machine's matrix products reach at the shapes of a rollout: the best form."""

import statistics
import time

from _contest import serve
from _shapes import MEMBERS, WIDTH

REPEATS = 20


def prepare(particles, devices):
    import jax
    import jax.numpy as jnp
    import numpy as np

    import stochwm

    stochwm.use_host_devices(devices)
    rng = np.random.default_rng(0)
    rows = particles // MEMBERS // devices * devices
    x = jnp.asarray(rng.normal(size=(MEMBERS, rows, WIDTH)), "float32")
    w = jnp.asarray(rng.normal(size=(MEMBERS, WIDTH, WIDTH)) / WIDTH, "float32")
    flops = 2.0 * MEMBERS * rows * WIDTH**2 * REPEATS
    flat = np.asarray(x).reshape(-1, WIDTH)
    one = np.asarray(w[0])

    def chain(product):
        def run(x, w):
            return jax.lax.fori_loop(0, REPEATS, lambda _, x: product(x, w), x)

        return run

    batched = chain(jnp.matmul)
    listed = chain(lambda x, w: jnp.stack([a @ b for a, b in zip(x, w, strict=True)]))
    forms = {"numpy": None}
    for name, form in (("batched", batched), ("list", listed)):
        spread = _spread(form, devices)
        for library, options in (("", None), (", no ynn", NO_YNN)):
            forms[name + library] = jax.jit(spread, compiler_options=options)

    def best():
        rates = {}
        for name, form in forms.items():
            start = time.perf_counter()
            if form is None:
                y = flat
                for _ in range(REPEATS):
                    y = y @ one
            else:
                jax.block_until_ready(form(x, w))
            rates[name] = flops / (time.perf_counter() - start)
        return rates

    best()
    rates = [best() for _ in range(15)]
    peaks = {name: statistics.median(rate[name] for rate in rates) / 1e9 for name in forms}
    return best, {"gflops": peaks, "peak_gflops": max(peaks.values())}


NO_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}


def _spread(form, devices):
    import jax
    import numpy as np
    from jax.sharding import Mesh, PartitionSpec

    if devices == 1:
        return form
    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("d",))
    rows = PartitionSpec(None, "d")
    specs = {"in_specs": (rows, PartitionSpec()), "out_specs": rows}
    return jax.shard_map(form, mesh=mesh, check_vma=False, **specs)


serve(prepare)
