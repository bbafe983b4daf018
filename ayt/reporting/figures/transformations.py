"""What the transformation classifier learns to recognise, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from ayt.base.arrays import read_arrays
from ayt.experiment.outputs import FIGURES, Description, Mistakes
from ayt.methods.classification import ClassifierTraining
from ayt.plan.analyses import Analysis
from ayt.reporting.classifier_figures import ClassifierFigure

if TYPE_CHECKING:
    import torch

    from ayt.networks.modules.feature_network import FeatureModule
    from ayt.plan.plan import Plan


@FIGURES.register
class TransformationsFigure(ClassifierFigure):
    """The data, each transformation, and how well the classifier recognises it."""

    name: ClassVar[str] = "transformations"
    by_default: ClassVar[bool] = True
    section: ClassVar[str] = "Feature networks"
    description: ClassVar[Description] = Description(
        shown="images of the dataset under each transformation that the feature network learns to recognise, and how"
        " well it does.",
        measured="R² is the share of a label's variance that the network explains, on freshly transformed images of the"
        " dataset, each transformation as often as in training. Below 0 a constant would do better.",
        not_shown="images that the network was not trained on; its training uses the whole dataset.",
        in_the_paper="the transformations that the manifold feature distance is built from.",
    )

    def check(self, mistakes: Mistakes) -> None:
        """Report a classifier whose labels it does not know."""
        entry = mistakes.experiment.classifiers.get(self.classifier)
        if entry and entry.training.denoised:
            problem = "also knows denoised images, and its labels are scaled, which this figure cannot show"
            mistakes.report("classifier", self.classifier, problem)

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Transform images, and measure how well the classifier recognises what was done to them."""
        from ayt.analysis.recognition import measure_r2, show_transformations
        from ayt.base.images import Images
        from ayt.training.work import build_frozen

        classifier = self.trained_snapshot(analysis)
        run, training = classifier.run, classifier.run.training
        assert isinstance(training, ClassifierTraining)
        data = Images.of(run.dataset.load()).to(device)
        network = cast("FeatureModule", build_frozen(classifier, run.dataset, device))
        return {
            **show_transformations(data, training.group, analysis.seed),
            **measure_r2(network, data, training.group, training.probability, analysis.seed),
        }

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw it; see `Output.make`."""
        (path,) = self.inputs(plan)
        draw_transformations(read_arrays(path), out, self.title)


def draw_transformations(arrays: Mapping[str, np.ndarray], out: Path, title: str) -> None:
    """Draw images of the dataset, the same under each transformation, and how well each label is recognised.

    Args:
        arrays: ``data`` (n, C, H, W) uint8, ``names`` (T,), ``transformed`` (T, n, C, H, W) uint8, ``label``, ``r2``
            (L,), ``images``.
        out: where to, without ending.
        title: of the figure.
    """
    import pandas as pd
    from matplotlib import rc_context

    from ayt.reporting.style import COLOURS, RC, finish, new_figure, show_row

    table = pd.DataFrame({name: arrays[name] for name in ("label", "r2")}).assign(images=int(arrays["images"]))
    names = ["data", *map(str, arrays["names"])]
    with rc_context(RC):
        figure = new_figure(0.6 + 0.42 * max(len(names), 0.6 * len(table)))
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1), squeeze=False)[0]
        rows = left.subplots(len(names), 1)
        for panel, name, images in zip(rows, names, [arrays["data"], *arrays["transformed"]], strict=True):
            show_row(panel, images, name)
        bars = right.subplots()
        places = np.arange(len(table))
        bars.barh(places, table["r2"].clip(lower=0), color=COLOURS[0], height=0.65)
        for place, value in zip(places, table["r2"], strict=True):
            bars.text(max(value, 0) + 0.015, place, f"{value:.2f}", va="center", fontsize=7)
        bars.set_yticks(places, table["label"])
        bars.invert_yaxis()
        bars.set_xlim(0, 1.12)
        bars.grid(axis="y", visible=False)
        bars.set_xlabel("$R^2$ of the classifier's prediction")
        caption = (
            "Left: images of the dataset, and each transformation alone at random strength. Right: share of the "
            f"variance of each label that the classifier explains, on {int(arrays['images']):,} freshly transformed "
            "images, each transformation applied as often as in training."
        )
        finish(figure, out, title, caption, table)
