"""Weights made from names, as the golden numbers were made."""

import csv
import math
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from normals import normals

GOLDEN = Path(__file__).parent / "golden"


def golden(name, dtype=None):
    """The arrays of one golden file, as tensors; floating-point ones of a type where one is given."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        tensors = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    return {key: value.to(dtype) if dtype and value.is_floating_point() else value for key, value in tensors.items()}


def listing(name):
    """The rows of a golden table."""
    with (GOLDEN / f"{name}.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


@lru_cache(512)
def recipe(key, shape, gain=1.0, seed=1000):
    """The weights of one name and shape: made once, not to be changed."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) + seed)
    last = key.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    if last == "running_var":
        return 0.5 + torch.rand(shape, generator=generator)
    n = normals(shape, generator)
    if n.ndim >= 2:
        return n * (gain / math.sqrt(n.numel() / n.shape[0]))
    return 1 + 0.1 * n if last == "weight" else 0.1 * n


def load_recipe(module, seed=1000, gain=1.0):
    """Fill a module with weights that depend on their names only; returns the module in eval mode."""
    weights = {
        key: value if key.endswith("resample_filter") else recipe(key, value.shape, gain, int(seed))
        for key, value in module.state_dict().items()
    }
    module.load_state_dict(weights)
    return module.eval()


def apart(ours, theirs):
    """How far two batches are from each other, in lengths of theirs, (B,)."""
    return (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
