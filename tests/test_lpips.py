"""LPIPS against golden numbers, with weights from a file of torchvision's form."""

import pytest
import torch
from published import write_vgg16
from recipe import golden, listing

from ayt.methods.formulas.losses import distance_loss
from ayt.base.errors import UserError
from ayt.features.lpips import lpips, lpips_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "vgg16.pth"
    write_vgg16(path)
    return path


def test_names_and_shapes(weights):
    found = {key: "x".join(map(str, value.shape)) for key, value in lpips_network(weights).state_dict().items()}
    for row in listing("lpips_vgg"):
        assert found[row["key"]] == row["shape"], row["key"]


def test_distance_and_gradient(weights):
    arrays = golden("lpips")
    x, y = arrays["x"].requires_grad_(), arrays["y"]
    distance = lpips(weights, CPU)(x, y)
    torch.testing.assert_close(distance, arrays["distance"].flatten(), rtol=1e-5, atol=1e-7)
    (grad,) = torch.autograd.grad((arrays["w"] * distance).mean(), x)
    torch.testing.assert_close(grad, arrays["grad_x"], rtol=1e-3, atol=1e-6 * arrays["grad_x"].abs().max().item())


def test_direction_of_a_training_step(weights):
    arrays = golden("lpips")
    w, D_t = arrays["w"], arrays["x"].requires_grad_()
    output = distance_loss(lpips(weights, CPU), weighted=True)(D_t, arrays["y"], w, 0)
    (grad,) = torch.autograd.grad(output.loss, D_t)
    expected = arrays["unit_grad_x"] * w[:, None, None, None] / len(w)
    torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_wrong_weights_are_one_error(weights, tmp_path, damage):
    path = tmp_path / "vgg16.pth"
    if damage == "cut":
        path.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other":
        torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"vgg16\.pth: (no such file|not weights of VGG16)"):
        lpips_network(path)
