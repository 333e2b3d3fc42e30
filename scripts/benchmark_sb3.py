"""Our SAC, TD3 or PPO and Stable-Baselines3's on Pendulum-v1 with equal settings, seed by seed in turn.

    pip install -e '.[benchmark]'
    python scripts/benchmark_sb3.py --algorithm td3 --out docs/results/pendulum_td3_vs_sb3.csv

Ours is ``configs/target_critic_sac/pendulum.yaml``, ``configs/td3/pendulum.yaml`` or ``configs/ppo/pendulum.yaml`` through the
command line; theirs has the same networks, optimizer, batches, warm-up, ratio, discount and what else the algorithm
needs.  Both are evaluated at the same environment steps over 10 deterministic episodes.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

ENV_ID, EPISODES = "Pendulum-v1", 10
REPLAY = {
    "learning_rate": 1e-3,
    "buffer_size": 1_000_000,
    "learning_starts": 1_000,
    "batch_size": 256,
    "tau": 0.005,
    "gamma": 0.99,
    "train_freq": 1,
    "gradient_steps": 1,
    "policy_kwargs": {"net_arch": [256, 256]},
}


def their_sac(seed: int) -> Any:
    from stable_baselines3 import SAC  # pyright: ignore[reportMissingImports]  # an extra

    return SAC("MlpPolicy", gym.make(ENV_ID), ent_coef="auto_1.0", seed=seed, **REPLAY)


def their_td3(seed: int) -> Any:
    from stable_baselines3 import TD3  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.noise import NormalActionNoise  # pyright: ignore[reportMissingImports]  # an extra

    noise = NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))
    return TD3("MlpPolicy", gym.make(ENV_ID), action_noise=noise, seed=seed, **REPLAY)


def their_ppo(seed: int) -> Any:
    from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.env_util import make_vec_env  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.vec_env import VecNormalize  # pyright: ignore[reportMissingImports]  # an extra

    envs = VecNormalize(make_vec_env(ENV_ID, 4, seed=seed), gamma=0.9)
    return PPO("MlpPolicy", envs, learning_rate=1e-3, n_steps=512, batch_size=64, n_epochs=10, gamma=0.9, seed=seed)


class Task(NamedTuple):
    """What is compared, how often it is evaluated and for how long, in environment steps."""

    config: str
    theirs: Callable[[int], Any]
    interval: int
    steps: int


TASKS = {
    "sac": Task("target_critic_sac/pendulum", their_sac, 1_000, 10_000),
    "td3": Task("td3/pendulum", their_td3, 1_000, 20_000),
    "ppo": Task("ppo/pendulum", their_ppo, 10_240, 102_400),
}


def ours(task: Task, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-c", "from lightning_maxent.cli import main; main()"),
                *("fit", "--config", task.config, "--runs_dir", folder, "--name", "run"),
                *("--seed_everything", str(seed), "--trainer.max_steps", str(steps)),
                *("--data.eval_interval", str(task.interval), "--data.eval_episodes", str(EPISODES)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        )
        seconds = time.perf_counter() - start
        (metrics,) = Path(folder).glob("*/*/run/metrics.csv")
        for row in csv.DictReader(metrics.read_text().splitlines()):
            if row["eval/return_mean"]:
                yield {
                    "env_steps": row["env_steps"],
                    "return_mean": row["eval/return_mean"],
                    "return_std": row["eval/return_std"],
                    "run_seconds": f"{seconds:.1f}",
                }


def theirs(task: Task, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    from stable_baselines3.common.evaluation import evaluate_policy  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.monitor import Monitor  # pyright: ignore[reportMissingImports]  # an extra

    torch.set_num_threads(1)
    model = task.theirs(seed)
    evaluation = Monitor(gym.make(ENV_ID))
    evaluation.reset(seed=1_000 + seed)
    start = time.perf_counter()
    rows = []
    for env_steps in range(task.interval, steps + 1, task.interval):
        model.learn(task.interval, reset_num_timesteps=env_steps == task.interval)
        mean, std = evaluate_policy(Scaled(model), evaluation, EPISODES, deterministic=True)
        rows.append({"env_steps": env_steps, "return_mean": mean, "return_std": std})
    seconds = time.perf_counter() - start
    for row in rows:
        yield row | {"run_seconds": f"{seconds:.1f}"}


class Scaled:
    """Their policy on raw observations: where it learnt from standardised ones, it is shown such."""

    def __init__(self, model: Any):
        self._model, self._normalize = model, model.get_vec_normalize_env()

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        seen = self._normalize.normalize_obs(observation) if self._normalize else observation
        return self._model.predict(seen, *args, **kwargs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=TASKS, default="sac")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="environment steps; each algorithm has its own")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)  # now, rather than after all the work
    task = TASKS[args.algorithm]
    steps = args.steps or task.steps
    fields = ["library", "seed", "env_steps", "return_mean", "return_std", "run_seconds"]
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        for seed in args.seeds:
            for library, run in (("lightning_maxent", ours), ("stable_baselines3", theirs)):
                rows = list(run(task, seed, steps))
                writer.writerows({"library": library, "seed": seed} | row for row in rows)
                file.flush()
                print(f"{library} seed {seed}: return {rows[-1]['return_mean']} at {rows[-1]['env_steps']} steps")


if __name__ == "__main__":
    main()
