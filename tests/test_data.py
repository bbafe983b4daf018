"""Datasets and batches."""

import pytest
import torch

from ayt.datasets.base import facts
from ayt.experiment.schema import Dataset
from ayt.base.images import Images, load, to_float
from ayt.base.randomness import Draws, generator


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_datasets_are_what_the_configuration_believes(name):
    dataset = Dataset(name=name)
    data, known = load(dataset), facts(dataset)
    assert data.pixels.shape == (known.size, known.channels, known.resolution, known.resolution)
    assert data.pixels.dtype == torch.uint8
    assert data.labels.unique().tolist() == list(range(known.classes))
    assert data.pixels.min() < 5
    assert data.pixels.max() > 250
    again = load(dataset)
    assert torch.equal(data.pixels, again.pixels)


def test_photos_are_natural_colour_images():
    pixels = to_float(load(Dataset(name="photos", crops=500)).pixels)
    assert len(pixels) == 500
    right = (pixels[..., 1:] * pixels[..., :-1]).mean() / pixels.square().mean()
    assert right > 0.9  # neighbours resemble each other
    assert (pixels[:, 0] - pixels[:, 2]).abs().mean() > 0.05  # and there is colour


def numbered(size):
    return Images(torch.arange(size, dtype=torch.uint8)[:, None, None, None], torch.arange(size))


def test_an_epoch_is_without_replacement_and_drops_the_rest():
    data = numbered(10)
    seen = torch.cat([data.batch(3, seed=0, iteration=i)[1] for i in range(3)])
    assert len(seen.unique()) == 9
    following = torch.cat([data.batch(3, seed=0, iteration=i)[1] for i in range(3, 6)])
    assert seen.tolist() != following.tolist()


def test_batches_depend_on_seed_and_iteration_only():
    data = numbered(50)
    first = data.batch(8, seed=1, iteration=9)[1]
    for i in range(20):
        data.batch(8, seed=2, iteration=i)
    assert torch.equal(first, data.batch(8, seed=1, iteration=9)[1])


def test_pixels_span_minus_one_to_one():
    images = to_float(torch.tensor([0, 255], dtype=torch.uint8))
    assert images.tolist() == [-1.0, 1.0]


def test_randomness_is_a_function_of_seed_iteration_and_purpose():
    def first(*arguments):
        return torch.rand(1, generator=generator(*arguments)).item()

    assert first(0, 5, "noise") == first(0, 5, "noise")
    others = {first(0, 5, "noise"), first(1, 5, "noise"), first(0, 6, "noise"), first(0, 5, "t")}
    assert len(others) == 4


def test_a_part_of_a_batch_draws_what_it_would_draw_in_the_whole():
    whole = Draws(0, 5, 6, torch.device("cpu"))
    part = Draws(0, 5, 6, torch.device("cpu"), slice(2, 4))
    assert torch.equal(whole.normal("noise", 3), whole.normal("noise", 3))
    assert torch.equal(part.normal("noise", 3), whole.normal("noise", 3)[2:4])
    (theirs,), (ours,) = (draws.masks([(8, 4, 4)], 0.25) for draws in (whole, part))
    assert torch.equal(ours, theirs[2:4])


def test_dropout_masks_drop_the_share_that_they_should():
    first, second = Draws(0, 0, 64, torch.device("cpu")).masks([(32, 8, 8), (32, 8, 8)], 0.2)
    assert first.shape == (64, 32, 8, 8)
    assert first.float().mean().item() == pytest.approx(0.8, abs=0.005)  # 4.5 standard errors
    assert (first == second).float().mean().item() == pytest.approx(0.68, abs=0.006)
    assert Draws(0, 0, 64, torch.device("cpu")).masks([(32, 8, 8)], 0.0) == []
