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


def batch_size_curves(dataset: str) -> pd.DataFrame:
    """The published figure's one-step FIDs over training: iteration, method, batch_size, fid. CIFAR-10's alone."""
    with resources.files(__name__).joinpath("batch_size_curves.csv").open() as file:
        table = pd.read_csv(file).rename(columns={"fid_1step": "fid"})
    return table if dataset == "cifar10" else table.iloc[:0]
