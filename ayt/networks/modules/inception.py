"""The Inception network of FID: pytorch-fid's architecture and weights, and the logits computed from its features."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from pytorch_fid import inception as theirs
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import inception_v3
from torchvision.models.inception import BasicConv2d

from ayt.base.errors import UserError

CLASSES = 1008
SIZE = 299
BEFORE_POOLING = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    ("Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    (
        *("Mixed_5b", "Mixed_5c", "Mixed_5d"),
        *("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    ),
)
"""Names of the layers between the two max-pools, and from there to the mean over pixels."""


def structure() -> nn.Module:
    """The network that pytorch-fid's weights fit, without the weights."""
    network = inception_v3(num_classes=CLASSES, aux_logits=False, weights=None, init_weights=False)
    network.Mixed_5b = theirs.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = theirs.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = theirs.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = theirs.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = theirs.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = theirs.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = theirs.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = theirs.FIDInceptionE_1(1280)
    network.Mixed_7c = theirs.FIDInceptionE_2(2048)
    return cast(nn.Module, network)


class Inception(nn.Module):
    """The network that FID is defined by, in eval mode; pytorch-fid's InceptionV3 gives the same features.

    Args:
        weights: pytorch-fid's file.

    Raises:
        UserError: the file is missing, damaged, or holds different weights.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        network = structure()
        try:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except FileNotFoundError:
            raise UserError(f"{weights}: no such file; ayt assets fetch pytorch-fid-inception makes it") from None
        except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
            raise UserError(f"{weights}: not pytorch-fid's weights ({str(error).splitlines()[0]})") from None
        network.eval().requires_grad_(False)
        for module in network.modules():
            # In eval mode batch norm is a fixed scale and shift, which costs nothing when folded into the convolution.
            if isinstance(module, BasicConv2d):
                module.conv = fuse_conv_bn_eval(module.conv, module.bn)
                module.bn = nn.Identity()
        self.stages = nn.ModuleList(
            nn.Sequential(*(getattr(network, name) for name in names)) for names in BEFORE_POOLING
        )
        self.weight = cast(nn.Linear, network.fc).weight
        self.to(memory_format=torch.channels_last)

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, 2048), float32, of uint8 images (B, 3, H, W), enlarged to 299 x 299."""
        x = F.interpolate(images.float() / 255, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        x = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        for stage in self.stages[:-1]:
            x = F.max_pool2d(stage(x), kernel_size=3, stride=2)
        features: Tensor = self.stages[-1](x)
        return features.mean(dim=(2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, 1008) from the result of `embed`, without the bias, as the Inception Score is defined."""
        return F.linear(features, self.weight)
