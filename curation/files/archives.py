"""Zip and tar archives from anywhere, read in place: nothing in them is ever unpacked, and no name in them is a path.

Sizes that an archive states are never believed: every read has a limit of its own, and so has the whole.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from curation.files.decode import Limits, RefusedError, check_size
from db.queries.values import storable
from user_errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # of an empty one the second
TAR_MAGIC_AT, TAR_MAGIC = 257, b"ustar"
TAR_BLOCK = 512
TAR_HEADER_BYTES = 16 * 1024  # of one long name or extended header; tarfile would read gigabytes, and parse them badly
ZIP_END = struct.Struct("<4s4H2LH")
ZIP_END_MAGIC = b"PK\x05\x06"
ZIP_COMMENT_BYTES = 2**16
ZIP64_END = struct.Struct("<4sQ2H2L4Q")
ZIP64_END_MAGIC = b"PK\x06\x06"
ZIP64_LOCATOR_BYTES = 20
LIST_BYTES = 100  # of a zip's list for each entry: 46 and the name
ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of one archive. Unpacked it may have `bytes_more` and, beyond that, `expansion` times its own size."""

    entries: int = 1_000_000
    expansion: int = 20
    bytes_more: int = 1_000_000_000

    def unpacked(self, size: int) -> int:
        """Return how many bytes may come out of an archive of `size` bytes."""
        return self.bytes_more + self.expansion * size


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A file in an archive. start: where it begins, in the archive's own terms. refusal: why it cannot be taken."""

    name: str
    size: int
    start: int
    refusal: str = ""


class Archive(Protocol):
    """An open archive. any_order: whether a file is read as quickly before another one as after it."""

    any_order: bool

    def entries(self) -> Iterator[ArchiveEntry]:
        """List the files in order, those that cannot be taken with the reason; folders are left out.

        Raises: UserError: it is damaged or holds too much; what came before stands.
        """

    def read(self, entry: ArchiveEntry) -> bytes:
        """Read a file's bytes. Reading each before asking for the next keeps a packed archive from being read twice.

        Raises: RefusedError: more than is accepted, or damaged.
        """

    def close(self) -> None:
        """Let the file go."""


def is_archive(path: Path) -> bool:
    """Tell whether a file is one that `open_archive` opens, by its first bytes."""
    return _is_zip(path) or _is_tar(path)


def open_archive(path: Path, limits: Limits, archive_limits: ArchiveLimits | None = None) -> Archive:
    """Open a zip, tar or tar.gz.

    Args:   limits: for each file in it. archive_limits: for the whole.
    Raises: UserError: it is none, or damaged. OSError: it cannot be opened.
    """
    chosen = archive_limits or ArchiveLimits()
    return ZipArchive(path, limits, chosen) if _is_zip(path) else TarArchive(path, limits, chosen)


class TarArchive:
    """A tar, perhaps in gzip, walked header by header. Entry.start: offset of the bytes."""

    def __init__(self, path: Path, limits: Limits, archive_limits: ArchiveLimits) -> None:
        """See open_archive."""
        self._limits, self._archive_limits = limits, archive_limits
        packed = _magic(path).startswith(GZIP_MAGIC)
        self.any_order = not packed
        self._file = cast(IO[bytes], gzip.open(path) if packed else path.open("rb"))  # noqa: SIM115 closed by close
        self._most = archive_limits.unpacked(path.stat().st_size)

    def entries(self) -> Iterator[ArchiveEntry]:
        """See Archive."""
        seen: set[int] = set()
        try:
            for number, member in enumerate(self._members()):
                if number >= self._archive_limits.entries:
                    raise UserError(_too_many(self._archive_limits))
                if not member.isdir():
                    refusal = _refusal(member.name, seen) or self._tar_refusal(member)
                    yield ArchiveEntry(member.name, member.size, member.offset_data, refusal)
        except (UserError, GeneratorExit):
            raise
        except Exception as error:  # tarfile and zlib raise what they like on hostile bytes
            raise UserError(DAMAGED) from error

    def read(self, entry: ArchiveEntry) -> bytes:
        """See Archive."""
        check_size(entry.size, self._limits)
        try:
            self._file.seek(entry.start)
            content = self._file.read(entry.size)
        except Exception as error:  # as above
            raise RefusedError("This file in the archive is damaged: pack it again.") from error
        if len(content) < entry.size:
            raise RefusedError("This file in the archive is cut short: pack it again.")
        return content

    def close(self) -> None:
        """See Archive."""
        self._file.close()

    def _members(self) -> Iterator[tarfile.TarInfo]:
        bounded = cast(IO[bytes], _HeaderReader(self._file, self._most))
        last = -1
        with tarfile.open(fileobj=bounded, mode="r:", errorlevel=2) as tar:
            while (member := tar.next()) is not None:
                if member.offset <= last:  # a negative size would lead round and round
                    raise UserError(DAMAGED)
                last = member.offset
                yield member
                tar.members.clear()  # type: ignore[attr-defined] # it would remember every one
            self._must_be_the_end(tar.offset)

    def _must_be_the_end(self, offset: int) -> None:
        """Refuse an archive that goes on after what tarfile took for its end: a broken header in the middle."""
        self._file.seek(offset)
        if self._file.read(TAR_BLOCK).strip(b"\0"):
            raise UserError(DAMAGED)

    def _tar_refusal(self, member: tarfile.TarInfo) -> str:
        if member.issym() or member.islnk():
            return "A link in an archive is not followed: pack the file itself."
        if not member.isreg() or member.issparse():
            return "This is not a plain file in the archive: pack the file itself."
        return _size_refusal(member.size, self._limits)


class ZipArchive:
    """A zip. Entry.start: offset of the entry's own header."""

    any_order = True

    def __init__(self, path: Path, limits: Limits, archive_limits: ArchiveLimits) -> None:
        """See open_archive."""
        self._limits, self._archive_limits = limits, archive_limits
        size = path.stat().st_size
        with path.open("rb") as file:
            # looked at before zipfile brings the whole list into memory
            if _zip_list_bytes(file, size) > LIST_BYTES * archive_limits.entries:
                raise UserError(_too_many(archive_limits))
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError:
            raise
        except Exception as error:  # zipfile raises what it likes on hostile bytes
            raise UserError(DAMAGED) from error
        self._by_start = {info.header_offset: info for info in self._zip.infolist()}
        self._most = archive_limits.unpacked(size)

    def entries(self) -> Iterator[ArchiveEntry]:
        """See Archive. In the order of their names: a picture and its caption side by side."""
        infos = self._zip.infolist()
        if len(infos) > self._archive_limits.entries:
            raise UserError(_too_many(self._archive_limits))
        seen: set[int] = set()
        left = self._most
        for info in sorted(infos, key=lambda info: info.filename):
            if not info.is_dir():
                refusal = _refusal(info.filename, seen) or self._zip_refusal(info)
                left -= 0 if refusal else info.file_size  # zipfile never hands out more than that
                if left < 0:
                    raise UserError(UNPACKS_TO_TOO_MUCH)
                yield ArchiveEntry(info.filename, info.file_size, info.header_offset, refusal)

    def read(self, entry: ArchiveEntry) -> bytes:
        """See Archive."""
        try:
            with self._zip.open(self._by_start[entry.start]) as file:
                content = file.read(min(entry.size, self._limits.file_bytes) + 1)
        except NotImplementedError as error:
            raise RefusedError(
                "This file in the archive is packed in a way that is not read: pack it again."
            ) from error
        except Exception as error:  # as above
            raise RefusedError("This file in the archive is damaged: pack it again.") from error
        check_size(len(content), self._limits)
        return content

    def close(self) -> None:
        """See Archive."""
        self._zip.close()

    def _zip_refusal(self, info: zipfile.ZipInfo) -> str:
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            return "A link in an archive is not followed: pack the file itself."
        if info.flag_bits & ENCRYPTED:
            return "This file in the archive is locked with a password: pack it without one."
        return _size_refusal(info.file_size, self._limits)


DAMAGED = "The archive is damaged or cut short from here on: copy or pack it again."
UNPACKS_TO_TOO_MUCH = "The archive unpacks to far more than its size: import its pictures as a folder."


class _HeaderReader:
    """A file that tarfile reads headers through: never much at once, never beyond what the archive may unpack to."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= TAR_HEADER_BYTES:
            raise UserError(DAMAGED)
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        if offset > self._most:  # of a packed one, going there means unpacking all that lies before
            raise UserError(UNPACKS_TO_TOO_MUCH)
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def _refusal(name: str, seen: set[int]) -> str:
    """Return the reason to refuse a name, or "". seen: hashes of the names before it, in 8 bytes each."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        return "Its name leads out of the archive: pack it under a plain name."
    if storable(name) != name or not name:
        return "Its name is not plain UTF-8 text: rename it."
    if hash(name) in seen:
        return "The archive has a file of this name already: rename one."
    seen.add(hash(name))
    return ""


def _size_refusal(size: int, limits: Limits) -> str:
    try:
        check_size(size, limits)
    except RefusedError as error:
        return str(error)
    return ""


def _too_many(limits: ArchiveLimits) -> str:
    return f"The archive has more than the {limits.entries:,} entries accepted: split it."


def _is_zip(path: Path) -> bool:
    return _magic(path).startswith(ZIP_MAGICS)


def _is_tar(path: Path) -> bool:
    magic = _magic(path)
    if magic.startswith(GZIP_MAGIC):
        try:
            with gzip.open(path) as file:
                magic = file.read(TAR_BLOCK)
        except (OSError, EOFError, ValueError, zlib.error):
            return False
    return magic[TAR_MAGIC_AT:].startswith(TAR_MAGIC)


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TAR_BLOCK)


def _zip_list_bytes(file: IO[bytes], size: int) -> int:
    """Return how long the list at the end of a zip says it is; 0 where there is none to be found."""
    start = max(0, size - ZIP_END.size - ZIP_COMMENT_BYTES)
    file.seek(start)
    tail = file.read()
    at = len(tail) - ZIP_END.size  # where it is without a comment; with one, as zipfile looks for it
    if at < 0 or not tail[at:].startswith(ZIP_END_MAGIC) or tail[-2:] != b"\0\0":
        at = tail.rfind(ZIP_END_MAGIC)
    if at < 0 or len(tail) - at < ZIP_END.size:
        return 0
    listed = int(ZIP_END.unpack_from(tail, at)[5])
    far = start + at - ZIP64_LOCATOR_BYTES - ZIP64_END.size
    if far >= 0:
        file.seek(far)
        fields = ZIP64_END.unpack(file.read(ZIP64_END.size))
        if fields[0] == ZIP64_END_MAGIC:
            return max(listed, int(fields[8]))
    return listed
