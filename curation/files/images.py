"""Read the pictures of rows, from wherever they lie. For annotators: thousands in a row, in their order."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from PIL import Image as Pillow

from curation.files.archives import Archive, ArchiveEntry, is_archive, open_archive
from curation.files.decode import Limits, RefusedError
from curation.files.pictures import AHEAD, DecoderPool, in_order, read_file
from curation.files.tables import ParquetPictures
from db.models import Image
from user_errors import UserError

OPEN_FILES = 4  # archives and parquet files whose lists of contents are kept
ELSEWHERE = "import it into the same data set from where it is now."
GONE = f"This picture is no longer where it was imported from: put it back, or {ELSEWHERE}"
CHANGED = f"This picture's file has changed since it was imported: put it back, or {ELSEWHERE}"

ImageRow = TypeVar("ImageRow", bound=Image)


class PictureReader:
    """Opens pictures of data sets. Keep one: it keeps decoding processes and the contents of archives at hand.

    For one thread; it has its own.
    """

    def __init__(self, limits: Limits | None = None, *, processes: int | None = None, side: int = 0) -> None:
        """processes: that decode at the same time, None for one a core.

        side: pixels that the longest side is reduced to where it is longer; 0 for whole pictures.
        """
        self._pool = DecoderPool(limits, processes)
        self._threads = ThreadPoolExecutor(self._pool.processes)
        self._side = side
        self._open: OrderedDict[str, _Members | _Rows] = OrderedDict()

    def open_image(self, row: Image) -> Pillow.Image:
        """Open one picture, upright RGB.

        Raises: RefusedError: it is gone or has changed; one sentence says which.
        """
        [(_, picture)] = self.open_images([row])
        if isinstance(picture, str):
            raise RefusedError(picture)
        return picture

    def open_images(self, rows: Iterable[ImageRow]) -> Iterator[tuple[ImageRow, Pillow.Image | str]]:
        """Yield each row in order with its picture, upright RGB, or one sentence why it cannot be had.

        Args: rows: taken as they are needed, a few ahead of that, the first at once; those of one archive should come
              together.
        """
        loaded = ((row, self._content(row)) for row in rows)
        return in_order(self._decoded, loaded, self._threads, ahead=AHEAD * self._pool.processes)

    def finds(self, row: Image) -> bool:
        """Tell whether a picture's file is where it was imported from, with the content that it had."""
        try:
            return bool(self.original(row))
        except RefusedError:
            return False

    def original(self, row: Image) -> bytes:
        """Return the bytes of a picture's file, as they were imported.

        Raises: RefusedError: it is gone or has changed.
        """
        return self._bytes(row, self._content(row))

    def close(self) -> None:
        """End the processes and let the files go."""
        self._threads.shutdown(cancel_futures=True)
        self._pool.close()
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _content(self, row: Image) -> bytes | str | Path:
        """Read a member's bytes here, since its archive has one position; a plain file is for the threads to read."""
        if not row.member:
            return Path(row.location)
        try:
            return self._holder(row.location).read(row)
        except (UserError, OSError):
            return GONE

    def _holder(self, location: str) -> _Members | _Rows:
        holder = self._open.pop(location, None)
        if holder is None:
            path = Path(location)
            holder = _Members(path, self._pool.limits) if is_archive(path) else _Rows(path)
        self._open[location] = holder  # as the last used
        while len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return holder

    def _decoded(self, loaded: tuple[ImageRow, bytes | str | Path]) -> tuple[ImageRow, Pillow.Image | str]:
        row, content = loaded
        try:
            return row, self._pool.read(self._bytes(row, content), self._side).image
        except RefusedError as error:
            return row, str(error)

    def _bytes(self, row: Image, content: bytes | str | Path) -> bytes:
        """Return the bytes that were imported, out of what `_content` gave.

        Raises: RefusedError: it is gone or has changed.
        """
        if isinstance(content, str):
            raise RefusedError(content)
        if isinstance(content, Path):
            content = read_file(content, self._pool.limits) if content.is_file() else b""
        if not content:
            raise RefusedError(GONE)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise RefusedError(CHANGED)
        return content


class _Members:
    """An archive and where everything in it lies."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._archive: Archive = open_archive(path, limits)
        self._entries: dict[str, ArchiveEntry] = {}
        with suppress(UserError):  # what comes before the damage can still be had
            for entry in self._archive.entries():
                if not entry.refusal:
                    self._entries[entry.name] = entry

    def read(self, row: Image) -> bytes | str:
        entry = self._entries.get(row.member)
        return self._archive.read(entry) if entry else GONE

    def close(self) -> None:
        self._archive.close()


class _Rows:
    """A parquet file."""

    def __init__(self, path: Path) -> None:
        self._pictures = ParquetPictures(path)

    def read(self, row: Image) -> bytes | str:
        return self._pictures.read(row.origin_row or 0)

    def close(self) -> None:
        self._pictures.close()


def open_image(row: Image, limits: Limits | None = None) -> Pillow.Image:
    """Open one picture, upright RGB; for more than one, PictureReader is quicker.

    Raises: RefusedError: it is gone or has changed; one sentence says which.
    """
    with PictureReader(limits, processes=1) as reader:
        return reader.open_image(row)
