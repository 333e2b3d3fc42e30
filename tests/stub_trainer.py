"""Data without an algorithm: a stand-in for a Trainer that always plays one action, and rounds of a small world."""

import torch

from lightning_maxent import ReplayDataModule


class StubTrainer:
    """Only what the DataModule uses of a Trainer."""

    def __init__(self, data: ReplayDataModule):
        self.lightning_module, self.global_step, self.max_steps, self.acted = self, 0, -1, []
        data.trainer = self

    def act(self, obs: torch.Tensor, deterministic: bool) -> torch.Tensor:
        self.acted.append((len(obs), deterministic))
        return torch.full((len(obs), 2), 0.75)

    def explore(self, obs: torch.Tensor) -> torch.Tensor:
        self.acted.append((len(obs), "explores"))
        return torch.full((len(obs), 2), 0.25)


def started(env_id: str = "probe/Counting-v0", stub: type[StubTrainer] = StubTrainer, **kwargs) -> ReplayDataModule:
    defaults = {"capacity": 64, "batch_size": 4, "learning_starts": 8, "eval_interval": 12, "eval_episodes": 2}
    data = ReplayDataModule(env_id, **(defaults | kwargs))
    stub(data)
    data.setup("fit")
    return data


def rounds(data: ReplayDataModule, count: int) -> list:
    return [data._next_round() for _ in range(count)]
