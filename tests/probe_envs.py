"""Environments so small that every transition is known in advance."""

import math
import os
import random
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces


class Counting(gym.Env):
    """Shows [step in the episode, number of the episode]; the reward is the step; ends after ``length`` steps."""

    def __init__(
        self,
        length: int = 5,
        ends: str = "truncated",
        poison_reward: int = -1,
        poison_obs: int = -1,
        breaks: int = -1,
        poison: float = math.nan,
    ):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)
        self.length, self.ends = length, ends
        self.poison_reward, self.poison_obs = poison_reward, poison_obs
        self.breaks, self.poison = breaks, poison  # at this step; the reward at the step poison_reward
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
        reward = self.poison if self.total == self.poison_reward else float(self.t)
        done = self.t == self.length
        return self._obs(), reward, done and self.ends == "terminated", done and self.ends == "truncated", {}


class WithSpaces(gym.Env):
    """An environment with any given spaces; it is never stepped."""

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
    """Episodes of one step from a fixed state, so that a run can be cut anywhere; the reward grows with the distance of
    the action from zero.
    """

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
    """Episodes of one step whose reward is the initial state, which is drawn from the seed: a return does not depend on
    the action.
    """

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.start, {}

    def step(self, action):
        return self.start, float(self.start[0]), True, False, {}


class Line(gym.Env):
    """A point on a line; pays minus its distance from zero; ends after ``length`` steps.  Base of the worlds below."""

    def __init__(self, length: int = 6):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, float(self.np_random.uniform(-1, 1))
        return self.obs(), {}

    def obs(self):
        return np.array([self.x, self.t], np.float32)

    def step(self, action):
        self.t, self.x = self.t + 1, self.x + 0.1 * float(np.ravel(action)[0])
        return self.obs(), -abs(self.x), False, self.t == self.length, {}


INFOS = {
    "array": lambda t: {"path": np.zeros(t)},
    "mixed": lambda t: {"phase": 0 if t < 3 else "late"},
    "none": lambda t: {"contact": None if t % 2 else np.zeros(2)},
    "list": lambda t: {"path": list(range(t))},
    "nested": lambda t: {"robot": {"arm": 1} if t % 2 else 3, "final_info": t},
    "no_text": lambda t: {7: "seven", None: t},
}


class Talkative(Line):
    """Its infos change shape or type from step to step, those of reset included."""

    def __init__(self, kind: str, length: int = 6):
        super().__init__(length)
        self.kind, self.calls = kind, 0

    def info(self):
        self.calls += 1
        return INFOS[self.kind](self.calls)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], self.info()

    def step(self, action):
        return *super().step(action)[:4], self.info()


class Mistaken(Line):
    """Breaks what Gymnasium asks for, at its third step or in reset."""

    def __init__(self, how: str, value=None):
        super().__init__()
        self.how, self.value = how, value

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        if self.how == "exits_in_reset":
            raise SystemExit(3)
        return {"reset_without_info": obs, "reset_obs": (self.value, info)}.get(self.how, (obs, info))

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.t < 3:
            return obs, reward, terminated, truncated, info
        if self.how == "raises":
            random.choice([])
        if self.how == "exits":
            raise SystemExit("the window was closed")
        return {
            "obs": (self.value, reward, terminated, truncated, info),
            "reward": (obs, self.value, terminated, truncated, info),
            "terminated": (obs, reward, self.value, truncated, info),
            "four": (obs, reward, truncated, info),
        }[self.how]


class Seedless(Line):
    """Its reset takes no seed."""

    def reset(self):
        return super().reset()


class OldStep(Line):
    """Its step gives four values, as before Gymnasium."""

    def step(self, action):
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, truncated, info


class OnlyOne(Line):
    """An environment of which at most ``limit`` copies can be open at a time."""

    open = 0

    def __init__(self, length: int = 6, limit: int = 1):
        super().__init__(length)
        if OnlyOne.open >= limit:
            raise RuntimeError("the port is taken")
        OnlyOne.open += 1

    def close(self):
        OnlyOne.open -= 1


class Filmed(Line):
    """Gives pictures of one gray, which is 40 times the step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        return np.full((4, 6, 3), 40 * self.t, np.uint8)


class Dies(Line):
    """Ends its process, or is stuck, at its third step or ``at`` another place; None for never.

    A copy that is closed makes the file ``closed``, if one is given.
    """

    def __init__(self, how: str | None, at: str = "step", closed: str | None = None):
        super().__init__()
        self.how, self.at, self.closed = how, at, closed
        self.end("make")

    def end(self, place):
        if place != self.at or self.how is None:
            return
        if self.how == "exit":
            os._exit(3)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    def step(self, action):
        if self.t == 2:
            self.end("step")
        return super().step(action)

    def close(self):
        self.end("close")
        if self.closed:
            Path(self.closed).touch()


class Dice(Line):
    """Draws from the global random generators of Python, NumPy and PyTorch."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (3,), np.float64)

    def obs(self):
        return np.array([random.random(), np.random.rand(), torch.rand(()).item()])  # noqa: NPY002


class Breaks(Line):
    """Raises when it is made."""

    def __init__(self, how: str, size: int = 2):
        super().__init__()
        if how == "TypeError":
            None + size
        if how == "SystemExit":
            raise SystemExit(3)
        if how == "KeyError":
            {}["joint"]
        if how == "FileNotFoundError":
            np.load("/nowhere/robot.xml")
        if how == "ImportError":
            from math import no_such_thing  # noqa: F401
        if how == "ModuleNotFoundError":
            import no_such_package  # noqa: F401
        if how == "DependencyNotInstalled":
            raise gym.error.DependencyNotInstalled("run pip install pybullet")
        if how == "InvalidAction":
            raise gym.error.InvalidAction("joint 3 is out of range")
        if how == "inner":
            gym.make("CartPole-v1", foo=1)
        if how == "NameNotFound":
            gym.make("NoSuchWorld-v0")
        if how == "AssertionError":
            assert size == 3


class Spaceless(gym.Env):
    """Has only the spaces that it is given."""

    def __init__(self, **given: spaces.Space):
        for name, space in given.items():
            setattr(self, name, space)

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}


class Unbounded(Line):
    """Actions in a Box of these bounds, and it refuses all others."""

    def __init__(self, low, high):
        super().__init__()
        self.action_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)
        self.played = []

    def step(self, action):
        assert self.action_space.contains(action), action
        self.played.append(action.tolist())
        return super().step(action)


class Pictures(gym.Env):
    """Shows a small picture, beside a number if ``beside``."""

    def __init__(self, shape=(8, 8, 3), beside: bool = False):
        picture = spaces.Box(0, 255, tuple(shape), np.uint8)
        number = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = spaces.Dict(camera=picture, speed=number) if beside else picture
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, True, {}


class Parts(Line):
    """Observations of two parts; ``camera`` has a wrong shape after a step."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict(
            camera=spaces.Box(0, 1, (2, 2), np.float32), speed=spaces.Box(-9, 9, (1,), np.float32)
        )

    def obs(self):
        return {"camera": np.zeros((2, 2 if self.t == 0 else 3), np.float32), "speed": np.zeros(1, np.float32)}


class Rooms(Line):
    """Observations of a dict, a tuple and finite parts; two actions, counted from 3; pays for 4 in even rooms, else for 3."""

    def __init__(self, length: int = 6):
        super().__init__(length)
        self.observation_space = spaces.Dict(
            door=spaces.Tuple((spaces.MultiBinary(2), spaces.Box(-9, 9, (1, 2), np.float64))),
            room=spaces.Discrete(5, start=1),
        )
        self.action_space = spaces.Discrete(2, start=3)

    def reset(self, *, seed=None, options=None):
        super(Line, self).reset(seed=seed)
        self.t, self.x = 0, float(self.np_random.uniform(-1, 1))
        self.room = int(self.np_random.integers(1, 6))
        return self.obs(), {}

    def obs(self):
        return {
            "door": (np.array([self.room > 2, self.t > 3], np.int8), np.array([[self.x, self.t]])),
            "room": np.int64(self.room),
        }

    def step(self, action):
        assert self.action_space.contains(action), action
        reward = float((action == 4) == (self.room % 2 == 0)) + self.room / 7
        self.t, self.room = self.t + 1, (self.room + int(action)) % 5 + 1
        return self.obs(), reward, False, self.t == self.length, {}


for _name, _entry in {
    "Talkative": Talkative,
    "Mistaken": Mistaken,
    "OnlyOne": OnlyOne,
    "Dies": Dies,
    "Filmed": Filmed,
    "Dice": Dice,
    "Line": Line,
    "Breaks": Breaks,
    "Unbounded": Unbounded,
    "Pictures": Pictures,
    "Parts": Parts,
    "Seedless": Seedless,
    "OldStep": OldStep,
    "Spaceless": Spaceless,
}.items():
    gym.register(f"worlds/{_name}-v0", _entry)  # with Gymnasium's own wrappers, as users have them

for _name, _entry in {
    "Counting": Counting,
    "Recounting": Counting,
    "Factors": Factors,
    "Lottery": Lottery,
    "Once": Once,
    "Spaceless": Spaceless,
    "Rooms": Rooms,
    "WithSpaces": WithSpaces,
}.items():
    gym.register(f"probe/{_name}-v0", _entry, disable_env_checker=True, order_enforce=False)
