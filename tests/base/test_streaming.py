"""A dataset that stays on the host: the same batches as one that lies on the device."""

import numpy as np
import pytest
import torch

from ayt.base import streaming
from ayt.base.images import Images
from ayt.base.streaming import StreamedImages, place_data

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path):
    """Ten images whose pixels lie in a file that is only mapped."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    return Images.of((np.load(tmp_path / "pixels.npy", mmap_mode="r"), np.arange(10)))


def test_the_same_batches_in_any_order_of_iterations(images):
    """Over epochs, and after a jump back, as a training that resumes makes; no batch is overwritten by the next."""
    whole, streamed = images.to(CPU), StreamedImages(images, CPU)
    asked = [(4, 0, i) for i in range(6)] + [(4, 1, 2), (4, 1, 3), (3, 1, 4), (4, 1, 4), (4, 1, 0)]
    found = [streamed.batch(*wanted) for wanted in asked]
    for wanted, (ours, labels) in zip(asked, found, strict=True):
        expected, theirs = whole.batch(*wanted)
        assert torch.equal(ours, expected)
        assert torch.equal(labels, theirs)


def test_places_that_stay_the_same_are_filled_anew(images):
    streamed, whole = StreamedImages(images, CPU), images.to(CPU)
    for data in (streamed, whole):
        inputs = data.inputs(4)
        for iteration in range(3):
            data.fill(inputs, 4, 0, iteration)
            assert torch.equal(data.read(inputs)[0], whole.batch(4, 0, iteration)[0])


def test_the_next_batch_is_gathered_ahead(images, monkeypatch):
    seen, choose = [], Images.choose

    def noted(self, *wanted):
        if self is images:  # others may still be gathering for another test
            seen.append(wanted)
        return choose(self, *wanted)

    monkeypatch.setattr(Images, "choose", noted)
    streamed = StreamedImages(images, CPU)
    streamed.batch(4, 0, 0)
    streamed._worker.submit(int).result()  # what came before is done
    assert seen == [(4, 0, 0), (4, 0, 1)]
    streamed.batch(4, 0, 1)
    streamed._worker.submit(int).result()
    assert seen == [(4, 0, 0), (4, 0, 1), (4, 0, 2)]


def test_what_takes_too_much_of_a_gpu_stays_on_the_host(images, monkeypatch):
    monkeypatch.setattr(Images, "to", lambda self, device: self)
    gpu, bytes_of_all = torch.device("cuda"), 10 * 48 + 80
    monkeypatch.setattr(streaming, "_memory", lambda device: 4 * bytes_of_all)
    assert isinstance(place_data(images, gpu), Images)
    monkeypatch.setattr(streaming, "_memory", lambda device: 4 * bytes_of_all - 4)
    assert isinstance(place_data(images, gpu), StreamedImages)
    assert isinstance(place_data(images, gpu, "device"), Images)
    assert isinstance(place_data(images, CPU), Images)
    assert isinstance(place_data(images, CPU, "host"), StreamedImages)
