"""Datasets of small images, kept whole on the device as uint8."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from ayt import paths
from ayt.config.datasets import facts
from ayt.config.schema import Dataset
from ayt.errors import UserError
from ayt.files import written_beside
from ayt.foreign.archives import read_members
from ayt.foreign.checkpoints import read_arrays
from ayt.randomness import generator

CIFAR10_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
LARGEST_BATCH = 100_000_000
"""Bytes; the real ones have 31 million."""

LARGEST_ARCHIVE = 400_000_000
"""Bytes, unpacked; the real one has 186 million."""

PHOTO_SIZE = 32
PHOTO_CELLS = (2, 3)
"""Each photograph is divided into 2 x 3 cells; photograph and cell of a crop's centre are its class."""


@dataclass(frozen=True)
class Images:
    """A dataset.

    Attributes:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> Images:
        """The same dataset on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def batch(self, batch_size: int, seed: int, iteration: int) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in [-1, 1] and labels (B,) of one iteration.

        Each epoch is shuffled anew and gone through without replacement; its last, incomplete part is dropped.
        """
        epoch, part = divmod(iteration, len(self) // batch_size)
        order = _order(len(self), seed, epoch)
        chosen = order[part * batch_size : (part + 1) * batch_size].to(self.pixels.device)
        return to_float(self.pixels[chosen]), self.labels[chosen]


def to_float(pixels: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, epoch, "shuffle"))


def load(dataset: Dataset) -> Images:
    """Load a dataset: shipped inside scikit-learn, or downloaded and prepared before.

    Raises:
        UserError: it was not prepared, or its file is damaged.
    """
    return {"digits": _digits, "photos": _photos, "cifar10": _cifar10}[dataset.name](dataset)


def _cifar10(dataset: Dataset) -> Images:
    """50,000 colour images, 32x32, of ten classes: CIFAR-10's training set in the order of its archive."""
    path = paths.dataset(dataset.name)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Images(torch.from_numpy(arrays["pixels"]), torch.from_numpy(arrays["labels"]).long())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; ayt prepare {dataset.name} ARCHIVE makes it") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}); delete it to have it made again") from None


def read_cifar10(archive: Path) -> Images:
    """Read the training set from CIFAR-10's archive for Python; nothing in it is extracted or executed.

    Args:
        archive: ``cifar-10-python.tar.gz``.

    Raises:
        UserError: the archive is damaged, has members that an extraction would put elsewhere, or is not CIFAR-10.
    """
    size = facts(Dataset(name="cifar10")).size
    batches: dict[str, dict[str, object]] = {}
    for name, content in read_members(archive, CIFAR10_BATCHES, LARGEST_BATCH, LARGEST_ARCHIVE):
        batches[name] = read_arrays(content, f"{archive}: {name}")
    missing = [name for name in CIFAR10_BATCHES if name not in batches]
    if missing:
        raise UserError(f"{archive}: not CIFAR-10 for Python: has no {', '.join(missing)}")
    data = [batches[name].get("data") for name in CIFAR10_BATCHES]
    labels = [batches[name].get("labels") for name in CIFAR10_BATCHES]
    if not all(isinstance(part, np.ndarray) and part.dtype == np.uint8 and part.shape[1:] == (3072,) for part in data):
        raise UserError(f"{archive}: not CIFAR-10 for Python: data is not rows of 3072 bytes")
    if not all(isinstance(part, list) and all(label in range(10) for label in part) for part in labels):
        raise UserError(f"{archive}: not CIFAR-10 for Python: labels are not lists of 0 to 9")
    pixels = np.concatenate(cast(list[np.ndarray], data)).reshape(-1, 3, 32, 32)
    classes = np.array([label for part in cast(list[list[int]], labels) for label in part])
    if not len(pixels) == len(classes) == size:
        raise UserError(f"{archive}: has {len(pixels)} images and {len(classes)} labels, not {size}")
    return Images(torch.from_numpy(pixels), torch.from_numpy(classes).long())


def write(images: Images, path: Path) -> None:
    """Write a dataset for `load`."""
    with written_beside(path) as beside:
        np.savez(beside, pixels=images.pixels.numpy(), labels=images.labels.numpy())


def _digits(dataset: Dataset) -> Images:
    """1,797 handwritten digits, 8x8, one channel (UCI ML hand-written digits)."""
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return Images(torch.from_numpy(pixels)[:, None], torch.from_numpy(data.target).long())


def _photos(dataset: Dataset) -> Images:
    """Crops, 32x32, three channels, of two photographs at half their size; the same for every call."""
    random = np.random.default_rng(0)
    crops, labels = [], []
    photos = load_sample_images().images
    for index, photo in enumerate(photos):
        height, width = photo.shape[0] // 2, photo.shape[1] // 2
        half = photo[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        count = dataset.crops // len(photos) + (index < dataset.crops % len(photos))
        tops = random.integers(0, height - PHOTO_SIZE + 1, count)
        lefts = random.integers(0, width - PHOTO_SIZE + 1, count)
        windows = np.lib.stride_tricks.sliding_window_view(half, (PHOTO_SIZE, PHOTO_SIZE), axis=(0, 1))
        crops.append(np.rint(windows[tops, lefts]).astype(np.uint8))  # (count, 3, 32, 32)
        rows = (tops + PHOTO_SIZE // 2) * PHOTO_CELLS[0] // height
        columns = (lefts + PHOTO_SIZE // 2) * PHOTO_CELLS[1] // width
        labels.append((index * PHOTO_CELLS[0] + rows) * PHOTO_CELLS[1] + columns)
    return Images(torch.from_numpy(np.concatenate(crops)), torch.from_numpy(np.concatenate(labels)).long())
