"""The command line with Lightning's own options, callbacks and loggers: each works as its documentation says, or is refused."""

import os
import shutil
from pathlib import Path

import pytest
from test_cli import SMALL, fit, metrics, refused, saved

from lightning_maxent.cli import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def evaluations(run: Path) -> list[float]:
    return [row["env_steps"] for row in metrics(run) if "eval/return_mean" in row]


def test_a_dry_run_leaves_nothing(capsys):
    fit("--trainer.fast_dev_run=30")
    assert os.listdir() == []
    assert "A dry run" in capsys.readouterr().out


def test_a_dry_run_from_a_checkpoint_leaves_the_run_as_it_was():
    run = fit(steps=60)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    fit("--ckpt_path=last", "--trainer.fast_dev_run=true")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_last_run_is_the_newest_folder_that_holds_a_configuration(capsys):
    run = fit(steps=60)
    shutil.copytree(run, run.with_name("no_run"))
    (run.with_name("no_run") / "config.yaml").unlink()
    os.utime(run.with_name("no_run") / "checkpoints" / "last.ckpt")
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80"])
    assert metrics(run)[-1]["env_steps"] == 80
    shutil.rmtree(run)
    assert "There is no checkpoint" in refused(capsys, "fit", "--config=sac/pendulum", *SMALL, "--ckpt_path=last")


@pytest.mark.parametrize(("end", "evaluated"), [(120, [80, 120]), (130, [80, 130]), (160, [80, 160])])
def test_a_run_that_skips_evaluations_still_ends_with_one_at_its_last_step(end, evaluated):
    run = fit("--trainer.check_val_every_n_epoch=2", steps=end)
    assert evaluations(run) == evaluated
    fit("--ckpt_path=last", "--trainer.check_val_every_n_epoch=2", steps=240)
    assert evaluations(run) == sorted({*evaluated, 160, 240})


def test_a_checkpoint_is_due_also_at_the_end_of_an_epoch_that_is_not_evaluated(monkeypatch):
    run = fit("--trainer.check_val_every_n_epoch=2", "--checkpoint.every_n_steps=40", steps=40)
    assert saved(run)["global_step"] == 40


def test_epochs_are_evaluation_intervals_also_where_a_run_goes_on():
    run = fit("--trainer.max_epochs=2", steps=1000)
    fit("--ckpt_path=last", "--trainer.max_epochs=3", steps=1000)
    assert evaluations(run) == [40, 80, 120]


def test_a_sanity_check_does_not_count_as_the_evaluation_that_a_run_owes():
    run = fit("--trainer.num_sanity_val_steps=1")
    assert evaluations(run) == [40, 80, 100]
