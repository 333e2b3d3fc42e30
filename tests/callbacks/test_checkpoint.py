import errno
import itertools
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers import same

from lightning_maxent import MaxEntError
from lightning_maxent.callbacks import checkpoint as module
from lightning_maxent.callbacks.checkpoint import StepCheckpoint
from lightning_maxent.checkpoint_files import AtomicCheckpointIO, read_checkpoint
from lightning_maxent.errors import DivergedError
from lightning_maxent.run_data import BufferRows, RunData, buffer_rows


def checkpoint(value: float, resumable: bool = True) -> dict:
    state = {"pytorch-lightning_version": "2.6.6", "global_step": 0, "state_dict": {"weight": torch.full((3,), value)}}
    if resumable:
        state["optimizer_states"] = []
    return state | {"ReplayDataModule": {"env_steps": 7, "replay": numbered(0, 5, value)}}


def numbered(first: int, stop: int, value: float, stream: str = "") -> BufferRows:
    """Rows with their numbers and a value; without a stream, no other rows belong to the same buffer."""
    rows = torch.stack([torch.arange(first, stop), torch.full((stop - first,), value)], -1)
    return BufferRows.from_tensors({"obs": rows}, stream or f"{value}", stop)


def values(loaded: dict) -> list[float]:
    """The values of the rows in a checkpoint."""
    return loaded["ReplayDataModule"]["replay"].all()["obs"][:, 1].tolist()


def test_a_checkpoint_with_its_buffer_is_restored_unchanged(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    saved = checkpoint(1.0)
    io.save_checkpoint(saved, path)
    loaded = io.load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["weight"], torch.ones(3))
    same(loaded["ReplayDataModule"], saved["ReplayDataModule"])  # the caller's dictionary is left alone, too


def test_a_checkpoint_of_a_gpu_is_read_on_a_machine_without_one(tmp_path, monkeypatch):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        io.save_checkpoint(checkpoint(1.0), path)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    assert torch.equal(io.load_checkpoint(path)["state_dict"]["weight"], torch.ones(3))


def test_a_resumed_run_continues_the_random_numbers():
    torch.manual_seed(3)
    torch.rand(5)
    state = StepCheckpoint().state_dict()
    expected = torch.rand(4)
    again = StepCheckpoint()
    torch.manual_seed(3)  # as the same command does in a new process
    again.load_state_dict(state)
    again.on_train_start(pl.Trainer(logger=False), pl.LightningModule())
    assert torch.equal(torch.rand(4), expected)
    assert torch.initial_seed() == 3


def test_a_run_resumed_with_another_seed_draws_the_numbers_of_that_seed():
    torch.manual_seed(3)
    state = StepCheckpoint().state_dict()
    torch.manual_seed(4)
    expected = torch.rand(4)
    again = StepCheckpoint()
    torch.manual_seed(4)
    again.load_state_dict(state)
    again.on_train_start(pl.Trainer(logger=False), pl.LightningModule())
    assert torch.equal(torch.rand(4), expected)
    assert torch.initial_seed() == 4  # from which the seeds of environments follow


def test_only_the_buffer_of_the_newest_save_is_kept(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    io.save_checkpoint(checkpoint(2.0), path)
    assert values(io.load_checkpoint(path)) == [2.0] * 5
    assert len(list(tmp_path.glob("last.ckpt.replay/process-0/*"))) == 1
    io.remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_weights_for_playing_are_saved_without_a_buffer(tmp_path):
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0, resumable=False), tmp_path / "best.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "best.ckpt")["ReplayDataModule"] == {"env_steps": 7}


def with_rows(step: int, rows: BufferRows) -> dict:
    return checkpoint(float(step)) | {"global_step": step, "ReplayDataModule": {"replay": rows}}


def files(folder: Path) -> dict[str, int]:
    """The files of a buffer, with their inodes, which change if a file is written once more."""
    return {file.name.rpartition("-")[0]: file.stat().st_ino for file in folder.glob("process-0/*")}


def test_a_save_writes_only_new_rows_and_drops_the_files_of_old_ones(tmp_path):
    io, path, folder = AtomicCheckpointIO(), tmp_path / "last.ckpt", tmp_path / "last.ckpt.replay"
    found = []
    for step in (100, 200, 250, 400):
        rows = numbered(max(0, step - 200), step, 1.0, "a")  # of a buffer of 200
        io.save_checkpoint(with_rows(step, rows), path)
        same(io.load_checkpoint(path)["ReplayDataModule"]["replay"], rows)
        found.append(files(folder))
    assert [list(each) for each in map(sorted, found)] == [
        ["0-100"],
        ["0-100", "100-200"],
        ["0-100", "100-200", "200-250"],
        ["200-250", "250-400"],
    ]
    for before, after in itertools.pairwise(found):
        assert all(after[name] == inode for name, inode in before.items() if name in after)


def test_a_run_that_resumes_writes_only_new_rows_too(tmp_path):
    path, folder = tmp_path / "last.ckpt", tmp_path / "last.ckpt.replay"
    AtomicCheckpointIO().save_checkpoint(with_rows(5, numbered(0, 5, 1.0, "a")), path)
    before = files(folder)
    io = AtomicCheckpointIO()
    io.load_checkpoint(path)
    io.save_checkpoint(with_rows(8, numbered(0, 8, 1.0, "a")), path)
    assert files(folder) == before | {"5-8": files(folder)["5-8"]}
    io.save_checkpoint(with_rows(9, numbered(0, 9, 2.0, "another")), path)  # a run in the same process
    assert list(files(folder)) == ["0-9"]
    assert values(io.load_checkpoint(path)) == [2.0] * 9


def test_many_small_saves_do_not_leave_many_small_files(tmp_path):
    io, path, folder = AtomicCheckpointIO(), tmp_path / "last.ckpt", tmp_path / "last.ckpt.replay"
    for step in range(2_000, 2_400):
        io.save_checkpoint(with_rows(step, numbered(step - 2_000, step, 1.0, "a")), path)
    assert len(files(folder)) < 40
    same(io.load_checkpoint(path)["ReplayDataModule"]["replay"], numbered(399, 2_399, 1.0, "a"))


def test_a_large_buffer_is_written_to_several_files_so_that_old_rows_are_dropped_piece_by_piece(tmp_path):
    io, path, folder = AtomicCheckpointIO(), tmp_path / "last.ckpt", tmp_path / "last.ckpt.replay"
    io.save_checkpoint(with_rows(200_000, numbered(0, 200_000, 1.0, "a")), path)
    assert len(files(folder)) == 10
    row = 1.0 * sum(file.stat().st_size for file in folder.glob("process-0/*")) / 200_000
    for step in range(210_000, 440_000, 10_000):
        io.save_checkpoint(with_rows(step, numbered(step - 200_000, step, 1.0, "a")), path)
        assert sum(file.stat().st_size for file in folder.glob("process-0/*")) <= 1.2 * 200_000 * row


def test_rows_are_written_again_if_somebody_has_removed_their_files(tmp_path):
    io, path, folder = AtomicCheckpointIO(), tmp_path / "last.ckpt", tmp_path / "last.ckpt.replay"
    io.save_checkpoint(with_rows(5, numbered(0, 5, 1.0, "a")), path)
    shutil.rmtree(folder)
    io.save_checkpoint(with_rows(6, numbered(0, 6, 1.0, "a")), path)
    assert values(io.load_checkpoint(path)) == [1.0] * 6


def test_a_checkpoint_of_another_name_has_files_of_its_own(tmp_path):
    io = AtomicCheckpointIO()
    for step, name in ((5, "a.ckpt"), (8, "a-2.ckpt"), (9, "a-2.ckpt")):  # names of the user, not previous checkpoints
        io.save_checkpoint(with_rows(step, numbered(0, step, 1.0, "a")), tmp_path / name)
    assert steps_of(tmp_path) == {"a-2.ckpt": 9, "a.ckpt": 5}
    io.remove_checkpoint(tmp_path / "a-2.ckpt")
    assert steps_of(tmp_path) == {"a.ckpt": 5}


# ---- previous checkpoints -------------------------------------------------------------------------------------------


def steps_of(folder: Path) -> dict[str, int]:
    """The environment step of each whole checkpoint in a folder."""
    io = AtomicCheckpointIO()
    return {file.name: io.load_checkpoint(file)["global_step"] for file in sorted(folder.glob("*.ckpt"))}


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_previous_checkpoints_are_kept_whole_and_share_the_files_of_the_buffer(tmp_path, keep):
    io, path, folder = AtomicCheckpointIO(), tmp_path / "last.ckpt", tmp_path / "last.ckpt.replay"
    io.keep_previous(path, keep)
    for step in (10, 20, 30, 40, 50, 50):
        io.save_checkpoint(with_rows(step, numbered(step - 10, step, 1.0, "a")), path)
    expected = {"last.ckpt": 50, "last-1.ckpt": 40, "last-2.ckpt": 30, "last-3.ckpt": 20}
    assert steps_of(tmp_path) == dict(sorted(list(expected.items())[: 1 + keep]))
    assert len(files(folder)) == 1 + keep


def test_fewer_previous_checkpoints_may_be_kept_later(tmp_path):
    path = tmp_path / "last.ckpt"
    for keep in (3, 1):
        io = AtomicCheckpointIO()
        io.keep_previous(path, keep)
        for step in (10, 20, 30, 40):
            io.save_checkpoint(with_rows(10 * keep + step, numbered(0, 5, 1.0, "a")), path)
    assert list(steps_of(tmp_path)) == ["last-1.ckpt", "last.ckpt"]


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_offered(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.keep_previous(path, 1)
    for step in (10, 20):
        io.save_checkpoint(with_rows(step, numbered(0, step, 1.0, "a")), path)
    flip(path, path.read_bytes().index(np.float32(20.0).tobytes()) + 2)
    with pytest.raises(MaxEntError, match=r"or resume from .*last-1\.ckpt, the checkpoint before it"):
        io.load_checkpoint(path)
    resumed = AtomicCheckpointIO()
    resumed.keep_previous(path, 1)
    assert resumed.load_checkpoint(tmp_path / "last-1.ckpt")["global_step"] == 10
    resumed.save_checkpoint(with_rows(15, numbered(0, 15, 2.0, "a")), path)
    assert steps_of(tmp_path) == {"last-1.ckpt": 10, "last.ckpt": 15}  # not the damaged one
    assert (
        values(AtomicCheckpointIO().load_checkpoint(path)) == [1.0] * 10 + [2.0] * 5
    )  # the first ten were on the disk


def test_previous_checkpoints_are_kept_on_file_systems_without_hard_links(tmp_path, monkeypatch):
    def no_links(*args) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.keep_previous(path, 1)
    for step in (10, 20):
        io.save_checkpoint(with_rows(step, numbered(0, step, 1.0, "a")), path)
    assert steps_of(tmp_path) == {"last-1.ckpt": 10, "last.ckpt": 20}


class Killed(BaseException):
    pass


OPERATIONS = [(os, name) for name in ("replace", "link", "fsync", "unlink", "rmdir", "mkdir")] + [(Path, "open")]


def killed_save(path: Path, monkeypatch, operation: int) -> bool:
    """Save four times, and die before a file operation of the last save; whether there is such an operation."""
    io = AtomicCheckpointIO()
    io.keep_previous(path, 1)
    for step in (10, 20, 30):
        io.save_checkpoint(with_rows(step, numbered(step - 10, step, 1.0, "a")), path)
    count = itertools.count()

    def guarded(call):
        def guard(*args, **kwargs):
            if next(count) >= operation:  # nothing happens after the kill
                raise Killed
            return call(*args, **kwargs)

        return guard

    with monkeypatch.context() as patch:
        for owner, name in OPERATIONS:
            patch.setattr(owner, name, guarded(getattr(owner, name)))
        try:
            io.save_checkpoint(with_rows(40, numbered(30, 40, 1.0, "a")), path)
        except Killed:
            return True
    return False


def test_a_kill_before_any_file_operation_leaves_checkpoints_that_can_be_loaded(tmp_path, monkeypatch):
    for operation in itertools.count():
        folder = tmp_path / str(operation)
        path = folder / "last.ckpt"
        killed = killed_save(path, monkeypatch, operation)
        found = steps_of(folder)
        assert found["last.ckpt"] in (30, 40), operation
        assert found["last-1.ckpt"] in (20, 30), operation
        again = AtomicCheckpointIO()
        again.keep_previous(path, 1)
        again.load_checkpoint(path)
        again.save_checkpoint(with_rows(50, numbered(40, 50, 1.0, "b")), path)
        assert steps_of(folder) == {"last-1.ckpt": found["last.ckpt"], "last.ckpt": 50}, operation
        assert len(files(folder / "last.ckpt.replay")) == 2, operation  # all that was left behind is gone
        assert not list(folder.rglob("*.tmp")), operation
        if not killed:
            break
    assert operation >= 12


@pytest.mark.parametrize("writes", range(4))
def test_a_failed_write_leaves_the_previous_checkpoint_whole_and_no_temporary_files(tmp_path, monkeypatch, writes):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    before = sorted(tmp_path.rglob("*"))
    calls = iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(calls) == writes:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(MaxEntError, match=r"could not be written \(.*No space left on device.*free some space"):
        io.save_checkpoint(checkpoint(2.0), path)
    monkeypatch.undo()
    loaded = io.load_checkpoint(path)
    value = loaded["state_dict"]["weight"][0].item()
    assert values(loaded) == [value] * 5  # weights and buffer of one moment
    assert not list(tmp_path.rglob("*.tmp"))
    if writes < 3:  # the last call comes after the new checkpoint took its place
        assert value == 1.0
        assert sorted(tmp_path.rglob("*")) == before


def test_a_kill_between_buffer_and_checkpoint_keeps_the_old_pair(tmp_path, monkeypatch):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)

    replace = os.replace

    def killed_at_the_checkpoint(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed_at_the_checkpoint)
    with pytest.raises(Killed):
        io.save_checkpoint(checkpoint(2.0), path)
    monkeypatch.undo()
    assert values(io.load_checkpoint(path)) == [1.0] * 5
    io.save_checkpoint(checkpoint(3.0), path)
    assert len(list(tmp_path.glob("last.ckpt.replay/process-0/*"))) == 1  # the orphan is gone


class Data(RunData):
    """Only what callbacks use of a DataModule."""

    env_steps, steps_per_round, eval_interval, saved_bytes = 0, 1, 10, 30_000


@pytest.mark.parametrize(("left", "warns"), [(36_000, False), (35_999, True), (None, False)])
def test_a_warning_is_given_before_training_if_the_disk_cannot_hold_the_buffer(
    left, warns, tmp_path, monkeypatch, recwarn
):
    warnings.simplefilter("always")
    trainer, callback = pl.Trainer(logger=False), StepCheckpoint()
    trainer.datamodule, callback.dirpath = Data(), str(tmp_path)
    monkeypatch.setattr(module, "disk_left", lambda folder: left)
    callback.on_train_start(trainer, pl.LightningModule())
    said = [str(each.message) for each in recwarn if "Checkpoints need about" in str(each.message)]
    expected = f"Checkpoints need about 36 kB in {tmp_path}, for the replay buffer and some older rows"
    assert [each.startswith(expected) for each in said] == ([True] if warns else [])


def test_a_saved_buffer_counts_as_free_space_for_its_replacement(tmp_path, monkeypatch, recwarn):
    trainer, callback = pl.Trainer(logger=False), StepCheckpoint()
    trainer.datamodule, callback.dirpath = Data(), str(tmp_path)
    (tmp_path / "last.ckpt.replay").mkdir()
    (tmp_path / "last.ckpt.replay" / "obs.pt").write_bytes(b"1" * 28_672)
    monkeypatch.setattr(module, "disk_left", lambda folder: 36_000 - 28_672)
    callback.on_train_start(trainer, pl.LightningModule())
    assert not recwarn.list


def test_a_damaged_buffer_is_refused_with_its_path(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    (rows,) = tmp_path.glob("last.ckpt.replay/process-0/*.pt")
    rows.write_bytes(rows.read_bytes()[:100])
    with pytest.raises(MaxEntError, match=r"a part of the replay buffer, is damaged .* resume from another"):
        io.load_checkpoint(path)


def rewrite(file: Path, content: bytes) -> None:
    """Replace a file, which loaded tensors may still be mapped to."""
    file.unlink()
    file.write_bytes(content)


def flip(file: Path, position: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << (position % 8)
    rewrite(file, content)


def test_one_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    """Bits between the parts of a file hold no data, so a file is whole without them."""
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    right = io.load_checkpoint(path)
    (rows,) = tmp_path.glob("last.ckpt.replay/process-0/*.pt")
    refused = 0
    for file in (path, rows):
        whole = file.read_bytes()
        for position in range(7, len(whole), 41):
            flip(file, position)
            try:
                loaded = io.load_checkpoint(path)
            except MaxEntError:
                refused += 1
            else:
                same(loaded, right, f"{file.name} with another bit at {position}")
            rewrite(file, whole)
    assert refused > 20


def test_a_flipped_bit_of_a_number_is_refused_with_the_path(tmp_path):
    """Without checksums, the weight 1 becomes another number and the run goes on."""
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    position = path.read_bytes().index(np.float32(1.0).tobytes())
    flip(path, position + 2)
    with pytest.raises(MaxEntError, match=r"last\.ckpt is no checkpoint, or a damaged one \(BadZipFile\)"):
        io.load_checkpoint(path)


def test_a_part_of_the_buffer_of_another_checkpoint_is_refused(tmp_path):
    io, path, other = AtomicCheckpointIO(), tmp_path / "last.ckpt", tmp_path / "other.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    io.save_checkpoint(checkpoint(2.0), other)
    (rows,), (others,) = (
        tmp_path.glob("last.ckpt.replay/process-0/*.pt"),
        tmp_path.glob("other.ckpt.replay/process-0/*.pt"),
    )
    rewrite(rows, others.read_bytes())
    with pytest.raises(MaxEntError, match=r"a part of the replay buffer, is damaged"):
        io.load_checkpoint(path)


def test_a_checkpoint_without_its_buffer_is_refused(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    moved = tmp_path / "elsewhere.ckpt"
    path.rename(moved)
    with pytest.raises(
        MaxEntError,
        match=r"elsewhere.ckpt.replay.*replay buffer, is missing: .*together with its folder elsewhere.ckpt.replay",
    ):
        io.load_checkpoint(moved)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint(1.0) | {"format": 3}, path)
    with pytest.raises(MaxEntError, match=r"by a newer version of lightning_maxent \(format 3, and this version reads"):
        read_checkpoint(path)
    torch.save(checkpoint(1.0) | {"ReplayDataModule": {"replay_id": "1a"}}, path)
    assert read_checkpoint(path)  # its weights
    with pytest.raises(
        MaxEntError, match=r"by an older version of lightning_maxent, whose replay buffers cannot be read"
    ):
        AtomicCheckpointIO().load_checkpoint(path)


def test_a_checkpoint_of_lightning_holds_the_buffer_in_the_file(tmp_path):
    rows = numbered(3, 8, 1.0, "a")
    torch.save({"replay": rows}, tmp_path / "any.ckpt")
    same(buffer_rows(torch.load(tmp_path / "any.ckpt", weights_only=True)["replay"]), rows)
    torch.save(with_rows(8, rows), tmp_path / "any.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "any.ckpt")
    same(buffer_rows(loaded["ReplayDataModule"]["replay"]), rows)


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_a_file_that_is_no_checkpoint_is_refused_without_executing_code(tmp_path, capsys):
    path = tmp_path / "some.ckpt"
    with pytest.raises(MaxEntError, match=r"There is no checkpoint"):
        read_checkpoint(path)
    path.write_text("not a checkpoint")
    with pytest.raises(MaxEntError, match=r"is no checkpoint, or a damaged one"):
        read_checkpoint(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(MaxEntError, match=r"a file of another kind"):
        read_checkpoint(path)
    torch.save({"pytorch-lightning_version": Hostile()}, path)
    with pytest.raises(MaxEntError, match=r"is no checkpoint, or a damaged one"):
        read_checkpoint(path)
    assert capsys.readouterr().out == ""
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MaxEntError, match=r"is no checkpoint, or a damaged one"):
        read_checkpoint(path)


@pytest.mark.parametrize("resumable", [True, False])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, resumable):
    io, path = AtomicCheckpointIO(), tmp_path / "any.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    weights = {"critic.weight": torch.tensor([1.0, torch.inf]), "policy.weight": torch.ones(2)}
    with pytest.raises(
        DivergedError, match=r"^At 0 environment steps the weights of critic are not finite, so they are not"
    ):
        io.save_checkpoint(checkpoint(2.0, resumable) | {"state_dict": weights, "global_step": 0}, path)
    assert torch.equal(io.load_checkpoint(path)["state_dict"]["weight"], torch.ones(3))
