"""``lightning-maxent sweep`` as users see it."""

import csv
import os
import shlex
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lightning_maxent.cli.command import main, settings
from lightning_maxent.errors import MaxEntError
from lightning_maxent.sweep import command
from lightning_maxent.sweep.specification import make_sweep
from lightning_maxent.sweep.study import ask, interrupted, open_study

TESTS = Path(__file__).parent.parent
SPACE = "{--model.bonus: {min: 0.0, max: 8.0}}"


def no_settings(arguments):
    return {"trainer": {"max_steps": 40}, "data": {"init_args": {"eval_interval": 20}}}


def write(name: str = "mine.yaml", space: str = SPACE, trials: int = 3, further: str = "") -> str:
    Path(name).write_text(f"settings: [sac/pendulum]\nspace: {space}\ntrials: {trials}\n{further}")
    return name


def rows(out: str) -> list[dict[str, str]]:
    with (Path(out) / "trials.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "folder")}
            for row in csv.DictReader(file)
        ]


@pytest.mark.usefixtures("fake_fit")
def test_a_sweep_that_was_killed_goes_on_and_asks_for_the_same_trials_as_one_that_was_not():
    Path("wait").touch()
    file = write(
        space="{kind: {values: [--model.does=waits, --model.does=finishes]}, --model.bonus: {min: 0.0, max: 8.0}}",
        further="first: [{kind: --model.does=finishes, model.bonus: 1}, {kind: --model.does=waits, model.bonus: 2}]",
    )
    words = [sys.executable, TESTS / "sweep" / "killed_sweep.py", file, "--out=killed", "--jobs=1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(Path("killed").glob("runs/trial1/*/*/*/run/checkpoints/last.ckpt")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    Path("wait").unlink()
    first = Path("killed/runs/trial0/seed0/log.txt").read_text()

    assert command.sweep([file, "--out=killed", "--jobs=1"], no_settings) == 0
    assert Path("killed/runs/trial0/seed0/log.txt").read_text() == first
    began = [line for line in Path("killed/runs/trial1/seed0/log.txt").read_text().splitlines() if "began" in line]
    assert ["--ckpt_path=" in line for line in began] == [False, True]
    assert command.sweep([file, "--out=whole", "--jobs=1"], no_settings) == 0
    assert rows("killed") == rows("whole")
    assert [row["status"] for row in rows("whole")] == ["finished"] * 3


@pytest.mark.usefixtures("fake_fit")
def test_another_database_is_used_by_its_url_and_must_be_given_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'server.db'}"
    assert command.sweep([write(trials=1), "--out=out", f"--storage={url}"], no_settings) == 0
    assert not Path("out/trials.db").exists()
    with sqlite3.connect(tmp_path / "server.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (1,)
    with pytest.raises(MaxEntError, match=r"The sweep out has its trials in sqlite:.*server.db: give this --storage"):
        command.sweep(["--out=out"], no_settings)
    # another folder, as on another machine: the trials are shared
    assert command.sweep(["mine.yaml", "--trials=3", "--out=elsewhere/out", f"--storage={url}"], no_settings) == 0
    assert [path.name for path in sorted(Path("elsewhere/out/runs").iterdir())] == ["trial1", "trial2"]
    assert len(rows("elsewhere/out")) == 3
    with pytest.raises(MaxEntError, match="begun with other space"):
        command.sweep(
            [write("other.yaml", SPACE.replace("8.0", "9.0")), "--out=third/out", f"--storage={url}"], no_settings
        )


def test_the_password_of_a_database_is_not_written_down():
    with pytest.raises(MaxEntError) as error:
        command.sweep([write(), "--out=out", "--storage=postgresql+psycopg://me:secret@localhost:1/none"], no_settings)
    assert "postgresql+psycopg://me:***@localhost:1/none cannot be used" in str(error.value)
    assert "secret" not in str(error.value) + "".join(path.read_text() for path in Path("out").glob("*.yaml"))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "Give what to search: the file of a sweep"),
        (["--out=nowhere"], "There is no sweep in nowhere: give the file of a sweep."),
        (["sweep/cartpol", "--out=x"], "no configuration 'sweep/cartpol'"),
        (["sac/pendulum", "--out=x"], "sac/pendulum is the configuration of a run, not a sweep"),
        (["task/pendulum", "--out=x"], "task/pendulum is the configuration of a run, not a sweep"),
        (["mine.yaml", "--trails=3"], "There is no option --trails; did you mean --trials?"),
        (["mine.yaml", "--jobs=0"], "--jobs must be at least 1"),
        (["mine.yaml", "--trials=0"], "trials of mine.yaml must be at least 1"),
        (["mine.yaml", "--pruning=some"], "Argument --pruning: invalid choice: 'some'"),
        (["mine.yaml", "--storage=nothing", "--out=x"], "--storage must be the URL of a database"),
        (["mine.yaml", "--out=file/below"], "cannot be written"),
    ],
)
def test_a_mistake_ends_in_one_sentence(args, sentence):
    write()
    Path("file").touch()
    with pytest.raises(MaxEntError) as error:
        command.sweep(args, no_settings)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("x").exists()


def test_without_optuna_one_sentence_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        main(["sweep", write()])
    *_, error = capsys.readouterr().err.splitlines()
    assert error == "lightning-maxent: error: A sweep needs Optuna: pip install 'lightning-maxent[sweep]'."


def test_help_lists_sweep_and_shows_a_file(capsys):
    main(["--help"])
    assert "  sweep      search for the best settings" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    shown = capsys.readouterr().out
    assert "--storage URL" in shown
    example = yaml.safe_load(shown.partition("with which seeds:\n\n")[2].partition("\n\n")[0])
    assert set(example) == {"settings", "space", "seeds", "trials"}


def test_help_says_where_the_number_of_runs_has_no_default(capsys):
    for name, default in (("sweep", "none: give a number"), ("compare", "all")):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert f"default: one for each core of this machine, and on a Ray cluster or SLURM {default} --retries" in shown


def test_fit_of_a_sweep_says_which_command_it_is_for(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "sweep/cartpole"])
    assert "is a sweep over several runs: lightning-maxent sweep sweep/cartpole" in capsys.readouterr().err


def test_an_option_of_the_space_that_no_run_has_is_refused_before_the_first_trial(capsys):
    with pytest.raises(SystemExit):
        main(["sweep", write(space="{--data.batch_sise: {values: [16, 32]}}"), "--out=out"])
    *_, error = capsys.readouterr().err.splitlines()
    assert "A trial with data.batch_sise 16 cannot run: " in error
    assert "did you mean 'batch_size'?" in error
    assert not Path("out").exists()


def test_a_sweep_trains_real_runs_and_writes_everything(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(sys, "argv", ["lightning-maxent"])
    options = "--data.env_id=probe_envs:probe/Counting-v0 --data.capacity=500 --data.learning_starts=20"
    options += (
        " --data.eval_interval=40 --data.eval_episodes=1 --training_log.every_n_steps=20 --trainer.accelerator=cpu"
    )
    further = "pruning: none\nfirst: [{data.batch_size: 16, critic: critic/tqc}]"
    file = write(
        space="{--data.batch_size: {values: [8, 16]}, critic: {values: [[], critic/tqc]}}", trials=1, further=further
    )
    main(["sweep", file, "--out=out", "--jobs=1", "--trainer.max_steps=80", *options.split()])
    assert [(row["value"], row["env_steps"]) for row in rows("out")] == [("15.0", "80")]
    assert {path.name for path in Path("out/pictures").iterdir()} == {
        "curves.svg",
        "history.svg",
        "parallel-coordinates.svg",
        "values.svg",
    }
    run_settings = yaml.safe_load(next(Path("out/runs/trial0").rglob("config.yaml")).read_text())
    assert run_settings["data"]["init_args"]["batch_size"] == 16
    assert "Quantile" in run_settings["model"]["init_args"]["critic"]["class_path"]
    said = capsys.readouterr().out
    assert "Trials: 1, 0 of them pruned, 0 failed." in said
    repeat = shlex.split(said.partition("To repeat it:\n")[2].splitlines()[0])
    assert settings(repeat[1:])["trainer"]["max_steps"] == 80
    main(["sweep", "--out=out", "--draw_only"])
    assert "Drawn: out/page.html" in capsys.readouterr().out


def test_only_trials_of_the_own_folder_are_resumed(tmp_path):
    sweep = make_sweep({"settings": ["sac"], "space": {"data.x": {"values": [1, 2]}}}, "x")
    study = open_study(sweep, "name", f"sqlite:///{tmp_path / 'server.db'}", {"max_steps": 40, "eval_interval": 20})
    numbers = [ask(study, sweep, folder)[0].number for folder in ("mine", "other", "mine")]
    study.tell(numbers[2], 1.0)
    study.ask()  # and was killed before it wrote its folder
    assert [trial.number for trial in interrupted(study, "mine", alone=False)] == [0]
    assert [trial.number for trial in interrupted(study, "mine", alone=True)] == [0, 3]
