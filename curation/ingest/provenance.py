"""Read where and when each picture of a folder was found, from what lies beside the pictures.

Either a table metadata.csv or metadata.jsonl in the folder, a row a picture (`file_name, found_at, found_on`), or a
JSON object beside each picture (`lid.json` for `lid.jpg`). Pictures need both: only then can others judge whether a
model may have seen them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from curation.files.companions import picture_names
from curation.files.decode import Limits, RefusedError
from curation.files.file_spelling import FileSpelling
from curation.files.pictures import read_file
from curation.files.records import shown
from curation.files.tables import METADATA_NAMES, PATH_COLUMNS
from curation.files.text_files import decode_text
from user_errors import UserError

FOUND_AT, FOUND_ON = "found at", "found on"  # as a picture's facts call them
NAMES = {FOUND_AT: ("found_at", "found at", "url", "source"), FOUND_ON: ("found_on", "found on", "date")}
MOST_TEXT = 500  # characters
TABLE_BYTES, SIDECAR_BYTES = 64_000_000, 1_000_000
EARLIEST = date(1826, 1, 1)  # the first photograph


@dataclass(frozen=True)
class Provenance:
    """Place and time, as facts of a picture; what is missing is left out. problems: a sentence each, of this file."""

    facts: Mapping[str, str]
    problems: tuple[str, ...] = ()


def read_folder(folder: Path, *, today: date | None = None) -> dict[str, Provenance]:
    """Return each picture's absolute path -> what is said of where and when it was found.

    Raises: UserError: the table cannot be read as one.
    """
    today = today or datetime.now(UTC).date()
    found: dict[str, Provenance] = {}
    spelling = FileSpelling()
    for table in sorted(folder.rglob("*")):
        if table.name in METADATA_NAMES and table.is_file():
            for name, record in _rows(table):
                found[str(table.parent / spelling.spell(table.parent, name))] = facts_from(record, today=today)
    for at, _, names in os.walk(folder):
        for name, companions in picture_names(sorted(names)).items():
            for sidecar in (Path(at, each) for each in companions if each.lower().endswith(".json")):
                found.setdefault(str(Path(at, name)), _sidecar(sidecar, today))
    return found


def facts_from(record: Mapping[str, Any], *, today: date) -> Provenance:
    """Return what a row or a sidecar says, in facts."""
    facts: dict[str, str] = {}
    problems = []
    for fact, names in NAMES.items():
        value = next((str(record[name]).strip() for name in names if record.get(name) not in (None, "")), "")
        try:
            if value:
                facts[fact] = checked(fact, value, today=today)
        except UserError as error:
            problems.append(str(error))
    return Provenance(facts, tuple(problems))


def checked(fact: str, value: str, *, today: date) -> str:
    """Check a place as text on one line, and a day as 2023-09-12, not in the future.

    Raises: UserError.
    """
    value = " ".join(value.split())
    if fact != FOUND_ON:
        if not value or len(value) > MOST_TEXT or not value.isprintable():
            raise UserError(f"expected where it was found in 1 to {MOST_TEXT} characters, got {shown(value)}")
        return value
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise UserError(f"expected the day it was found as 2023-09-12, got {shown(value)}: correct it") from None
    if not EARLIEST <= day <= today:
        raise UserError(f"expected a day from {EARLIEST} to today for when it was found, got {day}: correct it")
    return day.isoformat()


def _rows(table: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = _text(table, TABLE_BYTES)
    if table.suffix == ".csv":
        rows: Iterator[Any] = csv.DictReader(io.StringIO(text, newline=""))
    else:
        rows = _json_lines(text, table)
    try:
        for number, row in enumerate(rows):
            record = {str(key).strip().lower(): value for key, value in row.items()} if isinstance(row, dict) else {}
            name = next((record[column] for column in PATH_COLUMNS[:-1] if record.get(column)), None)
            if not isinstance(name, str):
                raise UserError(
                    f"expected a column file_name in {table.name}, and row {number + 1} has none: "
                    "name each row's picture"
                )
            yield name, record
    except csv.Error as error:
        raise UserError(f"{table.name} cannot be read as CSV ({error}): write it again") from error


def _json_lines(text: str, table: Path) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines()):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"line {number + 1} of {table.name} is no JSON object: correct it") from error


def _sidecar(path: Path, today: date) -> Provenance:
    try:
        record = json.loads(_text(path, SIDECAR_BYTES))
    except (ValueError, RecursionError):
        return Provenance({}, (f"{path.name} is no JSON object: correct it or take it away",))
    if not isinstance(record, dict):
        return Provenance({}, (f"expected a JSON object in {path.name}, got {shown(record)}: correct it",))
    return facts_from({str(key).strip().lower(): value for key, value in record.items()}, today=today)


def _text(path: Path, most_bytes: int) -> str:
    try:
        return decode_text(read_file(path, Limits(file_bytes=most_bytes)))
    except (RefusedError, UserError) as error:
        raise UserError(f"{path.name} cannot be read as UTF-8 text ({error}): save it again") from error
