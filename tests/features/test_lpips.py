"""LPIPS against golden numbers, with weights from a file of torchvision's form."""

import copy

import pytest
import torch
from published import write_vgg16
from recipe import apart, golden, listing

from ayt.base.errors import UserError
from ayt.features.distance import freeze
from ayt.features.lpips import lpips, lpips_network
from ayt.methods.formulas.losses import distance_loss

pytestmark = pytest.mark.golden

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "vgg16.pth"
    write_vgg16(path)
    return path


@pytest.fixture(scope="module")
def network(weights):
    return freeze(lpips_network(weights))


def test_names_and_shapes(network):
    found = {key: "x".join(map(str, value.shape)) for key, value in network.state_dict().items()}
    for row in listing("lpips_vgg"):
        assert found[row["key"]] == row["shape"], row["key"]


# What float32 left the golden numbers, and how much more kernels differ in it.
PRECISIONS = [(torch.float64, 3e-5), (torch.float32, 2e-4)]


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS, ids=["float64", "float32"])
def test_distance_gradient_and_direction(network, precision, tolerance):
    arrays = golden("lpips", precision)
    network = copy.deepcopy(network).to(precision)
    x, y, w = arrays["x"].requires_grad_(), arrays["y"], arrays["w"]
    distance = network(x, y).flatten()
    torch.testing.assert_close(distance, arrays["distance"].flatten(), rtol=tolerance / 20, atol=0)
    (grad,) = torch.autograd.grad((w * distance).mean(), x)
    assert (apart(grad, arrays["grad_x"]) < tolerance).all()
    output = distance_loss(lambda a, b: network(a, b).flatten(), weighted=True)(x, y, w, 0)
    (step,) = torch.autograd.grad(output.loss, x)
    assert (apart(step, arrays["unit_grad_x"] * w[:, None, None, None] / len(w)) < tolerance).all()


def test_distance_from_a_file(weights):
    arrays = golden("lpips")
    distance = lpips(weights, CPU)(arrays["x"], arrays["y"])
    torch.testing.assert_close(distance, arrays["distance"].flatten(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_wrong_weights_are_one_error(weights, tmp_path, damage):
    path = tmp_path / "vgg16.pth"
    if damage == "cut":
        path.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other":
        torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"vgg16\.pth: (no such file|not weights of VGG16)"):
        lpips_network(path)
