"""The templates of Label Studio's section, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from app.label_studio import panels
from app.label_studio.actions import Connection, NotTaken
from curation.label_studio.conflicts import Conflict
from db.models import Image, LabelConflict, LabelLeftover
from db.queries.label_studio_queries import ProjectCount
from tests.support.hostile import HOSTILE

BOX = [0.1, 0.1, 0.5, 0.5]
URL = f"http://127.0.0.1:8081/?{HOSTILE}"


def conflicts() -> str:
    ids: dict[str, Any] = {"id": 1, "dataset_id": 1, "image_id": 1, "target": "2", "project": URL, "remote_id": 1}
    image = Image(id=1, dataset_id=1, sha256="ab", location=HOSTILE, width=4, height=3)
    both: Any = {"text": "ours", "xyxy": BOX}, {"text": HOSTILE, "xyxy": [0.0, 0.0, 1.0, 1.0]}
    rows = [LabelConflict(region_id=region, wanted=both[1], who=HOSTILE, **ids) for region in (2, None)]
    return panels.conflicts_panel(
        [Conflict(row, image, both[0], both[1], version=1, by=HOSTILE) for row in rows], Path("nowhere")
    )


def connected(problem: str) -> str:
    counts = (ProjectCount(f"http://127.0.0.1:8081/projects/1?{HOSTILE}", 1, 1, 2, 3),)
    return panels.connection_panel(Connection(URL, problem, counts))


def not_taken() -> str:
    image = Image(id=1, dataset_id=1, sha256="ab", location=HOSTILE, width=4, height=3)
    ids: dict[str, Any] = {"dataset_id": 1, "image_id": 1, "task_id": 1, "remote_id": 1}
    row = LabelLeftover(project=URL, who=HOSTILE, reasons=[HOSTILE], **ids)
    return panels.not_taken_panel(NotTaken([(row, image)], 30), Path("nowhere"))


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "label_studio/templates/conflicts.html": (conflicts,),
    "label_studio/templates/not_taken.html": (not_taken,),
    "label_studio/templates/connection.html": (partial(connected, ""), partial(connected, HOSTILE)),
    "label_studio/templates/links.html": (partial(panels.links_panel, [f"{URL}=1", f"{URL}={HOSTILE}"]),),
}
