"""Render pictures of the sample world, each with its caption, its regions and proposals, from a seed and a number."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from PIL import Image

from curation.sample.backgrounds import Background, draw_background, draw_clutter
from curation.sample.crowd import compose
from curation.sample.families import draw_seen_product, family_classes
from curation.sample.products import NovelClass, draw_known_product, novel_classes
from curation.sample.render import PICTURE_SIDES, Box, assemble, draw_products, light_and_noise, part_box, to_pixels
from curation.sample.shapes import Part, PlacedPart
from curation.sample.sketch import draw_sketch
from curation.sample.words import descriptions_of, trained_wordings, write_caption

Rendering = Literal["painted", "sketch"]

Edition = Literal[1, 2]

SPLITS = ("train", "held_out", "novel")

SHAKE = 0.1  # of a part's width or height: how far a side of its proposal may be off


@dataclass(frozen=True)
class SceneRegion:
    """A described part. box_xyxy: normalized to the picture; the whole part, also where another one covers it."""

    part: Part
    text: str
    box_xyxy: Box


@dataclass(frozen=True)
class Scene:
    """A picture with everything that is known about it. class_name: None outside the split novel."""

    image: Image.Image
    caption: str
    regions: tuple[SceneRegion, ...]
    class_name: str | None


def render_scene(
    split: str,
    *,
    seed: int,
    index: int,
    part_share: float = 0.3,
    classes: int = 100,
    rendering: Rendering = "painted",
    edition: Edition = 1,
) -> Scene:
    """Draw up picture number index of a split; the same arguments give the same scene, alone or among others.

    Args:    split: train, held_out or novel. part_share: chance that the caption mentions a part. classes: novel ones;
             picture i of novel shows class i modulo classes. rendering: another one shows the same product with the
             same boxes and descriptions. edition: 1, a product alone; 2, a main product among others and behind things,
             phrases that training never says, and novel classes that differ in one thing.
    Raises:  ValueError: no such split, rendering or edition, or classes not between 1 and 1000.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if rendering not in get_args(Rendering):
        raise ValueError(f"rendering must be one of {', '.join(get_args(Rendering))}, got {rendering!r}")
    check_edition(edition, rendering)
    rng = Random(f"{seed}/{split}/{index}")
    novel = classes_of(edition, seed, classes)[index % classes] if split == "novel" else None
    draw_product = draw_known_product if edition == 1 else draw_seen_product
    parts = {part.slot: part for part in novel.parts} if novel else draw_product(rng)
    size = width, height = rng.randint(*PICTURE_SIDES), rng.randint(*PICTURE_SIDES)
    side = rng.choice(("left", "right"))
    if edition == 2:
        side = novel.side or side if novel else side
        placed, drawn = compose(parts, side, size=size, rng=rng)
    else:
        placed = to_pixels(assemble(parts, rng, side=side), rng, width=width, height=height)
        drawn = draw_sketch(size, placed, rng) if rendering == "sketch" else _paint(size, placed, rng)
    boxes = {one.part.slot: part_box(one, width=width, height=height) for one in placed}
    words = Random(f"{seed}/{split}/{index}/words")  # a stream of its own: other words, same picture
    wordings = descriptions_of if edition == 1 else trained_wordings
    regions = tuple(
        SceneRegion(part, words.choice(wordings(part, side=side)), boxes[slot]) for slot, part in parts.items()
    )
    caption = write_caption(parts, side, places=drawn.places, rng=words, part_share=part_share)
    return Scene(drawn.image, caption, regions, novel.name if novel else None)


def check_edition(edition: int, rendering: Rendering) -> None:
    """Check that there is such an edition, and that it can be drawn so.

    Raises:  ValueError: another edition, or the second one as a sketch.
    """
    if edition not in get_args(Edition):
        raise ValueError(f"edition must be one of {', '.join(map(str, get_args(Edition)))}, got {edition}")
    if edition == 2 and rendering != "painted":
        raise ValueError(f"edition 2 is painted only, got rendering {rendering!r}: leave it out, or take edition 1")


def classes_of(edition: Edition, seed: int, count: int) -> tuple[NovelClass, ...]:
    """Return the novel classes of an edition, in the order of its pictures.

    Raises:  ValueError: count is not between 1 and 1000.
    """
    return tuple(novel_classes(seed, count).values()) if edition == 1 else family_classes(seed, count)


def _paint(size: tuple[int, int], placed: list[PlacedPart], rng: Random) -> Background:
    background = draw_background(size, rng)
    draw_clutter(background.image, placed, rng)
    return Background(light_and_noise(draw_products(background.image, [placed], rng), rng), background.places)


def propose(scene: Scene, rng: Random, count: int) -> list[Box]:
    """Propose boxes as a detector might: every part, its sides moved by up to a tenth of the box, and boxes at random.

    Returns: count boxes xyxy, normalized, in random order.
    """
    boxes: list[Box] = []
    for x0, y0, x1, y1 in (region.box_xyxy for region in scene.regions[:count]):
        across, down = (x1 - x0) * SHAKE, (y1 - y0) * SHAKE
        left, right = (min(max(x + rng.uniform(-across, across), 0.0), 1.0) for x in (x0, x1))
        upper, lower = (min(max(y + rng.uniform(-down, down), 0.0), 1.0) for y in (y0, y1))
        boxes.append((left, upper, right, lower))
    while len(boxes) < count:
        width, height = rng.uniform(0.05, 0.6), rng.uniform(0.05, 0.6)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        boxes.append((x, y, x + width, y + height))
    rng.shuffle(boxes)
    return boxes
