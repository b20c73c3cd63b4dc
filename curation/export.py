"""A data set's accepted regions in files that training or other programs read.

`python -m curation.export --dataset NAME --format FORMAT --out DIR` writes WebDataset shards (grain.train reads them as
they are), COCO, ODVG, an ImageFolder, parquet or Label Studio's JSON, with a data card beside them, and prints a JSON
object. What the format cannot carry is said before anything is written. Stopped at any moment, the same command begins
anew, with the pictures that are there already; a folder whose export.json says "complete" is whole.

Pictures lie there byte by byte as they came, but for those that others would see turned or not at all: they are encoded
anew, upright. Boxes are those of the upright picture.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import tyro
from tqdm import tqdm

from curation import coco, imagefolder, odvg, tasks
from curation.card import CARD, Tally, card
from curation.classes import CLASSES, Classes, ClassTally, class_of, must_name, read_classes
from curation.coco import Categories
from curation.concept_classes import LEFT_OUT, class_texts, is_settled
from curation.formats import Format, FormatError, losses
from curation.home import database_url, home_folder, report_progress
from curation.originals import JPEG, Originals, Prepared
from curation.policy import Policy, told, under
from curation.records import WRITTEN_CAPTION, PictureRecord, Status
from curation.sample_world import SampleWorldError, write_whole
from curation.shards import to_sample
from curation.versions import FULL, DiskFullError, Frozen, VersionError, must_hold, open_version, write_present
from db.audit_queries import claims_of, latest_audit
from db.engine import DatabaseError, Engine, open_engine, reading
from db.models import AuditedClaim, Image
from db.queries import batches, find_images, get_dataset
from grain.structures import SCHEMA_VERSION

Caption = Literal["picture", "written", "descriptions", "none"]
Split = Literal["train", "held_out", "novel"]
SPLITS: tuple[Split, ...] = ("train", "held_out", "novel")
STATE, MARK, MANIFEST, IMAGES, BEFORE = ".state.jsonl.gz", "export.json", "manifest.json", "images", ".images-before"
MAIN_FILE: dict[Format, str] = {
    "shards": MANIFEST,
    "coco": "annotations.json",
    "odvg": "annotations.jsonl",
    "imagefolder": "metadata.jsonl",
    "parquet": "data.parquet",
    "label-studio": "tasks.json",
}
ROWS = 256  # pictures looked up in one question
SPLIT_DIGITS = 13  # of the content's hash: as many as a float holds


class ExportError(RuntimeError):
    """An export had to stop; one sentence says why and what to do."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a data set's regions for training or other programs; prints one JSON object."""

    format: Format
    """shards for grain.train; the others for other programs."""
    out: Path
    """Folder to write: new, empty, or an earlier export of the same."""
    dataset: str = ""
    """Its name."""
    version: str = ""
    """A frozen version: its sha256, or its name within the data set. Left out: the data set as it is now."""
    statuses: tuple[Status, ...] = ("accepted",)
    """Descriptions of these verdicts."""
    unreviewed: bool = False
    """Also pictures that nobody reviewed and that hold no such description: nobody knows whether they are empty."""
    caption: Caption = "picture"
    """The picture's own; the one that a describer wrote; its descriptions in a row; or none."""
    held_out: float = 0.02
    """Share of the pictures, by hash of their content, that shards put aside for evaluation."""
    shard_images: int = 1000
    """Pictures in a shard."""
    novel: bool = True
    """Shards put pictures with the fact `class` into the split novel, with classes.json, so that none is trained on; of
    a frozen set of novel concepts they hold only pictures whose class is settled."""
    classes: Path | None = None
    """The classes, as JSON {name: [description, …]}; left out: the descriptions that most pictures of each have."""
    categories: Categories = "text"
    """What COCO's categories are: the descriptions, or the pictures' fact `class`."""
    audit: Policy = "keep"
    """What is done with claims that the data set's latest audit, or people after it, call unsupported."""
    home: Path | None = None
    """Where the database and frozen versions lie; by default GRAIN_HOME."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises: ValueError.
        """
        if not self.dataset and not self.version:
            raise ValueError("expected --dataset or --version, got neither: name what to export")
        if not self.statuses:
            raise ValueError("expected one status or more, got none: name those to export, as in --statuses accepted")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"expected a share from 0 to below 1 for held_out, got {self.held_out}: correct it")
        if self.shard_images < 1:
            raise ValueError(f"expected shards of one picture or more, got {self.shard_images}: give a larger number")

    def options(self) -> dict[str, Any]:
        """What decides the bytes, besides the state itself."""
        return {
            "format": self.format,
            "statuses": sorted(self.statuses),
            "unreviewed": self.unreviewed,
            "caption": self.caption,
            "held_out": self.held_out,
            "shard_images": self.shard_images,
            "novel": self.novel,
            "categories": self.categories,
        } | ({"audit": self.audit} if self.audit != "keep" else {})


def command_line(config: ExportConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    words = ["-m", "curation.export", f"--format={config.format}", f"--out={os.path.abspath(config.out)}"]
    words += [f"--{name}={value}" for name in ("dataset", "version") if (value := getattr(config, name))]
    words += ["--statuses", *config.statuses, *["--unreviewed"] * config.unreviewed]
    words += [f"--caption={config.caption}", f"--held-out={config.held_out}", f"--shard-images={config.shard_images}"]
    words += [f"--categories={config.categories}", *["--no-novel"] * (not config.novel)]
    words += [f"--classes={os.path.abspath(config.classes)}"] if config.classes else []
    words += [f"--audit={config.audit}"] if config.audit != "keep" else []
    return [*words, *([f"--home={config.home}"] if config.home else [])]


def split_of(sha256: str, held_out: float) -> Split:
    """Where a picture belongs: a question of its content alone, so that it stays there in every export."""
    return "held_out" if int(sha256[:SPLIT_DIGITS], 16) < held_out * 16**SPLIT_DIGITS else "train"


def place_of(record: PictureRecord, config: ExportConfig) -> Split:
    """The split that a picture goes to."""
    return "novel" if config.novel and class_of(record) else split_of(record.sha256, config.held_out)


@dataclass(frozen=True)
class Chosen:
    """The pictures of a state that go into an export, as they go; for any number of passes."""

    state: Frozen
    config: ExportConfig
    engine: Engine
    audit: str = ""
    """Recipe of the audit whose verdicts count."""

    def __iter__(self) -> Iterator[PictureRecord]:
        classes = self.classes
        config = replace(self.config, unreviewed=True) if classes else self.config  # a settled class is a review
        for record in self._audited():
            if classes and not is_settled(record.facts, classes):
                continue
            if (chosen := choose(record, config)) is not None:
                yield chosen

    @property
    def classes(self) -> Classes:
        """Those of a frozen set of novel concepts, for shards; {} where there are none."""
        return class_texts(self.state.head.concepts) if self.config.format == "shards" and self.config.novel else {}

    def not_settled(self) -> Counter[str]:
        """Reason -> pictures that an export of novel concepts leaves out."""
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
                claims = {text: told(each) for text, each in rows.items()}
                yield under(record, claims, self.config.audit)


def choose(record: PictureRecord, config: ExportConfig) -> PictureRecord | None:
    """A picture with the descriptions that are asked for; None where it is left out.

    A picture that was reviewed goes with no region where none is left: that there is nothing is known of it.
    """
    regions = []
    for region in record.regions:
        if kept := tuple(one for one in region.descriptions if one.status in config.statuses):
            regions.append(replace(region, descriptions=kept))
    if not regions and record.review == "open" and not config.unreviewed:
        return None
    texts = dict.fromkeys(one.text for region in regions for one in region.descriptions)
    captions: dict[Caption, str] = {
        "picture": record.caption,
        "written": record.facts.get(WRITTEN_CAPTION, ""),
        "descriptions": ", ".join(texts),
        "none": "",
    }
    return replace(record, regions=tuple(regions), caption=captions[config.caption])


@dataclass
class Written:
    """How far an export is. left_out: reason -> pictures that cannot be had. encoded: anew, since nobody reads them."""

    pictures: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    encoded: int = 0


def export(
    engine: Engine,
    home: Path,
    config: ExportConfig,
    *,
    before: Callable[[list[str]], object] = lambda said: None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Write an export.

    Args:    before: told what the format cannot carry, before the first picture is written. on_progress: pictures done
             and in all.
    Returns: counts and losses, as printed.
    Raises:  ExportError: the folder holds something else or cannot be written, there is no such data set, or the disk
             is full. VersionError: as open_version and must_hold. FormatError: parquet without pyarrow.
    """
    start = time.perf_counter()
    try:
        answer = _Export(engine, home, config, before, on_progress).run()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ExportError(_full(config.out)) from error
    except (SampleWorldError, DiskFullError) as error:
        raise ExportError(_full(config.out)) from error
    return answer | {"seconds": round(time.perf_counter() - start, 2)}


def _full(out: Path) -> str:
    return (
        f"The disk of {out} is full: make room, or choose another --out, and run the same command again; the export is "
        "not complete until then."
    )


@dataclass
class _Export:
    """One export under way."""

    engine: Engine
    home: Path
    config: ExportConfig
    before: Callable[[list[str]], object]
    on_progress: Callable[[int, int], object]
    written: Written = field(default_factory=Written)
    tally: Tally = field(default_factory=Tally)
    classes: ClassTally = field(default_factory=ClassTally)
    missing: set[int] = field(default_factory=set)  # ids of pictures that cannot be had
    renamed: dict[int, str] = field(default_factory=dict)  # id -> file name, where its content asks for another ending
    dataset_id: int = 0
    total: int = 0

    @property
    def out(self) -> Path:
        return self.config.out

    def run(self) -> dict[str, Any]:
        state = self._state()
        chosen = Chosen(state, self.config, self.engine, self._audit())
        for record in chosen:
            self.tally.count(record)
            self.classes.count(record)
        named = self._named_classes(chosen)
        self.total = self.tally.pictures
        lost = losses(self.config.format, chosen)
        self.before(lost)
        mark = {"schema": 1, "dataset": state.head.dataset, "state_sha256": state.sha256, **self.config.options()}
        self._mark(mark | {"state": "writing"})
        for name in (MANIFEST, CLASSES):
            (self.out / name).unlink(missing_ok=True)
        if self.config.format == "shards":
            self._shards(chosen, state, named)
        elif self.config.format == "parquet":
            contents = ((self._named(record), prepared.content) for record, prepared in self._pictures(chosen))
            write_whole(self._main_file, lambda file: imagefolder.write_parquet(contents, file))
        else:
            self._files(chosen)
        answer = {
            **mark,
            "pictures": dict(sorted(self.written.pictures.items())),
            "regions": self.tally.regions,
            "descriptions": self.tally.descriptions,
            "encoded_anew": self.written.encoded,
            "classes": len(named),
            "class_list": self.config.classes is not None,
            "left_out": dict(sorted((self.written.left_out + chosen.not_settled()).items())),
            "losses": lost,
            **({"concepts": state.head.concepts} if chosen.classes else {}),
        }
        said = card(self.tally, answer).encode()
        write_whole(self.out / CARD, lambda file: file.write(said))
        if self.config.version == "":
            state.path.unlink()
        self._mark(answer | {"state": "complete"})
        return {"out": str(self.out), **answer}

    # -------------------------------------------------------------------------------- before the first picture

    def _state(self) -> Frozen:
        """What is to be exported, in a file: gone through several times, and the same each time."""
        config = self.config
        if config.version:
            state = open_version(self.engine, self.home, dataset=config.dataset, version=config.version)
            must_hold(state, config.statuses, version=config.version)
        with reading(self.engine) as session:
            name = state.head.dataset if config.version else config.dataset
            dataset = get_dataset(session, name=name)
        if dataset is None:
            raise ExportError(f"expected the name of a data set, got {name!r}, which none has: correct it")
        self.dataset_id = dataset.id
        self._prepare_folder(name)
        if config.version:
            return state
        return write_present(self.out / STATE, self.engine, dataset, config.statuses)

    def _named_classes(self, chosen: Chosen) -> Classes:
        """What classes.json is to hold; {} where there is to be none.

        Raises: ClassesError: the list that was given lacks one.
        """
        if self.config.format != "shards" or not self.config.novel:
            return {}
        if self.config.classes is None:
            return chosen.classes or self.classes.descriptions()
        given = read_classes(self.config.classes)
        must_name(given, self.classes)
        return given

    def _audit(self) -> str:
        """The latest audit's recipe, where the policy needs one."""
        if self.config.audit == "keep":
            return ""
        with reading(self.engine) as session:
            recipe = latest_audit(session, dataset_id=self.dataset_id)
        if not recipe:
            raise ExportError(
                f"expected an audited data set for the policy {self.config.audit!r}, got one without an audit: run "
                "`python -m curation.audit` on it first"
            )
        return recipe

    def _prepare_folder(self, dataset: str) -> None:
        """Make the folder, or see that it holds an earlier export of the same."""
        out = self.out
        if out.exists() and not out.is_dir():
            raise ExportError(f"expected a folder for --out, got the file {out}: choose another")
        try:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(prefix=".partial-", dir=out):
                pass
        except OSError as error:
            if error.errno in FULL:
                raise
            raise ExportError(
                f"expected a folder that can be written for --out, got {out} ({error.strerror}): choose another"
            ) from error
        theirs = sorted(entry.name for entry in out.iterdir() if not entry.name.startswith((".partial-", STATE)))
        mark = _read_mark(out / MARK)
        same = (mark.get("dataset"), mark.get("format")) == (dataset, self.config.format)
        if theirs and not same:
            raise ExportError(
                f"expected a new or empty folder, or an earlier export of {dataset!r} as {self.config.format}, but "
                f"{out} holds {theirs[0]!r}: choose another --out"
            )
        for partial in out.glob(".partial-*"):  # of an export that was killed
            partial.unlink()
        self._mark({"dataset": dataset, "format": self.config.format, "state": "writing"})

    def _mark(self, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_whole(self.out / MARK, lambda file: file.write(text.encode()))

    @property
    def _main_file(self) -> Path:
        return self.out / MAIN_FILE[self.config.format]

    # -------------------------------------------------------------------------------- pictures

    def _pictures(
        self, records: Iterable[PictureRecord], split: str = "all"
    ) -> Iterator[tuple[PictureRecord, Prepared]]:
        """Each record with its picture; those that cannot be had are counted and passed over."""
        with Originals(kinds=(JPEG,) if self.config.format == "shards" else None) as originals:
            by_id: dict[int, PictureRecord] = {}
            for image, prepared in originals.prepared(self._rows(records, by_id)):
                record = by_id.pop(image.id)
                if isinstance(prepared, str):
                    self.written.left_out[prepared] += 1
                    self.missing.add(record.id)
                    self.tally.leave_out(record)
                else:
                    self.written.pictures[split] += 1
                    self.written.encoded += prepared.encoded
                    if not record.file_name.endswith(prepared.suffix):
                        self.renamed[record.id] = str(Path(record.file_name).with_suffix(prepared.suffix))
                    yield record, prepared
                self.on_progress(self.written.pictures.total() + self.written.left_out.total(), self.total)

    def _rows(self, records: Iterable[PictureRecord], by_id: dict[int, PictureRecord]) -> Iterator[Image]:
        for some in batches(records, ROWS):
            with reading(self.engine) as session:
                found = find_images(session, dataset_id=self.dataset_id, sha256s=[record.sha256 for record in some])
            for record in some:
                image = found.get(record.sha256) or Image(
                    id=-record.id, dataset_id=0, sha256=record.sha256, width=1, height=1, location=""
                )
                by_id[image.id] = record
                yield image

    def _named(self, record: PictureRecord, folder: str = "") -> PictureRecord:
        return replace(record, file_name=folder + self.renamed.get(record.id, record.file_name))

    def _files(self, chosen: Chosen) -> None:
        """Pictures in files of their own, then what is known of them."""
        images, kept = self.out / IMAGES, self.out / BEFORE
        self._main_file.unlink(missing_ok=True)
        _set_aside(images, kept)
        for record, prepared in self._pictures(chosen):
            name = Path(_folder_of(record)) / self._named(record).file_name
            _put(self.out / name, prepared.content, kept / name.relative_to(IMAGES))
        shutil.rmtree(kept, ignore_errors=True)
        os.sync()  # one for all: each by itself would take longer than the pictures
        records = _Placed(chosen, self)
        write = {
            "coco": lambda file: coco.write(records, file, categories=self.config.categories),
            "odvg": lambda file: odvg.write(records, file),
            "imagefolder": lambda file: imagefolder.write_metadata(records, file),
            "label-studio": lambda file: tasks.write(records, file),
        }[self.config.format]
        write_whole(self._main_file, write)

    # -------------------------------------------------------------------------------- shards

    def _shards(self, chosen: Chosen, state: Frozen, named: Classes) -> None:
        splits = {split: self._split(chosen, split) for split in SPLITS}
        if named:
            said = json.dumps(named, indent=1, ensure_ascii=False) + "\n"
            write_whole(self.out / CLASSES, lambda file: file.write(said.encode()))
        names = {entry["file"] for entries in splits.values() for entry in entries}
        for path in self.out.glob("*.tar"):
            if path.name not in names:  # of an earlier, larger export: a reader that goes by names would take it in
                path.unlink()
        name, trained = state.head.dataset, self.written.pictures.total() - self.written.pictures["novel"]
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "source": f"the data set {name}",
            "trained_on": f"{trained:,} pictures of the data set {name}, described by {self.tally.makers()}",
            "state_sha256": state.sha256,
            "options": self.config.options(),
            "splits": splits,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        write_whole(self._main_file, lambda file: file.write(text.encode()))

    def _split(self, chosen: Chosen, split: Split) -> list[dict[str, Any]]:
        mine = (record for record in chosen if place_of(record, self.config) == split)
        samples = enumerate(self._pictures(mine, split))
        shards: list[dict[str, Any]] = []
        while (first := next(samples, None)) is not None:
            count = 0

            def write(file: BinaryIO, first: tuple[int, tuple[PictureRecord, Prepared]] = first) -> None:
                nonlocal count
                with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                    for number, (record, prepared) in (first, *islice(samples, self.config.shard_images - 1)):
                        key = f"{split}-{number:07d}"
                        _add(tar, f"{key}.jpg", prepared.content)
                        _add(tar, f"{key}.json", json.dumps(to_sample(record, key)).encode())
                        count += 1

            name = f"{split}-{len(shards):06d}.tar"
            digest = write_whole(self.out / name, write)
            shards.append({"file": name, "images": count, "sha256": digest})
        return shards


@dataclass(frozen=True)
class _Placed:
    """The pictures that were written, under the names that they have there; for several passes."""

    chosen: Chosen
    work: _Export

    def __iter__(self) -> Iterator[PictureRecord]:
        for record in self.chosen:
            if record.id not in self.work.missing:
                yield self.work._named(record, _folder_of(record))


def _folder_of(record: PictureRecord) -> str:
    return f"{IMAGES}/{record.sha256[:2]}/"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # its time, owner and group are zero: the same pictures give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _set_aside(images: Path, kept: Path) -> None:
    """Put the pictures of an earlier export where the new one takes what it needs and leaves what is out of it."""
    if not kept.exists():
        if images.exists():
            images.rename(kept)
        return
    for path in images.rglob("*"):
        if path.is_file():
            target = kept / path.relative_to(images)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _put(target: Path, content: bytes, earlier: Path) -> None:
    """A picture under its name, moved there where an earlier export has it whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if earlier.is_file() and earlier.read_bytes() == content:
        earlier.replace(target)
        return
    partial = target.parents[2] / f".partial-{target.name}"
    try:
        partial.write_bytes(content)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _read_mark(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def main(config: ExportConfig) -> None:
    """The command line."""
    home = config.home.expanduser().absolute() if config.home else home_folder()
    config = replace(config, out=config.out.expanduser().absolute())
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                report_progress(done, total, f"{done:,} of {total:,} pictures written")

            def say(sentences: list[str]) -> None:
                for sentence in sentences:
                    bar.write(sentence, file=sys.stderr)

            answer = export(engine, home, config, before=say, on_progress=show)
    finally:
        engine.dispose()
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    try:
        main(tyro.cli(ExportConfig))
    except (ValueError, OSError, ExportError, VersionError, FormatError, DatabaseError) as error:
        sys.exit(f"curation.export: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.export: stopped: the same command begins anew, with the pictures that are there already")
