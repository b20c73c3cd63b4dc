"""Long pictures in parts: where tiles lie and what of them counts, by hand, and a panorama with the real checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from app.ground.examples import FOLDER
from grain.photo.tiles import MOST_TILES, encode_in_tiles, tile_spans
from grain.predict import Predictor
from grain.structures import ImageFeatures

BOXES = np.array([[0.0, 0.2, 0.4, 0.6], [0.3, 0.2, 0.7, 0.6], [0.8, 0.2, 1.0, 0.6]], np.float32)


@pytest.mark.parametrize(
    ("aspect", "spans"),
    [(1, []), (2, []), (2.5, [(0, 0.4), (0.3, 0.7), (0.6, 1)]), (4, [(0, 0.25), (3 / 16, 7 / 16), (0.375, 0.625)])],
)
def test_tiles_are_squares_that_share_a_quarter(aspect: float, spans: list[tuple[float, float]]) -> None:
    found = tile_spans(aspect)
    np.testing.assert_allclose(found[: len(spans)], np.array(spans).reshape(-1, 2), atol=1e-6)
    assert bool(len(found)) == bool(spans)


@pytest.mark.parametrize("aspect", [2.01, 3.3, 8.0, 60.0, 4000.0])
def test_tiles_cover_the_picture_and_overlap_and_are_few(aspect: float) -> None:
    spans = tile_spans(aspect)
    assert spans[0, 0] == 0 and spans[-1, 1] == pytest.approx(1) and len(spans) <= MOST_TILES
    shared = (spans[:-1, 1] - spans[1:, 0]) / (spans[0, 1] - spans[0, 0])
    assert shared.min() >= 0.249


def fake_features(image: Image.Image) -> ImageFeatures:
    """BOXES of any picture; its width is its image embedding."""
    regions = np.ones((len(BOXES), 2), np.float32)
    return ImageFeatures(np.array([image.width], np.float32), regions, BOXES, np.ones(len(BOXES), np.float32))


@pytest.mark.parametrize("turned", [False, True])
def test_regions_of_tiles_lie_in_the_picture_and_cut_ones_are_left_out(turned: bool) -> None:
    size = (100, 400) if turned else (400, 100)
    seen = encode_in_tiles(fake_features, Image.new("RGB", size))
    assert seen.image_embed.tolist() == [size[0]]  # the whole picture's
    boxes = seen.boxes_xyxy[len(BOXES) :]
    if turned:  # the fake's boxes are cut at no end, since they touch the left and the right only
        assert len(boxes) == 5 * len(BOXES)
        np.testing.assert_allclose(boxes[0], [0.0, 0.05, 0.4, 0.15], atol=1e-6)
        return
    assert len(boxes) == 5 + 2  # the middle one of each tile, and the outer ones at both ends of the picture
    np.testing.assert_allclose(boxes[:2], [[0.0, 0.2, 0.1, 0.6], [0.075, 0.2, 0.175, 0.6]], atol=1e-6)
    np.testing.assert_allclose(boxes[-1], [0.95, 0.2, 1.0, 0.6], atol=1e-6)


@pytest.mark.parametrize("checkpoint", ["photo", "photo-names"])
def test_things_of_a_panorama_are_found_where_they_are(checkpoint: str) -> None:
    names = ["camera", "coffee", "chelsea", "camera", "coffee", "camera", "coffee"]
    panorama = Image.new("RGB", (300 * len(names), 300))
    for place, name in enumerate(names):
        with Image.open(FOLDER / f"{name}.jpg") as image:
            panorama.paste(image.convert("RGB").resize((300, 300)), (300 * place, 0))
    cups = Predictor.from_pretrained(checkpoint).ground(panorama, ["a cup"], instances="all")
    middles = sorted((cup.xyxy[0] + cup.xyxy[2]) / 2 * len(names) for cup in cups)
    assert [int(middle) for middle in middles] == [place for place, name in enumerate(names) if name == "coffee"]
