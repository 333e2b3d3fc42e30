"""Measure the speed of SAC beside Stable-Baselines3 and SBX: same task, networks, batch and ratio of updates.

    pip install -e '.[benchmark]'
    python scripts/benchmark.py --systems eager compiled sb3 sbx --rounds 6 --threads 2 --out results

Every system is a process of its own that trains SAC with a learned temperature: two layers of 256 units, batches of 256
transitions, and one update after each environment step.  The processes take turns of ``--turn`` environment steps, so
that other load on the machine affects all alike; only one of them runs at a time.  Each turn is a part of one training
run, with everything that a user gets by default (collection, replay, logging), but without evaluation.  What happens
before the first turn is not measured: imports, the first updates, and compilation.

Prints environment steps per second of each system (median, lowest and highest turn), its peak memory, the seconds until
its first turn, and the ratio of its speed to that of every other system: the median over rounds of the ratio within a
round, and its lowest and highest.  ``--out`` also writes ``benchmark.json`` and ``benchmark.png``.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

HIDDEN, BATCH, STARTS = [256, 256], 256, 1_000
TURN_ENDED = "TURN "  # begins the line that a system prints after a turn


class Ours(NamedTuple):
    """How ``lightning_maxent`` trains."""

    execution: Callable[[], Any] | None = None
    precision: str = "32-true"


def compiled() -> Any:
    from lightning_maxent import Compiled

    return Compiled()


def cuda_graph() -> Any:
    from lightning_maxent import CudaGraph

    return CudaGraph()


def compiled_cuda_graph() -> Any:
    from lightning_maxent import CudaGraph

    return CudaGraph(compiled())


OURS = {
    "eager": Ours(),
    "eager bf16": Ours(precision="bf16-mixed"),
    "compiled": Ours(compiled),
    "compiled bf16": Ours(compiled, "bf16-mixed"),
    "cuda graph": Ours(cuda_graph),
    "cuda graph, compiled": Ours(compiled_cuda_graph),
}
PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}  # names of their packages


class Turns:
    """Pauses a run at its first measured step and after every turn, until the measuring process asks for the next."""

    def __init__(self, warm_up: int, turn: int):
        self._next, self._turn = warm_up, turn
        self._since: float | None = None

    def __call__(self, env_steps: int) -> None:
        """Called after every environment step, with their number so far."""
        if env_steps < self._next:
            return
        seconds = 0.0 if self._since is None else time.perf_counter() - self._since
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(TURN_ENDED + json.dumps({"seconds": seconds, "memory_mib": memory}), flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self._next = env_steps + self._turn
        self._since = time.perf_counter()


def train_ours(system: Ours, args: argparse.Namespace, turns: Turns) -> None:
    import pytorch_lightning as pl

    from lightning_maxent import MLP, SAC, ReplayDataModule, SquashedGaussian, TwinCritic, make_trainer

    class Pause(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            turns(trainer.global_step)

    network = partial(MLP, hidden_dims=HIDDEN)
    data = ReplayDataModule(args.env, batch_size=BATCH, learning_starts=STARTS, eval_interval=10**6)
    critic, policy = partial(TwinCritic, network=network), partial(SquashedGaussian, network=network)
    model = SAC(data.obs_dim, data.actions, critic, policy)
    executions = [system.execution()] if system.execution else []
    with tempfile.TemporaryDirectory() as folder:
        options = {"accelerator": args.device, "precision": system.precision, "enable_progress_bar": False}
        options |= {"enable_model_summary": False}
        make_trainer(10**9, folder, [Pause(), *executions], logger=False, **options).fit(model, data)


def train_sb3(args: argparse.Namespace, turns: Turns) -> None:
    import torch
    from stable_baselines3 import SAC  # pyright: ignore[reportMissingImports]  # an extra

    options = {"policy_kwargs": {"net_arch": HIDDEN, "activation_fn": torch.nn.ReLU}, "device": args.device}
    _learn(SAC, options, args, turns)


def train_sbx(args: argparse.Namespace, turns: Turns) -> None:
    from sbx import SAC  # pyright: ignore[reportMissingImports]  # an extra

    _learn(SAC, {"policy_kwargs": {"net_arch": HIDDEN}}, args, turns)


def _learn(algorithm: Any, options: dict[str, Any], args: argparse.Namespace, turns: Turns) -> None:
    """Train a peer that has the interface of Stable-Baselines3."""
    from stable_baselines3.common.callbacks import BaseCallback  # pyright: ignore[reportMissingImports]  # an extra

    class Pause(BaseCallback):
        def _on_step(self) -> bool:
            turns(self.num_timesteps)
            return True

    model = algorithm("MlpPolicy", args.env, batch_size=BATCH, learning_starts=STARTS, verbose=1, seed=0, **options)
    model.learn(10**9, callback=Pause())


class System:
    """A process that trains, one turn at a time."""

    def __init__(self, name: str, args: argparse.Namespace):
        self.name, self.speeds, self.memory = name, [], 0.0
        command = [sys.executable, __file__, "--worker", name, "--env", args.env, "--device", args.device]
        command += ["--turn", str(args.turn), "--warm-up", str(args.warm_up), "--threads", str(args.threads)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
        single = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if args.threads == 1 else {}
        pipe = subprocess.PIPE
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  it is open as long as the process
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=os.environ | threads | single
        )
        start = time.perf_counter()
        self._wait()
        self.start_seconds = time.perf_counter() - start

    def take_turn(self, turn: int) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        ended = self._wait()
        self.speeds.append(turn / ended["seconds"])
        self.memory = ended["memory_mib"]

    def _wait(self) -> dict[str, float]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(TURN_ENDED):
                return json.loads(line.removeprefix(TURN_ENDED))
        self._log.seek(0)
        sys.exit(f"{self.name} ended early:\n{self._log.read()[-3000:]}")

    def close(self) -> None:
        self._process.communicate()


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One object for each system, with all measured numbers."""
    systems: list[System] = []
    for name in args.systems:
        print(f"{name}: starting, {args.warm_up:,} environment steps", flush=True)
        systems.append(System(name, args))
    for number in range(args.rounds):
        for system in systems:
            system.take_turn(args.turn)
        speeds = ", ".join(f"{each.name} {each.speeds[-1]:.0f}" for each in systems)
        print(f"round {number + 1}/{args.rounds}: {speeds} env steps/s", flush=True)
    for system in systems:
        system.close()
    return [
        {
            "system": each.name,
            "env_steps_per_s": each.speeds,
            "peak_memory_mib": each.memory,
            "start_seconds": each.start_seconds,
            "ratio_to": {
                other.name: [ours / theirs for ours, theirs in zip(each.speeds, other.speeds)]
                for other in systems
                if other is not each
            },
        }
        for each in systems
    ]


def spread(numbers: list[float], digits: int) -> str:
    return f"{statistics.median(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def show(results: list[dict[str, Any]]) -> None:
    """Print the results as a table of Markdown."""
    others = [each["system"] for each in results]
    print("\n| system | env steps/s | memory | start |" + "".join(f" to {name} |" for name in others))
    print("|---" * (4 + len(others)) + "|")
    for each in results:
        cells = [each["system"], spread(each["env_steps_per_s"], 0)]
        cells += [f"{each['peak_memory_mib']:.0f} MiB", f"{each['start_seconds']:.0f} s"]
        cells += [spread(each["ratio_to"][name], 2) if name in each["ratio_to"] else "" for name in others]
        print("| " + " | ".join(cells) + " |")


def draw(results: list[dict[str, Any]], title: str, picture: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.45 * len(results)), layout="constrained")
    axes = figure.subplots()
    names = [each["system"] for each in results]
    medians = [statistics.median(each["env_steps_per_s"]) for each in results]
    spans = [(m - min(e["env_steps_per_s"]), max(e["env_steps_per_s"]) - m) for m, e in zip(medians, results)]
    axes.barh(names, medians, xerr=list(zip(*spans)), capsize=3, color="#4c72b0")
    axes.invert_yaxis()
    axes.set(xlabel="environment steps per second: median, lowest and highest turn", title=title)
    figure.savefig(picture, dpi=120)


def describe(args: argparse.Namespace) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    packages = ("torch", "pytorch-lightning", "torchrl", "stable-baselines3", "sbx-rl", "jax")
    known = {name: version(name) for name in packages if find_spec(name.removesuffix("-rl").replace("-", "_"))}
    settings = {name: getattr(args, name) for name in ("env", "device", "threads", "turn", "rounds", "warm_up")}
    return {
        "commit": commit,
        "command": " ".join(sys.argv),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "versions": known,
        "settings": settings,
    }


def cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def work(args: argparse.Namespace) -> None:
    """Train one system in this process."""
    import torch

    torch.set_num_threads(args.threads)
    turns = Turns(args.warm_up, args.turn)
    peers: dict[str, Callable[..., None]] = {"sb3": train_sb3, "sbx": train_sbx}
    if args.worker in OURS:
        train_ours(OURS[args.worker], args, turns)
    else:
        peers[args.worker](args, turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*OURS, *PEERS]
    parser.add_argument("--systems", nargs="+", choices=known, default=["eager", "compiled", *PEERS])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each system")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each system")
    parser.add_argument("--turn", type=int, default=500, help="environment steps of a turn")
    parser.add_argument("--warm-up", type=int, default=1_500, help="environment steps before the first turn")
    parser.add_argument("--out", type=Path, help="folder for benchmark.json and benchmark.png")
    parser.add_argument("--worker", choices=known, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    for name in args.systems:
        if name in PEERS and find_spec(PEERS[name]) is None:
            parser.error(f"{PEERS[name]} is not installed: pip install -e '.[benchmark]', or leave out {name}.")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)  # fails now, not after the measurement
    description = describe(args)
    results = measure(args)
    show(results)
    if args.out:
        (args.out / "benchmark.json").write_text(json.dumps(description | {"results": results}, indent=1) + "\n")
        draw(results, f"SAC on {args.env}, {args.threads} threads, {args.device}", args.out / "benchmark.png")
        print(f"\nWritten: {args.out / 'benchmark.json'} and {args.out / 'benchmark.png'}")


if __name__ == "__main__":
    main()
