"""Metrics: one module each, without torch; ``formulas`` holds what computes them."""
