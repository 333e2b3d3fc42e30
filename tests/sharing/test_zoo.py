"""Every policy of the zoo loads, does what its card says, and fits into a repository."""

import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from cli_helpers import environment

from lightning_maxent import export_policy, load_policy
from lightning_maxent.cli.command import main
from lightning_maxent.sharing.addresses import ZOO, zoo_names
from lightning_maxent.sharing.card import KINDS, mean_and_deviation, read_card
from lightning_maxent.sharing.shared_policy import FIRST_SEED

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "zoo.md").read_text()
EXACT = ("Pendulum-v1", "CartPole-v1", "lightning_maxent/MultiGoal-v0")  # numpy alone, the same on every machine
CHAOTIC = 0.5  # elsewhere rounding grows: an episode reaches at least half of the lowest return of the card


@pytest.mark.parametrize("name", zoo_names())
def test_an_episode_has_the_return_of_the_card(name):
    policy, (training, results) = load_policy(f"zoo/{name}"), read_card(ZOO / name)
    if training.env_id.startswith("LunarLander"):
        pytest.importorskip("Box2D")
    env = policy.make_env()
    (obs, _), total, over = env.reset(seed=FIRST_SEED), 0.0, False
    while not over:
        obs, reward, terminated, truncated, _ = env.step(policy(obs, deterministic=True))
        total, over = total + float(reward), terminated or truncated
    env.close()
    if training.env_id in EXACT:
        assert total == pytest.approx(results.deterministic[0], rel=1e-3, abs=0.05)
    else:
        lowest = min(results.deterministic)
        assert total > lowest - CHAOTIC * abs(lowest)


@pytest.mark.parametrize("name", zoo_names())
def test_the_card_says_what_trained_the_policy(name):
    training, results = read_card(ZOO / name)
    policy = load_policy(f"zoo/{name}")
    assert (training.algorithm, training.env_id) == (type(policy.model).__name__, policy.env_id)
    assert training.env_steps == policy.env_steps
    assert training.command.startswith("lightning-maxent fit ")
    assert training.commit
    assert len(results.deterministic) == len(results.sampled) == 20
    text = (ZOO / name / "README.md").read_text()
    for kind, returns in zip(KINDS.values(), results):
        assert f"| {kind} | {mean_and_deviation(returns)} |" in text


def test_the_policies_fit_into_a_repository():
    files = [path for path in ZOO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert {path.name for path in files} == {"README.md", "config.yaml", "best.ckpt"}


def test_the_list_and_the_page_have_a_line_for_every_policy(capsys):
    main(["list"])
    told = capsys.readouterr().out.partition("Trained policies: play --policy NAME\n")[2].splitlines()
    for name, line in zip(zoo_names(), told, strict=True):
        training, results = read_card(ZOO / name)
        assert line.split()[0] == f"zoo/{name}"
        assert f"{training.algorithm} on {training.env_id}, return {mean_and_deviation(results.deterministic)}" in line
        row = f"| {mean_and_deviation(results.deterministic)} | {mean_and_deviation(results.sampled)} |"
        assert any(row in each and f"zoo/{name}" in each for each in PAGE.splitlines()), f"zoo/{name} {row}"


@pytest.mark.slow
def test_an_exported_policy_of_half_cheetah_plays_in_onnxruntime_at_the_same_return():
    """Dynamics are chaotic, so single returns differ: the means of 20 episodes agree within four standard errors."""
    export_policy(load_policy("zoo/half_cheetah"), "p.onnx")
    play = [sys.executable, str(ROOT / "scripts/play_onnx.py"), "p.onnx", "--episodes=20", f"--seed={FIRST_SEED}"]
    done = subprocess.run(play, env=environment(), capture_output=True, text=True, check=True)
    returns = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if line.startswith("seed")]
    expected = read_card(ZOO / "half_cheetah")[1].deterministic
    error = np.sqrt((np.var(returns) + np.var(expected)) / 20)
    assert len(returns) == 20
    assert abs(np.mean(returns) - np.mean(expected)) < 4 * error


def test_the_worlds_that_are_exact_are_those_of_numpy():
    for env_id in EXACT:
        assert "mujoco" not in str(gym.spec(env_id).entry_point)
