"""The same rollout on PyTorch's `MixtureSameFamily`."""

from _contest import serve
from _shapes_mixture import COMPONENTS, HORIZON, STATE, gains, layers, starts


def prepare(particles):
    import torch
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
    from torch.nn.functional import silu, softplus

    weights = [torch.from_numpy(w) for w in layers()]
    matrix = torch.from_numpy(gains())
    first = torch.from_numpy(starts(particles))

    def run():
        with torch.no_grad():
            states, kept = first, []
            for _ in range(HORIZON):
                x = torch.cat([states, torch.tanh(states @ matrix)], dim=-1)
                for weight in weights[:-1]:
                    x = silu(x @ weight)
                out = (x @ weights[-1]).reshape(-1, COMPONENTS, 1 + 2 * STATE)
                loc = 0.9 * states[:, None] + 0.1 * out[..., 1 : 1 + STATE]
                scale = 0.1 * (1e-3 + softplus(out[..., 1 + STATE :]))
                parts = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
                choice = Categorical(logits=out[..., 0], validate_args=False)
                law = MixtureSameFamily(choice, parts, validate_args=False)
                states = law.sample()
                kept.append((states, law.log_prob(states)))
            return kept

    return run, {}


serve(prepare)
