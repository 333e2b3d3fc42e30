"""``python -m lightning_maxent`` is ``lightning-maxent``."""

from lightning_maxent.cli import main

main()
