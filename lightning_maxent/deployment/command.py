"""``lightning-maxent export``: writes the policy of a checkpoint to a file that plays without this package."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lightning_maxent.cli.arguments import last_checkpoint
from lightning_maxent.deployment.exported_policy import FORMATS, OBSERVATIONS, export_policy
from lightning_maxent.errors import MaxEntError
from lightning_maxent.trained_policy import load_policy

DESCRIPTION = """Write the policy of a checkpoint to one file, which plays without lightning_maxent.

  lightning-maxent export --ckpt_path last --out policy.onnx
  lightning-maxent export --ckpt_path runs/sac/Pendulum-v1/a --out policy.pt2 --format torch_export

The file takes flat observations, scales them as in training, and gives actions in the units of the environment.  It is
compared with the policy on 1,000 observations, and written only if its actions are the same."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MaxEntError(f"{message[:1].upper()}{message[1:]}; see `lightning-maxent export --help`.")


def export(arguments: Sequence[str]) -> None:
    """Run ``lightning-maxent export``.

    Raises:
        MaxEntError: for wrong arguments, or as ``load_policy`` and ``export_policy``.
    """
    args = _parser().parse_args(arguments)
    newest = args.ckpt_path == "last"
    path = last_checkpoint(args.runs_dir, None, None, args.name) if newest else Path(args.ckpt_path)
    policy = load_policy(path)
    report = export_policy(policy, args.out, args.format, args.deterministic)
    kind = "deterministic" if args.deterministic else "sampled"
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lightning-maxent export",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--ckpt_path",
        required=True,
        metavar="PATH",
        help="a checkpoint, the folder of a run (its best checkpoint, or else the last), or last: the newest run",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--format", default=FORMATS[0], help=f"{' or '.join(FORMATS)} (a file ending in .pt2); default: %(default)s"
    )
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument(
        "--deterministic", action="store_true", default=True, help="export the deterministic actions: the default"
    )
    actions.add_argument(
        "--sample", action="store_false", dest="deterministic", help="export samples, with noise as a second input"
    )
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where last looks for runs; default: runs")
    parser.add_argument("--name", help="the name of the run that last means; default: any")
    return parser
