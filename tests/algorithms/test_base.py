import re
import warnings
from functools import partial

import pytest
import torch
from helpers import named_optimizers
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lightning_maxent import (
    AbstractAlgorithm,
    AbstractCritic,
    AbstractPolicy,
    BoxActions,
    Episode,
    FixedTemperature,
    MaxEntError,
    Optimizers,
    ReplayDataModule,
    Round,
    SquashedGaussian,
    TwinCritic,
    ValueSAC,
)
from lightning_maxent.algorithms.checks import check_trainer
from lightning_maxent.algorithms.feeding import AbstractFeeding
from lightning_maxent.errors import DivergedError


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"precision": "bf16-true"}, "smaller than the rounding .* choose 32-true, bf16-mixed, 16-mixed, 64-true"),
        ({"precision": "16-true"}, "smaller than the rounding .* choose 32-true, bf16-mixed, 16-mixed, 64-true"),
        ({"gradient_clip_val": 1.0}, "gradient_clip_val cannot be used: set --model.optimizers.max_grad_norm"),
        (
            {"devices": 2},
            "The strategy DDPStrategy cannot train several networks .*: leave out trainer.strategy .* your own strategy=lightning",
        ),
        (
            {"num_nodes": 2},
            "The strategy DDPStrategy cannot train several networks .*: leave out trainer.strategy .* your own strategy=lightning",
        ),
        (
            {"strategy": "ddp"},
            "The strategy DDPStrategy cannot train several networks .*: leave out trainer.strategy .* your own strategy=lightning",
        ),
    ],
)
def test_unsupported_settings_of_the_trainer_are_refused(quiet_trainer, given, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        check_trainer(quiet_trainer(**given))


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_a_plain_trainer_is_checked_without_the_command_line(quiet_trainer, stage):
    data = ReplayDataModule("probe_envs:probe/Counting-v0")
    model = ValueSAC(data.obs_dim, data.actions, critic=TwinCritic, policy=SquashedGaussian)
    with pytest.raises(MaxEntError, match="The precision bf16-true is not supported"):
        getattr(quiet_trainer(precision="bf16-true"), stage)(model, data)


def sac_with(optimizer) -> ValueSAC:
    return ValueSAC(
        3, BoxActions(1), critic=TwinCritic, policy=SquashedGaussian, optimizers=Optimizers(critic=optimizer)
    )


@pytest.mark.parametrize(
    ("optimizer", "sentence"),
    [
        (torch.optim.LBFGS, r"cannot be LBFGS, because its step failed \(.*'closure'\): choose an optimizer for dense"),
        (torch.optim.SparseAdam, r"cannot be SparseAdam, because its step failed \(.* dense gradients.*\): choose an"),
        (
            partial(torch.optim.Adam, fused=True, foreach=True),
            r"optimizers.critic cannot build .* together: .*--model.optimizers.critic.init_args.fused=false changes this",
        ),
        (partial(torch.optim.Adam, lr=-1), "cannot build the optimizer of critic: Invalid learning rate: -1.$"),
        (
            partial(torch.optim.Adam, learning_rate=1),
            "cannot build the optimizer of critic: .* unexpected keyword argument 'learning_rate'",
        ),
    ],
)
def test_an_optimizer_that_cannot_step_the_networks_is_refused_when_it_is_built(optimizer, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        sac_with(optimizer).configure_optimizers()


def test_the_trial_step_of_an_optimizer_changes_no_parameter_and_no_state():
    algorithm = sac_with(partial(torch.optim.AdamW, weight_decay=0.5))  # which moves them without a gradient
    before = [parameter.clone() for parameter in algorithm.parameters()]
    optimizers = algorithm.configure_optimizers()
    assert all(torch.equal(*pair) for pair in zip(before, algorithm.parameters(), strict=True))
    assert not any(optimizer.state for optimizer in optimizers)
    assert all(parameter.grad is None for parameter in algorithm.parameters())


@pytest.mark.parametrize("way", ["act", "explore"])
def test_a_non_finite_action_is_refused_with_the_non_finite_parts(way):
    algorithm = ValueSAC(3, BoxActions(1), critic=TwinCritic, policy=SquashedGaussian)
    play = getattr(algorithm, way)
    with pytest.raises(DivergedError, match=r"although all weights are: check its method forward"):
        play(torch.full((1, 3), torch.nan))
    next(algorithm.policy.parameters()).data.fill_(torch.nan)
    with pytest.raises(
        DivergedError, match=r"^After 0 updates actions are not finite, .* the weights of policy: lower"
    ):
        play(torch.zeros(1, 3))


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_outside_zero_to_one_is_refused(discount):
    with pytest.raises(MaxEntError, match="discount"):
        ValueSAC(3, BoxActions(1), critic=TwinCritic, policy=SquashedGaussian, discount=discount)


class ConstantPolicy(AbstractPolicy):
    """Always the same action; it reports an entropy of ``ENTROPY`` nats."""

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
    algorithm = ValueSAC(
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


def test_the_measured_bias_of_q_is_its_error_minus_the_bootstrapped_share():
    seen = sum(1 - DISCOUNT ** (TIME - t) for t in range(TIME)) / TIME
    assert evaluated(EXACT_Q + 2, terminated=False)["q_bias"] == pytest.approx(2 * seen, rel=1e-4)


def test_returns_have_no_reward_or_entropy_after_a_terminal_state():
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


def test_metrics_of_a_deterministic_episode_are_return_and_length():
    assert evaluated(0.0, True, deterministic=True) == {"return": pytest.approx(TIME * REWARD), "length": TIME}


# ---- a loss and an optimizer for each network ------------------------------------------------------------------------


class ThreeBatches(AbstractFeeding):
    """Three batches in each round, whatever the data."""

    def check(self, algorithm, data):
        pass

    def batches(self, data, prepare):
        yield from [torch.ones(4, 2)] * 3


class Regression(AbstractAlgorithm):
    """Two tables that regress on zero; ``mistake`` changes its losses."""

    networks, feeding = ("critic", "value", "temperature"), ThreeBatches()

    def __init__(self, mistake=lambda losses: losses, **settings):
        super().__init__(FixedTemperature(BoxActions(1)), Optimizers(partial(SGD, lr=0.1), **settings), 0.9)
        self.critic, self.value = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        self.mistake = mistake

    def losses(self, batch):
        losses = {name: getattr(self, name)(batch).square().mean() for name in ("critic", "value")}
        return self.mistake(losses | {"temperature": torch.zeros(())})

    def _act(self, obs, deterministic):
        return torch.zeros(len(obs), 1)

    def estimates(self, obs, action):
        raise NotImplementedError

    def episode_diagnostics(self, episode):
        raise NotImplementedError


def updated(algorithm):
    algorithm.update(torch.ones(4, 2), named_optimizers(algorithm))
    return algorithm


def renamed(losses):
    return {{"value": "valeu"}.get(name, name): loss for name, loss in losses.items()}


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (renamed, r"Regression have an entry 'valeu', .*: there are critic, value, temperature\.$"),
        (lambda losses: losses | {"value": torch.ones(4, requires_grad=True)}, r"'value' .* has the shape \[4\]: take"),
        (lambda losses: losses | {"value": losses["value"].detach()}, r"'value' of Regression .* is cut off from all"),
        (
            lambda losses: losses | {"value": torch.ones((), requires_grad=True) * 2},
            r"'value' .* has no gradient in any parameter of value",
        ),
        (
            lambda losses: losses | {"value": losses["value"] + losses["critic"]},
            r"The loss 'value' of Regression has a gradient in critic, .*: compute with critic under .*frozen",
        ),
    ],
)
def test_a_loss_without_gradient_in_its_network_is_refused_before_any_step(mistake, sentence):
    algorithm = Regression(mistake)
    before = [parameter.clone() for parameter in algorithm.parameters()]
    with pytest.raises(MaxEntError, match=sentence):
        updated(algorithm)
    assert all(torch.equal(*pair) for pair in zip(before, algorithm.parameters()))


def test_a_metric_that_is_no_tensor_is_refused_by_its_name(shapes_unchecked):
    with pytest.raises(MaxEntError, match=r"Regression records a metric 'error' of the type float: record a tensor"):
        Regression().record({"error": 1.5})


def test_a_metric_that_is_not_one_number_is_refused_by_its_name():
    algorithm = Regression()
    algorithm.record({"error": torch.ones(3)})
    with pytest.raises(
        MaxEntError, match=r"Regression records a metric 'error' of the shape \[3\], but .*: take its mean"
    ):
        updated(algorithm)


def test_a_loss_of_a_fixed_temperature_is_ignored_and_the_networks_are_updated():
    algorithm = Regression()
    before = {name: parameter.clone() for name, parameter in algorithm.named_parameters()}
    updated(algorithm)
    assert all(not torch.equal(before[name], parameter) for name, parameter in algorithm.named_parameters())


def test_an_update_without_losses_changes_nothing_and_is_counted():
    assert updated(Regression(lambda losses: {})).gradient_steps == 1


def test_a_name_among_the_networks_without_a_network_is_refused():
    class Misspelled(Regression):
        networks = ("critic", "polcy")

    with pytest.raises(MaxEntError, match=r"names 'polcy' among its networks, but has no network of that name: assign"):
        Misspelled().configure_optimizers()


def test_an_algorithm_without_networks_is_refused_with_advice():
    class Nameless(Regression):
        networks = ()

    with pytest.raises(
        MaxEntError, match=r'Nameless has no names of networks to train: .* as in networks = \("critic", "policy"\)\.$'
    ):
        Nameless()


def test_a_warning_names_a_network_that_never_had_a_loss_and_not_a_delayed_one():
    def late(losses):
        return losses if algorithm.gradient_steps % 500 == 499 else {"critic": losses["critic"]}

    for mistake, warned in ((late, []), (lambda losses: {"critic": losses["critic"]}, ["value"])):
        algorithm = Regression(mistake)
        optimizers = named_optimizers(algorithm)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(1_100):
                algorithm.update(torch.ones(4, 2), optimizers)
        assert [
            re.search(r"no loss for (\w+) in 1,000 updates", str(each.message)).group(1) for each in caught
        ] == warned


class Rounds(torch.utils.data.Dataset):
    """Two rounds of one environment step each."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index + 1


def fit(algorithm, trainer):
    collate = lambda steps: Round(None, steps[0])  # noqa: E731
    trainer.fit(algorithm, torch.utils.data.DataLoader(Rounds(), collate_fn=collate, num_workers=0))


def with_optimizers(make):
    """A ``Regression`` whose ``configure_optimizers`` returns what ``make`` makes of its own optimizers."""

    class Subclass(Regression):
        def configure_optimizers(self):
            return make(*super().configure_optimizers())

    return Subclass()


def decay(optimizer):
    return LambdaLR(optimizer, lambda step: 0.5**step)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*validation_step", "ignore:.*val_dataloader"
)
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda critic, value: ([critic, value], [ReduceLROnPlateau(value)]),
            r"of value cannot follow ReduceLROnPlateau",
        ),
        (lambda critic, value: critic, r"in the order critic, value, but it returns 1 for 2 networks"),
        (lambda critic, value: {"optimizer": critic}, r"it returns 1 for 2 networks"),
        (lambda critic, value: [critic, value, value], r"it returns 3 for 2 networks"),
        (lambda critic, value: [value, critic], r"or one that moves another network"),
    ],
)
def test_unsupported_results_of_configure_optimizers_are_refused(make, sentence, quiet_trainer):
    with pytest.raises(MaxEntError, match=sentence):
        fit(with_optimizers(make), quiet_trainer(max_epochs=1))


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*validation_step", "ignore:.*val_dataloader"
)
@pytest.mark.parametrize(
    "make",
    [
        lambda critic, value: ([critic, value], [decay(critic)]),
        lambda critic, value: ({"optimizer": critic, "lr_scheduler": decay(critic)}, {"optimizer": value}),
    ],
)
def test_the_schedulers_of_a_subclass_are_stepped_after_every_update(make, quiet_trainer):
    trainer = quiet_trainer(max_epochs=1)
    fit(with_optimizers(make), trainer)
    assert [each.param_groups[0]["lr"] for each in trainer.optimizers] == [0.1 * 0.5**6, 0.1]


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*validation_step", "ignore:.*val_dataloader"
)
@pytest.mark.parametrize(("clock", "steps"), [("updates", 6), ("env_steps", 2)])
def test_all_learning_rates_follow_the_clock_even_without_a_loss(clock, steps, quiet_trainer):
    trainer = quiet_trainer(max_epochs=1)
    algorithm = Regression(lambda losses: {"critic": losses["critic"]}, schedule=decay, schedule_clock=clock)
    fit(algorithm, trainer)  # two rounds of three updates and one environment step
    assert [each.param_groups[0]["lr"] for each in trainer.optimizers] == [0.1 * 0.5**steps] * 2
    rates = {name: value for name, value in algorithm.drain_metrics().items() if name.startswith("lr/")}
    assert rates == {"lr/critic": 0.1 * 0.5**steps, "lr/value": 0.1 * 0.5**steps}
    assert [config.name for config in trainer.lr_scheduler_configs] == ["critic_lr", "value_lr"]


def test_without_a_schedule_no_learning_rate_is_logged():
    assert not any(name.startswith("lr/") for name in updated(Regression()).drain_metrics())


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_an_algorithm_without_feeding_is_refused_before_the_first_round(quiet_trainer):
    algorithm = Regression()
    algorithm.feeding = None
    with pytest.raises(MaxEntError, match=r"Regression does not say what it learns from: set feeding = Replay\(\)"):
        fit(algorithm, quiet_trainer(max_epochs=1))
