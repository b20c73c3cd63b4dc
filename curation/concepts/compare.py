"""Compare pictures with training data by content, look and embedding. Pure.

Looks are perceptual hashes of the whole picture and of nine tenths of it at five places, of both sides, so that a
picture that was scaled, saved again or cropped a little is found. Harder crops are for the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from curation.ingest.ingest import perceptual_hash
from db.models import Likeness
from db.queries.bulk import batches
from db.queries.concept_queries import NewSuspect
from grain.structures import Array

CUT = 0.9  # of each side, that the cut-outs keep
PLACES = ((0.5, 0.5), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))  # of the rest, left and above
BATCH = 128  # training pictures compared at once
MOST_MATCHES = 5  # of one picture with one set of training data: the strongest
ITSELF = "the data set itself"  # what a check against the own pictures is called
ORDER: tuple[Likeness, ...] = ("content", "look", "embedding")  # from the strongest on
Hashes = NDArray[np.uint64]
Embed = Callable[[Sequence[Pillow.Image]], Array]
"""Upright RGB pictures -> [N, E], unit length."""


@dataclass(frozen=True)
class ComparedPicture:
    """A picture to compare.

    sha256: of its file, the key of its thumbnail. others: other contents it is known under. image: reduced; None where
    it cannot be read, and then only contents and the hash of the whole are compared.
    """

    sha256: str
    name: str
    phash: str = ""
    others: tuple[str, ...] = ()
    image: Pillow.Image | None = None
    id: int = 0


@dataclass(frozen=True)
class LeakSettings:
    """The thresholds of similarity."""

    distance: int = 8
    """Bits of 64 by which two looks may differ."""
    nearest: float = 0.9
    """Least cosine of two embeddings."""
    checkpoint: str = ""
    """The embeddings' checkpoint: a bundled one's name, or a folder; none: embeddings are not compared."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises: ValueError.
        """
        if not 0 <= self.distance <= 20:
            raise ValueError(f"expected a distance from 0 to 20 bits, got {self.distance}: beyond, everything is alike")
        if not 0 < self.nearest <= 1:
            raise ValueError(f"expected a least cosine above 0 and up to 1, got {self.nearest}: correct it")


def looks(image: Pillow.Image) -> Hashes:
    """Return perceptual hashes [6] of the whole picture and of nine tenths of it at five places."""
    wide, high = image.width * CUT, image.height * CUT
    hashes = [perceptual_hash(image)]
    for x, y in PLACES:
        left, top = (image.width - wide) * x, (image.height - high) * y
        hashes.append(perceptual_hash(image.crop((round(left), round(top), round(left + wide), round(top + high)))))
    return np.array([int(one, 16) for one in hashes], dtype=np.uint64)


def look_distances(ours: Hashes, theirs: Hashes) -> NDArray[np.int64]:
    """Return the bits between pictures: the fewest between the whole of one and the whole or a crop of the other.

    Args:    ours: [N, K], theirs: [M, K] of `looks`, the whole first.
    Returns: [N, M].
    """
    with_theirs = np.bitwise_count(ours[:, None, :1] ^ theirs[None, :, :])
    with_ours = np.bitwise_count(ours[:, None, :] ^ theirs[None, :, :1])
    found: NDArray[np.int64] = np.minimum(with_theirs.min(axis=2), with_ours.min(axis=2)).astype(np.int64)
    return found


def compare(
    ours: Sequence[ComparedPicture],
    theirs: Iterable[ComparedPicture],
    settings: LeakSettings,
    *,
    embed: Embed | None = None,
    on_progress: Callable[[int], object] = lambda pictures: None,
    keep: Callable[[ComparedPicture], object] = lambda match: None,
) -> tuple[list[NewSuspect], int, int]:
    """Compare each of our pictures with all of theirs.

    Args:    theirs: iterated once, a batch at a time. embed: None leaves embeddings out. on_progress: hears how many
             pictures are looked at, ours first. keep: called with every match while its picture is in memory.
    Returns: suspects by picture, the strongest MOST_MATCHES of each; how many theirs are; how many had no picture.
    """
    work = _Comparison(ours, settings, embed=embed, keep=keep, on_progress=on_progress)
    compared = skipped = 0
    for batch in batches(theirs, BATCH):
        work.take(batch)
        compared += len(batch)
        skipped += sum(one.image is None for one in batch)
        on_progress(len(ours) + compared)
    return work.suspects(), compared, skipped


class _Comparison:
    """A comparison that is running."""

    def __init__(
        self,
        ours: Sequence[ComparedPicture],
        settings: LeakSettings,
        *,
        embed: Embed | None,
        keep: Callable[[ComparedPicture], object],
        on_progress: Callable[[int], object],
    ) -> None:
        self.ours, self.settings, self.embed, self.keep = ours, settings, embed, keep
        self.by_content = {content: row for row, one in enumerate(ours) for content in (one.sha256, *one.others)}
        hashes, embeds = [_hashes(())], [self._embeds(())]
        for batch in batches(ours, BATCH):
            hashes.append(_hashes(batch))
            embeds.append(self._embeds(batch))
            on_progress(sum(len(known) for _, known in hashes))
        self.hashes, self.hashed = (np.concatenate(parts) for parts in zip(*hashes, strict=True))
        self.embedded = np.concatenate([there for _, there in embeds])
        self.embeds = np.concatenate([each for each, _ in embeds if len(each)] or [embeds[0][0]])
        self.found: dict[int, list[NewSuspect]] = {}

    def take(self, batch: Sequence[ComparedPicture]) -> None:
        """Compare a batch of theirs."""
        hashes, hashed = _hashes(batch)
        bits = look_distances(self.hashes, hashes)
        bits[~self.hashed] = bits[:, ~hashed] = 65
        cosines = np.full(bits.shape, -1.0)
        if self.embed is not None:
            embeds, embedded = self._embeds(batch)
            cosines[np.ix_(self.embedded, embedded)] = self.embeds @ embeds.T
        near = (bits <= self.settings.distance) | (cosines >= self.settings.nearest)
        for column, match in enumerate(batch):
            same = {self.by_content[content] for content in (match.sha256, *match.others) if content in self.by_content}
            for row in sorted({*np.flatnonzero(near[:, column]).tolist(), *same}):
                if not _is_itself(self.ours[row], match):
                    bits_apart, cosine = int(bits[row, column]), float(cosines[row, column])
                    self._note(row, match, same=row in same, bits=bits_apart, cosine=cosine)

    def suspects(self) -> list[NewSuspect]:
        """Return the suspects by picture."""
        return [one for row in sorted(self.found) for one in self.found[row]]

    def _note(self, row: int, match: ComparedPicture, *, same: bool, bits: int, cosine: float) -> None:
        how: Likeness = "content" if same else "look" if bits <= self.settings.distance else "embedding"
        value = {"content": 0.0, "look": float(bits), "embedding": cosine}[how]
        matches = [*self.found.get(row, []), NewSuspect(self.ours[row].id, how, value, match.sha256, match.name)]
        matches.sort(key=lambda one: (ORDER.index(one.how), -one.value if one.how == "embedding" else one.value))
        self.found[row] = matches[:MOST_MATCHES]
        if any(one.match_sha256 == match.sha256 for one in self.found[row]):
            self.keep(match)

    def _embeds(self, pictures: Sequence[ComparedPicture]) -> tuple[Array, NDArray[np.bool_]]:
        """Return embeddings [M, E] of the pictures that can be read, and which can: [N]."""
        images = [one.image for one in pictures if one.image is not None]
        there = np.array([one.image is not None for one in pictures], dtype=bool)
        if self.embed is None or not images:
            return np.zeros((0, 1), np.float32), np.zeros(len(pictures), bool)
        parts = [self.embed(some) for some in batches(images, 32)]
        return np.concatenate(parts), there


def _hashes(pictures: Sequence[ComparedPicture]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return looks [N, 6], the whole's in place of missing crops; and which pictures have any: [N]."""
    rows = [
        looks(one.image)
        if one.image is not None
        else np.full(1 + len(PLACES), int(one.phash or "0", 16), dtype=np.uint64)
        for one in pictures
    ]
    known = np.array([one.image is not None or bool(one.phash) for one in pictures], dtype=bool)
    return np.array(rows, dtype=np.uint64).reshape(len(pictures), 1 + len(PLACES)), known


def _is_itself(one: ComparedPicture, match: ComparedPicture) -> bool:
    """Return whether a pair is left out: of a data set with itself, the later picture is the suspect."""
    return match.id != 0 and match.id >= one.id
