"""Runs ``lightning-maxent sweep`` with the runs of ``fake_fit.py``, in a process that a test can kill."""

import sys
from pathlib import Path

from lightning_maxent.backends import run_process
from lightning_maxent.sweep.command import sweep

run_process.PROGRAM = ("-S", str(Path(__file__).parents[1] / "comparison" / "fake_fit.py"))
length = {"trainer": {"max_steps": 40}, "data": {"init_args": {"eval_interval": 20}}}
sys.exit(sweep(sys.argv[1:], lambda arguments: length))
