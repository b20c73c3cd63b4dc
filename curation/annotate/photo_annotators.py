"""Annotate photographs without a download: fixed sentences of what is measured, and boxes of the photo checkpoint.

The describer is a stand-in, and marked as one: it names what NanoDet and EfficientNet know, its colour, place and size.
LLaVA and OWLv2 are the real thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from PIL import Image

from curation.annotate.describe import DescriberResult
from curation.annotate.localize import LocalizeConfig
from grain.checkpoint import locate
from grain.familiarity import Familiarity
from grain.photo.photo import PhotoEncoder
from grain.photo.phrases import colour_shares, with_article
from grain.predict import Predictor
from grain.structures import Array, Region

MOST_REGIONS = 6  # described, the surest first
LEAST_OBJECTNESS = 0.25  # of one that is described
LEAST_LIKENESS = 0.7  # cosine with its name
LEAST_COLOUR = 0.4  # share of its pixels
PEOPLE = frozenset(("person", "baseball player", "bridegroom", "scuba diver"))  # whose colour is nobody's business
APART = 0.2  # from the middle, of the picture's side: there a place is worth saying
LARGE = 0.4  # of the picture's area


class PhotoDescriber:
    """A Describer of template sentences from measured facts."""

    name = "photo-describer@2"

    @cached_property
    def encoder(self) -> PhotoEncoder:
        """Return what knows names, loaded when it is first needed."""
        return PhotoEncoder.load(locate("photo-names"))

    @cached_property
    def familiarity(self) -> Familiarity | None:
        """Return what its networks have seen."""
        return Familiarity.load(locate("photo-names"))

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        """See Describer."""
        return [self._describe(image) for image in images]

    def names(self, image: Image.Image) -> tuple[str, ...]:
        """Return what is surely in a picture, each name once with its article; of the whole picture if nothing is.

        Nothing of a picture that is far from the photographs that it knows: the nearest name is then no guess at all.
        """
        features = self.encoder.encode_images([image])[0]
        if self.familiarity and self.familiarity.novelty(features) > 1:
            return ()
        known = self.encoder.nearest_names(features.region_embeds)
        pairs = zip(known, features.objectness, strict=True)
        names = [name for (name, likeness), sure in pairs if sure >= LEAST_OBJECTNESS and likeness >= LEAST_LIKENESS]
        names = names or [self.encoder.nearest_names(features.image_embed[None])[0][0]]
        return tuple(with_article(name) for name in dict.fromkeys(names))[:MOST_REGIONS]

    def _describe(self, image: Image.Image) -> DescriberResult:
        features = self.encoder.encode_images([image])[0]
        picture_name = self.encoder.nearest_names(features.image_embed[None])[0][0]
        names = self.encoder.nearest_names(features.region_embeds)
        texts = [
            measured_sentence(name, image, box)
            for (name, likeness), box, sure in zip(names, features.boxes_xyxy, features.objectness, strict=True)
            if sure >= LEAST_OBJECTNESS and likeness >= LEAST_LIKENESS
        ]
        texts = list(dict.fromkeys(texts))[:MOST_REGIONS] or [with_article(picture_name)]
        subject = names[0][0] if len(names) else picture_name
        caption = f"a photo of {with_article(subject)}"
        return DescriberResult(
            raw=(subject, "\n".join(f"- {text}" for text in texts), caption),
            subject=subject,
            descriptions=tuple(texts),
            caption=caption,
        )


class PhotoLocalizer:
    """A Localizer: for each description all regions that it means, surely enough."""

    name = "photo-localizer@3"  # 1 knew names alone, 2 gave one region a description

    def __init__(self, config: LocalizeConfig, predictor: Predictor | None = None) -> None:
        """config: its threshold and its most of a text count. predictor: of photo; left out: one is loaded at need."""
        self._config, self._given = config, predictor

    @cached_property
    def predictor(self) -> Predictor:
        """Return what learned phrases, loaded when it is first needed."""
        return self._given or Predictor.from_pretrained("photo")

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return nothing: it reads 128 tokens, more than a description has."""
        return ()

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """See Localizer; the score is the probability that the description means the region."""
        return [self._localize(picture, texts) for picture, texts in zip(pictures, descriptions, strict=True)]

    def _localize(self, picture: Image.Image, texts: Sequence[str]) -> tuple[Region, ...]:
        found: list[Region] = []
        counts: Counter[int] = Counter()
        least = self._config.threshold
        for region in self.predictor.ground(picture, list(texts), -1.0, min_confidence=least, instances="all"):
            index = texts.index(region.text)
            if counts[index] < self._config.most_of_text:
                counts[index] += 1
                found.append(replace(region, score=region.confidence or 0.0, index=index))
        return tuple(found)


def measured_sentence(name: str, image: Image.Image, box_xyxy: Array) -> str:
    """Return a region's name with the colour of most of its pixels, but never of people, and its place."""
    shares = colour_shares(image, box_xyxy)
    colour = max(shares, key=lambda each: shares[each])
    coloured = shares[colour] >= LEAST_COLOUR and name not in PEOPLE and name != colour
    words = f"{colour} {name}" if coloured else name
    return with_article(words) + _place(box_xyxy)


def _place(box_xyxy: Array) -> str:
    if float(np.prod(box_xyxy[2:] - box_xyxy[:2])) >= LARGE:
        return ""
    x, y = (box_xyxy[:2] + box_xyxy[2:]) / 2 - 0.5
    if max(abs(x), abs(y)) < APART:
        return ""
    if abs(x) >= abs(y):
        return " on the left" if x < 0 else " on the right"
    return " at the top" if y < 0 else " at the bottom"
