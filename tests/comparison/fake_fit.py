"""Stands in for ``lightning-maxent fit``: leaves the files of a run within milliseconds, and does as it is told by
``--model.does``: ``finishes``, ``fails``, ``waits`` for Ctrl-C before its last evaluation while there is a file ``wait``, ``dies``
without checkpoint, ``is_killed`` after its first checkpoint, ``is_killed_again`` and again, ``goes_on`` after its first
checkpoint as soon as there is a file ``go_on``.
"""

import os
import signal
import sys
import time
from pathlib import Path

assert sys.argv[1] == "fit"
options = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[2:])
run = Path(options["runs_dir"]) / "fake" / "World" / options["name"]
does, seed = options.get("model.does", "finishes"), int(options["seed_everything"])
resumes = "ckpt_path" in options
assert resumes or not run.exists(), "the real one would refuse"
run.mkdir(parents=True, exist_ok=True)
print("began", " ".join(sys.argv[1:]), flush=True)
if does == "fails":
    sys.exit("lightning-maxent: error: It failed on purpose.")
if does == "dies":
    sys.exit(f"Died with {'a' if resumes else 'no'} checkpoint.")
if does == "is_killed_again":
    os.kill(os.getpid(), signal.SIGKILL)
metrics = run / "metrics.csv"
bonus = float(options.get("model.bonus", "0"))
if not resumes:
    metrics.write_text(
        "env_steps,gradient_steps,speed/env_steps_per_s,eval/return_mean,eval/return_std,eval/sampled_return_mean\n"
        "10,0,10,,,\n"
        f"20,10,5,{seed + bonus},0,{seed}\n"
    )
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    if does == "is_killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "waits" and Path("wait").exists():
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit("stopped")
    if does == "goes_on":
        Path(f"parent{seed}").write_text(f"{os.getppid()}\n")
        while not Path("go_on").exists():
            time.sleep(0.01)
with metrics.open("a") as file:
    file.write(f"30,20,5,,,\n40,30,5,{2 * seed + bonus},0,{seed}\n")
