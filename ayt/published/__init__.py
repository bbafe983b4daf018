"""Published numbers, for tables and figures of their own; never in a column with measured ones.

``fid.csv``: FIDs as their authors print them, each with where it was read; an empty cell is what the source does not
say. ``batch_size_curves.csv``: read off the first figure of the AYT paper (one-step FID over training on CIFAR-10,
50,000 samples) at every 10,000 iterations, to about 0.03; points above 5.5 are beyond the picture's edge.
"""

from __future__ import annotations

from importlib import resources

import pandas as pd


def fids(dataset: str) -> pd.DataFrame:
    """Published FIDs on a dataset: method, network, nfe, fid, batch_size, iterations, source."""
    with resources.files(__name__).joinpath("fid.csv").open() as file:
        table = pd.read_csv(file, dtype={"batch_size": "Int64", "iterations": "Int64"})
    return table[table["dataset"] == dataset].drop(columns="dataset")
