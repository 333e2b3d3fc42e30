from functools import partial

import pytest
import torch
from torchrl.data import LazyMemmapStorage, LazyStackStorage, LazyTensorStorage, ListStorage

from lightning_maxent import MaxEntError, ReplayDataModule, Transition


class StubTrainer:
    """Just what the DataModule asks of a Trainer."""

    def __init__(self, data: ReplayDataModule):
        self.lightning_module, self.global_step, self.acted = self, 0, []
        data.trainer = self

    def act(self, obs: torch.Tensor, deterministic: bool) -> torch.Tensor:
        self.acted.append((len(obs), deterministic))
        return torch.full((len(obs), 2), 0.75)

    def explore(self, obs: torch.Tensor) -> torch.Tensor:
        self.acted.append((len(obs), "explores"))
        return torch.full((len(obs), 2), 0.25)


def started(**kwargs) -> ReplayDataModule:
    defaults = {"capacity": 64, "batch_size": 4, "warmup_steps": 8, "eval_interval": 12, "eval_episodes": 2}
    data = ReplayDataModule("probe/Counting-v0", **(defaults | kwargs))
    StubTrainer(data)
    data.setup("fit")
    return data


def rounds(data: ReplayDataModule, count: int) -> list:
    return [data._next_round() for _ in range(count)]


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"batch_size": 100, "capacity": 50}, "batch of 100 does not fit in a buffer of 50"),
        ({"batch_size": 64, "warmup_steps": 63}, "warmup_steps 63 is shorter than a batch of 64: set it to 64"),
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


def test_warm_up_actions_are_uniform_and_later_ones_are_the_policys():
    data = started(capacity=3000, warmup_steps=2000)
    rounds(data, 2010)
    actions = data.buffer.storage[:2010]["action"]
    warm = actions[:2000]
    assert data.trainer.acted == [(1, "explores")] * 10
    assert (actions[2000:] == 0.25).all()
    assert warm.abs().max() <= 1
    # uniform on [-1, 1]: mean 0, variance 1/3; four standard errors of 4,000 draws
    assert abs(warm.mean()) < 4 * (1 / 3 / 4000) ** 0.5
    assert abs(warm.var() - 1 / 3) < 4 * (4 / 45 / 4000) ** 0.5


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


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("capacity", [16, 64])
def test_a_restored_buffer_is_the_saved_one_and_goes_on_at_its_cursor(capacity, on_disk, tmp_path):
    storage = partial(LazyMemmapStorage, scratch_dir=tmp_path) if on_disk else LazyTensorStorage
    data = started(capacity=capacity, storage=storage)
    rounds(data, 21)
    state = data.state_dict()
    state["replay"] = {name: torch.tensor(rows.numpy()) for name, rows in state["replay"].items()}  # as from a file
    restored = started(capacity=capacity, storage=storage)
    restored.trainer.global_step = 21
    restored.load_state_dict(state)
    size = min(capacity, 21)
    for name in Transition._fields:
        assert torch.equal(restored.buffer.storage[:size][name], state["replay"][name])
    after = rounds(restored, 1)[0]
    assert after.env_steps == 22
    assert len(after.batch.reward) == 1  # no burst of owed updates
    fresh = restored.buffer.storage[21 % capacity : 21 % capacity + 1]
    assert fresh["obs"].tolist() == [[0.0, 0.0]]  # environments start anew; the row is the next one


def test_a_buffer_larger_than_the_capacity_is_refused():
    data = started(capacity=64)
    rounds(data, 30)
    with pytest.raises(MaxEntError, match=r"holds 30 transitions, more than the capacity of 16"):
        started(capacity=16).load_state_dict(data.state_dict())


def test_training_does_not_go_on_in_a_world_with_other_arguments():
    data = started(env_kwargs={"length": 7})
    rounds(data, 1)
    state = data.state_dict()
    with pytest.raises(MaxEntError, match=r'made with env_kwargs {"length": 7}, but it is {} here, and a run stays'):
        started().load_state_dict(state)
    started(env_kwargs={"length": 7}).load_state_dict(state)


def test_training_does_not_go_on_from_a_checkpoint_without_a_buffer():
    data = started()
    state = data.state_dict() | {"env_steps": 10}
    assert "replay" not in state
    with pytest.raises(MaxEntError, match=r"holds no replay buffer"):
        data.load_state_dict(state)


def test_training_does_not_go_on_where_lightning_found_no_state_for_this_class():
    data = started()
    data.trainer.global_step = 10
    with pytest.raises(MaxEntError, match=r"clock stands at 10 .* another DataModule than ReplayDataModule"):
        rounds(data, 1)


def test_a_round_cut_short_by_an_error_leaves_buffer_and_clock_at_the_same_moment():
    data = started(steps_per_round=4, env_kwargs={"poison_reward": 11})
    rounds(data, 2)
    with pytest.raises(MaxEntError, match=r"gave reward nan"):
        rounds(data, 1)
    assert (data.env_steps, len(data.buffer)) == (8, 8)


def test_an_evaluation_is_as_many_sampled_episodes_after_the_deterministic_ones():
    data = started(eval_episodes=3)
    episodes = list(data.val_dataloader())
    assert [episode.deterministic for episode in episodes] == [True] * 3 + [False] * 3
    assert len(data.val_dataloader()) == 6
    assert data.env_steps == 0  # evaluation has its own environments, and does not move the clock


@pytest.mark.parametrize("storage", [ListStorage, LazyStackStorage])
def test_a_storage_of_lists_is_refused_with_the_names_of_those_that_serve(storage):
    data = ReplayDataModule("Pendulum-v1", storage=storage)
    with pytest.raises(MaxEntError, match=f"{storage.__name__} does not serve .* choose LazyTensorStorage or LazyMemm"):
        data.setup("fit")
