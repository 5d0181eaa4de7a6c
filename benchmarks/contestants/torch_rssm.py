"""The RSSM of DreamerV3 in bare PyTorch, batched and without gradient."""

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


def prepare(size, threads, out=None):
    import numpy as np
    import torch
    from torch import nn
    from torch.nn.functional import one_hot

    torch.set_num_threads(threads)
    shape, given = SIZES[size], weights(SIZES[size])

    class BlockLinear(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(torch.from_numpy(weight))
            self.bias = nn.Parameter(torch.zeros(weight.shape[0], weight.shape[2]))

        def forward(self, x):
            return torch.einsum("nbi,bio->nbo", x, self.weight) + self.bias

    def linear(weight):
        layer = nn.Linear(*weight.shape)
        layer.weight.data = torch.from_numpy(weight.T.copy())
        nn.init.zeros_(layer.bias)
        return layer

    def hidden(weight):
        return nn.Sequential(linear(weight), nn.RMSNorm(weight.shape[1], EPSILON), nn.SiLU())

    def mlp(part):
        *inner, last = given[part]
        return nn.Sequential(*[hidden(weight) for weight in inner], linear(last))

    embed = nn.ModuleList(hidden(weight) for weight in given["embed"])
    mix, gates = BlockLinear(given["mix"][0]), BlockLinear(given["gates"][0])
    norm = nn.RMSNorm(shape.deter, EPSILON)
    prior, actor, reward, discount = map(mlp, ("prior", "actor", "reward", "discount"))
    values = torch.from_numpy(bins())

    def draw(logits, classes):
        probs = (1 - MIX) * torch.softmax(logits, -1) + MIX / classes
        # Gumbel noise: 2 and 3 times as fast here as `multinomial` and `torch.distributions`.
        gumbel = -torch.log(-torch.log(torch.rand_like(probs)))
        index = torch.argmax(torch.log(probs) + gumbel, -1)
        return one_hot(index, classes).to(probs.dtype)

    def cell(deter, stoch, action):
        shared = torch.cat([e(x) for e, x in zip(embed, (deter, stoch, action), strict=True)], -1)
        rows = deter.unflatten(-1, (BLOCKS, -1))
        wide = torch.cat([rows, shared[:, None].expand(-1, BLOCKS, -1)], -1)
        mixed = torch.nn.functional.silu(norm(mix(wide).flatten(1)))
        parts = gates(mixed.unflatten(-1, (BLOCKS, -1))).chunk(3, -1)
        reset, candidate, update = (part.flatten(1) for part in parts)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update + UPDATE_BIAS)
        return update * candidate + (1 - update) * deter

    deter_0, stoch_0 = map(torch.from_numpy, starts(shape))
    if out is not None:
        with torch.no_grad():
            deter = cell(deter_0, stoch_0, torch.eye(ACTIONS)[0].expand(len(deter_0), -1))
            features = torch.cat([deter, stoch_0], -1)
            first = deter, prior(deter), actor(features), reward(features), discount(features)
            np.savez(out, *[x.numpy() for x in first])

    def run():
        with torch.no_grad():
            deter, stoch, kept = deter_0, stoch_0, []
            features = torch.cat([deter, stoch], -1)
            for _ in range(HORIZON):
                action = draw(actor(features), ACTIONS)
                deter = cell(deter, stoch, action)
                logits = prior(deter).unflatten(-1, (GROUPS, -1))
                stoch = draw(logits, shape.classes).flatten(1)
                features = torch.cat([deter, stoch], -1)
                expected = torch.softmax(reward(features), -1) @ values
                kept.append((features, action, expected, torch.sigmoid(discount(features)[:, 0])))
            return [torch.stack(x) for x in zip(*kept, strict=True)]

    return run, {}


serve(prepare)
