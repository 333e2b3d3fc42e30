"""The options of commands that carry out several runs, and the backend that they describe."""

import argparse
import os
import shlex
from pathlib import Path

from lightning_maxent.backends.base import AbstractBackend
from lightning_maxent.errors import MaxEntError, check_positive

RETRIES = 2
OF_BACKENDS = {"ray": ("ray_address", "ray_cpus", "ray_gpus"), "slurm": ("slurm",)}  # options of one backend only


def add_options(parser: argparse.ArgumentParser, jobs_elsewhere: str) -> None:
    """Add the options of backends to the parser of a command.

    Args:
        parser: the parser.
        jobs_elsewhere: what the help says of the option ``--jobs`` on a Ray cluster and on SLURM.
    """
    parser.add_argument(
        "--jobs",
        type=int,
        help=f"number of parallel runs; default: one for each core of this machine, and {jobs_elsewhere}",
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=RETRIES,
        help="how often a run that was killed goes on from its last checkpoint; default: %(default)s",
    )
    parser.add_argument(
        "--backend",
        choices=("local", *OF_BACKENDS),
        default="local",
        help="where runs execute: on this machine, as workers of Ray, or as jobs of SLURM; default: %(default)s",
    )
    parser.add_argument(
        "--ray_address", metavar="ADDRESS", help="a running Ray cluster; default: RAY_ADDRESS, else one on this machine"
    )
    parser.add_argument("--ray_cpus", type=float, help="CPUs of a run; default: 1")
    parser.add_argument("--ray_gpus", type=float, help="GPUs of a run, such as 0.25 for four runs on one; default: 0")
    parser.add_argument(
        "--slurm",
        nargs="+",
        metavar="KEY=VALUE",
        help="options of sbatch, such as partition=gpu time=120 gpus=1, or a YAML file with them",
    )


def check_options(args: argparse.Namespace) -> None:
    """Check the options of ``add_options``.

    Raises:
        MaxEntError: for a number that is too small, or an option of another backend.
    """
    if args.jobs is not None:
        check_positive(**{"--jobs": args.jobs})
    if args.retries < 0:
        raise MaxEntError(f"--retries must be at least 0, but is {args.retries}.")
    for backend, names in OF_BACKENDS.items():
        for name in names:
            if getattr(args, name) is not None and args.backend != backend:
                raise MaxEntError(f"--{name} needs --backend {backend}, but the backend is {args.backend}.")
    for name in ("ray_cpus", "ray_gpus"):
        if (value := getattr(args, name)) is not None and not 0 <= value < float("inf"):
            raise MaxEntError(f"--{name} must be a number from 0, but is {value:g}.")


def make_backend(args: argparse.Namespace, out: Path) -> AbstractBackend:
    """The backend that the options describe.

    Args:
        args: with the options of ``add_options``.
        out: the folder of all runs, which exists.

    Raises:
        MaxEntError: if what the backend needs is missing, or options are wrong.
    """
    if args.backend == "local":
        from lightning_maxent.backends.local import LocalBackend

        return LocalBackend(args.jobs or cores())
    if args.backend == "ray":
        from lightning_maxent.backends.ray import RayBackend

        address = args.ray_address or os.environ.get("RAY_ADDRESS") or None
        jobs = args.jobs or (None if address else cores())
        cpus, gpus = (
            default if given is None else given for given, default in ((args.ray_cpus, 1), (args.ray_gpus, 0))
        )
        return RayBackend(jobs, address, cpus, gpus)
    from lightning_maxent.backends.slurm import SlurmBackend

    return SlurmBackend(args.jobs, out / "slurm", args.slurm or [])


def given_options(args: argparse.Namespace) -> str:
    """The given options of backends, for the command that resumes."""
    words: list[str] = []
    for name, default in (("backend", "local"), *((each, None) for names in OF_BACKENDS.values() for each in names)):
        value = getattr(args, name)
        if value != default:
            words += [f"--{name}", *(value if isinstance(value, list) else [str(value)])]
    return shlex.join(words)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
