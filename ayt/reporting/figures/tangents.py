"""Tangents: how a consistency model's output changes along trajectories, and AYT's direction for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import numpy as np

from ayt.base.arrays import read_arrays
from ayt.base.sections import UNNAMED, Count, Name, NoiseLevels, Whole
from ayt.experiment.outputs import FIGURES, Description, Figure, Mistakes
from ayt.methods.base import Method
from ayt.plan.analyses import Analysis
from ayt.plan.runs import Snapshot
from ayt.reporting.wording import plural

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

    from ayt.experiment.schema import Experiment
    from ayt.networks.modules.feature_network import FeatureModule
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run

DIRECTIONS = {"difference": "tangent,\ndifference", "derivative": "tangent,\nderivative", "feature": "AYT's\ndirection"}
PAIRS = {"derivative": "tangent, derivative", "feature": "AYT's direction"}
COLUMNS = 5
SIGMA_DATA = 0.5


@FIGURES.register
class TangentsFigure(Figure):
    """For some images and noise levels: the noisy image, its denoised one, the tangents of pixels and of features."""

    name: ClassVar[str] = "tangents"
    section: ClassVar[str] = "Tangents"
    description: ClassVar[Description] = Description(
        shown="for images at rising noise levels t: the noisy image, what the network makes of it, its tangent (as the"
        " difference that training takes and as a derivative), and the direction that AYT goes in its place.",
        measured="in one network at the end of its training. Directions have length 1, so the pictures say nothing of"
        " lengths; the panels below say how they agree, and how long the tangents are.",
        not_shown="how tangents change over training, which the figure of oscillation asks.",
        in_the_paper="its pictures of tangents.",
    )

    method: Annotated[str | None, UNNAMED] = None
    """The method whose network is used; absent: the first that uses the figure's classifier, or else the first."""
    batch_size: Annotated[Count | None, UNNAMED] = None
    """Batch size of the run; absent: the method's largest."""
    seed: Annotated[Whole | None, UNNAMED] = None
    """Seed of the run; absent: the method's first."""
    classifier: Annotated[Name, UNNAMED] = "transformations"
    """The transformation classifier of AYT's direction."""
    images: Count = 64
    """Number of images; the first few are shown, and cosines are averaged over all."""
    times: NoiseLevels = [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 80.0]
    """Noise levels t."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        experiment = mistakes.experiment
        mistakes.require_at_most_all_images("images", self.images)
        if self.method and self.method not in experiment.method_names:
            mistakes.require_methods([self.method], "method")
            return
        method = experiment.methods[self.shown_method(experiment)]
        mistakes.require_never_stopped(self.shown_method(experiment), "method")
        mistakes.require_known("batch_size", [self.batch_size] if self.batch_size else [], method.batch_sizes)
        mistakes.require_known("seed", [] if self.seed is None else [self.seed], method.seeds)

    def classifiers(self) -> dict[str, bool]:
        """The transformation classifiers that it uses, with whether published weights may be used."""
        return {self.classifier: True}

    def shown_method(self, experiment: Experiment) -> str:
        """The method whose network is analysed."""
        if self.method:
            return experiment.choose_methods([self.method])[0]
        looks_through = [
            name
            for name, method in experiment.methods.items()
            if self.classifier in {need.name for need in method.upstream().values()}
        ]
        return [*looks_through, *experiment.methods][0]

    def shown_run(self, plan: Plan) -> Run:
        """The run whose network is analysed."""
        name = self.shown_method(plan.experiment)
        method = plan.experiment.methods[name]
        seed = method.seeds[0] if self.seed is None else self.seed
        return plan.run(name, self.batch_size or max(method.batch_sizes), seed)

    def analyses(self, plan: Plan) -> list[Analysis]:
        """What must be computed for it: the tangents in one network."""
        run = self.shown_run(plan)
        classifier = plan.classifier_weights(self.classifier)
        return [
            Analysis(
                figure=self,
                seed=plan.experiment.evaluation.seed,
                weights={"model": run.last, "classifier": classifier},
                inputs=(run.last.path, classifier.path, *run.record.sampling_inputs, *run.record.dataset.files),
            )
        ]

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Take the tangents."""
        import torch

        from ayt.analysis.tangents import choose_points, measure_tangents
        from ayt.base.images import Images
        from ayt.features.distance import mfd
        from ayt.methods.formulas.schedules import stage_at
        from ayt.training.work import build_frozen, work_of

        model = analysis.weights["model"]
        assert isinstance(model, Snapshot)
        run, method = model.run, model.run.training
        assert isinstance(method, Method)
        # The difference of two outputs that nearly agree would be lost in TF32's rounding.
        torch.backends.cudnn.allow_tf32 = False
        points = choose_points(Images.of(run.dataset.load()).to(device), self.images, analysis.seed)
        work = work_of(run, run.folder, device, build_frozen(model, run.dataset, device))
        classifier = cast("FeatureModule", build_frozen(analysis.weights["classifier"], run.dataset, device))
        stage = stage_at(model.iteration - 1, method.stage_iterations)
        D = method.sampled_denoiser(work)(points.labels)
        return measure_tangents(D, points, sorted(self.times), method, stage, mfd(classifier))

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw it; see `Output.make`."""
        (analysis,) = self.analyses(plan)
        run = self.shown_run(plan)
        draw_tangents(read_arrays(analysis.path), out, self.title, f"{run.name} after {run.iterations:,} iterations")


def draw_tangents(arrays: Mapping[str, np.ndarray], out: Path, title: str, network: str) -> None:
    """Draw the tangents of a few images, and cosines between tangents and their lengths over noise levels.

    Args:
        arrays: what `ayt.analysis.tangents.measure_tangents` returned.
        out: where to, without ending.
        title: of the figure.
        network: what it is, for the caption.
    """
    import pandas as pd
    from matplotlib import rc_context
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from ayt.reporting.style import RC, finish, new_figure

    count, levels = arrays["x"].shape[0], len(arrays["t"])
    columns = np.unique(np.linspace(0, levels - 1, min(levels, COLUMNS)).round().astype(int))
    across, down = min(count, 2), 1 if count < 4 else 2
    blocks = across * down
    with rc_context(RC):
        figure = new_figure(0.9 + 2.9 * down + 2.1)
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.9 * down, 2.1))[:, 0]
        grid = upper.add_gridspec(down, across + 1, width_ratios=(*[1] * across, 0.03))
        limit = _limit(arrays, columns, blocks)
        for index in range(blocks):
            panel = upper.add_subplot(grid[divmod(index, across)])
            _block(panel, arrays, columns, index, limit, labelled=index % across == 0)
        scale = ScalarMappable(Normalize(-limit, limit), _signed_colours())
        bar = upper.colorbar(scale, cax=upper.add_subplot(grid[:, -1]), extend="both")
        bar.set_label("pixel value of a direction of length 1")
        cosines, lengths = lower.subplots(1, 2)
        table = _cosines(cosines, arrays)
        table = pd.concat([table, _lengths(lengths, arrays)])
        lower.legend(*_entries(lengths, cosines), loc="outside right upper", frameon=False)
        finish(figure, out, title, _caption(arrays, blocks, network), table)


def _caption(arrays: Mapping[str, np.ndarray], blocks: int, network: str) -> str:
    means = "; shown are means over the colour channels" if arrays["x"].shape[1] > 1 else ""
    return (
        f"Above: {plural(blocks, 'image')} with one noise each, x_t scaled to the data's contrast; directions at unit "
        f"length, one scale for all, cut at its ends{means}. All are gradients with respect to D: training moves D "
        f"against them. Below: n = {plural(len(arrays['x']), 'image')}; EMA weights of {network}; "
        "lines: means; bands: 5% to 95% of the images; grey: 95% of the cosines of random directions in "
        f"{_pixels(arrays):,} dimensions. The difference is between t and r as in training. It is one network: the "
        "figure says nothing of how tangents change in training."
    )


def _pixels(arrays: Mapping[str, np.ndarray]) -> int:
    return int(np.prod(arrays["x"].shape[1:]))


def _limit(arrays: Mapping[str, np.ndarray], columns: np.ndarray, blocks: int) -> float:
    """The end of the colour scale: 99% of the values that are shown lie within."""
    shown = [np.abs(arrays[kind][columns, :blocks].mean(2)) for kind in DIRECTIONS]
    return float(np.quantile(np.concatenate(shown), 0.99))


def _block(
    panel: Axes, arrays: Mapping[str, np.ndarray], columns: np.ndarray, index: int, limit: float, labelled: bool
) -> None:
    """One image: rows x_t, D and three directions, columns noise levels."""
    from matplotlib.colors import Normalize

    t = arrays["t"][columns]
    contrast = SIGMA_DATA / np.sqrt(t**2 + SIGMA_DATA**2)
    rows = {
        "$x_t$": arrays["x_t"][columns, index] * contrast[:, None, None, None],
        "$D$": arrays["D_t"][columns, index],
    }
    pictures = [[_grey(image) for image in row] for row in rows.values()]
    scale, colours = Normalize(-limit, limit, clip=True), _signed_colours()
    pictures += [[colours(scale(v.mean(0)))[..., :3] for v in arrays[kind][columns, index]] for kind in DIRECTIONS]
    height, width = arrays["x"].shape[2:]
    gap = max(1, width // 12)
    canvas = np.ones((len(pictures) * (height + gap) - gap, len(t) * (width + gap) - gap, 3))
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = picture
    panel.imshow(canvas, interpolation="nearest", aspect="equal")
    panel.set_xticks((width - 1) / 2 + (width + gap) * np.arange(len(t)), [f"{value:g}" for value in t])
    panel.xaxis.tick_top()
    panel.set_title("noise level $t$", fontsize=7.5)
    names = [*rows, *DIRECTIONS.values()] if labelled else [""] * len(pictures)
    panel.set_yticks((height - 1) / 2 + (height + gap) * np.arange(len(pictures)), names)
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def _signed_colours() -> Colormap:
    """From dark blue over grey to light yellow: lightness rises all the way, so that it is the same order in grey."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", ["#00204C", "#2A6FAB", "#A6A6A6", "#E8A33D", "#FFF4DC"])


def _grey(image: np.ndarray) -> np.ndarray:
    """(C, H, W) in [-1, 1] to (H, W, 3) in [0, 1]."""
    return np.broadcast_to(np.moveaxis(image, 0, 2).clip(-1, 1) / 2 + 0.5, (*image.shape[1:], 3))


def _cosines(panel: Axes, arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    chance = 1.96 / _pixels(arrays) ** 0.5
    panel.axhspan(-chance, chance, color="#BBBBBB", alpha=0.5, linewidth=0)
    rows = [
        _line(panel, arrays["t"], arrays[f"cosine_{kind}"], index + 1, name, "cosine with the difference")
        for index, (kind, name) in enumerate(PAIRS.items())
    ]
    panel.set_ylim(min(-0.05, panel.get_ylim()[0]), 1.05)
    panel.set_ylabel("cosine with the difference")
    return pd.concat(rows)


def _lengths(panel: Axes, arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    from ayt.reporting.style import scale_logarithmically

    names = {"difference": "tangent, difference", "derivative": "tangent, derivative"}
    rows = [
        _line(panel, arrays["t"], arrays[f"{kind}_norm"], index, name, "length")
        for index, (kind, name) in enumerate(names.items())
    ]
    scale_logarithmically(panel, "y")
    panel.set_ylabel("length of the tangent")
    return pd.concat(rows)


def _line(panel: Axes, t: np.ndarray, values: np.ndarray, style: int, name: str, measured: str) -> pd.DataFrame:
    """Draw the mean of (T, K) values over noise levels, and a band; returns what is drawn."""
    import pandas as pd

    from ayt.reporting.style import COLOURS, LINES, MARKERS, scale_logarithmically

    low, high = np.quantile(values, (0.05, 0.95), axis=1)
    panel.fill_between(t, low, high, color=COLOURS[style], alpha=0.15, linewidth=0)
    panel.plot(
        t,
        values.mean(1),
        color=COLOURS[style],
        marker=MARKERS[style],
        linestyle=LINES[style],
        markersize=4,
        label=name,
    )
    scale_logarithmically(panel, "x")
    panel.set_xlabel("noise level $t$")
    drawn = {"t": t, "direction": name, "measured": measured, "mean": values.mean(1), "low": low, "high": high}
    return pd.DataFrame({**drawn, "images": values.shape[1]})


def _entries(*panels: Axes) -> tuple[list[object], list[str]]:
    """Handles and labels of a legend for several panels, each label once."""
    found: dict[str, object] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
