"""Every critic's overlay trains the SACs and soft Q-learning, as a user lays it over a configuration."""

import csv
import math
import re

import pytest
import yaml

from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import main, run
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
OVERLAYS = sorted(path.stem for path in (BUILT_IN_CONFIGS / "critic").glob("*.yaml"))
JOINT = ("crossq", "flash")
WITH_VALUE = {
    "value_sac/pendulum": "sac/half_cheetah",
    "discrete_value_sac/cartpole": "discrete_sac/cartpole",
}
"""Configurations that learn V, and what an error names in their place."""
PAIRS = [(task, overlay) for task in ("sac/pendulum", "soft_q/cartpole") for overlay in OVERLAYS]
PAIRS += [("continuous_soft_q/pendulum", "tqc"), ("continuous_soft_q/pendulum", "crossq")]
PAIRS += [("discrete_sac/cartpole", "redq"), ("discrete_sac/cartpole", "flash")]
PAIRS += [("value_sac/pendulum", "categorical"), ("discrete_value_sac/cartpole", "tqc")]
"""Each overlay with either kind of actions, and each algorithm with overlays whose critics and targets differ.

The losses of every critic in every algorithm stand in ``algorithms/test_what_enters_the_backup.py``.
"""


def narrow(part: str, name: str) -> list[str]:
    """The option that makes the network of a critic's overlay, or of a configuration's policy, narrow."""
    network = yaml.safe_load((BUILT_IN_CONFIGS / f"{name}.yaml").read_text())["model"]["init_args"]
    for key in (part, "init_args", "network", "init_args"):
        network = network.get(key, {}) if isinstance(network, dict) else {}
    option = f"--model.{part}.init_args.network.init_args"
    return [
        f"{option}.{name}={16 if name == 'width' else [16, 16]}" for name in network if name in ("width", "hidden_dims")
    ]


def a_short_run(tmp_path, *configs) -> list[str]:
    """Of 40 steps and 8 updates, with narrow networks."""
    overlays = [name for name in configs if name.startswith("critic/")]
    return [
        "fit",
        *(f"--config={config}" for config in configs),
        f"--runs_dir={tmp_path}",
        "--data.init_args.learning_starts=32",
        "--data.init_args.batch_size=32",
        "--data.init_args.eval_interval=40",
        "--data.init_args.eval_episodes=1",
        "--trainer.max_steps=40",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--training_log.every_n_steps=40",
        *(option for overlay in overlays for option in narrow("critic", overlay)),
        *narrow("policy", f"algorithm/{configs[0].partition('/')[0]}"),
    ]


@pytest.mark.parametrize("task", WITH_VALUE)
@pytest.mark.parametrize("overlay", JOINT)
def test_a_joint_pass_over_a_sac_with_v_is_refused_in_one_sentence_with_advice_that_works(
    tmp_path, capsys, task, overlay
):
    with pytest.raises(SystemExit):
        main(a_short_run(tmp_path, task, f"critic/{overlay}"))
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert "computes (s, a) and (s', a') in one pass" in sentence
    assert list(tmp_path.iterdir()) == []
    advised = re.findall(r"[a-z_]+/[a-z_]+", sentence.partition("as in fit ")[2].partition(";")[0])
    assert advised == [WITH_VALUE[task], "critic/crossq"]
    model = run(resolve_arguments(a_short_run(tmp_path, *advised))).model
    assert int(model.gradient_steps) == 8


@pytest.mark.parametrize(("task", "overlay"), PAIRS)
def test_an_overlay_plugs_its_critic_into_the_algorithm_which_learns(tmp_path, task, overlay):
    cli = run(resolve_arguments(a_short_run(tmp_path, task, f"critic/{overlay}")))
    overlaid = yaml.safe_load((BUILT_IN_CONFIGS / "critic" / f"{overlay}.yaml").read_text())
    class_path = overlaid["model"]["init_args"]["critic"]["class_path"]
    assert type(cli.model.critic).__name__ == class_path.rpartition(".")[2]
    with (cli.run_dir / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert row["gradient_steps"] == "8.0"
    for name in ("loss/critic", "q", "eval/q_mean", "eval/return_mean"):
        assert math.isfinite(float(row[name]))
    optimizer = cli.trainer.optimizers[cli.model.trained_networks().index("critic")]
    for parameter in cli.model.critic.parameters():
        assert (optimizer.state[parameter]["exp_avg"] != 0).any()  # a gradient reached it
