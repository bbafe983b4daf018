"""Analyses of trained networks: where tangents point, whether they oscillate, what features respond to."""
