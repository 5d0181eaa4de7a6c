"""Calibration where the law is known: the walk, Wet-Chicken, and planted over-confidence."""

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

import stochwm.envs  # noqa: F401, registers the bundled worlds
from stochwm import imagine, replay
from stochwm.calibration import (
    Spread,
    central_level,
    choose_starts,
    energy_score,
    hpd_level,
    kernel_density,
    open_loop_clouds,
    pit,
    pit_tests,
    rank_of,
    recalibrate,
)
from stochwm.data import Episodes, collect, find_pins, flat_space, standardisers
from stochwm.distributions import UniformMixture
from stochwm.envs import WORLDS
from stochwm.models import AbstractWorldModel, Markov
from stochwm.training import (
    default_optimizer,
    fit,
    negative_log_likelihood,
    smoothed_likelihood,
)
from stochwm.transitions import (
    BoxMixtureDensity,
    Clipped,
    Ensemble,
    Gaussian,
    MixtureDensity,
    Pinned,
    Standardised,
)
from stochwm.transitions.base import AbstractTransition

HORIZONS = (1, 2, 5, 10, 20)
FAR_HORIZONS = (1, 2, 5, 10, 20, 50)
MEMBERS, COMPONENTS, WIDTH = 5, 8, 64
PARTICLES = 2_000  # whose predictions make the density of the walk
SIGNIFICANT = 0.01
LEVEL = 0.9  # of the regions of the planted over-confidence


# --- worlds and models ------------------------------------------------------------------------
def gather(env_id: str, sizes: tuple[int, int, int], seed: int):
    """Train, validation and test episodes under random actions, and the world."""
    parts = [
        collect(env_id, steps=steps, seed=3 * seed + i, progress=False)
        for i, steps in enumerate(sizes)
    ]
    return (*parts, gymnasium.make(env_id).unwrapped.world)


def learn(kind, train, validation, noise, seed: int, *, updates: int, decay: float) -> Markov:
    """Five kernels of one kind as a world model; boxes are pinned to the atoms of the data."""
    rows, spaces = train.transitions(), (train.observation_space, train.action_space)
    boxes = kind is BoxMixtureDensity
    loss = (smoothed_likelihood if boxes else negative_log_likelihood)(noise)
    pins = find_pins(rows, COMPONENTS) if boxes else None
    options = {"updates": updates, "decay": decay, "pins": pins}
    return Markov(learn_kernel(kind, rows, validation.transitions(), spaces, loss, seed, **options))


def learn_kernel(
    kind,
    rows,
    validation,
    spaces,
    loss,
    seed: int,
    *,
    updates: int,
    decay: float,
    pins=None,
    bounds=None,
    width=WIDTH,
    depth=2,
    members=MEMBERS,
    floor=1e-3,
) -> Ensemble:
    """Kernels of one kind, trained on transitions between flat spaces, clipped at bounds.

    `floor` is the least standard deviation of a Gaussian, in standard deviations of the change.
    """
    fixed = standardisers(rows, *spaces)
    options = {"min_scale": floor} if kind is Gaussian else {"num_components": COMPONENTS}

    def make(key):
        sizes = (space.size for space in spaces)
        kernel = kind(*sizes, width=width, depth=depth, **options, key=key)
        kernel = Standardised(kernel, *fixed)
        kernel = kernel if bounds is None else Clipped(kernel, bounds)
        return kernel if pins is None else Pinned(kernel, pins)

    key_model, key_fit = jax.random.split(jax.random.key(1000 + seed))
    return fit(
        Ensemble(make, members, key=key_model),
        rows,
        loss,
        default_optimizer(updates, weight_decay=decay),
        key=key_fit,
        validation=validation,
        steps=updates,
        evaluate_every=100,
        bootstrap=False,
        progress=False,
    ).model


# --- the walk ---------------------------------------------------------------------------------
def walk(seed: int) -> dict[str, float]:
    """Excess, PIT and region levels at each horizon."""
    env_id = "stochwm/MixtureWalk-v0"
    train, validation, test, world = gather(env_id, (20_000, 4_000, 10_000), seed)
    starts, result = choose_starts(test, 300, max(HORIZONS)), {}
    for name, kind in (("mixture", MixtureDensity), ("gaussian", Gaussian)):
        model = learn(kind, train, validation, 0.0, seed, updates=3_000, decay=1e-2)
        for horizon in HORIZONS:
            there = starts.mask[:, horizon - 1]
            inputs = (
                jnp.asarray(starts.state[there]),
                jnp.asarray(starts.action[there, :horizon]),
                jnp.asarray(starts.future[there, horizon - 1]),
                jax.random.split(jax.random.key(seed), there.sum()),
            )
            excess, levels, of_law = ahead(model, world, *inputs)
            episode = starts.episode[there]
            result[f"{name}_excess_{horizon}"] = float(jnp.mean(excess))
            if name == "mixture":
                for who, values in (("", levels), ("law_", of_law)):
                    for kind_of_level, column in zip(("pit", "region"), values, strict=True):
                        p = pit_tests(np.asarray(column), episode).cramer_von_mises.p_value
                        result[f"{who}p_{kind_of_level}_{horizon}"] = p
    return result | fair_p_values(result)


def fair_p_values(result: dict[str, float]) -> dict[str, float]:
    """What several p-values say together, of the model (`p_...`) and of the law (`law_p_...`).

    The least one where the law itself passes on the same futures, and the least of all times their
    number (Bonferroni), below 0.01 by chance in at most one run of a hundred.
    """
    of_model = {name: p for name, p in result.items() if name.startswith("p_")}
    passed = [p for name, p in of_model.items() if result[f"law_{name}"] >= SIGNIFICANT]
    return {
        "p_where_law_passes": min(passed, default=1.0),
        "p_bonferroni": min(1.0, len(of_model) * min(of_model.values())),
        "law_p_least": min(result[f"law_{name}"] for name in of_model),
        "tests_the_law_fails": len(of_model) - len(passed),
    }


@eqx.filter_jit
def ahead(model, world, states, plans, reached, keys):
    """Excess NLL over the exact law; PIT and region level of what came, of both."""

    def one(inputs):
        state, plan, value, key = inputs
        key_cloud, key_pit, key_region = jax.random.split(key, 3)
        density, law = after(model, state, plan, key_cloud), world.law_after(state, plan)

        def levels(prediction):
            region = hpd_level(prediction, value, key=key_region, num_samples=200)
            return pit(prediction, value, key=key_pit), region[None]

        return law.log_prob(value) - density.log_prob(value), levels(density), levels(law)

    return jax.lax.map(one, (states, plans, reached, keys), batch_size=4)


def after(model, state, plan, key) -> UniformMixture:
    """The density of a model after a plan: what each member predicts from its own particles."""
    if len(plan) == 1:
        return model.transition(state, plan[0]).flatten()

    def of_member(member, keys):
        alone = Markov(member)
        where = jax.vmap(lambda key: replay(alone, state, plan[:-1], key=key)[0])(keys)
        return eqx.filter_vmap(lambda s: member(s, plan[-1]))(where)

    keys = jax.random.split(key, (MEMBERS, PARTICLES // MEMBERS))
    stacked = eqx.filter_vmap(of_member)(model.kernel.members, keys)
    join = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    return UniformMixture(jax.tree.map(join, stacked)).flatten()


# --- Wet-Chicken ------------------------------------------------------------------------------
def chicken(seed: int) -> dict[str, float]:
    """Energy score of learned futures over that of the law's, and the PIT of y."""
    env_id = "stochwm/WetChicken-v0"
    train, validation, test, world = gather(env_id, (10_000, 2_000, 20_000), seed)
    noise = np.asarray(world.noise_convention)
    model = learn(BoxMixtureDensity, train, validation, noise, seed, updates=3_000, decay=0.03)
    starts, result = choose_starts(test, 1_000, max(HORIZONS)), {}
    models, key = (("model", model), ("law", world)), jax.random.key(10 + seed)
    clouds = {name: open_loop_clouds(m, starts, HORIZONS, key=key) for name, m in models}
    score = jax.jit(lambda c, x: jax.lax.map(lambda pair: energy_score(*pair), (c, x)))
    for i, horizon in enumerate(HORIZONS):
        there = starts.mask[:, horizon - 1]
        value = jnp.asarray(starts.future[there, horizon - 1])
        energy = {name: score(cloud[there, :, i], value).mean() for name, cloud in clouds.items()}
        keys = jax.random.split(jax.random.key(seed), there.sum())
        of_y = jax.vmap(lambda c, x, key: pit(c[:, 1:], x[1:], key=key))
        result[f"energy_law_{horizon}"] = float(energy["law"])
        result[f"ratio_{horizon}"] = float(energy["model"] / energy["law"])
        for who, name in (("", "model"), ("law_", "law")):
            levels = of_y(clouds[name][there, :, i], value, keys)
            test_of_pit = pit_tests(np.asarray(levels), starts.episode[there])
            result[f"{who}p_pit_{horizon}"] = test_of_pit.cramer_von_mises.p_value
    ratio = max(result[f"ratio_{h}"] for h in HORIZONS)
    return result | {"ratio_worst": ratio} | fair_p_values(result)


# --- planted over-confidence ------------------------------------------------------------------
def planted_fork(seed: int) -> dict[str, float]:
    """A learned Fork whose spread is halved, and repaired."""
    return planted(WORLDS["stochwm/Fork-v0"](), seed)


def planted_chicken(seed: int) -> dict[str, float]:
    """The same on Wet-Chicken with normal noise of 0.1 on every step, which leaves no atom."""
    world = WORLDS["stochwm/WetChicken-v0"]()
    return planted(world, seed, noise=jnp.asarray(world.noise_convention))


def planted(world, seed: int, noise=None) -> dict[str, float]:
    """Coverage and energy score at each horizon of the law, the spoilt and the repaired model."""
    law = Markov(Law(world, noise))
    train, validation, holdout, test = (
        simulate(world, law, number, seed=4 * seed + i)
        for i, number in enumerate((200, 40, 400, 1_500))
    )
    learned = learn(MixtureDensity, train, validation, 0.0, seed, updates=3_000, decay=1e-2)
    spoilt = Markov(Spread(learned.kernel, 0.5))
    repaired = recalibrate(
        spoilt,
        holdout,
        method="scale",
        per="horizon",
        horizons=FAR_HORIZONS,
        train=train,
        key=jax.random.key(50 + seed),
    )
    starts, result = choose_starts(test, 3_000, max(FAR_HORIZONS)), {}
    for name, model in (("law", law), ("before", spoilt), ("after", repaired)):
        clouds = open_loop_clouds(model, starts, FAR_HORIZONS, key=jax.random.key(10 + seed))
        for i, horizon in enumerate(FAR_HORIZONS):
            there = starts.mask[:, horizon - 1]
            keys = jax.random.split(jax.random.key(seed), there.sum())
            value = jnp.asarray(starts.future[there, horizon - 1])
            levels, ranks, energy = judge(clouds[there, :, i], value, keys)
            result[f"{name}_interval_{horizon}"] = float(jnp.mean(levels <= LEVEL))
            # The share of particles in less dense places: low where what came is improbable.
            result[f"{name}_region_{horizon}"] = float(jnp.mean(ranks >= 1 - LEVEL))
            result[f"{name}_energy_{horizon}"] = float(jnp.mean(energy))
    kinds = ("interval", "region")
    off = lambda h: max(abs(result[f"after_{kind}_{h}"] - LEVEL) for kind in kinds)  # noqa: E731
    least = [max(result[f"before_{kind}_{h}"] for kind in kinds) for h in FAR_HORIZONS]
    ratios = [result[f"after_energy_{h}"] / result[f"before_energy_{h}"] for h in FAR_HORIZONS]
    return result | {
        "before_most": max(least),
        "after_off_1": off(1),
        "after_off_most": max(off(h) for h in FAR_HORIZONS),
        "energy_ratio_most": max(ratios),
    }


@jax.jit
def judge(clouds, values, keys):
    """Level of the central interval, rank of the density, and energy score of each cloud."""

    def one(inputs):
        cloud, value, key = inputs
        key_pit, key_rank = jax.random.split(key)
        level = central_level(pit(cloud, value, key=key_pit))
        return (
            level,
            rank_of(kernel_density, cloud, value, key=key_rank),
            energy_score(cloud, value),
        )

    return jax.lax.map(one, (clouds, values, keys), batch_size=50)


class Law(AbstractTransition):
    """The law of a world as a kernel, with normal noise on every step where there is any."""

    world: AbstractWorldModel
    noise: jax.Array | None

    def __call__(self, state, action):
        law = self.world.law(state, action)
        return law if self.noise is None else law.smoothed(self.noise)


def simulate(world, law, number: int, *, seed: int, steps: int = 100, policy=None) -> Episodes:
    """Episodes of the law under a policy, by default uniformly random actions."""
    low, high = (jnp.asarray(x) for x in (world.action_space.low, world.action_space.high))

    def uniform(state, *, key):
        return jax.random.uniform(key, low.shape, minval=low, maxval=high)

    act = uniform if policy is None else policy

    @eqx.filter_jit
    def run(law, keys):
        def one(key):
            key_start, key_future = jax.random.split(key)
            begin = world.initial().sample(seed=key_start)
            return begin, imagine(law, act, begin, key=key_future, length=steps)[1]

        return jax.vmap(one)(keys)

    begin, future = run(law, jax.random.split(jax.random.key(seed), number))
    state = np.concatenate([begin[:, None], future.state], axis=1)
    # The action of an index is the one chosen there, and none is at the last.
    action = np.pad(future.action, ((0, 0), (0, 1), (0, 0)))
    flags = np.zeros((number, steps + 1), bool)
    first, last = flags.copy(), flags.copy()
    first[:, 0] = last[:, -1] = True
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    return Episodes(
        flat(state),
        flat(action),
        np.zeros(flags.size),
        flat(first),
        flat(last),
        flat(flags),
        observation_space=flat_space(world.observation_space),
        action_space=flat_space(world.action_space),
    )
