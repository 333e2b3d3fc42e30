"""The start of a command: its first line, the names that it accepts, and what it refuses before a run begins."""

import logging
import os
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from cli_helpers import SMALL, fit, metrics, python, refused

import lightning_maxent
from lightning_maxent import exports
from lightning_maxent.callbacks.interrupt import GracefulInterrupt
from lightning_maxent.cli import threads
from lightning_maxent.cli.arguments import last_checkpoint, resolve_arguments
from lightning_maxent.cli.command import _chain, fit_once, main
from lightning_maxent.cli.configurations import find_configs
from lightning_maxent.errors import MaxEntError

VERSION = version("lightning-maxent")
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
WITHOUT_PYTORCH = """
import sys
class Nothing:
    def find_spec(name, *further):
        if name in ("torch", "lightning_fabric", "pytorch_lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing)
"""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--version"], f"lightning-maxent {VERSION}"),
        (["--help"], "  compare    train several algorithms on several tasks"),
        (["-h"], "  verify     check a critic against exact solutions"),
    ],
)
def test_version_and_help_do_not_wait_for_pytorch(args, said):
    done = python("-c", f"{WITHOUT_PYTORCH}from lightning_maxent.cli.command import main; main({args})")
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


def test_a_wrong_command_or_name_is_refused_before_pytorch_is_imported():
    for args, sentence in (
        (["train"], "There is no command 'train'"),
        (
            ["fit", "sac/pendulm"],
            "no configuration 'sac/pendulm', neither a file nor built in; try sac/pendulum, a2c/pendulum",
        ),
        (["fit", "--ckpt_path=last"], "There is no checkpoint "),
        (["compare", "--out=x", "--draw_only"], "There is no comparison in x"),
    ):
        done = python("-c", f"{WITHOUT_PYTORCH}from lightning_maxent.cli.command import main; main({args})")
        assert done.returncode == 1
        assert sentence in done.stderr


@pytest.mark.parametrize(
    "args",
    [["fit", "value_sac/pendulum", "--print_config"], ["compare", "x"], ["export", "--out", "x"], ["verify", "--json"]],
)
def test_a_command_announces_itself_on_standard_error_before_importing_pytorch(args):
    done = python("-c", f"{WITHOUT_PYTORCH}from lightning_maxent.cli.command import main; main({args})")
    assert done.stdout == ""
    assert done.stderr.startswith(
        f"lightning-maxent {VERSION}: {args[0]} is starting; PyTorch and Lightning take seconds"
    )


def test_python_with_m_is_the_console_script():
    done = python("-m", "lightning_maxent", "--version")
    assert (done.returncode, done.stdout) == (0, f"lightning-maxent {VERSION}\n")


def test_the_package_offers_all_its_names_and_imports_pytorch_for_none_but_those_that_need_it():
    code = (
        "import sys, lightning_maxent, gymnasium; from lightning_maxent import errors; assert 'torch' not in sys.modules;"
        "gymnasium.spec('lightning_maxent/MultiGoal-v0');"
        "print(lightning_maxent.targets.PolyakTarget.__name__);"
        "from lightning_maxent import *; print(ValueSAC.__name__, len([n for n in lightning_maxent.__all__ if n in globals()]))"
    )
    done = python("-c", code)
    assert done.stdout.split() == ["PolyakTarget", "ValueSAC", str(len(exports.__all__))], done.stderr
    assert set(exports.__all__) <= set(dir(lightning_maxent))
    with pytest.raises(AttributeError, match=r"^module 'lightning_maxent' has no attribute 'SACX'$"):
        lightning_maxent.SACX  # noqa: B018


def test_configurations_may_follow_the_command():
    (sac,), (redq,) = (find_configs(name) for name in ("sac", "critic/redq"))
    args = resolve_arguments(["fit", "sac", "critic/redq", "--data.env_id", "Hopper-v5"])
    assert args == ["fit", f"--config={sac}", f"--config={redq}", "--data.env_id", "Hopper-v5"]
    assert resolve_arguments(["test", "sac", "--config=critic/redq"])[1:] == args[1:3]


@pytest.mark.parametrize(
    ("option", "name", "shown"),
    [
        ("--model.help", "SAC", "--model.optimizers.critic"),
        ("--model.help", "lightning_maxent.SAC", "--model.optimizers.critic"),
        ("--data.help", "ReplayDataModule", "--data.capacity"),
        ("--data.help", "RolloutDataModule", "--data.env_id"),
    ],
)
def test_the_options_of_a_class_are_shown_by_its_bare_name_without_a_configuration(capsys, option, name, shown):
    with pytest.raises(SystemExit) as stop:
        main(["fit", option, name])
    assert stop.value.code == 0
    assert shown in capsys.readouterr().out


PARTS = """
import pkgutil, sys, lightning_maxent
from lightning_maxent.cli import lightning_cli
from lightning_maxent.cli.command import parse
rooms = ("algorithms", "callbacks", "critics", "data", "loggers", "networks", "policies")
names = {f"lightning_maxent.{room}.{each.name}" for room in rooms for each in pkgutil.iter_modules([f"{lightning_maxent.__path__[0]}/{room}"])}
names |= {f"lightning_maxent.{name}" for name in ("noise", "exploration", "particles", "schedules", "temperature", "targets")}
print(sorted(names - sys.modules.keys()))
parse(["fit", "value_sac/pendulum", "--model=SAC", "--model.critic=EnsembleCritic", "--trainer.callbacks+=WarmStart", "--trainer.callbacks.path=x"])
"""


def test_every_part_of_the_package_may_be_given_by_its_bare_name():
    done = python("-c", PARTS)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


NAME = "lr[3e-4]*?"  # as a pattern it would match the other, lr3xy


def test_names_with_glob_characters_are_literal():
    folder = ["--runs_dir=runs [v1]", f"--name={NAME}"]
    fit("--name=lr3xy", "--runs_dir=runs [v1]", steps=40)
    fit(*folder, steps=30)
    other = Path("runs [v1]/value_sac/probe-Counting-v0/lr3xy")
    other.touch()
    fit(*folder, "--ckpt_path=last", steps=41)
    main(["fit", *folder, "--ckpt_path=last", "--trainer.max_steps=42"])
    assert metrics(other.with_name(NAME))[-1]["env_steps"] == 42
    assert metrics(other)[-1]["env_steps"] == 40
    with pytest.raises(MaxEntError, match=r"no checkpoint .*/lr\[\*\]/checkpoints/last\.ckpt: train a run first"):
        last_checkpoint(other.parent, "lr[*]")


def test_fit_once_finds_a_run_by_its_literal_name():
    args = ["--config=value_sac/pendulum", *SMALL, "--trainer.max_steps=20"]
    run = fit_once(args, Path("out [1]"), NAME)
    (run / "checkpoints" / "last.ckpt").unlink()  # a second run would need it
    assert fit_once(args, Path("out [1]"), NAME).samefile(run)


def test_the_printed_command_to_resume_is_quoted_for_the_shell(capsys):
    folder, state = Path("runs [v1]/it's"), Mock(fn="fit")
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()  # which the command line writes
    trainer = Mock(pl.Trainer, default_root_dir=str(folder), global_step=3, state=state, fast_dev_run=False)
    GracefulInterrupt().on_exception(trainer, Mock(spec=pl.LightningModule), KeyboardInterrupt())
    command = capsys.readouterr().out.partition("To resume: ")[2]
    assert shlex.split(command)[-1] == "runs [v1]/it's/checkpoints/last.ckpt"


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
@pytest.mark.parametrize("given", ["--trainer.strategy=ddp", "--trainer.precision=bf16-true"])
def test_a_trainer_that_is_refused_starts_no_process_and_makes_no_folder(capsys, monkeypatch, command, given):
    monkeypatch.setattr(subprocess, "Popen", Mock(side_effect=AssertionError("a process was started")))
    error = refused(capsys, command, "value_sac/pendulum", *SMALL, given, "--name=a")
    assert "leave out trainer.strategy" in error or "choose 32-true, bf16-mixed" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize("optimizer", ["torch.optim.LBFGS", "torch.optim.SparseAdam"])
def test_an_optimizer_that_is_refused_leaves_the_name_free(capsys, optimizer):
    error = refused(capsys, "fit", "value_sac/pendulum", *SMALL, "--name=a", f"--model.optimizers.critic={optimizer}")
    assert "choose an optimizer for dense gradients without a closure" in error
    assert not list(Path("runs").glob("*/*/a"))


def test_the_advice_for_a_fused_optimizer_works(capsys):
    foreach = "--model.optimizers.default.init_args.foreach=true"
    error = refused(capsys, "fit", "value_sac/pendulum", *SMALL, "--name=a", foreach)
    (way,) = [word for word in error.split() if word.startswith("--model.")]
    assert metrics(fit(foreach, way, steps=40))[-1]["gradient_steps"] == 20


def test_a_part_whose_package_is_missing_ends_in_one_sentence_with_the_pip_command(capsys, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.callbacks.progress.rich_progress._RICH_AVAILABLE", False)
    error = refused(capsys, "fit", "value_sac/pendulum", *SMALL, "--trainer.callbacks+=RichProgressBar", "--name=a")
    assert "RichProgressBar needs a package that is not installed: pip install rich" in error
    Path("lonely.py").write_text(
        "import pytorch_lightning as pl\n\n\nclass Lonely(pl.Callback):\n    def __init__(self):\n        import nothing.deep\n"
    )
    error = refused(capsys, "fit", "value_sac/pendulum", *SMALL, "--trainer.callbacks+=lonely.Lonely", "--name=a")
    assert "lonely.py, line 6); try `pip install nothing`." in error
    assert not Path("runs").exists()


def test_torchrl_prints_nothing_about_its_buffer(caplog, monkeypatch):
    logger = logging.getLogger("torchrl")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger="torchrl"):
        fit(steps=20)
        logger.info("Something else")
    assert {record.getMessage() for record in caplog.records if record.name == "torchrl"} == {"Something else"}


def test_a_type_error_of_a_constructor_ends_in_one_sentence_with_its_line(capsys):
    world = ["--data.env_id=probe_envs:worlds/Breaks-v0", '--data.env_kwargs={"how": "TypeError"}']
    said = refused(capsys, "fit", "value_sac/pendulum", *world)
    assert re.search(r"'probe_envs:worlds/Breaks-v0' raised TypeError: unsupported .*probe_envs\.py, line \d+", said)


def test_a_cycle_of_exception_causes_is_followed_once():
    one, other = ValueError("one"), MaxEntError("other")
    one.__cause__, other.__cause__ = other, one
    assert list(_chain(one)) == [one, other]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["list", "sac"], "list has no arguments"),
        (["fit", "sac/pendulum", "--config"], "--config needs a configuration"),
        (["fit", "sac"], "No task was given: add one to the algorithm, as in fit sac/pendulum"),
        (["fit", "task/pendulum"], "put one first, as in fit sac task/pendulum"),
        (["verify", "critic/redq"], "give the configuration of a critic as --config critic/redq"),
        (
            ["verify", "--critic", "lightning_maxent.TwinCritic", "--config", "critic/redq"],
            "--critic and --config are given",
        ),
        (
            ["verify", "--algorithm", "lightning_maxent.SAC", "--critic", "all"],
            "the critic of an algorithm as --algorithm.critic",
        ),
        (["verify", "--config", "critic/redq", "--target", "PolyakTarget"], "--target goes with --critic"),
        (["verify", "--algorithm"], "--algorithm needs the class of an algorithm"),
        (["verify", "--algorithm", "./my.py"], "The algorithm ./my.py cannot be imported"),
        (["verify", "--algorithm", "lightning_maxent.ActorCritic"], "ActorCritic cannot be checked"),
        (
            ["fit", "sac/pendulum", "--data.sampler", "torchrl.data.PrioritizedSampler"],
            "cannot be built without max_capacity",
        ),
    ],
)
def test_missing_and_repeated_arguments_are_refused(capsys, args, sentence):
    assert sentence in refused(capsys, *args)


def test_help_all_may_follow_a_configuration(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "sac/pendulum", "--help", "all"])
    assert stop.value.code == 0
    assert "--trainer.profiler" in capsys.readouterr().out


def test_a_run_that_is_stopped_before_its_first_step_gives_no_advice_to_resume(capsys):
    trainer = Mock(pl.Trainer, default_root_dir="runs/a", global_step=0, state=Mock(fn="fit"), fast_dev_run=False)
    GracefulInterrupt().on_exception(trainer, Mock(spec=pl.LightningModule), KeyboardInterrupt())
    assert capsys.readouterr().out == "Stopped before the first environment step: there is nothing to resume.\n"


@pytest.mark.parametrize(
    ("given", "busy", "set_to"),
    [
        ({}, 0.1, None),
        ({}, 1.7, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 1.7, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "9"}, 1.7, None),
    ],
)
def test_threads_sleep_while_they_wait_if_other_processes_are_busy(monkeypatch, given, busy, set_to):
    for name in ("OMP_NUM_THREADS", *threads.OF_WAITING):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(threads, "busy_cores", lambda: busy)
    monkeypatch.delitem(sys.modules, "torch")  # OpenMP reads the variable when torch is imported
    threads.choose_waiting()
    assert os.environ.get("OMP_WAIT_POLICY") == set_to


def test_busy_cores_are_those_of_all_processes(monkeypatch):
    seconds = iter([100.0, 100.3])
    monkeypatch.setattr(threads, "_busy_seconds", lambda: next(seconds))
    monkeypatch.setattr(threads.time, "monotonic", iter([5.0, 5.2]).__next__)
    assert threads.busy_cores() == pytest.approx(1.5)


def test_the_seconds_of_busy_cores_grow_with_work():
    before, start = threads._busy_seconds(), time.process_time()
    while time.process_time() < start + 0.1:
        pass
    assert threads._busy_seconds() - before >= 0.05


@pytest.mark.parametrize(
    ("count", "policy", "said"),
    [
        (1, "", ""),
        (2, "", "PyTorch uses 2 threads; set"),
        (2, "passive", "PyTorch uses 2 threads, which sleep while they"),
    ],
)
def test_a_run_on_the_cpu_says_how_many_threads_it_uses_and_how_they_wait(capsys, monkeypatch, count, policy, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    fit(steps=40)
    out = capsys.readouterr().out
    assert said in out
    assert ("PyTorch uses" in out) == bool(said)
