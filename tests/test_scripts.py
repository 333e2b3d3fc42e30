"""The scripts do what their documentation says, in small runs."""

import contextlib
import copy
import csv
import importlib
import inspect
import io
import json
import math
import os
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from helpers import same
from torch.utils.flop_counter import FlopCounterMode

from lightning_maxent import ReplayDataModule
from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.cli.command import main
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import solve_multi_goal

pytestmark = pytest.mark.usefixtures("shapes_unchecked", "runs_without_curves")  # test_cli.py has both
ROOT = Path(__file__).parent.parent


def carry_out(script: str, *arguments: str) -> str:
    """The output of a script that is run in this process."""
    printed, said = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(said),
    ):
        patch.setattr(sys, "argv", [script, *arguments])
        patch.syspath_prepend(ROOT / "scripts")
        try:
            runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                raise AssertionError(said.getvalue().splitlines()[-1]) from stop
    return printed.getvalue()


def carry_out_in_a_process(script: str, *arguments: str) -> None:
    """With the processes that it starts, which import it."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


class OneProcess:
    """Stands for a ``ProcessPoolExecutor``: calls in this process, with what another one would get."""

    def __init__(self, *_, **__):
        """Takes no number of processes."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends no process."""

    def map(self, function, jobs):
        for job in jobs:
            received, its_job = pickle.loads(pickle.dumps((function, job)))
            yield received(its_job)


@pytest.fixture
def script(monkeypatch):
    """Imports a script by its name."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


SMALL_FIGURE_33 = [
    "--trainer.max_steps=60",
    "--data.learning_starts=40",
    "--data.batch_size=8",
    "--data.eval_episodes=1",
    "--trainer.enable_progress_bar=false",
]


def test_figure_33_draws_prints_one_line_and_trains_only_missing_runs(tmp_path, script, monkeypatch, capsys):
    multi_goal = script("multi_goal")

    def carry_out(*further: str) -> str:
        monkeypatch.setattr(sys, "argv", ["multi_goal.py", "--out", str(tmp_path), *SMALL_FIGURE_33, *further])
        capsys.readouterr()
        multi_goal.main()
        return capsys.readouterr().out

    (line,) = carry_out().splitlines()
    numbers = json.loads(line)
    assert json.loads((tmp_path / "multi_goal.json").read_text()) == numbers
    assert (tmp_path / "multi_goal.png").stat().st_size > 50_000
    for shares in ("goals", "exact_goals", "deterministic_goals"):
        assert len(numbers[shares]) == 4
        assert sum(numbers[shares]) <= 1 + 1e-9
    assert sum(numbers["exact_goals"]) > 0.99
    assert numbers["exact_return"] == pytest.approx(-192.6, abs=5)
    origin = numbers["probes"]["[0.0, 0.0]"]
    assert origin["exact_entropy"] == pytest.approx(1.285, abs=0.003)
    assert origin["kl"] > 0.05  # hardly trained
    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*/checkpoints/last.ckpt")}
    assert len(checkpoints) == 2
    met = [AtomicCheckpointIO().load_checkpoint(path)["ReplayDataModule"]["replay"] for path in checkpoints]
    same(*met)  # both learn from the same data
    with pytest.raises(MaxEntError, match=r"The run .* was started with other settings"):
        carry_out("--trainer.max_steps=80")
    hard, soft = tmp_path.glob("runs/ddpg/*/*"), tmp_path.glob("runs/continuous_soft_q_learning/*/*")
    next(soft).joinpath("finished").unlink()  # as if it had been cut off
    monkeypatch.setattr(multi_goal, "draw", lambda *_: None)
    (again,) = carry_out().splitlines()
    assert next(hard).joinpath("checkpoints/last.ckpt").stat().st_mtime_ns in checkpoints.values()
    assert json.loads(again)["probes"]["[0.0, 0.0]"]["value"] == origin["value"]


@pytest.mark.parametrize("proposal", ["uniform", "policy"])
@pytest.mark.parametrize("policy", ["stein", "flow", "mixture", "gaussian"])
def test_every_policy_of_figure_33_acts_and_one_without_density_gives_no_proposals(
    policy, proposal, script, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["multi_goal.py"])
    multi_goal = script("multi_goal")
    parts = [*multi_goal.PROPOSALS[proposal], *multi_goal.POLICIES[policy]]
    job = multi_goal.Job("continuous_soft_q/multi_goal", "name", ["--trainer.accelerator=cpu", *parts])
    if (policy, proposal) == ("stein", "policy"):
        with pytest.raises(
            ValueError, match="PolicyParticles needs the density of the policy, and SteinSampler has none"
        ):
            multi_goal.look(job.fit)
    else:
        solution, sigma = multi_goal.solve(multi_goal.look(job.fit))
        assert (solution.alpha, solution.reward_scale, solution.discount, sigma) == (1.0, 0.1, 0.99, 0.1)


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--model.noise=lightning_maxent.noise.NoNoise", "no option 'noise'"),  # one of the two has none
        ("--data.env_id=Pendulum-v1", "The figure shows the multi-goal world, but env_id is Pendulum-v1"),
        ("--data.env_kwargs={actuation_cost: 0.1, distance_cost: 1000.0}", "too low for float64"),
        ("--data.env_kwargs={goals: [[0.3, 0.0]]}", "from the origin, but a goal lies there"),
        ("--data.capacity=50", "max_steps 60 must be positive and at most --data.capacity 50"),
        (
            "--data.observation_scaling=lightning_maxent.data.scaling.StandardizedObservations",
            "leave observation_scaling at RawObservations",
        ),
    ],
)
def test_figure_33_refuses_invalid_arguments_before_training(flag, sentence, tmp_path):
    with pytest.raises(AssertionError, match=rf"multi_goal.py: error: .*{sentence}"):
        carry_out("multi_goal.py", "--out", str(tmp_path), *SMALL_FIGURE_33, flag)
    assert not list(tmp_path.iterdir())


def test_the_numbers_of_figure_33_of_the_exact_optimum_are_the_exact_ones(script):
    multi_goal = script("multi_goal")
    solution, rng = solve_multi_goal(), np.random.default_rng(0)

    class Optimum:
        def act(self, obs):
            return torch.as_tensor(solution.sample(obs.double().numpy(), rng))

        def q_value(self, obs, action):
            return torch.as_tensor(solution.q_value(obs.double().numpy(), action.double().numpy()))

    for probe in multi_goal.PROBES:
        found = multi_goal.at_probe(Optimum(), solution, probe)
        assert found["kl"] == pytest.approx(0.013, abs=0.005)  # of counting alone
        for name, tolerance in {"entropy": 0.03, "squared_length": 0.01, "value": 0.05}.items():
            assert found[name] == pytest.approx(found[f"exact_{name}"], abs=tolerance), (probe, name)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("weights", ["equal", "unequal"])
def test_the_worlds_of_the_samplers_draw_from_their_own_q(dim, weights, script):
    """Means of a few functions, by quadrature over the box and over 100,000 samples."""
    samplers = script("samplers")
    world, rng = samplers.World(dim, samplers.WEIGHTS[weights]), np.random.default_rng(0)
    axis = (np.arange(400) + 0.5) / 200 - 1
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    density = np.exp(world.q(torch.empty(0), torch.as_tensor(grid).float()).double().numpy())
    drawn = world.sample(100_000, rng)
    for function in (lambda a: a[:, 0], lambda a: (a**2).sum(-1), lambda a: a.prod(-1), lambda a: a[:, -1] > 0.1):
        exact = (function(grid) * density).sum() / density.sum()
        assert function(drawn).mean() == pytest.approx(exact, abs=0.01)
    shares = world.shares(drawn)
    assert shares == pytest.approx(samplers.WEIGHTS[weights], abs=0.06)  # neighbors overlap, the box cuts


def test_the_energy_distance_equals_its_definition(script):
    """For two single points it is twice their distance; for two samples of one distribution it is nearly zero."""
    distance = script("samplers").energy_distance
    assert distance(np.zeros((3, 2)), np.tile([3.0, 4.0], (3, 1))) == pytest.approx(10)
    rng = np.random.default_rng(0)
    like, shifted = (rng.standard_normal((2000, 1)) + shift for shift in (0.0, 0.5))
    normal = rng.standard_normal((2000, 1))
    assert distance(normal, like) == pytest.approx(0, abs=0.01)
    expected = 2 * (0.5 * math.erf(0.25) + 2 / math.sqrt(math.pi) * math.exp(-0.0625)) - 4 / math.sqrt(math.pi)
    assert distance(normal, shifted) == pytest.approx(expected, abs=0.03)


def test_samplers_compare_every_policy_with_exact_samples(tmp_path):
    carry_out("samplers.py", "--dims", "1", "--seeds", "0", "--updates", "5", "--out", str(tmp_path / "found"))
    rows = (tmp_path / "found.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 6
    assert rows[0].startswith("modes,dim,policy,particles,seed,updates,energy_distance,baseline,share_error")
    assert (tmp_path / "found.png").exists()


def test_particles_tell_bias_and_cost_for_both_proposals(tmp_path):
    small = ["--repeats", "200", "--updates", "2", "--timed", "2", "--out", str(tmp_path / "found")]
    carry_out("particles.py", *small)
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 7
    uniform = [float(row["bias"]) for row in rows if row["proposal"] == "uniform" and row["state"] == "(-2.5, 0.0)"]
    assert uniform[0] < -0.4  # two particles, of which most miss the one mode
    assert abs(uniform[-1]) < 0.06
    assert (tmp_path / "found.png").exists()


def test_the_warm_start_script_runs_every_goal_and_repeats_no_finished_run(tmp_path, script, monkeypatch):
    warm_start = script("warm_start")
    monkeypatch.setattr(warm_start, "ProcessPoolExecutor", OneProcess)
    monkeypatch.setattr(warm_start, "GOALS", warm_start.GOALS[:2])
    small = ["--seeds", "0", "--before", "70", "--after", "125", "--runs_dir", str(tmp_path / "runs")]
    small += ["--out", str(tmp_path / "found"), "--data.batch_size=8", "--data.eval_episodes=1"]
    small += ["--data.updates_per_round=0", "--data.learning_starts=64"]
    monkeypatch.setattr(sys, "argv", ["warm_start.py", *small])
    warm_start.main()
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2  # agents and goals
    assert (tmp_path / "found.png").exists()
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*/metrics.csv")}
    assert len(runs) == 2 + 8
    for run in tmp_path.glob("runs/*/*/*"):
        (begins_with,) = re.findall(r"path: .*/(\w+)/checkpoints/last.ckpt", (run / "config.yaml").read_text()) or [
            None
        ]
        way = run.name.partition("_")[0]
        assert begins_with == (f"{way}_all_seed0" if "warm" in run.name else None)
    warm_start.main()
    assert {path: path.stat().st_mtime_ns for path in runs} == runs


def test_the_temperature_sweep_draws_the_optimum_of_the_objective_that_was_trained(tmp_path, script):
    """On FrozenLake, at alpha .05, the two optima have very different entropies (nats, to three digits)."""
    run = ["--config", "a2c/frozen_lake", "--alphas", "0.05", "--seeds", "0", "--jobs", "1"]
    run += ["--trainer.max_steps=400", "--data.eval_interval=400", "--data.eval_episodes=2"]
    carry_out_in_a_process(
        "temperature_sweep.py", *run, "--runs_dir", str(tmp_path / "runs"), "--out", str(tmp_path / "sweep")
    )
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    (row,) = csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines())
    assert (row["objective"], row["alpha"], row["env_steps"]) == ("CurrentEntropy", "0.05", "400")
    exact_curve = script("temperature_sweep").exact_curve
    for objective, entropy in (("CurrentEntropy", 1.335), ("TrajectoryEntropy", 0.794)):
        found = exact_curve(gym.make("FrozenLake-v1"), 0.95, objective, [0.05])
        assert found[0, 1] == pytest.approx(entropy, abs=1e-3)
    dry = gym.make("FrozenLake-v1", is_slippery=False)
    assert exact_curve(dry, 0.95, "CurrentEntropy", [0.0005])[0, 0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        ("temperature_sweep.py", ["--jobs", "0", "--out", "found"], "--jobs must be at least 1, but is 0"),
        ("warm_start.py", ["--jobs", "0", "--out", "found"], "--jobs must be at least 1, but is 0"),
        (
            "learning_curves.py",
            ["nowhere", "--out", "found"],
            "nowhere is not the folder of a run: it has no metrics.csv",
        ),
    ],
)
def test_invalid_arguments_of_scripts_are_refused_in_one_sentence(script, arguments, sentence):
    with pytest.raises(AssertionError, match=rf"^{script}: error: {sentence}"):
        carry_out(script, *arguments)


def test_two_runs_with_the_same_algorithm_and_seed_are_refused_in_learning_curves(tmp_path, monkeypatch, script):
    config = {"model": {"class_path": "lightning_maxent.SAC"}, "data": {"init_args": {"env_id": "World-v0"}}}
    for run in ("one", "other"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.yaml").write_text(yaml.safe_dump(config | {"seed_everything": 3}))
        (tmp_path / run / "metrics.csv").write_text("env_steps,eval/return_mean\n10,1.0\n")
    runs = [str(tmp_path / run) for run in ("one", "other")]
    monkeypatch.setattr(sys, "argv", ["learning_curves.py", *runs, "--out", str(tmp_path / "found")])
    with pytest.raises(MaxEntError, match="several runs of SAC with seed 3, which would give one curve"):
        script("learning_curves").main()


@pytest.mark.parametrize("steps", ["0", "15000"])
def test_the_benchmark_refuses_steps_at_which_one_of_the_two_would_not_be_evaluated(steps, tmp_path):
    with pytest.raises(AssertionError, match=r"^benchmark_sb3.py: error: --steps must be a multiple of 10240"):
        carry_out("benchmark_sb3.py", "--algorithm", "ppo", "--steps", steps, "--out", str(tmp_path / "found.csv"))
    assert not list(tmp_path.iterdir())


def test_the_benchmark_says_why_a_run_of_ours_failed(script):
    benchmark = script("benchmark_sb3")
    task = benchmark.TASKS["td3"]._replace(config="td3/pendlum")
    with pytest.raises(
        MaxEntError, match=r"Our td3/pendlum with seed 0 ended .*: There is no configuration 'td3/pendlum'"
    ):
        list(benchmark.ours(task, seed=0, steps=1_000))


def test_the_benchmark_gives_the_other_library_the_numbers_of_our_configurations(script, capsys):
    benchmark = script("benchmark_sb3")

    def the_only_optimizer(model):
        """The settings of the only optimizer without the defaults of torch, in a configuration with one optimizer of
        the default class.
        """
        (default,) = [each for each in model["optimizers"].values() if isinstance(each, dict)]
        assert default["class_path"].endswith("FusedAdam")
        usual = {name: each.default for name, each in inspect.signature(torch.optim.Adam).parameters.items()}
        given = {
            name: tuple(value) if isinstance(value, list) else value for name, value in default["init_args"].items()
        }
        return {name: value for name, value in given.items() if name in ("lr", "fused") or value != usual[name]}

    def parts(algorithm):
        with pytest.raises(SystemExit):
            main(["fit", benchmark.TASKS[algorithm].config, "--print_config"])
        config = yaml.safe_load(capsys.readouterr().out.split("\n# ")[0])
        return config["trainer"]["max_steps"], *(config[each]["init_args"] for each in ("model", "data"))

    for algorithm, theirs in (("sac", benchmark.SAC), ("td3", benchmark.TD3)):
        steps, model, data = parts(algorithm)
        assert steps == benchmark.TASKS[algorithm].steps
        assert data["eval_interval"] == benchmark.TASKS[algorithm].interval
        assert the_only_optimizer(model) == {"lr": theirs["learning_rate"], "fused": benchmark.ADAM["fused"]}
        assert (model["discount"], model.get("policy_delay", 1)) == (theirs["gamma"], theirs.get("policy_delay", 1))
        assert model["target"]["init_args"]["rate"] == benchmark.TAU
        assert (data["batch_size"], data["capacity"]) == (theirs["batch_size"], theirs["buffer_size"])
        assert data["learning_starts"] == theirs["learning_starts"]
        assert data["num_envs"] * theirs["train_freq"] == data["steps_per_round"]
        assert data["updates_per_round"] == theirs["gradient_steps"]
    assert model["noise"]["init_args"]["std"] == benchmark.NOISE
    smoothing = {"std": benchmark.TD3["target_policy_noise"], "clip": benchmark.TD3["target_noise_clip"]}
    assert model["smoothing"]["init_args"].items() >= smoothing.items()

    theirs, (_, model, data) = benchmark.PPO, parts("ppo")
    assert data["eval_interval"] == benchmark.TASKS["ppo"].interval
    assert the_only_optimizer(model) == {"lr": theirs["learning_rate"], "fused": benchmark.ADAM["fused"]}
    for ours, name in {
        "discount": "gamma",
        "gae_lambda": "gae_lambda",
        "clip": "clip_range",
        "epochs": "n_epochs",
    }.items():
        assert model[ours] == theirs[name]
    assert model["optimizers"]["max_grad_norm"] == theirs["max_grad_norm"]
    assert model["temperature"]["init_args"]["alpha"] == theirs["ent_coef"] == 0  # else its units would count
    assert (data["num_envs"], data["steps_per_round"]) == (benchmark.COPIES, benchmark.COPIES * theirs["n_steps"])
    assert data["steps_per_round"] == model["minibatches"] * theirs["batch_size"]
    scaling = {"largest": benchmark.SCALING["clip_reward"]}  # its discount is that of the model, above
    assert data["reward_scaling"]["init_args"].items() >= scaling.items()


# ---- benchmark.py ----------------------------------------------------------------------------------------------------------


class EnoughError(Exception):
    """Ends a training run of the benchmark."""


@pytest.mark.parametrize("system", ["eager", "eager bf16"])
def test_the_benchmark_trains_sac_and_reports_every_environment_step(script, system):
    benchmark, steps = script("benchmark"), []

    def turns(env_steps: int) -> None:
        steps.append(env_steps)
        if env_steps == benchmark.STARTS + 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        benchmark.train_ours(benchmark.OURS[system], SimpleNamespace(env="Pendulum-v1", device="cpu"), turns)
    assert steps == list(range(1, benchmark.STARTS + 3))


def test_a_turn_of_the_benchmark_is_timed_from_its_request_to_its_last_step(script, monkeypatch, capsys):
    benchmark, clock = script("benchmark"), iter([10.0, 14.5, 20.0])
    monkeypatch.setattr(benchmark.time, "perf_counter", clock.__next__)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
    turns = benchmark.Turns(warm_up=3, turn=2)
    for env_steps in range(1, 6):
        turns(env_steps)
    said = [json.loads(line.removeprefix(benchmark.TURN_ENDED)) for line in capsys.readouterr().out.splitlines()]
    assert [each["seconds"] for each in said] == [0.0, 4.5]


def test_the_table_of_the_benchmark_has_medians_and_ratios_within_rounds(script, monkeypatch, capsys, tmp_path):
    benchmark = script("benchmark")
    speeds = {"eager": [10.0, 30.0, 20.0], "sb3": [10.0, 10.0, 10.0]}

    class Replayed:
        def __init__(self, name, args):
            self.name, self.left, self.speeds = name, iter(speeds[name]), []
            self.memory, self.start_seconds = 100.0, 5.0

        def take_turn(self, turn):
            self.speeds.append(next(self.left))

        def close(self):
            pass

    monkeypatch.setattr(benchmark, "System", Replayed)
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None if name == "sbx" else name)
    monkeypatch.setattr(benchmark, "describe", lambda args: {"commit": "abc"})
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--systems", "eager", "sb3", "--rounds=3", f"--out={tmp_path}"])
    benchmark.main()
    assert "| eager | 20 (10 to 30) | 100 MiB | 5 s |  | 2.00 (1.00 to 3.00) |" in capsys.readouterr().out
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert written["results"][1]["ratio_to"]["eager"] == pytest.approx([1, 1 / 3, 1 / 2])
    assert (tmp_path / "benchmark.png").stat().st_size > 1_000
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--systems", "sbx"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "sbx is not installed: pip install -e '.[benchmark]', or leave out sbx." in capsys.readouterr().err


@pytest.mark.parametrize("sizes", [(16, 8, 2), (24, 4, 3)])
def test_the_operations_of_an_update_are_those_that_pytorch_counts(script, sizes):
    scaling = script("scaling")
    sizes, data = scaling.Update(*sizes), ReplayDataModule("Pendulum-v1")
    algorithm = scaling.new_algorithm(sizes, data.obs_dim, data)
    batch = scaling.random_batch(sizes, data.obs_dim, data.actions.dim)
    optimizers = algorithm.build_optimizers()
    algorithm.update(batch, optimizers)  # the first update checks gradients, which costs more
    with FlopCounterMode(display=False) as counter:
        algorithm.update(batch, optimizers)
    assert scaling.operations(sizes, data.obs_dim, data.actions.dim) == counter.get_total_flops()


def test_the_cost_model_finds_the_constants_of_a_cost_that_follows_it(script):
    terms = [(1.0, 10.0), (1.0, 100.0), (1.0, 1000.0)]
    seconds = [3.0 + 0.5 * size for _, size in terms]
    np.testing.assert_allclose(script("scaling").fitted(terms, seconds), [3.0, 0.5])


def test_the_costs_are_written_as_a_table(tmp_path):
    printed = carry_out("scaling.py", "--env", "Pendulum-v1", "--seconds", "0", "--out", str(tmp_path / "scaling.csv"))
    rows = list(csv.DictReader((tmp_path / "scaling.csv").read_text().splitlines()))
    assert [row["what"] for row in rows] == ["update"] * 10 + ["step"] * 4
    assert all(float(row["cpu_seconds"]) > 0 and float(row["model_seconds"]) >= 0 for row in rows)
    assert re.match(r"update: [\d.]+ ms \+ .*\nstep: [\d.]+ ms per action", printed)


def test_checkpoint_cost_measures_every_save(tmp_path):
    out = tmp_path / "cost.csv"
    printed = carry_out("checkpoint_cost.py", "--rows", "200", "--new", "50", "--saves", "6", "--out", str(out))
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["env_steps"]) for row in rows] == [200, 250, 300, 350, 400, 450]
    assert all(float(row["milliseconds"]) > 0 and float(row["disk"]) > 1 for row in rows)
    assert "Largest size on the disk" in printed


@pytest.mark.slow
def test_runs_that_are_killed_again_and_again_end_as_if_they_were_not(tmp_path):
    printed = carry_out("torture.py", "--kills", "8", "--out", str(tmp_path / "torture.csv"))
    assert "8 disturbances" in printed
    assert ", 0 of them with another state." in printed


def test_torture_names_the_first_place_where_two_ends_differ(script):
    differs = script("torture").differs
    left = {"a": [1, {"b": torch.zeros(2)}], "c": ("x", 1.0)}
    assert not differs(left, copy.deepcopy(left), "end")
    assert differs(left, left | {"a": [1, {"b": torch.tensor([0.0, 1e-40])}]}, "end") == "end.a[1].b"
    assert differs(left, left | {"c": ("x", 1)}, "end") == "end.c[1]"
    assert differs(left, {"a": left["a"]}, "end") == "end"
