"""Scaling of observations and rewards for the learner; replay buffers hold the unscaled ones."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.wrappers.utils import RunningMeanStd
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.errors import MaxEntError


class AbstractObservationScaling(ABC):
    """Scales observations.  It is built from ``obs_dim``, and its state is saved in checkpoints."""

    learns: ClassVar[bool] = True
    """Whether observations change it; ``update`` is only called if they do."""

    @abstractmethod
    def update(self, obs: Float[Tensor, "env obs_dim"]) -> None:
        """Update the statistics with the observations of one training step (not of evaluation), in all processes."""

    @abstractmethod
    def __call__(self, obs: Float[Tensor, "*batch obs_dim"]) -> Float[Tensor, "*batch obs_dim"]:
        """The scaled observations, on the device of ``obs``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""


class RawObservations(AbstractObservationScaling):
    """Leaves observations unchanged."""

    learns = False

    def __init__(self, obs_dim: int):
        pass

    def update(self, obs: Float[Tensor, "env obs_dim"]) -> None:
        pass

    def __call__(self, obs: Float[Tensor, "*batch obs_dim"]) -> Float[Tensor, "*batch obs_dim"]:
        return obs

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class StandardizedObservations(AbstractObservationScaling):
    """``(obs - mean) / std`` with running mean and standard deviation.  Lee et al. 2024 (SimBa), section 4.1.

    Args:
        obs_dim: size of the flattened observation.
        clip: limit of the result, in standard deviations; infinite in the paper, 10 in many on-policy codes.

    Raises:
        MaxEntError: for a clip that is not positive.
    """

    def __init__(self, obs_dim: int, clip: float = math.inf):
        if not clip > 0:
            raise MaxEntError(f"clip must be a positive number of standard deviations, but is {clip}.")
        self.clip = clip
        self._statistics = RunningMeanStd(shape=(obs_dim,), dtype=np.float64)

    def update(self, obs: Float[Tensor, "env obs_dim"]) -> None:
        self._statistics.update(obs.double().numpy())

    def __call__(self, obs: Float[Tensor, "*batch obs_dim"]) -> Float[Tensor, "*batch obs_dim"]:
        mean, std = self._statistics.mean, np.sqrt(self._statistics.var + 1e-8)
        centered = obs - torch.as_tensor(mean, dtype=obs.dtype, device=obs.device)
        return (centered / torch.as_tensor(std, dtype=obs.dtype, device=obs.device)).clamp(-self.clip, self.clip)

    def state_dict(self) -> dict[str, Any]:
        return _saved(self._statistics) | {"clip": self.clip}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check_same(self, "clip", state, self.clip)
        _restore(self._statistics, state)


class AbstractRewardScaling(ABC):
    """Scales rewards.  It is built from ``num_envs``, and its state is saved in checkpoints.

    If several processes train the model, ``num_envs`` counts the environments of all of them.
    """

    learns: ClassVar[bool] = True
    """Whether rewards change it; ``update`` is only called if they do."""

    @abstractmethod
    def begin(self, discount: float) -> None:
        """Called when training begins, with the discount of the algorithm."""

    @abstractmethod
    def update(self, reward: Float[Tensor, " env"], done: np.ndarray) -> None:
        """Update the statistics with the rewards of one step, in all processes; ``done`` marks the ends of episodes."""

    @abstractmethod
    def restart(self) -> None:
        """Forget the unfinished episodes, because every environment begins a new one."""

    @abstractmethod
    def scale(self) -> float:
        """The factor by which rewards are multiplied."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, without the returns of unfinished episodes."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""


class RawRewards(AbstractRewardScaling):
    """Leaves rewards unchanged."""

    learns = False

    def __init__(self, num_envs: int):
        pass

    def begin(self, discount: float) -> None:
        pass

    def update(self, reward: Float[Tensor, " env"], done: np.ndarray) -> None:
        pass

    def restart(self) -> None:
        pass

    def scale(self) -> float:
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class FixedScaleRewards(AbstractRewardScaling):
    """``scale`` times the rewards.  The policy is the same as for ``1 / scale`` times the temperature.

    Args:
        num_envs: not used; every scaling is built from it.
        scale: positive; the reward scale of Haarnoja et al. 2017 and 2018a.

    Raises:
        MaxEntError: for a scale that is not positive and finite.
    """

    learns = False

    def __init__(self, num_envs: int, scale: float):
        if not 0 < scale < float("inf"):
            raise MaxEntError(f"The scale of rewards must be positive and finite, but is {scale}.")
        self._scale = float(scale)

    def begin(self, discount: float) -> None:
        pass

    def update(self, reward: Float[Tensor, " env"], done: np.ndarray) -> None:
        pass

    def restart(self) -> None:
        pass

    def scale(self) -> float:
        return self._scale

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self._scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check_same(self, "scale", state, self._scale)


class ReturnScaledRewards(AbstractRewardScaling):
    """``r / max(std(G), max|G| / largest)``, so that returns fit the range of a critic.

    ``G_t = r_t + discount G_{t-1}`` within each episode, and ``std(G)`` is the standard deviation of all ``G`` so far.
    As in SimbaV2 (Lee et al. 2025, arXiv 2502.15280) and FlashSAC (arXiv 2604.04539), except that there the last step
    of an episode does not count the steps before it.

    If rewards are rare, ``largest`` limits them.  With ``std(G)`` alone, the first reward after N steps without a
    reward would become ``sqrt(N)``: 10 after 100 steps, 100 after 10,000.

    Args:
        num_envs: number of parallel environments.
        discount: if None, that of the algorithm when training begins, or .99 without an algorithm.
        largest: the largest scaled return; 5 in both papers.

    Raises:
        MaxEntError: for a discount outside [0, 1] or different from that of the algorithm, or if ``largest`` is not
            positive.
    """

    def __init__(self, num_envs: int, discount: float | None = None, largest: float = 5.0):
        if discount is not None and not 0 <= discount <= 1:
            raise MaxEntError(f"The discount of the reward's scale must lie in [0, 1], but is {discount}.")
        if not largest > 0:
            raise MaxEntError(f"The largest return must be positive, but is {largest}.")
        self._given, self.largest = discount, largest
        self.discount = 0.99 if discount is None else discount
        self._returns, self._extreme = np.zeros(num_envs), 0.0
        self._statistics = RunningMeanStd(shape=(), dtype=np.float64)

    def begin(self, discount: float) -> None:
        if self._given not in (None, discount):
            raise MaxEntError(
                f"The discount of ReturnScaledRewards is {self._given:g}, but that of the algorithm is {discount:g}: "
                f"leave out the first, and ReturnScaledRewards uses the second."
            )
        self.discount = discount

    def update(self, reward: Float[Tensor, " env"], done: np.ndarray) -> None:
        self._returns = reward.double().numpy() + self.discount * self._returns
        self._statistics.update(self._returns)
        self._extreme = max(self._extreme, float(np.abs(self._returns).max()))
        self._returns = np.where(done, 0.0, self._returns)

    def restart(self) -> None:
        self._returns = np.zeros_like(self._returns)

    def scale(self) -> float:
        return 1 / max(float(np.sqrt(self._statistics.var + 1e-8)), self._extreme / self.largest)

    def state_dict(self) -> dict[str, Any]:
        running = {"extreme": self._extreme, "largest": self.largest, "returns": torch.from_numpy(self._returns.copy())}
        return _saved(self._statistics) | running

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check_same(self, "largest", state, self.largest)
        _restore(self._statistics, state)
        self._extreme = state["extreme"]
        if len(returns := state.get("returns", ())) == len(self._returns):
            self._returns = returns.numpy().copy()


def _check_same(
    scaling: AbstractObservationScaling | AbstractRewardScaling, name: str, saved: dict[str, Any], own: float
) -> None:
    """Raise ``MaxEntError`` if a setting of the scaling differs from the one in the checkpoint."""
    if (there := saved.get(name, own)) != own:
        raise MaxEntError(
            f"The checkpoint was made with {name} {there:g} of {type(scaling).__name__}, but here it is {own:g}: "
            f"resume with the configuration that made it."
        )


def _saved(statistics: RunningMeanStd) -> dict[str, Any]:
    return {
        "mean": torch.as_tensor(statistics.mean),
        "variance": torch.as_tensor(statistics.var),
        "count": float(statistics.count),
    }


def _restore(statistics: RunningMeanStd, state: dict[str, Any]) -> None:
    statistics.mean, statistics.var = state["mean"].numpy(), state["variance"].numpy()
    statistics.count = state["count"]


ObservationScalingBuilder = Callable[[int], AbstractObservationScaling]
"""Builds a scaling from ``obs_dim``."""

RewardScalingBuilder = Callable[[int], AbstractRewardScaling]
"""Builds a scaling from ``num_envs``."""
