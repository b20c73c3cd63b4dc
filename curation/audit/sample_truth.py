"""Know what is true of a picture of the sample world, claim by claim, and simulate a detector and a VQA model that err.

They read the truth stored beside the picture and never which descriptions were spoilt: a true and a false text of the
same kind get scores from the same two curves, which overlap. docs/experiments.md says how often each is wrong.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from curation.annotate.sample_annotators import ROW, truth_of
from curation.audit.claims import Claim, split_claims
from curation.sample.colors import COLORS
from curation.sample.shapes import KINDS
from grain.structures import Region

SLOT_OF = {kind: slot for slot, kinds in KINDS.items() for kind in kinds}
LONGEST_FIRST = sorted(SLOT_OF, key=len, reverse=True)
BAND_WORDS = ("band", "belt")
AROUND, ON_TOP = "around it", "on top"


@dataclass(frozen=True)
class TruePart:
    """A part that is in the picture.

    centre: x of its box, 0 left to 1 right.
    """

    slot: str
    kind: str
    colour: str
    centre: float


def parts_of(regions: Sequence[dict[str, Any]]) -> tuple[TruePart, ...]:
    """Return the parts of a picture from the regions stored beside it."""
    return tuple(
        TruePart(each["part"], kind_in(each["text"]), colour_in(each["text"]), (each["box"][0] + each["box"][2]) / 2)
        for each in regions
    )


@lru_cache(maxsize=20_000)
def kind_in(text: str) -> str:
    """Return the kind that a text names; empty where it names none of the sample world's."""
    return next((kind for kind in LONGEST_FIRST if f" {kind} " in f" {text.lower()} "), "")


@lru_cache(maxsize=20_000)
def colour_in(text: str) -> str:
    """Return the colour that a text names, or an empty text."""
    return next((word for word in text.lower().split() if word in COLORS), "")


def holds(text: str, claims: Sequence[Claim], claim: Claim, *, parts: Sequence[TruePart]) -> bool:
    """Return whether the picture supports a claim; a claim about an absent thing is false."""
    thing = claims[claim.owner].words(text).lower()
    kind = kind_in(thing)
    mine = [part for part in parts if part.kind == kind]
    if not kind and thing in BAND_WORDS:
        mine = [part for part in parts if part.slot == "band"]
    if claim.kind in ("object", "part"):
        return bool(mine)
    words = claim.words(text).lower()
    return any(_is_true_of_part(claim.kind, words, part, parts=parts) for part in mine)


def _is_true_of_part(kind: str, words: str, part: TruePart, *, parts: Sequence[TruePart]) -> bool:
    if kind == "attribute":
        return part.colour == words
    if words == AROUND:
        return part.slot == "band"
    if words == ON_TOP:
        return part.slot == "top"
    body = next((other.centre for other in parts if other.slot == "body"), 0.5)
    return kind == "relation" and words == ("on the left" if part.centre < body else "on the right")


def true_of(text: str, parts: Sequence[TruePart]) -> bool:
    """Return whether a text makes a claim and all its claims are true."""
    claims = split_claims(text)
    return bool(claims) and all(holds(text, claims, claim, parts=parts) for claim in claims)


class SampleDetector:
    """A stand-in for a detector, as a Localizer that reports weak boxes too: it finds absent things as well."""

    name = "sample-detector@1"
    NOTHING, KIND, FULL_MATCH = -2.2, 0.9, 1.1  # logits: of what is not there; more for the right kind; for all of it
    SPREAD = 0.9  # logits, normal

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return no text: it reads everything."""
        return ()

    def localize(self, pictures: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[tuple[Region, ...]]:
        """Return a region for every text, with the whole picture as its box (see Localizer)."""
        found = []
        for picture, each in zip(pictures, texts, strict=True):
            parts, seed = parts_of(truth_of(picture)["regions"]), picture.info[ROW].sha256
            found.append(tuple(self._region(text, row, parts=parts, seed=seed) for row, text in enumerate(each)))
        return found

    def _region(self, text: str, row: int, *, parts: Sequence[TruePart], seed: str) -> Region:
        kind = kind_in(text)
        score = (
            self.NOTHING + self.KIND * any(part.kind == kind for part in parts) + self.FULL_MATCH * true_of(text, parts)
        )
        score += self.SPREAD * noise(f"{self.name}/{seed}/{text}")
        return Region((0.0, 0.0, 1.0, 1.0), text, 1 / (1 + math.exp(-score)), row)


class SampleVqaModel:
    """A stand-in for a VQA model: often right, biased to yes, and with an error of its own on each question."""

    name = "sample-asked@1"
    SURE, YES, SPREAD = 1.0, 0.6, 1.4  # logits: distance of right from wrong, bias to yes, spread (normal)

    def yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """Return P(yes) for each question (see VqaModel)."""
        found: list[list[float | None]] = []
        for image, each in zip(images, questions, strict=True):
            parts, seed = parts_of(truth_of(image)["regions"]), image.info[ROW].sha256
            found.append([self._yes(question, parts, seed) for question in each])
        return found

    def _yes(self, question: str, parts: Sequence[TruePart], seed: str) -> float:
        statement = question.split(" shows ")[-1].split(" show ")[-1].split("?")[0]
        right = true_of(statement, parts) != question.startswith("Is it wrong")
        score = self.YES + (self.SURE if right else -self.SURE) + self.SPREAD * noise(f"{self.name}/{seed}/{question}")
        return 1 / (1 + math.exp(-score))


def noise(seed: str) -> float:
    """Return a normal number that follows from the seed alone."""
    one, two = zlib.crc32(seed.encode()), zlib.crc32(seed.encode(), 0x9E3779B9)
    radius = math.sqrt(-2 * math.log((one + 1) / 2**32))
    return radius * math.cos(2 * math.pi * two / 2**32)
