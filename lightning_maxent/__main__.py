"""Makes ``python -m lightning_maxent`` the same as ``lightning-maxent``."""

from lightning_maxent.cli.command import main

main()
