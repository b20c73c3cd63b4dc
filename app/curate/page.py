"""Lay out the Curate page: regions to filter and to review one after the other, and an editor for the picture of one.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.access.rules import allows
from app.curate import bulk_page, map_page
from app.curate.filter_controls import ANY, ANY_RUN, CONTROLS, address_of, changed_controls, query_of, restored_controls
from app.services import Services
from app.ui.dataset_choice import NO_DATASET, open_dataset
from app.ui.events import LIGHT, Paged, change_events, html, in_order, script
from app.ui.html import heading, keys_hint, notice, page_head, render
from user_errors import UserError

TITLE, PATH = "Curate", "curate"
LEAD = "Are the descriptions and boxes true? Fix what is not, and decide what training may trust."
NOVEL = ("Novel concepts: label what no model knows yet →", "/concepts")
HERE = Path(__file__)
SCRIPT = script(
    HERE,
    "editor_queue.js",
    "editor_store.js",
    "picture_view.js",
    "editor_boxes.js",
    "editor_view.js",
    "editor_words.js",
    "editor_suggest.js",
    "editor_ahead.js",
    "editor_rest.js",
)
SESSION_SCRIPT, SCORED_SCRIPT = (
    f"(found) => {{ document.dispatchEvent(new CustomEvent('curate:{what}', {{ detail: {detail} }})); }}"
    for what, detail in (("session", "JSON.parse(found)"), ("scored-by", "found"))
)
COUNTS, COUNTS_SCRIPT = (
    "<div></div>",
    """document.addEventListener("curate:counted", ({ detail }) => {
  element.firstElementChild.innerHTML = detail;
});
document.dispatchEvent(new Event("curate:counts-open"));""",
)
"""The fold's content is made when it is opened: then it asks for the counts, which the editor's script tells it."""
NEUTRAL_CHOICES = f"() => {json.dumps([ANY[1], ANY_RUN])}"
"""Of another data set: sources and runs are each one's own."""
NO_SCORES = ""
STATES = (
    ("empty", "No region open", "Press a region in the gallery, or start the review."),
    ("waiting", "Loading the next picture", "Keys do nothing until it is here."),
    ("finished", "Nothing left to review", "No further region with these filters waits for a verdict."),
)
STAGE = render("curate/templates/stage.html", states=STATES)
"""All that Gradio puts into the editor: its script draws there what it is answered, when nobody is writing."""
KEYS = (("A", "accept"), ("R", "reject"), ("N", "nothing here"), ("Z", "undo"), ("→", "next"))


@dataclass(frozen=True, kw_only=True)
class CurateComponents:
    """The components that events come from or go to."""

    filters: Mapping[str, Any]
    drawer: Any
    show_filters: Any
    checkpoint: Any
    gallery: Any
    note: Any
    pages: Any
    back: Any
    forward: Any
    curators: Any
    map: map_page.MapComponents
    bulk: bulk_page.BulkComponents


Section = Callable[[gr.Blocks, Services, Any], None]
"""A function that lays out a section of the page: app, services, the data set's dropdown."""


@dataclass
class CuratePage(Paged):
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page with the filters of its link. Returns checkpoint, drawer, show_filters, filters."""
        from app.curate import actions

        actions.index_some(self.services)
        usable = [each.name for each in self.services.registry.usable()]
        choices = [("nothing", NO_SCORES), *((name, name) for name in usable)]
        chosen = next(iter(usable), NO_SCORES)
        query = dict(request.query_params)
        controls = restored_controls(query, open_dataset(self.services, request).field)
        chosen_by_link = changed_controls(controls)
        drawer = gr.Accordion(open=any(control.drawer for control in chosen_by_link))
        return [gr.Dropdown(choices=choices, value=chosen), drawer, bool(chosen_by_link), *controls]

    def session(self, request: gr.Request, *filters: Any) -> str:
        """Return what the page's script must know: who works on what, and the address that restores the filters."""
        from app.curate import actions

        person = person_of(request)
        query, address = query_of(filters), address_of(filters)
        found = {
            "address": address,
            "filters": {"address": address, "selection": query.selection},  # see query_at
            "person": person.name,
            "dataset": actions.dataset_key(self.services, query.dataset),
            "texts": actions.common_texts(self.services, query.dataset),
            "edits": allows(person.role, "curator"),
        }
        return json.dumps(found)

    def show(self, *filters: Any) -> list[Any]:
        """Show the first page of other filters. Returns gallery, note, pages, curators, source, run."""
        from app.curate import actions, panels

        query = query_of(filters)
        if not query.dataset:
            return [NO_DATASET, "", [""], "", gr.skip(), gr.skip()]
        try:
            found = actions.gallery(self.services, query)
            people = actions.curators(self.services, query.dataset)
            choices = actions.filter_choices(self.services, query)
        except UserError as error:
            return [gr.skip(), notice(error.sentence), *(gr.skip() for _ in range(4))]
        return [
            panels.gallery_panel(found, self.services.settings.home),
            notice(panels.gone_sentence(query.dataset, choices.gone)),
            ["", found.after],
            panels.curators_panel(people),
            gr.Dropdown(choices=[ANY, *((source, source) for source in choices.sources)]),
            gr.Dropdown(choices=[("any", ANY_RUN), *((name, number) for number, name in choices.runs.items())]),
        ]

    def again(self, places: list[str], *filters: Any) -> list[Any]:
        """Show the same page of the gallery as it is now. Returns gallery, note, pages."""
        return self._page(places[:-1] or [""], places[-2] if len(places) > 1 else "", filters)

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        from app.curate import actions, panels

        try:
            found = actions.gallery(self.services, query_of(filters), after)
        except UserError as error:
            return [gr.skip(), notice(error.sentence), gr.skip()]
        return [panels.gallery_panel(found, self.services.settings.home), "", [*places, found.after]]


def build(app: gr.Blocks, services: Services, dataset: Any, *, below: Section | None = None) -> None:
    """Lay the page out inside the current Blocks and wire its events.

    Args: dataset: the field of the navigation. below: another section.
    """
    page = CuratePage(services)
    parts = _lay_out(dataset)
    _wire(app, page, parts)
    if below is not None:
        below(app, services, parts.filters["dataset"])


def _lay_out(dataset: Any) -> CurateComponents:
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD, NOVEL))
        checkpoint = gr.Dropdown(
            [], label="scores with", filterable=False, elem_id="scores-with", min_width=150, scale=0
        )
    # of a phone, by its style alone: the filters would fill the first screen
    show_filters = gr.Checkbox(
        False, label="show the filters", interactive=True, elem_id="show-filters", container=False
    )
    filters, drawer, curators, library = _lay_out_filters(dataset)
    with gr.Row(elem_classes="columns curate"):
        with gr.Column(elem_classes="card", min_width=220):
            with gr.Row(elem_classes="gallery-head"):
                html(heading("Regions"))
                # its script reads it: the next one is opened before any answer
                gr.Checkbox(
                    True, label="open the next one by itself", interactive=True, elem_id="advance", container=False
                )
                back, forward = (gr.Button(name, size="sm", min_width=60) for name in ("Back", "More"))
                gr.Button("Review", variant="primary", size="sm", elem_id="review")  # the editor's script asks
            bar = bulk_page.lay_out_bar()
            note = html(elem_id="note-gallery")
            gallery = html(elem_id="regions")
        with gr.Column(elem_classes="card work", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html(heading("Review"))
                gr.Button("Gallery", size="sm", min_width=60, elem_id="close-editor")
            # no event's output: Gradio copies all that an answered component holds, its script too
            gr.HTML(None, html_template=STAGE, js_on_load=SCRIPT, apply_default_css=False, elem_id="editor")
            html(keys_hint(KEYS))
    map_components = map_page.lay_out()
    return CurateComponents(
        filters=filters,
        drawer=drawer,
        show_filters=show_filters,
        checkpoint=checkpoint,
        gallery=gallery,
        note=note,
        pages=gr.State([""]),
        back=back,
        forward=forward,
        curators=curators,
        map=map_components,
        bulk=bulk_page.BulkComponents(bar=bar, library=library),
    )


def _lay_out_filters(dataset: Any) -> tuple[dict[str, Any], Any, Any, Any]:
    """Lay out the filters, with those that few need folded away. Returns filters, drawer, curators, library."""
    made: dict[str, Any] = {"dataset": dataset}
    with gr.Row(elem_classes="card filter-bar"):
        made |= {control.name: control.make() for control in CONTROLS if control.make and not control.drawer}
        with (
            gr.Accordion("More filters", open=False, elem_id="more-filters", elem_classes="drawer") as drawer,
            gr.Row(),
        ):
            made |= {control.name: control.make() for control in CONTROLS if control.make and control.drawer}
        with gr.Accordion("Saved filters, tags, trash", open=False, elem_classes="drawer", elem_id="library-fold"):
            library = bulk_page.lay_out_library()
        with gr.Accordion("Counts and decisions by person", open=False, elem_classes="drawer"):
            gr.HTML(None, html_template=COUNTS, js_on_load=COUNTS_SCRIPT, apply_default_css=False, elem_id="counts")
            curators = html(elem_id="curators")
    return {control.name: made[control.name] for control in CONTROLS}, drawer, curators, library


def _wire(app: gr.Blocks, page: CuratePage, parts: CurateComponents) -> None:
    filters = [*parts.filters.values()]
    choices = [parts.filters["source"], parts.filters["run_id"]]
    shown = [parts.gallery, parts.note, parts.pages, parts.curators, *choices]
    regions = in_order("regions")
    link = gr.Textbox(visible=False)
    restored = app.load(page.open, None, [parts.checkpoint, parts.drawer, parts.show_filters, *filters], **LIGHT).then(
        page.show, filters, shown, **regions
    )
    dataset = parts.filters["dataset"]
    changes = change_events([each for each in filters if each is not dataset])
    switched = dataset.input(None, None, choices, js=NEUTRAL_CHOICES, api_visibility="private")
    gr.on(changes, page.show, filters, shown, **regions)
    switched.then(page.show, filters, shown, **regions)
    links = in_order("regions-link")
    for linked in (
        restored.then(page.session, filters, link, **links),
        gr.on(changes, page.session, filters, link, **links),
        switched.then(page.session, filters, link, **links),
    ):
        linked.then(None, link, None, js=SESSION_SCRIPT, api_visibility="private")
    section = map_page.MapSection(page.services)
    map_page.wire(section, parts.map, filters=parts.filters, checkpoint=parts.checkpoint)
    page_outputs = [parts.gallery, parts.note, parts.pages]

    def show_again(changed: Any) -> None:
        changed.then(page.again, [parts.pages, *filters], page_outputs, **regions)

    bulk = bulk_page.BulkSection(page.services)
    options: dict[str, Any] = {"filters": filters, "dataset": dataset, "tag": parts.filters["tag"]}
    bulk_page.wire(bulk, parts.bulk, **options, refresh=show_again)
    library = bulk.library, [dataset, parts.filters["tag"]], [parts.bulk.library, parts.filters["tag"]]
    restored.then(*library, **LIGHT)
    dataset.change(*library, **LIGHT)
    parts.forward.click(page.forward, [parts.pages, *filters], page_outputs, **regions)
    parts.back.click(page.back, [parts.pages, *filters], page_outputs, **regions)
    parts.checkpoint.change(None, parts.checkpoint, None, js=SCORED_SCRIPT, api_visibility="private")
