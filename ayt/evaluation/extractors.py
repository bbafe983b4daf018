"""The networks whose features are compared, and the statistics of a dataset's features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ayt.base import paths
from ayt.base.arrays import read_arrays, write_arrays
from ayt.base.errors import UserError
from ayt.base.images import Images, to_float
from ayt.base.progress import ProgressLine
from ayt.base.randomness import generator
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.foreign.arrays import read_npz
from ayt.metrics.formulas.feature_sets import FeatureSet, Gatherer
from ayt.networks.modules.feature_network import FeatureModule
from ayt.plan.references import Reference
from ayt.training.work import build_frozen


class Extractor(NamedTuple):
    """A feature network.

    Attributes:
        embed: maps uint8 images (B, C, H, W) to features (B, d).
        head: maps features (B, d) to logits (B, classes).
    """

    embed: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]


def build_extractor(reference: Reference, device: torch.device, batches: FixedBatches | None = None) -> Extractor:
    """Build the network whose features of samples are compared with a reference's.

    Args:
        reference: what samples are compared with.
        device: the network's device.
        batches: how it is run; None: directly.

    Raises:
        UserError: its weights are missing or damaged.
    """
    if reference.features.classifier is None:
        # torchvision, which it is built from, takes a second to import.
        from ayt.networks.modules.inception import Inception  # noqa: PLC0415

        network = Inception(paths.INCEPTION).to(device)
        found = Extractor(network.embed, network.head)
    else:
        classifier = cast(FeatureModule, build_frozen(reference.features.classifier, reference.dataset, device))
        found = Extractor(lambda images: classifier.embed(to_float(images)), classifier.head)
    return found._replace(embed=batches.function(found.embed)) if batches else found


@torch.no_grad()
def compute_reference(
    extractor: Extractor,
    data: Images,
    batch_size: int,
    kept: int,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> FeatureSet:
    """Compute the features of a dataset; returns them on the host.

    Args:
        extractor: the feature network, on the data's device.
        data: the dataset.
        batch_size: images at a time.
        kept: number of feature vectors to keep, of randomly chosen images; at most all.
        statistics: published mean and covariance, used instead of the dataset's own.

    Raises:
        UserError: ``statistics`` have a different dimension than the features.
    """
    chosen = torch.randperm(len(data), generator=generator(0, 0, "kept features"))[:kept]
    parts = data.pixels[chosen.to(data.pixels.device)] if statistics else data.pixels
    gatherer, features = Gatherer(kept=0), list[Tensor]()
    with ProgressLine("features of real images", len(parts)) as line:
        for start in range(0, len(parts), batch_size):
            batch = extractor.embed(parts[start : start + batch_size])
            gatherer.update(batch)
            features.append(batch.cpu())  # features of all images, which may not fit on a GPU
            line.advance(len(batch))
    found, whole = gatherer.finish().to("cpu"), torch.cat(features)
    if statistics is None:
        return FeatureSet(found.mean, found.covariance, whole[chosen])
    mu, sigma = statistics
    if len(mu) != len(found.mean):
        raise UserError(f"published statistics are of {len(mu)} features, but the network gives {len(found.mean)}")
    return FeatureSet(mu, sigma, whole)


def read_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean ``mu`` (d,) and covariance ``sigma`` (d, d) of a published npz file, float64.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    arrays = read_npz(path, ("mu", "sigma"))
    if missing := [name for name in ("mu", "sigma") if name not in arrays]:
        raise UserError(f"{path}: not statistics of features: has no {', '.join(missing)}")
    return _statistics(arrays, path)


def _statistics(arrays: dict[str, np.ndarray], path: Path) -> tuple[Tensor, Tensor]:
    try:
        mu, sigma = (torch.from_numpy(arrays[name].astype(np.float64)) for name in ("mu", "sigma"))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not statistics of features ({error})") from None
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path}: not statistics of features: mu {tuple(mu.shape)}, sigma {tuple(sigma.shape)}")
    return mu, sigma


def read_real_features(path: Path) -> FeatureSet:
    """Read what `write_real_features` wrote.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    arrays = read_arrays(path, "mu", "sigma", "kept", made_by="ayt reference")
    return FeatureSet(*_statistics(arrays, path), torch.from_numpy(arrays["kept"]))


def write_real_features(path: Path, features: FeatureSet) -> None:
    """Write features of real images."""
    arrays = {"mu": features.mean, "sigma": features.covariance, "kept": features.kept}
    write_arrays(path, {name: tensor.numpy() for name, tensor in arrays.items()})
