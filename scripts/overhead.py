"""What the Trainer costs: our update in a plain loop and under ``Trainer.fit``, alternating on the same batches.

    python scripts/overhead.py --updates-per-round 1 8

Both sides run the same ``AbstractAlgorithm.update`` of SAC with V (2 x 256, batch 256, the sizes of HalfCheetah-v5) on
batches that lie ready in memory; environments and sampling belong to neither.  Under the Trainer come its loop, the
transfer of the batch, the clock, the log of losses every 1,000 steps and the progress bar.  Prints microseconds per
update and the overhead in percent: the median over pairs, and its range.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator

import pytorch_lightning as pl
import torch

from lightning_maxent import SAC, Round, SquashedGaussian, Transition, TwinCritic
from lightning_maxent.callbacks.progress import EnvStepProgress
from lightning_maxent.callbacks.training_log import TrainingLog
from lightning_maxent.data.replay import ReplayStream
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger

OBS_DIM, ACTION_DIM, BATCH = 17, 6, 256


class RoundsInMemory(pl.LightningDataModule):
    """The same batches over and over, with a clock that moves one environment step per update."""

    def __init__(self, batches: Transition, rounds: int):
        super().__init__()
        self.batches, self.rounds, self.env_steps = batches, rounds, 0

    def _next_round(self) -> Round:
        self.env_steps += len(self.batches.reward)
        return Round(self.batches, self.env_steps)

    def train_dataloader(self) -> ReplayStream:
        return ReplayStream(self._next_round, self.rounds)

    def metrics(self) -> dict[str, float]:
        """No environment, no returns."""
        return {}


class Stopwatch(pl.Callback):
    """Time from the start of the first round to the end of the last."""

    seconds = 0.0

    def on_train_epoch_start(self, *args: object, **kwargs: object) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, *args: object, **kwargs: object) -> None:
        self.seconds = time.perf_counter() - self._start


def random_batches(updates: int) -> Transition:
    shape = (updates, BATCH)
    obs, next_obs = torch.randn(2, *shape, OBS_DIM)
    action = torch.rand(*shape, ACTION_DIM) * 2 - 1
    return Transition(obs, action, torch.randn(shape), next_obs, torch.zeros(shape, dtype=torch.bool))


def new_algorithm() -> SAC:
    return SAC(OBS_DIM, ACTION_DIM, critic=TwinCritic, policy=SquashedGaussian)


def plain_loop(batches: Transition, rounds: int) -> float:
    """Seconds of ``rounds`` rounds without a Trainer."""
    algorithm = new_algorithm()
    optimizers = dict(zip(algorithm.trained_networks(), algorithm.configure_optimizers(), strict=True))
    start = time.perf_counter()
    for _ in range(rounds):
        for transitions in zip(*batches, strict=True):
            algorithm.update(
                Transition(*transitions), optimizers, lambda loss: loss.backward(), lambda optimizer: optimizer.step()
            )
    return time.perf_counter() - start


def under_the_trainer(batches: Transition, rounds: int, folder: str) -> float:
    """Seconds of ``rounds`` rounds within ``Trainer.fit``."""
    stopwatch = Stopwatch()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=TidyCSVLogger(folder),
        log_every_n_steps=1,
        callbacks=[stopwatch, TrainingLog(), EnvStepProgress()],
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(new_algorithm(), datamodule=RoundsInMemory(batches, rounds))
    return stopwatch.seconds


def pairs(updates_per_round: int, updates: int, repeats: int) -> Iterator[tuple[float, float]]:
    """Seconds per update of both, one after the other, the first pair thrown away as warm-up."""
    batches, rounds = random_batches(updates_per_round), updates // updates_per_round
    total = rounds * updates_per_round
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats + 1):
            plain, trainer = plain_loop(batches, rounds) / total, under_the_trainer(batches, rounds, folder) / total
            if repeat:
                yield plain, trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates-per-round", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--updates", type=int, default=400, help="updates per measurement")
    parser.add_argument("--repeats", type=int, default=15, help="pairs")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("updates_per_round,plain_us,trainer_us,overhead_percent_median,overhead_percent_min,overhead_percent_max")
    for updates_per_round in args.updates_per_round:
        measured = list(pairs(updates_per_round, args.updates, args.repeats))
        overheads = [100 * (trainer / plain - 1) for plain, trainer in measured]
        plain, trainer = (1e6 * statistics.median(side) for side in zip(*measured, strict=True))
        print(
            f"{updates_per_round},{plain:.0f},{trainer:.0f},"
            f"{statistics.median(overheads):.2f},{min(overheads):.2f},{max(overheads):.2f}"
        )


if __name__ == "__main__":
    main()
