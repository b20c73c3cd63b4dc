"""Change pictures at random with what is said of them: boxes move with the pixels, left and right are exchanged."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from grain.data.record import Box, ShardRecord
from grain.sentences import mirror_words, names_colour

MIN_VISIBLE = 0.5  # share of a region that must lie in a crop
ASPECTS = (3 / 4, 4 / 3)  # of a crop, over the picture's own
HUE_SHARE = 0.25  # of `colors`: how far the hue turns


@dataclass(frozen=True)
class Augmentation:
    """Random changes of pictures; see TrainConfig.flip, smallest_crop and colors."""

    flip: bool = False
    smallest_crop: float = 1.0
    colors: float = 0.0

    @property
    def changes(self) -> bool:
        """Return whether any picture changes."""
        return self.flip or self.smallest_crop < 1 or self.colors > 0

    def apply(self, record: ShardRecord[Tensor], seed: int) -> ShardRecord[Tensor]:
        """Change a record as a seed says.

        Args: record: its image [3, H, W] uint8. A picture whose words name a colour keeps its colours; a crop that
              leaves no region of a picture that has some is not made.
        """
        draw = random.Random(seed)
        if self.smallest_crop < 1:
            record = _cropped(record, draw, self.smallest_crop)
        if self.flip and draw.random() < 0.5:
            record = flipped(record)
        if self.colors and not names_colour((record.caption, *record.captions, record.written_caption, *record.texts)):
            record = replace(record, image=_recoloured(record.image, draw, self.colors))
        return record


UNCHANGED = Augmentation()


def flipped(record: ShardRecord[Tensor]) -> ShardRecord[Tensor]:
    """Mirror a picture left to right: its boxes, and left and right in its words."""
    size = _size(record.image)

    def mirrored(boxes: Sequence[Box]) -> tuple[Box, ...]:
        return _shares(F.horizontal_flip(_pixels(boxes, size)), size)

    return replace(
        record,
        image=F.horizontal_flip(record.image),
        boxes_xyxy=mirrored(record.boxes_xyxy),
        proposals=None if record.proposals is None else mirrored(record.proposals),
        texts=tuple(mirror_words(text) for text in record.texts),
        caption=mirror_words(record.caption),
        captions=tuple(map(mirror_words, record.captions)),
        written_caption=mirror_words(record.written_caption),
    )


def cropped(record: ShardRecord[Tensor], window: tuple[int, int, int, int]) -> ShardRecord[Tensor]:
    """Cut a window out of a picture. Regions that show less than MIN_VISIBLE of themselves are left out.

    Args: window: top, left, height and width in pixels.
    """
    top, left, height, width = window
    size = _size(record.image)

    def cut(boxes: Sequence[Box]) -> tuple[list[int], list[Box]]:
        uncut = _pixels(boxes, size)
        inside = F.clamp_bounding_boxes(F.crop(uncut, top, left, height, width))
        kept = torch.nonzero(_areas(inside) >= MIN_VISIBLE * _areas(uncut)).flatten().tolist()
        moved = _shares(inside, (height, width))
        return kept, [moved[row] for row in kept]

    rows, boxes = cut(record.boxes_xyxy)
    return replace(
        record,
        image=F.crop(record.image, top, left, height, width),
        boxes_xyxy=tuple(boxes),
        texts=tuple(record.texts[row] for row in rows),
        proposals=None if record.proposals is None else tuple(cut(record.proposals)[1]),
    )


def _cropped(record: ShardRecord[Tensor], draw: random.Random, smallest: float) -> ShardRecord[Tensor]:
    share = draw.uniform(smallest, 1)
    aspect = math.exp(draw.uniform(*map(math.log, ASPECTS)))
    wide = min(1.0, max(share, math.sqrt(share * aspect)))  # so that share / wide is at most 1 too
    rows, columns = _size(record.image)
    height, width = max(1, round(rows * share / wide)), max(1, round(columns * wide))
    window = (draw.randint(0, rows - height), draw.randint(0, columns - width), height, width)
    found = cropped(record, window)
    return record if record.texts and not found.texts else found


def _recoloured(image: Tensor, draw: random.Random, most: float) -> Tensor:
    brightness, contrast, saturation = (draw.uniform(1 - most, 1 + most) for _ in range(3))
    image = F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(image, brightness), contrast), saturation)
    turned: Tensor = F.adjust_hue(image, draw.uniform(-most, most) * HUE_SHARE)
    return turned


def _size(image: Tensor) -> tuple[int, int]:
    return int(image.shape[-2]), int(image.shape[-1])


def _pixels(boxes: Iterable[Box], size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    height, width = size
    corners = torch.tensor(list(boxes), dtype=torch.float64).reshape(-1, 4)
    scale = torch.tensor([width, height, width, height])
    return tv_tensors.BoundingBoxes(corners * scale, format="XYXY", canvas_size=size)


def _shares(boxes: Tensor, size: tuple[int, int]) -> tuple[Box, ...]:
    height, width = size
    corners = boxes.as_subclass(Tensor) / torch.tensor([width, height, width, height])
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in corners.tolist())


def _areas(boxes: Tensor) -> Tensor:
    corners = boxes.as_subclass(Tensor)
    return (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
