"""Learning from a replay buffer ends at the exact solution: soft Q within 2 % of its range, the policy within .01 nats.

What is left is the buffer's own deviation from the world that it was played in (about half of the 2 %) and the noise of
the last updates.
"""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import rel_entr
from torch.optim import Adam

from lightning_maxent import (
    DiscreteSAC,
    DiscreteValueSAC,
    FixedTemperature,
    PolyakTarget,
    ReplayDataModule,
    SoftQLearning,
    StateValue,
    Transition,
    TwinHeadsCritic,
)
from lightning_maxent.actions import FiniteActions
from lightning_maxent.exact import FiniteMDP, random_mdp, read_mdp, soft_value_iteration
from lightning_maxent.policies.categorical import Categorical

ACTOR = {"policy": partial(Categorical, hidden_dims=())}
LEARNERS = {
    "soft_q_learning": SoftQLearning,
    "discrete_sac": partial(DiscreteSAC, **ACTOR),
    "discrete_value_sac": partial(DiscreteValueSAC, value=partial(StateValue, hidden_dims=()), **ACTOR),
}


def learner(name, obs_dim, actions, alpha, discount):
    """Networks without hidden layers, which on one-hot observations are tables."""
    return LEARNERS[name](
        obs_dim,
        actions,
        critic=partial(TwinHeadsCritic, hidden_dims=()),
        temperature=partial(FixedTemperature, alpha=alpha),
        target=partial(PolyakTarget, rate=0.1),
        discount=discount,
    )


def train(algorithm, sample, schedule):
    """``updates`` with step size ``lr``, for every pair of the schedule: the last ones small, to rest."""
    names = algorithm.trained_networks()
    optimizers = {name: Adam(getattr(algorithm, name).parameters()) for name in names}
    for updates, lr in schedule:
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = lr
        for _ in range(updates):
            algorithm.update(sample(), optimizers)


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


@pytest.fixture(scope="module")
def ten_worlds():
    """Ten random MDPs side by side, with no way from one to another: one run learns all of them."""
    parts = [random_mdp(states=6, actions=3, seed=seed, discount=0.9) for seed in range(10)]
    world = FiniteMDP(
        sparse.block_diag([part.transition for part in parts]),
        np.concatenate([part.reward for part in parts]),
        discount=0.9,
        terminal=np.concatenate([part.terminal for part in parts]),
    )
    return world, transitions_of(world, count=1_000_000, seed=0)
