"""Tests of a critic: checks of its contract, and training on problems whose soft-optimal values are known exactly."""
