"""How well a transformation classifier recognises transformations, and images that show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ayt.datasets.images import Images, to_float
from ayt.reporting.scores import write_table
from ayt.features.transformations import draw, label_names, names_for, transform
from ayt.base.files import written_beside
from ayt.training.work import FeatureNetwork
from ayt.base.randomness import generator
from ayt.evaluation.sampling import to_uint8

BATCH = 256
BATCHES = 16
SHOWN = 8


@torch.no_grad()
def r_squared(
    network: FeatureNetwork, data: Images, group: str, probability: float, device: torch.device
) -> pd.DataFrame:
    """R^2 of each label's prediction on freshly transformed images of the dataset; columns label, r2, images.

    Each transformation is applied with the training's probability; 4,096 images are drawn with replacement.
    """
    names = names_for(group, data.pixels.shape[1])
    predicted, targets = [], []
    for index in range(BATCHES):
        source = generator(0, index, "recognition", device)
        chosen = torch.randint(len(data), (BATCH,), generator=source, device=device)
        images = to_float(data.pixels[chosen])
        transformed, labels = transform(images, draw(names, images.shape, source), probability, names)
        predicted.append(network(transformed))
        targets.append(labels)
    truth, guess = torch.cat(targets), torch.cat(predicted)
    residual = (truth - guess).square().sum(0)
    spread = (truth - truth.mean(0)).square().sum(0)
    r2 = (1 - residual / spread).tolist()
    return pd.DataFrame({"label": label_names(names), "r2": r2, "images": BATCH * BATCHES})


def strip(data: Images, group: str, device: torch.device) -> dict[str, np.ndarray]:
    """Images of the dataset, and the same with each transformation alone.

    Returns:
        ``data`` (n, C, H, W) uint8, ``names`` (T,), ``transformed`` (T, n, C, H, W) uint8.
    """
    source = generator(0, 0, "strip", device)
    chosen = torch.randperm(len(data), generator=source, device=device)[:SHOWN]
    pixels = data.pixels[chosen]
    images = to_float(pixels)
    names = names_for(group, images.shape[1])
    rows: list[Tensor] = []
    for name in names:
        transformed, _ = transform(images, draw((name,), images.shape, source), 1.0, (name,))
        rows.append(to_uint8(transformed))
    return {
        "data": pixels.cpu().numpy(),
        "names": np.array(names),
        "transformed": torch.stack(rows).cpu().numpy(),
    }


def write_report(table_path: Path, images_path: Path, table: pd.DataFrame, images: dict[str, np.ndarray]) -> None:
    """Write both."""
    write_table(table_path, table)
    with written_beside(images_path) as beside:
        np.savez_compressed(beside, **images)  # type: ignore[arg-type]
