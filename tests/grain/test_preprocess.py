import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grain.config import CLIP_MEAN, CLIP_STD
from grain.preprocess import image_to_array

NOTHING, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def test_a_plain_picture_becomes_its_normalized_colour() -> None:
    array = image_to_array(Image.new("RGB", (30, 20), (255, 0, 51)), size=8, mean=CLIP_MEAN, std=CLIP_STD)
    expected = [(value - m) / s for value, m, s in zip((1.0, 0.0, 0.2), CLIP_MEAN, CLIP_STD, strict=True)]
    assert array.shape == (3, 8, 8) and array.dtype == np.float32
    np.testing.assert_allclose(array.mean(axis=(1, 2)), expected, rtol=1e-5)
    assert np.ptp(array.reshape(3, -1), axis=1).max() < 1e-6


@given(st.integers(16, 300), st.integers(16, 300))
def test_the_whole_picture_is_squashed_so_that_a_normalized_box_keeps_its_meaning(width: int, height: int) -> None:
    image = Image.new("RGB", (4 * width, 4 * height), (0, 0, 0))
    image.paste((255, 255, 255), (2 * width, height, 4 * width, 2 * height))  # x in [1/2, 1], y in [1/4, 1/2]
    array = image_to_array(image, size=32, mean=NOTHING, std=ONE)[0]
    assert array[9:15, 18:31].min() > 0.9
    assert max(array[:6].max(), array[18:].max(), array[:, :13].max()) < 0.1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_picture_of_any_mode_gives_three_channels(mode: str) -> None:
    assert image_to_array(Image.new(mode, (5, 9)), size=4, mean=NOTHING, std=ONE).shape == (3, 4, 4)


def test_a_single_pixel_fills_the_input() -> None:
    array = image_to_array(Image.new("RGB", (1, 1), (255, 255, 255)), size=4, mean=NOTHING, std=ONE)
    assert array.min() == array.max() == 1.0


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="0 x 3 pixels"):
        image_to_array(Image.new("RGB", (0, 3)), size=4, mean=NOTHING, std=ONE)
