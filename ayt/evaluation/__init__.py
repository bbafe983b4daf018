"""Evaluation of snapshots: samples, their features, and the metrics that compare them with real images."""
