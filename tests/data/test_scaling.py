import numpy as np
import pytest
import torch
import yaml
from stub_trainer import StubTrainer, rounds, started
from torch.testing import assert_close

from lightning_maxent import MaxEntError, ReplayDataModule
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS
from lightning_maxent.data.scaling import FixedScaleRewards, RawRewards, ReturnScaledRewards, StandardizedObservations


def test_observations_are_standardized_by_the_mean_and_deviation_of_all_so_far():
    torch.manual_seed(0)
    seen = torch.randn(400, 8, 3) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([0.0, -50.0, 3.0])
    scaling = StandardizedObservations(3)
    for obs in seen:
        scaling.update(obs)
    everything = scaling(seen.flatten(0, 1))
    assert_close(everything.mean(0), torch.zeros(3), rtol=0, atol=1e-3)
    assert_close(everything.std(0), torch.ones(3), rtol=0, atol=1e-3)
    fresh = torch.randn(2, 5, 3)
    assert_close(scaling(fresh)[1, 2], scaling(fresh[1, 2]))


def test_a_formerly_constant_observation_is_clipped_when_it_changes():
    scaling = StandardizedObservations(1, clip=10.0)
    for _ in range(100):
        scaling.update(torch.zeros(4, 1))
    assert scaling(torch.tensor([[0.0], [1.0], [-1.0]])).flatten().tolist() == [0.0, 10.0, -10.0]
    with pytest.raises(MaxEntError, match="clip must be a positive number of standard deviations, but is nan"):
        StandardizedObservations(1, clip=float("nan"))


def test_observations_are_unchanged_before_the_first_statistics():
    obs = torch.randn(4, 3)
    assert_close(StandardizedObservations(3)(obs), obs)


def returns_of(rewards, dones, discount):
    """Discounted sums of the rewards of an episode so far, one environment after the other, by their definition."""
    sums = []
    for env in range(rewards.shape[1]):
        start = 0
        for t in range(len(rewards)):
            weights = discount ** np.arange(t - start, -1, -1)
            sums.append(float(weights @ rewards[start : t + 1, env]))
            if dones[t, env]:
                start = t + 1
    return np.array(sums)


@pytest.mark.parametrize("largest", [0.1, 5.0, 1000.0])
def test_rewards_are_divided_by_the_deviation_of_returns_or_more_to_limit_the_largest(largest):
    generator = np.random.default_rng(0)
    rewards, dones = generator.normal(2, 3, (500, 2)), generator.random((500, 2)) < 0.05
    scaling = ReturnScaledRewards(2, discount=0.9, largest=largest)
    for reward, done in zip(rewards, dones):
        scaling.update(torch.as_tensor(reward), done)
    returns = returns_of(rewards, dones, 0.9)
    divisor = max(returns.std(), np.abs(returns).max() / largest)
    assert scaling.scale() == pytest.approx(1 / divisor, rel=1e-3)


@pytest.mark.parametrize("numbers", [{"discount": 1.5}, {"discount": -0.1}, {"largest": 0.0}, {"largest": np.nan}])
def test_invalid_parameters_of_reward_scaling_are_refused(numbers):
    with pytest.raises(MaxEntError, match=r"must"):
        ReturnScaledRewards(1, **numbers)


def test_the_discount_of_the_scale_is_that_of_the_algorithm():
    scaling = ReturnScaledRewards(1)
    scaling.begin(0.5)
    for _ in range(3):
        scaling.update(torch.ones(1), np.array([False]))
    assert 5 / scaling.scale() == 1 + 0.5 + 0.25  # the largest return is seen as 5
    data = ReplayDataModule("probe/Counting-v0", reward_scaling=ReturnScaledRewards)
    StubTrainer(data).discount = 0.25
    data.setup("fit")
    assert data.reward_scaling.discount == 0.25


def test_a_discount_of_the_scale_that_is_not_the_algorithm_s_is_refused():
    ReturnScaledRewards(1, discount=0.9).begin(0.9)
    with pytest.raises(MaxEntError, match=r"ReturnScaledRewards is 0.9, but that of the algorithm is 0.95: leave out"):
        ReturnScaledRewards(1, discount=0.9).begin(0.95)


def built_in_scalings():
    """Name and settings of every built-in configuration that scales rewards by returns."""
    for path in sorted(BUILT_IN_CONFIGS.rglob("*.yaml")):
        data = (yaml.safe_load(path.read_text()) or {}).get("data", {}).get("init_args", {})
        scaling = data.get("reward_scaling")
        class_path = scaling["class_path"] if isinstance(scaling, dict) else str(scaling)
        if class_path.endswith("ReturnScaledRewards"):
            settings = scaling["init_args"] if isinstance(scaling, dict) else {}
            yield pytest.param(settings, id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("settings", list(built_in_scalings()))
def test_built_in_configurations_limit_the_first_scaled_reward_to_ten(settings):
    scaling = ReturnScaledRewards(1, **settings)
    for reward in [0.0] * 10_000 + [1.0]:
        scaling.update(torch.tensor([reward]), np.array([True]))
    assert scaling.scale() == pytest.approx(settings.get("largest", 5.0))
    assert scaling.scale() <= 10


def test_without_a_limit_the_first_reward_after_n_zeros_is_scaled_to_root_n():
    scaling = ReturnScaledRewards(1, largest=np.inf)
    for reward in [0.0] * 9_999 + [1.0]:
        scaling.update(torch.tensor([reward]), np.array([True]))
    assert scaling.scale() == pytest.approx(100, rel=0.02)


SCALED = {"observation_scaling": StandardizedObservations, "reward_scaling": ReturnScaledRewards}


def test_a_fixed_reward_scale_does_not_change_with_rewards():
    scaling = FixedScaleRewards(2, scale=0.1)
    scaling.update(torch.tensor([100.0, -3.0]), np.array([False, True]))
    assert scaling.scale() == 0.1
    assert scaling.state_dict() == {"scale": 0.1}


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_is_not_positive_and_finite_is_refused(scale):
    with pytest.raises(MaxEntError, match="scale of rewards must be positive and finite"):
        FixedScaleRewards(1, scale=scale)


def test_the_buffer_holds_raw_data_and_batches_and_episodes_scaled_data():
    data = started(num_envs=2, steps_per_round=2, **SCALED)
    batch = rounds(data, 20)[-1].batch
    stored, scale = data.buffer.storage[:40], data.reward_scaling.scale()
    assert scale not in (0.0, 1.0)
    for name, factor in (("obs", None), ("next_obs", None), ("reward", scale)):
        seen = getattr(batch, name)[0]
        own = stored[name] * factor if factor else data.observation_scaling(stored[name])
        for row in seen.reshape(len(seen), -1):
            assert (own.reshape(len(own), -1) - row).abs().sum(-1).min() < 1e-5
    assert (stored["obs"] == stored["obs"].round()).all()  # this world counts
    for episode in data.val_dataloader():
        assert_close(episode.learner_reward, episode.reward * scale)
        assert (episode.obs != episode.obs.round()).any()


def test_actions_are_chosen_from_scaled_observations():
    data, seen = started(**SCALED), []
    act = data.trainer.explore
    data.trainer.explore = lambda obs: seen.append(obs) or act(obs)
    rounds(data, 30)
    assert any((obs != obs.round()).any() for obs in seen)


def test_statistics_are_saved_and_restored():
    data = started(**SCALED)
    rounds(data, 30)
    restored = started(**SCALED)
    restored.load_state_dict(data.state_dict())
    obs = torch.randn(3, 2)
    assert_close(restored.observation_scaling(obs), data.observation_scaling(obs), rtol=0, atol=0)
    assert restored.reward_scaling.scale() == data.reward_scaling.scale()


def test_evaluation_does_not_move_the_statistics():
    data = started(**SCALED)
    rounds(data, 30)
    before = data.observation_scaling(torch.ones(1, 2)), data.reward_scaling.scale()
    list(data.val_dataloader())
    assert_close(before[0], data.observation_scaling(torch.ones(1, 2)), rtol=0, atol=0)
    assert before[1] == data.reward_scaling.scale()


def test_a_checkpoint_of_another_scale_is_refused():
    data = started(**SCALED)
    rounds(data, 30)
    with pytest.raises(MaxEntError, match=r"reward_scaling ReturnScaledRewards, but the configuration has RawRewards"):
        started(**(SCALED | {"reward_scaling": RawRewards})).load_state_dict(data.state_dict())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            FixedScaleRewards(1, 0.1),
            FixedScaleRewards(1, 1.0),
            "made with scale 0.1 of FixedScaleRewards, but here it is 1",
        ),
        (
            ReturnScaledRewards(1),
            ReturnScaledRewards(1, largest=10.0),
            "made with largest 5 of ReturnScaledRewards, but",
        ),
        (StandardizedObservations(2), StandardizedObservations(2, clip=10.0), "made with clip inf of Standardized"),
    ],
)
def test_resuming_with_another_scaling_is_refused(old, new, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        new.load_state_dict(old.state_dict())
    old.load_state_dict(old.state_dict())
