"""Figures of experiments, a kind in each module."""
