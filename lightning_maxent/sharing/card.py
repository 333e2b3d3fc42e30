"""The card of a shared policy: a README with its results and its command, and with metadata for the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from lightning_maxent.errors import MaxEntError

CARD = "README.md"
KINDS = {True: "deterministic actions", False: "sampled actions"}

TEXT = """# {algorithm} on {env_id}

A policy after {env_steps:,} environment steps of training with `lightning_maxent`.

| return | mean ± standard deviation | lowest | highest |
|---|---|---|---|
{rows}

Each row is over {episodes} episodes with the seeds {first_seed} to {last_seed}, which played no part in training.  There
is one run, with the seed {seed}.  So the table says what this policy does, not what {algorithm} reaches with other seeds.

## Play

```bash
lightning-maxent play --policy {address}
```

```python
from lightning_maxent import load_policy

policy = load_policy("{address}")
action = policy(policy.make_env().reset(seed=0)[0], deterministic=True)
```

Loading imports the classes that `config.yaml` names, so only load a policy that you trust.

## Train

```bash
{command}
```

{made_with}.  `config.yaml` holds all settings of the algorithm and the data, `checkpoints/best.ckpt` the weights
and the scaling of observations.  Training cannot resume from it, because it has no optimizers and no replay buffer, but
the callback `WarmStart` can start a new run from it.
"""


class Results(NamedTuple):
    """Returns of episodes of a policy, one for each seed from ``first_seed`` on."""

    deterministic: list[float]
    sampled: list[float]
    first_seed: int


class Training(NamedTuple):
    """What made a policy."""

    algorithm: str
    env_id: str
    env_steps: int
    """Of the checkpoint."""
    seed: int
    command: str
    version: str
    """Of lightning_maxent."""
    commit: str | None


def card(training: Training, results: Results, address: str) -> str:
    """The text of the card; ``address`` is what ``load_policy`` takes."""
    returns = {True: results.deterministic, False: results.sampled}
    metrics = [
        {
            "type": "mean_reward",
            "name": f"return of {KINDS[kind]}",
            "value": round(float(np.mean(each)), 3),
            "args": {
                "std": round(float(np.std(each)), 3),
                "first_seed": results.first_seed,
                "returns": [round(value, 3) for value in each],
            },
        }
        for kind, each in returns.items()
    ]
    task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    header = {
        "library_name": "lightning-maxent",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "maximum-entropy", training.algorithm, training.env_id],
        "model-index": [
            {
                "name": training.algorithm,
                "results": [
                    {
                        "task": task,
                        "dataset": {"name": training.env_id, "type": training.env_id},
                        "metrics": metrics,
                    }
                ],
            }
        ],
        "lightning_maxent": training._asdict(),
    }
    rows = "\n".join(
        f"| {KINDS[kind]} | {mean_and_deviation(each)} | {rounded(min(each), 5)} | {rounded(max(each), 5)} |"
        for kind, each in returns.items()
    )
    text = TEXT.format(
        **training._asdict(),
        rows=rows,
        episodes=len(results.deterministic),
        first_seed=results.first_seed,
        last_seed=results.first_seed + len(results.deterministic) - 1,
        address=address,
        made_with=f"The package had the version {training.version}"
        + (f", commit {training.commit}" if training.commit else ""),
    )
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def mean_and_deviation(returns: Sequence[float]) -> str:
    """The mean of returns with five significant digits, and their standard deviation with three."""
    return f"{rounded(np.mean(returns), 5)} ± {rounded(np.std(returns), 3)}"


def rounded(value: float | np.floating, digits: int) -> str:
    """A number with so many significant digits, with commas; a large one has no exponent."""
    return f"{float(f'{value:.{digits}g}'):,.15g}"


def read_card(folder: Path) -> tuple[Training, Results]:
    """What the card of a shared policy says.

    Raises:
        MaxEntError: if there is no card, or it has not the metadata of ``card``.
    """
    try:
        header: dict[str, Any] = yaml.safe_load((folder / CARD).read_text().split("---\n")[1])
        (of_model,) = header["model-index"]
        (result,) = of_model["results"]
        deterministic, sampled = (each["args"] for each in result["metrics"])
        found = Results(deterministic["returns"], sampled["returns"], deterministic["first_seed"])
        return Training(**header["lightning_maxent"]), found
    except (OSError, IndexError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise MaxEntError(
            f"{folder} is not the folder of a shared policy: its {CARD} lacks what lightning-maxent share writes "
            f"({type(error).__name__}); write it again with lightning-maxent share."
        ) from error
