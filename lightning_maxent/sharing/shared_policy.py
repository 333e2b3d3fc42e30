"""Writes a trained policy as a small folder, which ``load_policy`` loads."""

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.errors import MaxEntError, check_positive, errors_of
from lightning_maxent.files import check_target, replace, write_errors, write_temporary, write_whole
from lightning_maxent.policy_loading import checkpoint_path, config_beside, load_policy
from lightning_maxent.sharing.addresses import local_path
from lightning_maxent.sharing.card import CARD, Results, Training, card
from lightning_maxent.trained_policy import TrainedPolicy, random_state_kept
from lightning_maxent.videos.episodes import MOST_STEPS

FIRST_SEED = 10_000  # of the episodes of the card; those that choose best.ckpt have seeds of 32 random bits
KEPT = ("epoch", "global_step", "gradient_steps", "algorithm", "pytorch-lightning_version")  # of a checkpoint
OF_DATA = (
    *("env_id", "env_kwargs", "wrappers", "action_bounds", "num_envs", "env_steps"),
    *("observation_scaling", "reward_scaling"),
)  # of the state of a DataModule


def share_policy(
    path: str | Path,
    folder: str | Path,
    episodes: int = 20,
    address: str | None = None,
    command: str | None = None,
    commit: str | None = None,
    half: bool = False,
) -> Results:
    """Write a trained policy as a small folder, with its results.

    The folder has the form of a run's folder: ``config.yaml`` with the settings of the algorithm and the data,
    ``checkpoints/best.ckpt`` with all networks and the scaling of observations, and the card ``README.md``.  It has no
    optimizers and no replay buffer.  Target networks are stored as equal to the networks that they follow, which takes
    no room.

    Args:
        path: what ``load_policy`` takes.
        folder: the folder to write; the three files replace old ones of their names.
        episodes: number of episodes that are played for the results, with deterministic and with sampled actions.
        address: what ``load_policy`` will take, for the card; None for the name of ``folder``.
        command: the command that trained the policy, for the card; None for one that reads ``config.yaml``.
        commit: the commit of this package that trained it, for the card; None if it is not known.
        half: whether to store weight matrices in 16 bits, which halves the folder and changes actions by about 1e-3 of
            their range.

    Returns:
        The returns of all episodes, which the policy of the folder played.

    Raises:
        MaxEntError: as ``load_policy``, or if the environment raises an error or the folder cannot be written.
    """
    folder = Path(folder)
    check_positive(episodes=episodes)
    if (folder / "config.yaml").exists() and not (folder / CARD).exists():
        raise MaxEntError(f"{folder} holds a config.yaml that share did not write, as a run does: give another folder.")
    for name in (CARD, "config.yaml", "checkpoints/best.ckpt"):
        check_target(folder / name)
    checkpoint = checkpoint_path(local_path(path))
    load_policy(checkpoint)  # so that nothing is written of what cannot be loaded
    (_, config), weights = config_beside(checkpoint), _weights(read_checkpoint(checkpoint), half)
    settings = {name: config[name] for name in ("seed_everything", "model", "data") if name in config}
    steps = weights["global_step"]
    settings["trainer"] = {"max_steps": config.get("trainer", {}).get("max_steps", steps)}
    with write_errors(folder, "make room for it, or give another folder"):
        replace(write_temporary(folder / "checkpoints" / "best.ckpt", partial(torch.save, weights)))
    write_whole(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    policy = load_policy(folder)
    deterministic, sampled = (episode_returns(policy, episodes, each) for each in (True, False))
    results = Results(deterministic, sampled, FIRST_SEED)
    training = Training(
        type(policy.model).__name__,
        policy.env_id,
        steps,
        config.get("seed_everything", 0),
        command or "lightning-maxent fit config.yaml",
        version("lightning-maxent"),
        commit,
    )
    write_whole(folder / CARD, card(training, results, address or folder.resolve().name))
    return results


def episode_returns(policy: TrainedPolicy, episodes: int, deterministic: bool) -> list[float]:
    """Returns of episodes with the seeds from ``FIRST_SEED`` on; torch's random state is the same afterwards."""
    env, returns = policy.make_env(), []
    with random_state_kept(policy.model.device), errors_of(policy.env_id):
        torch.manual_seed(FIRST_SEED)
        try:
            for seed in range(FIRST_SEED, FIRST_SEED + episodes):
                (obs, _), total, ended, steps = env.reset(seed=seed), 0.0, False, 0
                while not ended and steps < MOST_STEPS:
                    obs, reward, terminated, truncated, _ = env.step(policy(obs, deterministic))
                    total, ended, steps = total + float(reward), terminated or truncated, steps + 1
                returns.append(total)
        finally:
            env.close()
    return returns


def _weights(checkpoint: dict[str, Any], half: bool) -> dict[str, Any]:
    """The entries of a checkpoint that a policy needs; with ``half``, with weight matrices in 16 bits."""
    (data,) = (key for key in checkpoint if key.endswith("DataModule"))
    kept = {key: checkpoint[key] for key in KEPT if key in checkpoint}
    state = {key: checkpoint[data][key] for key in OF_DATA}
    tensors = {name: _halved(tensor) if half else tensor.clone() for name, tensor in checkpoint["state_dict"].items()}
    return kept | {"state_dict": _without_copies(tensors), data: state}


def _halved(tensor: Tensor) -> Tensor:
    """A matrix in 16 bits, unless it has larger numbers than these can hold; any other tensor unchanged."""
    fits = tensor.ndim > 1 and tensor.is_floating_point() and tensor.abs().max() < torch.finfo(torch.float16).max
    return tensor.half() if fits else tensor.clone()


def _without_copies(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with those of a target network replaced by those of its network, which are then saved only once."""
    own = dict(weights)
    for name in own:
        followed = own.get(name.removeprefix("target_").replace(".network.", ".", 1))
        if name.startswith("target_") and followed is not None and followed.shape == own[name].shape:
            own[name] = followed
    return own
