"""Lay out the part of the Ground page that sends results to Curate, and answer its events."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app.access.accounts import person_of
from app.services import Services
from app.ui.events import LIGHT, html
from app.ui.html import notice, render
from user_errors import UserError


class SendToCurate:
    """The handlers of both buttons."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def send_one(self, view: Any, dataset: str, request: gr.Request) -> str:
        """Send the picture above. view: the page's GroundView, or None. Returns note."""
        if view is None:
            return self._send([], dataset, request, checkpoint="")
        result = view.result.prediction.above(threshold=view.question.threshold)
        return self._send(
            [(Path(view.question.picture), result)], dataset, request, checkpoint=view.question.checkpoint
        )

    def send_all(self, answers: Any, dataset: str, request: gr.Request) -> str:
        """Send all pictures of the last run on several. answers: PictureAnswers, or None. Returns note."""
        good = [each for each in answers or [] if each.found is not None]
        found = [(each.path, each.found.prediction) for each in good]
        return self._send(found, dataset, request, checkpoint=good[0].checkpoint if good else "")

    def _send(self, found: list[Any], dataset: str, request: gr.Request, *, checkpoint: str) -> str:
        from app.ground.send import send_to_curate

        name = (dataset or "").strip()
        try:
            person = person_of(request)
            send_to_curate(self.services, found, checkpoint=checkpoint, dataset=name, person=person)
        except UserError as error:
            return notice(error.sentence)
        link = f"/curate?{urlencode({'dataset': name})}"
        return render("ground/templates/sent.html", pictures=len(found), dataset=name, link=link)


def build_send(services: Services, *, view: Any, several: Any) -> None:
    """Lay the part out inside the current column and wire it. view, several: states of the results."""
    part = SendToCurate(services)
    with gr.Column(elem_classes="card"), gr.Accordion("Send to Curate", open=False, elem_id="send"):
        dataset = gr.Textbox(
            label="name of the data set",
            placeholder="photos",
            info="A new one, or one that there is.",
            elem_id="send-dataset",
        )
        with gr.Row(elem_classes="actions"):
            one = gr.Button("Send this picture", variant="primary", elem_id="send-one")
            every = gr.Button("Send all of several", elem_id="send-all")
        note = html(elem_id="note-send")
    one.click(part.send_one, [view, dataset], note, **LIGHT)
    every.click(part.send_all, [several, dataset], note, **LIGHT)
