"""Averages of the weights by Lightning's callbacks: which weights are evaluated, saved and trained."""

import pickle
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from cli_helpers import saved
from every_algorithm import write
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from torch.testing import assert_close

from lightning_maxent import BoxActions, MaxEntError, ReplayDataModule, SquashedGaussian, TwinCritic, ValueSAC
from lightning_maxent.algorithms.checks import check_averaging
from lightning_maxent.callbacks.checkpoint import BestCheckpoint, StepCheckpoint
from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import main, run

DECAY = 0.6


def weights(module: pl.LightningModule) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


class Watch(pl.Callback):
    """Records the weights after every round and in every evaluation; it can raise an error in one evaluation."""

    def __init__(self, breaks: int = -1):
        self.learned, self.played, self.breaks = [], {}, breaks

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.learned.append(weights(pl_module))

    def on_validation_batch_end(self, trainer, pl_module, *args):
        self.played[trainer.global_step] = weights(pl_module)
        if trainer.global_step == self.breaks:
            raise RuntimeError("the evaluation broke")


def watched(quiet_trainer, tmp_path, breaks=-1):
    torch.manual_seed(0)
    data = ReplayDataModule(
        "probe/Once-v0",
        num_envs=2,
        steps_per_round=2,
        learning_starts=8,
        batch_size=8,
        eval_interval=20,
        eval_episodes=2,
    )
    algorithm, watch = ValueSAC(2, BoxActions(2), critic=TwinCritic, policy=SquashedGaussian), Watch(breaks)
    average, step, best = EMAWeightAveraging(decay=DECAY), StepCheckpoint(every_n_steps=1_000), BestCheckpoint()
    step.dirpath = best.dirpath = str(tmp_path)
    trainer = quiet_trainer(max_steps=60, callbacks=[average, watch, step, best], enable_checkpointing=True)
    trainer.fit(algorithm, data)
    return watch


def averages(learned):
    """``w_0``, then ``d m + (1 - d) w`` after every round."""
    mean = learned[0]
    yield mean
    for each in learned[1:]:
        mean = {name: DECAY * mean[name] + (1 - DECAY) * each[name] for name in mean}
        yield mean


def parameters_of(state, like):
    return {name: state[name] for name in like}


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_evaluations_and_best_ckpt_use_averaged_weights_and_training_uses_its_own(quiet_trainer, tmp_path):
    watch = watched(quiet_trainer, tmp_path)
    mean = list(averages(watch.learned))
    assert watch.played.keys() == {20, 40, 60}
    for steps, played in watch.played.items():
        assert_close(played, mean[steps // 2 - 1])
    best = read_checkpoint(tmp_path / "best.ckpt")
    assert_close(parameters_of(best["state_dict"], mean[0]), watch.played[best["global_step"]], rtol=0, atol=0)
    last = read_checkpoint(tmp_path / "last.ckpt")
    assert_close(parameters_of(last["state_dict"], mean[0]), mean[-1])
    assert_close(parameters_of(last["current_model_state"], mean[0]), watch.learned[-1], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_failed_evaluation_restores_averaged_and_trained_weights(quiet_trainer, tmp_path):
    with pytest.raises(RuntimeError, match="the evaluation broke"):
        watched(quiet_trainer, tmp_path, breaks=40)
    watch = watched(quiet_trainer, tmp_path / "whole")
    last = read_checkpoint(tmp_path / "last.ckpt")
    assert last["global_step"] == 40
    assert_close(parameters_of(last["current_model_state"], watch.learned[0]), watch.learned[19], rtol=0, atol=0)
    assert_close(parameters_of(last["state_dict"], watch.learned[0]), watch.played[40], rtol=0, atol=0)


def fit(config: str, callback: str, name: str, steps: int, *more: str):
    arguments = [f"--config={config}", f"--name={name}", f"--trainer.max_steps={steps}", *more]
    arguments += [f"--trainer.callbacks={callback}", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    return run(resolve_arguments(["fit", *arguments]))


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(
    ("algorithm", "kind", "callback"),
    [
        ("SAC", "box", "EMAWeightAveraging"),
        ("DQN", "joint", "WeightAveraging"),
        ("PPO", "box", "EMAWeightAveraging"),
    ],
)
def test_a_resumed_run_with_averaged_weights_equals_an_uninterrupted_one(algorithm, kind, callback):
    config = write(algorithm, kind)
    whole = saved(fit(config, callback, "whole", 80).run_dir)
    fit(config, callback, "cut", 40)
    cut = saved(fit(config, callback, "cut", 80, "--ckpt_path=last").run_dir)
    for states in ("state_dict", "current_model_state", "averaging_state"):
        assert_close(cut[states], whole[states], rtol=0, atol=0)
    assert any(
        not torch.equal(whole["state_dict"][each], state) for each, state in whole["current_model_state"].items()
    )


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_model_that_the_command_line_built_is_pickled_without_the_command_line():
    model = fit(write("SAC", "box"), "EMAWeightAveraging", "run", 40).model
    pickled = pickle.dumps(model)
    assert b"MaxEntCLI" not in pickled
    again = pickle.loads(pickled)
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    lrs = [[each.param_groups[0]["lr"] for each in one.configure_optimizers()] for one in (again, model)]
    assert lrs[0] == lrs[1]


@pytest.mark.parametrize(
    ("callbacks", "sentence"),
    [
        (
            [StochasticWeightAveraging(0.01)],
            r"^StochasticWeightAveraging .*: use WeightAveraging or EMAWeightAveraging",
        ),
        ([WeightAveraging(), EMAWeightAveraging()], r"^Only one average of the weights .*: give one callback"),
        (
            [EMAWeightAveraging(update_every_n_steps=10)],
            r"once in a round of 8 environment steps: leave .* at 1, not 10",
        ),
    ],
)
def test_unsupported_weight_averaging_is_refused(callbacks, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        check_averaging(callbacks, 8)
    check_averaging([EMAWeightAveraging(update_every_n_steps=10)], 1)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_run_with_refused_weight_averaging_leaves_no_folder(tmp_path, capsys):
    config = write("DQN", "joint")
    callback = {"class_path": "StochasticWeightAveraging", "init_args": {"swa_lrs": 0.01, "device": "cpu"}}
    Path("callback.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback], "logger": False}}))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit):
        main(["fit", f"--config={config}", "--config=callback.yaml"])
    assert "error: StochasticWeightAveraging sets learning rates" in capsys.readouterr().err
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
