"""Figures of images: samples of all runs, and what the transformation classifier learns to recognise."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from ayt.base.errors import UserError
from ayt.reporting.style import COLOURS, RC, finish, new_figure


class Grid(NamedTuple):
    """Samples of one run: uint8 (n, C, H, W), and what is known of them."""

    label: str
    batch_size: int
    run: str
    iteration: int
    images: np.ndarray


def read_images(path: Path) -> dict[str, np.ndarray]:
    """Read arrays that were kept for a figure.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not arrays ({error}); delete it to have it made again") from None


def samples(grids: Sequence[Grid], out: Path, title: str, columns: int, caption: str) -> None:
    """Draw a row of samples for each run; a column shows what all make of the same noise.

    Args:
        grids: the rows.
        out: where to, without ending.
        title: of the figure.
        columns: samples of each run.
        caption: how they were sampled.

    Raises:
        UserError: there is no run to show.
    """
    if not grids:
        raise UserError("no run to show: no run of the experiment has the figure's seed")
    with rc_context(RC):
        figure = new_figure(0.55 + 0.5 * len(grids))
        rows = figure.subplots(len(grids), 1, squeeze=False)[:, 0]
        for panel, grid in zip(rows, grids, strict=True):
            _strip(panel, grid.images[:columns])
            panel.set_ylabel(
                f"{grid.label}\nbatch size {grid.batch_size}", rotation=0, ha="right", va="center", fontsize=7.5
            )
        table = pd.DataFrame(
            [(grid.label, grid.batch_size, grid.run, grid.iteration, columns) for grid in grids],
            columns=["label", "batch_size", "run", "iteration", "samples_shown"],
        )
        finish(figure, out, title, caption, table)


def transformations(images: Mapping[str, np.ndarray], table: pd.DataFrame, out: Path, title: str) -> None:
    """Draw images of the dataset, the same under each transformation, and how well each label is recognised.

    Args:
        images: ``data`` (n, C, H, W) uint8, ``names`` (T,), ``transformed`` (T, n, C, H, W) uint8.
        table: columns ``label``, ``r2``, ``images``.
        out: where to, without ending.
        title: of the figure.
    """
    names = ["data", *map(str, images["names"])]
    strips = [images["data"], *images["transformed"]]
    with rc_context(RC):
        figure = new_figure(0.6 + 0.42 * max(len(names), 0.6 * len(table)))
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1), squeeze=False)[0]
        rows = left.subplots(len(names), 1)
        for panel, name, strip in zip(rows, names, strips, strict=True):
            _strip(panel, strip)
            panel.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
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
            f"Left: images of the dataset, and each transformation alone at random strength. Right: share of the "
            f"variance of each label that the classifier explains, on {int(table['images'].iloc[0]):,} freshly "
            f"transformed images, each transformation applied as often as in training."
        )
        finish(figure, out, title, caption, table)


def _strip(panel: Axes, images: np.ndarray) -> None:
    """Show images (n, C, H, W) side by side, their pixels as squares, a gap between them."""
    height, width = images.shape[2:]
    gap = max(1, width // 16)
    canvas = np.full((height, len(images) * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        canvas[:, index * (width + gap) : index * (width + gap) + width] = np.moveaxis(image, 0, 2)
    panel.imshow(canvas, interpolation="nearest", aspect="equal")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
