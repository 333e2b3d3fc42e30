"""Our SAC, TD3 or PPO and Stable-Baselines3's on Pendulum-v1 with settings as equal as they can be, seed by seed in turn.

    pip install -e '.[benchmark]'
    python scripts/benchmark_sb3.py --algorithm td3 --out docs/results/pendulum_td3_vs_sb3.csv

Ours is the configuration ``sac/pendulum``, ``td3/pendulum`` or ``ppo/pendulum`` through the
command line.  Theirs has the same networks, drawn from the same distributions, the same Adam (step size, epsilon), batches,
number and times of updates, discount, buffer, warm-up, delay and noise; for PPO also the same first deviation in the same
units (their environment takes actions in [-1, 1] too), lambda, clip, weight of V's loss and, unclipped, standardized
observations and rewards.  Both bootstrap behind time limits.  What is left, by the source of 2.9.2, no setting of theirs
removes:

- SAC: their policy climbs the critic that this update has just moved, ours the one before; their temperature descends
  ``-log alpha (log pi + H)``, ours ``-alpha (log pi + H)``; their log pi has 1e-6 added to the slope of tanh.  Their critic's
  loss is half of ours, which Adam evens out.
- TD3: their policy climbs Q1, just moved, ours the smaller Q as it was before.  Their copies follow at every second update
  and ours at each, so theirs are given the rate .009975, which is twice .005 in a row.  Their noise is also added to the
  uniform actions of the warm-up.
- PPO: they shorten the gradient of policy and V together to a norm of .5, we shorten each of the two.  Their statistics move
  with every step, and scale an observation or a reward as it comes; ours move after a rollout, whose observations (in the
  first one raw) are scaled by what was known before it, and whose rewards by what is known after it.

Both are evaluated at the same environment steps over 10 deterministic episodes, from other starts.  ``run_seconds`` of
ours hold the start of Python and ten sampled episodes more at each evaluation.
"""

import argparse
import csv
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from lightning_maxent.cli import one_sentence_errors
from lightning_maxent.comparison.runs import PROGRAM, QUIET, last_line
from lightning_maxent.errors import MaxEntError

ENV_ID, EPISODES = "Pendulum-v1", 10
ADAM = {"eps": 1e-8, "fused": True}  # else their PPO has 1e-5
REPLAY = {
    "learning_rate": 1e-3,
    "buffer_size": 1_000_000,
    "learning_starts": 1_000,
    "batch_size": 256,
    "gamma": 0.99,
    "train_freq": 1,
    "gradient_steps": 1,
}
TAU, DELAY = 0.005, 2
SAC = REPLAY | {"tau": TAU, "ent_coef": "auto_1.0", "target_entropy": "auto"}
TD3 = REPLAY | {
    "tau": 1 - (1 - TAU) ** DELAY,  # their copies follow once where ours do so DELAY times
    "policy_delay": DELAY,
    "target_policy_noise": 0.2,
    "target_noise_clip": 0.5,
}
NOISE = 0.1  # added to actions in [-1, 1], as ours
PPO = {
    "learning_rate": 1e-3,
    "n_steps": 512,  # of each copy
    "batch_size": 64,
    "n_epochs": 10,
    "gamma": 0.9,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": None,
    "normalize_advantage": True,
    "ent_coef": 0.0,
    "vf_coef": 1.0,  # our V has an optimizer of its own, which descends the whole loss; else theirs has .5
    "max_grad_norm": 0.5,
    "target_kl": None,
}
COPIES = 4
SCALING = {"gamma": PPO["gamma"], "clip_obs": np.inf, "clip_reward": 10.0, "epsilon": 1e-8}  # ours bounds returns at 10


def their_replay_networks() -> dict[str, Any]:
    """Made anew, since their SAC writes into it."""
    return {"net_arch": [256, 256], "activation_fn": nn.ReLU, "optimizer_kwargs": ADAM}


def their_env() -> gym.Env:
    """Actions in [-1, 1], as our learner has them: the deviation and the steps of their PPO are in the space's own units."""
    return gym.wrappers.RescaleAction(gym.make(ENV_ID), np.float32(-1), np.float32(1))


def their_sac(seed: int) -> Any:
    import stable_baselines3 as sb3  # pyright: ignore[reportMissingImports]  # an extra

    return sb3.SAC("MlpPolicy", their_env(), seed=seed, policy_kwargs=their_replay_networks(), **SAC)


def their_td3(seed: int) -> Any:
    import stable_baselines3 as sb3  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.noise import NormalActionNoise  # pyright: ignore[reportMissingImports]  # an extra

    noise = NormalActionNoise(np.zeros(1), NOISE * np.ones(1))
    networks = their_replay_networks()
    return sb3.TD3("MlpPolicy", their_env(), action_noise=noise, seed=seed, policy_kwargs=networks, **TD3)


def their_ppo(seed: int) -> Any:
    import stable_baselines3 as sb3  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.env_util import make_vec_env  # pyright: ignore[reportMissingImports]  # an extra
    from stable_baselines3.common.vec_env import VecNormalize  # pyright: ignore[reportMissingImports]  # an extra

    networks = {
        "net_arch": {"pi": [64, 64], "vf": [64, 64]},
        "activation_fn": nn.Tanh,
        "ortho_init": True,  # gains sqrt(2), then .01 for the policy and 1 for V
        "log_std_init": 0.0,
        "optimizer_kwargs": ADAM,
    }
    envs = VecNormalize(make_vec_env(their_env, COPIES, seed=seed), **SCALING)
    return sb3.PPO("MlpPolicy", envs, seed=seed, policy_kwargs=networks, **PPO)


class Task(NamedTuple):
    """What is compared, how often it is evaluated and for how long, in environment steps."""

    config: str
    theirs: Callable[[int], Any]
    interval: int
    steps: int


TASKS = {
    "sac": Task("sac/pendulum", their_sac, 1_000, 10_000),
    "td3": Task("td3/pendulum", their_td3, 1_000, 20_000),
    "ppo": Task("ppo/pendulum", their_ppo, 10_240, 102_400),
}


def ours(task: Task, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [
                *(*PROGRAM, "fit", *QUIET, "--config", task.config, "--runs_dir", folder, "--name", "run"),
                *("--seed_everything", str(seed), "--trainer.max_steps", str(steps)),
                *("--data.eval_interval", str(task.interval), "--data.eval_episodes", str(EPISODES)),
            ],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            why = last_line(done.stderr) or "it said nothing"
            raise MaxEntError(f"Our {task.config} with seed {seed} ended with exit code {done.returncode}: {why}")
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
    evaluation = Monitor(their_env())
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
    """Their policy on raw observations: where it learned from standardized ones, it is shown such."""

    def __init__(self, model: Any):
        self._model, self._normalize = model, model.get_vec_normalize_env()

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        seen = self._normalize.normalize_obs(observation) if self._normalize else observation
        return self._model.predict(seen, *args, **kwargs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=TASKS, default="sac")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="environment steps, a multiple of the interval of evaluations")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    task = TASKS[args.algorithm]
    steps = task.steps if args.steps is None else args.steps
    if steps < 1 or steps % task.interval:
        raise MaxEntError(
            f"--steps must be a multiple of {task.interval}, since {args.algorithm} is evaluated that often, but is {steps}."
        )
    if find_spec("stable_baselines3") is None:
        raise MaxEntError("stable_baselines3 is not installed: pip install -e '.[benchmark]'.")
    args.out.parent.mkdir(parents=True, exist_ok=True)  # now, rather than after all the work
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
    with one_sentence_errors(Path(__file__).name):
        main()
