"""What a network's features respond to, along the data manifold and off it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, cast

import numpy as np
from pydantic import Field

from ayt.base.arrays import read_arrays
from ayt.experiment.outputs import FIGURES, Description, Mistakes
from ayt.plan.analyses import Analysis
from ayt.reporting.classifier_figures import ClassifierFigure

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes

    from ayt.networks.modules.feature_network import FeatureModule
    from ayt.plan.plan import Plan

NAMES = {
    "scale": "scaling",
    "rotate": "rotation",
    "aniso": "stretching",
    "translate": "translation",
    "brightness": "brightness",
    "contrast": "contrast",
    "hue": "hue",
    "saturation": "saturation",
    "blur": "blur (off)",
    "mixup": "mixup (off)",
}
DOTS = 400
"""Real pairs of each kind that are drawn; all are counted."""

UNTRAINED: Any = {"color": "#888888", "marker": "|", "linestyle": "", "markersize": 4}
PAIR_COLOURS = ("#000000", "#777777")
PAIR_MARKERS = ("P", "X")


class Style(NamedTuple):
    """The style of one kind of change."""

    colour: str
    marker: str
    line: Any


@FIGURES.register
class ManifoldFigure(ClassifierFigure):
    """A classifier's feature distance against image distance: real pairs, transformations, noise."""

    name: ClassVar[str] = "manifold"
    section: ClassVar[str] = "Feature networks"
    description: ClassVar[Description] = Description(
        shown="the feature network's distance between two images against their distance in pixels: transformed images,"
        " images with noise, and pairs of real images; and the same relative to noise.",
        measured="the manifold feature distance of AYT, in the network that its runs look through. Where it stands"
        " above noise of the same size, the network sees more of the change than of noise.",
        not_shown="that descending this distance trains a better generator; the scores show that.",
        in_the_paper="the argument for the manifold feature distance.",
    )

    images: Annotated[int, Field(ge=2)] = 256
    """Number of images of the dataset to compare."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        mistakes.require_at_most_all_images("images", self.images)

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Measure both distances, also with an untrained network of the same architecture."""
        import torch

        from ayt.analysis.manifold import measure_responses
        from ayt.analysis.tangents import choose_points
        from ayt.base.images import Images
        from ayt.features.distance import freeze, mfd
        from ayt.training.work import build_frozen, build_network

        classifier = self.trained_snapshot(analysis)
        dataset = classifier.run.dataset
        data = Images.of(dataset.load()).to(device)
        points = choose_points(data, self.images, analysis.seed)
        trained = cast("FeatureModule", build_frozen(classifier, dataset, device))
        torch.manual_seed(analysis.seed)
        untrained = cast("FeatureModule", freeze(build_network(classifier.run).to(device)))
        found, control = (
            measure_responses(mfd(network), data, points, classifier.recognises) for network in (trained, untrained)
        )
        return {**found, **{f"untrained_{name}": control[name] for name in ("ratio", "pair_ratio")}}

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw it; see `Output.make`."""
        (analysis,) = self.analyses(plan)
        classifier = self.trained_snapshot(analysis)
        network = f"{classifier.run.name} after {classifier.iteration:,} iterations"
        draw_manifold(read_arrays(analysis.path), out, self.title, network)


def draw_manifold(arrays: Mapping[str, np.ndarray], out: Path, title: str, network: str) -> None:
    """Draw MFD against image distance, and the ratio to noise at the same image distance, for each kind of change.

    Args:
        arrays: what `ManifoldFigure.compute` returned.
        out: where to, without ending.
        title: of the figure.
        network: what it is, for the caption.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    from ayt.reporting.style import COLOURS, LINES, MARKERS, RC, finish, new_figure

    kinds = [str(kind) for kind in arrays["kinds"]]
    styles = [Style(COLOURS[i % 6], MARKERS[i % len(MARKERS)], LINES[i // 6]) for i in range(len(kinds))]
    table = _table(arrays, kinds)
    with rc_context(RC):
        figure = new_figure(4.6)
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _distances(left, arrays, kinds, styles)
        _ratios(right, table, arrays, kinds, styles)
        handles = [
            Line2D([], [], color=s.colour, marker=s.marker, linestyle=s.line, markersize=4, label=NAMES[kind])
            for kind, s in zip(kinds, styles, strict=True)
        ]
        handles.append(Line2D([], [], color="#000000", linewidth=2.2, label="noise (off)"))
        handles += [
            Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=str(name))
            for name, colour, marker in zip(arrays["pairs"], PAIR_COLOURS, PAIR_MARKERS, strict=True)
        ]
        handles.append(Line2D([], [], **UNTRAINED, label="untrained network"))
        figure.legend(handles=handles, loc="outside right upper", frameon=False)
        finish(figure, out, title, _caption(arrays, kinds, network), table)


def _caption(arrays: Mapping[str, np.ndarray], kinds: list[str], network: str) -> str:
    unknown = ", ".join(NAMES[kind] for kind, learnt in zip(kinds, arrays["learnt"], strict=True) if not learnt)
    levels, pairs = arrays["image"].shape[1], arrays["pair_image"].shape[2]
    return (
        f"n = {arrays['image'].shape[2]} images; network {network}"
        f"{'; it was not trained on ' + unknown if unknown else ''}. Lines: medians over images at {levels} strengths "
        "(a standard deviation, a quarter turn, blur by 1.5 pixels, mixup by 1/8, and down from there). Dots: real "
        f"pairs, {pairs} of each image; large: their medians. Right: MFD divided by that of noise on the same image at "
        "the same image distance; bars: quartiles; small markers: weak changes; "
        "grey: the same for random weights. (off): leaves the data manifold. Real "
        "pairs and strong transformations are chords, not paths along the manifold; what MFD should respond to, the "
        "figure does not say."
    )


def _table(arrays: Mapping[str, np.ndarray], kinds: list[str]) -> pd.DataFrame:
    """Medians by kind and strength, of noise and real pairs too."""
    import pandas as pd

    names = ("image", "mfd", "ratio", "untrained_ratio")
    rows = []
    for index, kind in enumerate(kinds):
        for level, magnitude in enumerate(arrays["magnitude"][index]):
            rows.append((kind, magnitude, *_summary(*(arrays[name][index, level] for name in names))))
    for level, norm in enumerate(arrays["noise_image"]):
        mfd = arrays["noise_mfd"][level]
        one = np.ones_like(mfd)
        rows.append(("noise", norm, *_summary(norm * one, mfd, one, one)))
    for index, kind in enumerate(arrays["pairs"]):
        of_pairs = ("pair_image", "pair_mfd", "pair_ratio", "untrained_pair_ratio")
        rows.append((str(kind), np.nan, *_summary(*(arrays[name][index].flatten() for name in of_pairs))))
    columns = ["kind", "strength", "image_distance", "mfd", "ratio", "ratio_low", "ratio_high", "n", "untrained_ratio"]
    return pd.DataFrame(rows, columns=columns)


def _summary(image: np.ndarray, mfd: np.ndarray, ratio: np.ndarray, untrained: np.ndarray) -> tuple[float, ...]:
    """Medians of image distance, MFD and ratio, the ratio's quartiles, the number of ratios, the control's median."""
    known, control = ratio[np.isfinite(ratio)], untrained[np.isfinite(untrained)]
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75)) if len(known) else (np.nan,) * 3
    medians = (float(np.median(image)), float(np.median(mfd)), float(middle), float(low), float(high))
    return *medians, len(known), float(np.median(control)) if len(control) else np.nan


def _distances(panel: Axes, arrays: Mapping[str, np.ndarray], kinds: list[str], styles: list[Style]) -> None:
    from ayt.reporting.style import scale_logarithmically

    for index, (colour, marker) in enumerate(zip(PAIR_COLOURS, PAIR_MARKERS, strict=True)):
        image, mfd = (arrays[name][index].flatten()[:DOTS] for name in ("pair_image", "pair_mfd"))
        panel.plot(image, mfd, ".", color=colour, markersize=1.5, alpha=0.35, zorder=1)
        image, mfd = (np.median(arrays[name][index]) for name in ("pair_image", "pair_mfd"))
        panel.plot(image, mfd, marker, color=colour, markersize=7, markeredgecolor="white", zorder=5)
    panel.plot(arrays["noise_image"], np.median(arrays["noise_mfd"], axis=1), color="#000000", linewidth=2.2, zorder=2)
    for index, style in enumerate(styles):
        image, mfd = (np.median(arrays[name][index], axis=1) for name in ("image", "mfd"))
        there = image > 0
        panel.plot(
            image[there],
            mfd[there],
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            markersize=3.5,
            linewidth=1,
            zorder=3,
        )
    scale_logarithmically(panel, "x")
    scale_logarithmically(panel, "y")
    panel.set_xlabel("image distance $|a - b|_2$, images in [−1, 1]")
    panel.set_ylabel("MFD")


def _ratios(
    panel: Axes, table: pd.DataFrame, arrays: Mapping[str, np.ndarray], kinds: list[str], styles: list[Style]
) -> None:
    """A line for each kind of change: its strengths' ratios, beside each other."""
    names = [*kinds, *map(str, arrays["pairs"])]
    pairs = [Style(c, m, "") for c, m in zip(PAIR_COLOURS, PAIR_MARKERS, strict=True)]
    for place, (name, style) in enumerate(zip(names, [*styles, *pairs], strict=True)):
        shown = table[table["kind"] == name].dropna(subset="ratio").iloc[::-1]  # from weak to strong
        heights = place + (np.linspace(0.28, -0.28, len(shown)) if len(shown) > 1 else np.zeros(len(shown)))
        sizes = np.linspace(2, 5, len(shown)) if style.line else [6] * len(shown)
        panel.hlines(heights, shown["ratio_low"], shown["ratio_high"], color=style.colour, linewidth=0.7, alpha=0.6)
        panel.plot(shown["untrained_ratio"], heights, **UNTRAINED)
        for height, size, ratio in zip(heights, sizes, shown["ratio"], strict=True):
            panel.plot(ratio, height, style.marker, color=style.colour, markersize=size)
    panel.axvline(1, color="#000000", linewidth=2.2, zorder=1)
    panel.set_xscale("log")
    ticks = np.array([0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50])
    low, high = panel.get_xlim()
    kept = ticks[(ticks >= low) & (ticks <= high)]
    panel.set_xticks(kept, [f"{value:g}" for value in kept])
    panel.minorticks_off()
    panel.set_yticks(range(len(names)), [NAMES.get(name, name.replace(" ", "\n")) for name in names])
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("MFD, relative to noise")
