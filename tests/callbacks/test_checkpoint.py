import errno
import os
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
from lightning_maxent.run_data import RunData


def checkpoint(value: float, resumable: bool = True) -> dict:
    state = {"pytorch-lightning_version": "2.6.6", "state_dict": {"weight": torch.full((3,), value)}}
    if resumable:
        state["optimizer_states"] = []
    return state | {"ReplayDataModule": {"env_steps": 7, "replay": {"obs": torch.full((1000, 2), value)[:5]}}}


def test_a_checkpoint_with_its_buffer_is_restored_unchanged(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    saved = checkpoint(1.0)
    io.save_checkpoint(saved, path)
    loaded = io.load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["weight"], torch.ones(3))
    assert torch.equal(loaded["ReplayDataModule"]["replay"]["obs"], torch.ones(5, 2))
    assert loaded["ReplayDataModule"]["env_steps"] == 7
    assert "replay" in saved["ReplayDataModule"]  # the caller's dictionary is left alone
    (buffer,) = tmp_path.glob("last.ckpt.replay/*/obs.pt")
    assert buffer.stat().st_size < 3000  # the five rows, not the storage of a thousand behind them


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
    assert torch.equal(io.load_checkpoint(path)["ReplayDataModule"]["replay"]["obs"], torch.full((5, 2), 2.0))
    assert len(list(tmp_path.glob("last.ckpt.replay/*"))) == 1
    io.remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_weights_for_playing_are_saved_without_a_buffer(tmp_path):
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0, resumable=False), tmp_path / "best.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "best.ckpt")["ReplayDataModule"] == {"env_steps": 7}


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
    assert (loaded["ReplayDataModule"]["replay"]["obs"] == value).all()  # weights and buffer of one moment
    assert not list(tmp_path.rglob("*.tmp"))
    if writes < 3:  # the last call comes after the new checkpoint took its place
        assert value == 1.0
        assert sorted(tmp_path.rglob("*")) == before


def test_a_kill_between_buffer_and_checkpoint_keeps_the_old_pair(tmp_path, monkeypatch):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)

    class Killed(BaseException):
        pass

    replace = os.replace

    def killed_at_the_checkpoint(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed_at_the_checkpoint)
    with pytest.raises(Killed):
        io.save_checkpoint(checkpoint(2.0), path)
    monkeypatch.undo()
    assert torch.equal(io.load_checkpoint(path)["ReplayDataModule"]["replay"]["obs"], torch.ones(5, 2))
    io.save_checkpoint(checkpoint(3.0), path)
    assert len(list(tmp_path.glob("last.ckpt.replay/*"))) == 1  # the orphan is gone


def test_a_buffer_is_saved_without_a_copy_of_it_in_memory(tmp_path, monkeypatch):
    rows = torch.arange(2_000.0).reshape(1_000, 2)
    written, save = [], torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: written.append(content) or save(content, file))
    saved = checkpoint(1.0) | {"ReplayDataModule": {"env_steps": 7, "replay": {"obs": rows[:5]}}}
    AtomicCheckpointIO().save_checkpoint(saved, tmp_path / "last.ckpt")
    assert torch.equal(written[0], rows[:5])
    assert written[0].data_ptr() == rows.data_ptr()
    assert written[0].untyped_storage().nbytes() == 5 * 2 * 4


class Data(RunData):
    """Only what callbacks use of a DataModule."""

    env_steps, steps_per_round, eval_interval, saved_bytes = 0, 1, 10, 30_000


@pytest.mark.parametrize(("left", "warns"), [(60_000, False), (59_999, True), (None, False)])
def test_a_warning_is_given_before_training_if_the_disk_cannot_hold_two_buffers(
    left, warns, tmp_path, monkeypatch, recwarn
):
    warnings.simplefilter("always")
    trainer, callback = pl.Trainer(logger=False), StepCheckpoint()
    trainer.datamodule, callback.dirpath = Data(), str(tmp_path)
    monkeypatch.setattr(module, "disk_left", lambda folder: left)
    callback.on_train_start(trainer, pl.LightningModule())
    said = [str(each.message) for each in recwarn if "Checkpoints need up to" in str(each.message)]
    expected = f"Checkpoints need up to 60 kB in {tmp_path}, for the replay buffer and its previous copy"
    assert [each.startswith(expected) for each in said] == ([True] if warns else [])


def test_a_saved_buffer_counts_as_free_space_for_its_replacement(tmp_path, monkeypatch, recwarn):
    trainer, callback = pl.Trainer(logger=False), StepCheckpoint()
    trainer.datamodule, callback.dirpath = Data(), str(tmp_path)
    (tmp_path / "last.ckpt.replay").mkdir()
    (tmp_path / "last.ckpt.replay" / "obs.pt").write_bytes(b"1" * 28_672)
    monkeypatch.setattr(module, "disk_left", lambda folder: 60_000 - 28_672)
    callback.on_train_start(trainer, pl.LightningModule())
    assert not recwarn.list


def test_a_damaged_buffer_is_refused_with_its_path(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    (rows,) = tmp_path.glob("last.ckpt.replay/*/obs.pt")
    rows.write_bytes(rows.read_bytes()[:100])
    with pytest.raises(MaxEntError, match=r"obs\.pt, a part of the replay buffer, is damaged .* resume from another"):
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
    (rows,) = tmp_path.glob("last.ckpt.replay/*/obs.pt")
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
    (rows,), (others,) = tmp_path.glob("last.ckpt.replay/*/obs.pt"), tmp_path.glob("other.ckpt.replay/*/obs.pt")
    rewrite(rows, others.read_bytes())
    with pytest.raises(MaxEntError, match=r"obs\.pt, a part of the replay buffer, is damaged"):
        io.load_checkpoint(path)


def test_a_checkpoint_without_its_buffer_is_refused(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1.0), path)
    moved = tmp_path / "elsewhere.ckpt"
    path.rename(moved)
    with pytest.raises(MaxEntError, match=r"replay buffer of .*elsewhere.ckpt is missing.*together with its .replay"):
        io.load_checkpoint(moved)


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
