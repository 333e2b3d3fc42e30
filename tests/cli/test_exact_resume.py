"""A run that resumes in the middle of an episode ends as one that was never stopped."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
from cli_helpers import fit as fit_small
from cli_helpers import metrics, saved, without_speed
from helpers import same

from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.cli.command import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
PENDULUM = ["--data.env_id=Pendulum-v1", "--data.env_kwargs={max_episode_steps: 17}"]


class StopsAt(pl.Callback):
    """Stops a run after a round, as Ctrl-C does."""

    def __init__(self, env_steps: int):
        self.env_steps = env_steps

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.env_steps:
            raise KeyboardInterrupt


def fit(*options: str, steps: int) -> Path:
    fit_small(*PENDULUM, *options, steps=steps)
    (run,) = Path("runs").glob("*/*/a")
    return run


@pytest.mark.parametrize(
    "options",
    [
        ["--data.num_envs=2", "--data.steps_per_round=2"],
        [
            "--data.num_envs=2",
            "--data.steps_per_round=2",
            "--data.vectorization=lightning_maxent.WorkerProcesses",
        ],
        ["--data.reward_scaling=lightning_maxent.data.scaling.ReturnScaledRewards"],
        ["--data.train_wrappers+=gymnasium.wrappers.NormalizeReward"],
        ["--data.capacity=32", "--data.sampler=torchrl.data.replay_buffers.SamplerWithoutReplacement"],
    ],
    ids=["copies", "workers", "scaled rewards", "wrapper", "buffer that wrapped"],
)
def test_a_run_that_was_stopped_between_two_rows_writes_the_same_rows_and_weights(options):
    """The row at 60 steps covers the updates since the row at 40, those before the stop at 50 too."""
    whole = fit(*options, steps=80).rename("whole")
    with pytest.raises(SystemExit):
        fit(*options, f"--trainer.callbacks+={__name__}.StopsAt", "--trainer.callbacks.env_steps=50", steps=80)
    (run,) = Path("runs").glob("*/*/a")
    assert saved(run)["global_step"] == 50
    main(["fit", "--ckpt_path=last", "--trainer.callbacks=null"])
    assert without_speed(metrics(run)) == without_speed(metrics(whole))
    left, right = saved(whole), saved(run)
    for key in ("state_dict", "optimizer_states", "ReplayDataModule"):
        same(left[key], right[key], key)


def test_a_run_with_another_number_of_copies_begins_new_episodes_and_says_so(caplog):
    run = fit("--data.num_envs=2", "--data.steps_per_round=2", steps=50)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=60", "--data.num_envs=1"])
    assert saved(run)["global_step"] == 60
    said = "The environments begin new episodes, because the checkpoint was made with another number of them."
    assert caplog.text.count(said) == 1


def test_a_world_that_cannot_be_saved_says_so_once_and_resumes_with_new_episodes(caplog):
    options = ["--data.env_id=LunarLanderContinuous-v3", "--data.env_kwargs={max_episode_steps: 30}"]
    fit(*options, steps=70)
    assert caplog.text.count("LunarLanderContinuous-v3 cannot be saved, because LunarLander has no methods") == 1
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80"])
    (run,) = Path("runs").glob("*/*/a")
    assert saved(run)["global_step"] == 80
    assert caplog.text.count("The environments begin new episodes, because LunarLander has no methods") == 1


def test_the_best_checkpoint_holds_no_environments():
    run = fit(steps=40)
    assert "episodes" in saved(run)["ReplayDataModule"]
    assert "episodes" not in read_checkpoint(run / "checkpoints" / "best.ckpt")["ReplayDataModule"]
