"""Theorems over every policy gradient: a new one is one more entry of LEARNERS."""

import math
from functools import partial

import numpy as np
import pytest
import tabular
import torch
from helpers import named_optimizers, recorded
from torch import nn
from torch.optim import SGD, Adam
from torch.testing import assert_close
from torchrl.objectives.value.functional import generalized_advantage_estimate

from lightning_maxent import (
    A2C,
    PPO,
    REINFORCE,
    AnnealedTemperature,
    BoxActions,
    Categorical,
    CurrentEntropy,
    Episode,
    FiniteActions,
    FixedTemperature,
    Gaussian,
    LearnedTemperature,
    LinearSchedule,
    MaxEntError,
    Optimizers,
    Rollout,
    StateValue,
    TrajectoryEntropy,
    Transition,
)
from lightning_maxent.algorithms.on_policy import Sample
from lightning_maxent.algorithms.ppo import PPOSample
from lightning_maxent.contracts import check_same_tensors
from lightning_maxent.exact import entropy_regularized_policy, read_mdp, soft_value_iteration
from lightning_maxent.networks import MLP, BatchRenormMLP, DropoutMLP

ALPHA, DISCOUNT = 0.3, 0.9
TABLE = partial(MLP, hidden_dims=())
LEARNERS = {"reinforce": REINFORCE, "a2c": A2C, "ppo": partial(PPO, minibatches=1)}
OBJECTIVES = {"current": CurrentEntropy, "trajectory": TrajectoryEntropy}


def learner(name, obs_dim, actions, objective=CurrentEntropy, alpha=ALPHA, discount=DISCOUNT, **kwargs):
    """Networks without hidden layers, which on one-hot observations are tables."""
    torch.manual_seed(0)
    value = {} if name == "reinforce" else {"value": partial(StateValue, network=TABLE)}
    policy = Categorical if isinstance(actions, FiniteActions) else Gaussian
    arguments = {
        "policy": partial(policy, network=TABLE),
        "temperature": partial(FixedTemperature, alpha=alpha),
        "entropy_objective": objective,
        "discount": discount,
        "optimizers": Optimizers(),  # without clipping
    }
    return LEARNERS[name](obs_dim, actions, **(arguments | value | kwargs))


def rollout_of(actions, time=8, envs=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (time, envs)
    terminated = torch.rand(shape, generator=generator) < 0.2
    if isinstance(actions, FiniteActions):
        action = actions.sample(torch.zeros(*shape, actions.dim))
    else:
        action = torch.randn(*shape, actions.dim, generator=generator)
    return Rollout(
        torch.randn(*shape, 3, generator=generator),
        action,
        torch.randn(shape, generator=generator),
        torch.randn(*shape, 3, generator=generator),
        terminated,
        terminated | (torch.rand(shape, generator=generator) < 0.2),
    )


def put_in(table, numbers):
    """Set a network without hidden layers so that its outputs for one-hot inputs are the rows of ``numbers``."""
    with torch.no_grad():
        table[0].weight.copy_(numbers.reshape(table[0].weight.shape))
        table[0].bias.zero_()


# ---- the exact policy gradient ---------------------------------------------------------------------------------------


def exact_world(alpha, objective):
    """A random MDP, a random policy, the values of its states without their own entropy, and its expected visits."""
    mdp = tabular.random_mdp(0, states=6, actions=3, discount=DISCOUNT)
    logits = torch.randn(mdp.reward.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    policy = logits.softmax(-1)
    q, _ = tabular.soft_policy_evaluation(mdp, policy, alpha if objective is TrajectoryEntropy else 0.0)
    continuation = torch.einsum("sa,san->sn", policy, mdp.transition * ~mdp.terminal)
    start = torch.zeros(len(q), dtype=torch.float64)
    start[0] = 1.0
    visits = torch.linalg.solve(torch.eye(len(q), dtype=torch.float64) - DISCOUNT * continuation.T, start)
    return mdp, logits, (policy * q).sum(-1), visits


def every_transition(mdp):
    """Each state, action and next state once, in environments side by side, and its probability given the first two."""
    states, actions = mdp.reward.shape
    s, a, n = torch.cartesian_prod(torch.arange(states), torch.arange(actions), torch.arange(states)).T
    return side_by_side(mdp, (s,), (a,), (n,)), s, a, mdp.transition[s, a, n]


def every_two_steps(mdp, policy):
    """Each pair of steps in a row once, and its probability given the first state and action."""
    states, actions = (torch.arange(size) for size in mdp.reward.shape)
    s, a, n, b, m = torch.cartesian_prod(states, actions, states, actions, states).T
    probability = mdp.transition[s, a, n] * policy[n, b] * mdp.transition[n, b, m]
    return side_by_side(mdp, (s, n), (a, b), (n, m)), s, a, probability


def side_by_side(mdp, states, actions, following):
    """A rollout of an environment for each row, from its states, actions and next states at every time."""
    s, a, n = (torch.stack(each) for each in (states, actions, following))
    eye, one_hot, done = torch.eye(mdp.reward.shape[0]), torch.eye(mdp.reward.shape[1]), mdp.terminal[n]
    return Rollout(eye[s], one_hot[a], mdp.reward[s, a].float(), eye[n], done, done)


def slope(mdp, logits, visits, objective, alpha=ALPHA):
    """The gradient of an objective in the policy's logits ``[state, action]``, by automatic differentiation.

    ``TrajectoryEntropy``: the gradient of the exact soft return.  ``CurrentEntropy``: the gradient of the exact return
    plus ``alpha H`` of every state, weighted by its number of visits.  These numbers are constants here, as in section
    4 of Mnih et al. 2016.
    """
    moving = logits.clone().requires_grad_()
    policy = moving.softmax(-1)
    if objective is TrajectoryEntropy:
        climbed = tabular.soft_policy_evaluation(mdp, policy, alpha)[1][0]
    else:
        entropy = -(policy * policy.log()).sum(-1)
        climbed = tabular.soft_policy_evaluation(mdp, policy, 0.0)[1][0] + alpha * (visits * entropy).sum()
    return torch.autograd.grad(climbed, moving)[0]


def expected_step(algorithm, sample, weight):
    """The expected negative gradient of the policy's loss in the logits; ``weight`` is the probability of each row."""
    rows = (Sample(*(field[row : row + 1] for field in sample)) for row in range(len(weight)))
    sum(each * algorithm.losses(row)["policy"] for each, row in zip(weight, rows)).backward()
    return -algorithm.policy.network[0].weight.grad[0].double()


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_with_the_exact_v_a2c_follows_the_gradient_of_the_objective(gae_lambda, objective):
    """Advantages are estimated from two steps in a row, for any lambda; losses are linear in the advantages."""
    mdp, logits, value, visits = exact_world(ALPHA, objective)
    algorithm = learner("a2c", len(value), FiniteActions((3,)), objective, gae_lambda=gae_lambda)
    put_in(algorithm.policy.network, logits.float())
    put_in(algorithm.value.network, value.float())
    rollout, s, a, probability = every_two_steps(mdp, logits.softmax(-1))
    judged = algorithm.sample(rollout).advantage[: len(s)].double()  # of the first of the two
    advantage = torch.zeros(len(value), 3, dtype=torch.float64).index_put((s, a), probability * judged, accumulate=True)
    s, a = torch.cartesian_prod(torch.arange(len(value)), torch.arange(3)).T
    once = Sample(torch.eye(len(value))[s], torch.eye(3)[a], advantage[s, a].float(), torch.zeros(len(s)))
    step = expected_step(algorithm, once, visits[s] * logits.softmax(-1)[s, a])
    assert_close(step, slope(mdp, logits, visits, objective), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_reinforce_follows_the_gradient_of_the_objective(objective):
    """Over every episode of a world of two steps, without any V."""
    world = read_mdp("lightning_maxent/NarrowOrWide-v0", discount=1.0)
    transition = torch.tensor(world.transition.toarray()).reshape(world.states, world.actions, world.states)
    mdp = tabular.MDP(torch.tensor(world.reward), transition, torch.tensor(world.terminal), 1.0)
    logits = torch.randn(mdp.reward.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    policy, fork = logits.softmax(-1), int(world.start.argmax())
    first, second = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    middle = transition[fork, first].argmax(-1)
    end = transition[middle, second].argmax(-1)
    states = torch.stack((torch.full_like(first, fork), middle, end))
    actions, done = torch.stack((first, second)), torch.tensor([[False], [True]]).expand(2, len(first))
    eye = torch.eye(4)
    reward = mdp.reward[states[:2], actions].float()
    rollout = Rollout(eye[states[:2]], eye[actions], reward, eye[states[1:]], done, done)
    algorithm = learner("reinforce", 4, FiniteActions((4,)), objective, discount=1.0)
    put_in(algorithm.policy.network, logits.float())
    probability = policy[fork, first] * policy[middle, second]
    step = expected_step(algorithm, algorithm.sample(rollout), probability.repeat(2))
    visits = torch.zeros(4, dtype=torch.float64).index_add(0, states[:2].flatten(), probability.repeat(2))
    assert_close(step, slope(mdp, logits, visits, objective), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["reinforce", "a2c"])
def test_with_equal_values_the_policy_follows_the_gradient_of_its_entropy(name):
    """In closed form: the slope of ``H(softmax(l))`` along ``l_a`` is ``-pi_a (log pi_a + H)``."""
    algorithm, logits = learner(name, 3, FiniteActions((4,))), torch.randn(3, 4)
    put_in(algorithm.policy.network, logits)
    obs, action = torch.eye(3), torch.eye(4)[:3]
    step = expected_step(algorithm, Sample(obs, action, torch.zeros(3), torch.zeros(3)), torch.ones(3))
    policy, log_policy = logits.softmax(-1), logits.log_softmax(-1)
    entropy = -(policy * log_policy).sum(-1, keepdim=True)
    assert_close(step, (-ALPHA * policy * (log_policy + entropy)).double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_the_exact_v_without_the_entropy_of_its_own_state_is_the_fixed_point_of_v(name, objective):
    """The true V is the fixed point of the regression: from there the expected step is zero."""
    mdp, logits, value, _ = exact_world(ALPHA, objective)
    algorithm = learner(name, len(value), FiniteActions((3,)), objective, gae_lambda=0.0)
    put_in(algorithm.policy.network, logits.float())
    put_in(algorithm.value.network, value.float())
    rollout, s, a, probability = every_transition(mdp)
    sample = algorithm.sample(rollout)
    weight = (logits.softmax(-1)[s, a] * probability).float()
    expected = torch.zeros(len(value)).index_add(0, s, weight * sample.returns)
    assert_close(expected, value.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_advantages_and_returns_of_a_rollout_are_those_of_torchrl(name):
    actions = FiniteActions((3,))
    algorithm, rollout = learner(name, 3, actions, gae_lambda=0.7), rollout_of(actions)
    with torch.no_grad():
        value, following = (algorithm.value(obs.flatten(0, 1)).view(8, 6, 1) for obs in (rollout.obs, rollout.next_obs))
    columns = (field.unsqueeze(-1) for field in (rollout.reward, rollout.done, rollout.terminated))
    advantage, returns = generalized_advantage_estimate(DISCOUNT, 0.7, value, following, *columns, time_dim=0)
    sample = algorithm.sample(rollout)
    assert_close(sample.advantage, advantage.flatten(), rtol=1e-4, atol=1e-5)
    assert_close(sample.returns, returns.flatten(), rtol=1e-4, atol=1e-5)


# ---- the two objectives ----------------------------------------------------------------------------------------------


def play(algorithm, mdp, envs, steps, rng):
    """Rollouts of a tabular world from its first state; a new episode begins where one ends."""
    cumulative = mdp.transition.toarray().cumsum(-1)
    state, rows = np.full(envs, mdp.start.argmax()), []
    for _ in range(steps):
        obs = torch.eye(mdp.states)[state]
        action = algorithm.act(obs)
        pairs = state * mdp.actions + action.argmax(-1).numpy()
        following = (rng.random((envs, 1)) > cumulative[pairs]).sum(-1).clip(max=mdp.states - 1)
        done = torch.tensor(mdp.terminal[following])
        reward = torch.tensor(mdp.reward.ravel()[pairs], dtype=torch.float32)
        rows.append(Rollout(obs, action, reward, torch.eye(mdp.states)[following], done, done))
        state = np.where(mdp.terminal[following], mdp.start.argmax(), following)
    return Rollout(*(torch.stack(field) for field in zip(*rows)))


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("name", LEARNERS)
def test_each_entropy_objective_converges_to_its_own_optimal_policy(name, objective):
    """Ratio of narrow to wide at the fork: 1.43 : 1 with the current entropy, 1 : 2.66 with the entropy of the
    trajectory.
    """
    alpha, mdp = 0.5, read_mdp("lightning_maxent/NarrowOrWide-v0", discount=1.0)
    solve = entropy_regularized_policy if objective is CurrentEntropy else soft_value_iteration
    exact = torch.tensor(solve(mdp, alpha).policy).float()
    algorithm = learner(name, mdp.states, FiniteActions((4,)), objective, alpha=alpha, discount=1.0)
    optimizers, rng, rounds = named_optimizers(algorithm), np.random.default_rng(0), 450 if name == "ppo" else 300
    for index in range(rounds):
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - index / rounds)
        for batch in algorithm.batches(play(algorithm, mdp, 128, 2, rng)):
            algorithm.update(batch, optimizers)
            if name == "ppo":
                break  # one step from each rollout, or it would take ten times as long
    played = ~torch.tensor(mdp.terminal)
    policy = algorithm.policy(torch.eye(mdp.states)).exp()[played]
    assert_close(policy, exact[played], rtol=0, atol=0.04)
    assert (policy[0, :2].sum() > 0.5) == (objective is CurrentEntropy)


# ---- what they have in common ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("actions", "best"),
    [
        (FiniteActions((3,)), torch.tensor([0.0, 1.0, 0.0])),
        (FiniteActions((3, 2)), torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])),
        (BoxActions(2), torch.tensor([0.5, -0.5])),
    ],
    ids=["discrete", "factors", "box"],
)
@pytest.mark.parametrize("name", LEARNERS)
def test_every_kind_of_action_is_learned(name, actions, best):
    """In a world of one step whose reward is largest at the best action, the samples of the policy come close to it."""
    algorithm = learner(name, 3, actions, alpha=0.0, optimizers=Optimizers(policy=partial(Adam, lr=0.05)))
    optimizers, obs = named_optimizers(algorithm), torch.eye(3).repeat(1, 40, 1)
    done = torch.ones(1, 120, dtype=torch.bool)

    def distance(action):
        return (action - best).square().sum(-1)

    before = distance(algorithm.act(obs[0])).mean()
    for _ in range(150):
        action = algorithm.act(obs[0])
        rollout = Rollout(obs, action.unsqueeze(0), -distance(action).unsqueeze(0), obs, done, done)
        algorithm.update(next(algorithm.batches(rollout)), optimizers)
    assert distance(algorithm.act(obs[0])).mean() < before / 10


@pytest.mark.parametrize("name", LEARNERS)
def test_scaling_rewards_and_alpha_together_gives_the_same_policy(name):
    """This holds for PPO too, whose advantages are normalized: alpha has the unit reward per nat."""
    actions, slopes = FiniteActions((3,)), []
    for scale in (1.0, 7.0):
        algorithm = learner(name, 3, actions, TrajectoryEntropy, alpha=ALPHA * scale)
        if name != "reinforce":
            put_in(algorithm.value.network, torch.zeros(3, 1))
        rollout = rollout_of(actions)._replace(reward=scale * rollout_of(actions).reward)
        batch = next(algorithm.batches(rollout))
        algorithm.losses(batch)["policy"].backward()
        slopes.append(algorithm.policy.network[0].weight.grad / (1 if name == "ppo" else scale))
    assert_close(*slopes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(("lead", "grows"), [(0.0, False), (5.0, True)])  # entropies of log 3 = 1.10 and .08 nats
def test_a_learned_temperature_reaches_its_target_entropy(name, lead, grows):
    temperature = partial(LearnedTemperature, initial_alpha=0.5, target_entropy=0.5)
    algorithm = learner(name, 3, FiniteActions((3,)), temperature=temperature)
    nn.init.zeros_(algorithm.policy.network[0].weight)
    with torch.no_grad():
        algorithm.policy.network[0].bias.copy_(torch.tensor([lead, 0.0, 0.0]))
    algorithm.update(next(algorithm.batches(rollout_of(FiniteActions((3,))))), named_optimizers(algorithm))
    alpha = float(algorithm.temperature().detach())
    assert alpha != 0.5
    assert (alpha > 0.5) == grows


@pytest.mark.parametrize("name", LEARNERS)
def test_an_annealed_temperature_weighs_the_entropy_as_the_clock_says(name):
    schedule = LinearSchedule(start=1.0, end=0.0, duration=100)
    algorithm = learner(name, 3, FiniteActions((3,)), temperature=partial(AnnealedTemperature, alpha=schedule))
    batch, losses = next(algorithm.batches(rollout_of(FiniteActions((3,))))), []
    for env_steps in (25, 75):
        schedule.advance(env_steps)
        losses.append(algorithm.losses(batch)["policy"])
    unit = batch.advantage.std() if name == "ppo" else 1.0
    entropy = algorithm.policy.distribution(batch.obs).entropy().mean()
    assert_close(losses[1] - losses[0], 0.5 * entropy / unit, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_entropy_bonus_of_a_clipped_gaussian_keeps_its_deviation_finite(name):
    """Beyond the bounds rewards are constant, so at a large alpha nothing else would keep the deviation finite."""
    algorithm = learner(name, 3, BoxActions(2), alpha=5.0, optimizers=Optimizers(policy=partial(Adam, lr=0.1)))
    optimizers, obs = named_optimizers(algorithm), torch.eye(3).repeat(1, 40, 1)
    done = torch.ones(1, 120, dtype=torch.bool)
    for _ in range(60):
        action = algorithm.act(obs[0]).unsqueeze(0)
        reward = -(action.clamp(-1, 1) - 0.3).square().sum(-1)
        algorithm.update(next(algorithm.batches(Rollout(obs, action, reward, obs, done, done))), optimizers)
    assert algorithm.policy.log_std.exp().tolist() == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_are_clipped_to_max_grad_norm(name):
    algorithm = learner(
        name, 3, FiniteActions((3,)), optimizers=Optimizers(policy=partial(SGD, lr=1.0), max_grad_norm=1e-3)
    )
    before = algorithm.policy.network[0].weight.detach().clone(), algorithm.policy.network[0].bias.detach().clone()
    algorithm.update(next(algorithm.batches(rollout_of(FiniteActions((3,))))), named_optimizers(algorithm))
    after = algorithm.policy.network[0].weight, algorithm.policy.network[0].bias
    moved = torch.cat([(new - old).flatten() for new, old in zip(after, before)]).norm()
    assert_close(moved, torch.tensor(1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_replayed_transitions_are_refused(name):
    batch = Transition(*rollout_of(BoxActions(2))[:5])
    with pytest.raises(MaxEntError, match="learns from its own rollouts: give it data of the class RolloutDataModule"):
        learner(name, 3, BoxActions(2)).feeding.check(name, batch)


@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_the_value_regresses_on_returns_and_not_on_advantages(name):
    algorithm, rollout = learner(name, 3, BoxActions(2)), rollout_of(BoxActions(2))
    (batch,) = list(algorithm.batches(rollout))[:1]
    loss = algorithm.losses(batch)["value"]
    with torch.no_grad():
        assert_close(loss.detach(), (algorithm.value(batch.obs) - batch.returns).square().mean())
        assert (batch.returns - batch.advantage).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "kwargs", "sentence"),
    [
        ("a2c", {"gae_lambda": 1.5}, r"gae_lambda must lie in \[0, 1\]"),
        ("a2c", {"optimizers": Optimizers(max_grad_norm=0.0)}, "max_grad_norm must be positive"),
        ("ppo", {"clip": 0.0}, "clip must be positive"),
        ("ppo", {"clip": math.nan}, "clip must be positive"),
        ("a2c", {"value": partial(torch.nn.Linear, out_features=1)}, r"of shape \[3\], but gave \[3, 1\]"),
        ("ppo", {"epochs": 0}, "epochs and minibatches must be at least 1"),
        (
            "a2c",
            {"policy": partial(Categorical, network=partial(BatchRenormMLP, hidden_dims=(8,)))},
            r"A2C needs the same action probabilities .* such as network\..* without batch normalization",
        ),
        (
            "ppo",
            {"policy": partial(Categorical, network=partial(DropoutMLP, hidden_dims=(8,)))},
            "PPO needs the same action probabilities .* Categorical change from call to call.* without dropout",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(name, kwargs, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        learner(name, 3, FiniteActions((2,)), **kwargs)


def test_another_algorithm_with_the_same_networks_does_not_resume_a_run():
    a2c, ppo = (learner(name, 3, FiniteActions((2,))) for name in ("a2c", "ppo"))
    checkpoint = {"state_dict": a2c.state_dict()}
    a2c.on_save_checkpoint(checkpoint)
    a2c.on_load_checkpoint(checkpoint)
    check_same_tensors(checkpoint, ppo)  # as a warm start
    with pytest.raises(MaxEntError, match="made by A2C, but this is PPO: resume with the same configuration"):
        ppo.on_load_checkpoint(checkpoint)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_evaluation_reports_the_bias_of_v_against_the_return(objective, cut):
    algorithm = learner("a2c", 2, FiniteActions((2,)), objective)
    put_in(algorithm.value.network, torch.tensor([[2.0], [2.0]]))
    put_in(algorithm.policy.network, torch.zeros(2, 2))
    reward = torch.tensor([1.0, -1.0, 0.5])
    episode = Episode(torch.eye(2)[[0, 1, 0, 1]], torch.eye(2)[[0, 1, 1]], reward, reward, not cut, False)
    with torch.no_grad():
        metrics = algorithm.episode_metrics(episode)
    entropy = math.log(2)
    later = ALPHA * entropy if objective is TrajectoryEntropy else 0.0
    last = 0.5 + (DISCOUNT * (2.0 + later) if cut else 0.0)
    second = -1.0 + DISCOUNT * (later + last)
    first = 1.0 + DISCOUNT * (later + second)
    assert float(metrics["value_bias"]) == pytest.approx(2.0 - (first + second + last) / 3, abs=1e-5)
    assert float(metrics["entropy"]) == pytest.approx(entropy)
    assert float(metrics["soft_return"]) == pytest.approx(0.5 + 3 * ALPHA * entropy)


# ---- REINFORCE -------------------------------------------------------------------------------------------------------


def test_reinforce_learns_from_whole_episodes_and_their_returns_less_the_baseline():
    algorithm = learner("reinforce", 3, FiniteActions((2,)))
    algorithm.baseline.fill_(0.5)
    rollout = rollout_of(FiniteActions((2,)), time=4, envs=2)
    done = torch.tensor([[False, True, False, False], [False, False, False, False]]).T
    reward = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).T
    sample = algorithm.sample(rollout._replace(done=done, terminated=done, reward=reward))
    returns = torch.tensor([1.0 + DISCOUNT * 2.0, 2.0])  # of the first environment's first episode alone
    assert_close(sample.returns, returns)
    assert_close(sample.advantage, returns - 0.5)
    assert_close(sample.obs, rollout.obs[:2, 0])


def test_the_baseline_of_reinforce_decays_once_per_episode_of_earlier_rollouts():
    algorithm = learner("reinforce", 3, FiniteActions((2,)), baseline_decay=0.8)
    rollout = rollout_of(FiniteActions((2,)), time=1, envs=3)
    done, expected = torch.ones(1, 3, dtype=torch.bool), 0.0
    for pay in (2.0, -1.0):
        played = rollout._replace(done=done, terminated=done, reward=torch.full((1, 3), pay))
        (sample,) = algorithm.batches(played)
        assert_close(sample.advantage, torch.full((3,), pay - expected))
        expected = 0.8**3 * expected + (1 - 0.8**3) * pay
    assert float(algorithm.state_dict()["baseline"]) == pytest.approx(expected, rel=1e-4)  # so a run goes on with it


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("episodes", [1, 2, 4, 64])
def test_the_baseline_of_reinforce_adds_nothing_to_the_expected_gradient(episodes):
    """The test is at the exact optimum; the baseline of a rollout comes from the rollouts before it.

    The constant part of a baseline adds nothing anyway, and is left out to measure the rest: what would be added is
    ``E[(b - E[G]) grad log pi(a|s)]``, here for every logit, in standard errors of its mean.
    """
    mdp = read_mdp("lightning_maxent/NarrowOrWide-v0", discount=1.0)
    policy = torch.tensor(entropy_regularized_policy(mdp, 0.5).policy).float()
    algorithm, rng = learner("reinforce", 4, FiniteActions((4,)), alpha=0.5, discount=1.0), np.random.default_rng(0)
    put_in(algorithm.policy.network, policy.log())
    algorithm.baseline.fill_(0.9)
    added = []
    for _ in range(600):
        for sample in algorithm.batches(play(algorithm, mdp, episodes, 2, rng)):
            baseline = sample.returns - sample.advantage - 0.9
            score = sample.action - sample.obs @ policy
            added.append(torch.einsum("n,ns,na->sa", baseline, sample.obs, score)[:3])
    met = torch.stack(added).double()
    assert (met.mean(0) / (met.std(0) / len(met) ** 0.5)).abs().max() < 4.5


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_a_baseline_decay_outside_its_range_is_refused(decay):
    with pytest.raises(MaxEntError, match=r"baseline_decay must lie in \[0, 1\)"):
        learner("reinforce", 3, FiniteActions((2,)), baseline_decay=decay)


def test_reinforce_adds_no_entropy_after_a_time_limit():
    algorithm = learner("reinforce", 3, FiniteActions((2,)), TrajectoryEntropy)
    rollout = rollout_of(FiniteActions((2,)), time=3, envs=1)
    done, nothing = torch.tensor([[False], [False], [True]]), torch.zeros(3, 1, dtype=torch.bool)
    ends = [algorithm.sample(rollout._replace(done=done, terminated=terminated)) for terminated in (done, nothing)]
    assert_close(ends[1].returns, ends[0].returns, rtol=0, atol=0)


def test_reinforce_refuses_a_first_rollout_without_a_finished_episode_and_skips_later_ones():
    algorithm, rollout = learner("reinforce", 3, FiniteActions((2,))), rollout_of(FiniteActions((2,)))
    endless = rollout._replace(done=torch.zeros_like(rollout.done), terminated=torch.zeros_like(rollout.done))
    with pytest.raises(MaxEntError, match=r"No episode ended within a rollout of 8 steps.*raise steps_per_round"):
        list(algorithm.batches(endless))
    for batch in algorithm.batches(rollout):
        algorithm.update(batch, named_optimizers(algorithm))
    assert not list(algorithm.batches(endless))  # a run that has learned to make episodes last goes on


# ---- PPO -------------------------------------------------------------------------------------------------------------


def test_ppo_uses_every_step_once_in_every_epoch():
    actions = FiniteActions((2,))
    algorithm, rollout = learner("ppo", 3, actions, epochs=3, minibatches=5), rollout_of(actions)
    batches = list(algorithm.batches(rollout))
    assert len(batches) == 15
    for epoch in range(3):
        seen = torch.cat([batch.obs[:, 0] for batch in batches[5 * epoch : 5 * epoch + 5]])
        assert_close(seen.sort().values, rollout.obs[..., 0].flatten().sort().values)
    first = torch.cat([batch.obs[:, 0] for batch in batches[:5]])
    second = torch.cat([batch.obs[:, 0] for batch in batches[5:10]])
    assert not torch.equal(first, second)


def test_ppo_takes_ratios_to_the_policy_that_played_the_rollout():
    actions = FiniteActions((3,))
    algorithm = learner("ppo", 3, actions, epochs=4, optimizers=Optimizers(policy=partial(Adam, lr=0.1)))
    optimizers, rollout = named_optimizers(algorithm), rollout_of(actions)
    played = algorithm.policy.distribution(rollout.obs.flatten(0, 1)).log_prob(rollout.action.flatten(0, 1)).detach()
    divergences = []
    for batch in algorithm.batches(rollout):
        now = algorithm.policy.distribution(batch.obs).log_prob(batch.action).detach()
        assert_close(batch.log_prob.sort().values, played.sort().values)
        algorithm.losses(batch)
        log_ratio = now - batch.log_prob
        divergences.append(recorded(algorithm)["divergence"])
        assert divergences[-1] == pytest.approx(float((log_ratio.exp() - 1 - log_ratio).mean()), abs=1e-6)
        algorithm.update(batch, optimizers)
    assert divergences[0] == pytest.approx(0, abs=1e-6)
    assert divergences[-1] > 1e-3


def test_ppo_standardizes_advantages_within_a_minibatch():
    """In closed form, of two: the slope of ``log pi(a|s)`` along the logits is ``one_hot(a) - pi``."""
    algorithm, obs, action = learner("ppo", 3, FiniteActions((4,)), alpha=0.0), torch.eye(3)[:2], torch.eye(4)[1:3]
    advantage = torch.tensor([1.0, 4.0])
    with torch.no_grad():
        distribution = algorithm.policy.distribution(obs)
        policy, played = algorithm.policy(obs).exp(), distribution.log_prob(action)
    algorithm.losses(PPOSample(obs, action, advantage, torch.zeros(2), played))["policy"].backward()
    expected = torch.tensor([[-3.0], [3.0]]) * (action - policy) / 2 / advantage.std()
    assert_close(-algorithm.policy.network[0].weight.grad[0][:2], expected, rtol=1e-4, atol=1e-6)


def test_a_rollout_too_short_for_its_minibatches_is_refused():
    actions = FiniteActions((2,))
    with pytest.raises(MaxEntError, match="48 steps cannot be split into 25 minibatches"):
        next(learner("ppo", 3, actions, minibatches=25).batches(rollout_of(actions)))
