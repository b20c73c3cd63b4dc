"""Choose which of a picture's descriptions and regions are worth keeping, with a reason for each that is dropped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from grain.structures import Region

T = TypeVar("T")

WHOLE_MARGIN = 0.02  # of the picture's side; what a box may leave free on each side and still cover the whole picture
WORD = re.compile(r"\w+")
GENERIC_WORDS = frozenset(
    WORD.findall(
        "background center centre detail details entire feature features foreground image item items main middle "
        "object objects part parts photo photograph picture primary scene something stuff subject thing things view "
        "visible whole"
    )
)
FUNCTION_WORDS = frozenset(
    WORD.findall("a an and at for from in is it its of on one or some that the there this to with")
)


class DropReason(StrEnum):
    """The reason why something was dropped, in the words that a page shows."""

    UNREADABLE = "text longer than the localizer reads"
    GENERIC = "text says nothing particular"
    NO_AREA = "box has no area"
    SMALL = "box too small"
    LARGE = "box too large"
    THIN = "box too thin"
    WHOLE_PICTURE = "box covers the whole picture"
    MANY = "more regions than a picture may have"


@dataclass(frozen=True)
class FilterConfig:
    """The limits that a description and a region must keep to stay."""

    drop_generic: bool = True
    """Drop descriptions such as "the main object"."""
    drop_whole: bool = True
    """Drop boxes that cover the whole picture."""
    min_area: float = 0.0005
    """Least area of a box, as a share of the picture."""
    max_area: float = 1.0
    """Largest area of a box, as a share of the picture."""
    max_aspect: float = 20.0
    """Longer side of a box over its shorter one, in pixels, at most."""
    most: int = 50
    """Most regions of a picture, the best first."""

    def __post_init__(self) -> None:
        """Refuse what no box could meet."""
        for name in ("min_area", "max_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("max_aspect", "most"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.min_area > self.max_area:
            raise ValueError(f"min_area ({self.min_area}) must not exceed max_area ({self.max_area})")


@dataclass(frozen=True)
class DroppedItem(Generic[T]):
    """A description or a region that did not stay, and why."""

    item: T
    reason: DropReason


@dataclass(frozen=True)
class FilterResult(Generic[T]):
    """kept and dropped, each in the order given; together they are what was given."""

    kept: tuple[T, ...]
    dropped: tuple[DroppedItem[T], ...]

    @property
    def counts(self) -> Counter[DropReason]:
        """Count what was dropped for each reason; counters of several pictures add up."""
        return Counter(each.reason for each in self.dropped)


def filter_texts(texts: Sequence[str], config: FilterConfig, *, unreadable: Collection[str] = ()) -> FilterResult[str]:
    """Drop the descriptions that say nothing particular or that the localizer cannot read whole.

    Args:   unreadable: those that the localizer would cut (`Localizer.too_long`).
    Raises: ValueError: one text where a list of texts is expected.
    """
    if isinstance(texts, str):
        raise ValueError("texts must be a list of texts, got a single text: write [text]")
    reasons: dict[int, DropReason] = {}
    for row, text in enumerate(texts):
        if config.drop_generic and set(WORD.findall(text.casefold())) <= GENERIC_WORDS | FUNCTION_WORDS:
            reasons[row] = DropReason.GENERIC
        elif text in unreadable:
            reasons[row] = DropReason.UNREADABLE
    return _split(texts, reasons)


def filter_regions(regions: Sequence[Region], config: FilterConfig, *, width: int, height: int) -> FilterResult[Region]:
    """Drop the regions of one picture whose boxes are of no use, then the least sure beyond the most allowed.

    Args:   width, height: of the upright picture in pixels, for the boxes' aspect.
    Raises: ValueError: the picture has no area.
    """
    if width < 1 or height < 1:
        raise ValueError(f"the picture must be at least 1 × 1 pixel, got {width} × {height}")
    problems = {row: _box_problem(region, config, width / height) for row, region in enumerate(regions)}
    reasons = {row: reason for row, reason in problems.items() if reason}
    best = sorted(problems.keys() - reasons, key=lambda row: (-regions[row].score, row))
    return _split(regions, reasons | dict.fromkeys(best[config.most :], DropReason.MANY))


def _box_problem(region: Region, config: FilterConfig, picture_aspect: float) -> DropReason | None:
    x0, y0, x1, y1 = region.xyxy
    if not (x0 < x1 and y0 < y1):  # NaN too
        return DropReason.NO_AREA
    area, aspect = (x1 - x0) * (y1 - y0), (x1 - x0) / (y1 - y0) * picture_aspect
    if area < config.min_area:
        return DropReason.SMALL
    if config.drop_whole and max(x0, y0, 1 - x1, 1 - y1) <= WHOLE_MARGIN:
        return DropReason.WHOLE_PICTURE
    if area > config.max_area:
        return DropReason.LARGE
    return DropReason.THIN if max(aspect, 1 / aspect) > config.max_aspect else None


def _split(items: Sequence[T], reasons: Mapping[int, DropReason]) -> FilterResult[T]:
    kept = tuple(item for row, item in enumerate(items) if row not in reasons)
    return FilterResult(kept, tuple(DroppedItem(items[row], reasons[row]) for row in sorted(reasons)))
