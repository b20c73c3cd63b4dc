"""Lay out the import of pictures from the person's own machine, through the browser, and answer its event."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.services import Services
from app.ui.events import LIGHT, html
from app.ui.html import notice, render_macro
from app.ui.upload_field import NamedUpload, NamedUploads
from user_errors import UserError

MB = 1_000_000


class OwnPictures:
    """The handler of the import."""

    def __init__(self, services: Services) -> None:
        """services: what it calls."""
        self.services = services

    def start(
        self, files: list[NamedUpload], folder: list[NamedUpload], name: str, accept: bool, request: gr.Request
    ) -> list[Any]:
        """Queue the import of what was chosen. Returns note, files, folder."""
        from app.jobs.imports import queue_upload
        from curation.ingest.uploads import named

        chosen = (*files, *folder)
        asked: dict[str, Any] = {"name": name or "", "owner": person_of(request).name, "accept": bool(accept)}
        try:
            kept = named([each.path for each in chosen], sent=[each.name for each in chosen])
            queue_upload(self.services.jobs, self.services.settings.home, files=kept, **asked)
        except UserError as error:
            return [notice(error.sentence), gr.skip(), gr.skip()]
        what = "1 file goes" if len(chosen) == 1 else f"{len(chosen):,} files go"
        return [render_macro("note", f"{what} into “{name.strip()}”: above you see how far that is."), None, None]


def build_own_pictures(services: Services) -> Any:
    """Lay it out inside the current column and wire it. Returns the event, for what a page shows after it."""
    part = OwnPictures(services)
    most = services.settings.upload_bytes / MB
    with gr.Row(equal_height=True):
        size: dict[str, Any] = {"height": 150, "min_width": 240, "scale": 1}
        files = NamedUploads(label="pictures, archives, COCO files", file_count="multiple", elem_id="own-files", **size)
        folder = NamedUploads(label="or a folder", file_count="directory", elem_id="own-folder", **size)
    with gr.Row(equal_height=True):
        name = gr.Textbox(
            label="name of the data set",
            info=f"A new one, or one that there is. Each file may have {most:g} MB.",
            placeholder="photos",
            elem_id="own-name",
            min_width=240,
        )
        accept = gr.Checkbox(
            label="people made the boxes in COCO files: accept them", elem_id="own-accept", min_width=240
        )
    start = gr.Button("Import", elem_id="own-import")
    note = html(elem_id="note-own")
    return start.click(part.start, [files, folder, name, accept], [note, files, folder], **LIGHT)
