"""Exact solutions of finite Markov decision processes and matrix games."""

from lightning_maxent.exact.mdp import FiniteMDP, random_mdp, read_mdp

__all__ = ["FiniteMDP", "random_mdp", "read_mdp"]
