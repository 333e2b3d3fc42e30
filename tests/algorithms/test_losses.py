"""Theorems over every algorithm: a new one is one more entry of ALGORITHMS."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import constant, disturb, gradients, lose, made_up, named_optimizers
from scipy.optimize import brentq, minimize_scalar
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.testing import assert_close
from torchrl.modules import ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import SACLoss, SoftUpdate

from lightning_maxent import Optimizers
from lightning_maxent.actions import BoxActions
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.policies.flow import FlowPolicy
from lightning_maxent.policies.mixture import MixtureOfGaussians
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.targets import PolyakTarget
from lightning_maxent.temperature import FixedTemperature, LearnedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue

OBS, ACTION, BATCH = 3, 2, 32
ALPHA, DISCOUNT, RATE = 0.3, 0.9, 0.05

PARTS = {
    "critic": partial(TwinCritic, network=partial(MLP, hidden_dims=(32, 32))),
    "policy": partial(SquashedGaussian, network=partial(MLP, hidden_dims=(32, 32))),
    "target": partial(PolyakTarget, rate=RATE),
    "discount": DISCOUNT,
}
DENSITIES = {
    "flow": partial(FlowPolicy, transforms=1, bins=4, hidden_dims=(32,)),
    "mixture": partial(MixtureOfGaussians, network=partial(MLP, hidden_dims=(32, 32))),
}
FIXED = partial(FixedTemperature, alpha=ALPHA)
LEARNED = partial(LearnedTemperature, initial_alpha=ALPHA)
SAC_PARTS = PARTS | {"value": partial(StateValue, network=partial(MLP, hidden_dims=(32, 32)))}

ALGORITHMS = {
    "value_sac_fixed": partial(ValueSAC, temperature=FIXED, **SAC_PARTS),
    "value_sac_learned": partial(ValueSAC, temperature=LEARNED, **SAC_PARTS),
    "sac_fixed": partial(SAC, temperature=FIXED, **PARTS),
    "sac_learned": partial(SAC, temperature=LEARNED, **PARTS),
}
LEARNERS = {
    "value_sac": partial(ValueSAC, **SAC_PARTS),
    "sac": partial(SAC, **PARTS),
}
NETWORKS = ("value", "critic", "policy", "temperature")


@pytest.fixture
def batch():
    return made_up(OBS, BoxActions(ACTION), BATCH)


@pytest.fixture(params=ALGORITHMS)
def build(request):
    torch.manual_seed(0)
    return ALGORITHMS[request.param]


def resting_optimizers(algorithm):
    """Optimizers that change no weight, so that the gradients can be read."""
    names = algorithm.trained_networks()
    return {name: torch.optim.SGD(getattr(algorithm, name).parameters(), lr=0.0) for name in names}


def test_an_optimizer_keeps_its_own_step_size_and_refuses_the_moments_of_another_kind(build):
    def critic_optimizer(optimizer):
        return named_optimizers(build(OBS, BoxActions(ACTION), optimizers=Optimizers(optimizer)))["critic"]

    saved, own = critic_optimizer(partial(Adam, lr=0.1)).state_dict(), critic_optimizer(partial(Adam, lr=0.3))
    own.load_state_dict(saved)
    assert own.param_groups[0]["lr"] == 0.3
    with pytest.raises(
        MaxEntError, match="made with Adam as the optimizer of critic, but here it is AdamW: resume with"
    ):
        critic_optimizer(AdamW).load_state_dict(saved)
    del saved["kind"]  # as in checkpoints that do not tell it
    own.load_state_dict(saved)
    with pytest.raises(
        MaxEntError, match="made with another optimizer as the optimizer of critic, but here it is SGD:"
    ):
        critic_optimizer(partial(SGD, lr=0.1)).load_state_dict(saved)


# ---- gradients ---------------------------------------------------------------------------------------------------------


def test_each_loss_has_a_gradient_in_every_weight_of_its_own_network_and_in_no_other(build, batch):
    algorithm = build(OBS, BoxActions(ACTION))
    for moved in algorithm.trained_networks():
        algorithm.zero_grad()
        lose(algorithm, batch)[moved].backward()
        for name, gradient in gradients(algorithm).items():
            if name.startswith(f"{moved}."):
                assert gradient is not None
                assert (gradient != 0).any(), name
            else:
                assert gradient is None or (gradient == 0).all(), name


def test_one_shared_backward_gives_the_gradients_of_separate_ones(build, batch):
    algorithm = build(OBS, BoxActions(ACTION))
    for name in algorithm.trained_networks():
        lose(algorithm, batch)[name].backward()
    separate = gradients(algorithm)
    torch.manual_seed(7)
    algorithm.update(batch, resting_optimizers(algorithm))
    assert_close(gradients(algorithm), separate)


def test_update_steps_every_network_once_down_its_gradient_and_the_slow_copy_follows_by_the_polyak_formula(
    build, batch
):
    lr = 0.1
    algorithm = build(OBS, BoxActions(ACTION), optimizers=Optimizers(partial(SGD, lr=lr)))
    disturb(algorithm)
    for name in algorithm.trained_networks():
        lose(algorithm, batch)[name].backward()
    before = {name: p.detach().clone() for name, p in algorithm.named_parameters()}
    slopes = gradients(algorithm)
    torch.manual_seed(7)
    algorithm.update(batch, named_optimizers(algorithm))
    assert algorithm.gradient_steps == 1
    after = dict(algorithm.named_parameters())
    for name, parameter in after.items():
        if name.startswith("target_"):
            source = after[name.removeprefix("target_").replace(".network.", ".", 1)]
            expected = (1 - RATE) * before[name] + RATE * source.detach()
        else:
            expected = before[name] - lr * slopes[name]
        assert_close(parameter.detach(), expected)


def test_gradients_of_one_update_do_not_add_to_those_of_the_last(build, batch):
    algorithm = build(OBS, BoxActions(ACTION))
    optimizers = resting_optimizers(algorithm)
    for _ in range(2):
        torch.manual_seed(7)
        algorithm.update(batch, optimizers)
    twice = gradients(algorithm)
    algorithm.zero_grad()
    for name, loss in lose(algorithm, batch).items():
        if name in optimizers:
            loss.backward()
    trained = {
        name: gradient for name, gradient in gradients(algorithm).items() if not name.startswith("target_critic")
    }
    assert_close({name: twice[name] for name in trained}, trained, rtol=1e-4, atol=1e-5)


def test_a_fixed_temperature_has_no_optimizer_and_a_learned_one_has(build):
    algorithm = build(OBS, BoxActions(ACTION))
    learned = isinstance(algorithm.temperature, LearnedTemperature)
    assert ("temperature" in algorithm.trained_networks()) == learned
    owned = [
        p for optimizer in algorithm.configure_optimizers() for group in optimizer.param_groups for p in group["params"]
    ]
    trainable = [p for p in algorithm.parameters() if p.requires_grad]
    assert {id(p) for p in owned} == {id(p) for p in trainable}
    assert len(owned) == len(trainable)


def test_no_loss_depends_on_the_state_after_termination(build, batch):
    algorithm = build(OBS, BoxActions(ACTION))
    expected = lose(algorithm, batch)
    next_obs = batch.next_obs.clone()
    next_obs[batch.terminated] = math.nan
    assert_close(lose(algorithm, batch._replace(next_obs=next_obs)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("discount", [-0.1, 1.1, math.nan])
def test_discount_outside_zero_to_one_is_refused(build, discount):
    with pytest.raises(MaxEntError, match="discount"):
        build(OBS, BoxActions(ACTION), discount=discount)


# ---- losses worked out by hand, for networks that are constants ------------------------------------------------------------

Q1, Q2, TARGET_Q1, TARGET_Q2, V, TARGET_V = 0.5, -0.25, 2.0, 1.5, 0.75, -1.0
MEAN, LOG_STD = (0.3, -0.6), (-0.5, 0.2)


def sampled_log_prob():
    """The log-probability of the constant policy's next sample, computed in float64 without the package."""
    mean, std = torch.tensor(MEAN, dtype=torch.float64), torch.tensor(LOG_STD, dtype=torch.float64).exp()
    u = mean + std * torch.randn(BATCH, ACTION)
    density = torch.distributions.Normal(mean, std).log_prob(u) - torch.log(1 - u.tanh() ** 2)
    return density.sum(-1)


def test_losses_of_constant_networks_equal_the_equations_of_the_papers(build, batch):
    algorithm = build(OBS, BoxActions(ACTION))
    constant(algorithm.policy.network, *MEAN, *LOG_STD)
    constant(algorithm.critic.network, Q1, Q2)
    torch.manual_seed(7)
    log_prob, next_log_prob = sampled_log_prob(), sampled_log_prob()
    q, reward, continuation = min(Q1, Q2), batch.reward.double(), (~batch.terminated).double()
    if isinstance(algorithm, ValueSAC):
        constant(algorithm.value.network, V)
        constant(algorithm.target_value.network.network, TARGET_V)
        next_value = TARGET_V
    else:
        constant(algorithm.target_critic.network.network, TARGET_Q1, TARGET_Q2)
        next_value = min(TARGET_Q1, TARGET_Q2) - ALPHA * next_log_prob
    target = reward + DISCOUNT * continuation * next_value
    expected = {
        "critic": ((Q1 - target) ** 2 + (Q2 - target) ** 2).mean(),
        "policy": (ALPHA * log_prob - q).mean(),
        "temperature": -(ALPHA * (log_prob - ACTION)).mean(),
    }
    if isinstance(algorithm, ValueSAC):
        expected["value"] = ((V - (q - ALPHA * log_prob)) ** 2).mean()
    if isinstance(algorithm.temperature, FixedTemperature):
        expected["temperature"] = torch.zeros((), dtype=torch.float64)
    losses = lose(algorithm, batch)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert_close(loss.double(), expected[name], rtol=1e-5, atol=1e-5)


def test_drained_metrics_are_means_over_the_updates_since_the_last_drain(build, batch):
    algorithm = build(OBS, BoxActions(ACTION), optimizers=Optimizers(partial(SGD, lr=0.0)))
    constant(algorithm.policy.network, *MEAN, *LOG_STD)
    constant(algorithm.critic.network, Q1, Q2)
    optimizers = named_optimizers(algorithm)
    for seeds in ((1, 2, 3), (4, 5)):
        log_probs = []
        for seed in seeds:
            torch.manual_seed(seed)
            log_probs.append(sampled_log_prob().mean())
            torch.manual_seed(seed)
            algorithm.update(batch, optimizers)
        metrics, log_prob = algorithm.drain_metrics(), float(torch.stack(log_probs).mean())
        assert metrics["entropy"] == pytest.approx(-log_prob, abs=1e-4)
        assert metrics["temperature"] == pytest.approx(ALPHA)
        assert metrics["q"] == pytest.approx(min(Q1, Q2))
        assert metrics["loss/policy"] == pytest.approx(ALPHA * log_prob - min(Q1, Q2), abs=1e-4)
        assert metrics["gradient_steps"] == seeds[-1]


# ---- against another implementation ----------------------------------------------------------------------------------------


def torchrl_sac(algorithm, fixed_alpha):
    """TorchRL's SACLoss around the same policy and copies of the same critics."""

    class MeanAndStd(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = algorithm.policy.network

        def forward(self, obs):
            mean, log_std = self.network(obs.unsqueeze(0)).squeeze(0).chunk(2, -1)
            return mean, log_std.clamp(-20, 2).exp()

    class Member(nn.Module):
        def __init__(self, network, member):
            super().__init__()
            self.layers = nn.Sequential(
                *[self.linear(layer, member) if hasattr(layer, "weight") else nn.ReLU() for layer in network]
            )

        @staticmethod
        def linear(layer, member):
            linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[2])
            with torch.no_grad():
                linear.weight.copy_(layer.weight[member].T)
                linear.bias.copy_(layer.bias[member, 0])
            return linear

        def forward(self, obs, action):
            return self.layers(torch.cat((obs, action), -1))

    actor = ProbabilisticActor(
        TensorDictModule(MeanAndStd(), in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
    )

    def critics(network):
        return [ValueOperator(Member(network, member), in_keys=["observation", "action"]) for member in range(2)]

    loss = SACLoss(
        actor,
        critics(algorithm.critic.network),
        num_qvalue_nets=2,
        loss_function="l2",
        alpha_init=ALPHA,
        fixed_alpha=fixed_alpha,
        target_entropy=-float(ACTION),
    )
    loss.make_value_estimator(gamma=DISCOUNT)
    SoftUpdate(loss, tau=RATE)  # never stepped; they warn where there is none
    for name, target in loss.target_qvalue_network_params.items(True, True):
        members = [dict(critic.named_parameters()) for critic in critics(algorithm.target_critic.network.network)]
        weights = [member[".".join(name if isinstance(name, tuple) else (name,))] for member in members]
        target.data.copy_(torch.stack(weights).detach())
    return loss


@pytest.mark.parametrize("fixed_alpha", [True, False])
def test_sac_agrees_with_the_sac_of_torchrl(batch, fixed_alpha):
    """Both losses are summed over the two critics and averaged over the batch, so they are equal without a factor.

    Their temperature loss is ``-log alpha (log pi + H)``, where the paper has ``-alpha (log pi + H)``: its gradient in
    log alpha is the paper's divided by alpha, and its value is not compared.
    """
    torch.manual_seed(0)
    algorithm = ALGORITHMS[f"sac_{'fixed' if fixed_alpha else 'learned'}"](OBS, BoxActions(ACTION))
    disturb(algorithm)
    theirs = torchrl_sac(algorithm, fixed_alpha)
    ours = lose(algorithm, batch)
    data = TensorDict(
        {
            "observation": batch.obs,
            "action": batch.action,
            "next": {
                "observation": batch.next_obs,
                "reward": batch.reward.unsqueeze(-1),
                "terminated": batch.terminated.unsqueeze(-1),
                "done": batch.terminated.unsqueeze(-1),
            },
        },
        [BATCH],
    )
    torch.manual_seed(7)
    actor, metadata = theirs.actor_loss(data.clone())  # ours draws the present action first, and then the next one
    critic, _ = theirs.qvalue_v2_loss(data.clone())
    assert_close(ours["critic"], critic, rtol=1e-4, atol=1e-4)
    assert_close(ours["policy"], actor, rtol=1e-4, atol=1e-4)
    if not fixed_alpha:
        theirs._alpha_loss(metadata["log_prob"]).mean().backward()
        ours["temperature"].backward()
        assert_close(algorithm.temperature.log_alpha.grad, ALPHA * theirs.log_alpha.grad, rtol=1e-4, atol=1e-4)


# ---- worlds of one or two steps whose soft values are known ----------------------------------------------------------------

_U = np.linspace(-12, 12, 4001)
_ACTION = np.tanh(_U)
_LOG_DET = 2 * (math.log(2) - _U - np.logaddexp(0, -2 * _U))


def reward_and_entropy(log_std, cost):
    """``E[-cost a^2]`` and the entropy of ``a = tanh(u)``, ``u ~ N(0, std^2)``, by numerical integration."""
    std = math.exp(log_std)
    density = np.exp(-0.5 * (_U / std) ** 2) / (std * math.sqrt(2 * math.pi)) * (_U[1] - _U[0])
    gaussian_entropy = 0.5 * math.log(2 * math.pi * math.e) + log_std
    return -cost * (density * _ACTION**2).sum(), gaussian_entropy + (density * _LOG_DET).sum()


def best_of_family(cost, alpha):
    """The largest soft value of a squashed Gaussian for the reward ``-cost a^2`` of one step, and its entropy.

    The soft optimum over all distributions, ``alpha log(integral of exp(-cost a^2 / alpha))``, is a little larger.
    """

    def loss(log_std):
        reward, entropy = reward_and_entropy(log_std, cost)
        return -(reward + alpha * entropy)

    best = minimize_scalar(loss, bounds=(-4, 2), method="bounded")
    return -best.fun, reward_and_entropy(best.x, cost)[1]


def train(algorithm, draw, updates):
    optimizers = named_optimizers(algorithm)
    for number in range(updates):
        if number == updates * 3 // 4:  # settle
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] /= 10
        algorithm.update(draw(), optimizers)


@torch.no_grad()
def mean_soft_value(algorithm, obs, samples=4000):
    """``E_pi[Q - alpha log pi]`` and the entropy in one observation."""
    obs = obs.expand(samples, -1)
    action, log_prob = algorithm.policy(obs)
    alpha = float(algorithm.temperature().detach())
    return float((algorithm.q_value(obs, action) - alpha * log_prob).mean()), float(-log_prob.mean())


def one_step_world(cost, action_dim):
    def draw():
        obs, action = torch.rand(128, 1), torch.rand(128, action_dim) * 2 - 1
        reward = -cost * action.square().sum(-1)
        return Transition(obs, action, reward, torch.full_like(obs, math.nan), torch.ones(128, dtype=torch.bool))

    return draw


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("cost", [0.0, 2.0])
@pytest.mark.parametrize("learner", LEARNERS)
def test_in_a_world_of_one_step_q_learns_the_reward_and_v_the_soft_maximum(learner, cost):
    torch.manual_seed(0)
    alpha, action_dim = 0.5, 2
    build = LEARNERS[learner]
    algorithm = build(
        1,
        BoxActions(action_dim),
        temperature=partial(FixedTemperature, alpha=alpha),
        optimizers=Optimizers(partial(Adam, lr=1e-2)),
    )
    train(algorithm, one_step_world(cost, action_dim), updates=250)
    per_dim, entropy = best_of_family(cost, alpha)
    action = _ACTION[np.abs(_ACTION) < 0.9999]
    optimum = alpha * math.log(np.trapezoid(np.exp(-cost * action**2 / alpha), action))
    assert optimum - 0.02 < per_dim < optimum + 1e-3  # the family comes close to the optimum over all distributions
    obs = torch.tensor([[0.5]])
    value, learned_entropy = mean_soft_value(algorithm, obs)
    assert learned_entropy == pytest.approx(action_dim * entropy, abs=0.12)
    assert value == pytest.approx(action_dim * per_dim, abs=0.08)
    if isinstance(algorithm, ValueSAC):
        assert float(algorithm.value(obs).detach()) == pytest.approx(action_dim * per_dim, abs=0.1)
    actions = torch.rand(200, action_dim) * 1.6 - 0.8
    q = algorithm.q_value(obs.expand(200, -1), actions)
    assert_close(q.detach(), -cost * actions.square().sum(-1), rtol=0, atol=0.2)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("learner", LEARNERS)
def test_in_a_world_of_two_steps_truncation_bootstraps_the_soft_value_and_termination_does_not(learner):
    torch.manual_seed(0)
    alpha = 0.5
    build = LEARNERS[learner]
    algorithm = build(
        3,
        BoxActions(1),
        temperature=partial(FixedTemperature, alpha=alpha),
        optimizers=Optimizers(partial(Adam, lr=1e-2)),
    )
    truncated, terminal, second = range(3)

    def draw():
        state = torch.randint(3, (128,))
        obs = torch.eye(3)[state]
        reward = torch.where(state == second, 2.0, 1.0)
        next_obs = torch.eye(3)[second].expand(128, 3)
        return Transition(obs, torch.rand(128, 1) * 2 - 1, reward, next_obs, state != truncated)

    train(algorithm, draw, updates=250)
    obs = torch.eye(3)
    soft_maximum = 2 + best_of_family(0.0, alpha)[0]
    q = algorithm.q_value(obs, torch.zeros(3, 1)).detach()
    assert float(q[second]) == pytest.approx(2, abs=0.1)
    assert float(q[terminal]) == pytest.approx(1, abs=0.1)
    assert float(q[truncated]) == pytest.approx(1 + DISCOUNT * soft_maximum, abs=0.15)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learned_temperature_settles_where_the_best_policy_has_the_target_entropy(learner):
    torch.manual_seed(0)
    cost, target_entropy = 2.0, 0.0
    build = LEARNERS[learner]
    algorithm = build(
        1,
        BoxActions(1),
        temperature=partial(LearnedTemperature, initial_alpha=0.5, target_entropy=target_entropy),
        optimizers=Optimizers(partial(Adam, lr=1e-2)),
    )
    train(algorithm, one_step_world(cost, 1), updates=400)
    alpha = brentq(lambda alpha: best_of_family(cost, alpha)[1] - target_entropy, 0.05, 2)
    _, entropy = mean_soft_value(algorithm, torch.tensor([[0.5]]))
    assert entropy == pytest.approx(target_entropy, abs=0.1)
    assert float(algorithm.temperature().detach()) == pytest.approx(alpha, rel=0.2)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_density_learns_by_its_divergence_from_exp_q(learner, density):
    """``E[alpha log pi - Q]`` decreases for fixed states and a fixed Q."""
    torch.manual_seed(0)
    algorithm = LEARNERS[learner](OBS, BoxActions(ACTION), temperature=FIXED, policy=DENSITIES[density])
    optimizer, obs = Adam(algorithm.policy.parameters(), lr=3e-3), torch.randn(256, OBS)
    batch = Transition(obs, torch.rand(256, ACTION), torch.randn(256), obs, torch.zeros(256, dtype=torch.bool))

    def divergence():
        torch.manual_seed(1)
        with torch.no_grad():
            action, log_prob = algorithm.policy(obs)
            return (ALPHA * log_prob - algorithm.critic.value(algorithm.critic(obs, action))).mean()

    before, q_weights = divergence(), [each.clone() for each in algorithm.critic.parameters()]
    for _ in range(50):
        optimizer.zero_grad()
        algorithm.losses(batch)["policy"].backward()
        optimizer.step()
    assert divergence() < before - 0.02
    assert all(torch.equal(*pair) for pair in zip(q_weights, algorithm.critic.parameters()))
