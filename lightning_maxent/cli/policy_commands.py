"""The commands of a trained policy: ``play`` and ``record`` show it, ``export`` and ``share`` write it to files."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from lightning_maxent.cli.arguments import last_checkpoint, run_folder
from lightning_maxent.cli.command_parser import CommandParser
from lightning_maxent.deployment.exported_policy import FORMATS as EXPORT_FORMATS
from lightning_maxent.deployment.exported_policy import OBSERVATIONS, export_policy
from lightning_maxent.errors import MaxEntError, check_positive
from lightning_maxent.loggers.wandb_artifacts import is_address
from lightning_maxent.policy_loading import load_policy
from lightning_maxent.progress import progress
from lightning_maxent.sharing.addresses import local_path
from lightning_maxent.sharing.card import mean_and_deviation
from lightning_maxent.sharing.hub import PREFIX, check_hub, upload
from lightning_maxent.sharing.shared_policy import share_policy
from lightning_maxent.trained_policy import TrainedPolicy
from lightning_maxent.videos.episodes import Played, has_display, play, record_episodes
from lightning_maxent.videos.video_file import FORMATS, check_video_format

PLAY = """Show a trained policy in a window, or in a video where there is no display.

  lightning-maxent play --policy zoo/pendulum
  lightning-maxent play --ckpt_path last
  lightning-maxent play --ckpt_path runs/sac/Pendulum-v1/a --episodes 3 --sample"""

RECORD = """Record episodes of a trained policy as videos.  This needs the extra `video`.

  lightning-maxent record --ckpt_path last --out videos
  lightning-maxent record --ckpt_path runs/sac/Pendulum-v1/a --out videos --episodes 4 --side_by_side --estimates

Every episode has its own seed, and with it its own initial state: --seed, --seed plus 1, and so on."""

EXPORT = """Write the policy of a checkpoint to one file, which plays without lightning_maxent.

  lightning-maxent export --ckpt_path last --out policy.onnx
  lightning-maxent export --ckpt_path runs/sac/Pendulum-v1/a --out policy.pt2 --format torch_export

The file takes flat observations, scales them as in training, and gives actions in the units of the environment.  It is
compared with the policy on 1,000 observations, and written only if its actions are the same."""


SHARE = """Write the policy of a checkpoint as a small folder with its results, or upload it to the Hugging Face hub.

  lightning-maxent share --ckpt_path last --out my_policy
  lightning-maxent share --ckpt_path last --out my_policy --repo USER/NAME

The folder holds the weights, the settings and a README with the returns of --episodes episodes.  Another person plays it
with --policy FOLDER, or from the hub with --policy hub:USER/NAME.  The hub needs the extra `hub` and a login."""


def play_command(arguments: Sequence[str]) -> int:
    """Run ``lightning-maxent play``, and return the exit status.

    Raises:
        MaxEntError: for wrong arguments, or an environment that cannot be shown.
    """
    args = _parser_of_episodes("play", PLAY).parse_args(arguments)
    _check_episodes(args)
    policy, videos = _loaded(args)
    if has_display():
        env = policy.make_env("human")
        torch.manual_seed(args.seed)
        try:
            for seed in range(args.seed, args.seed + args.episodes):
                *_, last = play(policy, env, seed, not args.sample)
                _tell(Played(seed, last.episode_return, last.length), "")
        finally:
            env.close()
        return 0
    print("There is no display, so the episodes are recorded.")
    return _record(policy, args, videos, "mp4", side_by_side=False, estimates=False, fps=None)


def record_command(arguments: Sequence[str]) -> int:
    """Run ``lightning-maxent record``, and return the exit status.

    Raises:
        MaxEntError: for wrong arguments, or an environment without pictures.
    """
    parser = _parser_of_episodes("record", RECORD)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the videos; default: videos in the run's folder, or here for a policy that is no run of yours",
    )
    parser.add_argument("--format", choices=FORMATS, default="mp4", help="mp4 (default) or gif")
    parser.add_argument("--fps", type=float, help="pictures per second; default: those of the environment")
    parser.add_argument("--side_by_side", action="store_true", help="all episodes in one video, side by side")
    parser.add_argument("--estimates", action="store_true", help="curves of V, Q and entropy below the pictures")
    args = parser.parse_args(arguments)
    _check_episodes(args)
    if args.fps is not None and not 1 <= args.fps <= 1000:
        raise MaxEntError(f"--fps must lie in [1, 1000], but is {args.fps}.")
    check_video_format(Path(f"video.{args.format}"))
    policy, videos = _loaded(args)
    return _record(policy, args, args.out or videos, args.format, args.side_by_side, args.estimates, args.fps)


def export_command(arguments: Sequence[str]) -> int:
    """Run ``lightning-maxent export``, and return the exit status.

    Raises:
        MaxEntError: for wrong arguments, or as ``load_policy`` and ``export_policy``.
    """
    parser = _parser("export", EXPORT)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--format",
        default=EXPORT_FORMATS[0],
        help="onnx (default), torch_export (a file ending in .pt2) or torchscript (which PyTorch has deprecated)",
    )
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--deterministic", action="store_true", help="export the deterministic actions: the default")
    actions.add_argument("--sample", action="store_true", help="export samples, with noise as a second input")
    args = parser.parse_args(arguments)
    policy, _ = _loaded(args)
    report = export_policy(policy, args.out, args.format, not args.sample)
    kind = "sampled" if args.sample else "deterministic"
    print(
        f"{report.path}: {type(policy.model).__name__} on {policy.env_id} after {policy.env_steps:,} environment steps, "
        f"{kind} actions, {report.path.stat().st_size / 1_000:,.0f} kB."
    )
    print(
        f"Largest difference from the policy on {OBSERVATIONS:,} observations: {report.difference:.2g} of the range of "
        f"actions; {report.different} actions differ."
    )
    print(
        f"Milliseconds per action: {report.milliseconds:.3g} with the file, {report.policy_milliseconds:.3g} with "
        f"lightning_maxent."
    )
    return 0


def share_command(arguments: Sequence[str]) -> int:
    """Run ``lightning-maxent share``, and return the exit status.

    Raises:
        MaxEntError: for wrong arguments, or as ``share_policy`` and the hub.
    """
    parser = _parser("share", SHARE)
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="the folder to write")
    parser.add_argument("--repo", metavar="USER/NAME", help="upload the folder to this repository of the hub, too")
    parser.add_argument("--episodes", type=int, default=20, help="number of episodes of the results; default: 20")
    parser.add_argument("--half", action="store_true", help="store weights in 16 bits, which halves the folder")
    args = parser.parse_args(arguments)
    if args.repo:
        check_hub(args.repo)
    results = share_policy(
        _path(args), args.out, args.episodes, f"{PREFIX}{args.repo}" if args.repo else None, half=args.half
    )
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1_000:,.0f} kB.")
    for kind, returns in zip(("deterministic", "sampled"), (results.deterministic, results.sampled)):
        print(f"Return of {kind} actions: {mean_and_deviation(returns)} ({args.episodes} episodes).")
    if args.repo:
        print(f"Uploaded to {upload(args.out, args.repo)}")
    return 0


def _parser(command: str, description: str) -> CommandParser:
    parser = CommandParser(command, description)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "--policy",
        metavar="zoo/NAME|hub:USER/NAME|last|PATH",
        help="a policy of the zoo (see lightning-maxent list) or of the Hugging Face hub; last for the newest run; or the "
        "folder of a run (its best.ckpt if there is one), a folder that share wrote, or a checkpoint",
    )
    given.add_argument("--ckpt_path", dest="policy", metavar="…", help="the same; fit and test have this name, too")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where last looks for runs; default: runs")
    parser.add_argument("--name", help="the name of the run that last means; default: any")
    return parser


def _parser_of_episodes(command: str, description: str) -> CommandParser:
    parser = _parser(command, description)
    parser.add_argument("--episodes", type=int, default=1, help="number of episodes; default: 1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode; default: 0")
    parser.add_argument(
        "--sample", action="store_true", help="sample actions from the policy, in place of its deterministic actions"
    )
    return parser


def _loaded(args: argparse.Namespace) -> tuple[TrainedPolicy, Path]:
    """The policy, and the folder for its videos."""
    path = _path(args)
    if args.policy == "last" or path == Path(args.policy) or is_address(args.policy):
        run = path if path.is_dir() else run_folder(path.absolute()) or path.parent
        return load_policy(path), run / "videos"
    return load_policy(path), Path("videos") / Path(args.policy.partition("@")[0]).name


def _path(args: argparse.Namespace) -> Path:
    """The path of the policy that was given."""
    if args.policy != "last":
        return local_path(args.policy)
    path = last_checkpoint(args.runs_dir, None, None, args.name).parent.parent
    print(f"The newest run: {path}")
    return path


def _check_episodes(args: argparse.Namespace) -> None:
    check_positive(episodes=args.episodes)
    if not 0 <= args.seed < 2**32:
        raise MaxEntError(f"--seed must lie in [0, 2**32), but is {args.seed}.")


def _record(
    policy: TrainedPolicy,
    args: argparse.Namespace,
    folder: Path,
    suffix: str,
    side_by_side: bool,
    estimates: bool,
    fps: float | None,
) -> int:
    seeds = range(args.seed, args.seed + args.episodes)
    groups = [list(seeds)] if side_by_side else [[seed] for seed in seeds]
    kind = "sample" if args.sample else "deterministic"
    for group in groups:
        name = f"{kind}-seed{group[0]}" + (f"-to-{group[-1]}" if len(group) > 1 else "")
        with progress(None, "pictures", desc=name, leave=False) as bar:
            recorded = record_episodes(
                policy, folder / f"{name}.{suffix}", group, not args.sample, estimates, fps, bar.update
            )
        for episode in recorded.episodes:
            _tell(episode, f"{recorded.path}: ")
    return 0


def _tell(episode: Played, where: str) -> None:
    print(f"{where}return {episode.episode_return:,.5g} in {episode.length:,} steps (seed {episode.seed})", flush=True)
