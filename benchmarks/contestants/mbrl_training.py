"""mbrl-lib: `Model.update` of its ensemble of Gaussian MLPs, as published."""

from _contest import serve
from _shapes import DEPTH, SIZES, WIDTH


def prepare(task, members, steps=50):
    import numpy as np
    import omegaconf
    import torch
    from mbrl.models import GaussianMLP, OneDTransitionRewardModel
    from mbrl.types import TransitionBatch

    state, action = SIZES[task]
    mlp = GaussianMLP(
        state + action,
        state,
        torch.device("cpu"),
        num_layers=DEPTH,
        ensemble_size=members,
        hid_size=WIDTH,
        activation_fn_cfg=omegaconf.OmegaConf.create({"_target_": "torch.nn.SiLU"}),
    )
    model = OneDTransitionRewardModel(mlp, target_is_delta=True, learned_rewards=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    s, a, e = (
        rng.normal(size=(members, 256, n)).astype(np.float32) for n in (state, action, state)
    )
    zeros = np.zeros((members, 256), np.float32)
    batch = TransitionBatch(s, a, s + 0.1 * e, zeros, zeros.astype(bool), zeros.astype(bool))

    def run():
        for _ in range(steps):
            model.update(batch, optimizer)

    return run, {"steps": steps}


serve(prepare)
