"""Where the optimal policy is stochastic, soft Q-learning finds one and Q-learning cannot."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.optim import Adam

from lightning_maxent import EpsilonGreedy, FixedTemperature, Optimizers, PolyakTarget, ReplayDataModule, SoftQLearning
from lightning_maxent import TwinHeadsCritic as Critic
from lightning_maxent.exact import best_deterministic_policy, expected_return, exploitability, lift, read_mdp
from lightning_maxent.networks import MLP
from lightning_maxent.schedules import ConstantSchedule


def learn(quiet_trainer, env_id, alpha, steps, discount, hidden_dims):
    """Soft Q-learning with its own exploration; at alpha 0, which is Q-learning, with epsilon-greedy."""
    torch.manual_seed(0)
    data = ReplayDataModule(
        env_id,
        capacity=steps,
        num_envs=8,
        batch_size=256,
        learning_starts=400,
        steps_per_round=8,
        updates_per_round=2,
        eval_interval=steps,
        eval_episodes=1,
    )
    exploration = {} if alpha else {"exploration": partial(EpsilonGreedy, epsilon=ConstantSchedule(0.1))}
    model = SoftQLearning(
        data.obs_dim,
        data.actions,
        critic=partial(Critic, network=partial(MLP, hidden_dims=hidden_dims)),
        temperature=partial(FixedTemperature, alpha=alpha),
        target=partial(PolyakTarget, rate=0.1),
        optimizers=Optimizers(critic=partial(Adam, lr=5e-3)),
        discount=discount,
        **exploration,
    )
    quiet_trainer(max_steps=steps, limit_val_batches=0).fit(model, data)
    return model


def probabilities(model, obs):
    with torch.no_grad():
        return model.log_probs(torch.as_tensor(obs, dtype=torch.float32)).exp().double().numpy()


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(("alpha", "low", "high"), [(2.0, 0.0, 0.05), (0.0, 0.5, 1.0)], ids=["soft", "hard"])
def test_an_adaptive_opponent_exploits_the_hard_agent_and_not_the_soft_one(quiet_trainer, alpha, low, high):
    model = learn(
        quiet_trainer, "lightning_maxent/MatchingPennies-v0", alpha, steps=2_400, discount=0.0, hidden_dims=()
    )
    payoff = gym.make("lightning_maxent/MatchingPennies-v0").unwrapped.payoff
    assert low <= exploitability(payoff, probabilities(model, np.ones((1, 1)))[0]) <= high


@pytest.mark.usefixtures("shapes_unchecked")
def test_in_the_aliased_grid_the_soft_policy_beats_every_deterministic_one_without_memory(quiet_trainer):
    env = gym.make("lightning_maxent/AliasedGrid-v0").unwrapped
    mdp, labels, horizon = read_mdp(env, discount=0.99), env.observation_labels, 50
    seen = np.stack([env.observe(int(np.flatnonzero(labels == label)[0])) for label in range(labels.max() + 1)])
    model = learn(
        quiet_trainer, "lightning_maxent/AliasedGrid-v0", alpha=0.05, steps=4_000, discount=0.99, hidden_dims=(32,)
    )
    soft = expected_return(mdp, lift(probabilities(model, seen), labels), horizon, discount=1.0)
    _, deterministic = best_deterministic_policy(mdp, labels, horizon, discount=1.0)
    assert deterministic == pytest.approx(-0.2)
    assert soft > deterministic + 0.4
