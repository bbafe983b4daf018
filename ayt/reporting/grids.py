"""Grids of samples as pictures: one as a PNG, several over training as an animated GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ayt.base.files import write_beside

SHOWN_WIDTH = 320
"""The smallest width of a grid in pixels, unless another scale is given."""

SMOOTH_WIDTH = 64
"""The width of an enlarged image in pixels."""

CAPTION_HEIGHT = 20
FRAME_MILLISECONDS = 500
LAST_FRAME_MILLISECONDS = 2500


def tile(images: np.ndarray, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Put images side by side, row by row, with a white gap of 1/16 of their width, at least one pixel.

    Args:
        images: (n, 1 or 3, H, W) uint8.
        columns: images per row; None: about as many as rows.
        scale: each pixel becomes a square of this side; None: chosen to make the grid 320 pixels wide, at least 1.
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
    """Enlarge (n, C, H, W) uint8 images to about ``width`` pixels, with bicubic interpolation.

    This makes images of a few pixels, such as 8x8 digits, easier to read than squares do.
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
    """Write grids of equal size as an endless GIF, each with its caption below; the last one stays longer."""
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
