"""Find shards, write what came of them and tell which are done, and pack their files for the way through a cluster.

Every shard is written whole or not at all, with what failed in it under errors/ and what made it under records/. A
folder holds the work of one recipe, and has a manifest.json once it is complete.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from atomic_files import atomic_file, clean_leftovers, write_atomically
from curation.files.archives import open_archive
from curation.files.import_limits import picture_limits
from curation.files.pictures import DecoderPool
from grain.checkpoint import file_sha256
from grain.structures import SCHEMA_VERSION
from user_errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    Table: TypeAlias = pa.Table

MANIFEST, RECORDS, ERRORS = "manifest.json", "records", "errors"  # in the folder that is written
SHARD_SUFFIX = re.compile(r"\.(tar|tar\.gz|tgz|zip)$")
JPEG_MAGIC, EXIF = b"\xff\xd8\xff", b"Exif\0\0"
JPEG_QUALITY = 95  # of pictures that came in another form, or turned


@dataclass(frozen=True)
class ScaleSummary:
    """The content of the folder after a run. skipped: shards that were done before. failed: state -> files."""

    shards: int
    skipped: int
    images: int
    without_caption: int
    failed: dict[str, int]


@dataclass(frozen=True)
class ShardItem:
    """A file of a shard on its way. number: its place; of the last item, which is no file, how many there are.

    stage, state, reason: where it failed, how, and why. width, height: upright. stop: why the whole run has to end.
    captions: further ones.
    regions: as they are written. beside: what lay beside a picture that was annotated before. claims: of its audit.
    """

    shard: str
    number: int
    last: bool = False
    stop: str = ""
    member: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    caption: str = ""
    captions: Sequence[str] = ()
    written_caption: str = ""
    subject: str = ""
    descriptions: Sequence[str] = ()
    raw: Sequence[str] = ()
    regions: Sequence[dict[str, Any]] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    claims: Sequence[dict[str, Any]] = ()
    stage: str = ""
    state: str = ""
    reason: str = ""

    @property
    def under_way(self) -> bool:
        """Tell whether there is a picture to work on."""
        return not (self.last or self.stop or self.reason)


@dataclass(frozen=True)
class ShardRecipe:
    """The recipe of a shard: the last stage's recipe, and the split under which it goes."""

    recipe: str
    split: str


def find_shards(pattern: str, out: Path) -> list[Path]:
    """Find the shards to read, in the order of their names.

    Raises: UserError: none, two of one name, or they lie where the new ones go.
    """
    folder = Path(pattern).expanduser()
    names = folder.glob("[!.]*.tar") if folder.is_dir() else map(Path, glob.glob(str(folder), recursive=True))  # noqa: PTH207 - the pattern may be absolute
    shards = sorted(path.absolute() for path in names if path.is_file())
    if not shards:
        raise UserError(
            f"There are no shards at {pattern!r}: give a folder of .tar files, or a pattern such as 'DIR/*.tar'."
        )
    [(name, times)] = Counter(map(_name, shards)).most_common(1)
    if times > 1:
        raise UserError(f"{times} shards are called {name}: annotate their folders one by one, each to its own --out.")
    if any(shard.parent.resolve() == out.resolve() for shard in shards):
        raise UserError(f"The shards lie in {out}, where the new ones would go: choose another --out.")
    return shards


def packed(pairs: Sequence[tuple[ShardItem, bytes]]) -> Table:
    """Pack items as JSON beside their bytes: numbers come out as they went in."""
    import pyarrow as pa

    facts = pa.array([json.dumps(asdict(item)) for item, _ in pairs], pa.large_string())
    return pa.table({"item": facts, "content": pa.array([content for _, content in pairs], pa.large_binary())})


def unpacked(table: Table) -> list[tuple[ShardItem, bytes]]:
    """Unpack what `packed` made."""
    rows = zip(table["item"].to_pylist(), table["content"].to_pylist(), strict=True)
    return [(ShardItem(**json.loads(facts)), content) for facts, content in rows]


@dataclass(frozen=True)
class FinishedShard:
    """The recipe of a shard, and its counts. size, changed, source: of the shard that was read; "" in older records."""

    recipe: str
    split: str
    size: int
    changed: int
    file: str
    bytes: int
    images: int
    sha256: str
    without_caption: int
    failed: dict[str, int]
    source: str = ""


def open_folder(out: Path) -> None:
    """Mark a folder as not complete, and remove what a killed run left in it."""
    (out / MANIFEST).unlink(missing_ok=True)  # a folder with one is complete
    for folder in (out, out / RECORDS, out / ERRORS):
        clean_leftovers(folder)


def write_shard(
    shard: Path,
    items: Sequence[ShardItem],
    *,
    out: Path,
    made: ShardRecipe,
    beside: Callable[[str, ShardItem], dict[str, Any]],
) -> None:
    """Write what came of a shard: the errors, the pictures, and when all of it lies there, the record.

    Args:   beside: a sample's key and its picture -> the JSON that goes with it. items: all files of the shard, in any
            order.
    Raises: UserError: the disk is full.
    """
    items = sorted(items, key=lambda item: item.number)
    good = [item for item in items if not item.reason]
    bad = [
        {"shard": item.shard, **{name: getattr(item, name) for name in ("member", "stage", "state", "reason", "raw")}}
        for item in items
        if item.reason
    ]
    name, seen = _name(shard), shard.stat()
    target = out / f"{name}.tar"
    try:
        write_atomically(out / ERRORS / f"{name}.jsonl", "".join(json.dumps(each) + "\n" for each in bad))
        with atomic_file(target) as temporary, temporary.open("wb") as file:
            _write_tar(file, shard, good, beside=beside)
        record = FinishedShard(
            recipe=made.recipe,
            split=made.split,
            size=seen.st_size,
            changed=seen.st_mtime_ns,
            file=target.name,
            bytes=target.stat().st_size,
            images=len(good),
            sha256=file_sha256(target),
            without_caption=sum(not item.caption for item in good),
            failed=dict(Counter(str(each["state"]) for each in bad)),
            source=str(shard),
        )
        _write_json(out / RECORDS / f"{name}.json", asdict(record))
    except UserError as error:
        raise UserError(str(error)) from error


def _write_tar(
    file: BinaryIO, shard: Path, items: Sequence[ShardItem], *, beside: Callable[[str, ShardItem], dict[str, Any]]
) -> None:
    """Write the pictures, each with its JSON, as grain.data.loader reads them: JPEG, upright."""
    taken: set[str] = set()
    with (
        DecoderPool(processes=1) as decoders,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for item, content in _contents(shard, items):
            key = _key(item, taken)
            _add(tar, f"{key}.jpg", _as_jpeg(content, decoders))
            _add(tar, f"{key}.json", json.dumps(beside(key, item)).encode())


def _contents(shard: Path, items: Sequence[ShardItem]) -> Iterator[tuple[ShardItem, bytes]]:
    """Read the bytes of these pictures again: they are not carried through the cluster a second time.

    Raises: UserError: they are no longer those that were worked on.
    """
    wanted = {item.member: item for item in items}
    if not wanted:
        return
    archive = open_archive(shard, picture_limits())
    try:
        for entry in archive.entries():
            item = None if entry.refusal else wanted.pop(entry.name, None)
            if item is not None:
                content = archive.read(entry)
                if hashlib.sha256(content).hexdigest() != item.sha256:
                    break
                yield item, content
            if not wanted:  # what lies behind may be damaged
                return
    finally:
        archive.close()
    raise UserError(f"{shard} has changed while it was worked on: run the same command again.")


def _as_jpeg(content: bytes, decoders: DecoderPool) -> bytes:
    """Return the very bytes where they are a JPEG that nothing turns; else save the upright picture again."""
    if content.startswith(JPEG_MAGIC) and EXIF not in content:
        return content
    buffer = io.BytesIO()
    decoders.read(content).image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _key(item: ShardItem, taken: set[str]) -> str:
    """Name a sample as its picture, without dots, since WebDataset ends a key at the first one."""
    key = PurePosixPath(item.member).with_suffix("").as_posix().replace(".", "_").strip("/")
    while key in taken:
        key += "_"
    taken.add(key)
    return key


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # its time, owner and group are zero: the same pictures give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _name(shard: Path) -> str:
    return SHARD_SUFFIX.sub("", shard.name)


def is_done(out: Path, made: ShardRecipe, shard: Path, *, redo_failed: bool) -> bool:
    """Check that a shard was finished from the very file, and still lies there.

    Args:   redo_failed: one in which a picture failed is not.

    Raises: UserError: another recipe made it, or it was made from another shard of that name.
    """
    record = _read_record(out, _name(shard))
    if record is None:
        return False
    if record.recipe != made.recipe:
        raise UserError(
            f"{out} holds shards that other settings made ({record.file} is one): choose another --out, "
            "or delete that folder first."
        )
    seen = shard.stat()
    same = (record.size, record.changed, record.split) == (seen.st_size, seen.st_mtime_ns, made.split)
    other = record.source != str(shard) if record.source else record.split != made.split
    if other and not same:  # the same shard may have moved
        raise UserError(
            f"{out} holds {record.file} already, made of {record.source or 'another shard'} as {record.split}: "
            f"choose another --out for {shard}, or give it another name."
        )
    return same and not (redo_failed and record.failed.get("failed"))


def _read_record(out: Path, name: str) -> FinishedShard | None:
    """Read a shard's record; None where there is none that holds, or the shard is gone or cut."""
    try:
        record = FinishedShard(**json.loads((out / RECORDS / f"{name}.json").read_text(encoding="utf-8")))
        complete = (out / record.file).stat().st_size == record.bytes
    except (OSError, ValueError, TypeError):
        return None
    return record if complete else None


def finish(out: Path, facts: Mapping[str, Any], *, skipped: int) -> ScaleSummary:
    """Write the manifest of all that lies in the folder; a run may have added another split to it.

    Args: facts: what it says beside its splits.
    """
    names = sorted(path.stem for path in (out / RECORDS).glob("[!.]*.json"))
    records = [record for name in names if (record := _read_record(out, name))]
    splits: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        splits[record.split].append({"file": record.file, "images": record.images, "sha256": record.sha256})
    _write_json(out / MANIFEST, {"schema_version": SCHEMA_VERSION, **facts, "splits": splits})
    failed: Counter[str] = sum((Counter(record.failed) for record in records), Counter())
    images, without = (sum(getattr(record, name) for record in records) for name in ("images", "without_caption"))
    return ScaleSummary(len(records), skipped, images, without, dict(failed))
