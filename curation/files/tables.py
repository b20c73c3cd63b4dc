"""Read tables that name pictures: CSV and TSV as of CC3M and CC12M, metadata of a Hugging Face ImageFolder, parquet."""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import IO, Any

from curation.files.text_files import open_text
from picture_formats import SUFFIXES
from user_errors import UserError

CAPTION_COLUMNS = ("caption", "captions", "text", "sentences", "title", "description")
PATH_COLUMNS = ("path", "filepath", "file_path", "file_name", "filename", "file", "image", "image_path", "url")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
LINE_CHARACTERS = 1_000_000
PARQUET_MAGIC = b"PAR1"
PARQUET_ROWS = 64  # read at once

URL_REFUSAL = (
    "This row names a web address, and nothing is fetched here: let img2dataset fetch the pictures, and import the "
    "folder that it writes."
)
NO_UTF8 = re.compile("[\udc80-\udcff]")  # bytes of another encoding, as surrogateescape keeps them
NO_UTF8_REFUSAL = "This row's text is not UTF-8: save the table again as UTF-8 (in Excel: CSV UTF-8)."


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row. number: from 0, a header not counted. path: as written. content: of a picture that the row holds itself.

    captions: those of the row, in their order. refusal: why it cannot be used.
    """

    number: int
    path: str = ""
    captions: tuple[str, ...] = ()
    content: bytes | None = None
    refusal: str = ""


def read_table(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a CSV or TSV: two columns, the caption and a path or address, or columns named in a header.

    Raises: UserError: the first row shows that it is no such table. OSError: it cannot be opened.
    """
    with open_text(path, newline="") as file:
        lines = _lines(file)
        first_line = next(lines, "")
        # a TSV has no quotes: what looks like one belongs to the caption
        options: dict[str, Any] = (
            {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if "\t" in first_line else {"delimiter": ","}
        )
        cells = _cells(csv.reader(chain([first_line], lines), **options))
        first = next(cells, [])
        names = [cell.strip().lower() for cell in first]
        place, caption = _column(names, PATH_COLUMNS), _column(names, CAPTION_COLUMNS)
        if place is None:
            place, caption = _guess(first, path)
            cells = chain([first], cells)
        for number, row in enumerate(cells):
            yield _row(number, row, place=place, caption=caption)


def read_metadata(path: Path) -> Iterator[TableRow]:
    """Yield the rows of an ImageFolder's metadata.csv or metadata.jsonl.

    Raises: UserError, OSError: as read_table.
    """
    if path.suffix == ".csv":
        yield from read_table(path)
        return
    with open_text(path) as file:
        for number, line in enumerate(_lines(file)):
            try:
                record = json.loads(line)
                name = record["file_name"]
            except (ValueError, KeyError, TypeError, RecursionError):
                yield TableRow(number, refusal="This row is no JSON object with a file_name: correct it.")
                continue
            yield _checked(TableRow(number, str(name), captions_of(record)))


def read_parquet(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a parquet file with an `image` column of {bytes, path}.

    Raises: UserError: pyarrow is missing, or the file is damaged or has no such column.
    """
    file = _parquet_file(path)
    columns = [name for name in ("image", *CAPTION_COLUMNS) if name in file.schema_arrow.names]
    number = 0
    try:
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
            for record in batch.to_pylist():
                yield _parquet_row(number, record)
                number += 1
    except Exception as error:  # pyarrow's own kinds, which only it knows
        raise UserError("The parquet file is damaged or cut short from here on: copy it again.") from error
    finally:
        file.close()


class ParquetPictures:
    """Pictures of one parquet file by their rows; a group of rows is kept, since neighbours are asked for together."""

    def __init__(self, path: Path) -> None:
        """Raises: UserError: as read_parquet."""
        self._file = _parquet_file(path)
        self._group: tuple[int, Any] = (-1, None)
        counts = (self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups))
        self._starts = list(accumulate(counts, initial=0))

    def read(self, number: int) -> bytes:
        """Read the bytes in row `number`, counted from 0 over the whole file; none where the row holds no picture.

        Raises: UserError: the file has no such row, or is damaged.
        """
        if not 0 <= number < self._starts[-1]:
            raise UserError("The parquet file has no such row any more: import it again.")
        group = bisect_right(self._starts, number) - 1
        try:
            if self._group[0] != group:
                self._group = (group, self._file.read_row_group(group, columns=["image"]).column("image"))
            record = self._group[1][number - self._starts[group]].as_py() or {}
            return bytes(record.get("bytes") or b"")
        except Exception as error:  # as above; another file may have taken its place
            raise UserError("The parquet file is damaged: copy it again.") from error

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def captions_of(record: Any) -> tuple[str, ...]:
    """Return the captions in a JSON object or a row: those of the first column, by name, that has a text or texts.

    `caption` and `captions` count as one: our shards have the first one in the one, and further ones in the other.
    """
    values = [record.get(name) for name in CAPTION_COLUMNS] if isinstance(record, dict) else []
    found = [_texts_in(value) for value in values]
    return next(filter(None, (tuple(dict.fromkeys(chain(*found[:2]))), *found[2:])), ())


def _texts_in(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def _parquet_row(number: int, record: dict[str, Any]) -> TableRow:
    image = record.get("image")
    if not isinstance(image, dict) or not (image.get("bytes") or image.get("path")):
        return TableRow(number, refusal="This row holds no picture: its image has neither bytes nor a path.")
    content = image.get("bytes")
    path = str(image.get("path") or "")
    if content:
        return TableRow(number, path, captions_of(record), bytes(content))
    return _checked(TableRow(number, path, captions_of(record)))


def _parquet_file(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"expected pyarrow to read the parquet file {path.name}, and it is not installed: "
            "install it with `pip install pyarrow`"
        ) from error
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's own kinds, which only it knows
        raise UserError(f"expected a parquet file, and {path.name} is damaged or none: copy it again") from error
    names = file.schema_arrow.names
    if "image" not in names:
        file.close()
        raise UserError(
            f"expected a parquet file with a column `image`, and {path.name} has {', '.join(names)}: "
            "write the pictures into it as {bytes, path}"
        )
    return file


def _lines(file: IO[str]) -> Iterator[str]:
    """Yield lines of a bounded length; of a longer one nothing is left."""
    while line := file.readline(LINE_CHARACTERS):
        ended = len(line) < LINE_CHARACTERS or line.endswith("\n")
        while not ended:
            rest = file.readline(LINE_CHARACTERS)
            ended = len(rest) < LINE_CHARACTERS or rest.endswith("\n")
            line = "\n"
        yield line


def _cells(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:  # a quote that is never closed
            yield []


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _guess(first: list[str], path: Path) -> tuple[int, int]:
    """Find the columns of path and caption where no header names them."""
    if len(first) == 2:
        for place in (1, 0):  # CC3M's order, then CC12M's
            if _is_place(first[place], path.parent):
                return place, 1 - place
    got = "two columns without a file's name" if len(first) == 2 else f"{len(first)} column{'s' * (len(first) != 1)}"
    raise UserError(
        f"expected a caption and a path or address in each row of {path.name} (caption<TAB>path), or a header that "
        f"names such columns, got {got} in the first: correct the table"
    )


def _is_place(cell: str, folder: Path) -> bool:
    if "://" in cell or cell.lower().endswith(SUFFIXES):
        return True
    try:
        return (folder / cell).is_file()
    except (OSError, ValueError):
        return False


def _row(number: int, cells: list[str], *, place: int, caption: int | None) -> TableRow:
    if len(cells) <= max(place, caption or 0):
        return TableRow(number, refusal="This row has too few columns or is too long: correct it.")
    return _checked(TableRow(number, cells[place].strip(), _texts(cells, caption)))


def _texts(cells: list[str], caption: int | None) -> tuple[str, ...]:
    text = "" if caption is None else cells[caption].strip()
    return (text,) if text else ()


def _checked(row: TableRow) -> TableRow:
    if "://" in row.path:
        return TableRow(row.number, row.path, refusal=URL_REFUSAL)
    if not row.path:
        return TableRow(row.number, refusal="This row names no picture: correct it.")
    if any(NO_UTF8.search(caption) for caption in row.captions):
        return TableRow(row.number, row.path, refusal=NO_UTF8_REFUSAL)
    return row
