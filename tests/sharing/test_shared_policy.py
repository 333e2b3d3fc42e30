"""A shared policy is a small folder that plays as the run did, says its results, and is trained from again."""

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from cli_helpers import SMALL_PENDULUM, fit_pendulum, refused
from every_algorithm import CASES
from small_algorithms import built

from lightning_maxent import MaxEntError, load_policy, share_policy
from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.cli.command import main
from lightning_maxent.sharing.card import mean_and_deviation, read_card
from lightning_maxent.sharing.shared_policy import FIRST_SEED, _halved, _without_copies

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
TRAINER_OPTIONS = [each for each in SMALL_PENDULUM if each.startswith("--trainer.")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of SAC on Pendulum."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        return fit_pendulum("a")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_folder_plays_as_the_run_and_is_small(run, tmp_path):
    share_policy(run, "mine", episodes=1)
    assert files_of(Path("mine")) == {"README.md", "config.yaml", "checkpoints/best.ckpt"}
    moved = shutil.move("mine", tmp_path / "elsewhere")
    theirs, ours = load_policy(moved), load_policy(run)
    obs = 3 * np.random.default_rng(0).standard_normal((20, 3), np.float32)
    np.testing.assert_array_equal(theirs(obs, deterministic=True), ours(obs, deterministic=True))
    assert theirs.act_and_estimate(obs[0], True)[1] == ours.act_and_estimate(obs[0], True)[1]
    assert theirs.env_steps == ours.env_steps
    share_policy(run / "checkpoints" / "last.ckpt", "last", episodes=1)  # which can resume
    assert files_of(Path("last")) == {"README.md", "config.yaml", "checkpoints/best.ckpt"}
    assert "optimizer_states" not in read_checkpoint(Path("last/checkpoints/best.ckpt"))
    networks = sum(each.numel() for name in ("policy", "critic") for each in getattr(ours.model, name).parameters())
    assert Path(moved, "checkpoints/best.ckpt").stat().st_size < 4 * networks + 20_000  # the target critic is not in it


def test_with_half_the_folder_is_half_as_large_and_actions_differ_little(run):
    share_policy(run, "mine", episodes=1)
    main(["share", f"--ckpt_path={run}", "--out=half", "--half", "--episodes=1"])
    whole, half = (Path(each, "checkpoints/best.ckpt").stat().st_size for each in ("mine", "half"))
    assert half < 0.55 * whole
    obs = 3 * np.random.default_rng(0).standard_normal((200, 3), np.float32)
    difference = load_policy("half")(obs, deterministic=True) - load_policy("mine")(obs, deterministic=True)
    assert 0 < np.abs(difference).max() < 4e-3 * 4  # of the range of actions


def test_numbers_beyond_16_bits_and_vectors_keep_32_bits():
    for tensor in (torch.full((2, 2), 1e5), torch.ones(3), torch.ones(2, 2, dtype=torch.int64)):
        assert torch.equal(_halved(tensor), tensor)
        assert _halved(tensor).dtype == tensor.dtype
    assert _halved(torch.ones(2, 2)).dtype == torch.float16


def test_nothing_in_the_folder_names_this_machine(run):
    share_policy(run, Path("deep/mine").absolute(), episodes=1)
    for name in ("README.md", "config.yaml"):
        assert str(run.parents[3]) not in Path("deep/mine", name).read_text()
        assert str(Path().absolute()) not in Path("deep/mine", name).read_text()
    assert b"runs" not in Path("deep/mine/checkpoints/best.ckpt").read_bytes()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_target_networks_of_every_algorithm_take_no_room_and_equal_their_networks(name, kind):
    weights = built(name, kind, None).state_dict()
    for key, tensor in weights.items():
        if key.startswith("target_") and tensor.is_floating_point():
            tensor.add_(1)  # they lag behind
    shared = _without_copies(weights)
    assert shared.keys() == weights.keys()
    for key, tensor in shared.items():
        if ".network." in key and key.startswith("target_"):
            followed = key.removeprefix("target_").replace(".network.", ".", 1)
            assert tensor is shared[followed]
        else:
            assert torch.equal(tensor, weights[key])


def returns_in_gymnasium(folder: Path, count: int) -> list[float]:
    policy, env, returns = load_policy(folder), gym.make("Pendulum-v1"), []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        (obs, _), total, over = env.reset(seed=seed), 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy(obs, deterministic=True))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def test_the_card_says_the_returns_the_steps_and_the_command(run):
    results = share_policy(run, "mine", episodes=2, command="lightning-maxent fit sac/pendulum", commit="abc1234")
    assert results.deterministic == pytest.approx(returns_in_gymnasium(run, 2))
    assert results.sampled != results.deterministic
    text = Path("mine/README.md").read_text()
    training, said = read_card(Path("mine"))
    assert said.deterministic == pytest.approx(results.deterministic, abs=1e-3)
    assert said.sampled == pytest.approx(results.sampled, abs=1e-3)
    assert training._asdict() == {
        "algorithm": "SAC",
        "env_id": "Pendulum-v1",
        "env_steps": 200,
        "seed": 0,
        "command": "lightning-maxent fit sac/pendulum",
        "version": training.version,
        "commit": "abc1234",
    }
    assert f"| deterministic actions | {mean_and_deviation(results.deterministic)} |" in text
    assert "lightning-maxent play --policy mine\n" in text
    assert "commit abc1234" in text


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        ((5000, 9440.0), "7,220 ± 2,220"),
        ((-111.154, -111.154), "-111.15 ± 0"),
        ((0.0, 0.25), "0.125 ± 0.125"),
        ((123456.7, 123456.7), "123,460 ± 0"),
    ],
)
def test_returns_have_significant_digits_and_no_exponent(returns, text):
    assert mean_and_deviation(returns) == text


def test_the_hub_reads_the_results_from_the_card(run):
    hub = pytest.importorskip("huggingface_hub")
    results = share_policy(run, "mine", episodes=2)
    data = hub.ModelCard.load("mine/README.md").data
    assert (data.library_name, data.pipeline_tag) == ("lightning-maxent", "reinforcement-learning")
    deterministic, sampled = data.eval_results
    assert deterministic.metric_value == pytest.approx(np.mean(results.deterministic), abs=1e-3)
    assert sampled.metric_value == pytest.approx(np.mean(results.sampled), abs=1e-3)
    assert (deterministic.metric_type, deterministic.dataset_name) == ("mean_reward", "Pendulum-v1")


def test_the_command_of_the_card_trains_the_same_policy_again(run, monkeypatch):
    share_policy(run, "mine", episodes=1)
    monkeypatch.chdir("mine")
    main(["fit", "config.yaml", "--name=again", *TRAINER_OPTIONS])
    again = load_policy("runs/sac/Pendulum-v1/again")
    obs = np.float32([[1, 0, 0], [0, 1, 3]])
    np.testing.assert_array_equal(again(obs, deterministic=True), load_policy(run)(obs, deterministic=True))


def test_a_run_starts_from_a_shared_policy_and_its_targets_from_its_networks(run, capsys):
    share_policy(run, "mine", episodes=1)
    fit_pendulum("warm", "--trainer.callbacks+=WarmStart", "--trainer.callbacks.path=mine/checkpoints/best.ckpt",
        "--data.learning_starts=300")  # fmt: skip
    weights = read_checkpoint(Path("runs/sac/Pendulum-v1/warm/checkpoints/last.ckpt"))["state_dict"]
    shared = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    for name, tensor in weights.items():
        followed = name.removeprefix("target_").replace(".network.", ".", 1) if name.startswith("target_") else name
        assert torch.equal(tensor, shared[followed])
    assert "only holds weights" in refused(capsys, "fit", "--ckpt_path=mine/checkpoints/best.ckpt")


def test_a_shared_policy_is_evaluated_by_the_command_test(run, capsys):
    share_policy(run, "mine", episodes=1)
    main(["test", "--ckpt_path=mine/checkpoints/best.ckpt", *TRAINER_OPTIONS])
    assert "test/return_mean" in capsys.readouterr().out


def test_the_command_writes_the_folder_and_prints_what_it_found(run, capsys):
    capsys.readouterr()
    main(["share", f"--ckpt_path={run}", "--out=mine", "--episodes=2"])
    size, deterministic, sampled = capsys.readouterr().out.splitlines()
    assert size == f"mine: {sum(path.stat().st_size for path in Path('mine').rglob('*.*')) / 1_000:,.0f} kB."
    assert deterministic.startswith("Return of deterministic actions: -")
    assert sampled.endswith(" (2 episodes).")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ckpt_path=RUN"], "The following arguments are required: --out; see `lightning-maxent share --help`."),
        (["--ckpt_path=RUN", "--out=mine", "--episodes=0"], "episodes must be at least 1, but is 0."),
        (["--policy=nothing", "--out=mine"], "There is no checkpoint nothing."),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(run, arguments, sentence, capsys):
    assert sentence in refused(capsys, "share", *(each.replace("RUN", str(run)) for each in arguments))


def test_a_run_is_not_overwritten(run, capsys):
    before = {name: (run / name).stat().st_mtime_ns for name in files_of(run)}
    for folder in (run, fit_pendulum("other")):
        assert "give another folder" in refused(capsys, "share", f"--ckpt_path={run}", f"--out={folder}")
    assert {name: (run / name).stat().st_mtime_ns for name in files_of(run)} == before
    share_policy(run, "mine", episodes=1)
    share_policy("mine", "mine", episodes=1)  # but a shared policy is


@pytest.mark.parametrize("text", ["", "---\nlibrary_name: x\n---\n", "---\n- [\n---\n", "---\n3\n---\n"])
def test_a_card_of_another_kind_is_refused_in_one_sentence(text, tmp_path):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(MaxEntError, match="write it again with lightning-maxent share") as told:
        read_card(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["- [", "a: b: c", "model:\n  x: [\n", "3"])
def test_a_damaged_configuration_is_told_in_one_sentence(run, text, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "config.yaml").write_text(text)
    with pytest.raises(MaxEntError, match="is not the configuration of a run, or is damaged") as told:
        load_policy(copied)
    assert "\n" not in str(told.value)


def test_the_settings_are_those_of_the_run(run):
    share_policy(run, "mine", episodes=1)
    shared, whole = (yaml.safe_load((Path(each) / "config.yaml").read_text()) for each in ("mine", run))
    assert shared == {name: whole[name] for name in ("seed_everything", "model", "data")} | {
        "trainer": {"max_steps": 200}
    }
