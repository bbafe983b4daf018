"""The eleven transformations against golden numbers."""

import pytest
import torch
from recipe import GOLDEN, golden

from ayt.base.errors import UserError
from ayt.features.groups import GROUPS, label_names, names_for
from ayt.features.transformations import draw, transform
from ayt.features.transformations.geometry import SYM6, affine, apply_geometry, normalise_maps, padding
from ayt.features.transformations.table import parameters

pytestmark = pytest.mark.golden

RENAMED = {"rotate_frac": "rotate", "translate_frac": "translate", "gaussian_blur": "blur"}
FILES = sorted(path.stem for path in GOLDEN.glob("augment_*.npz") if path.stem != "augment_sym6")


def golden_draws(arrays):
    draws = {}
    for key, value in arrays.items():
        if key.startswith("draw_"):
            name, _, what = key.removeprefix("draw_").rpartition("_")
            drawn = value.float()  # Beta was drawn in float64
            draws.setdefault(RENAMED.get(name, name), {})[what] = drawn[0] if drawn.shape[:1] == (1,) else drawn
    return draws


@pytest.mark.parametrize("file", FILES)
def test_golden_images_and_labels(file):
    arrays = golden(file)
    draws = golden_draws(arrays)
    images, labels = transform(arrays["x"], draws, float(arrays["p"]), tuple(draws), arrays.get("mag", 1.0))
    torch.testing.assert_close(images, arrays["y"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(labels, arrays["labels"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("file", [file for file in FILES if "affine_theta" in golden(file)])
def test_golden_maps_and_padding(file):
    arrays = golden(file)
    draws = golden_draws(arrays)
    w, _ = parameters(draws, float(arrays["p"]), tuple(draws), arrays.get("mag", 1.0))
    size = arrays["x"].shape[2:]
    A = affine(w, *size)
    pads = padding(A, *size)
    assert pads == tuple(arrays["pad_x0_x1_y0_y1"].tolist())
    torch.testing.assert_close(normalise_maps(A, pads, *size), arrays["affine_theta"], atol=1e-6, rtol=1e-6)


def test_filter_is_sym6():
    torch.testing.assert_close(torch.tensor(SYM6, dtype=torch.float64), golden("augment_sym6")["sym6"].double())


def random_batch(*shape, group="geo_clr_deg"):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(shape, generator=generator) * 2 - 1
    names = names_for(group, shape[1])
    return images, draw(names, shape, generator), names


def test_probability_0_leaves_images_and_labels():
    images, draws, names = random_batch(5, 3, 32, 32)
    result, labels = transform(images, draws, 0.0, names)
    assert not labels.any()
    assert (result - images).norm() / images.norm() < 1e-4
    untouched, _ = transform(images, draws, 0.0, GROUPS["deg"])
    assert torch.equal(untouched, images)  # sigma = 0 is a blur too


def test_share_of_transformed_images_is_p():
    _, draws, names = random_batch(4000, 3, 8, 8, group="geo_clr")
    w, _ = parameters(draws, 0.15, names, 1.0)
    for name, value in w.items():
        share = (value.reshape(-1, 4000)[0] != 0).double().mean()
        assert 0.12 < share < 0.18, name


def test_draws_have_their_distributions():
    generator = torch.Generator().manual_seed(0)
    for name, values in draw(GROUPS["geo_clr_deg"], (20000, 1, 2, 2), generator).items():
        for what, value in values.items():
            if what != "beta":
                mean, std = (0, 1) if what in ("w", "z") else (1 / 2, 12**-0.5)
                assert abs(value.mean() - mean) < 0.03, (name, what)
                assert abs(value.std() - std) < 0.03, (name, what)


def test_beta_draws_have_the_moments_of_beta_1_3():
    beta = draw(("mixup",), (20000, 1, 1, 1), torch.Generator().manual_seed(0))["mixup"]["beta"]
    assert abs(beta.mean() - 0.25) < 0.005
    assert abs(beta.var() - 3 / 80) < 0.002


def test_enlarged_images_need_no_padding():
    assert padding(affine({"scale": torch.full((2,), 20.0)}, 32, 32), 32, 32) == (0, 0, 0, 0)


def test_beyond_the_padding_images_are_0():
    moved = apply_geometry(torch.ones(1, 1, 8, 8), {"translate": torch.tensor([[100.0], [0.0]])})
    assert not moved.any()


def test_each_image_is_transformed_as_if_alone():
    images, draws, _ = random_batch(3, 3, 32, 32)
    names = tuple(name for name in GROUPS["geo_clr_deg"] if name != "mixup")
    together, labels = transform(images, draws, 0.5, names)
    for i in range(3):
        own = {
            name: {
                what: value[:, i : i + 1] if value.ndim == 2 else value[i : i + 1]
                for what, value in draws[name].items()
            }
            for name in names
        }
        alone, label = transform(images[i : i + 1], own, 0.5, names)
        # The padding, so the rounding, depends on the other images.
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-4, rtol=1e-4)
        assert torch.equal(label, labels[i : i + 1])


@pytest.mark.parametrize("shape", [(7, 1, 8, 8), (3, 1, 28, 28), (2, 3, 32, 32)])
def test_any_shape_is_finite(shape):
    images, draws, names = random_batch(*shape)
    result, labels = transform(images, draws, 1.0, names)
    assert result.shape == images.shape
    assert torch.isfinite(result).all()
    assert labels.shape == (shape[0], len(label_names(names)))


def test_grey_images_have_no_hue_and_saturation():
    assert len(label_names(names_for("geo_clr_deg", 3))) == 15
    names = names_for("geo_clr_deg", 1)
    assert len(label_names(names)) == 12
    assert not {"hue", "saturation"} & set(names)


def test_same_generator_same_draws():
    first, second = (random_batch(4, 3, 8, 8)[1] for _ in range(2))
    assert all(torch.equal(first[name][what], second[name][what]) for name in first for what in first[name])


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(UserError, match="'gio'; choose from geo, deg"):
        names_for("gio", 3)
    with pytest.raises(UserError, match="'sheer'; choose from scale"):
        transform(torch.zeros(1, 3, 8, 8), {}, 1.0, ("sheer",))
