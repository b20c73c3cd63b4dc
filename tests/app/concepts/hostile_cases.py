"""The templates of the page Novel concepts, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from app.concepts import panels
from app.concepts.actions import ConceptEvaluation, ExportedVersion
from curation.concepts.status import ConceptSetStatus, Step
from curation.exchange.concept_classes import LEFT_OUT, ConceptClass, to_plain
from curation.files.records import CLASS
from curation.ingest.provenance import FOUND_AT, FOUND_ON
from db.models import ConceptSet, DatasetVersion, Image, LeakCheck, LeakSuspect, Likeness
from tests.support.hostile import HOSTILE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME = Path("/nowhere")
NAME = " ".join(HOSTILE[:80].split())  # as long as a class's name may be


def image(number: int, **facts: str) -> Image:
    places: dict[str, Any] = {"sha256": HOSTILE, "location": HOSTILE, "member": HOSTILE}
    return Image(id=number, dataset_id=1, width=4, height=3, facts=facts, **places)


FOUND = {FOUND_AT: HOSTILE, FOUND_ON: HOSTILE}
CLASSES = [ConceptClass(name, (HOSTILE,), HOSTILE, HOSTILE, "2026") for name in (NAME, "a lid")]
VERSION = DatasetVersion(
    id=1,
    dataset_id=1,
    name=HOSTILE,
    sha256=HOSTILE,
    file_name=HOSTILE,
    pictures=1,
    regions=1,
    created_by=HOSTILE,
    created_at=NOW,
)
CHECK = LeakCheck(
    dataset_id=1, against=HOSTILE, compared=3, checked=2, checked_to=9,
    settings={"distance": 8, "nearest": 0.9, "checkpoint": HOSTILE},
)  # fmt: skip
SUSPECTS = tuple(
    LeakSuspect(
        id=number, dataset_id=1, image_id=number, against=HOSTILE, how=how, value=0.5, match_sha256=HOSTILE,
        match_name=HOSTILE, decision="keep", decided_by=HOSTILE,
    )
    for number, how in enumerate(get_args(Likeness), 1)
)  # fmt: skip
SET = ConceptSetStatus(
    HOSTILE,
    1,
    ConceptSet(dataset_id=1, classes=to_plain(CLASSES), licence=HOSTILE, intended_use=HOSTILE, updated_by=HOSTILE),
    (image(1, **{FOUND_AT: HOSTILE}), image(2, **FOUND, **{CLASS: NAME}), image(3, **{LEFT_OUT: HOSTILE})),
    {number: {HOSTILE: NAME, "stated:bo": ("a lid", NAME)[number % 2]} for number in (1, 2)},
    (CHECK,),
    SUSPECTS,
    (VERSION,),
    {1: HOSTILE},
    None,
)
EVALUATED = ExportedVersion(VERSION, Path(HOSTILE), (ConceptEvaluation(HOSTILE, 7, 2, {HOSTILE: (0.5, 0.4, 0.6)}),))


def complete() -> str:
    """Nothing is missing, so that the data card is told."""
    done = {**FOUND, CLASS: NAME}
    ready = replace(SET, images=(image(1, **done), image(2, **done)))
    assert all(step.done for step in ready.steps() if step.name != "freeze")
    return panels.freeze_panel(ready)


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "concepts/templates/steps.html": (lambda: panels.steps_panel([Step("labels", False, HOSTILE)], HOSTILE),),
    "concepts/templates/work.html": (lambda: panels.work_panel(HOSTILE, {HOSTILE: HOSTILE}, 1),),
    "concepts/templates/parts.html": (lambda: panels.pictures_panel(SET, HOME, ()),),
    "concepts/templates/pictures.html": (lambda: panels.pictures_panel(SET, HOME, SET.images),),
    "concepts/templates/leaks.html": (
        lambda: panels.leaks_panel(SET, HOME, SUSPECTS),
        lambda: panels.leaks_panel(replace(SET, suspects=()), HOME, ()),
    ),
    "concepts/templates/classes.html": (lambda: panels.classes_panel(SET),),
    "concepts/templates/label.html": (
        lambda: panels.label_panel(SET, SET.images[0], "data:,", who=HOSTILE, message=HOSTILE),
        lambda: panels.label_panel(SET, SET.images[0], "", who=HOSTILE, message=HOSTILE),
        lambda: panels.label_panel(SET, None, "", who=HOSTILE, message=HOSTILE),
    ),
    "concepts/templates/agreement.html": (lambda: panels.agreement_panel(SET, HOME, SET.images[1:2], message=HOSTILE),),
    "concepts/templates/freeze.html": (lambda: panels.freeze_panel(SET), complete),
    "concepts/templates/evaluations.html": (
        lambda: panels.evaluations_panel([EVALUATED]),
        lambda: panels.evaluations_panel([ExportedVersion(VERSION, None, ())]),
    ),
}
