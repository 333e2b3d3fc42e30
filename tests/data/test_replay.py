import re
from functools import partial
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from stub_trainer import StubTrainer, rounds, started
from torchrl.data import LazyMemmapStorage, LazyStackStorage, LazyTensorStorage, ListStorage
from torchrl.data.replay_buffers.samplers import PrioritizedSampler, SamplerWithoutReplacement
from torchrl.envs.transforms import RewardClipping

from lightning_maxent import MaxEntError, ReplayDataModule, Transition
from lightning_maxent.data import storage_space
from lightning_maxent.run_data import BufferRows


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"batch_size": 100, "capacity": 50}, "batch of 100 does not fit in a buffer of 50"),
        ({"batch_size": 64, "learning_starts": 63}, "learning_starts 63 is shorter than a batch of 64: set it to 64"),
        ({"num_envs": 4, "steps_per_round": 6}, "steps_per_round 6 must be a multiple of num_envs 4.*try 8"),
        (
            {"steps_per_round": 7, "eval_interval": 20},
            "eval_interval 20 must be a multiple of steps_per_round 7.*try 21",
        ),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"updates_per_round": -1}, "updates_per_round must not be negative"),
    ],
)
def test_numbers_that_cannot_work_together_are_refused_with_what_to_do(kwargs, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        ReplayDataModule("probe/Counting-v0", **kwargs)


def test_a_round_is_its_environment_steps_and_its_updates_and_the_clock_counts_every_environment():
    data = started(num_envs=2, steps_per_round=4, updates_per_round=3)
    played = rounds(data, 4)
    assert [each.env_steps for each in played] == [4, 8, 12, 16]
    assert [len(each.batch.reward) for each in played] == [0, 0, 3, 3]  # warm-up carries no update
    assert played[-1].batch.obs.shape == (3, 4, 2)
    assert len(data.buffer) == 16


@pytest.mark.parametrize(
    ("steps", "updates", "said"),
    [
        (1, 1, "1 update per environment step"),
        (1, 20, "20 updates per environment step"),
        (8, 8, "1 update per environment step"),
        (1024, 1, "1 update per 1,024 environment steps"),
        (12, 8, "2 updates per 3 environment steps"),
        (1, 2000, "2,000 updates per environment step"),
        (4, 0, "no updates"),
    ],
)
def test_the_ratio_of_updates_to_environment_steps_is_said_once_whatever_the_number_of_copies(
    caplog, steps, updates, said
):
    with caplog.at_level("INFO"):
        copies = 4 if steps % 4 == 0 else 1
        data = started(num_envs=copies, steps_per_round=steps, updates_per_round=updates, eval_interval=4 * steps)
        rounds(data, 3)
        list(data.val_dataloader())
    assert [record.message for record in caplog.records if "Training makes" in record.message] == [
        f"Training makes {said}."
    ]


def numbered(**kwargs) -> ReplayDataModule:
    """A full buffer in which the rewards are the numbers of the transitions."""
    data = started(batch_size=4, updates_per_round=16, **kwargs)
    rounds(data, 64)
    data.buffer.storage[:64]["reward"].copy_(torch.arange(64.0))
    return data


def test_a_sampler_plugs_in_and_without_replacement_every_transition_is_drawn_once_in_a_pass():
    data = numbered(sampler=SamplerWithoutReplacement)
    data.buffer.sampler._empty()  # what was drawn while the buffer was filled is no part of the pass
    for _ in range(3):
        assert sorted(data._batch().reward.flatten().tolist()) == list(range(64))
    torch.manual_seed(0)
    drawn = numbered()._batch().reward.flatten()  # at random with replacement: 64 (1 - 1/e) = 40 different ones
    assert len(drawn.unique()) < 50


def test_a_pass_of_the_sampler_that_ends_within_a_round_is_followed_by_the_next():
    data = started(batch_size=5, sampler=SamplerWithoutReplacement, updates_per_round=3)
    assert {len(each.batch.reward) * 5 for each in rounds(data, 40)} == {0, 15}


def test_a_resumed_run_continues_the_pass_of_its_sampler():
    data, resumed = (
        numbered(sampler=SamplerWithoutReplacement),
        started(batch_size=4, sampler=SamplerWithoutReplacement),
    )
    data.updates_per_round = resumed.updates_per_round = 5
    data._batch()
    state = data.state_dict()
    resumed.load_state_dict({name: value for name, value in state.items() if name != "obs"})
    assert data._batch().reward.tolist() == resumed._batch().reward.tolist()


class ByPriority(PrioritizedSampler):
    """A prioritized sampler without the compiled code that some builds of TorchRL lack."""

    def __init__(self):
        pass


def test_a_prioritized_sampler_is_refused():
    with pytest.raises(
        MaxEntError, match=r"^The sampler ByPriority needs priorities, which no algorithm here computes"
    ):
        started(sampler=ByPriority)


def test_a_transform_changes_what_is_drawn_and_not_what_is_stored():
    data = numbered(transform=partial(RewardClipping, 0.0, 5.0))
    assert data._batch().reward.max() == 5
    assert data.buffer.storage[:64]["reward"].max() == 63


def test_warm_up_actions_are_uniform_and_later_ones_are_the_policys():
    data = started(capacity=1000, learning_starts=500)
    rounds(data, 510)
    actions = data.buffer.storage[:510]["action"]
    warm = actions[:500]
    assert data.trainer.acted == [(1, "explores")] * 10
    assert (actions[500:] == 0.25).all()
    assert warm.abs().max() <= 1
    # uniform on [-1, 1]: mean 0, variance 1/3; four standard errors of 1,000 draws
    assert abs(warm.mean()) < 4 * (1 / 3 / 1000) ** 0.5
    assert abs(warm.var() - 1 / 3) < 4 * (4 / 45 / 1000) ** 0.5


def test_every_update_of_a_round_draws_its_own_batch():
    data = started(updates_per_round=4)
    batch = rounds(data, 30)[-1].batch
    assert len({tuple(update.tolist()) for update in batch.obs[..., 1] * 100 + batch.obs[..., 0]}) == 4


@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage])
def test_batches_hold_transitions_that_were_played(storage):
    data = started(storage=storage)
    batch = rounds(data, 40)[-1].batch
    assert torch.equal(batch.next_obs[..., 0], batch.obs[..., 0] + 1)
    assert torch.equal(batch.reward, batch.next_obs[..., 0])
    assert torch.equal(batch.next_obs[..., 1], batch.obs[..., 1])  # never across episodes


def test_a_full_buffer_overwrites_the_oldest():
    data = started(capacity=16)
    rounds(data, 40)
    kept = data.buffer.storage[:16]["obs"]
    position = kept[:, 1] * 5 + kept[:, 0]  # episodes are of 5 steps
    assert sorted(position.tolist()) == list(range(24, 40))


def test_an_epoch_of_the_stream_is_the_evaluation_interval():
    data = started(num_envs=2, steps_per_round=4, eval_interval=20)
    stream = data.train_dataloader()
    assert len(stream) == 5
    assert [each.env_steps for each in stream] == [4, 8, 12, 16, 20]


def in_memory(rows: BufferRows) -> BufferRows:
    """The same rows as from a file, which do not change when the buffer does."""
    return BufferRows.from_tensors(rows.all(), rows.stream, rows.stop)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("capacity", [16, 64])
def test_a_restored_buffer_is_the_saved_one_and_goes_on_at_its_cursor(capacity, on_disk, tmp_path):
    storage = partial(LazyMemmapStorage, scratch_dir=tmp_path) if on_disk else LazyTensorStorage
    data = started(capacity=capacity, storage=storage)
    rounds(data, 21)
    state = data.state_dict()
    state["replay"] = in_memory(state["replay"])
    restored = started(capacity=capacity, storage=storage)
    restored.trainer.global_step = 21
    restored.load_state_dict(state)
    size = min(capacity, 21)
    for name in Transition._fields:
        assert torch.equal(restored.buffer.storage[:size][name], data.buffer.storage[:size][name])
    after = rounds(restored, 1)[0]
    assert after.env_steps == 22
    assert len(after.batch.reward) == 1  # no burst of owed updates
    numbered = restored.state_dict()["replay"]  # so that a save writes only the row that is new
    assert (numbered.stream, numbered.first, numbered.stop) == (state["replay"].stream, max(0, 22 - capacity), 22)
    fresh = restored.buffer.storage[21 % capacity : 21 % capacity + 1]
    assert fresh["obs"].tolist() == [[0.0, 0.0]]  # environments start anew; the row is the next one


def everything_met(data: ReplayDataModule) -> dict[str, list[torch.Tensor]]:
    """Collects all that the data module stores from now on, in order of time."""
    met = {name: [] for name in Transition._fields}
    store = data._store

    def noted(rollout):
        for name, rows in met.items():
            rows += getattr(rollout, name).flatten(0, 1)
        store(rollout)

    data._store = noted
    return met


def test_a_buffer_of_another_environment_is_refused():
    data = started()
    rounds(data, 21)
    state, rows = data.state_dict(), data.state_dict()["replay"].all()
    for name, other, said in (
        ("obs", torch.zeros(21, 3), "obs ([3], torch.float32), where this run stores obs ([2], torch.float32)"),
        ("reward", torch.zeros(21, dtype=torch.float64), "reward ([], torch.float64), where"),
    ):
        state["replay"] = BufferRows.from_tensors(rows | {name: other})
        with pytest.raises(MaxEntError, match=re.escape(f"buffer holds {said}")):
            started().load_state_dict(state)


@pytest.mark.parametrize("capacity", [300, 200, 151, 149, 100, 7])
@pytest.mark.parametrize("envs", [1, 4])
@pytest.mark.parametrize("on_disk", [False, True])
def test_resuming_with_another_capacity_keeps_the_newest_transitions_in_order(capacity, envs, on_disk, tmp_path):
    storage = partial(LazyMemmapStorage, scratch_dir=tmp_path) if on_disk else LazyTensorStorage
    data = started(capacity=150, num_envs=envs, steps_per_round=envs, storage=storage)
    met = everything_met(data)
    rounds(data, 200 // envs)
    state = data.state_dict()
    state["replay"] = in_memory(state["replay"])
    wide = started(capacity=capacity, num_envs=envs, steps_per_round=envs, storage=storage)
    wide.load_state_dict(state)
    size = min(capacity, 150)
    assert len(wide.buffer) == size
    for name, rows in met.items():
        assert torch.equal(wide.buffer.storage[:size][name], torch.stack(rows[-size:]))
    sampled = wide.buffer.sample(1_000)
    assert {tuple(row.tolist()) for row in sampled["action"]} <= {tuple(row.tolist()) for row in met["action"]}

    later = everything_met(wide)
    rounds(wide, 4 // envs)  # what comes next takes the place behind them, or of the oldest
    both = {name: torch.stack([*met[name][-size:], *later[name]])[-capacity:] for name in met}
    held = wide.buffer.storage[: len(wide.buffer)]
    start = (size + 4) % capacity if size + 4 > capacity else 0
    for name, rows in both.items():
        assert torch.equal(held[name].roll(-start, 0), rows)


def test_a_smaller_capacity_says_what_is_kept(caplog):
    data = started(capacity=64)
    rounds(data, 30)
    with caplog.at_level("INFO"):
        started(capacity=16).load_state_dict(data.state_dict())
    assert "holds 30 transitions; the newest 16 are kept, because capacity is 16." in caplog.text


@pytest.mark.parametrize("met", [10, 16, 40])
def test_resuming_with_the_same_capacity_keeps_every_row_at_its_index(met):
    data = started(capacity=16)
    rounds(data, met)
    restored = started(capacity=16)
    restored.load_state_dict(data.state_dict())
    assert restored.buffer.writer._cursor == data.buffer.writer._cursor
    for buffer in (data.buffer, restored.buffer):
        torch.manual_seed(1)
        buffer.drawn = buffer.sample(100)["action"]
    assert torch.equal(data.buffer.drawn, restored.buffer.drawn)


# Two observations of 2 numbers, actions of 2, a reward: 4 bytes each; terminated: 1.
ROW = 4 * (2 + 2 + 2 + 1) + 1


@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage])
def test_the_bytes_of_a_row_are_those_that_the_storage_holds(storage):
    data = started(storage=storage)
    rounds(data, 1)
    held = data.buffer.storage[:]
    assert sum(held[name].nbytes for name in Transition._fields) == ROW * len(data.buffer)
    assert data.saved_bytes == ROW * 64


def room(monkeypatch, memory=10**15, disk=10**15, shared=10**15):
    monkeypatch.setattr(storage_space, "memory_left", lambda: memory)
    monkeypatch.setattr(
        storage_space, "disk_left", lambda folder: shared if folder == storage_space.SHARED_MEMORY else disk
    )


@pytest.mark.parametrize(
    ("storage", "little", "where"),
    [
        (LazyTensorStorage, {"memory": 100_000}, "memory"),
        (LazyMemmapStorage, {"memory": 100_000}, "/dev/shm"),
        (LazyMemmapStorage, {"shared": 100_000}, "/dev/shm"),
        (LazyMemmapStorage, {"shared": 0, "disk": 100_000}, "the disk of "),
        (partial(LazyMemmapStorage, scratch_dir="there"), {"disk": 100_000}, "the disk of there"),
    ],
)
def test_a_buffer_for_which_there_is_no_room_is_refused_at_once_and_the_capacity_advised_fits(
    storage, little, where, monkeypatch, in_an_empty_folder
):
    monkeypatch.setattr(storage_space, "SHARED_MEMORY", Path("/dev"))  # which is there on every system with one
    room(monkeypatch, **little)
    where = where.replace("/dev/shm", "/dev")
    with pytest.raises(MaxEntError, match=rf"of 10,000 transitions takes 290 kB, but {where}.* has 100 kB left: set"):
        started(capacity=10_000, storage=storage)
    started(capacity=3_100, storage=storage)
    with pytest.raises(MaxEntError, match=r"set data.capacity to 3100 or less\.$"):
        started(capacity=3_449, storage=storage)


def test_a_storage_too_small_for_a_batch_is_refused_with_advice_to_free_space(monkeypatch):
    room(monkeypatch, memory=100)
    with pytest.raises(MaxEntError, match=r"memory has 100 bytes left: make room there\.$"):
        started()


def test_a_buffer_needs_memory_only_for_the_steps_of_the_run(monkeypatch):
    room(monkeypatch, memory=58_000)
    data = ReplayDataModule("probe/Counting-v0", capacity=10_000, batch_size=4, learning_starts=8)
    StubTrainer(data).max_steps = 2_000
    data.setup("fit")
    assert data.saved_bytes == 2_000 * ROW
    data.trainer.max_steps = 2_001
    with pytest.raises(MaxEntError, match=r"of 2,001 transitions"):
        data.setup("fit")


def test_a_buffer_is_accepted_where_free_space_is_unknown(monkeypatch):
    room(monkeypatch, memory=None, disk=None, shared=None)
    for storage in (LazyTensorStorage, LazyMemmapStorage, partial(LazyMemmapStorage, scratch_dir="there")):
        ReplayDataModule("probe/Counting-v0", capacity=10**9, storage=storage).setup("fit")


def test_old_buffer_files_count_as_free_space_for_their_replacement(monkeypatch, tmp_path):
    (tmp_path / "obs.memmap").write_bytes(b"1" * 16_384)
    room(monkeypatch, disk=0)
    started(capacity=16_384 // ROW, storage=partial(LazyMemmapStorage, scratch_dir=tmp_path))
    with pytest.raises(MaxEntError, match=r"but the disk of .* has 16.4 kB left"):
        started(capacity=16_384 // ROW + 1, storage=partial(LazyMemmapStorage, scratch_dir=tmp_path))


def test_training_does_not_resume_with_other_wrappers():
    limited = partial(gym.wrappers.TimeLimit, max_episode_steps=50)
    data = started(wrappers=[limited])
    rounds(data, 1)
    state = data.state_dict()
    assert state["wrappers"] == ["TimeLimit(max_episode_steps=50)"]
    for others in ([], [partial(gym.wrappers.TimeLimit, max_episode_steps=9)]):
        with pytest.raises(MaxEntError, match=r"made with wrappers \['TimeLimit\(max_episode_steps=50\)'\], but"):
            started(wrappers=others).load_state_dict(state)
    started(wrappers=[limited]).load_state_dict(state)
    del state["wrappers"]  # of an older checkpoint
    started(wrappers=[limited]).load_state_dict(state)


def test_training_does_not_resume_with_other_env_kwargs():
    data = started(env_kwargs={"length": 7})
    rounds(data, 1)
    state = data.state_dict()
    with pytest.raises(
        MaxEntError,
        match=r'made with env_kwargs {"length": 7}, but the configuration has {}: resume with the same environment',
    ):
        started().load_state_dict(state)
    started(env_kwargs={"length": 7}).load_state_dict(state)


def test_training_does_not_resume_without_the_saved_buffer():
    data = started()
    state = data.state_dict() | {"env_steps": 10}
    assert "replay" not in state
    with pytest.raises(MaxEntError, match=r"holds no replay buffer"):
        data.load_state_dict(state)


def test_training_does_not_resume_without_the_state_of_the_data_module():
    data = started()
    data.trainer.global_step = 10
    with pytest.raises(MaxEntError, match=r"is at 10 environment steps, but holds no state of ReplayDataModule"):
        rounds(data, 1)


def test_an_error_within_a_round_leaves_buffer_and_clock_consistent():
    data = started(steps_per_round=4, env_kwargs={"poison_reward": 11})
    rounds(data, 2)
    with pytest.raises(MaxEntError, match=r"gave nan as reward"):
        rounds(data, 1)
    assert (data.env_steps, len(data.buffer)) == (8, 8)


def test_an_evaluation_is_as_many_sampled_episodes_after_the_deterministic_ones():
    data = started(eval_episodes=3)
    episodes = list(data.val_dataloader())
    assert [episode.deterministic for episode in episodes] == [True] * 3 + [False] * 3
    assert len(data.val_dataloader()) == 6
    assert data.env_steps == 0  # evaluation has its own environments, and does not move the clock


def starts(data: ReplayDataModule, loader: str) -> list[list[float]]:
    """Where the deterministic and the sampled episodes of an evaluation began."""
    data._act = lambda obs, deterministic: torch.zeros(len(obs), 1)
    episodes = list(getattr(data, loader)())
    return [[float(each.obs[0, 0]) for each in episodes if each.deterministic == kind] for kind in (True, False)]


@pytest.mark.parametrize("seed", [0, 1])
def test_validate_plays_the_episodes_of_the_runs_evaluation_and_test_plays_none_of_them(seed):
    def data() -> ReplayDataModule:
        torch.manual_seed(seed)
        return ReplayDataModule("probe/Lottery-v0", eval_episodes=20, batch_size=4, learning_starts=8)

    trained = data()
    StubTrainer(trained)
    trained.setup("fit")
    rounds(trained, 8)
    chosen_by = starts(trained, "val_dataloader")
    validated, tested = data(), data()
    for other, stage in ((validated, "validate"), (tested, "test")):
        other.setup(stage)
        other.load_state_dict(trained.state_dict())
    assert starts(validated, "val_dataloader") == chosen_by
    mode, sampled = starts(tested, "test_dataloader")
    assert not {*mode, *sampled} & {*chosen_by[0], *chosen_by[1]}
    assert not {*mode} & {*sampled}
    again = data()
    again.setup("test")
    again.load_state_dict(trained.state_dict())
    assert starts(again, "test_dataloader") == [mode, sampled]


def test_test_episodes_are_independent_of_the_evaluation_that_chose_the_best_checkpoint():
    """Every return is random with mean 0: the best of 10 evaluations of one episode is near 1, and the mean of tests
    near 0.
    """
    data = ReplayDataModule("probe/Lottery-v0", eval_episodes=1, batch_size=4, learning_starts=8)
    bests, tests = [], []
    for first in range(0, 200, 10):
        found = {}
        for data.env_steps in range(first, first + 10):
            found[data.env_steps] = starts(data, "val_dataloader")[0][0]
        data.env_steps = max(found, key=found.__getitem__)
        bests.append(found[data.env_steps])
        tests.append(starts(data, "test_dataloader")[0][0])
    assert sum(bests) / 20 > 0.7  # E max = 1 - 2 / 11
    assert abs(sum(tests) / 20) < 4 * (1 / 3 / 20) ** 0.5  # four standard errors


@pytest.mark.parametrize("storage", [ListStorage, LazyStackStorage])
def test_a_storage_of_lists_is_refused_with_the_names_of_those_that_serve(storage):
    data = ReplayDataModule("Pendulum-v1", storage=storage)
    with pytest.raises(MaxEntError, match=f"{storage.__name__} is not supported: choose LazyTensorStorage or LazyMemm"):
        data.setup("fit")
