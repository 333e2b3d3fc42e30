"""An exported file plays as its policy does, for every algorithm and policy, or is refused in one sentence."""

import inspect
import json
import warnings
from abc import ABC
from pathlib import Path

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from every_algorithm import CASES, FIRST
from gymnasium import spaces
from small_algorithms import OBS, built

from lightning_maxent import (
    MLP,
    SAC,
    AbstractExplicitPolicy,
    AbstractPolicy,
    AbstractSampler,
    Deterministic,
    ExportReport,
    FlowPolicy,
    MaxEntError,
    MixtureOfGaussians,
    RawObservations,
    ReplayDataModule,
    SoftQLearning,
    SquashedGaussian,
    StandardizedObservations,
    SteinSampler,
    TrainedPolicy,
    TwinCritic,
    TwinHeadsCritic,
    export_policy,
    exports,
    networks,
)
from lightning_maxent.deployment import exported_policy

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "few_observations")
BOX = spaces.Box(np.float32([-2, 0]), np.float32([3, 10]))
SPACES = {"box": BOX, "joint": spaces.Discrete(4, start=-1), "factors": spaces.MultiDiscrete([2, 2])}
SIGHT = spaces.Box(np.float32([-1, -5, -np.inf]), np.float32([1, 7, np.inf]))
POLICIES = [("SAC", SquashedGaussian), ("SAC", MixtureOfGaussians), ("SAC", FlowPolicy)]
POLICIES += [("ContinuousSoftQLearning", part) for part in (SteinSampler, MixtureOfGaussians)]
NETWORKS = [part for _, part in inspect.getmembers(networks, inspect.isclass) if part.__name__ in networks.__all__]
NETWORKS = [
    part for part in NETWORKS if list(inspect.signature(part).parameters)[:3] == ["members", "in_dim", "out_dim"]
]


@pytest.fixture
def few_observations(monkeypatch):
    """The check of a file compares fewer actions, because there are many files."""
    monkeypatch.setattr(exported_policy, "OBSERVATIONS", 40)
    monkeypatch.setattr(exported_policy, "TIMED", 3)


def data_of(action_space: spaces.Space, observation_space: spaces.Space = SIGHT, **kwargs) -> ReplayDataModule:
    """Data of a world with these spaces, whose scaling of observations has seen some far from zero."""
    given = {"observation_space": observation_space, "action_space": action_space}
    kwargs = {"observation_scaling": StandardizedObservations} | kwargs
    data = ReplayDataModule("probe/WithSpaces-v0", env_kwargs=given, **kwargs)
    data.observation_scaling.update(2 * torch.randn(100, data.obs_dim) + 1)
    return data


def trained(name: str, kind: str, policy: type | None = None) -> TrainedPolicy:
    model = built(name, kind, None)
    if policy:
        model.policy = policy(OBS, 2)
    return TrainedPolicy(model, data_of(SPACES[kind], max_joint_actions=1))


def tiny(observation_space: spaces.Space, action_space: spaces.Space, **kwargs) -> TrainedPolicy:
    """SAC with a policy whose actions differ much between observations."""
    data = data_of(action_space, observation_space, **kwargs)
    model = SAC(data.obs_dim, data.actions, TwinCritic, SquashedGaussian)
    with torch.no_grad():
        model.policy.network[-1].weight.mul_(20)
    return TrainedPolicy(model, data)


def session(path: str | Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def metadata(path: str | Path) -> dict[str, str]:
    return session(path).get_modelmeta().custom_metadata_map


def agrees(report: ExportReport) -> bool:
    return report.difference < 1e-5 and report.different == 0 and report.milliseconds > 0


@pytest.mark.parametrize(
    ("name", "kind"), [case if case in FIRST else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]
)
def test_the_deterministic_actions_of_every_algorithm_are_exported(name, kind):
    policy = trained(name, kind)
    assert agrees(export_policy(policy, "p.onnx"))
    obs = policy.observation_space.sample()
    (action,) = session("p.onnx").run(None, {"obs": obs[None]})
    assert SPACES[kind].contains(action[0])
    np.testing.assert_allclose(action[0], policy(obs, deterministic=True), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_the_samples_of_every_algorithm_are_exported_or_refused_because_there_is_no_noise(name, kind):
    if name in ("DDPG", "TD3"):
        with pytest.raises(MaxEntError, match=rf"^The policy of {name} draws no random numbers.*leave out --sample\.$"):
            export_policy(trained(name, kind), "p.onnx", deterministic=False)
        assert list(Path().iterdir()) == []
    else:
        assert agrees(export_policy(trained(name, kind), "p.onnx", deterministic=False))
        ((distribution, _),) = json.loads(metadata("p.onnx")["noise"])
        assert distribution == ("standard_normal" if kind == "box" else "standard_exponential")


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("name", "part"), POLICIES)
def test_every_policy_is_exported(name, part, deterministic):
    assert agrees(export_policy(trained(name, "box", part), "p.onnx", deterministic=deterministic))


def test_the_tests_above_export_every_policy_of_the_package():
    bases = (AbstractPolicy, AbstractSampler, AbstractExplicitPolicy, Deterministic)
    offered = [part for _, part in inspect.getmembers(exports, inspect.isclass) if issubclass(part, bases)]
    final = {part.__name__ for part in offered if ABC not in part.__bases__} - {
        "GaussianOrCategorical"
    }  # builds others
    models = [built(name, kind, None) for name, kind in CASES]
    exported = {type(model.policy).__name__ for model in models if hasattr(model, "policy")}
    assert final <= exported | {part.__name__ for _, part in POLICIES}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=lambda part: part.__name__)
def test_policies_with_every_network_are_exported(network):
    policy = trained("SAC", "box")
    policy.model.policy = SquashedGaussian(OBS, 2, network)
    assert agrees(export_policy(policy, "p.pt2", "torch_export"))


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["crossq", "redq", "tqc", "two_hot"])
def test_policies_that_come_from_every_kind_of_critic_are_exported(critic):
    model = built("DiscreteSAC", "joint", critic)
    q_learning = built("DQN", "joint", None)
    q_learning.critic = model.critic
    assert agrees(export_policy(TrainedPolicy(q_learning, data_of(SPACES["joint"])), "p.onnx"))


# ---- what is in the file ---------------------------------------------------------------------------------------------


def test_the_sampled_action_is_the_equation_of_the_policy_with_the_noise_that_is_given():
    policy = tiny(SIGHT, BOX)
    export_policy(policy, "p.onnx", deterministic=False)
    obs, noise = torch.randn(7, 3), torch.randn(7, 2)
    (action,) = session("p.onnx").run(["action"], {"obs": obs.numpy(), "noise": noise.numpy()})
    with torch.no_grad():
        mean, log_std = policy.model.policy._mean_and_log_std(policy.observation_scaling(obs))
    unit = ((mean + log_std.exp() * noise).tanh() + 1) / 2
    np.testing.assert_allclose(action, BOX.low + unit.numpy() * (BOX.high - BOX.low), rtol=1e-4, atol=1e-4)


def test_torch_export_gives_the_actions_of_onnx():
    policy = tiny(SIGHT, BOX)
    export_policy(policy, "p.onnx")
    export_policy(policy, "p.pt2", "torch_export")
    extra = {"metadata.json": ""}
    module = torch.export.load("p.pt2", extra_files=extra).module()
    obs = torch.randn(5, 3)
    np.testing.assert_allclose(module(obs=obs).numpy(), session("p.onnx").run(None, {"obs": obs.numpy()})[0], rtol=1e-4)
    assert json.loads(extra["metadata.json"]) == metadata("p.onnx")


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_torchscript_gives_the_actions_of_every_algorithm(name, kind):
    assert agrees(export_policy(trained(name, kind), "p.pt", "torchscript"))
    if name not in ("DDPG", "TD3"):
        assert agrees(export_policy(trained(name, kind), "p.pt", "torchscript", deterministic=False))


def test_torchscript_is_loaded_by_torch_alone_with_inputs_by_name_and_metadata():
    policy = tiny(SIGHT, BOX)
    export_policy(policy, "p.onnx", deterministic=False)
    export_policy(policy, "p.pt", "torchscript", deterministic=False)
    extra = {"metadata.json": ""}
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        module = torch.jit.load("p.pt", _extra_files=extra)
    assert json.loads(extra["metadata.json"]) == metadata("p.onnx")
    obs, noise = torch.randn(7, 3), torch.randn(7, 2)
    (expected,) = session("p.onnx").run(None, {"obs": obs.numpy(), "noise": noise.numpy()})
    np.testing.assert_allclose(module(obs=obs, noise=noise).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert all(each.requires_grad for each in policy.model.policy.parameters())  # as before


def test_the_file_holds_the_weights_of_the_policy_and_no_others():
    policy = tiny(SIGHT, BOX)
    export_policy(policy, "p.pt2", "torch_export")
    names = torch.export.load("p.pt2").state_dict
    assert set(names) == {f"model.policy.{name}" for name in policy.model.policy.state_dict()}


def test_the_metadata_say_what_the_file_is_and_what_it_takes():
    data = data_of(BOX)
    data.env_steps = 1_234
    policy = TrainedPolicy(SAC(3, data.actions, TwinCritic, SquashedGaussian), data)
    export_policy(policy, "p.onnx", deterministic=False)
    said = metadata("p.onnx")
    assert (said["format_version"], said["algorithm"], said["env_id"]) == ("1", "SAC", "probe/WithSpaces-v0")
    assert (said["env_steps"], said["obs_dim"], said["policy"]) == ("1234", "3", "sampling")
    assert (said["observation_space"], said["action_space"]) == (str(SIGHT), str(BOX))
    assert json.loads(said["action_low"]) == [-2, 0]
    assert json.loads(said["action_high"]) == [3, 10]
    assert (json.loads(said["action_shape"]), said["action_dtype"]) == ([2], "float32")
    assert json.loads(said["noise"]) == [["standard_normal", 2]]
    assert said["torch"] == torch.__version__
    inputs = session("p.onnx").get_inputs()
    assert {each.name: each.shape for each in inputs} == {"obs": ["batch", 3], "noise": ["batch", 2]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-2, 5, (2, 2), np.float64),
        spaces.Box(250, 255, (2,), np.uint8),
        spaces.Box(-7, 9, (), np.int64),
        spaces.Box(0, 1, (3,), np.bool_),
    ],
    ids=str,
)
def test_boxes_of_every_shape_and_type_keep_them(space):
    assert agrees(export_policy(tiny(SIGHT, space), "p.onnx"))
    (action,) = session("p.onnx").run(None, {"obs": np.float32([[0, 0, 0], [1, 7, 2]])})
    assert action.dtype == space.dtype
    assert all(space.contains(np.asarray(each)) for each in action)


@pytest.mark.slow
@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([2, 3], start=[5, -5]), spaces.MultiBinary(3), spaces.Discrete(3, start=7)], ids=str
)
@pytest.mark.parametrize("max_joint_actions", [1, 1_000])
def test_finite_actions_are_those_of_the_environment(space, max_joint_actions):
    data = data_of(space, max_joint_actions=max_joint_actions)
    model = SoftQLearning(3, data.actions, TwinHeadsCritic)
    assert agrees(export_policy(TrainedPolicy(model, data), "p.onnx", deterministic=False))
    rng = np.random.default_rng(0)
    noise = rng.standard_exponential((200, data.actions.dim), np.float32)
    obs = rng.standard_normal((200, 3), np.float32)
    (actions,) = session("p.onnx").run(None, {"obs": obs, "noise": noise})
    assert all(space.contains(each) for each in actions)
    assert len(np.unique(actions.reshape(200, -1), axis=0)) > 1


def test_observations_of_several_parts_are_flattened_in_the_order_of_gymnasium():
    parts = spaces.Dict({"z": spaces.Discrete(3), "a": spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.MultiBinary(2)])})
    policy = tiny(parts, BOX)
    assert agrees(export_policy(policy, "p.onnx"))
    obs = parts.sample()
    flat = np.asarray(gym.spaces.flatten(parts, obs), np.float32)
    (action,) = session("p.onnx").run(None, {"obs": flat[None]})
    np.testing.assert_allclose(action[0], policy(obs, deterministic=True), rtol=1e-4)


def test_observations_with_bounds_that_no_observation_reaches_are_drawn_near_zero():
    largest = np.finfo(np.float32).max
    seen = np.stack(exported_policy._observations(spaces.Box(-largest, largest, (3,))))
    assert 1 < np.abs(seen).max() < 10
    bounded = np.stack(exported_policy._observations(spaces.Box(2, 3, (3,))))
    assert (bounded >= 2).all()
    assert (bounded <= 3).all()


# ---- what an export leaves as it was ---------------------------------------------------------------------------------


def test_an_export_changes_no_mode_and_no_random_number_of_the_training():
    policy = tiny(SIGHT, BOX)
    policy.model.train()
    torch.manual_seed(3)
    expected = torch.randn(3)
    torch.manual_seed(3)
    export_policy(policy, "p.pt2", "torch_export", deterministic=False)
    assert torch.equal(torch.randn(3), expected)
    assert all(module.training for module in policy.model.modules())


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", exported_policy.FORMATS)
def test_a_file_with_other_actions_than_the_policy_is_refused_and_the_old_file_stays(format, monkeypatch):
    path = Path("p.pt2")
    path.write_text("old")
    policy = tiny(SIGHT, BOX)
    monkeypatch.setattr(exported_policy._Exported, "_act", lambda self, obs: self.model._act(obs, True))  # no scaling
    with pytest.raises(MaxEntError, match=r"^No file was written, because \d+ of its actions for 40 observations"):
        export_policy(policy, path, format)
    assert path.read_text() == "old"
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize(("wrong", "refused"), [(5, False), (6, True)])
def test_few_finite_actions_may_differ_because_of_ties(wrong, refused, monkeypatch):
    errors = np.arange(40) < wrong
    monkeypatch.setattr(exported_policy, "_errors", lambda space, actions, expected: errors.astype(np.float64))
    data = data_of(spaces.Discrete(3))
    model = SoftQLearning(3, data.actions, TwinHeadsCritic)
    policy = TrainedPolicy(model, data)
    if refused:
        with pytest.raises(MaxEntError, match="No file was written, because 6 of its actions"):
            export_policy(policy, "p.pt2", "torch_export")
    else:
        assert export_policy(policy, "p.pt2", "torch_export").different == wrong
    with pytest.raises(MaxEntError, match="No file was written"):
        export_policy(tiny(SIGHT, BOX), "p.pt2", "torch_export")  # real numbers have no ties


class OfLength(SquashedGaussian):
    """Computes with the batch size as a Python number."""

    def act(self, obs, deterministic=False):
        return super().act(obs, deterministic) + torch.zeros(len(obs), 1)


class Throws(SquashedGaussian):
    """Throws a coin."""

    def act(self, obs, deterministic=False):
        return super().act(obs, True) * torch.bernoulli(torch.full((obs.shape[0], 1), 0.5))


class Bessel(SquashedGaussian):
    """Uses a function that ONNX does not have."""

    def act(self, obs, deterministic=False):
        return torch.special.bessel_j0(super().act(obs, deterministic))


def lacking(name: str):
    return lambda asked: None if asked == name else object()


@pytest.mark.parametrize(
    ("part", "path", "format", "sentence"),
    [
        (OfLength, "p.onnx", "onnx", r"torch.export cannot follow the policy OfLength .*write obs.shape\[0\], not len"),
        (Throws, "p.onnx", "onnx", "The policy draws random numbers by bernoulli, which an exported file cannot take"),
        (
            OfLength,
            "p.pt",
            "torchscript",
            r"No file was written, because it gave no actions .*write obs.shape\[0\], not",
        ),
        (SquashedGaussian, "p.pt", "keras", "There is no format 'keras': it is onnx, torch_export or torchscript."),
        (SquashedGaussian, "p.pt", "torch_export", "torch.export.load reads .* end in .pt2: write p.pt2."),
        (
            SquashedGaussian,
            "/",
            "onnx",
            "'/' is not the name of a file: give another path.",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_sentence(part, path, format, sentence):
    policy = tiny(SIGHT, BOX)
    policy.model.policy = part(3, 2, MLP)
    with pytest.raises(MaxEntError, match=f"^{sentence}") as told:
        export_policy(policy, path, format)
    assert "\n" not in str(told.value)
    assert list(Path().iterdir()) == []


def test_without_the_packages_of_onnx_the_sentence_has_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(exported_policy, "find_spec", lacking("onnxscript"))
    with pytest.raises(MaxEntError, match=r"^The format onnx needs onnxscript: pip install onnxscript, or choose"):
        export_policy(tiny(SIGHT, BOX), "p.onnx")
    assert agrees(export_policy(tiny(SIGHT, BOX), "p.pt2", "torch_export"))


def test_integers_beyond_the_precision_of_float64_are_refused():
    policy = tiny(SIGHT, spaces.Box(0, 2**60, (1,), np.int64))
    with pytest.raises(MaxEntError, match=r"^The actions Box.* have integers beyond 2\^52"):
        export_policy(policy, "p.onnx")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("part", [SquashedGaussian, MixtureOfGaussians])
def test_a_policy_on_a_gpu_is_exported_to_a_file_for_the_cpu(part):
    policy = tiny(SIGHT, BOX, observation_scaling=RawObservations)
    policy.model.policy = part(3, 2)
    policy.model.to("cuda")
    assert export_policy(policy, "p.pt2", "torch_export").difference < 1e-3
    assert torch.export.load("p.pt2").module()(obs=torch.randn(4, 3)).device.type == "cpu"
