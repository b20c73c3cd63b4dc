"""Give a data set the regions and facts of a frozen version again, as one act with one undo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from curation.files.records import WRITTEN_CAPTION, PictureRecord
from curation.review.wide_acts import OnProgress, Part, WideAct, do_wide_act
from curation.versions.state_file import FrozenState
from curation.versions.versions import dataset_of_version, open_version
from db.engine import Engine, Session, reading
from db.models import Image, RegionRow, ReviewAct, Status
from db.queries.bulk_edit_queries import ManyEdited, set_each
from db.queries.data_set_queries import lock_image
from db.queries.edit_conflicts import state_with
from db.queries.edit_records import EditAction, write_edit
from db.queries.history_queries import BOX_SIDES, image_state, region_state
from db.queries.region_queries import STATUSES
from db.queries.version_queries import PictureRegions, dataset_batch, pictures_of


@dataclass
class RestoreCount:
    """Counts of what restoring a version changes.

    regions: that get other words, another box or another verdict. pictures: with such a region, or another caption,
    fact or review. newer: of the regions, those that lose their verdict since the version does not have them. gone:
    descriptions of the version whose regions were removed for good; they stay away. gone_pictures: likewise.
    """

    regions: int = 0
    pictures: int = 0
    newer: int = 0
    gone: int = 0
    gone_pictures: int = 0


@dataclass(frozen=True)
class _PictureChange:
    """The change that restoring makes to a picture. values: columns of regions, by id. facts: of the picture."""

    image_id: int
    values: Mapping[int, Mapping[str, Any]]
    facts: Mapping[str, Any]
    newer: int = 0
    gone: int = 0


@dataclass(frozen=True)
class _Restore:
    """A version over the data set as it is now."""

    engine: Engine
    frozen: FrozenState
    dataset_id: int
    others: Status = field(init=False)
    """The verdict of regions that the version would hold by their verdict, but does not."""

    def __post_init__(self) -> None:
        with_pending = "pending" in self.frozen.head.statuses
        object.__setattr__(self, "others", "deleted" if with_pending else "pending")

    def batches(self) -> Iterator[tuple[list[PictureRegions], dict[int, PictureRecord], int]]:
        """Yield pictures as they are, a page at a time, their records by id, and how many pictures are gone."""
        records, after = iter(self.frozen), 0
        record = next(records, None)
        while True:
            with reading(self.engine) as session:
                page = dataset_batch(session, dataset_id=self.dataset_id, statuses=STATUSES, after=after)
            after, known, gone = (page[-1].image.id if page else after), dict[int, PictureRecord](), 0
            there = {one.image.id for one in page}
            while record is not None and (record.id <= after or not page):
                if record.id in there:
                    known[record.id] = record
                else:
                    gone += 1
                record = next(records, None)
            yield page, known, gone
            if not page:
                return

    def change(self, one: PictureRegions, record: PictureRecord | None) -> _PictureChange:
        """Return what makes a picture as the version has it; one that it does not have loses its verdicts only."""
        wanted = _columns(record) if record else {}
        boxes = {
            row.box_id or row.id: {side: wanted[row.id][side] for side in BOX_SIDES}
            for row in one.regions
            if row.id in wanted
        }
        values: dict[int, Mapping[str, Any]] = {}
        for row in one.regions:
            loses = row.id not in wanted and row.status in self.frozen.head.statuses
            other = {"status": self.others} if loses else {}
            # a box is one for all of its descriptions, also for those that the version does not hold
            then, now = wanted.get(row.id, boxes.get(row.box_id or row.id, {}) | other), region_state(row)
            if state_with(now, then) != now:
                values[row.id] = then
        newer = sum("status" in then for number, then in values.items() if number not in wanted)
        gone = len(wanted.keys() - {row.id for row in one.regions})
        facts = _facts(one.image, record, _accepted_after(one.regions, values)) if record else {}
        return _PictureChange(one.image.id, values, facts, newer, gone)

    def parts(self) -> Iterable[Part]:
        """Yield what restores a page of pictures each."""
        for page, records, _ in self.batches():
            if page:
                yield partial(self._write, ids=[one.image.id for one in page], records=records)

    def _write(
        self, session: Session, edit: EditAction, *, ids: Sequence[int], records: Mapping[int, PictureRecord]
    ) -> ManyEdited:
        found = pictures_of(session, image_ids=ids, statuses=STATUSES)
        changes = [self.change(one, records.get(one.image.id)) for one in found]
        done = set_each(session, values={k: v for each in changes for k, v in each.values.items()}, edit=edit)
        for each in changes:
            if each.facts:
                write_edit(session, lock_image(session, image_id=each.image_id), edit, values=each.facts)
        return done


def count_restore(engine: Engine, home: Path, *, dataset: str, version: str) -> RestoreCount:
    """Count what restoring a version would change.

    Raises: UserError: there is no such version, or its file is not what it was.
    """
    restore = _restore(engine, home, dataset=dataset, version=version)
    count = RestoreCount()
    for page, records, gone_pictures in restore.batches():
        count.gone_pictures += gone_pictures
        for one in page:
            change = restore.change(one, records.get(one.image.id))
            count.regions += len(change.values)
            count.pictures += bool(change.values or change.facts)
            count.newer += change.newer
            count.gone += change.gone
    return count


def restore_version(
    engine: Engine,
    home: Path,
    *,
    dataset: str,
    version: str,
    who: str,
    action: str,
    on_progress: OnProgress = lambda regions: None,
) -> ReviewAct:
    """Give a data set the descriptions, boxes, verdicts, captions and facts of a version again.

    What has come since and has a verdict that the version holds becomes pending; with a version that holds pending
    ones too, it goes into the trash. Other verdicts stay as they are. Twice under one action counts once.

    Raises: UserError: as of `count_restore`.
    """
    restore = _restore(engine, home, dataset=dataset, version=version)
    act = WideAct(restore.dataset_id, "restore version", version, who, action)
    return do_wide_act(engine, act, restore.parts(), on_progress=on_progress)


def _restore(engine: Engine, home: Path, *, dataset: str, version: str) -> _Restore:
    frozen = open_version(engine, home, dataset=dataset, version=version)
    return _Restore(engine, frozen, dataset_of_version(engine, dataset=dataset, sha256=frozen.sha256).id)


def _columns(record: PictureRecord) -> dict[int, dict[str, Any]]:
    """Return the columns of each description of a version's picture, by its region's id."""
    return {
        one.id: {
            **dict(zip(BOX_SIDES, region.xyxy, strict=True)),
            "text": one.text,
            "status": one.status,
            "source": one.source,
        }
        for region in record.regions
        for one in region.descriptions
    }


def _accepted_after(rows: Sequence[RegionRow], values: Mapping[int, Mapping[str, Any]]) -> bool:
    return any(values.get(row.id, {}).get("status", row.status) == "accepted" for row in rows)


def _facts(image: Image, record: PictureRecord, accepted: bool) -> dict[str, Any]:
    """Return the columns of a picture that differ; one with an accepted region is never empty."""
    now, facts = image_state(image), dict(record.facts)
    if WRITTEN_CAPTION not in now["facts"]:  # the version took it from a describer
        facts.pop(WRITTEN_CAPTION, None)
    review = "open" if accepted and record.review == "empty" else record.review
    then = {"caption": record.caption, "facts": facts, "review": review}
    return {name: value for name, value in then.items() if value != now[name]}
