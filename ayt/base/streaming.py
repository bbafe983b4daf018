"""A dataset that stays on the host, as batches on the device: each is gathered while the one before is used."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ayt.base.images import Images, to_float

SHARE_OF_DEVICE = 0.25
"""Of a GPU's memory that a dataset may take at most: networks need the rest."""


def place_data(images: Images, device: torch.device, where: str = "auto") -> Images | StreamedImages:
    """The dataset on the device, or on the host, where it may be a memory map.

    Args:
        images: on the host.
        device: where batches are wanted.
        where: ``device``, ``host``, or ``auto``: on a GPU that it would take too much of, the host.
    """
    if where == "auto":
        fits = device.type != "cuda" or _size(images) <= SHARE_OF_DEVICE * _memory(device)
        where = "device" if fits else "host"
    return images.to(device) if where == "device" else StreamedImages(images, device)


class StreamedImages:
    """The batches of `Images`, the same, of pixels and labels that stay on the host.

    Args:
        images: on the host.
        device: where batches are wanted.
    """

    def __init__(self, images: Images, device: torch.device) -> None:
        self.device = device
        self._images = images
        self._worker = ThreadPoolExecutor(1)
        self._buffers: list[_Buffer] = []
        self._ahead: tuple[tuple[int, int, int], Future[_Buffer]] | None = None

    def batch(self, batch_size: int, seed: int, iteration: int) -> tuple[Tensor, Tensor]:
        """As `Images.batch`."""
        inputs = self.inputs(batch_size)
        self.fill(inputs, batch_size, seed, iteration)
        return self.read(inputs)

    def inputs(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Memory on the device for the pixels and labels of a batch."""
        return (
            torch.empty((batch_size, *self._images.pixels.shape[1:]), dtype=torch.uint8, device=self.device),
            torch.empty(batch_size, dtype=torch.int64, device=self.device),
        )

    def fill(self, inputs: tuple[Tensor, ...], batch_size: int, seed: int, iteration: int) -> None:
        """Copy the batch of an iteration there, and begin to gather the next."""
        wanted = (batch_size, seed, iteration)
        if self._ahead and self._ahead[0] != wanted:
            self._ahead[1].result()  # its buffer is in use until then
            self._ahead = None
        buffer = self._ahead[1].result() if self._ahead else self._gather(*wanted)
        inputs[0].copy_(buffer.pixels, non_blocking=True)
        inputs[1].copy_(buffer.labels, non_blocking=True)
        if self.device.type == "cuda":
            buffer.sent = torch.cuda.current_stream(self.device).record_event()
        following = (batch_size, seed, iteration + 1)
        self._ahead = (following, self._worker.submit(self._gather, *following))

    def read(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [-1, 1] and labels (B,) of what `fill` put there."""
        pixels, labels = inputs
        return to_float(pixels), labels

    def _gather(self, batch_size: int, seed: int, iteration: int) -> _Buffer:
        """The batch of an iteration in a buffer that nothing reads any more."""
        if len(self._buffers) < 2:
            buffer = _Buffer(self._images.pixels.shape[1:], batch_size, self.device)
        else:
            buffer = self._buffers.pop(0)
        if len(buffer.labels) != batch_size:
            buffer = _Buffer(self._images.pixels.shape[1:], batch_size, self.device)
        self._buffers.append(buffer)
        if buffer.sent:
            buffer.sent.synchronize()
        chosen = self._images.choose(batch_size, seed, iteration)
        torch.index_select(self._images.pixels, 0, chosen, out=buffer.pixels)
        torch.index_select(self._images.labels, 0, chosen, out=buffer.labels)
        return buffer


class _Buffer:
    """Memory on the host for a batch, from which a GPU copies while the host goes on."""

    def __init__(self, shape: torch.Size, batch_size: int, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.pixels = torch.empty((batch_size, *shape), dtype=torch.uint8, pin_memory=pinned)
        self.labels = torch.empty(batch_size, dtype=torch.int64, pin_memory=pinned)
        self.sent: torch.cuda.Event | None = None


def _size(images: Images) -> int:
    return images.pixels.nbytes + images.labels.nbytes


def _memory(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)
