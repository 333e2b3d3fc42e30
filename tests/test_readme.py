"""The commands and the code of the README work."""

import re
import shlex
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from helpers import made_up, named_optimizers
from probe_envs import Unbounded

from lightning_maxent import SAC, BoxActions, TwinCritic
from lightning_maxent.cli.command import main
from lightning_maxent.critics.building import build_critic
from lightning_maxent.data.action_codec import action_codec, bounded
from lightning_maxent.targets import PolyakTarget
from lightning_maxent.verification.command import QUICK
from lightning_maxent.verification.contract import contract
from lightning_maxent.verification.regression import regression

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_critic_of_the_readme_keeps_the_contract():
    (block,) = [block for block in BLOCKS if "class MyCritic" in block]
    namespace: dict = {}
    exec(block, namespace)
    assert build_critic(namespace["MyCritic"], 3, 1).network[0].in_features == 4
    torch.manual_seed(0)
    (found,) = regression(namespace["MyCritic"], PolyakTarget, QUICK[regression], lambda updates: None)
    assert found.passed, found  # `verify --quick` must not refuse what is right


def test_the_critic_of_the_page_on_critics_keeps_the_contract():
    page = (Path(__file__).parent.parent / "docs" / "write_a_critic.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict = {}
    exec(block, namespace)
    critic = build_critic(namespace["Pessimist"], 3, 1)
    prediction = torch.tensor([[1.0], [3.0]])
    assert float(critic.value(prediction)) == pytest.approx(2 - 1)
    failed = [found for found in contract(namespace["Pessimist"], PolyakTarget) if not found.passed]
    assert failed == []


def test_the_policy_and_the_temperature_of_the_page_on_policies_train_sac():
    page = (Path(__file__).parent.parent / "docs" / "write_a_policy.md").read_text()
    namespace: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, namespace)
    torch.manual_seed(0)
    algorithm = SAC(3, BoxActions(2), TwinCritic, namespace["BetaPolicy"], temperature=namespace["BinaryTemperature"])
    with torch.no_grad():
        action, log_prob = algorithm.policy(torch.zeros(100_000, 3))
    inside = ((action > -0.5) & (action < 0.2)).all(-1)
    assert float((inside / log_prob.exp()).mean()) == pytest.approx(0.49, rel=0.03)  # a density on the box
    batch = made_up(3, BoxActions(2), 8)
    alpha = float(algorithm.temperature().detach())
    optimizers = named_optimizers(algorithm)
    algorithm.update(batch, optimizers)
    assert optimizers.keys() == {"critic", "policy", "temperature"}
    assert 0 < float(algorithm.temperature().detach()) < alpha  # more entropy than the target: less weight


def test_the_python_run_of_the_readme_writes_the_files_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in BLOCKS if "trainer.fit" in block]
    assert "max_steps=10_000" in block
    exec(block.replace("max_steps=10_000", "max_steps=1_010"), {})
    names = {path.name for path in (tmp_path / "runs/by_hand").rglob("*")}
    assert {"metrics.csv", "curves.png", "last.ckpt", "best.ckpt", "last.ckpt.replay"} <= names


def test_the_code_of_the_page_on_exact_solutions_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGES["exact_solutions"], re.DOTALL)
    exec(block, {})  # asserts for itself


def test_the_wrapper_that_the_page_advises_sets_the_bounds_of_actions():
    (advice,) = re.findall(r"`(gymnasium\.wrappers\.TransformAction\(.*?)`", PAGES["train"], re.DOTALL)
    env = Unbounded([-np.inf, 0.0], [np.inf, np.inf])
    names = {"env": env, "low": np.float32([-3, 0]), "high": np.float32([1, 2]), "np": np, "gymnasium": gymnasium}
    wrapped = eval(advice.replace("\n", " "), names)
    codec = action_codec("robot", bounded("robot", wrapped.action_space, None), 1)
    wrapped.reset(seed=0)
    for action in (-1.0, 1.0):
        wrapped.step(codec.to_env(torch.full((1, 2), action))[0])
    assert env.played == [[-3.0, 0.0], [1.0, 2.0]]


@pytest.mark.parametrize("command", ["pip install -q -c constraints.txt -e . &&", ".venv/bin/pytest"])
def test_the_install_and_test_commands_of_the_readme_are_single_lines(command):
    (line,) = [line for line in README.splitlines() if command in line]
    assert line.startswith("python3 -m venv .venv && ")


def shown_fits() -> list[str]:
    """Every ``lightning-maxent fit`` that the README and the pages show, but for those with files of the reader."""
    lines = [line for page in (README, *PAGES.values()) for line in page.splitlines()]
    shown = {line.partition("#")[0].strip() for line in lines if line.startswith("lightning-maxent fit ")}
    return sorted(line for line in shown if not any(own in line for own in ("my_", "--ckpt_path", "…")))


def test_no_command_shown_gives_a_built_in_configuration_as_an_option():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    commands = [line for page in pages for line in page.read_text().splitlines() if "lightning-maxent fit " in line]
    assert [line for line in commands if "--config" in line] == []


def test_code_whose_class_a_command_names_begins_with_its_file_name():
    for path in [Path("README.md"), *Path("docs").glob("*.md")]:
        page = (Path(__file__).parent.parent / path).read_text()
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            for name in re.findall(r"^class (\w+)", block, re.MULTILINE):
                for module in re.findall(rf"\b(my_\w+)\.{name}\b", page):
                    assert block.startswith(f"# {module}.py\n"), f"{path}: {name}"


@pytest.mark.parametrize("command", shown_fits())
def test_every_fit_command_of_the_documents_parses(command, capsys):
    _, *arguments = shlex.split(command)
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--print_config"])
    assert stop.value.code == 0
    assert "class_path: lightning_maxent.algorithms." in capsys.readouterr().out
