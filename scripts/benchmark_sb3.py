"""Compare SAC, TD3 or PPO with that of Stable-Baselines3 on Pendulum-v1, with settings as equal as possible.

    pip install -e '.[benchmark]'
    python scripts/benchmark_sb3.py --algorithm td3 --out docs/results/pendulum_td3_vs_sb3.csv

For each seed, our run is followed by theirs.  Ours is the configuration ``sac/pendulum``, ``td3/pendulum`` or
``ppo/pendulum`` on the command line.  Theirs has the same networks and initialization, Adam settings (learning rate,
epsilon), batch size, number and times of updates, discount, buffer, learning starts, policy delay and noise.  For PPO,
the following are equal too: the initial standard deviation in the same units (their environment also takes actions in
[-1, 1]), lambda, clip, the weight of V's loss, and standardized observations and rewards, observations without
clipping.  Both bootstrap after truncation.  By the source code of version 2.9.2, these differences remain and no
setting removes them:

- SAC: their policy maximizes the critic after its update, ours the critic before its update.  The loss of their
  temperature is ``-log alpha (log pi + H)``, ours is ``-alpha (log pi + H)``.  They add 1e-6 to the derivative of tanh
  in log pi.  The loss of their critic is half of ours, which makes no difference with Adam.
- TD3: their policy maximizes Q1 after its update, ours the minimum of both Q before the update.  Their target networks
  are updated at every second update, ours at every update; so theirs have the rate .009975, which equals two updates of
  .005.  They also add noise to the uniform actions before learning starts.
- PPO: they clip the joint gradient of policy and V to a norm of .5, we clip each of the two.  They update the
  statistics of the scaling at every step and scale observations and rewards at once.  We update them after a rollout:
  its observations are scaled with the statistics before it (in the first rollout, not at all), its rewards with the
  statistics after it.

Both are evaluated at the same environment steps over 10 deterministic episodes, with different initial states.  Our
``run_seconds`` include the start of Python, and ten episodes with sampled actions at every evaluation.
"""

import argparse
import csv
import os
import subprocess
import sys
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

from lightning_maxent.backends.run import QUIET
from lightning_maxent.backends.run_process import PROGRAM, last_line
from lightning_maxent.cli.command import one_sentence_errors
from lightning_maxent.errors import MaxEntError

ENV_ID, EPISODES = "Pendulum-v1", 10
ADAM = {"eps": 1e-8, "fused": True}  # the default of their PPO is 1e-5
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
    "tau": 1 - (1 - TAU) ** DELAY,  # one update of their target networks equals DELAY updates of ours
    "policy_delay": DELAY,
    "target_policy_noise": 0.2,
    "target_noise_clip": 0.5,
}
NOISE = 0.1  # standard deviation, for actions in [-1, 1] as in ours
PPO = {
    "learning_rate": 1e-3,
    "n_steps": 512,  # in each environment
    "batch_size": 64,
    "n_epochs": 10,
    "gamma": 0.9,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": None,
    "normalize_advantage": True,
    "ent_coef": 0.0,
    "vf_coef": 1.0,  # our V has its own optimizer and the full loss; the default of theirs is .5
    "max_grad_norm": 0.5,
    "target_kl": None,
}
COPIES = 4
SCALING = {"gamma": PPO["gamma"], "clip_obs": np.inf, "clip_reward": 10.0, "epsilon": 1e-8}  # ours bounds returns at 10


def their_replay_networks() -> dict[str, Any]:
    """New keyword arguments at every call, because their SAC changes them."""
    return {"net_arch": [256, 256], "activation_fn": nn.ReLU, "optimizer_kwargs": ADAM}


def their_env() -> gym.Env:
    """Rescales actions to [-1, 1], as for our learner, because their PPO works in the units of the action space."""
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
    """Our configuration, their algorithm, and the interval of evaluations and the length in environment steps."""

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
                *(
                    sys.executable,
                    *PROGRAM,
                    "fit",
                    *QUIET,
                    "--config",
                    task.config,
                    "--runs_dir",
                    folder,
                    "--name",
                    "run",
                ),
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
            why = last_line(done.stderr) or "it printed no error"
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
    """Their policy for unscaled observations: it standardizes them if the policy was trained so."""

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
            f"--steps must be a multiple of {task.interval}, the interval of evaluations of {args.algorithm}, but is "
            f"{steps}."
        )
    if find_spec("stable_baselines3") is None:
        raise MaxEntError("stable_baselines3 is not installed: pip install -e '.[benchmark]'.")
    args.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the runs
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
