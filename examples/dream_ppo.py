"""Train an agent in the dream, and score it in the real world: PPO of Stable-Baselines3 on Fork.

    pip install 'stochwm[sb3]'
    python examples/dream_ppo.py [--seed 0]

Three agents may use the same number of real steps: two learn in the dream of a model fitted to
them, with and without a guard, and one learns on the real steps directly. STOCHWM_FAST=1 runs all
at a very small size, to show that it works.
"""

import argparse
import os
from importlib.util import find_spec

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector import AutoresetMode

from stochwm.data import Episodes, collect, standardisers
from stochwm.drift import DriftGuard, FalseAlarm
from stochwm.envs import DreamVectorEnv, Fork
from stochwm.models import Markov
from stochwm.training import fit
from stochwm.transitions import Ensemble, MixtureDensity, Standardised

WORLD = "stochwm/Fork-v0"
FAST = os.environ.get("STOCHWM_FAST") == "1"
REAL_STEPS = 1_500 if FAST else 4_000
DREAM_STEPS = 2_048 if FAST else 150_000
EPISODES = 2 if FAST else 100
HORIZON = 20
COPIES = 64


def learn_model(train: Episodes, validation: Episodes, key) -> Markov:
    """An ensemble of mixtures; the reward is known."""
    scales = standardisers(train.transitions(), train.observation_space, train.action_space)

    def make(key):
        return Standardised(MixtureDensity(2, 1, num_components=8, width=32, key=key), *scales)

    key_model, key_fit = jax.random.split(key)
    fitted = fit(
        Ensemble(make, 5, key=key_model),
        train.transitions(),
        validation=validation.transitions(),
        steps=100 if FAST else 1_500,
        key=key_fit,
        progress=not FAST,
    )
    return Markov(fitted.model, Fork().reward)


def as_sb3(dreams: DreamVectorEnv, seed: int):
    """A `DreamVectorEnv` with SAME_STEP resets as the vector environment that SB3 expects."""
    from stable_baselines3.common.vec_env import VecEnv

    class Dreams(VecEnv):
        def reset(self):
            return dreams.reset(seed=seed)[0]

        def step_async(self, actions):
            self.actions = actions

        def step_wait(self):
            seen, reward, terminated, truncated, info = dreams.step(self.actions)
            infos = [{} for _ in range(self.num_envs)]
            for i in np.flatnonzero(terminated | truncated):
                infos[i]["terminal_observation"] = info["final_obs"][i]
                infos[i]["TimeLimit.truncated"] = bool(truncated[i])  # PPO then bootstraps
            return seen, reward.astype(np.float32), terminated | truncated, infos

        def close(self):
            dreams.close()

        def get_attr(self, attr_name, indices=None):
            return [getattr(dreams, attr_name)] * self.num_envs

        def set_attr(self, attr_name, value, indices=None):
            raise NotImplementedError

        def env_method(self, method_name, *args, indices=None, **kwargs):
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class, indices=None):
            return [False] * self.num_envs

    return Dreams(dreams.num_envs, dreams.single_observation_space, dreams.single_action_space)


def train_ppo(env, steps: int, n_steps: int, seed: int):
    """PPO with a small network, the same for everybody."""
    from stable_baselines3 import PPO

    options = {"n_steps": n_steps, "batch_size": 256, "gamma": 0.95, "device": "cpu"}
    return PPO("MlpPolicy", env, seed=seed, **options).learn(steps)


def score(agent) -> str:
    """The real return, mean and standard error over episodes of 50 steps."""
    env = gym.make(WORLD)
    returns = []
    for seed in range(EPISODES):
        seen, _ = env.reset(seed=10_000 + seed)
        total, over = 0.0, False
        while not over:
            action = agent.predict(seen, deterministic=True)[0]
            seen, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return f"{np.mean(returns):6.2f} +- {np.std(returns) / np.sqrt(EPISODES):.2f}"


def dream(model: Markov, starts: Episodes, guard: DriftGuard | None, seed: int):
    """An agent that never saw the world."""
    dreams = DreamVectorEnv(
        model,
        starts,
        COPIES,
        max_steps=HORIZON,
        guard=guard,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    return train_ppo(as_sb3(dreams, seed), DREAM_STEPS, n_steps=32, seed=seed)


def main() -> None:
    """Collect, learn a model, train three agents, score them."""
    show_help = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=show_help)
    parser.add_argument("--seed", type=int, default=0, help="of data, model and agents")
    seed = parser.parse_args().seed
    if find_spec("stable_baselines3") is None:
        print("This example needs Stable-Baselines3: pip install 'stochwm[sb3]'")
        return
    episodes = collect(WORLD, steps=REAL_STEPS, seed=seed, progress=not FAST)
    train, validation, holdout = episodes.split((0.6, 0.1, 0.3), seed=seed)
    key_model, key_guard = jax.random.split(jax.random.key(seed))
    model = learn_model(train, validation, key_model)
    promise = FalseAlarm(0.2, horizon=HORIZON)
    guard = DriftGuard.fit(model, holdout, promise=promise, key=key_guard)
    real = train_ppo(gym.make(WORLD), REAL_STEPS, n_steps=256, seed=seed)
    print(f"real return of 50 steps, after {REAL_STEPS} real steps")
    print("  dream, guarded  ", score(dream(model, train, guard, seed)))
    print("  dream, unguarded", score(dream(model, train, None, seed)))
    print("  real world      ", score(real))


if __name__ == "__main__":
    main()
