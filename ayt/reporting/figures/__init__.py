"""Figures of experiments, one kind per module."""
