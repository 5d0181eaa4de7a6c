"""What one writes with Equinox alone: DreamerV3's RSSM on a batch, one scan over time."""

from _contest import serve
from _shapes_rssm import (
    ACTIONS,
    BLOCKS,
    EPSILON,
    GROUPS,
    HORIZON,
    MIX,
    SIZES,
    UPDATE_BIAS,
    bins,
    starts,
    weights,
)


def prepare(size, out=None):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    shape, given = SIZES[size], jax.tree.map(jnp.asarray, weights(SIZES[size]))
    values = jnp.asarray(bins())

    class Hidden(eqx.Module):
        weight: jax.Array
        bias: jax.Array
        norm: eqx.nn.RMSNorm

        def __init__(self, weight):
            self.weight, self.bias = weight, jnp.zeros(weight.shape[-1])
            self.norm = eqx.nn.RMSNorm(weight.shape[-1], EPSILON, use_bias=False)

        def __call__(self, x):
            return jax.nn.silu(jax.vmap(self.norm)(x @ self.weight + self.bias))

    class MLP(eqx.Module):
        hidden: list[Hidden]
        weight: jax.Array
        bias: jax.Array

        def __init__(self, weights):
            self.hidden = [Hidden(weight) for weight in weights[:-1]]
            self.weight, self.bias = weights[-1], jnp.zeros(weights[-1].shape[-1])

        def __call__(self, x):
            for layer in self.hidden:
                x = layer(x)
            return x @ self.weight + self.bias

    class BlockLinear(eqx.Module):
        weight: jax.Array
        bias: jax.Array

        def __init__(self, weight):
            self.weight, self.bias = weight, jnp.zeros(weight.shape[::2])

        def __call__(self, x):
            return jnp.einsum("nbi,bio->nbo", x, self.weight) + self.bias

    class Agent(eqx.Module):
        embed: list[Hidden]
        mix: BlockLinear
        gates: BlockLinear
        norm: eqx.nn.RMSNorm
        heads: dict[str, MLP]

        def __init__(self):
            self.embed = [Hidden(weight) for weight in given["embed"]]
            self.mix, self.gates = BlockLinear(given["mix"][0]), BlockLinear(given["gates"][0])
            self.norm = eqx.nn.RMSNorm(shape.deter, EPSILON, use_bias=False)
            self.heads = {
                name: MLP(given[name]) for name in ("prior", "actor", "reward", "discount")
            }

        def cell(self, deter, *inputs):
            embedded = [e(x) for e, x in zip(self.embed, (deter, *inputs), strict=True)]
            shared = jnp.concatenate(embedded, -1)
            rows = deter.reshape(-1, BLOCKS, shape.block)
            wide = jnp.concatenate([rows, jnp.repeat(shared[:, None], BLOCKS, 1)], -1)
            mixed = jax.nn.silu(jax.vmap(self.norm)(self.mix(wide).reshape(deter.shape)))
            gates = jnp.split(self.gates(mixed.reshape(-1, BLOCKS, shape.block)), 3, -1)
            reset, candidate, update = (x.reshape(deter.shape) for x in gates)
            candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
            update = jax.nn.sigmoid(update + UPDATE_BIAS)
            return update * candidate + (1 - update) * deter

    def draw(logits, key):
        classes = logits.shape[-1]
        probs = (1 - MIX) * jax.nn.softmax(logits) + MIX / classes
        return jax.nn.one_hot(jax.random.categorical(key, jnp.log(probs)), classes)

    @eqx.filter_jit
    def rollout(agent, deter, stoch, key):
        def step(carry, key):
            deter, stoch = carry
            key_action, key_state = jax.random.split(key)
            features = jnp.concatenate([deter, stoch], -1)
            action = draw(agent.heads["actor"](features), key_action)
            deter = agent.cell(deter, stoch, action)
            logits = agent.heads["prior"](deter).reshape(-1, GROUPS, shape.classes)
            stoch = draw(logits, key_state).reshape(stoch.shape)
            features = jnp.concatenate([deter, stoch], -1)
            reward = jax.nn.softmax(agent.heads["reward"](features)) @ values
            discount = jax.nn.sigmoid(agent.heads["discount"](features)[:, 0])
            return (deter, stoch), (features, action, reward, discount)

        return jax.lax.scan(step, (deter, stoch), jax.random.split(key, HORIZON))[1]

    agent, key = Agent(), jax.random.key(3)
    deter, stoch = map(jnp.asarray, starts(shape))
    if out is not None:
        after = agent.cell(deter, stoch, jnp.tile(jnp.eye(ACTIONS)[0], (len(deter), 1)))
        features = jnp.concatenate([after, stoch], -1)
        heads = [agent.heads["prior"](after)]
        heads += [agent.heads[name](features) for name in ("actor", "reward", "discount")]
        np.savez(out, after, *heads)
    return lambda: jax.block_until_ready(rollout(agent, deter, stoch, key)), {}


serve(prepare)
