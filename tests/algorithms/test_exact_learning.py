"""Learning from a replay buffer converges to the exact solution: soft Q within 2 % of its range, the policy within .01
nats.

The remaining error is that of the finite buffer (about half of the 2 %) and the noise of the last updates.
"""

import functools
from functools import partial

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import rel_entr
from tensordict import TensorDict
from torch import nn
from torch.optim import SGD, Adam
from torchrl.data import LazyTensorStorage, ReplayBuffer

from lightning_maxent import (
    DiscreteSAC,
    DiscreteValueSAC,
    FixedTemperature,
    PolyakTarget,
    SoftQLearning,
    StateValue,
    Transition,
    TwinHeadsCritic,
)
from lightning_maxent.actions import FiniteActions
from lightning_maxent.exact import FiniteMDP, random_mdp, read_mdp, soft_value_iteration
from lightning_maxent.networks import MLP
from lightning_maxent.policies.categorical import Categorical

ACTOR = {"policy": partial(Categorical, network=partial(MLP, hidden_dims=()))}
LEARNERS = {
    "soft_q_learning": SoftQLearning,
    "discrete_sac": partial(DiscreteSAC, **ACTOR),
    "discrete_value_sac": partial(
        DiscreteValueSAC, value=partial(StateValue, network=partial(MLP, hidden_dims=())), **ACTOR
    ),
}


def learner(name, obs_dim, actions, alpha, discount):
    """Networks without hidden layers and without biases, which on one-hot observations are tables."""
    algorithm = LEARNERS[name](
        obs_dim,
        actions,
        critic=partial(TwinHeadsCritic, network=partial(MLP, hidden_dims=())),
        temperature=partial(FixedTemperature, alpha=alpha),
        target=partial(PolyakTarget, rate=0.3),
        discount=discount,
    )
    for parameter_name, parameter in algorithm.named_parameters():
        if parameter_name.endswith("bias"):
            nn.init.zeros_(parameter).requires_grad_(False)
    return algorithm


def train(algorithm, sample, mdp, schedule):
    """Trains with a schedule of ``updates`` at each ``rate``, the share of its error that an entry of a table loses per
    update.

    Plain gradient descent with shrinking rates, as tables converge (Robbins & Monro 1951); the policy's logits, whose
    gradients depend on the policy, by Adam.
    """
    states = int((~mdp.terminal).sum())
    networks = {
        name: [p for p in getattr(algorithm, name).parameters() if p.requires_grad]
        for name in algorithm.trained_networks()
    }
    for updates, rate in schedule:
        optimizers = {
            "critic": partial(SGD, lr=rate * states * mdp.actions / 2),  # the loss is a mean of squares over entries
            "value": partial(SGD, lr=rate * states / 2),
            "policy": partial(Adam, lr=rate / 5),
        }
        built = {name: optimizers[name](parameters) for name, parameters in networks.items()}
        for _ in range(updates):
            algorithm.update(sample(), built)


def distance_to_truth(algorithm, mdp, alpha):
    """Largest error of Q over its range, and the largest KL divergence of the policies, over non-terminal states."""
    exact, played = soft_value_iteration(mdp, alpha), ~mdp.terminal
    obs = torch.eye(mdp.states)
    with torch.no_grad():
        q = algorithm.every_value(algorithm.every_action(algorithm.critic, obs)).double().numpy()[played]
        policy = algorithm.log_probs(obs).double().exp().numpy()[played]
    divergence = rel_entr(exact.policy[played], policy).sum(-1)
    return np.abs(q - exact.q[played]).max() / np.ptp(exact.q[played]), divergence.max()


def transitions_of(mdp, count, seed):
    """Uniform states and actions, and what followed."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(np.flatnonzero(np.repeat(~mdp.terminal, mdp.actions)), count)
    cumulative = mdp.transition.toarray().cumsum(-1)
    following = (rng.random((count, 1)) > cumulative[rows]).sum(-1).clip(max=mdp.states - 1)
    return Transition(
        obs=torch.eye(mdp.states)[rows // mdp.actions],
        action=torch.eye(mdp.actions)[rows % mdp.actions],
        reward=torch.from_numpy(mdp.reward.ravel()[rows].astype(np.float32)),
        next_obs=torch.eye(mdp.states)[following],
        terminated=torch.from_numpy(mdp.terminal[following]),
    )


def four_random_worlds():
    """Four unconnected worlds in one, so that one run learns all of them."""
    parts = [random_mdp(states=6, actions=3, seed=seed, discount=0.8) for seed in range(4)]
    return FiniteMDP(
        sparse.block_diag([part.transition for part in parts]),
        np.concatenate([part.reward for part in parts]),
        discount=0.8,
        terminal=np.concatenate([part.terminal for part in parts]),
    )


WORLDS = {  # mdp, alpha, transitions in the buffer
    "four_random": (four_random_worlds, 0.5, 400_000),
    "frozen_lake": (partial(read_mdp, "FrozenLake-v1", discount=0.9), 0.05, 600_000),
}


@functools.cache
def world(name):
    make, alpha, count = WORLDS[name]
    mdp = make()
    buffer = ReplayBuffer(storage=LazyTensorStorage(count))
    rows = transitions_of(mdp, count, seed=0)._asdict()
    buffer.extend(TensorDict(rows, batch_size=count))
    return mdp, alpha, buffer


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("world_name", "name"), [*(("four_random", name) for name in LEARNERS), ("frozen_lake", "soft_q_learning")]
)
def test_the_fixed_point_of_every_algorithm_is_the_exact_soft_solution(world_name, name):
    """All algorithms share one backup, so one world with terminal states and a small alpha is enough."""
    mdp, alpha, buffer = world(world_name)
    torch.manual_seed(0)
    algorithm = learner(name, mdp.states, FiniteActions((mdp.actions,)), alpha, mdp.discount)

    def sample():
        rows = buffer.sample(4096)
        return Transition(*(rows[field] for field in Transition._fields))

    train(algorithm, sample, mdp, schedule=[(120, 0.5), (120, 0.1), (150, 0.02), (150, 0.005)])
    error, divergence = distance_to_truth(algorithm, mdp, alpha)
    assert error < 0.02
    assert divergence < 0.01
