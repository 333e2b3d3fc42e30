"""Every column of ``metrics.csv`` can be monitored, as Lightning's documentation says of logged metrics."""

import warnings
from pathlib import Path

import pytest
import yaml
from cli_helpers import SMALL, fit, metrics, refused

from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import run

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
MODES = {"min": min, "max": max}


def early_stopping(**arguments) -> dict:
    return {"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": arguments}


def model_checkpoint(**arguments) -> dict:
    return {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": arguments}


def overlay(*callbacks: dict) -> str:
    Path("overlay.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": list(callbacks)}}))
    return "--config=overlay.yaml"


def fitted(*args: str, name: str = "b", steps: int = 120):
    given = ["fit", "--config=value_sac/pendulum", *SMALL, f"--name={name}", f"--trainer.max_steps={steps}", *args]
    return run(resolve_arguments(given))


def test_every_column_can_be_monitored_from_its_first_value_on_and_each_value_counts_once():
    """Rows are 60 steps apart, evaluations 40: callbacks see the row of 60 at 80, and there is no new row at 160."""
    rare = ["--training_log.every_n_steps=60", "--model.temperature=lightning_maxent.temperature.LearnedTemperature"]
    columns = metrics(fit(*rare, steps=240))[-1].keys() - {"env_steps"}
    assert {"loss/critic", "entropy", "train/return_mean", "eval/q_bias_mean", "speed/updates_per_s"} <= columns
    callbacks = [
        callback
        for number, column in enumerate(sorted(columns))
        for callback in (
            early_stopping(monitor=column, mode=("min", "max")[number % 2], patience=100),
            model_checkpoint(
                monitor=column, mode=("max", "min")[number % 2], filename=str(number), save_weights_only=True
            ),
        )
    ]
    cli = fitted(*rare, overlay(*callbacks), steps=240)
    rows = {row["env_steps"]: row for row in metrics(cli.run_dir)}
    checked = [60, 120, 180, 240]  # at 80, 120, 200, 240
    seen = 0
    for callback in cli.trainer.callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor is None or type(callback).__name__ == "BestCheckpoint":
            continue
        steps = [step for step, row in rows.items() if monitor in row]
        values = [rows[step][monitor] for step in (steps if monitor.startswith("eval/") else checked) if step in steps]
        best = pytest.approx(MODES[callback.mode](values), rel=1e-5)
        if hasattr(callback, "best_score"):
            assert callback.best_score.item() == best, monitor
            assert callback.strict
        else:
            assert callback.best_model_score.item() == best, monitor
            assert callback.save_top_k == 1
            assert Path(callback.best_model_path).is_file()
        seen += 1
    assert seen == 2 * len(columns)


@pytest.mark.parametrize(
    ("monitor", "mode", "stop"),
    [
        ("gradient_steps", "min", 120),  # 20 at the first check, and more at the two after it
        ("gradient_steps", "max", 160),  # never worse
        ("train/return_mean", "max", 120),  # 15 for ever
        ("temperature", "min", 120),
        ("loss/critic", "min", None),
    ],
)
def test_a_run_stops_where_the_column_has_not_improved_for_so_many_checks(monitor, mode, stop):
    cli = fitted(overlay(early_stopping(monitor=monitor, mode=mode, patience=2)), steps=160)
    rows = {row["env_steps"]: row for row in metrics(cli.run_dir)}
    if stop is None:
        values = [rows[step].get(monitor) for step in sorted(rows) if step % 40 == 0]
        stop, best, worse = 160, float("inf"), 0
        for step, value in zip((40, 80, 120, 160), values, strict=False):
            best, worse = (value, 0) if value < best else (best, worse + 1)
            if worse == 2:
                stop = step
                break
    assert cli.trainer.global_step == max(rows) == stop


def test_a_column_that_appears_after_several_evaluations_is_awaited():
    """No update before 100 steps, no row before 60, no end of an episode before 90."""
    late = ["--data.learning_starts=100", '--data.env_kwargs={"length": 90}', "--training_log.every_n_steps=60"]
    monitored = ("loss/critic", "entropy", "train/return_mean")
    stops = [early_stopping(monitor=column, patience=100) for column in monitored]
    keeps = [model_checkpoint(monitor=column, filename=column[-4:], save_weights_only=True) for column in monitored]
    cli = fitted(*late, overlay(*stops, *keeps), steps=160)
    last = metrics(cli.run_dir)
    for column in monitored:
        values = [row[column] for row in last if column in row and row["env_steps"] in (120, 160)]
        scores = [
            getattr(each, "best_score", getattr(each, "best_model_score", None))
            for each in cli.trainer.callbacks
            if getattr(each, "monitor", "") == column
        ]
        assert [score.item() for score in scores] == pytest.approx([min(values)] * 2, rel=1e-5)


@pytest.mark.parametrize(
    ("callback", "monitor"),
    [
        *((early_stopping, column) for column in ("val_loss", "eval/return", "loss/actor", "train/return")),
        (model_checkpoint, "val_loss"),
    ],
)
def test_an_unknown_column_is_refused_with_the_known_ones(capsys, callback, monitor):
    given = ["fit", "--config=value_sac/pendulum", *SMALL, "--name=b", "--trainer.max_steps=200"]
    error = refused(capsys, *given, overlay(callback(monitor=monitor)))
    assert f"monitors {monitor!r}, but there is no such column; choose one of " in error
    assert "eval/return_mean" in error
    if monitor != "eval/return":
        assert "loss/critic" in error
        assert "train/return_mean" in error


def test_a_run_that_a_callback_stopped_logs_its_last_interval():
    run = fit("--training_log.every_n_steps=1000", "--trainer.max_epochs=2")
    (row,) = [row for row in metrics(run) if "loss/critic" in row]
    assert row["env_steps"] == 80


def warned(*args: str) -> list[str]:
    """The warnings of a run of 60 steps about monitored columns that never appeared."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(resolve_arguments(["fit", "--config=value_sac", *SMALL, "--trainer.max_steps=60", *args]))
    return [str(each.message) for each in caught if "never appeared in this run" in str(each.message)]


def test_a_warning_names_each_monitored_column_that_never_appeared():
    chosen = [
        kind(monitor=column) for kind in (early_stopping, model_checkpoint) for column in ("los/critic", "loss/critic")
    ]
    warnings_of_all = warned("--data.learning_starts=100", overlay(*chosen))
    assert len(warnings_of_all) == len(chosen)
    for callback in chosen:
        name, monitor = callback["class_path"].rpartition(".")[2], callback["init_args"]["monitor"]
        start = f"{name} monitors {monitor!r}, which never appeared in this run, so it had no effect: "
        (said,) = [each for each in warnings_of_all if each.startswith(start)]
        assert {"eval/return_mean", "train/return_mean"} <= set(said.removesuffix(".").split("one of ")[1].split(", "))
        assert "loss/critic," not in said


def test_there_is_no_warning_for_columns_that_appeared_or_in_a_dry_run():
    columns = ("loss/critic", "eval/return_mean", "train/return_mean", "gradient_steps_per_env_step")
    callbacks = [kind(monitor=column) for column in columns for kind in (early_stopping, model_checkpoint)]
    for number, callback in enumerate(callbacks):
        if "ModelCheckpoint" in callback["class_path"]:
            callback["init_args"]["filename"] = str(number)
    assert warned(overlay(*callbacks), "--training_log.every_n_steps=1000") == []
    assert warned("--trainer.fast_dev_run=30", overlay(early_stopping(monitor="los"))) == []
