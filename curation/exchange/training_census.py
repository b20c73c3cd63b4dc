"""Count what a training would find in a state of a data set, and what an export for it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

from curation.exchange.export_config import Caption, ExportConfig
from curation.exchange.export_selection import Split, captions_of, novel_classes, select, split_for
from curation.files.records import PictureRecord, Status
from curation.versions.state_file import StateHead, peek_state
from user_errors import UserError

MOST_COUNTED = 20_000  # pictures of a version that are read while somebody waits: about a second
NOT_REVIEWED = "without a region, which nobody has reviewed"
NOVEL = "of novel classes, kept for evaluation"
NOT_SETTLED = "of novel classes that are not settled"
Captions = Mapping[Caption, Counter[str]]


def no_captions() -> dict[Caption, Counter[str]]:
    """Return a count of no caption, for each kind that an export can choose."""
    return {"picture": Counter(), "written": Counter(), "descriptions": Counter()}


@dataclass(frozen=True)
class TrainingCensus:
    """Counts of what a training would find. Regions and captions are counted on the pictures that are trained on.

    pictures: of each split. left_out: reason -> pictures. boxes: regions. described: descriptions of a picture -> how
    many pictures have so many. rejected: descriptions that are left out for their verdict. captions: of each kind the
    texts, each with its pictures; empty ones are not in it. complete: all pictures were counted.
    """

    pictures: Counter[Split] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    boxes: int = 0
    described: Counter[int] = field(default_factory=Counter)
    rejected: int = 0
    captions: Captions = field(default_factory=no_captions)
    complete: bool = True

    @property
    def descriptions(self) -> int:
        """Return how many descriptions there are to train on."""
        return sum(count * pictures for count, pictures in self.described.items())

    def beyond(self, cap: int) -> int:
        """Return how many descriptions a step leaves out if it takes so many of each picture."""
        return sum(max(count - cap, 0) * pictures for count, pictures in self.described.items())


def trained_statuses(head: StateHead) -> tuple[Status, ...]:
    """Return the verdicts of a version whose descriptions are trained and evaluated on: all but rejected ones.

    Raises: UserError: it holds no other.
    """
    statuses = tuple(status for status in head.statuses if status != "rejected")
    if not statuses:
        raise UserError("This version holds rejected descriptions only: freeze one with accepted ones.")
    return statuses


@lru_cache(maxsize=32)
def version_census(path: Path, config: ExportConfig) -> TrainingCensus:
    """Count a frozen version as an export with these settings would write it; its first MOST_COUNTED pictures.

    Versions never change, so that a count is kept. Needs no database: an audit's verdicts are not applied.

    Raises: UserError: the version's file is gone or damaged.
    """
    head, records = peek_state(path)
    return count_for_training(head, records, config, most=MOST_COUNTED)


def count_for_training(
    head: StateHead, records: Iterable[PictureRecord], config: ExportConfig, *, most: int
) -> TrainingCensus:
    """Count the first pictures of a state as an export with these settings would write them."""
    classes = novel_classes(head, config)
    pictures: Counter[Split] = Counter()
    left_out: Counter[str] = Counter()
    described: Counter[int] = Counter()
    captions = no_captions()
    boxes = rejected = 0
    records = iter(records)
    for record in islice(records, most):
        verdicts = [one.status for region in record.regions for one in region.descriptions]
        rejected += verdicts.count("rejected") if "rejected" not in config.statuses else 0
        selected = select(record, config, classes)
        if selected is None:
            left_out[NOT_SETTLED if classes else NOT_REVIEWED] += 1
            continue
        split = split_for(record, config)
        pictures[split] += 1
        if split == "novel":
            left_out[NOVEL] += 1
        if split != "train":
            continue
        boxes += len(selected.regions)
        described[sum(len(region.descriptions) for region in selected.regions)] += 1
        for kind, text in captions_of(record, selected.regions).items():
            if kind in captions and text.strip():
                captions[kind][text.strip()] += 1
    complete = next(records, None) is None
    return TrainingCensus(pictures, left_out, boxes, described, rejected, captions, complete)
