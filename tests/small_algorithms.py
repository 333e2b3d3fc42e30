"""Every algorithm with the parts of its built-in configuration, and the SACs with every critic, made small."""

import copy
from collections.abc import Callable
from typing import Any

import yaml
from every_algorithm import CONFIGURATIONS, FIRST, shrunk
from helpers import made_up
from jsonargparse import ArgumentParser

from lightning_maxent import AbstractActions, AbstractAlgorithm, BoxActions, FiniteActions, Rollout
from lightning_maxent.algorithms.feeding import Replay
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS

OBS, BATCH = 3, 8
ACTIONS = {"box": BoxActions(2), "joint": FiniteActions((4,)), "factors": FiniteActions((2, 2))}
CRITICS = sorted(path.stem for path in (BUILT_IN_CONFIGS / "critic").glob("*.yaml"))
ALGORITHMS_AND_CRITICS = [(name, kind, None) for name, kind in FIRST]
ALGORITHMS_AND_CRITICS += [("SAC", "box", critic) for critic in CRITICS]
ALGORITHMS_AND_CRITICS += [("DiscreteSAC", "joint", critic) for critic in ("crossq", "redq", "tqc", "two_hot")]


def laid_over(config: Any, overlay: Any) -> Any:
    if not (isinstance(config, dict) and isinstance(overlay, dict)):
        return overlay
    return config | {key: laid_over(config.get(key), value) for key, value in overlay.items()}


def built(name: str, kind: str, critic: str | None) -> AbstractAlgorithm:
    """An algorithm with the critic of an overlay, with small networks."""
    config = copy.deepcopy(CONFIGURATIONS[name]["model"])
    if critic:
        config = laid_over(config, yaml.safe_load((BUILT_IN_CONFIGS / f"critic/{critic}.yaml").read_text())["model"])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=Callable[[int, AbstractActions], AbstractAlgorithm])
    settings = parser.instantiate_classes(parser.parse_object({"model": shrunk(config)}))
    return settings.model(OBS, ACTIONS[kind])


def batches(algorithm: AbstractAlgorithm, kind: str, count: int) -> list[Any]:
    """The batches of some updates, all of the same shape."""
    actions = ACTIONS[kind]
    if isinstance(algorithm.feeding, Replay):
        return [algorithm.prepare(made_up(OBS, actions, BATCH, seed)) for seed in range(count)]
    data = [made_up(OBS, actions, 2 * BATCH, seed) for seed in range(count)]
    rollouts = [
        Rollout(*(each.unflatten(0, (BATCH, 2)) for each in rows), rows.terminated.view(BATCH, 2)) for rows in data
    ]
    return [algorithm.prepare(rollout) for rollout in rollouts]
