"""The toy experiment: exact geometry, measurements against closed forms, and from record to figure."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from ayt.analysis.toy import experiment, manifolds
from ayt.analysis.toy.manifolds import circle, curve, share_along, surface
from ayt.base.arrays import read_arrays
from ayt.base.files import write_text
from ayt.base.randomness import Draws
from ayt.cli import main
from ayt.experiment.schema import Toy
from ayt.features.distance import mfd
from ayt.methods.formulas.losses import pseudo_huber
from ayt.methods.formulas.schedules import t_to_r
from ayt.plan.analyses import Analysis
from ayt.reporting import style
from ayt.reporting.figures.toy import ToyFigure, draw_toy

MANIFOLDS = (circle, curve, surface)
CPU = torch.device("cpu")
TINY = {
    "manifold": "curve",
    "seeds": [0, 1],
    "batch_size": 16,
    "iterations": 4,
    "width": 8,
    "depth": 1,
    "pretrain_iterations": 2,
    "classifier_iterations": 2,
    "measure_every": 2,
}


def angles(manifold, count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 6.28 * torch.rand(count, manifold.dimension, dtype=torch.float64, generator=generator)


def normals(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def results():
    """What tiny trainings measure, by manifold."""
    return {name: experiment.run_toy(Toy(**{**TINY, "manifold": name}), CPU) for name in ("curve", "surface")}


@pytest.mark.parametrize("build", MANIFOLDS)
def test_coordinates_have_the_standard_deviation_of_data(build):
    manifold = build()
    points = manifold.embed(angles(manifold, 20_000))
    assert points.shape == (20_000, manifold.coordinates)
    assert float(points.square().mean().sqrt()) == pytest.approx(0.5, rel=0.02)


def test_the_curve_is_the_one_it_is_said_to_be():
    u = angles(curve())
    r = 1 + 0.3 * (3 * u).cos()
    expected = r * torch.cat([u.cos(), u.sin()], dim=1)
    scale = curve().embed(u) / expected
    torch.testing.assert_close(scale, scale[0, 0].expand_as(scale), rtol=1e-12, atol=0)


@pytest.mark.parametrize("build", MANIFOLDS)
def test_derivatives_are_those_of_finite_differences(build):
    manifold, h = build(), 1e-5
    u = angles(manifold)
    for function, derivative in (
        (manifold.embed, manifold.derivative),
        (manifold.derivative, manifold.second_derivative),
    ):
        for index, along in enumerate(h * torch.eye(manifold.dimension, dtype=u.dtype)):
            difference = (function(u + along) - function(u - along)) / (2 * h)
            torch.testing.assert_close(derivative(u)[..., index], difference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("build", MANIFOLDS)
def test_the_tangent_basis_is_orthonormal_and_spans_the_derivative(build):
    manifold = build()
    u = angles(manifold)
    Q, J = manifold.tangent_basis(u), manifold.derivative(u)
    torch.testing.assert_close(Q.mT @ Q, torch.eye(manifold.dimension, dtype=u.dtype).expand(len(u), -1, -1))
    torch.testing.assert_close(Q @ (Q.mT @ J), J, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", MANIFOLDS)
def test_the_nearest_point_of_one_moved_along_the_normal_is_where_it_came_from(build):
    manifold = build()
    u = angles(manifold)
    Q = manifold.tangent_basis(u)
    away = normals(len(u), manifold.coordinates)
    away = 0.05 * F.normalize(away - (Q @ (Q.mT @ away[..., None]))[..., 0])
    moved = manifold.embed(u) + away
    turned = torch.remainder(manifold.nearest(moved) - u + 3, 2 * torch.pi) - 3
    assert turned.abs().max() < 1e-12
    torch.testing.assert_close(manifold.distance(moved), torch.full((len(u),), 0.05, dtype=u.dtype), rtol=1e-12, atol=0)


@pytest.mark.parametrize("build", MANIFOLDS)
def test_no_point_of_the_manifold_is_nearer_than_the_nearest(build):
    manifold = build()
    far = normals(100, manifold.coordinates)
    others = manifold.embed(angles(manifold, 50_000, seed=2))
    assert (manifold.distance(far) <= torch.cdist(far, others).amin(1) + 1e-12).all()


def test_the_nearest_point_is_found_from_a_bad_start(monkeypatch):
    monkeypatch.setattr(manifolds, "GRID", 1)
    x = normals(100, 2)
    torch.testing.assert_close(circle().embed(circle().nearest(x)), F.normalize(x) / 2**0.5, rtol=0, atol=1e-12)


def test_shares_along_and_across_sum_to_one():
    manifold = surface()
    u = angles(manifold)
    whole = torch.linalg.qr(torch.cat([manifold.derivative(u), normals(len(u), 8, 6)], dim=2)).Q
    v = normals(len(u), 8, seed=3)
    along, across = share_along(v, manifold.tangent_basis(u)), share_along(v, whole[..., 2:])
    torch.testing.assert_close(along + across, torch.ones_like(along), rtol=1e-12, atol=0)
    torch.testing.assert_close(share_along(whole[..., 0], manifold.tangent_basis(u)), torch.ones_like(along))


class Linear(nn.Module):
    """D(x; t) = x / (1 + t), and features that are linear too."""

    W = torch.tensor([[1.0, 0.5, -2.0], [0.3, -1.0, 0.7]], dtype=torch.float64)

    def forward(self, x, sigma):
        return x / (1 + sigma)[:, None, None, None]

    def taps(self, x):
        return [x.flatten(1) @ self.W]


@pytest.mark.parametrize("distance", ["pixels", "features"])
@pytest.mark.parametrize("t", experiment.TIMES)
def test_measured_energies_are_those_of_the_closed_form(distance, t):
    manifold = circle()
    x, eps = manifold.embed(angles(manifold)), normals(64, 2)
    images = (points[:, :, None, None] for points in (x, eps))
    chosen = {"pixels": pseudo_huber, "features": mfd(Linear())}[distance]
    found = experiment.toy_tangents(Linear(), chosen, next(images), t, next(images))
    share, towards = experiment.compare_with_manifold(manifold, found)

    r = float(t_to_r(torch.tensor(t, dtype=torch.float64)))
    D_t, D_r = (x + t * eps) / (1 + t), (x + r * eps) / (1 + r)
    d = D_t - D_r
    if distance == "features":
        d = (d @ Linear.W / ((d @ Linear.W).square() + 1e-10).sqrt()) @ Linear.W.T
    outwards, radius = F.normalize(D_t), D_t.norm(dim=1)
    across = (F.normalize(d) * outwards).sum(1)
    assert share == pytest.approx(float((1 - across**2).mean()), abs=1e-10)
    assert towards == pytest.approx(float((across * (radius - 2**-0.5).sign()).mean()), abs=1e-10)


def test_labels_tell_how_points_were_transformed():
    draws = Draws(0, 0, 512, CPU)
    x = experiment.draw_points(surface(), draws)
    moved, labels = experiment.transform_points(x, draws)
    scale, translation, noise = labels[:, :1], labels[:, 1:9], labels[:, 9:]
    left = (moved.flatten(1) - x.flatten(1) * 2 ** (0.2 * scale) - 0.125 * translation).norm(dim=1, keepdim=True)
    torch.testing.assert_close(left, noise * 8**0.5, rtol=1e-5, atol=1e-6)
    assert 0 < float(noise.max()) <= 0.5
    for label in (scale, translation, noise):
        assert float((label == 0).float().mean()) == pytest.approx(1 - experiment.PROBABILITY, abs=0.07)


def test_models_learn_the_curve():
    spec = Toy(seeds=[0], iterations=300, pretrain_iterations=300, classifier_iterations=300, measure_every=300)
    found = experiment.run_toy(spec, CPU)
    assert (found["distance"][..., -1] < 0.8 * found["distance"][..., 0]).all()
    pixels, features = found["parallel"][:, 0, -1].mean(1)
    assert pixels > features
    assert found["flow_measurements"].tolist() == [0, 1]


def test_cosines_compare_a_measurement_with_the_one_before():
    manifold = circle()
    x, v = manifold.embed(angles(manifold)), normals(64, 2)
    turned = v @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=v.dtype)
    measured = [experiment.Measurement([experiment.Tangents(x, way)], 0.0) for way in (v, 2 * v, -v, turned)]
    cosine = experiment.summarise(manifold, measured)["cosine"][:, 0]
    assert cosine == pytest.approx([np.nan, 1, -1, 0], abs=1e-12, nan_ok=True)


def test_shapes_of_what_is_measured(results):
    for name, found in results.items():
        for key in ("parallel", "towards", "cosine"):
            assert found[key].shape == (2, 2, 3, 4)
            assert np.isnan(found[key]).any() == (key == "cosine")
        assert np.isnan(found["cosine"][:, :, 0]).all()
        assert found["distance"].shape == (2, 2, 3)
        assert found["iterations"].tolist() == [0, 2, 4]
        assert float(found["chance"]) == {"curve": 1 / 2, "surface": 2 / 8}[name]
    # Both losses start from the same diffusion model, and from there only their directions differ.
    assert (results["curve"]["distance"][..., 0] == results["curve"]["distance"][0, 0, 0]).all()
    assert "outputs" not in results["surface"]
    assert results["curve"]["flow_measurements"].tolist() == [1, 2]


def test_the_same_record_gives_the_same_bytes(tmp_path, results):
    analysis = Analysis(ToyFigure(), seed=0, parts={"toy": Toy(**TINY)}, on_cpu=True)
    for name in ("a", "b"):
        record = tmp_path / name / "record.yaml"
        write_text(record, analysis.text)
        assert main(["analyse", str(record), "--device", "cpu"]) == 0
    assert (tmp_path / "a" / "result.npz").read_bytes() == (tmp_path / "b" / "result.npz").read_bytes()
    arrays = read_arrays(tmp_path / "a" / "result.npz")
    assert set(arrays) == set(results["curve"])
    assert (arrays["parallel"] == results["curve"]["parallel"]).all()


@pytest.mark.parametrize("name", ["curve", "surface"])
def test_the_figure_shows_what_was_measured(tmp_path, results, name):
    found = results[name]
    draw_toy(found, tmp_path / "a", "Title")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert pixels.shape[1] == 1400
    assert pixels.std() > 5
    rows = pd.read_csv(tmp_path / "a.csv")
    assert len(rows) == found["parallel"].size
    assert (rows["parallel"] + rows["orthogonal"]).to_numpy() == pytest.approx(1)
    row = rows[(rows["loss"] == "AYT") & (rows["seed"] == 1) & (rows["iteration"] == 4) & (rows["t"] == 0.3)].iloc[0]
    for key in ("parallel", "towards", "cosine"):
        assert row[key] == pytest.approx(found[key][1, 1, 2, 1])
    assert row["distance"] == pytest.approx(found["distance"][1, 1, 2])


@pytest.mark.parametrize("name", ["curve", "surface"])
def test_one_seed_has_no_band_and_says_so(tmp_path, monkeypatch, results, name):
    shown = []
    monkeypatch.setattr(style, "finish", lambda figure, out, title, caption, table: shown.append((figure, caption)))
    one = dict(results[name])
    for key in ("parallel", "towards", "cosine", "distance"):
        one[key] = one[key][:, :1]
    one["seeds"] = one["seeds"][:1]
    for arrays in (results[name], one):
        draw_toy(arrays, tmp_path / "a", "")
    (many, many_caption), (single, caption) = shown
    assert "and over 2 seeds; bands: lowest to highest of the seeds" in many_caption
    assert "one seed, so there are no bands" in caption and "bands:" not in caption
    assert "n = 256 fixed points" in caption
    bands = [sum(len(panel.collections) for panel in drawn.axes) for drawn in (many, single)]
    panels = {"curve": 4, "surface": 7}[name]
    assert bands[0] - bands[1] == 2 * panels
    assert all(panel.lines for panel in single.axes if panel.get_xlabel())
