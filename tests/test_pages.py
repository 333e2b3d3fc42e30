"""The statements of the pages on algorithms, on Python and on security are true; the citation is that of the package."""

import os
import re
import shlex
import subprocess
import sys
import tarfile
from importlib.metadata import metadata
from pathlib import Path

import pytest
import torch
import yaml

from lightning_maxent import (
    SAC,
    BoxActions,
    MaxEntError,
    ReplayDataModule,
    SquashedGaussian,
    TwinCritic,
    load_policy,
)
from lightning_maxent.cli.command import main
from lightning_maxent.exact import soft_value_iteration

DOCS = Path(__file__).parent.parent / "docs"
QUIET = [
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.accelerator=cpu",
]
SMALL_PENDULUM = "eval_interval=300, eval_episodes=1, learning_starts=256"
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}(?: run)?\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)


def block(page: str, word: str, language: str = "python") -> str:
    (found,) = [each for each in blocks(page, language) if word in each]
    return found


def smaller(code: str, **numbers: str) -> str:
    """The code with other numbers for some of its arguments; each must stand in it."""
    for name, number in numbers.items():
        code, found = re.subn(rf"\b{name}=[\d_.]+", f"{name}={number}", code)
        assert found, name
    return code


@pytest.fixture
def my_package(in_an_empty_folder, monkeypatch, tmp_path):
    """The file of the page on algorithms, in the current folder."""
    Path("my_package.py").write_text(block("write_an_algorithm", "class MunchausenDQN"))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_package", None)


@pytest.mark.usefixtures("my_package")
def test_the_algorithm_of_the_page_has_the_policy_of_soft_value_iteration_at_the_temperature_that_the_page_says():
    names: dict = {}
    exec(block("write_an_algorithm", "soft_value_iteration"), names)  # asserts for itself
    without_bonus = soft_value_iteration(names["mdp"], alpha=0.5).policy
    assert abs(names["learned"] - without_bonus).max() > 0.1  # so that the page's bound tells the two apart


@pytest.mark.usefixtures("my_package")
def test_the_algorithm_of_the_page_trains_from_the_command_line_as_the_page_says():
    _, *command = shlex.split(block("write_an_algorithm", "lightning-maxent fit", "bash"))
    small = [
        "--trainer.max_steps=200",
        "--data.learning_starts=128",
        "--data.eval_interval=200",
        "--data.eval_episodes=1",
    ]
    main([*command, *small, *QUIET, "--name=a"])
    folder = Path("runs/munchausen_dqn/CartPole-v1/a")
    model = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert model["class_path"] == "my_package.MunchausenDQN"
    assert model["init_args"]["share"] == 0.8
    assert model["init_args"]["temperature"]["init_args"] == {"alpha": 1.0}  # of soft_q/cartpole: it stays
    assert load_policy(folder).model.share == 0.8  # built again from what the run has saved


@pytest.mark.usefixtures("my_package")
def test_the_algorithm_of_the_page_trains_from_python_as_the_page_says():
    code = block("write_an_algorithm", "make_trainer(").replace(
        '("CartPole-v1")', '("CartPole-v1", eval_interval=1_010, eval_episodes=1)'
    )
    names: dict = {}
    exec(smaller(code, max_steps="1_010"), names)
    assert names["model"].gradient_steps == 10
    assert Path("runs/munchausen/metrics.csv").exists()


@pytest.mark.usefixtures("my_package")
def test_a_loss_of_no_network_is_refused_as_the_page_says():
    names: dict = {}
    code = block("write_an_algorithm", "soft_value_iteration")
    Path("my_package.py").write_text(Path("my_package.py").read_text().replace('"critic": self', '"critik": self'))
    with pytest.raises(MaxEntError, match="have an entry 'critik', but no network of that name"):
        exec(code, names)


def test_the_blocks_of_the_page_on_python_run_one_after_another():
    small = {"10_000": "300", "12_000": "320", "2_000": "300", "eval_interval=1_000": SMALL_PENDULUM}
    command = re.search(r"`lightning-maxent (fit sac/pendulum .*?)`", (DOCS / "in_python.md").read_text())
    assert command
    of_data = [f"--data.{each.strip()}" for each in SMALL_PENDULUM.split(",")]
    main([*command[1].split(), *of_data, "--trainer.max_steps=300", *QUIET])
    code = "\n".join(blocks("in_python"))
    for number, smaller_one in small.items():
        assert number in code
        code = re.sub(rf"\b{number}\b", smaller_one, code)
    names: dict = {}
    exec(code, names)
    assert [step for step, _ in names["curve"]] == [300, 320]  # of the run by hand, which went on
    assert -2_000 < names["total"] < 0  # an episode of Pendulum
    assert names["policy"].model is names["model"]  # loaded into the model that was given
    (plain,) = Path("runs/plain").rglob("metrics.csv")
    columns = plain.read_text().partition("\n")[0].split(",")
    assert {"loss/critic", "train/return_mean", "eval/return_mean"} <= set(columns)
    assert names["trainer"].callback_metrics["test/return_mean"] < 0


class Payload:
    """An object that writes a file when a checkpoint with it is loaded by unrestricted pickle."""

    def __reduce__(self):
        return Path.touch, (Path("payload_ran"),)


def test_a_checkpoint_runs_no_code_as_the_page_on_security_says(capsys):
    torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": Payload()}, "bad.ckpt")
    model, data = SAC(3, BoxActions(1), TwinCritic, SquashedGaussian), ReplayDataModule("Pendulum-v1")
    with pytest.raises(MaxEntError, match="no checkpoint, or a damaged one"):
        load_policy("bad.ckpt", model=model, data=data)
    for command in ("fit", "test"):
        with pytest.raises(SystemExit):
            main([command, "sac/pendulum", "--ckpt_path=bad.ckpt", *QUIET])
        assert "no checkpoint, or a damaged one" in capsys.readouterr().err
    assert not Path("payload_ran").exists()
    torch.load("bad.ckpt", weights_only=False)
    assert Path("payload_ran").exists()  # it would have, so the test can fail


def test_modules_in_the_current_folder_come_last_as_the_page_on_security_says(tmp_path):
    Path("netrc.py").write_text(
        "raise RuntimeError('the file in the current folder')"
    )  # a name of the standard library
    Path("own.py").write_text("")
    code = "from lightning_maxent.cli.command import main; main(['--version']); import netrc, own; print(netrc.__file__, own.__file__)"
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(DOCS.parent)})
    assert str(tmp_path / "own.py") in done.stdout, done.stderr
    assert str(tmp_path / "netrc.py") not in done.stdout


def test_the_citation_and_the_changelog_have_the_title_version_and_license_of_the_package():
    project = metadata("lightning-maxent")
    citation = yaml.safe_load((DOCS.parent / "CITATION.cff").read_text())
    # The version is read from the file, because an editable installation keeps the version that it was made with.
    version = re.search(r'^version = "(.+)"$', (DOCS.parent / "pyproject.toml").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (DOCS.parent / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version
    assert newest
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["Name"]
    assert str(citation["version"]) == version[1] == newest[1]
    assert citation["license"] == project["License-Expression"]


def test_the_workflow_runs_the_checks_on_every_python_that_the_package_is_for():
    workflow = yaml.safe_load((DOCS.parent / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    oldest, *_ = job["strategy"]["matrix"]["python"]
    assert metadata("lightning-maxent")["Requires-Python"] == f">={oldest}"
    assert workflow["permissions"] == {"contents": "read"}


def test_the_source_distribution_holds_what_its_tests_read_and_no_results(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(DOCS.parent)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"README.md", "CITATION.cff", "constraints.txt", "docs/train.md", ".ci/run", "tests/test_pages.py"} <= names
    assert not [name for name in names if name.startswith("docs/results")]


ROOT = DOCS.parent
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    paths = [page.parent / link.partition("#")[0] for link in links if not link.startswith("https://")]
    missing = [path for path in paths if not path.exists()]
    if not (DOCS / "results").exists():  # a source distribution leaves them out
        missing = [path for path in missing if "results" not in path.parts]
    assert missing == []


def test_the_readme_is_one_screen_that_links_every_page():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 120
    assert [page.name for page in PAGES if page.name != "README.md" and f"{page.name})" not in readme] == []


def own_commands() -> list[tuple[Path, str]]:
    """Every ``fit`` of a page that names a class of a file that the page shows."""
    lines = [(page, line) for page in PAGES for line in page.read_text().splitlines()]
    return [(page, line) for page, line in lines if line.startswith("lightning-maxent fit") and "my_package." in line]


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(("page", "line"), own_commands())
def test_every_command_with_a_class_of_the_page_is_a_configuration_that_holds_together(
    page, line, monkeypatch, tmp_path, capsys
):
    code = re.findall(r"```python\n(# my_package.py\n.*?)```", page.read_text(), re.DOTALL)
    Path("my_package.py").write_text("\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    _, *arguments = shlex.split(line)
    try:
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--print_config"])
    finally:
        sys.modules.pop("my_package", None)
    assert stop.value.code == 0
    assert "class_path: my_package." in capsys.readouterr().out
