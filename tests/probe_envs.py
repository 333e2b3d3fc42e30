"""Environments so small that every transition is known beforehand."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counting(gym.Env):
    """Shows [step in the episode, number of the episode]; the reward is the step; ends after ``length`` steps."""

    def __init__(
        self, length: int = 5, ends: str = "truncated", poison_reward: int = -1, poison_obs: int = -1, breaks: int = -1
    ):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)
        self.length, self.ends = length, ends
        self.poison_reward, self.poison_obs = poison_reward, poison_obs
        self.breaks = breaks  # at this step
        self.episode, self.total, self.actions = -1, 0, []

    def _obs(self) -> np.ndarray:
        poisoned = self.total == self.poison_obs
        return np.array([np.inf if poisoned else self.t, self.episode], dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.episode = 0, self.episode + 1
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        if self.total == self.breaks:
            raise ValueError("the world broke")
        self.actions.append(np.array(action))
        self.t, self.total = self.t + 1, self.total + 1
        reward = float("nan") if self.total == self.poison_reward else float(self.t)
        done = self.t == self.length
        return self._obs(), reward, done and self.ends == "terminated", done and self.ends == "truncated", {}


class WithSpaces(gym.Env):
    """Any spaces at all; never played."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Factors(gym.Env):
    """Pays one for every factor of the action that is 1; ends after ``length`` steps."""

    def __init__(self, length: int = 5, choices: tuple[int, ...] = (2, 2)):
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.MultiDiscrete(list(choices))
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        return np.zeros(1, dtype=np.float32), float((action == 1).sum()), self.t == self.length, False, {}


class Once(gym.Env):
    """One step from a state that is always the same, so that a run may be cut anywhere: pays for actions far from zero."""

    def __init__(self, choices: tuple[int, ...] | None = None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        bounds = spaces.Box(-1, 1, (2,), np.float64)
        self.action_space = bounds if choices is None else spaces.MultiDiscrete(list(choices))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([0.5, -0.5]), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        return np.zeros(2), float(np.square(action).sum()), True, False, {}


class Lottery(gym.Env):
    """One step from a start that is drawn from the seed, which is also what it pays: a return is luck and nothing else."""

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.start, {}

    def step(self, action):
        return self.start, float(self.start[0]), True, False, {}


for _name, _entry in {
    "Counting": Counting,
    "Recounting": Counting,
    "Factors": Factors,
    "Lottery": Lottery,
    "Once": Once,
    "WithSpaces": WithSpaces,
}.items():
    gym.register(f"probe/{_name}-v0", _entry, disable_env_checker=True, order_enforce=False)
