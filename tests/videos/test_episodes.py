"""Videos show the episodes of a policy, picture by picture, and change no random state."""

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
import torch

from lightning_maxent import (
    SAC,
    MaxEntError,
    ReplayDataModule,
    SquashedGaussian,
    StandardizedObservations,
    TrainedPolicy,
    TwinCritic,
    record_episodes,
)
from lightning_maxent.videos.estimates_panel import HEIGHT
from lightning_maxent.videos.video_file import VideoFile

FILMED = "probe_envs:worlds/Filmed-v0"  # 6 steps; pictures of 4 x 6 pixels of one gray, 40 times the step


def policy_for(env_id: str = FILMED, **kwargs) -> TrainedPolicy:
    torch.manual_seed(0)
    data = ReplayDataModule(env_id, observation_scaling=StandardizedObservations, **kwargs)
    return TrainedPolicy(SAC(data.obs_dim, data.actions, TwinCritic, SquashedGaussian), data)


def returned(policy: TrainedPolicy, seed: int, deterministic: bool = True) -> float:
    env, total, ended = gym.make(FILMED), 0.0, False
    obs, _ = env.reset(seed=seed)
    while not ended:
        obs, reward, terminated, truncated, _ = env.step(policy(obs, deterministic))
        total, ended = total + float(reward), terminated or truncated
    return total


def test_a_video_has_a_picture_of_every_state_of_the_episode(tmp_path):
    policy = policy_for()
    recorded = record_episodes(policy, tmp_path / "new" / "a.gif", [3])
    grays = [int(picture[0, 0, 0]) for picture in iio.imread(recorded.path)]
    assert grays == [40 * step for step in range(7)]
    (episode,) = recorded.episodes
    assert episode == (3, pytest.approx(returned(policy, 3)), 6)
    assert [path.name for path in recorded.path.parent.iterdir()] == ["a.gif"]


def test_episodes_side_by_side_have_their_own_seeds_and_kinds_of_actions(tmp_path):
    policy = policy_for()
    recorded = record_episodes(policy, tmp_path / "a.gif", [3, 4], deterministic=[True, False])
    assert iio.imread(recorded.path).shape[:3] == (7, 4, 12)
    assert recorded.episodes[0].episode_return == pytest.approx(returned(policy, 3))
    assert recorded.episodes[1].episode_return != pytest.approx(returned(policy, 4), abs=1e-6)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        assert recorded.episodes[1].episode_return == pytest.approx(returned(policy, 4, deterministic=False))


def test_an_episode_that_ends_earlier_keeps_its_last_picture(tmp_path, monkeypatch):
    policy, made = policy_for(), []

    def env_of_length(render_mode):
        made.append(gym.make(FILMED, render_mode=render_mode))
        made[-1].unwrapped.length = 2 * len(made)
        return made[-1]

    monkeypatch.setattr(policy, "make_env", env_of_length)
    recorded = record_episodes(policy, tmp_path / "a.gif", [0, 1])
    pictures = iio.imread(recorded.path)
    assert [int(picture[0, 0, 0]) for picture in pictures] == [0, 40, 80, 80, 80]
    assert [int(picture[0, 6, 0]) for picture in pictures] == [0, 40, 80, 120, 160]
    assert [episode.length for episode in recorded.episodes] == [2, 4]


@pytest.mark.parametrize("estimates", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_recording_changes_neither_random_state_nor_modes_and_estimates_change_no_action(
    tmp_path, estimates, deterministic
):
    policy = policy_for(FILMED)
    policy.model.train()
    state = torch.get_rng_state()
    recorded = record_episodes(policy, tmp_path / "a.gif", [5], deterministic, estimates)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in policy.model.modules())
    torch.manual_seed(5)
    assert recorded.episodes[0].episode_return == pytest.approx(returned(policy, 5, deterministic))


def test_curves_of_the_estimates_lie_below_the_pictures(tmp_path):
    recorded = record_episodes(policy_for(), tmp_path / "a.gif", [0], estimates=True)
    pictures = iio.imread(recorded.path)
    assert pictures.shape[1:3] == (4 + HEIGHT, 6)


def test_estimates_of_a_step_are_those_of_the_algorithm_for_scaled_observations():
    policy = policy_for()
    obs = np.array([0.3, 2.0], np.float32)
    policy.observation_scaling.update(torch.randn(50, 2) * 3 + 1)
    action, estimates = policy.act_and_estimate(obs, deterministic=True)
    np.testing.assert_allclose(action, policy(obs, deterministic=True))
    scaled = policy.observation_scaling(torch.from_numpy(obs).unsqueeze(0))
    with torch.no_grad():
        q = policy.model.q_value(scaled, policy.model._act(scaled, True))
    assert estimates["Q"] == pytest.approx(float(q))
    assert set(estimates) == {"V", "Q", "entropy"}


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # imageio's reader
def test_mp4_has_even_sides_and_every_picture(tmp_path):
    with VideoFile(tmp_path / "a.mp4", fps=10.0) as video:
        for gray in (0, 120, 240):
            video.add(np.full((33, 51, 3), gray, np.uint8))
    pictures = iio.imread(tmp_path / "a.mp4")
    assert pictures.shape == (3, 34, 52, 3)
    assert [round(float(picture[:30, :50].mean()) / 40) for picture in pictures] == [0, 3, 6]
    assert iio.immeta(tmp_path / "a.mp4", plugin="FFMPEG")["fps"] == 10


def test_an_error_leaves_the_old_video_and_no_other_file(tmp_path):
    (tmp_path / "a.gif").write_text("old")

    def interrupted():
        with VideoFile(tmp_path / "a.gif", fps=10.0) as video:
            video.add(np.zeros((4, 4, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.gif", "old")]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "a.avi"}, r"a\.avi is not the name of a video: choose one of the suffixes \.mp4 and \.gif\.$"),
        ({"path": "file/a.gif"}, r"file/a\.gif cannot be written \(.+\): give another path\.$"),
        ({"path": "folder.gif"}, r"folder\.gif' is not the name of a file: give another path\.$"),
        ({"seeds": []}, r"^episodes must be at least 1, but is 0\.$"),
        ({"deterministic": [True, False]}, r"There are 1 seeds, but 2 values of deterministic: give one for each\.$"),
        (
            {"env_id": "probe_envs:worlds/Line-v0"},
            r"Line-v0' has no render mode rgb_array, only none at all: its class",
        ),
    ],
)
def test_what_cannot_be_recorded_is_said_in_one_sentence(tmp_path, change, sentence):
    (tmp_path / "file").touch()
    (tmp_path / "folder.gif").mkdir()
    given = {"path": "a.gif", "seeds": [0], "deterministic": True, "env_id": FILMED} | change
    policy = policy_for(given.pop("env_id"))
    with pytest.raises(MaxEntError, match=sentence):
        record_episodes(policy, tmp_path / given.pop("path"), **given)


@pytest.mark.filterwarnings("ignore:.*RGB-array rendering should")  # Gymnasium's own checks
@pytest.mark.parametrize(
    "picture", [None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_an_environment_that_renders_no_picture_is_told(tmp_path, monkeypatch, picture):
    import probe_envs

    monkeypatch.setattr(probe_envs.Filmed, "render", lambda self: picture)
    with pytest.raises(MaxEntError, match=r"Filmed-v0 rendered .*, but the render mode rgb_array must give an array"):
        record_episodes(policy_for(), tmp_path / "a.gif")


@pytest.mark.parametrize("estimates", [False, True])
def test_pictures_of_different_sizes_are_refused_and_no_file_is_left(tmp_path, monkeypatch, estimates):
    import probe_envs

    monkeypatch.setattr(probe_envs.Filmed, "render", lambda self: np.zeros((4, 4 + self.t, 3), np.uint8))
    with pytest.raises(MaxEntError, match=r"different sizes|same size"):
        record_episodes(policy_for(), tmp_path / "a.mp4", estimates=estimates)
    assert not list(tmp_path.iterdir())


def test_the_line_of_an_environment_that_fails_is_told(tmp_path, monkeypatch):
    import probe_envs

    def fails(self, action):
        raise ValueError("the motor is hot")

    monkeypatch.setattr(probe_envs.Filmed, "step", fails)
    with pytest.raises(MaxEntError, match=r"Filmed-v0 raised ValueError: the motor is hot \(.*test_episodes.py, line"):
        record_episodes(policy_for(), tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_the_environment_of_a_policy_has_the_wrappers_and_arguments_of_its_run():
    policy = policy_for(
        "probe_envs:worlds/Line-v0", env_kwargs={"length": 4}, wrappers=[gym.wrappers.FlattenObservation]
    )
    env = policy.make_env()
    assert isinstance(env, gym.wrappers.FlattenObservation)
    assert env.unwrapped.length == 4
    assert env.reset(seed=0)[0] in env.observation_space
