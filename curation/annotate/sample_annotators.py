"""Annotate the sample world by its truth, and lie at a chosen rate, so that everything after can be tried.

They read what lies beside each picture in its shard. A share of the descriptions is wrong (another colour or pattern,
the other side, or a part that is not there) and a share of the boxes is shifted; which ones follows from the seed and
the picture alone.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from PIL import Image

from curation.annotate.describe import DescriberError, DescriberResult
from curation.annotate.prompts import same_text
from curation.sample.colors import COLORS
from curation.sample.shapes import KINDS
from grain.structures import Region

ROW = "row"  # where curation.annotate leaves a picture's database row in its `info`
SHARDS_OPEN = 8
TRUE_SCORE, WRONG_SCORE, WRONG_SPREAD = 0.8, 0.45, 0.15  # a detector is less sure of what is not there
OTHER_SIDE = {"left": "right", "right": "left"}
SHIFT = 0.5  # of the box's sides, at most


@dataclass(frozen=True)
class SampleConfig:
    """Error rates of the sample world's annotators."""

    wrong: float = 0.0
    """Share of descriptions that say what is not there."""
    shifted: float = 0.0
    """Share of boxes that lie elsewhere."""
    seed: int = 0
    """Which ones."""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for name in ("wrong", "shifted"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")


class SampleDescriber:
    """A Describer: the true descriptions of a picture of the sample world, some of them spoilt."""

    name = "sample-describer@2"

    def __init__(self, config: SampleConfig) -> None:
        """config: how often it is wrong."""
        self._config = config

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        """See Describer.

        Raises: DescriberError: a picture is not one of the sample world.
        """
        return [self._describe(image) for image in images]

    def _describe(self, image: Image.Image) -> DescriberResult:
        truth, chance = truth_of(image), Random(f"{self._config.seed}/describe/{image.info[ROW].sha256}")
        true = [str(region["text"]) for region in truth["regions"]]
        answers = [_spoilt(text, true, chance) if chance.random() < self._config.wrong else text for text in true]
        texts = tuple(dict.fromkeys(answers))
        return DescriberResult(
            raw=(true[0], "\n".join(f"- {text}" for text in texts)),
            subject=true[0],
            descriptions=texts,
            caption=str(truth["caption"]),
        )


class SampleLocalizer:
    """A Localizer: the true boxes of the sample world, some of them shifted; a spoilt description gets a box too."""

    name = "sample-localizer@2"

    def __init__(self, config: SampleConfig) -> None:
        """config: how often it is wrong."""
        self._config = config

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return nothing: it reads everything."""
        return ()

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """See Localizer.

        Raises: DescriberError: a picture is not one of the sample world.
        """
        return [
            tuple(self._find(picture, index, text) for index, text in enumerate(texts))
            for picture, texts in zip(pictures, descriptions, strict=True)
        ]

    def _find(self, picture: Image.Image, index: int, text: str) -> Region:
        regions = truth_of(picture)["regions"]
        chance = Random(f"{self._config.seed}/localize/{picture.info[ROW].sha256}/{text}")
        true = [region for region in regions if same_text(region["text"]) == same_text(text)]
        alike = [region for region in regions if _only_kinds(region["text"]) == _only_kinds(text)]
        box = (true or alike or [chance.choice(regions)])[0]["box"]
        if chance.random() < self._config.shifted:
            box = _shifted(box, chance)
        score = TRUE_SCORE if true else WRONG_SCORE
        return Region(tuple(box), text, score + chance.uniform(-WRONG_SPREAD, WRONG_SPREAD), index)


def truth_of(image: Image.Image) -> dict[str, Any]:
    """Read the truth that lies beside a picture of the sample world.

    Raises: DescriberError: it is none.
    """
    row = image.info[ROW]
    try:
        return _sidecars(row.location)[row.member.rsplit(".", 1)[0]]
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise DescriberError(
            f"The sample world's annotators know its pictures alone, and {row.member or row.location} is none of them: "
            "choose other annotators, or a data set that curation.sample.world wrote."
        ) from error


@lru_cache(maxsize=SHARDS_OPEN)
def _sidecars(shard: str) -> dict[str, dict[str, Any]]:
    """Read key -> what lies beside the picture, of all pictures of a shard."""
    with tarfile.open(shard) as tar:
        names = [entry for entry in tar if entry.isfile() and entry.name.endswith(".json")]
        found = {entry.name.removesuffix(".json"): json.load(tar.extractfile(entry)) for entry in names}  # type: ignore[arg-type]
    return {key: row for key, row in found.items() if isinstance(row.get("regions"), list) and row["regions"]}


def _spoilt(text: str, true: Sequence[str], chance: Random) -> str:
    """Change the side, colour or pattern in a text, or return a part that the picture does not have."""
    side = next((side for side in OTHER_SIDE if text.endswith(f" on the {side}")), "")
    if side and chance.random() < 0.5:
        return text.removesuffix(side) + OTHER_SIDE[side]
    colour = next((word for word in text.split() if word in COLORS), "")
    if colour and chance.random() < 0.5:
        return text.replace(colour, chance.choice([other for other in COLORS if other != colour]))
    pattern = next((word for word in text.split() if word in KINDS["band"]), "")
    if pattern:
        return text.replace(pattern, chance.choice([other for other in KINDS["band"] if other != pattern]))
    true_text = " ".join(true)
    absent = [kind for slot in ("top", "side", "emblem") for kind in KINDS[slot] if kind not in true_text]
    colour, kind = chance.choice(sorted(COLORS)), chance.choice(absent)
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {kind}"


def _only_kinds(text: str) -> str:
    unheard = {*COLORS, *OTHER_SIDE, *KINDS["band"], "a", "an"}
    return " ".join(word for word in same_text(text).split() if word not in unheard)


def _shifted(box: Sequence[float], chance: Random) -> list[float]:
    """Move a box by up to half its size, and keep it within the picture."""
    moved = list(box)
    for low in (0, 1):
        by = chance.uniform(-SHIFT, SHIFT) * (box[low + 2] - box[low])
        by = max(-box[low], min(1 - box[low + 2], by))
        moved[low], moved[low + 2] = box[low] + by, box[low + 2] + by
    return moved
