"""Select the pictures and descriptions that go into an export, and the split of each picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from curation.audit.policy import apply_policy, claim_verdicts
from curation.exchange.classes import Classes, class_of
from curation.exchange.concept_classes import LEFT_OUT, class_texts, is_settled
from curation.exchange.export_config import Caption, ExportConfig
from curation.files.records import WRITTEN_CAPTION, PictureRecord, RegionRecord
from curation.versions.state_file import FrozenState, StateHead
from db.engine import Engine, reading
from db.models import AuditedClaim
from db.queries.audit_queries import claims_of
from db.queries.bulk import batches

NO_CLASSES: Classes = {}
Split = Literal["train", "held_out", "novel"]
SPLITS: tuple[Split, ...] = ("train", "held_out", "novel")
ROWS = 256  # pictures looked up in one question
SPLIT_DIGITS = 13  # of the content's hash: as many as a float holds


def split_of(sha256: str, held_out: float) -> Split:
    """Return a picture's split by its content alone, so that it stays the same in every export."""
    return "held_out" if int(sha256[:SPLIT_DIGITS], 16) < held_out * 16**SPLIT_DIGITS else "train"


def split_for(record: PictureRecord, config: ExportConfig) -> Split:
    """Return the split that an export puts a picture into."""
    return "novel" if config.novel and class_of(record) else split_of(record.sha256, config.held_out)


@dataclass(frozen=True)
class ExportSelection:
    """The pictures of a state that go into an export, after selection; iterable any number of times."""

    state: FrozenState
    config: ExportConfig
    engine: Engine
    audit: str = ""
    """Recipe of the audit whose verdicts count."""

    def __iter__(self) -> Iterator[PictureRecord]:
        classes = self.classes
        for record in self._audited():
            if (selected := select(record, self.config, classes)) is not None:
                yield selected

    @property
    def classes(self) -> Classes:
        """Return the classes of a frozen set of novel concepts, for shards; {} where there are none."""
        return novel_classes(self.state.head, self.config)

    def not_settled(self) -> Counter[str]:
        """Count by reason the pictures that an export of novel concepts leaves out."""
        found: Counter[str] = Counter()
        for record in self.state if (classes := self.classes) else ():
            if not is_settled(record.facts, classes):
                found[record.facts.get(LEFT_OUT, "") or "its class is not settled"] += 1
        return found

    def _audited(self) -> Iterator[PictureRecord]:
        if self.config.audit == "keep":
            yield from self.state
            return
        for some in batches(self.state, ROWS):
            with reading(self.engine) as session:
                found = claims_of(session, image_ids=[record.id for record in some], recipe=self.audit)
            for record in some:
                rows: dict[str, list[AuditedClaim]] = {}
                for row in found[record.id]:
                    rows.setdefault(row.text, []).append(row.claim)
                claims = {text: claim_verdicts(each) for text, each in rows.items()}
                yield apply_policy(record, claims, self.config.audit)


def novel_classes(head: StateHead, config: ExportConfig) -> Classes:
    """Return the classes of a frozen set of novel concepts, for shards; {} where there are none."""
    return class_texts(head.concepts) if config.format == "shards" and config.novel else {}


def select(record: PictureRecord, config: ExportConfig, classes: Classes = NO_CLASSES) -> PictureRecord | None:
    """Return a picture with the selected descriptions; None where it is left out.

    A picture that was reviewed stays, with no region where none is left: it is known to be empty.

    Args: classes: of a frozen set of novel concepts, of which the pictures stay whose class is settled, and no others.
    """
    if classes and not is_settled(record.facts, classes):
        return None
    regions = []
    for region in record.regions:
        if kept := tuple(one for one in region.descriptions if one.status in config.statuses):
            regions.append(replace(region, descriptions=kept))
    if not (regions or classes or config.unreviewed) and record.review == "open":
        return None
    return replace(record, regions=tuple(regions), caption=captions_of(record, regions)[config.caption])


def captions_of(record: PictureRecord, regions: Iterable[RegionRecord]) -> dict[Caption, str]:
    """Return the caption of a picture of every kind; "" where there is none. regions: those that are exported."""
    texts = dict.fromkeys(one.text for region in regions for one in region.descriptions)
    return {
        "picture": record.caption,
        "written": record.facts.get(WRITTEN_CAPTION, ""),
        "descriptions": ", ".join(texts),
        "none": "",
    }
