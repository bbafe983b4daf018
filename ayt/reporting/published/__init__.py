"""Published numbers, always shown apart from measured ones.

``fid.csv``: FIDs as their authors print them, each with where it was read; an empty cell is what the source does not
say. ``batch_size_curves.csv``: read off the first figure of the AYT paper (one-step FID over training on CIFAR-10,
50,000 samples) at every 10,000 iterations, to about 0.03; points above 5.5 are beyond the picture's edge.
"""

from __future__ import annotations

from importlib import resources

import pandas as pd

from ayt.datasets.base import Dataset

METRIC = "FID"
"""What all numbers are."""


def fids(dataset: Dataset) -> pd.DataFrame:
    """Published FIDs on a dataset of the paper: method, network, nfe, fid, batch_size, iterations, source."""
    with resources.files(__name__).joinpath("fid.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"batch_size": "Int64", "iterations": "Int64"})
    return table[(table["dataset"] == dataset.name) & dataset.of_the_paper].drop(columns="dataset")


def batch_size_curves(dataset: Dataset) -> pd.DataFrame:
    """One-step FIDs over training, read off the paper's figure, for its dataset: iteration, method, batch_size, fid."""
    with resources.files(__name__).joinpath("batch_size_curves.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file).rename(columns={"fid_1step": "fid"})
    return table if dataset.of_the_paper else table.iloc[:0]
