"""What features respond to: noise, transformations, and the labels of both."""

import numpy as np
import torch

from ayt.analysis import manifold, recognition, tangents
from ayt.base.images import Images
from ayt.datasets.digits import Digits
from ayt.datasets.photos import Photos


def digits():
    return Images.of(Digits().load())


def test_noise_has_exactly_the_norms_stated():
    images = torch.rand(3, 3, 8, 8)
    eps = torch.randn(3, 3, 8, 8)
    for norm in (1e-2, 1.0, 30.0):
        added = manifold.add_noise(images, eps, norm) - images
        torch.testing.assert_close(added.flatten(1).norm(dim=1), torch.full((3,), norm), rtol=1e-4, atol=0)
        torch.testing.assert_close(tangents.cosine(added, eps), torch.ones(3), rtol=1e-4, atol=0)


def test_the_image_distance_itself_responds_to_everything_alike():
    """With the L2 distance in MFD's place every ratio is 1, and at twice the strength mixup is twice as far."""
    images = Images.of(Photos(crops=64).load())
    points = tangents.choose_points(images, 6, 0)
    found = manifold.measure_responses(lambda a, b: (a - b).flatten(1).norm(dim=1), images, points, "geo")
    for name in ("ratio", "pair_ratio"):
        known = found[name][np.isfinite(found[name])]
        assert len(known) > 0.8 * found[name].size
        np.testing.assert_allclose(known, 1, rtol=1e-4)
    kinds = list(found["kinds"])
    assert kinds[:8] == ["scale", "rotate", "aniso", "translate", "brightness", "contrast", "hue", "saturation"]
    assert found["learnt"].tolist() == [True] * 4 + [False] * 6
    mixup = found["image"][kinds.index("mixup")]
    np.testing.assert_allclose(mixup[0], 2 * mixup[1], rtol=1e-4)
    brightness = found["image"][kinds.index("brightness")]
    np.testing.assert_allclose(brightness, np.outer(0.5 ** np.arange(8), np.full(6, 0.2 * 3072**0.5)), rtol=1e-3)
    np.testing.assert_allclose(found["noise_mfd"], np.repeat(found["noise_image"][:, None], 6, 1), rtol=1e-4)
    assert (found["pair_image"][0] <= found["pair_image"][1] + 1e-4).all()


def test_r_squared_of_knowing_all_and_of_knowing_nothing(monkeypatch):
    """What is given the labels explains all of their variance, their mean none of it."""
    images = digits()
    seen = []
    transform = recognition.transform

    def remember(*arguments):
        seen.append(transform(*arguments))
        return seen[-1]

    monkeypatch.setattr(recognition, "transform", remember)
    perfect = recognition.measure_r2(lambda x: seen[-1][1], images, "geo", 0.5, seed=3)
    assert perfect["label"].tolist()[:3] == ["scale", "rotation, cos - 1", "rotation, sin"]
    np.testing.assert_allclose(perfect["r2"], 1)
    mean = torch.cat([labels for _, labels in seen]).mean(0)
    constant = recognition.measure_r2(lambda x: mean.expand(len(x), -1), images, "geo", 0.5, seed=3)
    np.testing.assert_allclose(constant["r2"], 0, atol=1e-5)
    assert int(constant["images"]) == 4096
