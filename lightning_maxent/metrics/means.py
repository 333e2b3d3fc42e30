"""Means of metrics since they were last read."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from lightning_maxent.distributed import gathered
from lightning_maxent.execution import Metrics


class MetricMeans:
    """Means over updates.  Sums stay on the device until they are read, so that updates do not wait for the device."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, metrics: Metrics) -> None:
        """Add the numbers of one update."""
        names, values = metrics
        if names in self._sums:
            self._sums[names] += values
        else:
            self._sums[names] = values.clone()
        self._counts[names] = self._counts.get(names, 0) + 1

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"sums": {names: sums.clone() for names, sums in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with saved sums."""
        self._sums = {names: sums.to(device) for names, sums in state["sums"].items()}
        self._counts = dict(state["counts"])

    def drain(self) -> dict[str, float]:
        """The mean of each name over the numbers added since the last call, in all processes."""
        totals, counts = Counter[str](), Counter[str]()
        for of_process in gathered([(names, sums.tolist(), self._counts[names]) for names, sums in self._sums.items()]):
            for names, sums, count in of_process:
                totals.update(dict(zip(names, sums)))
                counts.update(dict.fromkeys(names, count))
        self._sums.clear()
        self._counts.clear()
        return {name: total / counts[name] for name, total in totals.items()}


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
        names = dict.fromkeys(name for each in of_all for name in each)
        values = {name: torch.stack([value for each in of_all for value in each.get(name, [])]) for name in names}
        means = {f"{name}_mean": metrics.mean() for name, metrics in values.items()}
        if "return" in values:
            means["return_std"] = values["return"].std(correction=0)
        return means
