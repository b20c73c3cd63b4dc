"""Prepare what Label Studio's section of the Curate page shows, and render it by its templates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.ui.html import render
from app.ui.regions import boxed_thumbnail, versions_table
from curation.label_studio.access import task_page
from curation.label_studio.conflicts import Conflict
from curation.versions.state import name_of

if TYPE_CHECKING:
    from app.label_studio.actions import Connection, NotTaken


def conflicts_panel(conflicts: Sequence[Conflict], home: Path) -> str:
    """Render decisions of Label Studio that met another edit, each with both versions and a choice; "" for none."""
    if not conflicts:
        return ""
    rows = [_conflict(each, home) for each in conflicts]
    return render("label_studio/templates/conflicts.html", conflicts=rows)


def not_taken_panel(found: NotTaken, home: Path) -> str:
    """Render annotations of which something could not be taken: the picture, the task, and why; "" for none."""
    if not found.annotations:
        return ""
    rows = [
        {
            "picture": boxed_thumbnail(image, home, ()),
            "name": name_of(image),
            "link": task_page(each.project, each.task_id),
            "task": each.task_id,
            "who": each.who,
            "at": each.at,
            "reasons": each.reasons,
        }
        for each, image in found.latest
    ]
    more = found.annotations - len(rows)
    return render("label_studio/templates/not_taken.html", rows=rows, annotations=found.annotations, more=more)


def _conflict(conflict: Conflict, home: Path) -> dict[str, object]:
    """Return a conflict as the template needs it."""
    row, by = conflict.row, conflict.by or "somebody"
    theirs = row.wanted.get("xyxy")
    boxes = [(conflict.present.get("xyxy", theirs), "line"), (theirs, "line theirs")] if theirs else []
    return {
        "id": row.id,
        "version": conflict.version,
        "picture": boxed_thumbnail(conflict.image, home, boxes),
        "name": name_of(conflict.image),
        "what": f"region {row.region_id}" if row.region_id is not None else "the whole picture",
        "versions": versions_table(
            conflict.present, conflict.wanted, left=f"━ here · {by}", right=f"┅ Label Studio · {row.who}"
        ),
    }


def connection_panel(connection: Connection) -> str:
    """Render whether Label Studio is connected or what to do, and how many pictures were pushed and decided."""
    return render("label_studio/templates/connection.html", connection=connection)


def links_panel(links: Sequence[str]) -> str:
    """Render links to the tasks of the picture in the editor."""
    return render("label_studio/templates/links.html", links=links)
