from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lightning_maxent import (
    SAC,
    AbstractCritic,
    AbstractPolicy,
    BoxActions,
    Episode,
    FixedTemperature,
    MaxEntError,
    SquashedGaussian,
    TwinCritic,
)
from lightning_maxent.errors import DivergedError


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        (SimpleNamespace(precision="16-mixed", world_size=1), "choose 32-true or bf16-mixed"),
        (SimpleNamespace(precision="32-true", world_size=2), "given 2: set devices to 1"),
    ],
)
def test_what_several_optimizers_behind_one_backward_pass_cannot_do_is_refused(trainer, sentence):
    algorithm = SAC(3, BoxActions(1), critic=TwinCritic, policy=SquashedGaussian)
    algorithm._trainer = trainer
    with pytest.raises(MaxEntError, match=sentence):
        algorithm.on_fit_start()


@pytest.mark.parametrize("way", ["act", "explore"])
def test_an_action_that_is_not_finite_is_not_played_and_the_broken_parts_are_named(way):
    algorithm = SAC(3, BoxActions(1), critic=TwinCritic, policy=SquashedGaussian)
    play = getattr(algorithm, way)
    with pytest.raises(DivergedError, match=r"although all weights are: look into its forward"):
        play(torch.full((1, 3), torch.nan))
    next(algorithm.policy.parameters()).data.fill_(torch.nan)
    with pytest.raises(
        DivergedError, match=r"^After 0 updates actions are not finite, .* the weights of policy: lower"
    ):
        play(torch.zeros(1, 3))


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_outside_zero_to_one_is_refused(discount):
    with pytest.raises(MaxEntError, match="discount"):
        SAC(3, BoxActions(1), critic=TwinCritic, policy=SquashedGaussian, discount=discount)


class ConstantPolicy(AbstractPolicy):
    """Always the same action, said to be drawn with an entropy of ``ENTROPY`` nats."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__()
        self.action_dim = action_dim

    def forward(self, obs):
        return torch.zeros(len(obs), self.action_dim), torch.full((len(obs),), -ENTROPY)

    def act(self, obs, deterministic=False):
        return torch.zeros(len(obs), self.action_dim)


class ConstantCritic(AbstractCritic):
    """The same soft value for every pair."""

    def __init__(self, obs_dim: int, action_dim: int, q: float):
        super().__init__()
        self.q = torch.nn.Parameter(torch.tensor(q))

    def forward(self, obs, action):
        return self.q.expand(1, len(obs)) + 0 * action.sum(-1)

    def value(self, prediction):
        return prediction[0]


REWARD, ENTROPY, ALPHA, DISCOUNT, TIME = 1.5, 0.7, 0.2, 0.9, 30
EXACT_Q = (REWARD + DISCOUNT * ALPHA * ENTROPY) / (1 - DISCOUNT)  # the same reward and entropy for ever


def evaluated(q: float, terminated: bool, deterministic: bool = False) -> dict[str, float]:
    algorithm = SAC(
        2,
        BoxActions(1),
        critic=partial(ConstantCritic, q=q),
        policy=ConstantPolicy,
        temperature=partial(FixedTemperature, alpha=ALPHA),
        discount=DISCOUNT,
    )
    episode = Episode(
        torch.zeros(TIME + 1, 2),
        torch.zeros(TIME, 1),
        torch.full((TIME,), REWARD),
        torch.full((TIME,), REWARD),
        terminated,
        deterministic,
    )
    with torch.no_grad():
        return {name: float(metric) for name, metric in algorithm.episode_metrics(episode).items()}


def test_the_bias_of_an_exact_q_is_zero_where_a_time_limit_cuts_the_episode():
    assert evaluated(EXACT_Q, terminated=False)["q_bias"] == pytest.approx(0, abs=1e-4)


def test_the_bias_of_a_wrong_q_is_its_error_less_the_share_that_bootstrapping_hides():
    seen = sum(1 - DISCOUNT ** (TIME - t) for t in range(TIME)) / TIME
    assert evaluated(EXACT_Q + 2, terminated=False)["q_bias"] == pytest.approx(2 * seen, rel=1e-4)


def test_behind_a_terminal_state_there_is_neither_reward_nor_entropy():
    def soft_return(t: int) -> float:
        later = range(t + 1, TIME)
        return REWARD + sum(DISCOUNT ** (k - t) * (REWARD + ALPHA * ENTROPY) for k in later)

    exact = sum(soft_return(t) for t in range(TIME)) / TIME
    assert evaluated(5.0, terminated=True)["q_bias"] == pytest.approx(5 - exact, rel=1e-5)


def test_the_soft_return_adds_alpha_times_the_entropy_of_every_state():
    metrics = evaluated(0.0, terminated=True)
    assert metrics["sampled_return"] == pytest.approx(TIME * REWARD)
    assert metrics["soft_return"] == pytest.approx(TIME * (REWARD + ALPHA * ENTROPY))
    assert metrics["entropy"] == pytest.approx(ENTROPY)


def test_a_deterministic_episode_shows_return_and_length_only():
    assert evaluated(0.0, True, deterministic=True) == {"return": pytest.approx(TIME * REWARD), "length": TIME}
