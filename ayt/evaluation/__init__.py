"""Scores: statistics of features, and distances between distributions."""
