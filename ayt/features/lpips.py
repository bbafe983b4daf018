"""LPIPS (arXiv 1801.03924) through the lpips package, with weights downloaded beforehand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ayt.base.errors import UserError
from ayt.features.distance import Distance, freeze

if TYPE_CHECKING:
    from torch import nn


def lpips_network(vgg16: Path) -> nn.Module:
    """The package's VGG16 metric, version 0.1, without network access.

    Args:
        vgg16: torchvision's weights. The linear weights come with the package.

    Raises:
        UserError: the file is missing, damaged, or holds different weights.
    """
    # torchvision, which the package imports, takes a second to load.
    from lpips import LPIPS  # noqa: PLC0415

    network = cast("nn.Module", LPIPS(net="vgg", pnet_rand=True, verbose=False))
    try:
        weights = torch.load(vgg16, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{vgg16}: no such file; ayt assets fetch torchvision-vgg16 makes it") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{vgg16}: not weights of VGG16 ({str(error).splitlines()[0]})") from None
    # The package numbers torchvision's layers as torchvision does, within slices: net.slice2.5 is features.5.
    wanted = {name: f"features.{name.split('.', 2)[2]}" for name in network.state_dict() if name.startswith("net.")}
    missing = sorted(theirs for theirs in wanted.values() if theirs not in weights)
    if missing:
        raise UserError(f"{vgg16}: not weights of VGG16: has no {missing[0]}")
    network.load_state_dict({ours: weights[theirs] for ours, theirs in wanted.items()}, strict=False)
    return network


def lpips(vgg16: Path, device: torch.device) -> Distance:
    """LPIPS between images (B, C, H, W) in [-1, 1] at their own size; ``vgg16`` as in `lpips_network`."""
    network = freeze(lpips_network(vgg16).to(device))

    def distance(a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = network(a, b)
        return result.flatten()

    return distance
