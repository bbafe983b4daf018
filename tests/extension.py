"""A method, a dataset, a metric and a figure of one's own, for experiments that say ``extensions: [extension.py]``.

Fields are settings: an experiment may state them, and they are checked and become part of names as those of the
package's own kinds do. The file runs wherever an experiment is read: import what computes where it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ayt.base.sections import Count, NonNegative
from ayt.datasets.base import DATASETS, Arrays, Dataset
from ayt.experiment.outputs import FIGURES, Description, Figure
from ayt.methods.base import METHODS, Method
from ayt.metrics.base import METRICS, SampleMetric

if TYPE_CHECKING:
    from torch import Tensor

    from ayt.base.randomness import Draws
    from ayt.methods.formulas.losses import LossOutput
    from ayt.methods.formulas.objective import Objective, Work
    from ayt.metrics.formulas.feature_sets import FeatureSet
    from ayt.plan.evaluations import Grid
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run


@METHODS.register
class Distillation(Method):
    """Consistency distillation: a frozen copy of the diffusion model leads from x_t to x_r, not the noise of x_t."""

    name: ClassVar[str] = "distillation"
    usual_label: ClassVar[str] = "CD"

    c: NonNegative = 0.0
    """Of the pseudo-Huber distance."""

    def objective(self, work: Work) -> Objective:
        """ECT's loss between D(x_t; t) and D(x_r; r), where one Euler step of the teacher leads from x_t to x_r."""
        import torch

        from ayt.methods.formulas.losses import ect_loss, weight
        from ayt.methods.formulas.schedules import lognormal_t, stage_at, t_to_r

        start, compare = work.frozen_denoiser("start"), ect_loss(self.c)

        def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
            D, teacher = work.denoiser(labels, draws), start(labels)
            t = lognormal_t(draws.normal("t"), self.t_mean, self.t_std)
            r = t_to_r(t, self.q, stage_at(draws.iteration, self.stage_iterations), self.k, self.b, self.n)
            x_t = images + t[:, None, None, None] * draws.normal("noise", *images.shape[1:])
            with torch.no_grad():
                x_r = x_t + (x_t - teacher(x_t, t)) * (r / t - 1)[:, None, None, None]
                # Without noise an image is its own denoised image, and the network's ln r infinite.
                D_r = torch.where((r > 0)[:, None, None, None], D(x_r, torch.where(r > 0, r, t)), x_r)
            return compare(D(x_t, t), D_r, weight(t, r), draws.iteration, draws.size)

        return objective


@DATASETS.register
class Shapes(Dataset):
    """Discs, squares and crosses somewhere in a grey image: 12x12, one channel, a class for each shape."""

    name: ClassVar[str] = "shapes"
    channels: ClassVar[int] = 1
    resolution: ClassVar[int] = 12
    classes: ClassVar[int] = 3

    images: Count = 600

    @property
    def size(self) -> int:
        """Number of images."""
        return self.images

    def load(self) -> Arrays:
        """Draw the images."""
        random = np.random.default_rng(0)
        labels = np.arange(self.images) % self.classes
        x, y = np.abs(np.indices((12, 12))[:, None] - random.uniform(4, 7, (2, self.images, 1, 1)))
        radius = random.uniform(2, 4, (self.images, 1, 1))
        shapes = np.stack([np.hypot(x, y), np.maximum(x, y), np.minimum(x, y) + radius / 2]) < radius
        brightness = random.integers(128, 256, (self.images, 1, 1))
        pixels = shapes[labels, np.arange(self.images)] * brightness
        return Arrays(pixels[:, None].astype(np.uint8), labels.astype(np.int64))


@METRICS.register
class MeanShift(SampleMetric):
    """Euclidean distance between the means of the features."""

    name: ClassVar[str] = "mean_shift"
    label: ClassVar[str] = "Mean shift"

    def compute(self, samples: FeatureSet, real: FeatureSet) -> float:
        """Compare the features of samples with those of real images."""
        return float((samples.mean - real.mean).norm())


@FIGURES.register
class ByClass(Figure):
    """Samples of one run at its end, a row for each class."""

    name: ClassVar[str] = "by_class"
    section: ClassVar[str] = "Samples"
    description: ClassVar[Description] = Description(shown="samples of the first run at its end, a row for each class.")

    columns: Count = 8

    def grids(self, plan: Plan) -> list[tuple[Run, Grid]]:
        """The sample grids that it shows, each of a run at its end."""
        return [(plan.trained[0], plan.grid_of(plan.trained[0].name, steps=1))]

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw it."""
        import pandas as pd
        from matplotlib import rc_context

        from ayt.base.arrays import read_arrays
        from ayt.reporting.style import RC, finish, new_figure, show_row

        classes, (file,) = plan.experiment.dataset.classes, self.inputs(plan)
        images = read_arrays(file, "images")["images"]  # of each class in turn
        rows = [images[label::classes][: self.columns] for label in range(classes)]
        with rc_context(RC):
            figure = new_figure(0.5 + 0.5 * classes)
            for label, panel in enumerate(figure.subplots(classes, 1)):
                show_row(panel, rows[label], f"class {label}")
            table = pd.DataFrame({"class": range(classes), "brightness": [row.mean() for row in rows]})
            finish(figure, out, self.title, f"Samples of {plan.trained[0].title}; one step.", table)
