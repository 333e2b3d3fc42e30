"""Train the policies of the zoo, and write them to the folder ``zoo`` of the repository.

    python scripts/make_zoo.py --runs_dir runs/zoo             # all of them
    python scripts/make_zoo.py --runs_dir runs/zoo pendulum    # one of them

A policy whose run is in ``--runs_dir`` already is not trained again: its best checkpoint so far is written.  Prints the
rows of the table in ``docs/zoo.md``.
"""

import argparse
import shlex
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from lightning_maxent import TrainedPolicy, load_policy, share_policy
from lightning_maxent.backends.provenance import provenance
from lightning_maxent.cli.command import main as command
from lightning_maxent.sharing.addresses import ZOO
from lightning_maxent.sharing.card import mean_and_deviation, read_card
from lightning_maxent.videos.episodes import play, render_without_display

FLASH = (
    "--model.critic.init_args.network.init_args.width=64 --data.batch_size=256 --data.learning_starts 5_000 "
    "--trainer.max_steps 100_000 --data.eval_interval 10_000 --checkpoint.every_n_steps 10_000 --execution Compiled"
)
STEPS = 80  # of an episode that are drawn
POLICIES = {  # the folder of the run's group, and the arguments of fit
    "pendulum": ("sac/Pendulum-v1", "sac/pendulum"),
    "cartpole": ("discrete_sac/CartPole-v1", "discrete_sac/cartpole --trainer.max_steps 60_000"),
    "lunar_lander": ("discrete_sac/LunarLander-v3", "discrete_sac/lunar_lander"),
    "multi_goal": (
        "continuous_soft_q_learning/lightning_maxent-MultiGoal-v0",
        "continuous_soft_q/multi_goal --execution Compiled",
    ),
    "hopper": ("sac/Hopper-v5", f"flash task/hopper {FLASH}"),
    "half_cheetah": ("sac/HalfCheetah-v5", f"flash/half_cheetah {FLASH}"),
}


def draw(policy: TrainedPolicy, path: Path) -> None:
    """Five moments of the first steps of an episode side by side."""
    render_without_display()
    env, pictures = policy.make_env("rgb_array"), []
    for step in islice(play(policy, env, seed=1), STEPS + 1):
        pictures.append(step.picture)
    env.close()
    shown = [pictures[i * (len(pictures) - 1) // 4] for i in range(5)]
    path.parent.mkdir(parents=True, exist_ok=True)
    every = max(1, shown[0].shape[0] // 160)
    imsave(path, np.concatenate(shown, 1)[::every, ::every])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(POLICIES)}; default: all")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--out", type=Path, default=ZOO)
    parser.add_argument("--pictures", type=Path, default=ZOO.parent / "docs" / "results" / "zoo")
    parser.add_argument("--commit", help="that trained the runs; default: the present one")
    parser.add_argument("--episodes", type=int, default=20)
    args = parser.parse_args()
    if unknown := set(args.names) - set(POLICIES):
        parser.error(f"there is no policy {' and '.join(sorted(unknown))}: it is one of {', '.join(POLICIES)}")
    for name in args.names or POLICIES:
        group, given = POLICIES[name]
        run = args.runs_dir / group / "zoo"
        if not run.exists():
            command(["fit", *shlex.split(given), f"--runs_dir={args.runs_dir}", "--name=zoo"])
        results = share_policy(
            run,
            args.out / name,
            args.episodes,
            f"zoo/{name}",
            f"lightning-maxent fit {given}",
            args.commit or provenance().get("commit"),
            half=True,
        )
        draw(load_policy(args.out / name), args.pictures / f"{name}.png")
        training, _ = read_card(args.out / name)
        returns = " | ".join(map(mean_and_deviation, results[:2]))
        print(f"| `zoo/{name}` | {training.env_id} | {training.algorithm} | {returns} | {training.env_steps:,} |")


if __name__ == "__main__":
    main()
