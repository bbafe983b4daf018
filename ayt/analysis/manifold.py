"""What a network's features respond to: MFD against image distance, along the data manifold and off it.

Real pairs and weak transformations move an image along the manifold, noise and blur off it. The MFD of each is
compared with the MFD of noise at the same image distance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ayt.analysis.spaces import nearest
from ayt.analysis.tangents import OTHERS, Points
from ayt.base.images import Images, to_float
from ayt.features.distance import Distance
from ayt.features.groups import names_for
from ayt.features.transformations import TransformationDraws, transform
from ayt.features.transformations.degradation import add_noise_and_mixup

UNIFORM = {"rotate": 0.75, "hue": 0.75, "blur": 0.5}
"""Typical uniform draws: a quarter turn, half the strongest blur."""

FALL = {"blur": 0.8}
"""Ratios of successive strengths, by transformation; half for the others. Blur by a third of a pixel is nearly none."""

LEVELS = 8
NOISE_LEVELS = 12
"""Number of strengths of each transformation, and of noise."""


def measure_responses(distance: Distance, data: Images, points: Points, group: str | None) -> dict[str, np.ndarray]:
    """Compare MFD with image distance, |a - b|_2 of images in [-1, 1].

    Args:
        distance: MFD, of networks that are frozen by `freeze`.
        data: the dataset, on the device.
        points: K images, on the device, and the noise direction of each.
        group: the transformations that the network was trained to recognise; None: it was trained on class labels.

    Returns:
        ``pairs`` (2,) = nearest neighbours, random pairs; ``pair_image``, ``pair_mfd``, ``pair_ratio`` (2, K, P).
        ``kinds`` (Q,): transformations, in the order of the table; ``learnt`` (Q,): whether the network learnt it;
        ``magnitude`` (Q, L): factors of the `typical_draws`, falling from 1; ``image``, ``mfd``, ``ratio`` (Q, L, K).
        ``noise_image`` (N,): the norms of the noise, exactly; ``noise_mfd`` (N, K).
        ``pixels``, ``index`` (K,).
        Ratios: MFD divided by that of noise on the same image at the same image distance, interpolated
        between the noise's norms (both logarithmic); NaN outside of them.
    """
    x = points.x
    kinds = [name for name in names_for("geo_clr_deg", x.shape[1]) if name != "noise"]
    learnt = names_for(group, x.shape[1]) if group else ()
    magnitudes = [[FALL.get(name, 0.5) ** power for power in range(LEVELS)] for name in kinds]
    moved = [[move(x, name, value) for value in row] for name, row in zip(kinds, magnitudes, strict=True)]
    partners = _partners(points, data)
    image, mfd = _measure_both(distance, x, moved)
    pair_image, pair_mfd = _measure_both(distance, x, partners)
    norms = _spread(torch.cat([image.flatten(), pair_image.flatten()]))
    noise_image, noise_mfd = _measure_both(distance, x, [[add_noise(x, points.eps, float(norm)) for norm in norms]])
    axis, curve = noise_image[0].T.log(), noise_mfd[0].T.log()  # (K, N)
    return {
        "pairs": np.array(["nearest neighbours", "random pairs"]),
        "pair_image": pair_image.transpose(1, 2).numpy(),
        "pair_mfd": pair_mfd.transpose(1, 2).numpy(),
        "pair_ratio": _ratio(pair_image, pair_mfd, axis, curve).transpose(1, 2).numpy(),
        "kinds": np.array(kinds),
        "learnt": np.array([name in learnt for name in kinds]),
        "magnitude": np.array(magnitudes),
        "image": image.numpy(),
        "mfd": mfd.numpy(),
        "ratio": _ratio(image, mfd, axis, curve).numpy(),
        "noise_image": norms.numpy(),
        "noise_mfd": noise_mfd[0].numpy(),
        "pixels": np.array(x[0].numel()),
        "index": points.places.numpy(),
    }


def move(images: Tensor, name: str, magnitude: float) -> Tensor:
    """(B, C, H, W) images under one transformation with its `typical_draws` times ``magnitude``."""
    moved, _ = transform(images, typical_draws(name, len(images)), 1.0, (name,), magnitude)
    return moved


def typical_draws(name: str, size: int) -> TransformationDraws:
    """The result of `ayt.features.transformations.draw` with typical values instead of random ones.

    One standard deviation for normal parameters (translation: along the diagonal; anisotropy: along an axis), a
    quarter turn for angles, blur by 1.5 pixels, mixup by 1/8 of the way to the image at the mirrored position.
    """
    never, always = torch.ones(size), torch.zeros(size)
    values: dict[str, Tensor] = {"u": always}
    if name == "mixup":
        values["beta"] = torch.full((size,), 0.25)
    elif name in UNIFORM:
        values["w01"] = torch.full((size,), UNIFORM[name])
    else:
        values["w"] = torch.full((2, size), 0.5**0.5) if name == "translate" else torch.ones(size)
    if name == "aniso":
        values |= {"r01": always, "ur": never}
    return {name: values}


def add_noise(images: Tensor, eps: Tensor, norm: float) -> Tensor:
    """(B, C, H, W) images plus noise of exactly this L2 norm in the directions eps."""
    strength = images.new_full((len(images),), norm / images[0].numel() ** 0.5)
    return add_noise_and_mixup(images, None, strength, eps)


def _partners(points: Points, data: Images) -> list[list[Tensor]]:
    """Nearest neighbours and random partners of each image: 2 lists of OTHERS batches (K, C, H, W)."""
    close, _ = nearest(points.x, data, OTHERS + 1)  # the first is the image itself
    chosen = (close[:, 1:], points.others.to(close.device))
    return [[to_float(data.pixels[column]) for column in columns.T] for columns in chosen]


@torch.no_grad()
def _measure_both(distance: Distance, x: Tensor, moved: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Image distances and MFDs between x and each of Q lists of L batches, (Q, L, K) each, on the host."""
    image = [[torch.linalg.vector_norm((to - x).flatten(1), dim=1) for to in row] for row in moved]
    mfd = [[distance(x, to) for to in row] for row in moved]
    stacked = [torch.stack([torch.stack(row) for row in rows]).cpu().double() for rows in (image, mfd)]
    return stacked[0], stacked[1]


def _spread(distances: Tensor) -> Tensor:
    """Norms spread evenly on a log scale over these distances, except zeros and the smallest hundredth."""
    found = distances[distances > 0]
    ends = torch.stack([found.quantile(0.01), found.max()]).log()
    return torch.linspace(float(ends[0]), float(ends[1]), NOISE_LEVELS, dtype=torch.float64).exp()


def _ratio(image: Tensor, mfd: Tensor, axis: Tensor, curve: Tensor) -> Tensor:
    """MFD (Q, L, K) divided by each image's noise ``curve`` (K, N) at that image distance (in logarithms)."""
    at = image.log().numpy()
    columns = [
        np.interp(at[..., k], axis[k].numpy(), curve[k].numpy(), left=np.nan, right=np.nan)
        for k in range(image.shape[2])
    ]
    return mfd / torch.from_numpy(np.stack(columns, axis=-1)).exp()
