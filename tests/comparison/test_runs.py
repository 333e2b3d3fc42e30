"""Parallel runs: each is run once, and none is lost or confused with another."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from lightning_maxent.backends.run import Run
from lightning_maxent.comparison import command
from lightning_maxent.comparison.runs import difference, locked
from lightning_maxent.errors import MaxEntError
from lightning_maxent.progress import progress

OUT = Path("out")
compare = partial(command.compare, parse=lambda arguments: None)  # what the fake takes, the real one does not
pytestmark = pytest.mark.usefixtures("fake_fit")


def comparison(text: str = "", *, seeds: str = "[0, 1]", does: str = "finishes", further: str = "") -> str:
    Path("comparison.yaml").write_text(
        f"variants:\n  good: [value_sac/pendulum]\n  other: [sac/pendulum, --model.does={does}]\n{further}"
        f"seeds: {seeds}\n{text}"
    )
    return "comparison.yaml"


def logs() -> dict[str, str]:
    return {str(path.parent.relative_to(OUT / "runs")): path.read_text() for path in OUT.rglob("log.txt")}


def run_all(file: str, *args: str) -> int:
    return compare([file, f"--out={OUT}", "--jobs=2", *args])


def test_every_variant_runs_once_on_every_task_with_every_seed():
    file = comparison("tasks: [Pendulum-v1, Hopper-v5]\nsettings: [--data.batch_size=7]")
    assert run_all(file, "--trainer.max_steps", "5") == 0
    first = logs()
    assert set(first) == {
        f"{variant}/{task}/seed{seed}"
        for variant in ("good", "other")
        for task in ("Pendulum-v1", "Hopper-v5")
        for seed in (0, 1)
    }
    told = first["other/Hopper-v5/seed1"].split()
    wanted = [
        next(word for word in told if "=sac/pendulum" in word),
        "--model.does=finishes",
        "--data.init_args.env_id=Hopper-v5",
        "--data.batch_size=7",
        "--trainer.max_steps=5",
        "--seed_everything=1",
    ]
    assert [told.index(word) for word in wanted] == sorted(told.index(word) for word in wanted)
    assert compare([f"--out={OUT}"]) == 0  # where it was begun says what it is
    assert logs() == first


PAIRS = (
    "tasks: [Pendulum-v1, Hopper-v5]\nsettings: [--data.batch_size=7]\npairs: {other: {Hopper-v5: [--model.bonus=%s]}}"
)


def test_settings_of_a_pair_apply_to_it_alone_after_those_of_variant_and_task():
    file = comparison(PAIRS % 5)
    assert run_all(file) == 0
    first = logs()
    assert {name for name, log in first.items() if "--model.bonus=5" in log} == {
        "other/Hopper-v5/seed0",
        "other/Hopper-v5/seed1",
    }
    told = first["other/Hopper-v5/seed1"].split()
    wanted = ["--model.does=finishes", "--data.init_args.env_id=Hopper-v5", "--model.bonus=5", "--data.batch_size=7"]
    assert [told.index(word) for word in wanted] == sorted(told.index(word) for word in wanted)
    assert "variant other on task Hopper-v5</td><td><code>--model.bonus=5" in (OUT / "page.html").read_text()
    assert compare([f"--out={OUT}"]) == 0  # where it was begun says what it is
    assert logs() == first


def test_a_run_of_a_pair_with_changed_settings_is_refused():
    run_all(comparison(PAIRS % 5))
    with pytest.raises(MaxEntError, match=r"other/Hopper-v5/seed0 .*model.bonus was 5 and is 6\), and 1 further runs"):
        run_all(comparison(PAIRS % 6))


def test_invalid_settings_of_a_pair_are_refused_before_the_first_run():
    def parse(arguments):
        if "--model.bonus=5" in arguments:
            raise MaxEntError("It has no bonus.")

    with pytest.raises(MaxEntError, match="The variant 'other' cannot run on Hopper-v5: It has no bonus"):
        command.compare([comparison(PAIRS % 5), f"--out={OUT}"], parse)
    assert not OUT.exists()


def test_an_added_seed_runs_that_seed_alone():
    run_all(comparison(seeds="[0]"))
    before = logs()
    run_all(comparison(seeds="[0, 1]"))
    after = logs()
    assert len(after) == 4
    assert {name: after[name] for name in before} == before


def test_a_failed_run_does_not_stop_the_others_and_is_reported_with_its_log(capsys):
    assert run_all(comparison(does="fails")) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "Failed" in line]
    assert sorted(told) == [
        f"Failed: other, Pendulum-v1, seed {seed} (exit code 1: It failed on purpose.); its log is "
        f"out/runs/other/Pendulum-v1/seed{seed}/log.txt."
        for seed in (0, 1)
    ]
    assert {path.parts[2] for path in OUT.rglob("finished")} == {"good"}
    page = (OUT / "page.html").read_text()
    assert "2 of 4 runs failed" in page
    assert run_all("comparison.yaml") == 1  # tried again, and no more
    counts = {name.split("/")[0]: log.count("began") for name, log in logs().items()}
    assert counts == {"good": 1, "other": 2}


def test_a_run_that_failed_before_its_first_checkpoint_may_get_other_settings():
    assert run_all(comparison(does="fails")) == 1
    assert run_all(comparison(does="finishes")) == 0


def test_a_run_with_a_checkpoint_is_resumed():
    run_all(comparison())
    run = OUT / "runs/good/Pendulum-v1/seed1"
    (run / "finished").unlink()
    assert run_all("comparison.yaml") == 0
    checkpoint = run / "fake/World/run/checkpoints/last.ckpt"
    began = (run / "log.txt").read_text().splitlines()
    assert f"--ckpt_path={checkpoint}" not in began[0]
    assert f"--ckpt_path={checkpoint}" in began[1]


def test_a_run_with_changed_settings_is_refused():
    run_all(comparison("settings: [--data.batch_size=7]"))
    before = logs()
    with pytest.raises(MaxEntError) as error:
        run_all(comparison("settings: [--data.batch_size=8]"))
    assert "out/runs/good/Pendulum-v1/seed0 was made with other settings" in str(error.value)
    assert "data.batch_size was 7 and is 8" in str(error.value)
    assert "3 further runs" in str(error.value)
    assert run_all("comparison.yaml", "--draw_only") == 0
    assert "4 of 4 runs were made with other settings than these" in (OUT / "page.html").read_text()
    Path("mine.yaml").write_text("data: {init_args: {batch_size: 3}}")
    run_all(comparison(further="  mine: [value_sac/pendulum, mine.yaml]\n", text="settings: [--data.batch_size=7]"))
    Path("mine.yaml").write_text("data: {init_args: {batch_size: 4}}")  # the same name, another content
    with pytest.raises(MaxEntError, match="mine/Pendulum-v1/seed0 was made with other settings"):
        run_all("comparison.yaml")
    assert {name: log for name, log in logs().items() if "mine" not in name} == before


@pytest.fixture
def ctrl_c(request):
    """Sends the signal of Ctrl-C to the handler of the comparison, and not to that of pytest."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("ctrl_c", "sent"),
    [(signal.default_int_handler, signal.SIGINT), (signal.SIG_IGN, signal.SIGTERM)],
    ids=["in a terminal", "in the background, where it is ignored"],
    indirect=["ctrl_c"],
)
def test_a_signal_stops_every_run_and_prints_the_command_to_continue(ctrl_c, sent, capsys):
    file = comparison(does="waits", seeds="[0, 1, 2, 3]")
    Path("wait").touch()

    def interrupt():
        while len(list(OUT.glob("runs/other/*/*/*/*/run/checkpoints/last.ckpt"))) < 1:
            time.sleep(0.01)
        Path("wait").unlink()  # whatever begins now does not wait, and must not begin
        os.kill(os.getpid(), sent)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run_all(file) == 130
    thread.join()
    assert signal.getsignal(signal.SIGINT) is ctrl_c
    assert not list(OUT.glob("runs/other/*/*/finished"))
    assert f"lightning-maxent compare --out {OUT}" in capsys.readouterr().out
    assert not list(OUT.rglob("failed"))
    assert len(list(OUT.glob("runs/other/*/*"))) < 4
    assert "are not finished" in (OUT / "page.html").read_text()
    assert compare([f"--out={OUT}"]) == 0  # goes on
    assert len(list(OUT.rglob("finished"))) == 8
    assert "not finished" not in (OUT / "page.html").read_text()


def test_two_comparisons_do_not_write_into_one_folder():
    other = "import sys; from fcntl import *; f = open(sys.argv[1], 'w'); flock(f, LOCK_EX); print(flush=True); input()"
    OUT.mkdir()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", other, OUT / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(MaxEntError, match="Another comparison or sweep is running in out"), locked(OUT):
            pass
        process.communicate(b"\n")
    with locked(OUT):
        pass


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "Give what to compare"),
        (["--out=nowhere"], "There is no comparison in nowhere"),
        (["compare/pendulm", "--out=x"], "no configuration 'compare/pendulm'"),
        (["compare/pendulum", "--job=2"], "no option --job; did you mean --jobs?"),
        (["compare/pendulum", "--referense=x.csv"], "no option --referense; did you mean --reference?"),
        (["compare/pendulum", "--jobs=0"], "--jobs must be at least 1"),
        (["compare/pendulum", "--jobs=many"], "Argument --jobs: invalid int value: 'many'"),
        (["compare/pendulum", "--variants", "value_sac/pendulum"], "not both"),
        (["--variants", "value_sac/pendulum", "--seeds", "0"], "--variants needs --out"),
        (["--variants", "value_sac/pendulum", "--out=x"], "The command line names no seeds to compare"),
        (["compare/pendulum", "--out=file/below"], "cannot be written"),
        (
            ["value_sac/pendulum", "--out=x"],
            "the configuration of a run, not a comparison: give --variants value_sac/pendulum",
        ),
    ],
)
def test_a_mistake_ends_in_one_sentence(args, sentence):
    Path("file").touch()
    with pytest.raises(MaxEntError) as error:
        compare(args)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_the_time_left_follows_from_the_mean_time_of_a_run(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress(3, "runs", smoothing=0) as bar:
        for _ in range(60):
            now[0] += 60
            bar.update(0)  # drawn many times within one run
        bar.update()
        now[0] += 60
        bar.update(0)
    assert (
        "1/3 runs, 1:01:00 passed, 2:02:00 left, 3,660.0 s each" in capsys.readouterr().err
    )  # two runs to go, an hour each


def test_a_run_whose_settings_were_damaged_is_named_in_one_sentence(tmp_path):
    run = Run("a", "b", 0, tmp_path, ("--model.bonus=1",))
    (tmp_path / "finished").touch()
    (tmp_path / "made_with.yaml").write_bytes(b"\0\0")
    for damage in (b"", b"\0\0\0", b"- [a"):
        (tmp_path / "settings.yaml").write_bytes(damage)
        assert difference(run) == "its settings.yaml is missing or damaged"
    assert run.made_with == {}
