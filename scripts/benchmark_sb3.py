"""Our SAC and Stable-Baselines3's on one task with equal settings, seed by seed in turn.

    pip install -e '.[benchmark]'
    python scripts/benchmark_sb3.py --out docs/results/pendulum_vs_sb3.csv

Ours is ``configs/target_critic_sac/pendulum.yaml`` through the command line; theirs is ``stable_baselines3.SAC`` with
the same networks, optimizer, batch, warm-up, ratio, discount, Polyak rate and learned temperature.  Both are evaluated
every 1,000 environment steps over 10 deterministic episodes.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

ENV_ID, INTERVAL, EPISODES = "Pendulum-v1", 1_000, 10


def ours(seed: int, steps: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-c", "from lightning_maxent.cli import main; main()"),
                *("fit", "--config", "target_critic_sac/pendulum", "--runs_dir", folder, "--name", "run"),
                *("--seed_everything", str(seed), "--trainer.max_steps", str(steps)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        )
        seconds = time.perf_counter() - start
        with (Path(folder) / "target_critic_sac" / ENV_ID / "run" / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                if row["eval/return_mean"]:
                    yield {
                        "env_steps": row["env_steps"],
                        "return_mean": row["eval/return_mean"],
                        "return_std": row["eval/return_std"],
                        "run_seconds": f"{seconds:.1f}",
                    }


def theirs(seed: int, steps: int) -> Iterator[dict[str, Any]]:
    from stable_baselines3 import SAC  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.evaluation import evaluate_policy  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.monitor import Monitor  # pyright: ignore[reportMissingImports]  # an extra

    torch.set_num_threads(1)
    model = SAC(
        "MlpPolicy",
        gym.make(ENV_ID),
        learning_rate=1e-3,
        buffer_size=1_000_000,
        learning_starts=1_000,
        batch_size=256,
        tau=0.005,
        gamma=0.99,
        train_freq=1,
        gradient_steps=1,
        ent_coef="auto_1.0",
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    evaluation = Monitor(gym.make(ENV_ID))
    evaluation.reset(seed=1_000 + seed)
    start = time.perf_counter()
    rows = []
    for env_steps in range(INTERVAL, steps + 1, INTERVAL):
        model.learn(INTERVAL, reset_num_timesteps=env_steps == INTERVAL)
        mean, std = evaluate_policy(model, evaluation, EPISODES, deterministic=True)
        rows.append({"env_steps": env_steps, "return_mean": mean, "return_std": std})
    seconds = time.perf_counter() - start
    for row in rows:
        yield row | {"run_seconds": f"{seconds:.1f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    fields = ["library", "seed", "env_steps", "return_mean", "return_std", "run_seconds"]
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        for seed in args.seeds:
            for library, run in (("lightning_maxent", ours), ("stable_baselines3", theirs)):
                rows = list(run(seed, args.steps))
                writer.writerows({"library": library, "seed": seed} | row for row in rows)
                file.flush()
                print(f"{library} seed {seed}: return {rows[-1]['return_mean']} at {rows[-1]['env_steps']} steps")


if __name__ == "__main__":
    main()
