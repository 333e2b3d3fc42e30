r"""Train soft Q-learning and DDPG on the multi-goal world of Haarnoja et al. 2017, section 5.1, and draw both policies.

    python scripts/multi_goal.py --seed 0 --out multi_goal

Draws ``<out>/multi_goal.png``: trajectories from the origin over the reward field, and Q's level curves with 100 samples
of the policy at three states.  Each is drawn for soft Q-learning, for the exact soft optimum, and for DDPG with the
same critic.  Prints one JSON line with the learned numbers beside the exact ones, and writes it to
``<out>/multi_goal.json``.  A finished run in ``<out>`` is not trained again.

Soft Q-learning collects 100,000 environment steps, and DDPG learns from the same transitions at the same times.  On one
CPU core the first takes half an hour and the second a quarter of an hour.  Further options go to both runs.  With
``--trainer.max_steps 20000``, a few minutes are enough to see the four goals.
"""

import argparse
import io
import json
import sys
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from lightning_maxent.algorithms.action_value import ActionValueAlgorithm
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import fit_once, one_sentence_errors, run
from lightning_maxent.cli.lightning_cli import MaxEntCLI
from lightning_maxent.data.scaling import RawObservations
from lightning_maxent.environments.multi_goal import draw_rewards
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import MultiGoal, MultiGoalSolution, solve_multi_goal

PROBES = np.array([[-2.5, 0.0], [0.0, 0.0], [2.5, 2.5]])
HORIZON, CELLS, SAMPLES = 30, 16, 10_000
DIVERGENCE = [
    "--model.policy_update=lightning_maxent.policy_updates.DivergenceUpdate",
    "--model.policy_update.init_args.count=8",
]
POLICIES = {
    "stein": [],
    "flow": [
        "--model.policy=lightning_maxent.policies.flow.FlowPolicy",
        "--model.policy.init_args.transforms=2",
        "--model.policy.init_args.hidden_dims=[64, 64]",
        *DIVERGENCE,
    ],
    "mixture": ["--model.policy=lightning_maxent.policies.mixture.MixtureOfGaussians", *DIVERGENCE],
    "gaussian": ["--model.policy=lightning_maxent.policies.squashed_gaussian.SquashedGaussian", *DIVERGENCE],
}
PROPOSALS = {
    "uniform": [],
    "policy": ["--model.particles=lightning_maxent.particles.PolicyParticles"],
}


class Job(NamedTuple):
    """A run of one agent: its configuration, its name in the folder of runs, and further arguments."""

    config: str
    name: str
    arguments: list[str]

    @property
    def fit(self) -> list[str]:
        """The arguments of ``lightning-maxent fit``."""
        return [f"--config={self.config}", "--trainer.logger=false", *self.arguments]


def train(job: Job, folder: Path) -> Path:
    """The last checkpoint of a run.  A finished run is reused, and an interrupted run is resumed."""
    with redirect_stdout(sys.stderr):
        return fit_once(job.fit, folder, job.name) / "checkpoints" / "last.ckpt"


def learns_from(job: Job, checkpoint: Path) -> Job:
    """The same job, trained on the data that the run of ``checkpoint`` recorded."""
    recorded = "lightning_maxent.callbacks.recorded_data.RecordedData"
    return job._replace(
        arguments=[*job.arguments, f"--trainer.callbacks+={recorded}", f"--trainer.callbacks.path={checkpoint}"]
    )


def look(arguments: list[str]) -> MaxEntCLI:
    """An agent with its data; it plays one episode, so that wrong settings raise an error here."""
    quiet = ["--trainer.enable_progress_bar=false", "--data.init_args.eval_episodes=1"]
    with redirect_stdout(io.StringIO()):
        return run(resolve_arguments(["test", *arguments, *quiet]))


def solve(agent: MaxEntCLI) -> tuple[MultiGoalSolution, float]:
    """The exact solution for an agent's world, temperature, reward scale and discount; and ``init_sigma`` of the world.

    Raises:
        MaxEntError: if the environment is not the multi-goal world, observations are scaled, or a goal is at the
            origin.
    """
    with closing(agent.datamodule.make_env()) as env:
        world, sigma = (getattr(env.unwrapped, name, None) for name in ("world", "init_sigma"))
    if not isinstance(world, MultiGoal) or sigma is None:
        raise MaxEntError(f"The figure shows the multi-goal world, but env_id is {agent.datamodule.env_id}.")
    if not isinstance(agent.datamodule.observation_scaling, RawObservations):
        raise MaxEntError(
            "The figure needs an agent that takes unscaled observations: leave observation_scaling at RawObservations."
        )
    if world.there(np.zeros(2)):
        raise MaxEntError("The figure shows trajectories from the origin, but a goal lies there: move the goal.")
    scale = float(agent.datamodule.reward_scaling.scale())
    return solve_multi_goal(world, float(agent.model.temperature()), scale, agent.model.discount), sigma


def act(agent: ActionValueAlgorithm, states: np.ndarray) -> np.ndarray:
    """Samples of the policy in states ``[batch, 2]``."""
    return agent.act(torch.as_tensor(states, dtype=torch.float32)).double().numpy()


def play(solution: MultiGoalSolution, choose: Any, starts: np.ndarray) -> dict[str, np.ndarray]:
    """Plays one episode from every start.

    Returns:
        ``path`` ``[time, episode, 2]``, constant after the end of the episode; and ``[episode]`` each ``return`` (of
        unscaled rewards), ``length`` in steps and ``goal`` (its index; -1 if no goal was reached).
    """
    paths, alive = [starts], np.ones(len(starts), bool)
    returns, lengths = np.zeros(len(starts)), np.zeros(len(starts))
    for _ in range(HORIZON):
        states = paths[-1].copy()
        now = np.flatnonzero(alive)
        if len(now):
            actions = choose(states[now])
            returns[now] += solution.world.reward(states[now], actions)
            lengths[now] += 1
            states[now] = solution.world.after(states[now], actions)
            alive[now] = ~solution.world.there(states[now])
        paths.append(states)
    goals = np.where(alive, -1, solution.world.goal_distance(paths[-1]).argmin(-1))
    return {"path": np.stack(paths), "return": returns, "length": lengths, "goal": goals}


def shares(solution: MultiGoalSolution, goals: np.ndarray) -> list[float]:
    """Fraction of episodes that end at each goal, in the world's order; by default right, left, above, below."""
    return [float((goals == goal).mean()) for goal in range(len(solution.world.goals))]


@torch.no_grad()
def soft_values(agent: ActionValueAlgorithm, states: np.ndarray, alpha: float, count: int = 4096) -> np.ndarray:
    """``alpha log integral exp(Q/alpha)`` of the learned Q, from many uniform actions."""
    values = []
    for state in torch.as_tensor(states, dtype=torch.float32):
        actions = 2 * torch.rand(count, 2) - 1
        q = agent.q_value(state.expand(count, 2), actions)
        values.append(alpha * (torch.logsumexp(q / alpha, 0) - np.log(count) + 2 * np.log(2)))
    return torch.stack(values).double().numpy()


def at_probe(agent: ActionValueAlgorithm, solution: MultiGoalSolution, probe: np.ndarray) -> dict[str, float]:
    """Numbers of the policy in one state, each beside its exact value.

    10,000 samples are counted in 16 x 16 cells.  ``kl`` is the divergence of these counts from the exact probabilities
    of the cells.  Counting alone contributes (256 - 1) / (2 x 10,000) = .013 to it on average.  ``entropy`` is that of
    a density constant in every cell, in nats, with the correction of Miller 1955 for the bias of counting.
    """
    samples, exact = act(agent, np.tile(probe, (SAMPLES, 1))), solution.density(probe)
    counted = np.histogram2d(*samples.T, bins=CELLS, range=[[-1, 1], [-1, 1]])[0] / SAMPLES
    seen = counted > 0
    area = (2 / CELLS) ** 2
    cells = np.maximum(exact.cells(CELLS)[seen], np.finfo(float).tiny)  # where the exact one is zero to the last bit
    return {
        "entropy": float(-(counted[seen] * np.log(counted[seen] / area)).sum() + (seen.sum() - 1) / (2 * SAMPLES)),
        "exact_entropy": exact.entropy,
        "squared_length": float((samples**2).sum(-1).mean()),
        "exact_squared_length": exact.squared_length,
        "kl": float((counted[seen] * np.log(counted[seen] / cells)).sum()),
        "value": float(soft_values(agent, probe[None], solution.alpha)[0]),
        "exact_value": float(solution.value(probe)),
    }


def report(
    soft: ActionValueAlgorithm, hard: ActionValueAlgorithm, solution: MultiGoalSolution, sigma: float, seed: int
) -> dict[str, Any]:
    """All numbers of the JSON line.  ``largest_value_error`` is the maximum over 500 random states of the episodes."""
    rng = np.random.default_rng(seed)
    starts = sigma * rng.standard_normal((1000, 2))
    learned = play(solution, lambda states: act(soft, states), starts)
    exact = play(solution, lambda states: solution.sample(states, rng), starts)
    deterministic = play(solution, lambda states: act(hard, states), starts)
    origin = play(solution, lambda states: act(hard, states), np.zeros((1, 2)))
    visited = learned["path"][:-1].reshape(-1, 2)
    visited = visited[~solution.world.there(visited)]
    visited = visited[rng.choice(len(visited), min(500, len(visited)), replace=False)]
    return {
        "goals": shares(solution, learned["goal"]),
        "timeouts": float((learned["goal"] < 0).mean()),
        "return": float(learned["return"].mean()),
        "length": float(learned["length"].mean()),
        "exact_goals": shares(solution, exact["goal"]),
        "exact_return": float(exact["return"].mean()),
        "exact_length": float(exact["length"].mean()),
        "probes": {str(probe.tolist()): at_probe(soft, solution, probe) for probe in PROBES},
        "largest_value_error": float(
            np.abs(soft_values(soft, visited, solution.alpha) - solution.value(visited)).max()
        ),
        "deterministic_goals": shares(solution, deterministic["goal"]),
        "deterministic_timeouts": float((deterministic["goal"] < 0).mean()),
        "deterministic_goals_from_the_origin": shares(solution, origin["goal"]),
        "deterministic_return": float(deterministic["return"].mean()),
    }


def draw(
    soft: ActionValueAlgorithm, hard: ActionValueAlgorithm, solution: MultiGoalSolution, sigma: float, picture: Path
) -> None:
    """A column for each agent: trajectories, and Q with samples at each probe."""
    rng = np.random.default_rng(0)
    columns = {
        "soft Q-learning": (lambda states: act(soft, states), _ask(soft)),
        "exact soft optimum": (lambda states: solution.sample(states, rng), solution.q_value),
        "deterministic (DDPG)": (lambda states: act(hard, states), _ask(hard)),
    }
    figure = Figure(figsize=(10, 13), layout="constrained")
    axes = figure.subplots(4, 3)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-1, 1, 81)), -1)
    for column, (title, (choose, q)) in zip(axes.T, columns.items(), strict=True):
        draw_rewards(column[0], solution.world)
        paths = play(solution, choose, sigma * rng.standard_normal((40, 2)))["path"]
        column[0].plot(*np.moveaxis(paths, -1, 0), color="black", linewidth=0.6, alpha=0.7)
        column[0].set_title(title)
        for axis, probe in zip(column[1:], PROBES, strict=True):
            flat = grid.reshape(-1, 2)
            levels = q(np.tile(probe, (len(flat), 1)), flat).reshape(grid.shape[:2])
            axis.contour(grid[..., 0], grid[..., 1], levels, levels=15, cmap="viridis")
            axis.plot(*choose(np.tile(probe, (100, 1))).T, linestyle="", marker=".", color="tab:red", markersize=4)
            axis.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", title=f"Q and samples at {tuple(probe.tolist())}")
    figure.savefig(picture, dpi=110)


def _ask(agent: ActionValueAlgorithm) -> Any:
    @torch.no_grad()
    def q(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        pairs = (torch.as_tensor(each, dtype=torch.float32) for each in (states, actions))
        return agent.q_value(*pairs).numpy()

    return q


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("multi_goal"), help="folder of picture, numbers and runs")
    parser.add_argument("--policy", choices=POLICIES, default="stein")
    parser.add_argument("--particles", type=int, default=16, help="actions per next state")
    parser.add_argument("--proposal", choices=PROPOSALS, default="uniform", help="distribution of these actions")
    args, further = parser.parse_known_args()
    given = [f"--seed_everything={args.seed}", *further]
    particles = [*PROPOSALS[args.proposal], f"--model.particles.init_args.count={args.particles}"]
    name = f"{args.policy}_{args.proposal}{args.particles}_seed{args.seed}"
    soft_job = Job("continuous_soft_q/multi_goal", name, [*particles, *POLICIES[args.policy], *given])
    hard_job = Job("ddpg/multi_goal", f"deterministic_{name}", given)
    agent = look(soft_job.fit)  # wrong settings raise an error now, not after the half hour of the first run
    solve(agent)
    look(hard_job.fit)
    if not 0 < agent.trainer.max_steps <= agent.datamodule.capacity:
        raise MaxEntError(
            f"DDPG learns from all transitions of soft Q-learning: --trainer.max_steps {agent.trainer.max_steps} must "
            f"be positive and at most --data.capacity {agent.datamodule.capacity}."
        )
    soft_checkpoint = train(soft_job, args.out / "runs")
    hard_checkpoint = train(learns_from(hard_job, soft_checkpoint.absolute()), args.out / "runs")
    trained = [look([f"--ckpt_path={checkpoint}"]) for checkpoint in (soft_checkpoint, hard_checkpoint)]
    (solution, sigma), env_steps = solve(trained[0]), trained[0].datamodule.env_steps
    soft, hard = (each.model.cpu().eval() for each in trained)
    torch.manual_seed(args.seed)
    numbers = {"policy": args.policy, "proposal": args.proposal, "particles": args.particles, "seed": args.seed}
    numbers |= {"env_steps": env_steps} | report(soft, hard, solution, sigma, args.seed)
    draw(soft, hard, solution, sigma, args.out / "multi_goal.png")
    (args.out / "multi_goal.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers))


if __name__ == "__main__":
    with one_sentence_errors(Path(__file__).name):
        main()
