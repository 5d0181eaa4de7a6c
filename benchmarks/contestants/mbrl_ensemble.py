"""mbrl-lib: `ModelEnv` over its ensemble of Gaussian MLPs, as published, TS-infinity."""

from _contest import serve
from _shapes import DEPTH, HORIZON, MEMBERS, SIZES, WIDTH, gains, layers, starts


def prepare(task, particles, noise=True, out=None):
    import gymnasium as gym
    import numpy as np
    import omegaconf
    import torch
    from mbrl.models import GaussianMLP, ModelEnv, OneDTransitionRewardModel

    state, action = SIZES[task]
    mlp = GaussianMLP(
        state + action,
        state,
        torch.device("cpu"),
        num_layers=DEPTH,
        ensemble_size=MEMBERS,
        hid_size=WIDTH,
        propagation_method="fixed_model",
        activation_fn_cfg=omegaconf.OmegaConf.create({"_target_": "torch.nn.SiLU"}),
    )
    linear = [*(layer[0] for layer in mlp.hidden_layers), mlp.mean_and_logvar]
    for layer, (weight, bias) in zip(linear, layers(2 * state, task), strict=True):
        layer.weight.data = torch.from_numpy(weight)
        layer.bias.data = torch.from_numpy(bias)
    model = OneDTransitionRewardModel(mlp, target_is_delta=True, learned_rewards=False)

    class Spaces:
        observation_space = gym.spaces.Box(-np.inf, np.inf, (state,))
        action_space = gym.spaces.Box(-1, 1, (action,))

    env = ModelEnv(
        Spaces(),
        model,
        termination_fn=lambda a, s: torch.zeros(s.shape[0], 1, dtype=torch.bool),
        reward_fn=lambda a, s: torch.zeros(s.shape[0], 1),
    )
    matrix = torch.from_numpy(gains(task))
    first = starts(particles, task)

    def run():
        with torch.no_grad():
            model_state = env.reset(first, return_as_np=False)
            states, kept = torch.from_numpy(first), []
            for _ in range(HORIZON):
                actions = torch.tanh(states @ matrix)
                states, _, _, model_state = env.step(actions, model_state, sample=noise)
                kept.append(states)
            return states, kept, model_state

    if out is not None:
        last, _, model_state = run()
        # Which member a particle has, to compare with other ways of handing them out.
        order = model_state["propagation_indices"].numpy()
        member = np.empty(particles, int)
        member[order] = np.repeat(np.arange(MEMBERS), particles // MEMBERS)
        np.savez(out, last=last.numpy(), member=member)
    return run, {}


serve(prepare)
