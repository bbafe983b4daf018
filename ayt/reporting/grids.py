"""Grids of samples as pictures to look at: one as a PNG, several over training as an animated GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ayt.base.files import write_beside

SHOWN_WIDTH = 320
"""Pixels that a grid has at least, unless another scale is asked for."""

SMOOTH_WIDTH = 64
"""Pixels that an enlarged image has."""

CAPTION_HEIGHT = 20
FRAME_MILLISECONDS = 500
LAST_FRAME_MILLISECONDS = 2500


def tile(images: np.ndarray, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Put images side by side, row by row, with a white gap of 1/16 of their width, at least a pixel.

    Args:
        images: (n, 1 or 3, H, W) uint8.
        columns: images of a row; None: about as many as rows.
        scale: side of the square that each pixel becomes; None: what makes the grid 320 pixels wide, at least 1.
    """
    gap = max(1, images.shape[3] // 16)
    images = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    count, channels, height, width = images.shape
    columns = min(columns or max(1, round(count**0.5)), count)
    blank = np.full(((-count) % columns, channels, height, width), 255, np.uint8)
    rows = np.concatenate([images, blank]).reshape(-1, columns, channels, height, width)
    whole = rows.transpose(0, 3, 1, 4, 2).reshape(len(rows) * height, columns * width, channels)[:-gap, :-gap]
    scale = scale or -(-SHOWN_WIDTH // whole.shape[1])
    return Image.fromarray(whole.squeeze(-1) if channels == 1 else whole).resize(
        (whole.shape[1] * scale, whole.shape[0] * scale), Image.Resampling.NEAREST
    )


def enlarge(images: np.ndarray, width: int = SMOOTH_WIDTH) -> np.ndarray:
    """(n, C, H, W) uint8 images about ``width`` pixels wide, smooth between their pixels (bicubic).

    Images of a few pixels, as digits of 8x8, are easier to read so: squares hide what is in them.
    """
    scale = max(1, round(width / images.shape[3]))
    size = (scale * images.shape[3], scale * images.shape[2])
    flat = images.reshape(-1, *images.shape[2:])
    large = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in flat]
    return np.stack(large).reshape(*images.shape[:2], size[1], size[0])


def write_picture(path: Path, grid: Image.Image) -> None:
    """Write a grid as PNG."""
    with write_beside(path) as beside:
        grid.save(beside, format="PNG")


def write_animation(path: Path, grids: Sequence[Image.Image], captions: Sequence[str]) -> None:
    """Write grids of one size as a GIF that repeats for ever, each with its caption below; the last stays longer."""
    frames = [_add_caption(grid, caption) for grid, caption in zip(grids, captions, strict=True)]
    times = [FRAME_MILLISECONDS] * (len(frames) - 1) + [LAST_FRAME_MILLISECONDS]
    with write_beside(path) as beside:
        frames[0].save(beside, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)


def _add_caption(grid: Image.Image, caption: str) -> Image.Image:
    frame = Image.new(grid.mode, (grid.width, grid.height + CAPTION_HEIGHT), "white")
    frame.paste(grid)
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(frame).text((4, grid.height + 2), caption, fill="black", font=font)
    return frame
