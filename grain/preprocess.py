"""Preprocess pictures for training, evaluation and the app alike: the whole picture, squashed to a square."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from grain.structures import Array
from picture_formats import NAMES, ORIENTATION_TAG, register_heif, to_rgb
from user_errors import UserError

PictureLike: TypeAlias = Image.Image | NDArray[Any] | str | Path | BinaryIO
"""A picture as people have it, see upright_rgb."""


def upright_rgb(picture: PictureLike) -> Image.Image:
    """Return a picture as a person sees it: upright by its EXIF orientation, RGB, transparent pixels on white.

    Args:   picture: a path or open file of a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC; a PIL picture of any mode,
            whose EXIF orientation counts even after `convert`; or an array [H, W], [H, W, 1], [H, W, 3] (RGB, not BGR)
            or [H, W, 4], of uint8, or of floats in [0, 1].
    Returns: an upright RGB picture unchanged, not a copy.
    Raises: OSError: the file cannot be read. UserError: it is no picture, a damaged one or one of too many pixels, or
            an array that is none.
    """
    if isinstance(picture, np.ndarray):
        return _with_pixels(to_rgb(_from_array(picture)))
    if isinstance(picture, Image.Image):
        return _with_pixels(_turned(picture))
    register_heif()
    name = picture if isinstance(picture, str | Path) else getattr(picture, "name", "the file")
    try:
        with Image.open(picture) as image:
            return _turned(image)
    except UnidentifiedImageError as error:
        raise UserError(f"{name} is not a {NAMES} picture: save it as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} has too many pixels to be read: make it smaller") from error
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:  # decoders raise what they like on broken bytes
        if isinstance(error, OSError) and error.errno:  # the file's, not its picture's
            raise
        raise UserError(f"{name} is damaged or cut short ({error}): save it again") from error


def cut_out(image: Image.Image, box_xyxy: tuple[float, float, float, float]) -> Image.Image:
    """Return the pixels of a box, xyxy normalized to the picture; at least one."""
    x0, y0, x1, y1 = box_xyxy
    left, top = min(int(x0 * image.width), image.width - 1), min(int(y0 * image.height), image.height - 1)
    return image.crop((left, top, max(left + 1, round(x1 * image.width)), max(top + 1, round(y1 * image.height))))


def _turned(image: Image.Image) -> Image.Image:
    image.load()  # a TIFF is turned while it is loaded, and has no orientation afterwards
    upright = ImageOps.exif_transpose(image) if ORIENTATION_TAG in image.getexif() else image
    return to_rgb(upright)


def _with_pixels(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise UserError(f"expected at least one pixel, got {image.width} x {image.height}: give another picture")
    return image


def _from_array(array: NDArray[Any]) -> Image.Image:
    shape = array.shape[:2] if array.ndim == 3 and array.shape[2] == 1 else array.shape
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise UserError(f"expected an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], got {list(array.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        if array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
            raise UserError(
                f"expected floats in [0, 1], got {array.min():g} to {array.max():g}: divide by 255, or give uint8"
            )
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"expected an array of uint8 or of floats in [0, 1], got {array.dtype}: convert it")
    return Image.fromarray(np.ascontiguousarray(array.reshape(shape)))


def image_to_array(image: Image.Image, *, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """Resize the whole image to size x size (bicubic, no crop) and normalize.

    Args:    image: upright, any mode. size: pixels. mean, std: per RGB channel in [0, 1].
    Returns: [3, size, size] float32.
    Raises:  ValueError: the picture has no pixels.
    """
    if 0 in image.size:
        raise ValueError(f"the picture is {image.width} x {image.height} pixels: expected at least 1 x 1")
    # reduce first where that changes nothing visible: a large photo would otherwise cost more than the model
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(resized, dtype=np.float32) / 255.0
    normalized = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))
