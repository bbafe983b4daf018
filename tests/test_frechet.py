"""The Frechet distance against golden numbers."""

import numpy as np
import pytest
import torch
from recipe import golden

from ayt.errors import UserError
from ayt.evaluation.frechet import FeatureStatistics, frechet_distance

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


def test_what_cannot_be_compared_is_refused():
    mu, sigma = torch.zeros(3), torch.eye(3)
    with pytest.raises(UserError, match="do not fit together"):
        frechet_distance(mu, sigma, torch.zeros(2), torch.eye(2))
    with pytest.raises(UserError, match="not finite"):
        frechet_distance(mu, sigma * torch.nan, mu, sigma)
    lonely = FeatureStatistics(3)
    lonely.update(torch.zeros(1, 3))
    with pytest.raises(UserError, match="at least 2 samples, not 1"):
        _ = lonely.covariance
