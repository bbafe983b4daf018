"""The Frechet distance against golden numbers."""

import numpy as np
import pytest
import torch
from recipe import golden

from ayt.base.errors import UserError
from ayt.metrics.formulas.frechet import FeatureStatistics, frechet_distance

pytestmark = pytest.mark.golden

ARRAYS = golden("frechet")
CASES = [key.removesuffix("_fd") for key in ARRAYS if key.endswith("_fd")]


@pytest.mark.parametrize("case", CASES)
def test_golden_distance(case):
    ours = frechet_distance(*(ARRAYS[f"{case}_{part}"] for part in ("mu1", "sigma1", "mu2", "sigma2")))
    # where covariances are singular the references lose half the digits, in roots of eigenvalues of 0
    tolerance = 1e-10 if "full" in case or "identity" in case else 1e-7
    for reference in ("fd", "fd_symmetric"):
        assert ours == pytest.approx(float(ARRAYS[f"{case}_{reference}"]), rel=tolerance, abs=tolerance)


def test_singular_covariances_in_any_direction_are_exact():
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(64, 64, generator=generator, dtype=torch.float64)).Q
    values1, values2 = torch.rand(2, 64, generator=generator, dtype=torch.float64)
    values1[16:] = 0
    values2[:8] = 0
    sigma1, sigma2 = ((Q * values) @ Q.T for values in (values1, values2))
    expected = float((values1.sqrt() - values2.sqrt()).square().sum())  # covariances that commute
    mu = torch.zeros(64)
    assert frechet_distance(mu, sigma1, mu, sigma2) == pytest.approx(expected, rel=1e-13)


def test_statistics_equal_numpys():
    features = torch.randn(100, 5, dtype=torch.float64)
    gathered = FeatureStatistics(5)
    for part in features.split(33):
        gathered.update(part)
    np.testing.assert_allclose(gathered.mean, features.mean(0))
    np.testing.assert_allclose(gathered.covariance, np.cov(features.numpy(), rowvar=False))


def test_statistics_far_from_0_keep_their_digits():
    features = 100 + 0.1 * torch.randn(500, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gathered = FeatureStatistics(8)
    for part in features.split(64):
        gathered.update(part)
    np.testing.assert_allclose(gathered.mean, features.mean(0), rtol=1e-14)
    np.testing.assert_allclose(gathered.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("counts", [(40, 60), (60, 40), (300, 60), (300, 300)])
def test_distance_of_few_samples_by_their_points(counts):
    """Covariances of rank n - 1 in 200 dimensions: the cross term is the nuclear norm of the points' products."""
    generator = torch.Generator().manual_seed(1)
    scales = torch.logspace(0, -4, 200, dtype=torch.float64)  # as wide a spectrum as Inception features have
    sets = [torch.randn(n, 200, generator=generator, dtype=torch.float64) * scales for n in counts]
    (x, y) = ((points - points.mean(0)) / (len(points) - 1) ** 0.5 for points in sets)
    expected = float(x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum())
    mu = torch.zeros(200)
    assert frechet_distance(mu, x.T @ x, mu, y.T @ y) == pytest.approx(expected, rel=1e-8)


def test_what_cannot_be_compared_is_refused():
    mu, sigma = torch.zeros(3), torch.eye(3)
    with pytest.raises(UserError, match="do not match"):
        frechet_distance(mu, sigma, torch.zeros(2), torch.eye(2))
    with pytest.raises(UserError, match="not finite"):
        frechet_distance(mu, sigma * torch.nan, mu, sigma)
    lonely = FeatureStatistics(3)
    lonely.update(torch.zeros(1, 3))
    with pytest.raises(UserError, match="at least 2 samples, not 1"):
        _ = lonely.covariance
