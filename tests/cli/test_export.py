"""``lightning-maxent export`` writes the policy of a run, which plays without torch, or ends in one sentence."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from cli_helpers import environment, fit_pendulum, refused

from lightning_maxent import load_policy
from lightning_maxent.cli import policy_commands
from lightning_maxent.cli.command import main
from lightning_maxent.deployment import exported_policy

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
ROOT = Path(__file__).parent.parent.parent
PLAY = ROOT / "scripts" / "play_onnx.py"
PAGE = (ROOT / "docs" / "deploy.md").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of SAC on Pendulum."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        return fit_pendulum("a").absolute()


@pytest.fixture
def few_observations(monkeypatch):
    for module in (policy_commands, exported_policy):
        monkeypatch.setattr(module, "OBSERVATIONS", 40)
    monkeypatch.setattr(exported_policy, "TIMED", 3)


def returns_in_python(folder: Path, seeds: range) -> list[float]:
    policy, env, returns = load_policy(folder), gym.make("Pendulum-v1"), []
    for seed in seeds:
        (obs, _), total, over = env.reset(seed=seed), 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy(obs, deterministic=True))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def test_the_script_plays_the_exported_policy_without_torch_with_the_returns_of_the_policy(run, capsys):
    main(["export", f"--ckpt_path={run}", "--out=policy.onnx"])
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("policy.onnx: SAC on Pendulum-v1 after 200 environment steps, deterministic actions, ")
    difference = re.match(r"Largest difference from the policy on 1,000 observations: (\S+) of the range", second)
    assert float(difference[1]) < 1e-5
    assert re.match(r"Milliseconds per action: [\d.e-]+ with the file, [\d.e-]+ with lightning_maxent\.$", third)
    code = "import runpy, sys; sys.argv = ['play', 'policy.onnx', '--episodes=2', '--seed=3']; "
    code += f"runpy.run_path({str(PLAY)!r}, run_name='__main__'); print('torch' in sys.modules, 'lightning_maxent' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    *played, mean, imported = done.stdout.splitlines()
    assert imported == "False False", done.stderr
    returns = [float(line.rpartition(" ")[2]) for line in played]
    np.testing.assert_allclose(returns, returns_in_python(run, range(3, 5)), rtol=1e-3)
    assert float(mean.rpartition(" ")[2]) == pytest.approx(np.mean(returns), rel=1e-4)


def test_the_script_gives_a_sampling_policy_noise_and_refuses_another_environment(run, capsys, monkeypatch):
    main(["export", f"--ckpt_path={run}", "--out=policy.onnx", "--sample"])
    capsys.readouterr()
    policy = runpy.run_path(str(PLAY))["OnnxPolicy"]("policy.onnx", seed=0)
    space, obs = gym.make("Pendulum-v1").observation_space, np.float32([1, 0, 0])
    actions = np.array([policy(space, obs) for _ in range(50)])
    assert actions.std() > 0.05  # of a range of 4
    again = runpy.run_path(str(PLAY))["OnnxPolicy"]("policy.onnx", seed=0)
    assert again(space, obs) == actions[0]
    monkeypatch.setattr(gym, "make", lambda env_id, make=gym.make: make("MountainCarContinuous-v0"))
    monkeypatch.setattr(sys, "argv", ["play_onnx.py", "policy.onnx"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(PLAY), run_name="__main__")
    assert "wrap it as in training" in capsys.readouterr().err


@pytest.mark.usefixtures("few_observations")
def test_last_is_the_newest_run_or_the_newest_of_a_name(capsys):
    fit_pendulum("a")
    fit_pendulum("b", "--trainer.max_steps=210")
    for arguments, steps in (([], 210), (["--name=a"], 200)):
        main(["export", "--ckpt_path=last", "--out=p.pt2", "--format=torch_export", *arguments])
        assert f"after {steps} environment steps" in capsys.readouterr().out


@pytest.mark.usefixtures("few_observations")
def test_every_command_and_block_of_the_page_works(run, monkeypatch, tmp_path, capsys):
    (tmp_path / "runs").symlink_to(run.parent.parent.parent)
    (tmp_path / "scripts").symlink_to(PLAY.parent)
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line]
    assert {words[0] for words in commands} == {"pip", "lightning-maxent", "python"}
    for program, *arguments in commands:
        if program == "lightning-maxent":
            main(arguments)
        elif program == "python":
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
    assert "mean return of 10 episodes" in capsys.readouterr().out
    warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated")
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, {})


def test_the_page_names_every_entry_of_the_metadata():
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition("## Metadata")[2], re.MULTILINE)
    entries = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    source = ast.parse(Path(exported_policy.__file__).read_text())
    (function,) = [each for each in source.body if getattr(each, "name", "") == "_metadata"]
    (said,) = [each for each in ast.walk(function) if isinstance(each, ast.Dict)]
    assert entries == {key.value for key in said.keys if isinstance(key, ast.Constant)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "The following arguments are required: --out; see `lightning-maxent export --help`."),
        (["--ckpt_path=last", "--out=p.onnx"], "There is no checkpoint .*runs/./././checkpoints/last.ckpt"),
        (["--ckpt_path=no.ckpt", "--out=p.onnx"], "There is no checkpoint no.ckpt."),
        (["--ckpt_path=.", "--out=p.onnx"], r"\. is not the folder of a run"),
        (
            ["--ckpt_path=RUN", "--out=p.onnx", "--sample", "--deterministic"],
            "Argument --deterministic: not allowed with",
        ),
        (["--ckpt_path=RUN", "--out=p.onnx", "--form=onnx"], "Unrecognized arguments: --form=onnx"),
        (["--ckpt_path=RUN", "--out="], "'.' is not the name of a file: give another path."),
        (["--ckpt_path=RUN", "--out=/dev/zero"], "'/dev/zero' is not the name of a file: give another path."),
        (
            ["--ckpt_path=RUN", "--out=p.pt2", "--format=jit"],
            "There is no format 'jit': it is onnx, torch_export or torchs",
        ),
        (["--ckpt_path=RUN", "--out=p.pt", "--format=torch_export"], r".* end in .pt2: write p\.pt2\.$"),
        (["--ckpt_path=RUN", "--out=p.pt2.", "--format=torch_export"], r".* end in .pt2: write p\.pt2\.$"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(run, arguments, sentence, capsys):
    told = refused(capsys, "export", *(each.replace("RUN", str(run)) for each in arguments))
    assert re.match(f"lightning-maxent: error: {sentence}", told)
    assert list(Path().iterdir()) == []
