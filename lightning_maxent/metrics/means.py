"""Means of metrics since they were last read."""

import torch
from torch import Tensor

from lightning_maxent.distributed import gathered


class MetricMeans:
    """Means over updates.  Sums stay on the device until they are read, so that updates do not wait for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    @torch.no_grad()
    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add one number for each name."""
        for name, metric in metrics.items():
            if name in self._sums:
                self._sums[name] += metric
            else:
                self._sums[name] = metric.detach().float().clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def drain(self) -> dict[str, float]:
        """The mean of each name over the numbers added since the last call, in all processes."""
        of_all = gathered({name: (float(total), self._counts[name]) for name, total in self._sums.items()})
        self._sums.clear()
        self._counts.clear()
        found = {name: [each[name] for each in of_all if name in each] for each in of_all for name in each}
        return {name: sum(total for total, _ in of) / sum(count for _, count in of) for name, of in found.items()}


class EpisodeMeans:
    """Means over the episodes of one evaluation, and the standard deviation of their returns."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add the metrics of one episode."""
        for name, metric in metrics.items():
            self._values.setdefault(name, []).append(metric.cpu())

    def drain(self) -> dict[str, Tensor]:
        """``<name>_mean`` of each name since the last call, and ``return_std``, over the episodes of all processes."""
        of_all = gathered(self._values)
        self._values = {}
        values = {name: torch.stack([value for each in of_all for value in each[name]]) for name in of_all[0]}
        means = {f"{name}_mean": metrics.mean() for name, metrics in values.items()}
        if "return" in values:
            means["return_std"] = values["return"].std(correction=0)
        return means
