"""Measure the overhead of the Trainer: the same update in a plain loop and in ``Trainer.fit``, on the same batches.

    python scripts/overhead.py --updates-per-round 1 8

Both run ``AbstractAlgorithm.update`` of SAC with V (2 x 256, batch 256, the sizes of HalfCheetah-v5) on batches in
memory, without environments and sampling.  The Trainer adds its loop, the transfer of the batch, the count of
environment steps, the log of losses every 1,000 steps and the progress bar.  The two alternate every few updates within
one process, so that other load on the machine affects both alike.  Prints microseconds per update, and the overhead in
percent: the median over pairs of turns, and the 95 % bootstrap interval of this median.
"""

import argparse
import tempfile
import time

import numpy as np
import pytorch_lightning as pl
import torch

from lightning_maxent import BoxActions, Round, SquashedGaussian, Transition, TwinCritic, ValueSAC
from lightning_maxent.callbacks.progress import EnvStepProgress
from lightning_maxent.data.data_module import RoundStream
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger
from lightning_maxent.metrics.training_log import TrainingLog

OBS_DIM, ACTION_DIM, BATCH = 17, 6, 256


class RoundsInMemory(pl.LightningDataModule):
    """Repeats the same batches, with one environment step per update."""

    def __init__(self, batches: Transition, rounds: int):
        super().__init__()
        self.batches, self.rounds, self.env_steps = batches, rounds, 0

    def _next_round(self) -> Round:
        self.env_steps += len(self.batches.reward)
        return Round(self.batches, self.env_steps)

    def train_dataloader(self) -> RoundStream:
        return RoundStream(self._next_round, self.rounds)

    def metrics(self) -> dict[str, float]:
        """An empty dict, because there are no environments."""
        return {}


class TakeTurns(pl.Callback):
    """Times ``rounds`` rounds of the Trainer, then as many in a plain loop, and repeats this.

    Args:
        batches: the batches of one round.
        rounds: number of rounds of one turn.
    """

    def __init__(self, batches: Transition, rounds: int):
        self.batches, self.rounds = batches, rounds
        self.algorithm = new_algorithm()
        networks = self.algorithm.trained_networks()
        self.optimizers = dict(zip(networks, self.algorithm.configure_optimizers(), strict=True))
        self.pairs: list[tuple[float, float]] = []

    def on_train_epoch_start(self, *args: object, **kwargs: object) -> None:
        self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: object, batch: object, batch_idx: int) -> None:
        if batch_idx and batch_idx % self.rounds == 0:
            trainer_seconds = time.perf_counter() - self._since
            self.pairs.append((self._plain_loop(), trainer_seconds))
            self._since = time.perf_counter()

    def _plain_loop(self) -> float:
        start = time.perf_counter()
        for _ in range(self.rounds):
            for transitions in zip(*self.batches, strict=True):
                self.algorithm.update(Transition(*transitions), self.optimizers)
        return time.perf_counter() - start


def random_batches(updates: int) -> Transition:
    shape = (updates, BATCH)
    obs, next_obs = torch.randn(2, *shape, OBS_DIM)
    action = torch.rand(*shape, ACTION_DIM) * 2 - 1
    return Transition(obs, action, torch.randn(shape), next_obs, torch.zeros(shape, dtype=torch.bool))


def new_algorithm() -> ValueSAC:
    return ValueSAC(OBS_DIM, BoxActions(ACTION_DIM), critic=TwinCritic, policy=SquashedGaussian)


def measure(updates_per_round: int, turn: int, pairs: int) -> np.ndarray:
    """Seconds per update in the plain loop and under the Trainer, ``[pair, 2]``; the first pairs warm up."""
    warm_up = 3
    batches, rounds = random_batches(updates_per_round), turn // updates_per_round
    turns = TakeTurns(batches, rounds)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=TidyCSVLogger(folder),
            log_every_n_steps=1,
            callbacks=[turns, TrainingLog(), EnvStepProgress()],
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(new_algorithm(), datamodule=RoundsInMemory(batches, (warm_up + pairs) * rounds + 1))
    return np.array(turns.pairs[warm_up:]) / (rounds * updates_per_round)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates-per-round", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--turn", type=int, default=16, help="number of updates of one turn")
    parser.add_argument("--pairs", type=int, default=300, help="number of pairs of turns")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    random = np.random.default_rng(0)
    print("updates_per_round,plain_us,trainer_us,overhead_percent,low,high")
    for updates_per_round in args.updates_per_round:
        seconds = measure(updates_per_round, args.turn, args.pairs)
        overhead = 100 * (seconds[:, 1] / seconds[:, 0] - 1)
        resampled = np.median(random.choice(overhead, (2000, len(overhead))), axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        plain, trainer = 1e6 * np.median(seconds, axis=0)
        print(f"{updates_per_round},{plain:.0f},{trainer:.0f},{np.median(overhead):.2f},{low:.2f},{high:.2f}")


if __name__ == "__main__":
    main()
