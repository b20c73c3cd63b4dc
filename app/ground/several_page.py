"""Lay out the part of the Ground page that takes several pictures, and answer its events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.core.data_uri import file_to_save
from app.core.ground_links import GroundQuestion, QuestionError
from app.ground import panels
from app.ground.layout import GroundForm
from app.ground.send_page import build_send
from app.ground.several import MOST_PICTURES, PictureAnswer, crops_zip, found_of, ground_files, unread_of
from app.services import Services
from app.ui.events import LIGHT, SAVE, html, warn
from app.ui.html import notice
from app.ui.upload_field import UploadedFiles
from grain.detections import to_coco, to_csv
from picture_formats import SUFFIXES

NO_RESULT = "There is no result yet: choose pictures and press Run on all first."
LANE: dict[str, Any] = {"concurrency_id": "several", "concurrency_limit": 2, "api_visibility": "private"}


class SeveralPictures:
    """The handlers of several pictures: a generator that shows each result as it comes, and downloads."""

    def __init__(self, services: Services) -> None:
        """Keep the services."""
        self.services = services

    def run(
        self, files: list[str] | None, folder: list[str] | None, descriptions: str, checkpoint: str, threshold: float
    ) -> Iterator[list[Any]]:
        """Answer [Run on all]: after each picture the grid, how far it is, and the results so far."""
        question = GroundQuestion("", descriptions or "", "", checkpoint or "", threshold=threshold)
        in_folder = [path for path in folder or [] if path.lower().endswith(SUFFIXES)]  # it holds other files, too
        paths, answers = [*(files or []), *in_folder], list[PictureAnswer]()
        try:
            for each in ground_files(self.services, paths, question):
                answers.append(each)
                count, last = len(answers), len(answers) == len(paths)
                # the whole grid is sent each time, so at 1, 2, 4, 8, … pictures
                grid = panels.several_panel(answers) if last or count & (count - 1) == 0 else gr.skip()
                yield [grid, panels.several_note(answers, total=len(paths), last=last), list(answers)]
        except QuestionError as error:
            warn(error)
            yield [gr.skip(), notice(error.sentence), gr.skip()]

    def show_kept(self, answers: list[PictureAnswer] | None) -> list[Any]:
        """Answer [Cancel], which has ended the run, with all that it brought. Returns grid and note."""
        if not answers:
            return [gr.skip(), ""]
        return [panels.several_panel(answers), panels.several_note(answers, total=len(answers), last=True)]

    def download_csv(self, answers: list[PictureAnswer] | None) -> dict[str, str]:
        """Return the table of all regions as a file for the page's script to save."""
        return _file(
            answers,
            name="detections.csv",
            kind="text/csv",
            content=lambda rows: to_csv(found_of(rows), unread_of(rows)).encode(),
        )

    def download_coco(self, answers: list[PictureAnswer] | None) -> dict[str, str]:
        """Return COCO JSON as a file for the page's script to save."""
        return _file(
            answers,
            name="detections.json",
            kind="application/json",
            content=lambda rows: json.dumps(to_coco(found_of(rows))).encode(),
        )

    def download_crops(self, answers: list[PictureAnswer] | None) -> dict[str, str]:
        """Return the cut-out regions as an archive for the page's script to save."""
        try:
            return _file(
                answers,
                name="crops.zip",
                kind="application/zip",
                content=lambda rows: crops_zip(self.services.settings, rows),
            )
        except QuestionError as error:
            warn(error)
            return {}


def _file(answers: list[PictureAnswer] | None, *, name: str, kind: str, content: Any) -> dict[str, str]:
    if not answers:
        gr.Warning(NO_RESULT, title="Not yet")
        return {}
    return file_to_save(name, kind, content(answers))


def build_several(services: Services, form: GroundForm, *, view: Any) -> None:
    """Lay the part out inside the current column and wire its events; it asks the page's own descriptions.

    view: the state of the page's own result, which can be sent to Curate as these can.
    """
    page = SeveralPictures(services)
    title = "Several pictures at once"
    with gr.Column(elem_classes="card"), gr.Accordion(title, open=False, elem_id="several"):
        with gr.Row(equal_height=True):
            size: dict[str, Any] = {"height": 150, "min_width": 260, "scale": 1}
            most = f"pictures, up to {MOST_PICTURES}"
            files = UploadedFiles(label=most, file_count="multiple", elem_id="files", **size)
            folder = UploadedFiles(label="or a folder", file_count="directory", elem_id="folder", **size)
        with gr.Row(elem_classes="actions"):
            run = gr.Button("Run on all", variant="primary", elem_id="run-all")
            stop = gr.Button("Cancel", elem_id="cancel-all")
        note = html(elem_id="note-several")
        with gr.Row(elem_classes="actions"):
            as_csv, as_coco, as_crops = (
                gr.Button(name, size="sm", elem_id=elem_id)
                for name, elem_id in (("CSV", "csv-all"), ("COCO", "coco-all"), ("Crops (ImageFolder)", "crops-all"))
            )
        grid = html(elem_id="several-grid")
    results, file = gr.State(None), gr.JSON(visible=False)
    asked = [files, folder, form.descriptions, form.checkpoint, form.threshold]
    running = run.click(page.run, asked, [grid, note, results], show_progress="hidden", **LANE)
    stop.click(page.show_kept, results, [grid, note], cancels=[running], **LIGHT)
    for button, download in (
        (as_csv, page.download_csv),
        (as_coco, page.download_coco),
        (as_crops, page.download_crops),
    ):
        button.click(download, results, file, **LIGHT).then(None, file, None, js=SAVE)
    build_send(services, view=view, several=results)
