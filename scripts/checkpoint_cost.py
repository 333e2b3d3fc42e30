"""Measure what a checkpoint with a full replay buffer costs the training thread, and its size on the disk.

    python scripts/checkpoint_cost.py --out checkpoint_cost.csv

The buffer has ``--rows`` transitions of the size of HalfCheetah's.  A checkpoint is saved after every ``--new`` further
transitions, with the weights of SAC and two moments of Adam for each.  The first save writes the whole buffer, and every
later one the new rows.  A row of the csv is one save: its milliseconds, and the size of all files of the buffer relative
to the buffer.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.run_data import BufferRows

OBS, ACTION, WIDTH, NETWORKS = 17, 6, 256, 5  # of SAC on HalfCheetah-v5: a policy, two Qs and their slow copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="transitions in the buffer")
    parser.add_argument("--new", type=int, default=10_000, help="new transitions between two saves")
    parser.add_argument("--saves", type=int, default=120, help="number of saves")
    parser.add_argument("--out", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    sizes = {"obs": (OBS,), "action": (ACTION,), "reward": (), "next_obs": (OBS,)}
    storage = {name: torch.randn(args.rows, *size) for name, size in sizes.items()}
    storage["terminated"] = torch.zeros(args.rows, dtype=torch.bool)
    buffer_size = sum(each.nbytes for each in storage.values())

    def read(start: int, stop: int) -> dict[str, Tensor]:
        rows = torch.arange(start, stop) % args.rows
        return {name: each[rows] for name, each in storage.items()}

    layers = ((OBS + ACTION, WIDTH), (WIDTH, WIDTH), (WIDTH, 1))
    weights = {f"network_{n}.{layer}": torch.randn(size) for n in range(NETWORKS) for layer, size in enumerate(layers)}
    moments = [{name: torch.randn_like(each) for name, each in weights.items()} for _ in range(2)]
    rows = []
    with tempfile.TemporaryDirectory(dir=args.out.absolute().parent) as folder:
        io, path = AtomicCheckpointIO(), Path(folder) / "last.ckpt"
        io.keep_previous(path, 1)
        for stop in range(args.rows, args.rows + args.saves * args.new, args.new):
            data = {"replay": BufferRows("a", stop - args.rows, stop, read)}
            checkpoint = {"pytorch-lightning_version": "", "global_step": stop, "state_dict": weights}
            begin = time.perf_counter()
            io.save_checkpoint(checkpoint | {"optimizer_states": moments, "data": data}, path)
            milliseconds = 1_000 * (time.perf_counter() - begin)
            on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*.pt"))
            rows.append({"env_steps": stop, "milliseconds": milliseconds, "disk": on_disk / buffer_size})
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    later = sorted(row["milliseconds"] for row in rows[1:])
    print(
        f"First save: {rows[0]['milliseconds']:.0f} ms.  Later saves: median {later[len(later) // 2]:.1f} ms, longest "
        f"{later[-1]:.1f} ms.  Largest size on the disk: {max(row['disk'] for row in rows):.3f} times the buffer."
    )


if __name__ == "__main__":
    main()
