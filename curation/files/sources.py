"""Find pictures in folders, archives, WebDataset shards and tables, recognised by what is in them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from curation.files.archives import Archive, ArchiveEntry, ArchiveLimits, is_archive, open_archive
from curation.files.companions import (
    COMPANION_LIMITS,
    captions_in,
    companion_text,
    fold_key,
    is_companion,
    picture_names,
    stem_of,
)
from curation.files.decode import EmptyFileError, Limits, RefusedError
from curation.files.file_spelling import FileSpelling, fold_name
from curation.files.import_limits import picture_limits
from curation.files.pictures import read_file
from curation.files.tables import (
    METADATA_NAMES,
    PARQUET_MAGIC,
    TableRow,
    read_metadata,
    read_parquet,
    read_table,
)
from db.queries.values import storable
from picture_formats import SUFFIXES
from user_errors import UserError

GROUP_FILES = 32  # of one key in an archive, pictures and companions; twice as many where they are of one name
TABLE_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIX = ".parquet"
SEVERAL = "This row names a file that is not there, and several differ from it in letter case only: correct the path."
APART = "No picture of its name is beside it, and a packed tar is read once, in order: import it unpacked or as a zip."
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")  # a Path keeps one slash of the two


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file at a source. location, member, origin_row: as in `db.models.Image`. captions: of the picture.

    content: its bytes, None where they are to be read from `location`. refusal: why it cannot be taken.
    table: the table that named it; the row is then what a person looks for.
    """

    location: str
    member: str = ""
    captions: tuple[str, ...] = ()
    origin_row: int | None = None
    content: bytes | None = None
    refusal: str = ""
    table: str = ""

    @property
    def caption(self) -> str:
        """Return the first caption; "" where there is none."""
        return next(iter(self.captions), "")

    @property
    def place(self) -> tuple[str, str]:
        """Return location and member under which it is listed when it is refused; both can be stored and shown."""
        where = (self.table, f"row {self.origin_row}") if self.table else (self.location, self.member)
        return storable(where[0]), storable(where[1])


@dataclass(frozen=True)
class PictureSource:
    """kind: in words. root: where all of its files lie. files: them, once. total: how many, if it is known."""

    kind: str
    root: Path
    files: Iterator[FoundFile]
    total: int | None = None


def is_address(text: str) -> bool:
    """Tell whether a source is a web address or the like, and no path."""
    return ADDRESS.match(text) is not None


def open_source(path: Path, limits: Limits | None = None, archive_limits: ArchiveLimits | None = None) -> PictureSource:
    """Recognise what lies at a path.

    Args:   limits: for each picture. archive_limits: for each archive.
    Raises: UserError: nothing that can be imported.
    """
    if is_address(str(path)):
        raise UserError(
            f"expected a folder or file on this machine, got the address {str(path).replace(':/', '://', 1)}: "
            "let img2dataset fetch the pictures, and import the folder that it writes"
        )
    reader = _SourceReader(limits or picture_limits(), archive_limits or ArchiveLimits())
    path = Path(os.path.abspath(path))  # one place, one name: `a/../b` is `b`
    if storable(str(path)) != str(path):
        raise UserError(f"expected a name in plain UTF-8 text, got {storable(str(path))}: rename it")
    try:
        return _open(path, reader)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): see to its permissions") from error


def _open(path: Path, reader: _SourceReader) -> PictureSource:
    if path.is_dir():
        if not any(os.scandir(path)):
            raise UserError(f"expected pictures in {path}, got an empty folder: choose another")
        return PictureSource("folder", path, reader.folder(path), _count(path))
    if not path.is_file():
        raise UserError(f"expected a folder, archive or table at {path}, got nothing: check the path")
    if is_archive(path):
        with _file_named(path):
            archive = open_archive(path, reader.limits, reader.archive_limits)
        return PictureSource("archive", path, reader.archive(path, archive))
    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if is_parquet or path.suffix == PARQUET_SUFFIX:
        with _file_named(path):
            return PictureSource("parquet", path.parent, reader.rows(path, _begun(read_parquet(path))))
    if path.name in METADATA_NAMES:
        raise UserError(f"expected the folder of {path.name}, got the file: give {path.parent}")
    if path.suffix in TABLE_SUFFIXES:
        with _file_named(path):
            return PictureSource("table", path.parent, reader.rows(path, _begun(read_table(path))))
    raise UserError(
        "expected a folder, a zip or tar archive, WebDataset shards, a CSV or TSV table or a parquet file, got "
        f"{path.name}, which is none of them: give the folder that it lies in"
    )


@contextmanager
def _file_named(path: Path) -> Iterator[None]:
    """Put a file's path before what is wrong inside it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


class _SourceReader:
    """Walks sources."""

    def __init__(self, limits: Limits, archive_limits: ArchiveLimits) -> None:
        self.limits, self.archive_limits = limits, archive_limits
        self._spelling = FileSpelling()
        self._named_before: set[str] = set()  # files below that a metadata table has named

    def folder(self, root: Path) -> Iterator[FoundFile]:
        """Yield every file below a folder, in the order of their names."""
        unreadable: list[OSError] = []
        for at, folders, names in os.walk(root, onerror=unreadable.append):
            folders.sort()
            here = Path(at)
            for name in folders:
                if (here / name).is_symlink():  # os.walk does not go there
                    yield FoundFile(str(here / name), refusal="A linked folder is not followed: import it by itself.")
            yield from self._files(here, sorted(names), root)
            while unreadable:
                error = unreadable.pop()
                yield FoundFile(str(error.filename), refusal=f"This folder cannot be read ({error.strerror}): open it.")

    def _files(self, here: Path, names: list[str], root: Path) -> Iterator[FoundFile]:
        metadata = [name for name in names if name in METADATA_NAMES]
        rows: dict[str, TableRow] = {}
        for name in metadata[:1]:
            if refusal := _not_read(here / name, root):
                yield FoundFile(str(here / name), refusal=refusal)
                continue
            for row in _called_here(_metadata_rows(here / name), here, set(names), spelling=self._spelling):
                before = rows.get(row.path)
                rows[row.path] = replace(before, captions=before.captions + row.captions) if before else row
        for name in metadata[1:]:
            yield FoundFile(
                str(here / name), refusal=f"The captions are taken from {metadata[0]}: keep one of the two."
            )
        shards = {name.partition(".")[0] for name in names if name.endswith((".tar", ".tar.gz", ".tgz"))}
        plain = [name for name in names if name not in metadata and not _belongs_to_a_shard(name, shards)]
        for name, companions in picture_names(plain).items():
            if str(here / name) in self._named_before:
                self._named_before.remove(str(here / name))
            else:
                yield from self._file(here / name, companions, row=rows.pop(name, None), root=root)
        for row in rows.values():  # what it names in folders below, or nowhere
            found = self._named(row, here / metadata[0], here)
            if not found.refusal:
                self._named_before.add(found.location)
            yield found

    def _file(self, path: Path, companions: list[str], *, row: TableRow | None, root: Path) -> Iterator[FoundFile]:
        name = path.name.lower()
        found = FoundFile(str(path))
        if storable(str(path)) != str(path):
            yield replace(found, refusal="Its name is not plain UTF-8 text: rename it.")
        elif refusal := _not_read(path, root):
            yield replace(found, refusal=refusal)
        elif name.endswith(SUFFIXES):  # so that a million of them are not opened twice
            yield from self._picture(path, companions, row=row, root=root)
        elif name.endswith((*TABLE_SUFFIXES, ".jsonl")):
            yield replace(found, refusal="This is a table: import it by itself, or call it metadata.csv.")
        elif name.endswith(PARQUET_SUFFIX):
            yield from self._inner(path, lambda: self.rows(path, _begun(read_parquet(path))))
        elif _is_archive(path):
            yield from self._inner(
                path, lambda: self.archive(path, open_archive(path, self.limits, self.archive_limits))
            )
        else:
            yield from self._picture(path, companions, row=row, root=root)

    def _picture(self, path: Path, companions: list[str], *, row: TableRow | None, root: Path) -> Iterator[FoundFile]:
        if row is not None:
            yield FoundFile(str(path), captions=row.captions, origin_row=row.number)
        else:
            read = [_companion(path.with_name(name), root) for name in companions]
            yield from _described(FoundFile(str(path)), read)
            yield from (each for each in read if each.refusal)

    def _inner(self, path: Path, read: Callable[[], Iterator[FoundFile]]) -> Iterator[FoundFile]:
        """Yield from an archive or table among others: when it cannot be read, the others still can."""
        try:
            yield from read()
        except (UserError, OSError) as error:
            yield FoundFile(str(path), refusal=_sentence(error))

    def archive(self, path: Path, archive: Archive) -> Iterator[FoundFile]:
        """Yield every file in an archive, with its companions' caption."""
        group: list[FoundFile] = []
        try:
            for entry in _by_key(archive) if archive.any_order else archive.entries():
                found = self._entry(path, archive, entry)
                if group and (fold_key(group[0].member) != fold_key(found.member) or _full(group, found)):
                    yield from _captioned(group, apart=APART * (not archive.any_order))
                    group = []
                group.append(found)
            yield from _captioned(group, apart=APART * (not archive.any_order))
        except UserError as error:
            yield from _captioned(group)
            yield FoundFile(str(path), refusal=str(error))
        finally:
            archive.close()

    def _entry(self, path: Path, archive: Archive, entry: ArchiveEntry) -> FoundFile:
        found = FoundFile(str(path), member=entry.name, refusal=entry.refusal)
        if entry.refusal:
            return found
        if PurePosixPath(entry.name).name in METADATA_NAMES:
            sentence = "This table lies in an archive, where captions are not looked up: unpack it, import the folder."
            return replace(found, refusal=sentence)
        try:
            return replace(found, content=archive.read(entry))
        except RefusedError as error:
            return replace(found, refusal=str(error))

    def rows(self, table: Path, rows: Iterator[TableRow]) -> Iterator[FoundFile]:
        """Yield every picture that a table names or holds."""
        try:
            for row in rows:
                yield self._named(row, table, table.parent)
        except (UserError, OSError) as error:
            yield FoundFile(str(table), refusal=_sentence(error))

    def _named(self, row: TableRow, table: Path, folder: Path) -> FoundFile:
        if row.content is not None:
            return FoundFile(str(table), f"row {row.number}", row.captions, row.number, row.content)
        found = FoundFile(
            str(table), captions=row.captions, origin_row=row.number, table=str(table), refusal=row.refusal
        )
        if row.refusal:
            return found
        if storable(row.path) != row.path:
            return replace(found, refusal="This row's path is not plain UTF-8 text: rename the file.")
        path = folder / self._spelling.spell(folder, row.path)
        try:
            inside = _inside(path, folder)
            there = inside and path.is_file()
        except (OSError, ValueError):  # too long for a path, or a NUL in it
            inside, there = True, False
        if not inside:
            return replace(found, refusal="This row's path leads out of the table's folder: put the table above it.")
        if not there and inside and len(self._spelling.case_aside(folder, row.path)) > 1:
            return replace(found, refusal=SEVERAL)
        if not there:
            return replace(found, refusal="This row names a file that is not there: correct the path.")
        return replace(found, location=str(path))


def _full(group: list[FoundFile], found: FoundFile) -> bool:
    """Tell whether a file begins another group, though its key is the same: never between a picture and its own."""
    another_name = fold_name(stem_of(group[-1].member)) != fold_name(stem_of(found.member))
    return len(group) >= (GROUP_FILES if another_name else 2 * GROUP_FILES)


def _by_key(archive: Archive) -> Iterator[ArchiveEntry]:
    """Yield an archive's files so that those of one key come together: `tar cf` takes them as they lie on the disk."""
    entries: list[ArchiveEntry] = []
    damage: UserError | None = None
    try:
        entries.extend(archive.entries())
    except UserError as error:
        damage = error
    first: dict[str, int] = {}
    yield from sorted(entries, key=lambda entry: (first.setdefault(fold_key(entry.name), len(first)), entry.name))
    if damage is not None:
        raise damage


def _captioned(group: list[FoundFile], *, apart: str = "") -> Iterator[FoundFile]:
    """Yield the pictures of a group of files of one name, with the caption that the others give.

    Args: apart: why a companion without a picture is refused; "" where it is taken for a picture.
    """
    by_name = {found.member: found for found in reversed(group)}  # of one name, the first
    taken: dict[str, list[str]] = picture_names(list(by_name))
    for found in group:
        if found is not by_name[found.member]:  # the second of one name, refused
            yield found
        elif found.member in taken and apart and is_companion(found.member):
            yield replace(found, refusal=found.refusal or apart)
        elif found.member in taken:
            yield from _described(found, [by_name[name] for name in taken[found.member]])
        elif found.refusal:  # a companion that could not be read
            yield found


def _described(picture: FoundFile, companions: Iterable[FoundFile]) -> Iterator[FoundFile]:
    """Yield a picture with the text beside it, else with what its JSON says; then companions that are no text.

    Args: companions: those with a refusal are passed over.
    """
    read = [each for each in companions if not each.refusal]
    files = {(each.member or each.location).rpartition(".")[2].lower(): each for each in read}
    captions: tuple[str, ...] = ()
    refused: list[FoundFile] = []
    for suffix in filter(files.get, ("txt", "json")):
        try:
            captions = captions or captions_in(companion_text(files[suffix].content or b""), suffix)
        except RefusedError as error:
            refused.append(replace(files[suffix], content=None, refusal=str(error)))
    yield replace(picture, captions=captions)
    yield from refused


def _companion(path: Path, root: Path) -> FoundFile:
    """Read a companion; one that cannot be read has a refusal, and an empty one says nothing."""
    if refusal := _not_read(path, root):
        return FoundFile(str(path), refusal=refusal)
    try:
        return FoundFile(str(path), content=read_file(path, COMPANION_LIMITS))
    except EmptyFileError:
        return FoundFile(str(path))
    except RefusedError as error:
        return FoundFile(str(path), refusal=str(error))


def _metadata_rows(table: Path) -> Iterator[TableRow]:
    """Yield a table's rows; a row that is no use gives its refusal under a name that no file has."""
    try:
        for row in read_metadata(table):
            yield replace(row, path=f"\0{row.number}" if row.refusal else os.path.normpath(row.path))
    except (UserError, OSError) as error:
        yield TableRow(0, "\0", refusal=_sentence(error))


def _called_here(
    rows: Iterable[TableRow], here: Path, names: Collection[str], *, spelling: FileSpelling
) -> list[TableRow]:
    """Return the rows of a folder's metadata with the paths that its files have here.

    A file that a row puts into a folder which is not there is the one of its name beside the table: a browser sends
    the files of a folder without their folders. names: of the files beside the table.
    """
    found = [row if row.path in names else replace(row, path=spelling.spell(here, row.path)) for row in rows]
    paths = {row.path: PurePosixPath(row.path.replace("\\", "/")) for row in found}
    bare = {path: spelling.spell(here, each.name) for path, each in paths.items() if len(each.parts) > 1}
    taken = Counter([*bare.values(), *paths])
    alone = {path: name for path, name in bare.items() if taken[name] == 1 and name in names}
    moved = {path: name for path, name in alone.items() if not os.path.lexists(here / paths[path].parent)}
    return [replace(row, path=moved.get(row.path, row.path)) for row in found]


def _begun(rows: Iterator[TableRow]) -> Iterator[TableRow]:
    """Yield the same rows, the first already read: what is no table says so at once."""
    first = next(rows, None)
    if first is None:
        raise UserError("expected rows, got an empty table: choose another")

    def all_rows() -> Iterator[TableRow]:
        yield first
        yield from rows

    return all_rows()


def _belongs_to_a_shard(name: str, shards: set[str]) -> bool:
    """Tell whether a file describes shards: a manifest.json, or 00000.parquet and 00000_stats.json of img2dataset."""
    stem, _, suffix = name.partition(".")
    return bool(shards) and (suffix == "json" or (suffix == "parquet" and stem in shards))


def _is_archive(path: Path) -> bool:
    try:
        return is_archive(path)
    except OSError:
        return False


def _not_read(path: Path, root: Path) -> str:
    """Return why a file below a folder is not read, whatever is in it; "" where it is."""
    if path.is_symlink() and not _inside(path, root):
        return "This link leads out of the folder: copy the file itself."
    return "" if path.is_file() else "This is not a plain file: copy the file itself."


def _inside(path: Path, folder: Path) -> bool:
    """Tell whether a path, all links followed, lies in a folder; Path.resolve would raise where links go round."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _count(root: Path) -> int | None:
    """Count the files that the walk will yield, or nearly; None where archives or tables hold more than one each."""
    total = 0
    for _, _, names in os.walk(root):
        if any(name.lower().endswith((".tar", ".gz", ".tgz", ".zip", PARQUET_SUFFIX)) for name in names):
            return None
        total += sum(not is_companion(name) and name not in METADATA_NAMES for name in names)
    return total


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"This file cannot be read ({error.strerror}): see to its permissions."
    text = str(error)
    return text if text.endswith(".") else f"{text[0].upper()}{text[1:]}."
