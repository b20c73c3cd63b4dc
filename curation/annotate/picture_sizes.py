"""Reduce pictures before a vision-language model sees them: what is sent, and what a model makes of its size.

A picture of 12 megapixels is some 15,000 tokens to a model that takes pictures at their full size.
"""

from __future__ import annotations

import math

from PIL import Image

PICTURE_SIDE = 1008  # pixels of the longer side of a picture that is shown to a model: LLaVA-NeXT's largest grid
LEAST_SIDE, MOST_SIDE = 56, 8192  # pixels that a setting may choose
Size = tuple[int, int]  # width and height in pixels


def reduce_picture(image: Image.Image, side: int, step: int = 0) -> Image.Image:
    """Return a picture as RGB whose longer side has at most `side` pixels; where step is given, see stepped_size."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    size = stepped_size(small.size, step) if step else small.size
    return small if size == small.size else small.resize(size, Image.Resampling.BICUBIC)


def stepped_size(size: Size, step: int) -> Size:
    """Return the size that Qwen's processors give a picture: sides of whole steps, at least four steps in all.

    A picture that has it already is left as it is, so that its pixels are the model's.
    """
    width, height = size
    least = 4 * step * step
    across, down = round(width / step) * step, round(height / step) * step
    if across * down >= least:
        return across, down
    grow = math.sqrt(least / (width * height))
    return math.ceil(width * grow / step) * step, math.ceil(height * grow / step) * step


def check_side(side: int) -> None:
    """Refuse a size that no model works with.

    Raises: ValueError.
    """
    if not LEAST_SIDE <= side <= MOST_SIDE:
        raise ValueError(f"picture_side must lie from {LEAST_SIDE} to {MOST_SIDE} pixels, got {side}")
