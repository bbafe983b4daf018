"""Directions along the data: by neighbours, and by transformations."""

import numpy as np
import pytest
import torch

from ayt.analysis import spaces, tangents
from ayt.base.images import Images, to_float
from ayt.datasets.digits import Digits


def digits():
    return Images.of(Digits().load())


@pytest.fixture(scope="module")
def plane():
    """Images in a plane through the middle grey, spanned by a horizontal and a vertical step."""
    across = torch.ones(8, 8)
    across[:, :4] = -1
    steps = torch.randint(-100, 101, (300, 2), generator=torch.Generator().manual_seed(0))
    pixels = 127 + (steps[:, :1, None] * across + steps[:, 1:, None] * across.T).clamp(-127, 128)
    # Where the two add up to more than a pixel holds, the plane would be left.
    pixels = pixels[(steps.abs().sum(1) <= 127)]
    return Images(pixels[:, None].to(torch.uint8), torch.zeros(len(pixels))), torch.stack([across, across.T])[:, None]


def test_shares_of_directions_in_and_out_of_a_plane(plane):
    images, directions = plane
    points = to_float(images.pixels[:2])
    space = spaces.neighbour_space(points, images, neighbours=12, dimensions=4)
    assert spaces.dimension(space).tolist() == [2, 2]
    torch.testing.assert_close(spaces.share(directions, space), torch.ones(2))
    noise = torch.randn(2, 1, 8, 8)
    outside = noise - sum((noise * v).sum((1, 2, 3), keepdim=True) / 64 * v for v in directions)
    assert (spaces.share(outside, space) < 1e-10).all()
    between = 3 * tangents.unit(outside) + 4 * tangents.unit(directions)
    torch.testing.assert_close(spaces.share(between, space), torch.full((2,), 0.64))


def test_the_nearest_images_are_found_in_blocks(monkeypatch):
    images = digits()
    x = to_float(images.pixels[[5, 1700]])
    expected = torch.cdist(x.flatten(1), to_float(images.pixels).flatten(1)).topk(6, largest=False)
    monkeypatch.setattr(spaces, "BLOCK", 100)
    index, distances = spaces.nearest(x, images, 6)
    assert torch.equal(index, expected.indices)
    assert index[:, 0].tolist() == [5, 1700]
    torch.testing.assert_close(distances, expected.values)


def blob():
    """A smooth image (1, 3, 32, 32), and its derivatives to the right and down."""
    y, x = torch.meshgrid(torch.arange(32.0) - 14, torch.arange(32.0) - 17, indexing="ij")
    image = torch.exp(-(x**2 + 2 * y**2) / 60)
    image, right, down = (part.expand(1, 3, 32, 32) for part in (image, -x / 30 * image, -y / 15 * image))
    return image * torch.tensor([1.0, 0.5, -0.5])[:, None, None], right, down


def test_transformations_have_their_derivatives_as_directions():
    image, right, down = blob()
    colours = torch.tensor([1.0, 0.5, -0.5])[:, None, None]
    found = spaces.transformation_directions(image)
    names = [name for name, _ in spaces._parameters(3)]
    assert names[:6] == ["scale", "rotate", "aniso", "aniso", "translate", "translate"]
    assert names[6:] == ["brightness", "contrast", "hue", "saturation"]
    width = 0.125 * 32
    for place, expected in ((4, -width * right * colours), (5, -width * down * colours)):
        error = (found[:, place] - expected)[..., 4:-4, 4:-4]  # at the edges images are reflected
        assert error.norm() < 0.01 * expected.norm()
    torch.testing.assert_close(found[:, 6], torch.full_like(image, 0.2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[:, 7], 0.5 * np.log(2) * image, rtol=1e-3, atol=1e-3)
    space = spaces.transformation_space(image)
    assert spaces.dimension(space).tolist() == [10]
    assert spaces.share(right * colours, space) > 0.99
    grey = spaces.transformation_space(image.mean(1, keepdim=True))
    assert spaces.dimension(grey).tolist() == [8]
    # On a uniform image nothing but its brightness can change.
    assert spaces.dimension(spaces.transformation_space(torch.full((1, 1, 8, 8), 0.5))).tolist() == [1]
