"""Addresses of checkpoints in W&B, with a W&B whose artifacts are folders of this machine."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import wandb
import yaml
from cli_helpers import SMALL, fit, metrics, refused, saved
from wandb.errors import CommError

from lightning_maxent import MaxEntError, WarmStart, load_policy
from lightning_maxent.cli import policy_commands
from lightning_maxent.cli.command import main
from lightning_maxent.loggers.wandb_artifacts import local_checkpoint

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
BEST, LAST = "wandb:me/p/abc:best", "wandb:me/p/abc:last"
FOLDER = Path("runs/wandb/me-p")


class Artifact:
    """A version of ``model-abc`` with some files of a run."""

    def __init__(self, version: str, files: dict[str, Path]):
        self.version, self._files, self.downloads = version, files, 0

    def download(self, root: str) -> None:
        self.downloads += 1
        for name, path in self._files.items():
            (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, Path(root) / name)

    def logged_by(self):
        return Mock(id="abc")


@pytest.fixture
def stored(monkeypatch):
    """The artifacts in W&B by their full names."""
    artifacts: dict[str, Artifact] = {}

    class Api:
        def __init__(self, timeout: int):
            """Waits no longer than ``timeout``."""

        def artifact(self, name: str) -> Artifact:
            if name not in artifacts:
                raise CommError(f"artifact '{name}' not found in 'me/p'")
            return artifacts[name]

    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(wandb, "Api", Api)
    return artifacts


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of 60 steps on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        return fit("--trainer.logger=false", steps=60).absolute()


@pytest.fixture
def run(stored, trained) -> Path:
    """The run, whose checkpoints are in W&B."""
    folder = trained
    best, last = folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "last.ckpt"
    config = {"config.yaml": folder / "config.yaml"}
    stored["me/p/model-abc:best"] = Artifact("v0", {"checkpoints/best.ckpt": best, **config})
    stored["me/p/model-abc:last"] = Artifact("v1", {"checkpoints/last.ckpt": last, **config})
    buffer = {"checkpoints/last.ckpt.replay": last.with_name("last.ckpt.replay")}
    stored["me/p/model-abc:whole"] = Artifact("v2", {"checkpoints/last.ckpt": last, **buffer, **config})
    return folder


def weights(path: Path) -> dict:
    return torch.load(path, weights_only=True)["state_dict"]


def test_an_address_is_downloaded_once_into_the_folder_of_a_run_and_says_where(run, stored, capsys):
    path = local_checkpoint(BEST)
    assert path == FOLDER / "abc-v0" / "checkpoints" / "best.ckpt"
    assert f"{BEST} is in {FOLDER / 'abc-v0'}." in capsys.readouterr().err
    assert path.read_bytes() == (run / "checkpoints" / "best.ckpt").read_bytes()
    assert local_checkpoint("wandb:me/p/model-abc:best") == path  # as W&B shows the name
    assert stored["me/p/model-abc:best"].downloads == 1
    assert local_checkpoint("some/best.ckpt") == Path("some/best.ckpt")


def test_a_policy_is_loaded_from_an_address(run):
    loaded, known = load_policy(BEST), load_policy(run)
    obs = torch.tensor([2.0, 1.0]).numpy().astype("float64")
    assert (loaded(obs, deterministic=True) == known(obs, deterministic=True)).all()


@pytest.mark.parametrize("command", ["validate", "test"])
def test_the_checkpoint_of_an_address_is_evaluated(run, command, capsys):
    main([command, "--ckpt_path", BEST])
    assert "return_mean" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["play", "record", "export"])
def test_the_commands_of_a_policy_load_it_from_an_address(run, command, monkeypatch):
    def stop(policy, *args, **options):
        raise MaxEntError(f"got a policy of {policy.env_steps} steps")

    monkeypatch.setattr(policy_commands, "has_display", lambda: False)
    monkeypatch.setattr(policy_commands, "_record", stop)
    monkeypatch.setattr(policy_commands, "export_policy", stop)
    with pytest.raises(MaxEntError, match="got a policy of 40 steps"):
        getattr(policy_commands, f"{command}_command")(
            [f"--ckpt_path={BEST}", *["--out=policy.onnx"][: command == "export"]]
        )


def test_a_new_run_starts_from_the_weights_of_an_address_that_holds_no_more(run, capsys, monkeypatch):
    started = []
    monkeypatch.setattr(WarmStart, "on_fit_start", lambda self, *args: started.append(self.path))
    for address, version, name in ((BEST, "v0", "best.ckpt"), (LAST, "v1", "last.ckpt")):
        main(["fit", "--ckpt_path", address, f"--name={version}", "--trainer.max_steps=20"])
        assert f"{address} does not hold all that a resume needs, so a new run starts" in capsys.readouterr().err
        assert started.pop() == (FOLDER / f"abc-{version}" / "checkpoints" / name).absolute()
        new = Path("runs/value_sac/probe-Counting-v0") / version
        assert metrics(new)[-1]["env_steps"] == 20  # its clock starts anew
        config = yaml.safe_load((new / "config.yaml").read_text())
        assert config["data"]["init_args"]["eval_interval"] == 40  # the configuration is that of the artifact


def test_with_a_configuration_of_its_own_a_new_run_starts_from_an_address_too(run):
    main(["fit", "value_sac/pendulum", *SMALL, "--name=b", f"--ckpt_path={BEST}", "--trainer.max_steps=10"])
    found = weights(Path("runs/value_sac/probe-Counting-v0/b/checkpoints/last.ckpt"))
    expected = weights(run / "checkpoints" / "best.ckpt")
    assert all(torch.equal(found[name], expected[name]) for name in expected)  # learning has not started


def test_an_address_with_the_replay_buffer_is_resumed_in_its_folder_and_in_its_wandb_run(run):
    main(["fit", "--ckpt_path=wandb:me/p/abc:whole", "--trainer.max_steps=80"])
    folder = FOLDER / "abc-v2"
    assert saved(folder)["global_step"] == 80
    assert (folder / "wandb" / "run_id.txt").read_text() == "abc"


@pytest.mark.parametrize(
    "address",
    ["wandb:me/p/abc", "wandb:abc:best", "wandb:me/p/abc/x:best", "wandb:", "wandb:me/p/abc:", "wandb:me//a:best"],
)
def test_an_address_of_another_form_is_refused(stored, address):
    with pytest.raises(
        MaxEntError, match=r"is not the address of a checkpoint in W&B: write wandb:entity/project/run:best"
    ):
        local_checkpoint(address)


def test_an_address_without_an_account_an_artifact_or_a_network_is_refused_in_one_sentence(stored, capsys, monkeypatch):
    error = refused(capsys, "test", f"--ckpt_path={BEST}")
    assert "cannot be downloaded (artifact 'me/p/model-abc:best' not found in 'me/p'): check the address" in error
    monkeypatch.setattr(wandb, "Api", Mock(side_effect=OSError("no\nroute")))
    assert "cannot be downloaded (no route): check" in refused(capsys, "play", f"--ckpt_path={BEST}")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", "/nonexistent")
    error = refused(capsys, "fit", f"--ckpt_path={BEST}")
    assert error.endswith(f"{BEST} needs an account of W&B: run `wandb login`, or set WANDB_API_KEY.")
    assert not Path("runs").exists()


def test_a_download_that_fails_or_holds_no_checkpoint_leaves_nothing_that_looks_like_a_run(stored, monkeypatch):
    stored["me/p/model-abc:best"] = artifact = Artifact("v0", {})
    Path("file").touch()
    monkeypatch.setattr(artifact, "_files", {"checkpoints/best.ckpt": Path("file"), "config.yaml": Path("missing")})
    with pytest.raises(MaxEntError, match="cannot be downloaded"):
        local_checkpoint(BEST)
    assert list(FOLDER.iterdir()) == []
    monkeypatch.setattr(artifact, "_files", {"model.txt": Path("file")})
    with pytest.raises(MaxEntError, match="holds 0 checkpoints, but must hold one"):
        local_checkpoint(BEST)
    assert list(FOLDER.iterdir()) == []
