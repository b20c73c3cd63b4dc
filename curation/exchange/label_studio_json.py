"""Write and read Label Studio's JSON file: a list of tasks, as its import takes and its export gives them.

A task holds its picture's record (`data.grain.record`) and, for the editor, a prediction. A task that people have
annotated is read as its latest annotation; one without annotations as the picture that was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from curation.exchange.formats import located
from curation.files.records import PictureRecord, a_list, an_object, from_json, shown, to_json
from curation.label_studio.convert import FACTS, OURS, LabelStudioError, Template, from_results, to_data, to_prediction
from user_errors import UserError

RECORD = "record"
SHOWN_AT = "/data/local-files/?d="  # with the export's folder as the server's document root
FACT = "fact_"  # begins the names of a novel concept's fields
MOST_BYTES = 4_000_000_000


def to_task(record: PictureRecord) -> dict[str, Any]:
    """Return a picture as a task.

    Raises: UserError: a region has more descriptions than any form has room for.
    """
    try:
        data = to_data(record, SHOWN_AT + record.file_name)
    except LabelStudioError as error:
        raise UserError(str(error)) from error
    template: Template = "novel" if any(name in record.facts for name in FACTS) else "regions"
    data[OURS][RECORD] = json.loads(to_json(record))
    return {"data": data, "predictions": [to_prediction(record, template=template, push=data[OURS]["push"])]}


def from_task(task: Mapping[str, Any]) -> PictureRecord:
    """Return a task's picture with what people annotated since.

    Raises: UserError: it is no task of ours, or its annotation cannot be read.
    """
    data = an_object(task.get("data"), "data")
    mine = data.get(OURS)
    if not isinstance(mine, dict) or RECORD not in mine:
        raise UserError(f"expected a task that GRAIN wrote, got {shown(data)}: export the pictures from here first")
    written = from_json(json.dumps(mine[RECORD]))
    submitted = [one for one in a_list(task.get("annotations", []), "annotations") if not one.get("was_cancelled")]
    if not submitted:
        return written
    last = max(submitted, key=lambda one: str(one.get("updated_at", "")))
    results = a_list(last.get("result"), "result")
    try:
        return from_results(results, data, template=_template(results), who=_name(last.get("completed_by"))).annotated
    except LabelStudioError as error:
        raise UserError(str(error)) from error


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write a list, a task a line."""
    separator = "[\n"
    for record in records:
        file.write((separator + json.dumps(to_task(record), ensure_ascii=False)).encode())
        separator = ",\n"
    file.write(b"[]\n" if separator == "[\n" else b"\n]\n")


def read(file: IO[bytes]) -> Iterator[PictureRecord]:
    """Read the pictures of a file.

    Raises: UserError: names the task.
    """
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"expected tasks of {MOST_BYTES / 1e9:g} GB or less, got more: export them in parts")
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"expected Label Studio's JSON, got something else ({error}): export it again") from error
    if not isinstance(tasks, list):
        raise UserError(f"expected a list of tasks, got {shown(tasks)}: choose Label Studio's plain JSON format")
    for number, task in enumerate(tasks, 1):
        with located(f"task {number}"):
            record = from_task(an_object(task, "a task"))
        yield record


def _template(results: Sequence[Mapping[str, Any]]) -> Template:
    return "novel" if any(str(each.get("from_name", "")).startswith(FACT) for each in results) else "regions"


def _name(person: Any) -> str:
    """Return the annotator's name, as far as the file has it."""
    if isinstance(person, Mapping):
        return str(person.get("email") or person.get("username") or person.get("id") or "label-studio")
    return f"label-studio:{person}" if person else "label-studio"
