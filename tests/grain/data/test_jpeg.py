import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from curation.sample.scenes import render_scene
from grain.config import CLIP_MEAN, CLIP_STD
from grain.data.jpeg import image_tensor
from grain.preprocess import image_to_array

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def scene(mode: str = "RGB") -> Image.Image:
    return render_scene("train", seed=3, index=1).image.convert(mode)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 100}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_training_sees_the_pixels_that_the_app_sees_but_for_one_or_two_of_256_levels(mode: str, options: dict) -> None:
    content = encoded(scene(mode), **options)
    for size in (64, 224, 300):
        ours = image_tensor(content, size=size, **PLAIN)
        theirs = image_to_array(Image.open(io.BytesIO(content)), size=size, **PLAIN)
        levels = np.abs(ours.numpy() - theirs) * 255
        assert levels.max() < 2.01 and (levels > 0.5).mean() < 0.02


def test_one_colour_is_normalized_as_its_channels_are() -> None:
    ours = image_tensor(encoded(Image.new("L", (30, 20), 51)), size=8, mean=CLIP_MEAN, std=CLIP_STD)
    expected = [(0.2 - mean) / std for mean, std in zip(CLIP_MEAN, CLIP_STD, strict=True)]
    assert ours.shape == (3, 8, 8) and ours.dtype == torch.float32
    assert ours.amax((1, 2)).tolist() == pytest.approx(expected, abs=1e-5)
    assert ours.amin((1, 2)).tolist() == pytest.approx(expected, abs=1e-5)


def test_what_is_no_jpeg_takes_pillows_way() -> None:
    content = encoded(scene(), "PNG")
    expected = image_to_array(scene(), size=32, **PLAIN)
    assert np.array_equal(image_tensor(content, size=32, **PLAIN).numpy(), expected)


def test_a_picture_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    whole = encoded(scene())
    for content in (b"", b"no picture", whole[: len(whole) // 2], whole[:-40]):
        with pytest.raises((OSError, ValueError)) as caught:
            image_tensor(content, size=32, **PLAIN)
        assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value)
