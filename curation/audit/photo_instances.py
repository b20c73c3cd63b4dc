"""Count things on photographs by the networks of photo, which draw a box for each thing that they know by name.

What a description means is another question: the regions of the photo checkpoint overlap, and answer that one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

from PIL import Image

from curation.annotate.localize import Localizer
from curation.annotate.photo_annotators import PhotoDescriber
from grain.photo.photo import PhotoEncoder
from grain.photo.phrases import parse_phrase
from grain.structures import Region

SAME_NAME = 0.9  # cosine of a text with a known name
LEAST_LIKENESS = 0.6  # cosine of a region with the name nearest to it
STEEP, EVEN = 10.0, 0.4  # a box of objectness EVEN is right in one of two; chosen on half of benchmarks.audit_photos


class PhotoInstances:
    """A Localizer of things by name; of texts that are no name it asks another one."""

    def __init__(self, other: Localizer) -> None:
        """other: the localizer of descriptions."""
        self._other, self.name = other, other.name

    @cached_property
    def encoder(self) -> PhotoEncoder:
        """Return what knows names, loaded when it is first needed."""
        return PhotoDescriber().encoder

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """See Localizer."""
        return self._other.too_long(texts)

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """See Localizer; the score is the probability that the box is one thing of that name."""
        return [self._localize(picture, texts) for picture, texts in zip(pictures, descriptions, strict=True)]

    def _localize(self, picture: Image.Image, texts: Sequence[str]) -> tuple[Region, ...]:
        names = {text: name for text in texts if (name := self._name(text))}
        found = list(self._named(picture, names, texts)) if names else []
        if rest := [text for text in texts if text not in names]:
            [regions] = self._other.localize([picture], [rest])
            found += regions
        return tuple(found)

    def _named(self, picture: Image.Image, names: dict[str, str], texts: Sequence[str]) -> Iterator[Region]:
        [features] = self.encoder.encode_images([picture])
        known = self.encoder.nearest_names(features.region_embeds)
        for box, sure, (name, likeness) in zip(features.boxes_xyxy, features.objectness, known, strict=True):
            for text in (text for text, other in names.items() if other == name and likeness >= LEAST_LIKENESS):
                score = 1 / (1 + math.exp(-STEEP * (float(sure) - EVEN)))
                yield Region(tuple(box.tolist()), text, score, texts.index(text))

    def _name(self, text: str) -> str:
        """Return the known name that a text is; "" for none, or where the text says more."""
        phrase = parse_phrase(text)
        if phrase.colours or phrase.positions or phrase.denied:
            return ""
        [(name, likeness)] = self.encoder.nearest_names(self.encoder.encode_texts([phrase.core]))
        return name if likeness >= SAME_NAME else ""
