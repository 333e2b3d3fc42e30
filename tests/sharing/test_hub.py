"""Policies of the Hugging Face hub, with a folder on the disk in place of the hub; every failure is one sentence."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from cli_helpers import refused
from huggingface_hub import errors

from lightning_maxent import MaxEntError, load_policy
from lightning_maxent.cli import policy_commands
from lightning_maxent.cli.command import main
from lightning_maxent.sharing import hub
from lightning_maxent.sharing.addresses import ZOO
from lightning_maxent.sharing.card import read_card

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """A folder that stands for the hub."""
    folder = tmp_path / "hub"

    def create_repo(repo_id, exist_ok):
        (folder / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(repo_id, folder_path, allow_patterns, commit_message):
        for name in allow_patterns:
            (folder / repo_id / name).parent.mkdir(exist_ok=True)
            shutil.copy(Path(folder_path) / name, folder / repo_id / name)
        return huggingface_hub.CommitInfo(f"https://huggingface.co/{repo_id}/commit/1", commit_message, "", "1")

    def snapshot_download(repo_id, revision, allow_patterns):
        assert set(allow_patterns) == {"README.md", "config.yaml", "checkpoints/best.ckpt"}
        return str(folder / repo_id / (revision or ""))

    for stand_in in (create_repo, upload_folder, snapshot_download):
        monkeypatch.setattr(huggingface_hub, stand_in.__name__, stand_in)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    return folder


def test_a_policy_is_uploaded_with_its_card_and_is_loaded_from_there(on_disk, capsys):
    Path("mine").mkdir()
    Path("mine/private.txt").write_text("not to be uploaded")
    main(["share", "--policy=zoo/pendulum", "--out=mine", "--repo=me/pendulum", "--episodes=1"])
    assert capsys.readouterr().out.splitlines()[-1] == "Uploaded to https://huggingface.co/me/pendulum"
    there = on_disk / "me" / "pendulum"
    assert {path.name for path in there.rglob("*.*")} == {"README.md", "config.yaml", "best.ckpt"}
    assert "lightning-maxent play --policy hub:me/pendulum\n" in (there / "README.md").read_text()
    assert read_card(there)[0].env_id == "Pendulum-v1"
    obs = load_policy("zoo/pendulum").observation_space.sample()
    assert load_policy("hub:me/pendulum")(obs, True) == load_policy("zoo/pendulum")(obs, True)


def test_a_revision_of_a_repository_is_loaded(on_disk):
    shutil.copytree(ZOO / "pendulum", on_disk / "me" / "pendulum" / "v1")
    assert load_policy("hub:me/pendulum@v1").env_id == "Pendulum-v1"


def test_videos_of_a_downloaded_policy_go_into_the_current_folder(on_disk, capsys, monkeypatch):
    shutil.copytree(ZOO / "pendulum", on_disk / "me" / "policy" / "v1")
    asked = []
    monkeypatch.setattr(policy_commands, "_record", lambda policy, args, folder, *_, **__: asked.append(folder) or 0)
    main(["record", "--policy=hub:me/policy@v1"])
    main(["record", "--policy=zoo/pendulum"])
    assert asked == [Path("videos/policy"), Path("videos/pendulum")]


def answer(status: int, kind: type = errors.HfHubHTTPError) -> Exception:
    return kind("Client error:\nmany lines", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (answer(404, errors.RepositoryNotFoundError), "There is no repository me/p on the hub, or it is private: "),
        (
            answer(404, errors.RevisionNotFoundError),
            "The repository me/p of the hub has no such branch, tag or commit.",
        ),
        (answer(401), "There is no login to the Hugging Face hub: run hf auth login, or set HF_TOKEN"),
        (answer(403), "The hub refused me/p: Client error:"),
        (
            errors.LocalEntryNotFoundError("offline"),
            "The Hugging Face hub cannot be reached for me/p: check the network",
        ),
        (errors.HTTPError("no name"), "The Hugging Face hub cannot be reached for me/p: check the network"),
        (errors.HFValidationError("spaces"), "'me/p' is not a repository of the hub: give USER/NAME."),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_sentence(error, sentence, monkeypatch):
    def fails(*_, **__):
        raise error

    for name, act in {
        "snapshot_download": lambda: load_policy("hub:me/p"),
        "create_repo": lambda: hub.upload(ZOO / "pendulum", "me/p"),
    }.items():
        monkeypatch.setattr(huggingface_hub, name, fails)
        with pytest.raises(MaxEntError) as told:
            act()
        assert str(told.value).startswith(sentence)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("repository", "token", "sentence"),
    [
        ("pendulum", "hf_x", "'pendulum' is not a repository of the hub: give USER/NAME."),
        ("me/a b", "hf_x", "'me/a b' is not a repository of the hub: give USER/NAME."),
        ("me/pendulum", None, "There is no login to the Hugging Face hub: run hf auth login"),
    ],
)
def test_an_upload_that_must_fail_is_refused_before_any_episode(repository, token, sentence, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    error = refused(capsys, "share", "--policy=zoo/pendulum", "--out=mine", f"--repo={repository}")
    assert sentence in error
    assert not Path("mine").exists()


def test_without_the_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MaxEntError, match="pip install huggingface_hub, or the extra hub"):
        load_policy("hub:me/pendulum")
