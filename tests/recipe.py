"""Weights made from names, as the golden numbers were made."""

import csv
import math
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def golden(name):
    """The arrays of one golden file, as tensors."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}


def listing(name):
    """The rows of a golden table."""
    with (GOLDEN / f"{name}.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def load_recipe(module, seed=1000, gain=1.0):
    """Fill a module with weights that depend on their names only; returns the module in eval mode."""
    weights = {}
    for key, value in module.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) + int(seed))
        last = key.rpartition(".")[2]
        if last == "resample_filter":
            weights[key] = value
        elif last == "num_batches_tracked":
            weights[key] = torch.zeros_like(value)
        elif last == "running_var":
            weights[key] = 0.5 + torch.rand(value.shape, generator=generator)
        else:
            n = torch.randn(value.shape, generator=generator)
            if value.ndim >= 2:
                weights[key] = n * (gain / math.sqrt(value.numel() / value.shape[0]))
            elif last == "weight":
                weights[key] = 1 + 0.1 * n
            else:
                weights[key] = 0.1 * n
    module.load_state_dict(weights)
    return module.eval()
