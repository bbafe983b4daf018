"""Figure of tangents over a few iterations of training: how long they last, and what lies along the manifold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ayt.base.errors import UserError
from ayt.reporting.style import COLOURS, LINES, MARKERS, RC, finish, new_figure, plural

Runs = Sequence[tuple[str, int, Mapping[str, np.ndarray]]]

KINDS = {
    "own": "what the run's\nloss follows",
    "pixel": "pixel-space tangent\nof the same run",
    "feature": "AYT's direction\nof the same run",
}
KIND_LINES = {"own": LINES[0], "pixel": LINES[2], "feature": LINES[3]}
KIND_MARKERS = {"pixel": "x", "feature": "+"}
SPACES = {"neighbours": "local PCA of the data", "transformations": "span of transformations"}


def oscillation(runs: Runs, out: Path, title: str, note: str = "") -> None:
    """Draw cosines between tangents over lags, and shares of their energy along the estimated manifold.

    Runs of the same label and batch size are averaged.

    Args:
        runs: label, batch size, and what ``ayt oscillation`` wrote.
        out: where to, without ending.
        title: of the figure.
        note: what is missing; empty if nothing.

    Raises:
        UserError: there is no run, or runs were probed at different noise levels.
    """
    if not runs:
        raise UserError("no run to show")
    levels = [float(t) for t in runs[0][2]["t"]]
    if any(list(map(float, arrays["t"])) != levels for _, _, arrays in runs):
        raise UserError("the runs were probed at different noise levels")
    cosines, shares = _cosines(runs), _shares(runs)
    labels = list(dict.fromkeys(label for label, _, _ in runs))
    sizes = sorted({size for _, size, _ in runs})
    kinds = [kind for kind in KINDS if kind in set(cosines["kind"])]
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
        lower.legend(handles=_kind_handles(kinds), loc="outside right upper", frameon=False)
        table = pd.concat([cosines.assign(measured="cosine"), shares.assign(measured="share")])
        caption = _caption(runs, len(runs) // max(1, len({run[:2] for run in runs})))
        finish(figure, out, title, f"{caption} {note}".strip(), table)


def _caption(runs: Runs, each: int) -> str:
    arrays = runs[0][2]
    images, instants = arrays["lag"].shape[2], arrays["lag"].shape[3]
    return (
        f"n = {plural(images, 'image')} with one noise each, the same for all; {plural(each, 'run')} a line; weights "
        f"in training, followed over {instants} iterations from iteration {int(arrays['iteration']):,}. Above: cosine "
        "between tangents that lie so many iterations apart, up to half of those followed. Below: share of the "
        "tangents' energy |Pv|²/|v|² in an estimate of the manifold's tangent space at D: the "
        f"{int(arrays['dimensions'])} leading directions of its {int(arrays['neighbours'])} nearest images, or "
        "derivatives of geometric and colour transformations; bars: standard error over images. Neither is the true "
        "space: data are few, D may be off the manifold, and smooth directions fall into both: compare with the "
        "differences of random images."
    )


def _different(arrays: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
    """The kinds of tangents, without those that are what the run's loss follows anyhow."""
    kinds = [str(kind) for kind in arrays["kinds"]]
    lag, shares = arrays["lag"], arrays["shares"]

    def same(index: int) -> bool:
        close = np.allclose(lag[index], lag[0], atol=1e-3) and np.allclose(shares[:, index], shares[:, 0], atol=1e-3)
        return bool(close)

    return [(index, kind) for index, kind in enumerate(kinds) if index == 0 or not same(index)]


def _cosines(runs: Runs) -> pd.DataFrame:
    """Mean cosine by label, batch size, kind, t and lag."""
    parts = []
    for label, size, arrays in runs:
        for index, kind in _different(arrays):
            means = arrays["lag"][index].mean(1)  # (T, M)
            for t, row in zip(arrays["t"], means, strict=True):
                kept = row[: max(1, len(row) // 2)]
                columns = {"label": label, "batch_size": size, "kind": kind, "t": float(t)}
                parts.append(pd.DataFrame({**columns, "lag": np.arange(1, len(kept) + 1), "value": kept}))
    keys = ["label", "batch_size", "kind", "t", "lag"]
    return pd.concat(parts).groupby(keys, sort=False)["value"].mean().reset_index()


def _shares(runs: Runs) -> pd.DataFrame:
    """Mean share by label, batch size, kind, space and t, its standard error, chance and random images' share."""
    rows = []
    for label, size, arrays in runs:
        for index, kind in _different(arrays):
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
    for (label, size, kind), line in table.groupby(["label", "batch_size", "kind"], sort=False):
        index = labels.index(str(label))
        colour = COLOURS[index % len(COLOURS)]
        panel.plot(
            line["lag"],
            line["value"],
            color=colour,
            linestyle=KIND_LINES[str(kind)],
            linewidth=1.4 if kind == "own" else 0.9,
            marker=MARKERS[index % len(MARKERS)],
            markevery=max(1, len(line) // 5),
            markersize=4 if kind == "own" else 2.5,
            markerfacecolor=colour if size == sizes[-1] else "white",
        )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("iterations apart")


def _share_panel(panel: Axes, table: pd.DataFrame, labels: list[str], sizes: list[int], levels: list[float]) -> None:
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
                    marker=KIND_MARKERS.get(row.kind, MARKERS[index % len(MARKERS)]),
                    markersize=4.5,
                    markerfacecolor=colour if size == sizes[-1] else "white",
                )
    panel.set_xticks(range(len(levels)), [f"{t:g}" for t in levels])
    panel.grid(axis="x", visible=False)
    panel.set_xlabel("noise level $t$")


def _run_handles(labels: list[str], sizes: list[int]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=4, label=label)
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


def _kind_handles(kinds: list[str]) -> list[Line2D]:
    handles = [
        Line2D(
            [],
            [],
            color="#555555",
            linestyle=KIND_LINES[kind],
            marker=KIND_MARKERS.get(kind, "o"),
            markersize=4,
            label=KINDS[kind],
        )
        for kind in kinds
    ]
    return [
        *handles,
        Line2D([], [], color="#555555", label="chance"),
        Line2D([], [], color="#555555", linestyle=LINES[2], label="differences of\nrandom images"),
    ]
