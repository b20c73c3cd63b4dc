"""Import annotations from other programs' files, or our own, into a data set that has the pictures already.

`python -m curation.exchange.import_annotations FILE --dataset NAME --format FORMAT` finds each picture by its content's
hash, or by its file name, adds what the data set does not have, and prints a JSON object. The file is checked as a
whole first: a malformed one adds nothing; where each picture has files of its own, malformed ones are listed and the
others added. Importing it again adds nothing either.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from curation.exchange.annotation_files import read_file
from curation.exchange.formats import ENTITIES_FORMATS, ImportFormat, in_whole_pixels
from curation.exchange.picture_finder import PictureFinder
from curation.files.home import database_url, home_folder
from curation.files.records import Box, DescriptionRecord, PictureRecord, RegionRecord, captions_in, with_captions
from db.engine import Engine, Session, open_engine, reading, retrying
from db.models import Image, RegionRow, Review, Status
from db.queries.bulk import batches
from db.queries.curate_queries import add_region_by_hand, edit_image, set_status
from db.queries.data_set_queries import get_dataset
from db.queries.edit_values import ImageChange
from db.queries.region_index_queries import index_regions
from db.queries.region_queries import STATUSES, NewRegion, add_regions
from db.queries.values import storable
from db.queries.version_queries import PictureRegions, pictures_of
from db.queries.wide_act_queries import note_brought, start_import
from grain.command import flags_of, run_command
from job_progress import report_progress
from user_errors import UserError

EXAMPLES = 5  # file names of pictures that were not found
MOST_REFUSALS = 100  # sentences that are printed
BATCH = 200  # pictures in a transaction: others wait for it a tenth of a second
ACCEPTED: tuple[Status, ...] = ("accepted",)
IMPORTED = "import"  # the reason of its edits
Content = tuple[Box, str, str]  # box, text, source: equal ones are the same description


@dataclass
class AnnotationImport:
    """The result of an import.

    pictures: found. added, known: descriptions. in_trash: known ones that are deleted, and stay so.
    accepted: known ones that were pending and are accepted now.
    not_found: pictures that the data set lacks. left_out: kind of content that cannot be stored here -> how many.
    ambiguous: of these, how many several pictures fit. refusals: a sentence for each picture whose files
    cannot be read. number: of the import, by which it is undone.
    """

    pictures: int = 0
    added: int = 0
    known: int = 0
    in_trash: int = 0
    accepted: int = 0
    edited_pictures: int = 0
    not_found: int = 0
    ambiguous: int = 0
    examples: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the counts for people and pages, and the first refusals."""
        names = "pictures added known in_trash accepted edited_pictures not_found ambiguous examples".split()
        counts = {
            "import": self.number,
            **{name: getattr(self, name) for name in names},
            "left_out": dict(sorted(self.left_out.items())),
        }
        return counts | {"refused": len(self.refusals), "refusals": self.refusals[:MOST_REFUSALS]}


def import_file(
    engine: Engine, *, dataset: str, path: Path, format: ImportFormat, who: str, accept: bool = False
) -> AnnotationImport:
    """Import a file's annotations (see import_records).

    Raises: UserError: it is malformed or not there, and nothing was added.
    """
    for _ in read_file(path, format):
        pass
    result = AnnotationImport()
    read = read_file(path, format, result.left_out, refused=result.refusals)
    records = (_worded(record, result.left_out) for record in read)
    by_stem = format in ENTITIES_FORMATS  # its files name pictures by their id
    named: dict[str, Any] = {"source": f"import:{path.name}", "file": path.name, "format": format}
    return import_records(engine, dataset, records, who=who, into=result, by_stem=by_stem, accept=accept, **named)


def _worded(record: PictureRecord, left_out: Counter[str]) -> PictureRecord:
    """Leave out and count descriptions without words, which nobody could judge, and regions that have no others."""
    regions = []
    for region in record.regions:
        some = tuple(one for one in region.descriptions if one.text.strip())
        left_out.update(["description without words"] * (len(region.descriptions) - len(some)))
        regions += [replace(region, descriptions=some)] * bool(some)
    return replace(record, regions=tuple(regions))


def import_records(
    engine: Engine,
    dataset: str,
    records: Iterable[PictureRecord],
    *,
    who: str,
    source: str = "import:file",
    into: AnnotationImport | None = None,
    by_stem: bool = False,
    accept: bool = False,
    file: str = "",
    format: str = "",
) -> AnnotationImport:
    """Add what records know of a data set's pictures.

    A description is known where its picture has one of equal box, text and source, whatever its verdict is by now:
    curators' decisions are never overruled. Where it names no source, box and text decide. Likewise caption, facts and
    review are taken only where there were none.

    Args:   who: author, for the history. source: for descriptions that name none. into: counts are added here.
            by_stem: find pictures by the stem of their name (see PictureFinder). accept: people made these
            annotations, so that those without a verdict are accepted, also those that an earlier import brought and
            nobody has decided since. file, format: for the list of imports.
    Raises: UserError: no such data set. ValueError: a record that the database does not take.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
    if found is None:
        raise UserError(f"expected the name of a data set, got {dataset!r}, which none has: import the pictures first")
    result = into or AnnotationImport()
    finder, action = PictureFinder(engine, found.id, by_stem), secrets.token_hex(8)
    begun: dict[str, Any] = {"dataset_id": found.id, "action": action, "file": file, "format": format, "who": who}
    result.number = retrying(engine, lambda session: start_import(session, **begun).id)
    for some in batches(records, BATCH):
        pairs, missing = finder.find(some)
        work = _ImportBatch(found.id, pairs, who, source, accept, result.number, action)
        done = retrying(engine, work)
        result.pictures += len(pairs)
        result.not_found += len(missing)
        result.ambiguous = finder.ambiguous
        result.examples += missing[: EXAMPLES - len(result.examples)]
        result.added += done["added"]
        result.known += done["known"]
        result.in_trash += done["in_trash"]
        result.accepted += done["accepted"]
        result.edited_pictures += done["edited"]
    while retrying(engine, index_regions):
        pass
    return result


@dataclass
class _ImportBatch:
    """One transaction of an import; safe to repeat."""

    dataset_id: int
    pairs: list[tuple[int, PictureRecord]]
    who: str
    source: str
    accept: bool
    import_id: int
    action: str

    def __call__(self, session: Session) -> dict[str, int]:
        before = self._there(session)
        counts = self._add(session, before)
        if counts["added"]:
            known = {row.id for one in before.values() for row in one.regions}
            now = {row.id for one in self._there(session).values() for row in one.regions}
            note_brought(session, import_id=self.import_id, ids=now - known)
        return counts

    def _add(self, session: Session, there: dict[int, PictureRegions]) -> dict[str, int]:
        counts = {"added": 0, "known": 0, "in_trash": 0, "accepted": 0, "edited": 0}
        firsts = []
        rest: list[tuple[int, RegionRecord, list[DescriptionRecord]]] = []
        for number, record in ((number, self._sourced(there[number], record)) for number, record in self.pairs):
            known = {_content(row) for row in there[number].regions}
            trash = known - {_content(row) for row in there[number].regions if row.status != "deleted"}
            if self.accept:
                counts["accepted"] += self._accept_known(session, there[number].regions, record)
            for region in record.regions:
                new = [one for one in region.descriptions if self._content_of(region, one) not in known]
                counts["in_trash"] += sum(self._content_of(region, one) in trash for one in region.descriptions)
                known |= {self._content_of(region, one) for one in new}
                counts["known"] += len(region.descriptions) - len(new)
                if len(new) == len(region.descriptions):
                    firsts.append(self._new(number, region, new[0]))
                    new = new[1:]
                if new:
                    rest.append((number, region, new))
        added = add_regions(session, dataset_id=self.dataset_id, rows=firsts)
        counts["added"] += added.new
        counts["known"] += added.known
        if rest:
            there = self._there(session)
        for number, region, descriptions in rest:
            self._add_to(session, there[number], region, descriptions=descriptions, counts=counts)
        for number, record in self.pairs:
            counts["edited"] += self._edit(session, there[number].image, record)
        return counts

    def _there(self, session: Session) -> dict[int, PictureRegions]:
        ids = [number for number, _ in self.pairs]
        return {one.image.id: one for one in pictures_of(session, image_ids=ids, statuses=STATUSES)}

    def _sourced(self, there: PictureRegions, record: PictureRecord) -> PictureRecord:
        """Return a record of which every description has a source.

        One without has that of an equal description that the picture has, and its box, which the file may have in whole
        pixels: a file under another name, or of a format without sources, brings nothing twice.
        """
        if all(one.source for region in record.regions for one in region.descriptions):
            return record
        size = there.image.width, there.image.height
        rows = sorted(there.regions, key=lambda row: (row.source == self.source, -row.id))
        known = {(in_whole_pixels(_content(row)[0], *size), row.text): row for row in rows}
        known |= {(_content(row)[0], row.text): row for row in rows}
        regions = []
        for region in record.regions:
            by_box: dict[Box, list[DescriptionRecord]] = {}
            equal = [
                None if one.source else known.get((region.xyxy, storable(one.text))) for one in region.descriptions
            ]
            first = next((_content(row)[0] for row in equal if row), region.xyxy)
            for one, row in zip(region.descriptions, equal, strict=True):
                source = one.source or (row.source if row else self.source)
                by_box.setdefault(_content(row)[0] if row else first, []).append(replace(one, source=source))
            regions += [replace(region, xyxy=box, descriptions=tuple(some)) for box, some in by_box.items()]
        return replace(record, regions=tuple(regions))

    def _new(self, number: int, region: RegionRecord, one: DescriptionRecord) -> NewRegion:
        return NewRegion(number, region.xyxy, one.text, one.source, one.score, self._status(one))

    def _status(self, one: DescriptionRecord) -> Status:
        return "accepted" if self.accept and one.status == "pending" else one.status

    def _accept_known(self, session: Session, rows: Sequence[RegionRow], record: PictureRecord) -> int:
        """Accept what an earlier import brought as pending and nobody has touched since; return how many."""
        described = ((region, one) for region in record.regions for one in region.descriptions)
        accepted = {self._content_of(region, one) for region, one in described if self._status(one) == "accepted"}
        waiting = [row for row in rows if (row.status, row.version) == ("pending", 1) and _content(row) in accepted]
        for row in waiting:
            judged: dict[str, Any] = {"status": "accepted", "reason": IMPORTED, "action": self.action}
            set_status(session, region_id=row.id, expected_version=1, who=self.who, **judged)
        return len(waiting)

    def _content_of(self, region: RegionRecord, one: DescriptionRecord) -> Content:
        return region.xyxy, storable(one.text), one.source

    def _add_to(
        self,
        session: Session,
        there: PictureRegions,
        region: RegionRecord,
        *,
        descriptions: list[DescriptionRecord],
        counts: dict[str, int],
    ) -> None:
        """Add descriptions to a region that is already there."""
        contents = {self._content_of(region, one) for one in region.descriptions}
        first = next((row for row in there.regions if _content(row) in contents and row.status != "deleted"), None)
        if first is None:  # edited or deleted since an earlier import added it with all of these
            counts["known"] += len(descriptions)
            return
        for one in descriptions:
            add_region_by_hand(
                session,
                image_id=there.image.id,
                who=self.who,
                box_id=first.id,
                text=one.text,
                status=self._status(one),
                source=one.source,
                score=one.score,
                key=repr((self._content_of(region, one), "import")),
                action=self.action,
            )
        counts["added"] += len(descriptions)

    def _edit(self, session: Session, image: Image, record: PictureRecord) -> bool:
        """Take caption, facts and review of the record where the picture has none.

        Further captions are added as long as nobody has edited the picture.
        """
        review: Review | None = record.review if image.review == "open" and record.review != "open" else None
        if review == "empty" and pictures_of(session, image_ids=[image.id], statuses=ACCEPTED)[0].regions:
            review = None
        if image.review == "empty" and pictures_of(session, image_ids=[image.id], statuses=ACCEPTED)[0].regions:
            review = "open"  # the file's accepted regions contradict it: it needs another review
        texts = [record.caption, *captions_in(record.facts)] if not image.caption or image.version == 1 else []
        caption, facts = with_captions(image.caption, _facts_there(image.facts or {}, record.facts), texts)
        change = ImageChange(
            caption=caption if caption != image.caption else None,
            facts=facts if facts != (image.facts or {}) else None,
            review=review,
        )
        if change == ImageChange():
            return False
        named: dict[str, Any] = {"who": self.who, "reason": IMPORTED, "action": self.action}
        edit_image(session, image_id=image.id, expected_version=image.version, change=change, **named)
        return True


def _facts_there(known: Mapping[str, str], facts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the facts that a picture has, or a record's where it has none, or only captions of its own."""
    if known and len(captions_in(known)) == len(known):
        return {**known, **{name: value for name, value in facts.items() if not captions_in({name: value})}}
    return known or facts


def _content(row: RegionRow) -> Content:
    return (row.x1, row.y1, row.x2, row.y2), row.text, row.source


@dataclass(frozen=True)
class ImportAnnotationsConfig:
    """Import annotations into a data set; prints one JSON object."""

    file: tyro.conf.Positional[Path]
    """The file, or the folder of an export, of shards or of Flickr30k Entities."""
    dataset: str
    """Its name; it has the pictures already (curation.ingest)."""
    format: ImportFormat
    """The file's format."""
    who: str = "import"
    """Author, for the history."""
    accept: bool = False
    """People made these annotations: accept those that have no verdict of their own; left out, they are pending."""
    home: Path | None = None
    """Folder of the database; by default GRAIN_HOME."""


def command_line(config: ImportAnnotationsConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    file = Path(os.path.abspath(config.file))
    return ["-m", "curation.exchange.import_annotations", *flags_of(replace(config, file=file))]


def main(config: ImportAnnotationsConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    engine = open_engine(database_url(home))
    try:
        result = import_file(
            engine,
            dataset=config.dataset,
            path=config.file.expanduser(),
            format=config.format,
            who=config.who,
            accept=config.accept,
        )
    finally:
        engine.dispose()
    done = f"{result.added:,} added, {result.known:,} known"
    if result.accepted:
        done += f" ({result.accepted:,} of them accepted now)"
    if result.in_trash:
        done += f" ({result.in_trash:,} of them in the trash: restore them on Curate)"
    done += f", {result.not_found:,} pictures not found"
    if result.ambiguous:
        done += f" ({result.ambiguous:,} of them have a name that several fit: name their folders as well)"
    report_progress(1, 1, f"{done}, {len(result.refusals):,} refused" if result.refusals else done)
    json.dump({"dataset": config.dataset, **result.to_json()}, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    run_command(main, ImportAnnotationsConfig, module="curation.exchange.import_annotations")
