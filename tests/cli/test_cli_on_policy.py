"""The command line with on-policy algorithms: mistakes that only they have."""

import pytest
from cli_helpers import refused

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
SMALL = [
    "--data.num_envs=2",
    "--data.steps_per_round=20",
    "--data.eval_interval=40",
    "--data.eval_episodes=2",
    "--checkpoint.every_n_steps=40",
    "--training_log.every_n_steps=20",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def small(config: str) -> list[str]:
    size = "width=8" if config.startswith("reppo") else "hidden_dims=[8]"
    passes = ["--model.minibatches=2"] if "ppo" in config else []
    return [*SMALL, f"--model.policy.init_args.network.init_args.{size}", *passes]


@pytest.mark.parametrize(
    ("config", "args", "sentence"),
    [
        (
            "ppo/cartpole",
            ["--data.env_id=Pendulum-v1", "--model.policy=Categorical"],
            "Categorical is for finite actions",
        ),
        (
            "ppo/pendulum",
            ["--data.env_id=CartPole-v1", "--model.policy=Gaussian"],
            "Gaussian is for continuous actions",
        ),
        (
            "ppo/cartpole",
            ["--data=lightning_maxent.data.replay.ReplayDataModule", "--data.batch_size=8", "--data.learning_starts=8"],
            "of the class RolloutDataModule",
        ),
        ("a2c/cartpole", ["--model.gae_lambda=2"], "gae_lambda must lie in [0, 1]"),
        ("a2c/cartpole", ["--model.trace_decy=1"], "trace_decy"),
        ("reinforce/cartpole", ["--data.steps_per_round=2", "--data.eval_interval=2"], "No episode ended"),
    ],
)
def test_invalid_on_policy_settings_are_refused_in_one_sentence(capsys, config, args, sentence):
    given = [option for option in small(config) if not any(arg.split("=")[0] == option.split("=")[0] for arg in args)]
    assert sentence in refused(capsys, "fit", f"--config={config}", *given, *args)


def test_off_policy_algorithms_refuse_rollouts(capsys):
    rollouts = ["--data=lightning_maxent.data.rollout.RolloutDataModule", *SMALL[:4], *SMALL[5:]]
    assert "of the class ReplayDataModule" in refused(capsys, "fit", "--config=value_sac/pendulum", *rollouts)
