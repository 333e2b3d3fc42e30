"""How the threads of PyTorch wait for each other, by how busy the machine is."""

import os
import sys
import time
from pathlib import Path

PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"  # the variable for threads that sleep while they wait
OF_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # variables that decide how threads wait
SECONDS = 0.2  # of measuring; the kernel counts time in hundredths of a second


def choose_waiting() -> None:
    """Let threads sleep while they wait, if other processes keep at least half a core busy.

    Threads that spin answer faster, but take cores from each other if there are too few.  OpenMP reads the environment
    when PyTorch is imported, so this does nothing afterwards, and nothing if the environment says how threads wait.
    The numbers of a run do not depend on it.
    """
    if "torch" in sys.modules or os.environ.get("OMP_NUM_THREADS") == "1" or any(map(os.environ.get, OF_WAITING)):
        return
    if busy_cores() >= 0.5:
        os.environ[PASSIVE[0]] = PASSIVE[1]


def busy_cores() -> float:
    """The number of cores that other processes use, measured over a moment; 0 on systems without ``/proc/stat``."""
    before, start = _busy_seconds(), time.monotonic()
    if before is None:
        return 0.0
    time.sleep(SECONDS)
    after = _busy_seconds()
    return 0.0 if after is None else (after - before) / (time.monotonic() - start)


def _busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the system started."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system = map(int, fields[:3])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def waits_passively() -> bool:
    """Whether the environment says that threads sleep while they wait."""
    return os.environ.get(PASSIVE[0], "").upper() == PASSIVE[1]
