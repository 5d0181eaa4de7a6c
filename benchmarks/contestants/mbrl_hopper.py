"""mbrl-lib: its ensemble of Gaussian MLPs with its own trainer, on data that are given.

python mbrl_hopper.py DATA OUT SEED reads arrays and writes what each member predicts of the test
steps: means and standard deviations `[members, steps, state]`.
"""

import sys

import numpy as np
import omegaconf
import torch
from mbrl.models import GaussianMLP, ModelTrainer, OneDTransitionRewardModel
from mbrl.types import TransitionBatch
from mbrl.util.replay_buffer import BootstrapIterator, TransitionIterator

MEMBERS, DEPTH, WIDTH, BATCH = 5, 4, 200, 256


def main(data_path: str, out_path: str, seed: int) -> None:
    data = np.load(data_path)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    mlp = GaussianMLP(
        data["train_state"].shape[1] + data["train_action"].shape[1],
        data["train_state"].shape[1],
        torch.device("cpu"),
        num_layers=DEPTH,
        ensemble_size=MEMBERS,
        hid_size=WIDTH,
        activation_fn_cfg=omegaconf.OmegaConf.create({"_target_": "torch.nn.SiLU"}),
    )
    model = OneDTransitionRewardModel(
        mlp, target_is_delta=True, normalize=True, learned_rewards=False
    )
    train, validation = (_batch(data, part) for part in ("train", "validation"))
    model.update_normalizer(train)
    # Learning rate, weight decay and patience as in its own configuration for Hopper.
    trainer = ModelTrainer(model, optim_lr=1e-3, weight_decay=1e-5)
    trainer.train(
        BootstrapIterator(train, BATCH, MEMBERS, shuffle_each_epoch=True, rng=rng),
        TransitionIterator(validation, BATCH, rng=rng),
        patience=5,
        num_epochs=100,
        silent=True,
    )
    state = torch.from_numpy(data["test_state"])
    inputs = model._get_model_input(state, torch.from_numpy(data["test_action"]))
    with torch.no_grad():
        mean, log_variance = mlp.forward(inputs, use_propagation=False)
    np.savez(out_path, loc=(mean + state).numpy(), scale=torch.exp(0.5 * log_variance).numpy())


def _batch(data, part: str) -> TransitionBatch:
    state, action, reached = (data[f"{part}_{x}"] for x in ("state", "action", "next_state"))
    zeros = np.zeros(len(state), np.float32)
    return TransitionBatch(state, action, reached, zeros, zeros > 0, zeros > 0)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
