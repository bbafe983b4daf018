"""Datasets and batches."""

import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ayt.base.errors import UserError
from ayt.base.images import Images, to_float
from ayt.base.randomness import CHUNK, Draws, generator, image_noise
from ayt.datasets.digits import Digits
from ayt.datasets.photos import Photos

CPU = torch.device("cpu")


@pytest.mark.parametrize("dataset", [Digits(), Photos()], ids=lambda dataset: dataset.name)
def test_datasets_are_what_they_say(dataset):
    data = Images.of(dataset.load())
    assert data.pixels.shape == (dataset.size, *dataset.shape)
    assert data.pixels.dtype == torch.uint8
    assert data.labels.unique().tolist() == list(range(dataset.classes))
    assert data.pixels.min() < 5
    assert data.pixels.max() > 250
    again = Images.of(dataset.load())
    assert torch.equal(data.pixels, again.pixels)


def test_digits_are_those_of_scikit_learn():
    theirs, ours = load_digits(), Digits().load()
    assert (ours.pixels[:, 0] == np.rint(theirs.images * 255 / 16)).all()
    assert (ours.labels == theirs.target).all()


def test_digits_that_are_not_there_are_one_error(monkeypatch, tmp_path):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "sklearn", raising=False)
        with pytest.raises(UserError, match=r"digits\.csv\.gz: cannot be read .*; reinstall scikit-learn"):
            Digits().load()


def test_photos_are_natural_colour_images():
    pixels = to_float(Images.of(Photos(crops=500).load()).pixels)
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
    whole = Draws(0, 5, 70, CPU)
    assert torch.equal(whole.normal("noise", 3), whole.normal("noise", 3))
    masks = whole.masks([(8, 4, 4), (2, 2, 2)], 0.25)
    for part in (slice(0, 70), slice(2, 4), slice(10, 40), slice(16, 32), slice(64, 70)):
        few = Draws(0, 5, 70, CPU, part)
        assert torch.equal(few.normal("noise", 3), whole.normal("noise", 3)[part])
        for theirs, ours in zip(masks, few.masks([(8, 4, 4), (2, 2, 2)], 0.25), strict=True):
            assert torch.equal(ours, theirs[part])


def test_a_part_of_a_batch_draws_no_more_than_its_chunks(monkeypatch):
    drawn = []
    randn = torch.randn

    def counted(shape, **options):
        drawn.append(shape)
        return randn(shape, **options)

    monkeypatch.setattr(torch, "randn", counted)
    Draws(0, 5, 1024, CPU, slice(100, 140)).normal("noise", 3)
    assert drawn == [(CHUNK, 3)] * 3


def test_noise_of_an_image_does_not_depend_on_those_beside_it():
    whole = image_noise(0, 0, "sampling", 0, 50, (1, 3, 3), CPU)
    assert len(whole.flatten(1).unique(dim=0)) == 50
    for start, stop in ((0, 1), (7, 20), (31, 50), (16, 32)):
        assert torch.equal(image_noise(0, 0, "sampling", start, stop, (1, 3, 3), CPU), whole[start:stop])


def test_dropout_masks_drop_the_share_that_they_should():
    first, second = Draws(0, 0, 64, CPU).masks([(32, 8, 8), (32, 8, 8)], 0.2)
    assert first.shape == (64, 32, 8, 8)
    assert first.float().mean().item() == pytest.approx(0.8, abs=0.005)  # 4.5 standard errors
    assert (first == second).float().mean().item() == pytest.approx(0.68, abs=0.006)
    assert Draws(0, 0, 64, CPU).masks([(32, 8, 8)], 0.0) == []
