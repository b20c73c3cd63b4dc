"""See a long picture in parts: squeezed into a square that networks read, a panorama would lose its small things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil, floor

import numpy as np
from PIL import Image

from grain.structures import Array, ImageFeatures

MOST_ASPECT = 2.0  # longer side in shorter ones; longer pictures are seen in parts, too
STEP = 0.75  # of a tile from one to the next: neighbours share the rest
MOST_TILES = 8
CUT_MARGIN = 0.02  # of a tile: a region nearer to an inner edge goes on beyond it
TILING = f"tiles of {MOST_ASPECT} {STEP} {MOST_TILES} {CUT_MARGIN}"  # part of the name under which features are kept


def tile_spans(aspect: float) -> Array:
    """Return where the tiles of a picture begin and end along its longer side, [T, 2] of 0 … 1.

    Args: aspect: the longer side in shorter ones. Tiles are squares, or longer where MOST_TILES squares are too few.
    """
    if aspect <= MOST_ASPECT:
        return np.zeros((0, 2), np.float32)
    tiles = min(MOST_TILES, ceil((aspect - 1) / STEP) + 1)
    length = max(1.0, aspect / (1 + STEP * (tiles - 1)))
    starts = np.linspace(0, aspect - length, tiles)
    return (np.stack([starts, starts + length], axis=1) / aspect).astype(np.float32)


def encode_in_tiles(encode: Callable[[Image.Image], ImageFeatures], image: Image.Image) -> ImageFeatures:
    """Encode a picture; a long one gains the regions of its tiles, but those that an inner edge of a tile cuts.

    Args: encode: what makes the features of an upright RGB picture.
    """
    features, sides = encode(image), np.array(image.size)
    along = int(sides.argmax())
    views = [features]
    for start, end in tile_spans(sides.max() / sides.min()):
        first, last = floor(start * sides[along]), min(ceil(end * sides[along]), sides[along])
        crop = np.array([0, 0, *sides])
        crop[[along, along + 2]] = first, last
        tile = encode(image.crop(tuple(crop.tolist())))
        low, high = tile.boxes_xyxy[:, along], tile.boxes_xyxy[:, along + 2]
        cut = ((low < CUT_MARGIN) & (first > 0)) | ((high > 1 - CUT_MARGIN) & (last < sides[along]))
        boxes = (tile.boxes_xyxy * np.tile(crop[2:] - crop[:2], 2) + np.tile(crop[:2], 2)) / np.tile(sides, 2)
        views.append(replace(tile, boxes_xyxy=boxes.astype(np.float32)).take(np.flatnonzero(~cut)))
    hints = [view.hints for view in views if view.hints is not None]
    return replace(
        features,
        region_embeds=np.concatenate([view.region_embeds for view in views]),
        boxes_xyxy=np.concatenate([view.boxes_xyxy for view in views]),
        objectness=np.concatenate([view.objectness for view in views]),
        hints=np.concatenate(hints) if hints else None,
    )
