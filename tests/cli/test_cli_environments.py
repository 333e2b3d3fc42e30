"""Vectorization and wrappers, from the command line to the loaded policy."""

import shlex

import gymnasium as gym
import numpy as np
import pytest
from cli_helpers import fit, refused

from lightning_maxent import load_policy
from lightning_maxent.cli.command import main

pytestmark = [
    pytest.mark.usefixtures("in_an_empty_folder"),
    pytest.mark.filterwarnings("ignore:.*use of fork"),
]
WRAPPERS = ["--data.wrappers+=test_cli_environments.First", "--data.wrappers.factor=2"]


class First(gym.ObservationWrapper):
    """Shows a multiple of the first number of an observation."""

    def __init__(self, env: gym.Env, factor: float = 1.0):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.factor = factor

    def observation(self, observation):
        return self.factor * observation[:1]


def test_a_run_with_workers_and_wrappers_trains_resumes_and_gives_its_policy(capsys):
    workers = ["--data.vectorization", "lightning_maxent.WorkerProcesses"]
    copies = ["--data.num_envs=2", "--data.steps_per_round=2", "--trainer.logger=false"]
    run = fit(*workers, *WRAPPERS, *copies, steps=40)
    config = (run / "config.yaml").read_text()
    assert "lightning_maxent.WorkerProcesses" in config
    assert "test_cli_environments.First" in config
    policy = load_policy(run)
    assert policy(np.array([3.0])).shape == (2,)
    last = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    error = refused(capsys, "fit", last, "--trainer.max_steps=80", "--data.wrappers.factor=3")
    assert "The checkpoint was made with wrappers ['First(factor=2.0)'], but the configuration has ['First(" in error
    main(["fit", last, "--trainer.max_steps=80"])


def test_an_error_of_a_worker_is_one_sentence_with_the_line(capsys):
    given = [*shlex.split("--data.vectorization WorkerProcesses --trainer.logger=false --name=a"), "--data.num_envs=2"]
    small = ["--data.steps_per_round=2", "--data.eval_interval=40", "--data.env_kwargs={breaks: 3}"]
    said = refused(capsys, "fit", "sac/pendulum", "--data.env_id=probe_envs:probe/Counting-v0", *small, *given)
    assert "probe/Counting-v0 at environment step 8: copy 0, in step 4 of its episode, raised ValueError: the" in said
    assert "probe_envs.py, line" in said


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("--data.wrappers+=test_cli_environments.Frist", "did you mean test_cli_environments.First?"),
        ("--data.wrappers+=no_such_module.First", "The class no_such_module.First cannot be found"),
        (
            "--data.wrappers+=test_cli_environments.First --data.wrappers.factr=2",
            "First has no option 'factr'; did you",
        ),
        (
            "--data.wrappers+=test_cli_environments.First --data.wrappers.factor=x",
            "The option 'factor' must be a number",
        ),
        ("--data.wrappers+=torch.nn.Linear", "torch.nn.Linear cannot be used here: a subclass of Env is needed."),
        ("--data.wrappers+=gymnasium.wrappers.TimeLimit", "TimeLimit cannot be built without max_episode_steps"),
        ("--data.eval_wrappers+=lightning_maxent.RecordVideo", "RecordVideo is now EpisodeVideos."),
        ("--data.wrappers=my.Own", "The option 'wrappers' is a list: add to it with +=, as in wrappers+=my.Own."),
        ("--data.vectorization=lightning_maxent.Workers", "There is no class lightning_maxent.Workers"),
        ("--data.vectorization=torch.nn.Linear", "cannot be used here: a subclass of VectorEnv is needed."),
        (
            "--data.vectorization=null",
            "--data.vectorization cannot be null: give another value, or leave it out to have the default, OneProcess.",
        ),
        ("--data.observation_scaling=null", "--data.observation_scaling cannot be null: "),
        ("--data.num_envs=null", "--data.num_envs cannot be null: give another value, or leave it out to have the "),
        ("--model.temperature=null", "--model.temperature cannot be null: "),
        ("--model.optimizers=null", "--model.optimizers cannot be null: "),
        (
            "--data.wrappers.k=3",
            "--data.wrappers.k: No wrapper was given to take the option 'k': add its class to the list first, as in "
            "--data.wrappers+=gymnasium.wrappers.TimeAwareObservation.",
        ),
        (
            "--trainer.callbacks.patience=3",
            "No callback was given to take the option 'patience': add its class to the list first, as in "
            "--trainer.callbacks+=EarlyStopping.",
        ),
    ],
)
def test_a_part_that_cannot_be_used_is_told_in_one_sentence(capsys, given, sentence):
    assert sentence in refused(capsys, "fit", "sac/pendulum", *given.split())


@pytest.mark.parametrize("data", ["ReplayDataModule", "RolloutDataModule"])
def test_the_options_are_in_the_help_of_the_data(capsys, data):
    with pytest.raises(SystemExit):
        main(["fit", f"--data.help={data}"])
    told = capsys.readouterr().out
    for option in ("--data.vectorization", "--data.wrappers", "--data.train_wrappers", "--data.eval_wrappers"):
        assert option in told
    assert "lightning_maxent.WorkerProcesses" in told
