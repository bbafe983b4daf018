"""The networks in whose features images are compared, and the statistics of a dataset's features."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ayt.base import paths
from ayt.datasets.images import Images, to_float
from ayt.base.errors import UserError
from ayt.evaluation.frechet import FeatureStatistics
from ayt.base.files import written_beside
from ayt.base.progress import ProgressLine
from ayt.base.randomness import generator

if TYPE_CHECKING:
    from ayt.training.work import FeatureNetwork


class Extractor(NamedTuple):
    """A feature network.

    Attributes:
        embed: uint8 images (B, C, H, W) to features (B, d).
        head: features (B, d) to logits (B, classes).
    """

    embed: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]


class Reference(NamedTuple):
    """What samples are compared with: features of real images.

    Attributes:
        mu: (d,) their mean, float64.
        sigma: (d, d) their covariance, float64.
        kept: (k, d) some of them, float32; none where no metric needs them.
    """

    mu: Tensor
    sigma: Tensor
    kept: Tensor


def inception(device: torch.device) -> Extractor:
    """The Inception network of FID.

    Raises:
        UserError: its weights are missing or damaged.
    """
    # torchvision, which it is made of, takes a second to import.
    from ayt.networks.modules.inception import Inception  # noqa: PLC0415

    network = Inception(paths.INCEPTION).to(device)
    return Extractor(network.embed, network.head)


def of_classifier(network: FeatureNetwork) -> Extractor:
    """A classifier, frozen and on its device."""
    return Extractor(lambda images: network.embed(to_float(images)), network.head)


@torch.no_grad()
def compute_reference(
    extractor: Extractor, data: Images, batch_size: int, kept: int, statistics: Path | None = None
) -> Reference:
    """Featurise a dataset.

    Args:
        extractor: the feature network, on the data's device.
        data: the dataset.
        batch_size: images at a time.
        kept: features to keep, of images chosen at random; at most all.
        statistics: a published file of ``mu`` and ``sigma``, taken instead of the dataset's own.

    Raises:
        UserError: ``statistics`` cannot be read, or are of features of another dimension.
    """
    chosen = torch.randperm(len(data), generator=generator(0, 0, "kept features"))[:kept]
    published = read_statistics(statistics) if statistics else None
    parts = data.pixels[chosen.to(data.pixels.device)] if published else data.pixels
    gathered: FeatureStatistics | None = None
    features = []
    with ProgressLine("features of real images", len(parts)) as line:
        for start in range(0, len(parts), batch_size):
            batch = extractor.embed(parts[start : start + batch_size])
            gathered = gathered or FeatureStatistics(batch.shape[1], batch.device)
            gathered.update(batch)
            if kept:
                features.append(batch.cpu())
            line.advance(len(batch))
    dimension = features[0].shape[1] if features else 0
    whole = torch.cat(features) if features else torch.zeros(0, 0)
    if published:
        if features and dimension != len(published[0]):
            raise UserError(f"{statistics}: of {len(published[0])} features, but the network gives {dimension}")
        return Reference(*published, whole)
    assert gathered is not None
    return Reference(gathered.mean.cpu(), gathered.covariance.cpu(), whole[chosen] if kept else whole)


def read_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean ``mu`` (d,) and covariance ``sigma`` (d, d) of an npz file.

    Raises:
        UserError: the file is missing, damaged or of other content.
    """
    mu, sigma, _ = _arrays(path)
    return mu, sigma


def read_reference(path: Path) -> Reference:
    """Read what `write_reference` wrote.

    Raises:
        UserError: the file is missing, damaged or of other content.
    """
    mu, sigma, rest = _arrays(path)
    if "kept" not in rest:
        raise UserError(f"{path}: was not written by ayt reference: has no kept")
    return Reference(mu, sigma, torch.from_numpy(rest["kept"]))


def write_reference(path: Path, reference: Reference) -> None:
    """Write statistics of real images."""
    with written_beside(path) as beside:
        np.savez(beside, mu=reference.mu, sigma=reference.sigma, kept=reference.kept)


def _arrays(path: Path) -> tuple[Tensor, Tensor, dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        mu, sigma = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not statistics of features ({error})") from None
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path}: not statistics of features: mu {mu.shape}, sigma {sigma.shape}")
    return torch.from_numpy(mu), torch.from_numpy(sigma), arrays
