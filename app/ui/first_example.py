"""Offer the example data sets on the pages that work on one, as long as there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.access.rules import allows
from app.core.example_data import EXAMPLES
from app.services import Services
from app.ui.events import LIGHT, ON_ASK, QUEUE_ALL
from app.ui.html import render

GO_HOME = "() => window.location.assign('/home')"  # where the import is seen, and what comes next


class FirstExample:
    """The handlers. Each makes one call and shows its result."""

    def __init__(self, services: Services, names: Sequence[str]) -> None:
        """services: what they call. names: of the examples that the page offers."""
        self.services, self.names = services, names

    def offer(self, request: gr.Request) -> str:
        """Offer them to who may import where there is no data set. Returns offer."""
        from app.ui.jobs_list import dataset_names

        if not allows(person_of(request).role, "curator") or dataset_names(self.services):
            return ""
        return render("ui/templates/first_example.html", examples=[EXAMPLES[name] for name in self.names])

    def begin(self, request: gr.Request, event: gr.EventData) -> None:
        """Queue the import of one.

        Raises: UserError: there is no such example.
        """
        from app.jobs.imports import queue_example

        queue_example(self.services.jobs, str(event.ask), owner=person_of(request).name)


def build_first_example(app: gr.Blocks, example: FirstExample, *dataset: Any) -> None:
    """Lay the offer out inside the current Blocks and wire its events. dataset: the field of the navigation, if any."""
    offer = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="first-example")
    gr.on([app.load, *(field.change for field in dataset)], example.offer, None, offer, **LIGHT)
    begun: Any = offer.click(example.begin, None, None, **(LIGHT | QUEUE_ALL))
    begun.success(None, None, None, js=GO_HOME, api_visibility="private")
