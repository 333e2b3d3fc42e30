"""Measure the cost of an update and of an environment step of SAC over width, batch, ensemble and number of environments.

    python scripts/scaling.py --out scaling.csv

Every number is CPU time of one thread, so that other processes on the machine change it little.  An update has the
networks of ``--env``: a policy and ``members`` Qs with two hidden layers of ``width`` units.  Its cost is compared with
the model

    seconds = fixed + operations / rate + parameters * per_parameter

in which ``operations`` counts the multiplications and additions of all matrix products of one update, and
``parameters`` those that an optimizer moves.  The three constants are fitted to all measured updates at once, by least
squares of the relative error.  An environment step is an action of the policy and a step of ``envs`` copies in this
process, without updates; it is compared with ``seconds = action / envs + step``.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from lightning_maxent import MLP, SAC, EnsembleCritic, OneProcess, ReplayDataModule, SquashedGaussian, Transition
from lightning_maxent.data.env_copies import EnvCopies
from lightning_maxent.data.env_runner import EnvRunner

HIDDEN_LAYERS = 2


class Update(NamedTuple):
    """The sizes of one update."""

    width: int = 256
    batch: int = 256
    members: int = 2


UPDATES = [
    *(Update(width=width) for width in (64, 128, 256, 512, 1024)),
    *(Update(batch=batch) for batch in (64, 1024, 4096)),
    *(Update(members=members) for members in (5, 10)),
]
ENVS = (1, 4, 16, 64)


def operations(sizes: Update, obs_dim: int, action_dim: int) -> int:
    """Multiplications and additions of the matrix products of one update.

    A pass forward costs two of them per weight and sample.  A pass backward costs as many for the gradients of the
    weights, and as many for those of the inputs, which data do not need.
    """
    critic = [obs_dim + action_dim, *[sizes.width] * HIDDEN_LAYERS, 1]
    policy = [obs_dim, *[sizes.width] * HIDDEN_LAYERS, 2 * action_dim]
    of_critic, of_policy = weights(critic), weights(policy)
    # forward: (s, a), (s, policy's a), (s', policy's a') in the target network; backward: weights, inputs; inputs
    q = 3 * of_critic + of_critic + weights(critic[1:]) + of_critic
    pi = 2 * of_policy + of_policy + weights(policy[1:])  # forward: s, s'; backward: weights, inputs
    return 2 * sizes.batch * (sizes.members * q + pi)


def weights(units: Sequence[int]) -> int:
    """The number of weights of all matrices of a network with these numbers of units."""
    return sum(inputs * outputs for inputs, outputs in pairwise(units))


def new_algorithm(sizes: Update, obs_dim: int, data: ReplayDataModule) -> SAC:
    network = partial(MLP, hidden_dims=[sizes.width] * HIDDEN_LAYERS)
    critic = partial(EnsembleCritic, members=sizes.members, subset=2, network=network)
    return SAC(obs_dim, data.actions, critic, partial(SquashedGaussian, network=network))


def random_batch(sizes: Update, obs_dim: int, action_dim: int) -> Transition:
    obs, next_obs = torch.randn(2, sizes.batch, obs_dim)
    action = torch.rand(sizes.batch, action_dim) * 2 - 1
    return Transition(obs, action, torch.randn(sizes.batch), next_obs, torch.zeros(sizes.batch, dtype=torch.bool))


def cpu_seconds(call: Callable[[], object], budget: float) -> float:
    """The 10 % quantile of the CPU time of a call, repeated for ``budget`` seconds and at least three times.

    It is lower than the median, because other processes only make a call slower: they take space in the caches.
    """
    call()  # the first update also checks its gradients
    seconds: list[float] = []
    while sum(seconds) < budget or len(seconds) < 3:
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return float(np.quantile(seconds, 0.1))


def measure_update(sizes: Update, data: ReplayDataModule, budget: float) -> tuple[float, int]:
    """Seconds of one update, and the number of parameters that it moves."""
    obs_dim, action_dim = data.obs_dim, data.actions.dim
    algorithm = new_algorithm(sizes, obs_dim, data)
    optimizers = algorithm.build_optimizers()
    batch = random_batch(sizes, obs_dim, action_dim)
    moved = [each for name in algorithm.trained_networks() for each in algorithm.get_submodule(name).parameters()]
    return cpu_seconds(lambda: algorithm.update(batch, optimizers), budget), sum(each.numel() for each in moved)


def measure_step(envs: int, data: ReplayDataModule, budget: float) -> float:
    """Seconds per environment step, with actions of the policy in ``envs`` copies in this process."""
    algorithm = new_algorithm(Update(), data.obs_dim, data)
    copies = EnvCopies(lambda copy: data.make_env(), lambda copy: data.make_env(), envs, 1, OneProcess)
    runner = EnvRunner(copies.training(), data.codec, seed=0, name=data.env_id)
    try:
        return cpu_seconds(lambda: runner.step(algorithm.act(runner.obs, deterministic=False)), budget) / envs
    finally:
        copies.close()


def fitted(features: Sequence[Sequence[float]], seconds: Sequence[float]) -> np.ndarray:
    """Constants, at least 0, with the smallest squared relative error of ``features @ constants``."""
    table, measured = np.array(features), np.array(seconds)
    return nnls(table / measured[:, None], np.ones(len(measured)))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds for each measured point")
    parser.add_argument("--out", type=Path, help="a csv file of the measured points")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = ReplayDataModule(args.env)
    obs_dim, action_dim = data.obs_dim, data.actions.dim

    updates = [measure_update(sizes, data, args.seconds) for sizes in UPDATES]
    terms = [(1.0, operations(sizes, obs_dim, action_dim), moved) for sizes, (_, moved) in zip(UPDATES, updates)]
    constants = fitted(terms, [seconds for seconds, _ in updates])
    rows = [
        ["update", *sizes, 1, seconds, np.dot(term, constants)]
        for sizes, term, (seconds, _) in zip(UPDATES, terms, updates)
    ]
    steps = [measure_step(envs, data, args.seconds) for envs in ENVS]
    step_constants = fitted([(1.0 / envs, 1.0) for envs in ENVS], steps)
    rows += [
        ["step", Update().width, "", "", envs, seconds, np.dot((1 / envs, 1), step_constants)]
        for envs, seconds in zip(ENVS, steps)
    ]

    fixed, per_operation, per_parameter = constants
    rate = f"{1e-9 / per_operation:.0f} billion operations per second" if per_operation else "no time for operations"
    print(f"update: {1e3 * fixed:.2f} ms + {rate} + {1e9 * per_parameter:.2f} ns per parameter")
    print(f"step: {1e3 * step_constants[0]:.3f} ms per action + {1e3 * step_constants[1]:.3f} ms per environment step")
    header = ["what", "width", "batch", "members", "envs", "cpu_seconds", "model_seconds"]
    with args.out.open("w", newline="") if args.out else sys.stdout as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([*row[:5], f"{row[5]:.6f}", f"{row[6]:.6f}"] for row in rows)


if __name__ == "__main__":
    main()
