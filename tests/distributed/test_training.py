"""Runs of two processes: equal models, own data, joint clocks, one folder."""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from cli_helpers import SMALL, metrics, refused
from helpers import made_up, same, snapshot
from ranks import in_processes
from torch import Tensor

from lightning_maxent import (
    AbstractAlgorithm,
    FiniteActions,
    GradientAveragingStrategy,
    Optimizers,
    Round,
    SoftQLearning,
    TwinHeadsCritic,
)
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import run
from lightning_maxent.data.data_module import RoundStream
from lightning_maxent.distributed import own_buffers
from lightning_maxent.execution import Metrics
from lightning_maxent.metrics.means import EpisodeMeans, MetricMeans

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
TWO = [*SMALL, "--data.learning_starts=40", "--trainer.devices=2", "--trainer.max_steps=80", "--name=a"]
ROLLOUTS = [
    *(each for each in TWO if not any(word in each for word in ("capacity", "batch_size", "starts", "critic"))),
    "--data.steps_per_round=20",
    "--data.num_envs=2",
]
SCALINGS = [
    "--data.observation_scaling=lightning_maxent.StandardizedObservations",
    "--data.reward_scaling=lightning_maxent.ReturnScaledRewards",
]


class Trained(NamedTuple):
    """What a process has at the end of a run, and a digest after every update of what must be equal."""

    digests: list[str]
    own: dict[str, Tensor]
    scalings: list[dict[str, Any]]
    env_steps: int
    seeds: list[int]
    actions: Tensor | None
    metrics: dict[str, float]


def digest(state: dict[str, Tensor]) -> str:
    together = hashlib.sha256()
    for name, tensor in state.items():
        together.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return together.hexdigest()


def trained(args: list[str], rank: int) -> Trained:
    update, digests = AbstractAlgorithm.update, []

    def watched(self, batch, optimizers):
        update(self, batch, optimizers)
        own = own_buffers(self)
        digests.append(digest({name: each for name, each in self.state_dict().items() if name not in own}))

    AbstractAlgorithm.update = watched
    cli = run(resolve_arguments(["fit", *args]))
    data = cli.datamodule
    return Trained(
        digests,
        own_buffers(cli.model),
        [scaling.state_dict() for scaling in data._scalings.values()],
        data.env_steps,
        [torch.initial_seed(), data._seed("train"), data._seed("mode")],
        data.buffer.storage[:]["action"] if hasattr(data, "buffer") else None,
        {name: float(each) for name, each in cli.trainer.callback_metrics.items() if not name.startswith("speed/")},
    )


def test_sac_with_batch_normalization_and_scalings_has_equal_models_and_own_data():
    left, right = in_processes(2, partial(trained, ["sac/pendulum", "critic/crossq", *TWO, *SCALINGS]))
    assert len(left.digests) == 20
    assert left.digests == right.digests
    same(left.scalings, right.scalings)
    assert left.scalings[0]["count"] == pytest.approx(80, abs=1e-3)  # the observations of both
    assert left.env_steps == right.env_steps == 80
    assert not set(left.seeds) & set(right.seeds)
    assert left.actions.shape == right.actions.shape == (40, 2)
    assert not torch.isin(left.actions, right.actions).any()
    assert left.metrics == right.metrics
    run_folder = Path("runs/sac/probe-Counting-v0/a")
    assert [path.parent for path in Path("runs").rglob("config.yaml")] == [run_folder]
    rows = metrics(run_folder)
    assert [row["env_steps"] for row in rows] == [20, 40, 60, 80]
    assert rows[-1]["gradient_steps"] == 20
    assert rows[-1]["gradient_steps_per_env_step"] == 0.25
    assert (
        "2 processes; together 2 environments, 2 environment steps per round, 32 transitions per update, 2 episo"
        in (Path("rank-0.log").read_text())
    )
    assert "together" not in Path("rank-1.log").read_text()


@pytest.mark.parametrize(("algorithm", "updates"), [("ppo", 4), ("reinforce", 2)])
def test_algorithms_on_policy_have_equal_models(algorithm, updates):
    more = ["--model.epochs=1", "--model.minibatches=2"] if algorithm == "ppo" else []
    left, right = in_processes(2, partial(trained, [f"{algorithm}/pendulum", *ROLLOUTS, *more, *SCALINGS]))
    assert left.digests == right.digests
    assert len(left.digests) == updates
    same(left.scalings, right.scalings)
    assert left.metrics == right.metrics
    assert left.seeds != right.seeds


def shorter_episodes(rank: int) -> Trained:
    """In process 1 no episode ends within a round."""
    world = [f"--data.env_kwargs={{length: {5 if rank == 0 else 500}}}", "--trainer.limit_val_batches=0"]
    return trained(["reinforce/pendulum", *ROLLOUTS, *world], rank)


def test_reinforce_takes_no_update_unless_an_episode_has_ended_in_every_process():
    left, right = in_processes(2, shorter_episodes)
    assert left.digests == right.digests == []


# ---- gradients ------------------------------------------------------------------------------------------------------

OBS_DIM, ACTIONS = 3, FiniteActions((4,))


def learner(max_grad_norm: float | None, seed: int) -> AbstractAlgorithm:
    torch.manual_seed(seed)
    optimizers = Optimizers(default=partial(torch.optim.SGD, lr=0.1), max_grad_norm=max_grad_norm)
    return SoftQLearning(OBS_DIM, ACTIONS, TwinHeadsCritic, optimizers=optimizers)


def weights_after(batches: Callable[[int], Any], options: dict, norm: float | None, rank: int) -> dict[str, Tensor]:
    """The weights after three updates with fixed batches; every process begins with other weights."""
    model = learner(norm, rank)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, limit_val_batches=0, **quiet, **options)
    rounds = iter([Round(batches(number), number + 1) for number in range(3)])
    nothing = RoundStream(lambda: None, 1)  # without it Lightning warns
    trainer.fit(model, RoundStream(rounds.__next__, 3), nothing)
    return snapshot(model)


def halves(number: int) -> list:
    whole = made_up(OBS_DIM, ACTIONS, 32, seed=number)
    return [type(whole)(*(field[None, part] for field in whole)) for part in (slice(16), slice(16, 32), slice(32))]


def half(number: int) -> Any:
    return halves(number)[int(os.environ["RANK"])]


def whole(number: int) -> Any:
    return halves(number)[2]


@pytest.mark.parametrize("norm", [None, 0.05])
def test_two_processes_learn_as_one_with_twice_the_batch(norm):
    two = {"devices": 2, "strategy": GradientAveragingStrategy()}
    left, right = in_processes(2, partial(weights_after, half, two, norm))
    same(left, right)
    one = weights_after(whole, {"devices": 1}, norm, 0)
    start = learner(norm, 0).state_dict()
    assert max(float((one[name] - start[name]).abs().max()) for name in one) > 1e-3
    for name, weight in one.items():
        assert torch.allclose(left[name], weight, atol=1e-6), name


def means(rank: int) -> tuple[dict, dict]:
    episodes, losses = EpisodeMeans(), MetricMeans()
    for value in (1.0, 2.0) if rank == 0 else (3.0, 6.0):
        episodes.add({"return": torch.tensor(value)})
    for value in (1.0, 2.0, 3.0) if rank == 0 else (6.0,):
        losses.add(Metrics(("loss",), torch.tensor([value])))
    return episodes.drain(), losses.drain()


def means_of_one(rank: int) -> dict:
    episodes = EpisodeMeans()
    episodes.add({"return": torch.tensor(1.0)} | ({"bias": torch.tensor(4.0)} if rank == 1 else {}))
    return episodes.drain()


def test_a_metric_of_some_episodes_of_one_process_is_kept():
    for means_of_all in in_processes(2, partial(in_a_group, means_of_one)):
        assert means_of_all["bias_mean"] == 4.0


def in_a_group(work: Callable[[int], Any], rank: int) -> Any:
    torch.distributed.init_process_group("gloo")
    return work(rank)


def test_metrics_are_means_over_the_episodes_and_updates_of_all_processes():
    for episodes, losses in in_processes(2, partial(in_a_group, means)):
        assert losses == {"loss": 3.0}
        assert episodes["return_mean"] == 3.0
        assert float(episodes["return_std"]) == pytest.approx((14 / 4) ** 0.5)


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "--data.eval_interval=41",
            "eval_interval 41 counts the environment steps of all processes, so it must be a multiple of steps_per_round "
            "1 times 2 processes: set --data.eval_interval 40.",
        ),
        (
            "--data.learning_starts=20",
            "learning_starts 20 is shorter than a batch of 16 of each of 2 processes, whose environment steps it counts: "
            "set it to 32 or more.",
        ),
        ("--trainer.strategy=ddp", "several devices: leave out trainer.strategy"),
    ],
)
def test_what_two_processes_cannot_do_is_refused_before_a_second_one_starts(capsys, option, sentence):
    assert sentence in refused(capsys, "fit", "--config=sac/pendulum", *TWO, option)
    assert os.listdir() == []


def test_torchrun_and_the_run_need_the_same_number_of_processes(capsys, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    error = refused(capsys, "fit", "--config=sac/pendulum", *TWO, "--trainer.devices=1")
    assert "torchrun started 2 processes, but trainer.devices times trainer.num_nodes is 1" in error
    assert os.listdir() == []
