"""Observations and rewards as the learner sees them; buffers hold the environment's own."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.wrappers.utils import RunningMeanStd
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.errors import MaxEntError


class AbstractObservationScaling(ABC):
    """Built from ``obs_dim``; its state is saved in checkpoints."""

    @abstractmethod
    def update(self, obs: Float[Tensor, "env obs_dim"]) -> None:
        """Take in observations on which actions to learn from were chosen."""

    @abstractmethod
    def __call__(self, obs: Float[Tensor, "*batch obs_dim"]) -> Float[Tensor, "*batch obs_dim"]:
        """What the learner sees, on the device of ``obs``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


class RawObservations(AbstractObservationScaling):
    """As they are."""

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
    """Less their running mean, over their running standard deviation.  Lee et al. 2024 (SimBa), section 4.1.

    Args:
        obs_dim: size of the flattened observation.
        clip: what is shown lies within so many deviations; infinite in the paper, 10 in many codes on policy.

    Raises:
        MaxEntError: for a clip that is not positive.
    """

    def __init__(self, obs_dim: int, clip: float = math.inf):
        if not clip > 0:
            raise MaxEntError(f"Observations must be clipped at a positive number of deviations, but clip is {clip}.")
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
    """Built from ``num_envs``; its state is saved in checkpoints."""

    @abstractmethod
    def begin(self, discount: float) -> None:
        """Training begins, with an algorithm of this discount."""

    @abstractmethod
    def update(self, reward: Float[Tensor, " env"], done: np.ndarray) -> None:
        """Take in the rewards of one step, and which episodes ended with it."""

    @abstractmethod
    def restart(self) -> None:
        """Forget episodes under way, where there is anything to forget: every environment begins a new one."""

    @abstractmethod
    def scale(self) -> float:
        """What rewards are multiplied by."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs, besides the returns of episodes under way."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


class RawRewards(AbstractRewardScaling):
    """As they are."""

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
    """``scale`` times what they are; ``1 / scale`` times the temperature does the same to the policy.

    Args:
        num_envs: not used; every scaling is built alike.
        scale: positive; the reward scale of Haarnoja et al. 2017 and 2018a.

    Raises:
        MaxEntError: for a scale that is not positive and finite.
    """

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
    """Over the spread of returns, so that these fit a critic's range: ``r / max(std(G), max|G| / largest)``.

    ``G_t = r_t + discount G_{t-1}`` within each episode; its variance is that of all ``G`` so far.  As in SimbaV2 (Lee
    et al. 2025, arXiv 2502.15280) and FlashSAC (arXiv 2604.04539), where however the last step of an episode forgets
    those before it.

    Where rewards are rare, ``largest`` is what bounds them: the deviation alone shows the first reward after N steps
    without any as ``sqrt(N)``, which is 10 after 100 steps and 100 after 10,000.

    Args:
        num_envs: environments side by side.
        discount: that of the algorithm, which is taken when training begins if None; .99 where there is no algorithm.
        largest: the largest return that the learner is to see; 5 in both papers.

    Raises:
        MaxEntError: for a discount outside [0, 1] or another one than the algorithm's, or unless ``largest`` is positive.
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
                f"The discount of ReturnScaledRewards is {self._given:g}, but that of the algorithm is {discount:g}: leave out "
                f"the former, and the scale takes that of the algorithm."
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
        return _saved(self._statistics) | {"extreme": self._extreme, "largest": self.largest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check_same(self, "largest", state, self.largest)
        _restore(self._statistics, state)
        self._extreme = state["extreme"]


def _check_same(
    scaling: AbstractObservationScaling | AbstractRewardScaling, name: str, saved: dict[str, Any], own: float
) -> None:
    """Raise ``MaxEntError`` if a number of a scaling that networks have learned with is another one now."""
    if (there := saved.get(name, own)) != own:
        raise MaxEntError(
            f"The checkpoint was made with {name} {there:g} of {type(scaling).__name__}, but it is {own:g} here: resume with "
            f"the configuration that made it."
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
