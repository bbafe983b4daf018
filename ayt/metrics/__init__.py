"""Metrics: a module for each, without torch; what computes them is beside this folder."""
