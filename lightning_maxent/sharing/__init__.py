"""Shared policies: small folders with the weights, the settings and the results of a trained policy."""
