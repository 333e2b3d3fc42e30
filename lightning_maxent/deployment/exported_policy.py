"""Exports a trained policy to a file, and checks the file against the policy."""

import copy
import io
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces import flatdim, flatten
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.fx import GraphModule

from lightning_maxent.deployment.draws import Recorded, Supplied, record_draws
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import check_target, replace, write_errors, write_temporary
from lightning_maxent.targets import frozen, frozen_statistics
from lightning_maxent.trained_policy import TrainedPolicy, evaluating, random_state_kept

FORMATS = ("onnx", "torch_export", "torchscript")
FORMAT_VERSION = "1"
METADATA = "metadata.json"  # the extra file of the two formats of torch
OBSERVATIONS = 1_000
TIMED = 200
TOLERANCE = 1e-3
"""Of the range of an action.  Rounding gives about 1e-6; with scaling left out, actions differ by far more."""
TIES = 5
"""So many actions in 1,000 may be others where one of several is chosen: rounding decides between equal ones."""
LARGEST_BOUND = 1e6
"""Beyond it, a bound of an observation stands for infinity; no world has such observations."""
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Runs an exported policy: actions for observations ``[batch, obs_dim]`` and noise ``[batch, columns]``."""


class ExportReport(NamedTuple):
    """What the check of an exported file found."""

    path: Path
    difference: float
    """The largest difference between an action of the file and of the policy, in parts of the action's range."""
    different: int
    """How many of 1,000 actions differ: by more than ``TOLERANCE`` of the range, or at all if actions are finite."""
    milliseconds: float
    """The median time of one action of the file."""
    policy_milliseconds: float
    """The median time of one action of the ``TrainedPolicy``."""


def export_policy(
    policy: TrainedPolicy, path: str | Path, format: str = "onnx", deterministic: bool = True
) -> ExportReport:
    """Write a policy to a file that plays without this package, and check the file.

    The file takes observations ``obs``, float32 ``[batch, obs_dim]``, flattened by ``gymnasium.spaces.flatten``, and
    gives ``action``, ``[batch, ...]`` in the environment's own units.  It holds the scaling of observations.  Its
    metadata say what it is and what it needs.

    A sampling policy also takes ``noise``, float32 ``[batch, columns]``, so that it can be repeated; the metadata name the
    distributions.

    Args:
        policy: the policy.
        path: the file to write; an old one is replaced if the new one passes the check.
        format: ``"onnx"``; ``"torch_export"``, the file of ``torch.export.save``; or ``"torchscript"``, that of
            ``torch.jit.save``, which PyTorch has deprecated.
        deterministic: whether actions are the deterministic ones or samples.

    Returns:
        The largest difference from the policy on 1,000 observations, and times.

    Raises:
        MaxEntError: if the policy cannot be exported, a package is missing, the file cannot be written, or its actions
            are not those of the policy.
    """
    path = Path(path)
    _check_format(format, path)
    check_target(path)
    space = policy.observation_space
    seen = _observations(space)
    flat = np.stack([np.asarray(flatten(space, each), dtype=np.float32) for each in seen])
    with evaluating(policy.model), random_state_kept(policy.model.device), torch.no_grad(), _quiet():
        module = _Exported(policy, deterministic, torch.from_numpy(flat[:2]))
        metadata = _metadata(policy, module)
        content = WRITERS[format](module, torch.from_numpy(flat[:3]), metadata)
        advice = "give another path, or make room for it"
        with write_errors(path, advice):
            temporary = write_temporary(path, lambda file: file.write(content))
        try:
            report = _checked(policy, module, temporary, format, seen, flat)._replace(path=path)
            with write_errors(path, advice):
                replace(temporary)
        finally:
            temporary.unlink(missing_ok=True)
    return report


class _Exported(nn.Module):
    """Observations of the environment in, actions of the environment out.

    Args:
        policy: the policy.
        deterministic: whether actions are the deterministic ones or samples.
        obs: two observations, by which it is found out which random numbers the policy draws.
    """

    def __init__(self, policy: TrainedPolicy, deterministic: bool, obs: Tensor):
        super().__init__()
        self.model, self.deterministic = policy.model, deterministic
        self._scaling, self._codec = policy.observation_scaling, policy.codec
        self.draws, noise = record_draws(self._act, obs)
        if not deterministic and not self.draws:
            raise MaxEntError(
                f"The policy of {type(policy.model).__name__} draws no random numbers, so its samples are its "
                f"deterministic actions: leave out --sample."
            )
        self._noise: Tensor
        self.register_buffer(
            "_noise", noise.to(self.model.device)
        )  # of a deterministic policy that chooses the best of fixed samples

    def _act(self, obs: Tensor) -> Tensor:
        with frozen_statistics(self.model):
            seen = self._scaling(obs).to(self.model.device).type(self.model.dtype)
            return self.model._act(seen, self.deterministic).float()

    def forward(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        rows = self._noise.expand(obs.shape[0], -1) if noise is None else noise.to(self._noise.device)
        with Supplied(self.draws, rows):
            return self._codec.to_env_tensor(self._act(obs))


def _check_format(format: str, path: Path) -> None:
    if format not in FORMATS:
        raise MaxEntError(f"There is no format {format!r}: it is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if format == "torch_export" and not path.name.endswith(".pt2"):
        named = path.with_name(path.name.rstrip("."))
        advised = named if named.suffix == ".pt2" else named.with_suffix(".pt2")
        raise MaxEntError(f"torch.export.load reads files whose names end in .pt2: write {advised}.")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if format == "onnx" and missing:
        raise MaxEntError(
            f"The format onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}, or choose the format "
            f"torch_export."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, torch's exporters say nothing about their own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _program(module: _Exported, obs: Tensor) -> ExportedProgram:
    """The graph of a module, with the parameters that it uses, for any number of observations.

    Raises:
        MaxEntError: if torch cannot follow the code of the policy.
    """
    batch, inputs = Dim("batch"), {"obs": obs}
    if not module.deterministic:
        inputs["noise"] = module._noise.cpu().repeat(len(obs), 1)
    shapes = {name: {0: batch} for name in inputs}
    try:
        program = torch.export.export(module, (), inputs, dynamic_shapes=shapes)
        graph = move_to_device_pass(program, "cpu").module()
        _keep_used(graph)
        return torch.export.export(graph, (), inputs, dynamic_shapes=shapes)
    except MaxEntError:
        raise
    except Exception as error:
        name = type(getattr(module.model, "policy", module.model)).__name__
        raise MaxEntError(
            f"torch.export cannot follow the policy {name} ({_first_line(error)}); a policy of yours must compute with "
            f"tensors alone, and write obs.shape[0], not len(obs)."
        ) from error


def _keep_used(graph: GraphModule) -> None:
    """Keep the parameters and buffers that actions need, as copies without gradients; remove those of other networks."""
    graph.graph.eliminate_dead_code()
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name, tensor in [*graph.named_parameters(), *graph.named_buffers()]:
        owner, _, attribute = name.rpartition(".")
        if name not in used:
            delattr(graph.get_submodule(owner), attribute)
        elif isinstance(tensor, nn.Parameter):
            setattr(graph.get_submodule(owner), attribute, nn.Parameter(tensor.detach().clone(), requires_grad=False))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _to_onnx(module: _Exported, obs: Tensor, metadata: dict[str, str]) -> bytes:
    program = _program(module, obs)
    shapes = {str(name): {0: "batch"} for name in program.graph_signature.user_inputs}
    try:
        written = torch.onnx.export(
            program, dynamo=True, output_names=["action"], dynamic_shapes=shapes, verbose=False, external_data=False
        )
    except Exception as error:  # its own message is many lines about the exporter
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise MaxEntError(f"ONNX cannot hold this policy ({_first_line(cause)}): choose torch_export.") from error
    assert written is not None
    written.model.metadata_props.update(metadata)
    return written.model_proto.SerializeToString()


def _to_torch_export(module: _Exported, obs: Tensor, metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(_program(module, obs), file, extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def _to_torchscript(module: _Exported, obs: Tensor, metadata: dict[str, str]) -> bytes:
    if module.model.device.type != "cpu":
        raise MaxEntError(
            "TorchScript keeps the device of the policy: load it with the device cpu, and export it then."
        )
    inputs = (obs,) if module.deterministic else (obs, module._noise.repeat(len(obs), 1))
    file = io.BytesIO()
    with frozen(module):  # the file holds tensors as constants, and such must have no gradients
        try:
            traced = torch.jit.trace(_named_inputs(module), inputs, check_trace=False)
        except Exception as error:
            raise MaxEntError(
                f"torch.jit cannot trace the policy ({_first_line(error)}): choose another format."
            ) from error
        torch.jit.save(traced, file, _extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def _named_inputs(module: _Exported) -> Callable[..., Tensor]:
    """The module as a function of as many inputs as it needs; its file calls them by these names."""
    if module.deterministic:
        return lambda obs: module(obs)
    return lambda obs, noise: module(obs, noise)


WRITERS: dict[str, Callable[[_Exported, Tensor, dict[str, str]], bytes]] = dict(
    zip(FORMATS, (_to_onnx, _to_torch_export, _to_torchscript))
)


def _run_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]
    return lambda obs, noise: np.asarray(session.run(["action"], dict(zip(inputs, (obs, noise))))[0])


def _run_torchscript(path: Path) -> Run:
    module = torch.jit.load(io.BytesIO(path.read_bytes()))
    inputs = len(module.forward.schema.arguments) - 1  # without self
    return lambda obs, noise: module(*map(torch.from_numpy, (obs, noise)[:inputs])).numpy()


def _run_torch_export(path: Path) -> Run:
    program = torch.export.load(io.BytesIO(path.read_bytes()))
    inputs = program.graph_signature.user_inputs
    module = program.module()
    return lambda obs, noise: module(
        **{str(name): torch.from_numpy(given) for name, given in zip(inputs, (obs, noise))}
    ).numpy()


RUNNERS: dict[str, Callable[[Path], Run]] = dict(zip(FORMATS, (_run_onnx, _run_torch_export, _run_torchscript)))


def _metadata(policy: TrainedPolicy, module: _Exported) -> dict[str, str]:
    """What the file says about itself: everything is text, lists are JSON."""
    space = policy.codec.space
    box = space if isinstance(space, spaces.Box) else None
    draws = [] if module.deterministic else module.draws
    return {
        "format_version": FORMAT_VERSION,
        "algorithm": type(policy.model).__name__,
        "env_id": policy.env_id,
        "env_kwargs": policy.env_kwargs,
        "wrappers": json.dumps(policy.wrappers),
        "env_steps": str(policy.env_steps),
        "observation_space": str(policy.observation_space),
        "obs_dim": str(flatdim(policy.observation_space)),
        "obs": "float32 [batch, obs_dim], each flattened by gymnasium.spaces.flatten, not scaled",
        "action_space": str(space),
        "action_shape": json.dumps(list(space.shape or ())),
        "action_dtype": str(space.dtype),
        "action_low": json.dumps(box.low.tolist()) if box else "",
        "action_high": json.dumps(box.high.tolist()) if box else "",
        "action": "[batch, *action_shape] in the units of the environment",
        "policy": "deterministic" if module.deterministic else "sampling",
        "noise": json.dumps([[draw.distribution, prod(draw.shape)] for draw in draws]),
        "lightning_maxent": version("lightning-maxent"),
        "torch": torch.__version__,
    }


# ---- the check -------------------------------------------------------------------------------------------------------


def _checked(
    policy: TrainedPolicy, module: _Exported, path: Path, format: str, seen: list[Any], flat: np.ndarray
) -> ExportReport:
    """Compare a file with the policy, for one observation at a time and for all at once.

    Raises:
        MaxEntError: if actions differ too much.
    """
    run = RUNNERS[format](path)
    expected, drawn = [], []
    for each in seen:
        with Recorded() as recorded:
            expected.append(policy(each, module.deterministic))
        drawn.append(recorded.noise().numpy())
    noise = np.concatenate(drawn)
    try:
        singly = np.concatenate([run(flat[i : i + 1], noise[i : i + 1]) for i in range(len(flat))])
        together = run(flat, noise)
    except Exception as error:
        raise MaxEntError(
            f"No file was written, because it gave no actions ({_first_line(error)}); a policy of yours must compute with "
            f"tensors alone, and write obs.shape[0], not len(obs)."
        ) from error
    errors = [_errors(policy.codec.space, actions, np.stack(expected)) for actions in (singly, together)]
    difference = float(np.maximum(*errors).max())
    different = int((np.maximum(*errors) > TOLERANCE).sum())
    if different > (TIES if module.draws or not _has_numbers(policy.codec.space) else 0):
        raise MaxEntError(
            f"No file was written, because {different} of its actions for {len(flat):,} observations were not those of "
            f"the policy; the largest difference was {difference:.3g} of the range of actions."
        )
    return ExportReport(
        path,
        difference,
        different,
        _milliseconds(lambda i: run(flat[i : i + 1], noise[i : i + 1])),
        _milliseconds(lambda i: policy(seen[i], module.deterministic)),
    )


def _has_numbers(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """Whether actions are real numbers, not one of finitely many."""
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)


def _errors(space: spaces.Space, actions: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """For each action the largest difference in parts of the range; 0 or 1 for actions that are no real numbers."""
    if actions.shape != expected.shape or actions.dtype != expected.dtype:
        raise MaxEntError(
            f"No file was written, because its actions were {actions.dtype} of shape {actions.shape} and those of the "
            f"policy {expected.dtype} of shape {expected.shape}."
        )
    if _has_numbers(space):
        span = space.high.astype(np.float64) - space.low.astype(np.float64)
        errors = np.abs(actions.astype(np.float64) - expected) / np.where(span > 0, span, 1.0)
    else:
        errors = (actions != expected).astype(np.float64)
    return np.nan_to_num(errors.reshape(len(errors), -1).max(1), nan=np.inf)


def _milliseconds(act: Callable[[int], object]) -> float:
    """The median time of one action."""
    times = []
    for i in range(TIMED):
        start = time.perf_counter()
        act(i)
        times.append(time.perf_counter() - start)
    return 1_000 * float(np.median(times))


def _observations(space: spaces.Space) -> list[Any]:
    """Observations that are the same each time: uniform within bounds, standard normal where there are none."""
    drawn_from = _without_huge_bounds(copy.deepcopy(space))
    drawn_from.seed(0)
    return [drawn_from.sample() for _ in range(OBSERVATIONS)]


def _without_huge_bounds(space: spaces.Space) -> spaces.Space:
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _without_huge_bounds(part) for key, part in space.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_without_huge_bounds(part) for part in space.spaces])
    if not _has_numbers(space):
        return space
    low, high = (
        np.where(space.low < -LARGEST_BOUND, -np.inf, space.low),
        np.where(space.high > LARGEST_BOUND, np.inf, space.high),
    )
    return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype)  # type: ignore[arg-type]
