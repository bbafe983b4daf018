"""What each metric is called, and whether a low or a high value is good."""

from __future__ import annotations

from typing import NamedTuple

LABELS = {
    "frechet": "FD",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "inception_score": "IS",
    "denoised_frechet": "dFD",
    "lpips": "LPIPS",
}
HIGHER_IS_BETTER = {"precision", "recall", "density", "coverage", "inception_score"}


class Metric(NamedTuple):
    """A metric of a score.

    Attributes:
        key: as experiments call it.
        label: as figures and tables call it. Only Inception features make a Frechet distance an FID.
        better: ``lower`` or ``higher``.
    """

    key: str
    label: str
    better: str


def metric(key: str, dataset: str, inception: bool, t: float | None = None) -> Metric:
    """Name a metric.

    Args:
        key: as experiments call it.
        dataset: of the run.
        inception: whether features are those of FID's Inception network, not of a classifier of the dataset.
        t: the noise level, for a metric of denoised images.
    """
    label = LABELS[key]
    notes = [] if t is None else [f"t = {t:g}"]
    if key == "lpips":  # has features of its own
        pass
    elif inception:
        label = {"frechet": "FID", "denoised_frechet": "dFID"}.get(key, label)
    else:
        notes.append(f"{dataset} features")
    label = f"{label} ({', '.join(notes)})" if notes else label
    return Metric(key, label, "higher" if key in HIGHER_IS_BETTER else "lower")
