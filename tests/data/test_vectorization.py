"""What holds for every kind of vectorization, and what a user's own vectorization must do."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stub_trainer import rounds, started

from lightning_maxent import MaxEntError, OneProcess, ReplayDataModule, Transition, WorkerProcesses
from lightning_maxent.data.spaces import make_env
from lightning_maxent.data.vectorization import make_vector_env

LINE = "probe_envs:worlds/Line-v0"


def played(data: ReplayDataModule) -> list[torch.Tensor]:
    """All transitions and episodes of a short run, in training and in an evaluation."""
    rounds(data, 20)
    rows = [data.buffer.storage[: len(data.buffer)][name] for name in Transition._fields]
    episodes = [field for episode in data.val_dataloader() for field in (episode.obs, episode.action, episode.reward)]
    data.teardown("fit")
    return [*rows, *episodes]


@pytest.mark.parametrize("env_id", ["Pendulum-v1", LINE])
def test_workers_give_to_the_last_bit_what_one_process_gives(env_id, monkeypatch):
    monkeypatch.setattr("stub_trainer.StubTrainer.act", lambda self, obs, deterministic: obs[:, :1] / 9)
    monkeypatch.setattr("stub_trainer.StubTrainer.explore", lambda self, obs: obs[:, :1] / 9)
    runs = []
    for vectorization in (OneProcess, WorkerProcesses):
        torch.manual_seed(0)
        runs.append(
            played(started(env_id, num_envs=3, steps_per_round=3, eval_interval=3, vectorization=vectorization))
        )
    assert len(runs[0]) > 5
    for one, workers in zip(*runs, strict=True):
        assert torch.equal(one, workers)


def test_every_copy_starts_elsewhere_and_the_same_seed_starts_all_at_the_same_places(runner):
    starts = runner(LINE, {}, {}, {}).obs
    assert len({*starts[:, 0].tolist()}) == 3
    assert torch.equal(runner(LINE, {}, {}, {}).obs, starts)


def test_a_seed_may_be_given_to_each_copy(vector_env):
    make = partial(make_env, LINE)
    first, _ = vector_env(make, make).reset(seed=[7, 3])
    assert np.array_equal(first[::-1], vector_env(make, make).reset(seed=[3, 7])[0])


def test_observations_stay_as_they_were_given(vector_env):
    envs = vector_env(partial(make_env, LINE))
    first, _ = envs.reset(seed=0)
    second, *_ = envs.step(np.zeros((1, 1), np.float32))
    envs.step(np.zeros((1, 1), np.float32))
    assert (first[0, 1], second[0, 1]) == (0, 1)


def test_a_discrete_action_reaches_its_copy(vector_env):
    envs = vector_env(*[partial(make_env, "probe_envs:probe/Rooms-v0")] * 2)
    envs.reset(seed=[0, 0])
    _, reward, *_ = envs.step(np.array([3, 4]))
    assert abs(reward[0] - reward[1]) == 1  # one of them is right


def test_a_copy_that_cannot_be_made_is_told_with_its_line_and_a_way_out(vectorization):
    makers = [partial(make_env, "probe_envs:worlds/Breaks-v0", {"how": how}) for how in ("nothing", "KeyError")]
    with pytest.raises(
        MaxEntError, match=r"'probe_envs:worlds/Breaks-v0' raised KeyError: .*probe_envs.py.*; go out\.$"
    ):
        make_vector_env(makers, vectorization, "go out")


class Stuck(gym.Wrapper):
    def close(self):
        raise OSError("the arm is stuck")


def test_what_a_copy_raises_when_it_is_closed_is_told_and_the_others_are_closed(vectorization, tmp_path):
    class Notes(gym.Wrapper):
        def close(self):
            (tmp_path / self.get_wrapper_attr("copy_name")).touch()
            super().close()

    around = enumerate([Notes, Stuck, Notes])
    makers = [partial(make_env, LINE, None, {"wrappers": [each]}, copy=copy) for copy, each in around]
    envs = make_vector_env(makers, vectorization)
    (tmp_path / "train-0").unlink(missing_ok=True)  # of the copy that tells the spaces
    with pytest.raises(MaxEntError, match=r"Line-v0: copy 1, in close, raised OSError: the arm is stuck \(.*py, line"):
        envs.close()
    assert {path.name for path in tmp_path.iterdir()} == {"train-0", "train-2"}


def test_copies_whose_spaces_differ_are_refused_in_one_sentence(vectorization):
    unbounded = "probe_envs:worlds/Unbounded-v0"
    makers = [partial(make_env, unbounded, {"low": [0.0], "high": [high]}) for high in (1.0, 2.0)]
    with pytest.raises(
        MaxEntError, match=r"^Copy 1 has actions in Box\(.*, but copy 0 has them in Box\(.*: all copies"
    ):
        make_vector_env(makers, vectorization)


def nothing(makers):
    return None


def one_of_them(makers):
    return OneProcess(makers[:1])


def resets_later(makers):
    return SyncVectorEnv(makers)


@pytest.mark.parametrize("build", [SyncVectorEnv, partial(SyncVectorEnv, copy=False), AsyncVectorEnv])
def test_a_class_of_gymnasium_resets_in_the_step_that_ends_an_episode(build):
    envs = make_vector_env([partial(make_env, LINE)] * 2, build)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    envs.close()


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (nothing, r"must build a gymnasium\.vector\.VectorEnv, but it returned an object of the class NoneType\.$"),
        (one_of_them, r"The vectorization OneProcess has 1 copies, but was given 2 functions"),
        (
            partial(SyncVectorEnv, autoreset_mode=AutoresetMode.NEXT_STEP),
            r"^The vectorization SyncVectorEnv has the autoreset mode NEXT_STEP, but must reset in the step",
        ),
        (resets_later, r"SyncVectorEnv has the autoreset mode NEXT_STEP, .* set its autoreset_mode to SameStep\.$"),
        (lambda makers: 1 / 0, r"vector environment of 2 copies raised ZeroDivisionError: division by zero \(.*py"),
    ],
)
def test_a_vectorization_of_the_users_own_that_breaks_its_contract_is_refused(build, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        make_vector_env([partial(make_env, LINE)] * 2, build, "a way out that is none")
