"""Reads the offline files of W&B."""

import json
import struct
import time
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32 * 1024, 7


def records(path: Path):
    """The records of an offline W&B file: a 7-byte header, then LevelDB log framing around protobuf."""
    data, position, pending = path.read_bytes(), 7, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK  # a block's tail too short for a header is padding
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        chunk = data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        pending = chunk if kind in (1, 2) else pending + chunk
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pending)
            yield record


def finished_records(folder: Path) -> list[wandb_internal_pb2.Record]:
    """All records of the one offline run in ``folder``, or of this segment, once W&B has finished writing it."""
    (file,) = [*folder.glob("wandb/offline-run-*/run-*.wandb"), *folder.glob("run-*.wandb")]
    deadline = time.monotonic() + 30  # a process of its own writes the file, and may still be at it
    while not any(record.WhichOneof("record_type") == "exit" for record in records(file)):
        assert time.monotonic() < deadline, "W&B never finished its file"
        time.sleep(0.1)
    return list(records(file))


def history(folder: Path) -> list[dict]:
    """The rows that were logged."""
    return [
        {("/".join(item.nested_key) or item.key): json.loads(item.value_json) for item in record.history.item}
        for record in finished_records(folder)
        if record.WhichOneof("record_type") == "history"
    ]


def config(folder: Path) -> dict:
    """The configuration of the run, as it was updated last."""
    values = {}
    for record in finished_records(folder):
        if record.WhichOneof("record_type") == "run":
            updates = record.run.config.update
        elif record.WhichOneof("record_type") == "config":
            updates = record.config.update
        else:
            continue
        values |= {("/".join(item.nested_key) or item.key): json.loads(item.value_json) for item in updates}
    return values


def run(folder: Path) -> wandb_internal_pb2.RunRecord:
    """The identity of the run: project, entity, name, group, tags and id."""
    return next(record.run for record in finished_records(folder) if record.WhichOneof("record_type") == "run")


def summary(folder: Path) -> dict:
    """The last value of every entry of the summary that was set; logged metrics are among them."""
    values = {}
    for record in finished_records(folder):
        kind = record.WhichOneof("record_type")
        items = record.summary.update if kind == "summary" else record.history.item if kind == "history" else ()
        values |= {("/".join(item.nested_key) or item.key): json.loads(item.value_json) for item in items}
    return values
