"""PyTorch's random states in a checkpoint."""

from typing import Any

import torch
from torch import Tensor


class RandomStates:
    """The random states of the CPU and of every GPU in use, so that a resumed run draws new numbers.

    A run that resumes with the seed of its checkpoint continues the sequence of draws where the checkpoint left it.  With
    another seed it starts that seed's sequence.
    """

    def __init__(self) -> None:
        self._loaded: list[Tensor] = []
        self._seed: int | None = None  # of the loaded states
        self._held: list[Tensor] = []

    @property
    def held(self) -> bool:
        """Whether ``hold`` was called, and ``release`` not yet."""
        return bool(self._held)

    def hold(self) -> None:
        """Save the states of this moment in every checkpoint until ``release``: an evaluation will be played again."""
        self._held = _random_states()

    def release(self) -> None:
        """Save current states again."""
        self._held = []

    def state_dict(self) -> dict[str, Any]:
        return {"random_states": self._held or _random_states(), "seed": torch.initial_seed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded, self._seed = state_dict.get("random_states", []), state_dict.get("seed")

    def restore(self) -> None:
        """Set the loaded states, once, if the seed is that of the checkpoint."""
        if self._loaded and self._seed == torch.initial_seed():
            cpu, *gpus = self._loaded
            torch.set_rng_state(cpu)
            for index, gpu in enumerate(gpus[: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(gpu, index)
        self._loaded = []


def _random_states() -> list[Tensor]:
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpus]
