"""The stand-in's sentences, and the boxes of the photo checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from curation.annotate.photo_annotators import PEOPLE, measured_sentence
from grain.structures import Array

WHOLE: Array = np.array([0, 0, 1, 1], np.float32)


@pytest.mark.parametrize("name", ["dog", *sorted(PEOPLE)])
def test_things_have_a_colour_and_people_have_none(name: str) -> None:
    black = Image.new("RGB", (64, 64))
    assert measured_sentence(name, black, WHOLE) == ("a black dog" if name == "dog" else f"a {name}")
