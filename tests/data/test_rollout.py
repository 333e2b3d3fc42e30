import pytest
import torch

from lightning_maxent import MaxEntError, Rollout, RolloutDataModule
from lightning_maxent.algorithms.feeding import Rollouts
from lightning_maxent.data.scaling import FixedScaleRewards, StandardizedObservations


class StubTrainer:
    """Only what the DataModule uses of a Trainer."""

    def __init__(self, data: RolloutDataModule):
        self.lightning_module, self.global_step, self.seen = self, 0, []
        data.trainer = self

    def explore(self, obs: torch.Tensor) -> torch.Tensor:
        self.seen.append(obs)
        return torch.full((len(obs), 2), 1.75)


def started(**kwargs) -> tuple[RolloutDataModule, StubTrainer]:
    data = RolloutDataModule(
        "probe/Counting-v0", **({"num_envs": 2, "steps_per_round": 14, "eval_interval": 28} | kwargs)
    )
    trainer = StubTrainer(data)
    data.setup("fit")
    return data, trainer


def test_a_rollout_holds_the_steps_in_order_with_true_next_observations():
    data, trainer = started()
    rollout, env_steps = data._next_round()
    assert env_steps == 14
    assert isinstance(rollout, Rollout)
    for env in range(2):
        assert rollout.obs[:, env, 0].tolist() == [0, 1, 2, 3, 4, 0, 1]
        assert rollout.next_obs[:, env, 0].tolist() == [1, 2, 3, 4, 5, 1, 2]
        assert rollout.reward[:, env].tolist() == [1, 2, 3, 4, 5, 1, 2]
        assert rollout.done[:, env].tolist() == [False] * 4 + [True] + [False] * 2
    assert not rollout.terminated.any()  # time limits
    assert (rollout.action == 1.75).all()  # as drawn: what lies beyond the box was clipped where it was played
    assert torch.equal(torch.stack(trainer.seen[:7]), rollout.obs)
    following, env_steps = data._next_round()
    assert env_steps == 28
    assert following.obs[0, 0, 0] == 2  # episodes go on from one rollout to the next


def test_termination_and_truncation_are_distinguished():
    data, _ = started(env_kwargs={"ends": "terminated"})
    rollout = data._next_round().batch
    assert torch.equal(rollout.terminated, rollout.done)
    assert rollout.done.any()


def test_rollouts_keep_the_scaling_that_the_policy_acted_on():
    data, trainer = started(observation_scaling=StandardizedObservations)
    data._next_round()
    rollout = data._next_round().batch
    assert torch.equal(torch.stack(trainer.seen[7:]), rollout.obs)
    goes_on = ~rollout.done[:-1]
    assert goes_on.any()
    assert torch.equal(rollout.next_obs[:-1][goes_on], rollout.obs[1:][goes_on])
    assert not torch.equal(data.observation_scaling(torch.zeros(2)), torch.zeros(2))


def test_rewards_are_scaled_for_the_learner():
    data, _ = started(reward_scaling=lambda envs: FixedScaleRewards(envs, 0.5))
    assert data._next_round().batch.reward[:, 0].tolist() == [0.5, 1, 1.5, 2, 2.5, 0.5, 1]


def test_the_clock_and_the_scalings_are_saved():
    data, _ = started(observation_scaling=StandardizedObservations)
    data._next_round()
    other, _ = started(observation_scaling=StandardizedObservations)
    other.load_state_dict(data.state_dict())
    assert other.env_steps == 14
    assert torch.equal(other.observation_scaling(torch.ones(2)), data.observation_scaling(torch.ones(2)))


def test_a_checkpoint_of_other_data_is_refused():
    data, trainer = started()
    trainer.global_step = 1000
    with pytest.raises(MaxEntError, match=r"is at 1000 environment steps, but holds no state of RolloutDataModule"):
        data._next_round()


@pytest.mark.parametrize(
    ("feeding", "said"),
    [
        (Rollouts(), "1 update per 14 environment steps"),
        (Rollouts(epochs=2, minibatches=7), "1 update per environment step"),
        (Rollouts(epochs=4), "2 updates per 7 environment steps"),
        (None, None),
    ],
)
def test_the_ratio_of_updates_to_environment_steps_counts_the_passes_over_a_rollout(caplog, feeding, said):
    with caplog.at_level("INFO"):
        data, trainer = started()
        trainer.feeding = feeding
        caplog.clear()
        data.setup("fit")
    messages = [record.message for record in caplog.records if "Training makes" in record.message]
    assert messages == ([f"Training makes {said}."] if said else [])
