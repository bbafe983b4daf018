"""Tangents over a few iterations of training: how long they last, and what lies along the manifold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, cast

import numpy as np
from pydantic import Field

from ayt.base import paths
from ayt.base.arrays import read_arrays
from ayt.base.errors import UserError
from ayt.base.sections import UNNAMED, Count, Name, NoiseLevels, Whole
from ayt.experiment.outputs import FIGURES, Description, Figure, Mistakes
from ayt.plan.analyses import Analysis
from ayt.plan.runs import Snapshot
from ayt.reporting.escapes import mathtext
from ayt.reporting.wording import plural, say_which

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from ayt.experiment.schema import Experiment
    from ayt.networks.modules.feature_network import FeatureModule
    from ayt.plan.plan import Plan
    from ayt.plan.runs import Run

TANGENTS = {
    "own": "what the run's\nloss follows",
    "pixel": "pixel-space tangent\nof the same run",
    "feature": "AYT's direction\nof the same run",
}
TANGENT_LINES = {"own": 0, "pixel": 2, "feature": 3}
"""The line style of each."""

TANGENT_MARKERS = {"pixel": "x", "feature": "+"}
SPACES = {"neighbours": "local PCA of the data", "transformations": "span of transformations"}


class Followed(NamedTuple):
    """The results for one run.

    Attributes:
        label: of the run's method.
        batch_size: of the run.
        iteration: from which on its tangents were followed.
        arrays: what `ayt.analysis.oscillation.follow` returned.
    """

    label: str
    batch_size: int
    iteration: int
    arrays: Mapping[str, np.ndarray]


@FIGURES.register
class OscillationFigure(Figure):
    """Tangents of trajectories over further training from the end: how they turn, how far along the data they point."""

    name: ClassVar[str] = "oscillation"
    section: ClassVar[str] = "Tangents"
    description: ClassVar[Description] = Description(
        shown="how far the tangents of fixed trajectories keep their direction while training goes on for a little, and"
        " how much of their energy points along the data.",
        measured="in further iterations from the last training state, of which nothing is kept. The directions along"
        " the data are estimates, from the dataset's images nearest to the output and from transformations of it.",
        not_shown="training runs from another seed, and what so short a stretch misses. Read it beside the toy"
        " experiment, whose manifold is known.",
        in_the_paper="its claim that tangents of consistency models oscillate along the data's manifold near the end of"
        " training, and that AYT's point towards it.",
    )

    methods: Annotated[list[str], UNNAMED] = []
    """Methods to show; empty: all."""
    batch_size: Annotated[Count | None, UNNAMED] = None
    """Batch size of the runs; absent: each method's smallest."""
    seed: Annotated[Whole | None, UNNAMED] = None
    """Seed of the runs; absent: each method's first."""
    classifier: Annotated[Name | None, UNNAMED] = None
    """A transformation classifier whose AYT direction is followed too, in every run; absent: none."""
    iterations: Annotated[int, Field(ge=2, le=100_000)] = 64
    """Iterations trained beyond the end; their weights are not kept."""
    images: Count = 16
    """Images of the dataset whose trajectories are followed."""
    times: NoiseLevels = [0.2, 1.0, 5.0]
    """Noise levels t."""
    neighbours: Annotated[int, Field(ge=2)] = 32
    """Nearest images of the dataset to the output; their principal components stand for the manifold's directions."""
    dimensions: Count = 8
    """Number of principal components."""

    def check(self, mistakes: Mistakes) -> None:
        """Report what does not fit the experiment."""
        experiment = mistakes.experiment
        mistakes.require_methods(self.methods)
        mistakes.require_at_most_all_images("images", self.images)
        mistakes.require_at_most_all_images("neighbours", self.neighbours)
        if self.dimensions >= self.neighbours:
            problem = f"must be below neighbours = {self.neighbours}, whose principal components they are"
            mistakes.report("dimensions", self.dimensions, problem)
        names = experiment.choose_methods(self.methods)
        sizes, seeds = experiment.batch_sizes(names), experiment.seeds(names)
        for name in names:
            mistakes.require_never_stopped(name, "methods")
        if not names:
            return
        mistakes.require_known("batch_size", [self.batch_size] if self.batch_size else [], sizes)
        mistakes.require_known("seed", [] if self.seed is None else [self.seed], seeds)
        known = self.batch_size in (None, *sizes) and self.seed in (None, *seeds)
        if known and not self._shown(experiment):
            mistakes.report("batch_size", self.batch_size, f"no method has it together with seed {self.seed}")

    def classifiers(self) -> dict[str, bool]:
        """The transformation classifiers that it uses, with whether published weights may be used."""
        return {self.classifier: True} if self.classifier else {}

    def shown_runs(self, plan: Plan) -> list[Run]:
        """One run of each method that has the batch size and the seed."""
        return [plan.run(*key) for key in self._shown(plan.experiment)]

    def analyses(self, plan: Plan) -> list[Analysis]:
        """What must be computed for it: the tangents of each run that it shows."""
        return [self._analysis(plan, run) for run in self.shown_runs(plan)]

    def compute(self, analysis: Analysis, device: torch.device) -> dict[str, np.ndarray]:
        """Train a run further, and follow its tangents."""
        from ayt.analysis.oscillation import Probe, follow
        from ayt.analysis.tangents import choose_points
        from ayt.base.images import Images
        from ayt.features.distance import mfd
        from ayt.training.work import build_frozen

        model, classifier = analysis.weights["model"], analysis.weights.get("classifier")
        assert isinstance(model, Snapshot)
        dataset = model.run.dataset
        data = Images.of(dataset.load()).to(device)
        points = choose_points(data, self.images, analysis.seed)
        probe = Probe(data, points, sorted(self.times), self.neighbours, self.dimensions)
        if classifier is None:
            return follow(model, self.iterations, probe)
        network = cast("FeatureModule", build_frozen(classifier, dataset, device))
        return follow(model, self.iterations, probe, mfd(network))

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Draw it from the runs that were analysed; see `Output.make`."""
        analysed = list(zip(self.shown_runs(plan), self.inputs(plan), strict=True))
        there = [(run, path) for run, path in analysed if path.exists()]
        if not there:
            raise UserError(f"{analysed[0][1]}: no such file, nor those of the other runs")
        followed = [
            Followed(run.label, run.record.batch_size, run.iterations, read_arrays(path)) for run, path in there
        ]
        note = say_which("Not there yet", [run.title for run, path in analysed if not path.exists()])
        draw_oscillation(followed, out, self.title, note)

    def _shown(self, experiment: Experiment) -> list[tuple[str, int, int]]:
        """Method, batch size and seed of each run that it shows."""
        shown = []
        for name in experiment.choose_methods(self.methods):
            method = experiment.methods[name]
            size = self.batch_size or min(method.batch_sizes)
            seed = method.seeds[0] if self.seed is None else self.seed
            if size in method.batch_sizes and seed in method.seeds:
                shown.append((name, size, seed))
        return shown

    def _analysis(self, plan: Plan, run: Run) -> Analysis:
        classifiers = {"classifier": plan.classifier_weights(self.classifier)} if self.classifier else {}
        files = [paths.state(run.folder, run.iterations), *(weights.path for weights in classifiers.values())]
        return Analysis(
            figure=self,
            seed=plan.experiment.evaluation.seed,
            weights={"model": run.last, **classifiers},
            inputs=tuple(dict.fromkeys([*files, *run.record.inputs])),
        )


def draw_oscillation(runs: Sequence[Followed], out: Path, title: str, note: str = "") -> None:
    """Draw cosines between tangents over lags, and shares of their energy along the estimated manifold.

    Runs of the same label and batch size are averaged.

    Args:
        runs: at least one.
        out: where to, without ending.
        title: of the figure.
        note: what is missing; empty if nothing.

    Raises:
        UserError: runs were followed at different noise levels.
    """
    import pandas as pd
    from matplotlib import rc_context

    from ayt.reporting.style import RC, finish, new_figure

    levels = [float(t) for t in runs[0].arrays["t"]]
    if any(list(map(float, run.arrays["t"])) != levels for run in runs):
        raise UserError("the runs were followed at different noise levels")
    cosines, shares = _cosines(runs), _shares(runs)
    labels = list(dict.fromkeys(run.label for run in runs))
    sizes = sorted({run.batch_size for run in runs})
    tangents = [kind for kind in TANGENTS if kind in set(cosines["kind"])]
    with rc_context(RC):
        figure = new_figure(4.9)
        upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
        panels = upper.subplots(1, len(levels), sharey=True, squeeze=False)[0]
        for panel, t in zip(panels, levels, strict=True):
            _lag_panel(panel, cosines[cosines["t"] == t], labels, sizes)
            panel.set_title(f"$t$ = {t:g}")
        panels[0].set_ylabel("cosine")
        boxes = lower.subplots(1, len(SPACES), sharey=True)
        for panel, (space, name) in zip(boxes, SPACES.items(), strict=True):
            _share_panel(panel, shares[shares["space"] == space], labels, sizes, levels)
            panel.set_title(name)
        boxes[0].set_ylabel("share of energy")
        boxes[0].set_ylim(bottom=0)
        upper.legend(handles=_run_handles(labels, sizes), loc="outside right upper", frameon=False)
        lower.legend(handles=_tangent_handles(tangents), loc="outside right upper", frameon=False)
        table = pd.concat([cosines.assign(measured="cosine"), shares.assign(measured="share")])
        caption = _caption(runs, len(runs) // len({(run.label, run.batch_size) for run in runs}))
        finish(figure, out, title, f"{caption} {note}".strip(), table)


def _caption(runs: Sequence[Followed], each: int) -> str:
    arrays = runs[0].arrays
    images, further = arrays["lag"].shape[2], arrays["lag"].shape[3]
    starts = " and ".join(f"{iteration:,}" for iteration in sorted({run.iteration for run in runs}))
    return (
        f"n = {plural(images, 'image')} with one noise each, the same for all; {plural(each, 'run')} a line; weights "
        f"in training, followed over {further} iterations from iteration {starts}. Above: cosine between tangents that "
        "lie so many iterations apart, up to half of those followed. Below: share of the tangents' energy |Pv|²/|v|² "
        "in an estimate of the manifold's tangent space at D: the "
        f"{int(arrays['dimensions'])} leading directions of its {int(arrays['neighbours'])} nearest images, or "
        "derivatives of geometric and colour transformations; bars: standard error over images. Neither is the true "
        "space: data are few, D may be off the manifold, and smooth directions fall into both: compare with the "
        "differences of random images."
    )


def _find_different(arrays: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
    """The kinds of tangents, except those identical to what the run's loss follows."""
    kinds = [str(kind) for kind in arrays["kinds"]]
    lag, shares = arrays["lag"], arrays["shares"]

    def repeats_loss(index: int) -> bool:
        close = np.allclose(lag[index], lag[0], atol=1e-3) and np.allclose(shares[:, index], shares[:, 0], atol=1e-3)
        return bool(close)

    return [(index, kind) for index, kind in enumerate(kinds) if index == 0 or not repeats_loss(index)]


def _cosines(runs: Sequence[Followed]) -> pd.DataFrame:
    """Mean cosine by label, batch size, kind, t and lag."""
    import pandas as pd

    parts = []
    for label, size, _, arrays in runs:
        for index, kind in _find_different(arrays):
            means = arrays["lag"][index].mean(1)  # (T, M)
            for t, row in zip(arrays["t"], means, strict=True):
                kept = row[: max(1, len(row) // 2)]
                columns = {"label": label, "batch_size": size, "kind": kind, "t": float(t)}
                parts.append(pd.DataFrame({**columns, "lag": np.arange(1, len(kept) + 1), "value": kept}))
    keys = ["label", "batch_size", "kind", "t", "lag"]
    return pd.concat(parts).groupby(keys, sort=False)["value"].mean().reset_index()


def _shares(runs: Sequence[Followed]) -> pd.DataFrame:
    """Mean share by label, batch size, kind, space and t, its standard error, chance and random images' share."""
    import pandas as pd

    rows = []
    for label, size, _, arrays in runs:
        for index, kind in _find_different(arrays):
            for e, space in enumerate(arrays["spaces"]):
                chance = arrays["space_dimension"][e].mean((0, 2)) / arrays["pixels"]
                images = arrays["image_shares"][e].mean(1)
                each = arrays["shares"][e, index].mean(0)  # (T, K)
                error = each.std(1, ddof=1) / each.shape[1] ** 0.5 if each.shape[1] > 1 else np.zeros(len(each))
                for t, values in zip(arrays["t"], zip(each.mean(1), error, chance, images, strict=True), strict=True):
                    rows.append((label, size, kind, str(space), float(t), *map(float, values)))
    columns = ["label", "batch_size", "kind", "space", "t", "value", "error", "chance", "random_images"]
    keys = columns[:5]
    return pd.DataFrame(rows, columns=columns).groupby(keys, sort=False).mean().reset_index()


def _lag_panel(panel: Axes, table: pd.DataFrame, labels: list[str], sizes: list[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    from ayt.reporting.style import COLOURS, LINES, MARKERS

    for (label, size, kind), line in table.groupby(["label", "batch_size", "kind"], sort=False):
        index = labels.index(str(label))
        colour = COLOURS[index % len(COLOURS)]
        panel.plot(
            line["lag"],
            line["value"],
            color=colour,
            linestyle=LINES[TANGENT_LINES[str(kind)]],
            linewidth=1.4 if kind == "own" else 0.9,
            marker=MARKERS[index % len(MARKERS)],
            markevery=max(1, len(line) // 5),
            markersize=4 if kind == "own" else 2.5,
            markerfacecolor=colour if size == sizes[-1] else "white",
        )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("iterations apart")


def _share_panel(panel: Axes, table: pd.DataFrame, labels: list[str], sizes: list[int], levels: list[float]) -> None:
    from ayt.reporting.style import COLOURS, LINES, MARKERS

    runs = list(dict.fromkeys(zip(table["label"], table["batch_size"], strict=True)))
    offsets = np.linspace(-0.32, 0.32, len(runs)) if len(runs) > 1 else np.zeros(1)
    for place, t in enumerate(levels):
        here = table[table["t"] == t]
        for name, style in (("chance", "-"), ("random_images", LINES[2])):
            panel.plot([place - 0.42, place + 0.42], [here[name].mean()] * 2, color="#555555", linestyle=style)
        for (label, size), offset in zip(runs, offsets, strict=True):
            index = labels.index(label)
            colour = COLOURS[index % len(COLOURS)]
            for row in here[(here["label"] == label) & (here["batch_size"] == size)].itertuples():
                panel.errorbar(
                    place + offset,
                    row.value,
                    row.error,
                    color=colour,
                    elinewidth=0.8,
                    marker=TANGENT_MARKERS.get(row.kind, MARKERS[index % len(MARKERS)]),
                    markersize=4.5,
                    markerfacecolor=colour if size == sizes[-1] else "white",
                )
    panel.set_xticks(range(len(levels)), [f"{t:g}" for t in levels])
    panel.grid(axis="x", visible=False)
    panel.set_xlabel("noise level $t$")


def _run_handles(labels: list[str], sizes: list[int]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    from ayt.reporting.style import COLOURS, MARKERS

    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            label=mathtext(label),
        )
        for i, label in enumerate(labels)
    ]
    return handles + [
        Line2D(
            [],
            [],
            color="#555555",
            linestyle="",
            marker="o",
            markersize=4,
            markerfacecolor="#555555" if size == sizes[-1] else "white",
            label=f"batch size {size}",
        )
        for size in sizes
    ]


def _tangent_handles(kinds: list[str]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    from ayt.reporting.style import LINES

    handles = [
        Line2D(
            [],
            [],
            color="#555555",
            linestyle=LINES[TANGENT_LINES[kind]],
            marker=TANGENT_MARKERS.get(kind, "o"),
            markersize=4,
            label=TANGENTS[kind],
        )
        for kind in kinds
    ]
    return [
        *handles,
        Line2D([], [], color="#555555", label="chance"),
        Line2D([], [], color="#555555", linestyle=LINES[2], label="differences of\nrandom images"),
    ]
