"""How well a transformation classifier recognises transformations, with example images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ayt.base.images import Images, to_float, to_uint8
from ayt.base.randomness import generator
from ayt.features.groups import label_names, names_for
from ayt.features.transformations import draw, transform
from ayt.networks.modules.feature_network import FeatureModule

BATCH = 256
BATCHES = 16
SHOWN = 8


@torch.no_grad()
def measure_r2(
    network: FeatureModule, data: Images, group: str, probability: float, seed: int
) -> dict[str, np.ndarray]:
    """R^2 of each label's prediction on freshly transformed images of the dataset, drawn with replacement.

    Args:
        network: the classifier, in eval mode.
        data: the dataset, on the network's device.
        group: the transformations that it recognises.
        probability: of applying each transformation, as at the end of training.
        seed: of images and transformations.

    Returns:
        ``label``, ``r2`` (L,), and ``images``: their number.
    """
    device = data.pixels.device
    names = names_for(group, data.pixels.shape[1])
    predicted, targets = [], []
    for index in range(BATCHES):
        source = generator(seed, index, "recognition", device)
        chosen = torch.randint(len(data), (BATCH,), generator=source, device=device)
        images = to_float(data.pixels[chosen])
        transformed, labels = transform(images, draw(names, images.shape, source), probability, names)
        predicted.append(network(transformed))
        targets.append(labels)
    truth, guess = torch.cat(targets), torch.cat(predicted)
    residual = (truth - guess).square().sum(0)
    spread = (truth - truth.mean(0)).square().sum(0)
    return {
        "label": np.array(label_names(names)),
        "r2": (1 - residual / spread).cpu().numpy(),
        "images": np.array(BATCH * BATCHES),
    }


def show_transformations(data: Images, group: str, seed: int) -> dict[str, np.ndarray]:
    """Images of the dataset, and the same images under each single transformation.

    Args:
        data: the dataset, on the device.
        group: the transformations.
        seed: of images and transformations.

    Returns:
        ``data`` (n, C, H, W) uint8, ``names`` (T,), ``transformed`` (T, n, C, H, W) uint8.
    """
    device = data.pixels.device
    source = generator(seed, 0, "strip", device)
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
