"""Handle the Home page: the road of the chosen data set, drawn again as its jobs go on, and the ways in.

Handlers import what needs the database: the first page must not wait for it.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.access.rules import allows
from app.home import panels
from app.home.own_pictures_page import build_own_pictures
from app.services import Services
from app.ui.dataset_choice import open_dataset, refreshed_dataset
from app.ui.events import LIGHT, ON_ASK, QUEUE_ALL, TICK_SECONDS, html, warn
from app.ui.html import empty_state, heading, page_head
from user_errors import UserError

TITLE, PATH = "Home", "home"
LEAD = "From pictures to a model that knows what is on them: how far is it, and what comes next?"
NO_DATASET = empty_state("No data set yet", "Begin with one of the ways below.")
COMING = empty_state("Pictures are on their way", "They appear here as soon as they are imported.")


class HomePage:
    """The handlers. Each makes one call and shows its result."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page on the data set of its link, or the last one. Returns dataset, known, road, ways in, own."""
        dataset, edits = open_dataset(self.services, request), allows(person_of(request).role, "curator")
        ways = self._ways(dataset.names, edits=edits)
        return [dataset.field, dataset.names, self._road(dataset.chosen), ways, gr.Column(visible=edits)]

    def show(self, dataset: str | None) -> str:
        """Show the road of another data set. Returns road."""
        return self._road(dataset)

    def tick(self, dataset: str | None, known: list[str], before: str, request: gr.Request) -> list[Any]:
        """Show what jobs have changed, every two seconds. Returns dataset, known, road, ways in."""
        person = person_of(request)
        chosen, names = refreshed_dataset(self.services, dataset, known, who=person.name)
        road = self._road(dataset)
        shown = gr.skip() if road == before else road
        if names == known:
            return [chosen, gr.skip(), shown, gr.skip()]
        return [chosen, names, shown, self._ways(names, edits=allows(person.role, "curator"))]

    def import_example(self, known: list[str], request: gr.Request, event: gr.EventData) -> list[Any]:
        """Import an example data set. Returns road, ways in."""
        from app.home import actions

        try:
            actions.import_example(self.services, str(event.ask), person_of(request))
        except UserError as error:
            warn(error)
            return [gr.skip(), gr.skip()]
        return [COMING, self._ways(known, edits=True)]

    def _ways(self, names: list[str], *, edits: bool) -> str:
        from app.home import actions

        return panels.ways_in_panel([*names, *actions.imports_going_on(self.services)], edits=edits)

    def _road(self, dataset: str | None) -> str:
        from app.home import actions

        if not dataset:
            return COMING if actions.imports_going_on(self.services) else NO_DATASET
        try:
            return panels.road_panel(actions.road(self.services, dataset), self.services.settings.home)
        except UserError as error:
            return empty_state("Nothing to show", error.sentence)


def build(app: gr.Blocks, services: Services, dataset: Any) -> None:
    """Lay the page out inside the current Blocks and wire its events. dataset: the field of the navigation."""
    page = HomePage(services)
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD))
    with gr.Column(elem_classes="card home"):
        road = html(elem_id="road")
    with gr.Column(elem_classes="card home"):
        html(heading("Ways in"))
        ways = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="ways-in")
    with gr.Column(elem_classes="card home", elem_id="own", visible=False) as own:
        html(heading("Your own pictures"))
        build_own_pictures(services)
    known = gr.State([])
    app.load(page.open, None, [dataset, known, road, ways, own], **LIGHT)
    dataset.change(page.show, dataset, road, **LIGHT)
    ways.click(page.import_example, known, [road, ways], **(LIGHT | QUEUE_ALL))
    gr.Timer(TICK_SECONDS).tick(page.tick, [dataset, known, road], [dataset, known, road, ways], **LIGHT)
