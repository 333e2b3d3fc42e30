"""Kill training runs again and again, resume them, and compare their ends with runs that were never stopped.

    python scripts/torture.py --kills 200 --out torture.csv

For each of four algorithms, one run goes on undisturbed.  Other runs of the same seed are disturbed until ``--kills``
is reached, and resumed from their last checkpoint each time.  A disturbance is one of three:

- ``time``: SIGKILL at a random moment;
- ``file``: SIGKILL before a random file operation, most of which belong to saves;
- ``disk``: from a random file operation on, every write fails as on a full disk, so that the run ends by itself.

At its end, a disturbed run must hold the same weights, optimizers, data and rows of ``metrics.csv`` (except speeds) as
the undisturbed one, bit for bit.  Lightning's own counters of batches and epochs are not compared.  The script only sends signals to processes that it has started.  A row of
the csv is one disturbance, with the environment step from which the run went on.  Exits with 1 if a run cannot resume or
ends with another state.  It needs a system with ``fork``.
"""

import argparse
import csv
import errno
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightning_maxent.checkpoint_files import AtomicCheckpointIO, read_checkpoint
from lightning_maxent.cli.command import main as lightning_maxent
from lightning_maxent.run_data import BufferRows

EVERY = [
    "--training_log.every_n_steps=32",
    "--checkpoint.every_n_steps=32",
    "--data.eval_episodes=1",
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
REPLAY = ["--data.num_envs=2", "--data.steps_per_round=2", "--data.batch_size=16", "--data.learning_starts=64"]
REPLAY += ["--data.capacity=300", "--data.eval_interval=64", "--trainer.max_steps=640"]
RUNS = {
    "sac/pendulum": REPLAY,
    "value_sac/pendulum": REPLAY,
    "soft_q/cartpole": REPLAY,
    "ppo/cartpole": [
        "--data.num_envs=2",
        "--data.steps_per_round=32",
        "--data.eval_interval=64",
        "--trainer.max_steps=640",
    ],
}
KINDS = ("time", "file", "disk")
LONGEST = 600  # seconds of one life of a run
FILE_OPERATIONS = ("replace", "fsync", "link", "unlink", "mkdir", "rmdir")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of disturbances")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--out", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    chosen, rows, ends, wrong = random.Random(args.seed), [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(RUNS):
            whole = Path(folder) / "whole"
            seconds = live(whole, name, lambda: None)[1]
            quota = args.kills * (number + 1) // len(RUNS) - args.kills * number // len(RUNS)
            while quota > 0:
                broken = Path(folder) / "broken"
                disturbances = disturb(broken, name, chosen, seconds, quota)
                different = difference(whole, broken)
                quota, ends, wrong = quota - len(disturbances), ends + 1, wrong + bool(different)
                rows += [each | {"end": different or "equal"} for each in disturbances]
                print(f"{name}: {len(disturbances)} disturbances, then {different or 'the same end'}.", flush=True)
                shutil.rmtree(broken)
            shutil.rmtree(whole)
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["run", "kind", "at", "resumed_from", "end"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} disturbances, {ends} runs to their end, {wrong} of them with another state.")
    return int(wrong > 0)


def live(folder: Path, name: str, disturbance: Callable[[], object]) -> tuple[int, float]:
    """Begin or resume a run in a process of its own: its exit status, negative for a signal, and its seconds of CPU."""
    folder.mkdir(exist_ok=True)
    checkpoint = last(folder)
    given = ["fit", "--ckpt_path", str(checkpoint)] if checkpoint else ["fit", name, *EVERY, *RUNS[name], "--name=a"]
    if not checkpoint:
        shutil.rmtree(folder / "runs", ignore_errors=True)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.chdir(folder)
            log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.alarm(LONGEST)
            disturbance()
            sys.argv = ["lightning-maxent", *given]
            lightning_maxent(given)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            os._exit(status)
    _, code, used = os.wait4(process, 0)
    return os.waitstatus_to_exitcode(code), used.ru_utime + used.ru_stime


def last(folder: Path) -> Path | None:
    """The last checkpoint of the run in a folder."""
    return next(iter(folder.glob("runs/*/*/a/checkpoints/last.ckpt")), None)


def disturb(folder: Path, name: str, chosen: random.Random, seconds: float, most: int) -> list[dict[str, Any]]:
    """Disturb a run until it ends, at most ``most`` times."""
    found: list[dict[str, Any]] = []
    while True:
        kind = KINDS[len(found) % len(KINDS)]
        at = chosen.uniform(0, seconds / 3) if kind == "time" else chosen.randrange(150)
        status, _ = live(folder, name, faults(kind, at) if len(found) < most else lambda: None)
        if status == 0:
            return found
        if len(found) == most:
            raise SystemExit(f"{name} cannot resume: see {shutil.copy(folder / 'log.txt', 'torture_log.txt')}.")
        checkpoint = last(folder)
        step = read_checkpoint(checkpoint)["global_step"] if checkpoint else 0
        found.append({"run": name, "kind": kind, "at": f"{at:.4g}", "resumed_from": step})


def faults(kind: str, at: float) -> Callable[[], object]:
    """What a process does before its run begins, so that it is disturbed later."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fill_the_disk() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def before_file_operation(act: Callable[[], None]) -> None:
        count = itertools.count()
        for operation in FILE_OPERATIONS[:2] if act is fill_the_disk else FILE_OPERATIONS:
            setattr(os, operation, guarded(getattr(os, operation), lambda: next(count) >= at and act()))

    if kind == "time":
        timer = threading.Timer(at, kill)
        timer.daemon = True
        return timer.start
    return lambda: before_file_operation(kill if kind == "file" else fill_the_disk)


def guarded(call: Callable[..., Any], before: Callable[[], object]) -> Callable[..., Any]:
    def guard(*args: Any, **kwargs: Any) -> Any:
        before()
        return call(*args, **kwargs)

    return guard


def difference(left: Path, right: Path) -> str:
    """Where the ends of two runs differ; empty if they are equal bit for bit."""
    files = last(left), last(right)
    io = AtomicCheckpointIO()
    states = [io.load_checkpoint(each) for each in files]
    for state in states:
        del state["callbacks"], state["loops"]  # paths of files; Lightning's counters of batches, which start anew
    tables = [metrics(each.parent.parent / "metrics.csv") for each in files if each]
    return differs(states[0], states[1], "checkpoint") or differs(tables[0], tables[1], "metrics.csv")


def metrics(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    return [{key: value for key, value in row.items() if value and not key.startswith("speed/")} for row in rows]


def differs(left: Any, right: Any, where: str) -> str:
    """The first place where two nested states differ; empty if there is none."""
    if isinstance(left, BufferRows) and isinstance(right, BufferRows):
        return differs(left.all(), right.all(), where)
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return "" if torch.equal(left, right) else where
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return next(filter(None, (differs(left[key], right[key], f"{where}.{key}") for key in left)), "")
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = enumerate(zip(left, right))
        return next(filter(None, (differs(*pair, f"{where}[{index}]") for index, pair in pairs)), "")
    return "" if type(left) is type(right) and left == right else where


if __name__ == "__main__":
    sys.exit(main())
