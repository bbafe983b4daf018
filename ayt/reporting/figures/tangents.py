"""Figure of tangents: what a consistency model's output does along trajectories, and AYT's direction beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from ayt.reporting.style import COLOURS, LINES, MARKERS, RC, finish, new_figure, plural

SIGNED = LinearSegmentedColormap.from_list("signed", ["#00204C", "#2A6FAB", "#A6A6A6", "#E8A33D", "#FFF4DC"])
"""From dark blue over grey to light yellow: lightness rises all the way, so that it is the same order in grey."""

KINDS = {"difference": "tangent,\ndifference", "derivative": "tangent,\nderivative", "feature": "AYT's\ndirection"}
PAIRS = {"derivative": "tangent, derivative", "feature": "AYT's direction"}
COLUMNS = 5
SIGMA_DATA = 0.5


def tangents(arrays: Mapping[str, np.ndarray], out: Path, title: str) -> None:
    """Draw the tangents of a few images, and cosines between tangents and their lengths over noise levels.

    Args:
        arrays: what ``ayt tangents`` wrote.
        out: where to, without ending.
        title: of the figure.
    """
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
        scale = ScalarMappable(Normalize(-limit, limit), SIGNED)
        bar = upper.colorbar(scale, cax=upper.add_subplot(grid[:, -1]), extend="both")
        bar.set_label("pixel value of a direction of length 1")
        cosines, lengths = lower.subplots(1, 2)
        table = _cosines(cosines, arrays)
        table = pd.concat([table, _lengths(lengths, arrays)])
        lower.legend(*_entries(lengths, cosines), loc="outside right upper", frameon=False)
        finish(figure, out, title, _caption(arrays, blocks), table)


def _caption(arrays: Mapping[str, np.ndarray], blocks: int) -> str:
    means = "; shown are means over the colour channels" if arrays["x"].shape[1] > 1 else ""
    return (
        f"Above: {plural(blocks, 'image')} with one noise each, x_t scaled to the data's contrast; directions at unit "
        f"length, one scale for all, cut at its ends{means}. All are gradients with respect to D: training moves D "
        f"against them. Below: n = {plural(len(arrays['x']), 'image')}; EMA weights of {arrays['run']} after "
        f"{int(arrays['iteration']):,} iterations; lines: means; bands: 5% to 95% of the images; grey: 95% of the "
        f"cosines of random directions in {_pixels(arrays):,} dimensions. The difference is between t and r as in "
        "training. It is one network: the figure says nothing of how tangents change in training."
    )


def _pixels(arrays: Mapping[str, np.ndarray]) -> int:
    return int(np.prod(arrays["x"].shape[1:]))


def _limit(arrays: Mapping[str, np.ndarray], columns: np.ndarray, blocks: int) -> float:
    """The end of the colour scale: 99% of the values that are shown lie within."""
    shown = [np.abs(arrays[kind][columns, :blocks].mean(2)) for kind in KINDS]
    return float(np.quantile(np.concatenate(shown), 0.99))


def _block(
    panel: Axes, arrays: Mapping[str, np.ndarray], columns: np.ndarray, index: int, limit: float, labelled: bool
) -> None:
    """One image: rows x_t, D and three directions, columns noise levels."""
    t = arrays["t"][columns]
    contrast = SIGMA_DATA / np.sqrt(t**2 + SIGMA_DATA**2)
    rows = {
        "$x_t$": arrays["x_t"][columns, index] * contrast[:, None, None, None],
        "$D$": arrays["D_t"][columns, index],
    }
    pictures = [[_grey(image) for image in row] for row in rows.values()]
    scale = Normalize(-limit, limit, clip=True)
    pictures += [[SIGNED(scale(v.mean(0)))[..., :3] for v in arrays[kind][columns, index]] for kind in KINDS]
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
    names = [*rows, *KINDS.values()] if labelled else [""] * len(pictures)
    panel.set_yticks((height - 1) / 2 + (height + gap) * np.arange(len(pictures)), names)
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def _grey(image: np.ndarray) -> np.ndarray:
    """(C, H, W) in [-1, 1] to (H, W, 3) in [0, 1]."""
    return np.broadcast_to(np.moveaxis(image, 0, 2).clip(-1, 1) / 2 + 0.5, (*image.shape[1:], 3))


def _cosines(panel: Axes, arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
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
    names = {"difference": "tangent, difference", "derivative": "tangent, derivative"}
    rows = [
        _line(panel, arrays["t"], arrays[f"{kind}_norm"], index, name, "length")
        for index, (kind, name) in enumerate(names.items())
    ]
    panel.set_yscale("log")
    panel.set_ylabel("length of the tangent")
    return pd.concat(rows)


def _line(panel: Axes, t: np.ndarray, values: np.ndarray, style: int, name: str, measured: str) -> pd.DataFrame:
    """Draw the mean of (T, K) values over noise levels, and a band; returns what is drawn."""
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
    panel.set_xscale("log")
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
