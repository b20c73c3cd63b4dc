"""Lay out the Curate page: regions to filter and to review one after the other, and an editor for the picture of one.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.core.page_values import whole_number
from app.curate import map_page
from app.curate.filter_controls import ANY, ANY_RUN, CONTROLS, address_of, query_of, restored_controls
from app.services import Services
from app.ui.events import LIGHT, QUEUE_ALL, Paged, change_events, dataset_dropdown, html, in_order, script, warn
from app.ui.html import empty_state, heading, keys_hint, notice, page_head
from user_errors import UserError

if TYPE_CHECKING:
    from app.curate.actions import CurateQuery
    from app.curate.editor import EditResult

TITLE, PATH = "Curate", "curate"
LEAD = "Are the annotations true? Fix what is not, and decide what training may trust."
NOVEL = ("Novel concepts: label what no model knows yet →", "/concepts")
SCRIPT = script(Path(__file__))
ANSWERED_SCRIPT = "() => { document.dispatchEvent(new Event('curate:answered')); }"
LINK_SCRIPT = "(link) => { document.dispatchEvent(new CustomEvent('curate:filtered', { detail: link })); }"
NO_SCORES = ""
NO_DATASET = empty_state("No data set yet", "Import one on the Annotate page.")
NOTHING_OPEN = empty_state("No region open", "Press a region in the gallery, or start the review.")
ALL_REVIEWED = empty_state("Nothing left to review", "Every region with these filters has a verdict.")
KEYS = (("A", "accept"), ("R", "reject"), ("N", "nothing here"), ("Z", "undo"), ("→", "next"))


@dataclass(frozen=True)
class CuratePlace:
    """The place of a person. image, chosen: in the editor. queue: the key behind which the review goes on."""

    image: int = 0
    chosen: int | None = None
    queue: str = ""


@dataclass(frozen=True, kw_only=True)
class CurateComponents:
    """The components that events come from or go to."""

    filters: Mapping[str, Any]
    checkpoint: Any
    advance: Any
    gallery: Any
    note: Any
    pages: Any
    back: Any
    forward: Any
    editor: Any
    counts: Any
    curators: Any
    map: map_page.MapComponents
    place: Any


Section = Callable[[gr.Blocks, Services, Any, Any], None]
"""A function that lays out a section of the page: app, services, the data set's dropdown, the editor's place."""


@dataclass
class CuratePage(Paged):
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page with the filters of its link. Returns checkpoint, filters."""
        from app.curate import actions

        actions.index_some(self.services)
        usable = [each.name for each in self.services.registry.usable()]
        choices = [("nothing", NO_SCORES), *((name, name) for name in usable)]
        chosen = next(iter(usable), NO_SCORES)
        query = dict(request.query_params)
        controls = restored_controls(query, dataset_dropdown(self.services, query.get("dataset")))
        return [gr.Dropdown(choices=choices, value=chosen), *controls]

    def restore(self, request: gr.Request) -> list[Any]:
        """Open the region or the picture of a link in the editor. Returns editor, place."""
        from app.curate import actions

        query = dict(request.query_params)
        try:
            if region := query.get("region"):
                number = whole_number("region", region)
                return self.edited(CuratePlace(), actions.image_of(self.services, number), number)
            if image := query.get("image"):
                return self.edited(CuratePlace(), whole_number("image", image), None)
        except UserError as error:
            warn(error)
        return [gr.skip(), gr.skip()]

    def address(self, *filters: Any) -> str:
        """Return the address parameters that restore the filters; the page's script puts them into its address."""
        return address_of(filters)

    def show(self, *filters: Any) -> list[Any]:
        """Show the first page of other filters. Returns gallery, note, pages, counts, curators, source, run."""
        from app.curate import actions, panels

        query = query_of(filters)
        if not query.dataset:
            return [NO_DATASET, "", [""], "", "", gr.skip(), gr.skip()]
        try:
            found = actions.gallery(self.services, query)
            counts = actions.counts(self.services, query.dataset)
            people = actions.curators(self.services, query.dataset)
            runs = actions.runs(self.services, query.dataset)
        except UserError as error:
            return [gr.skip(), notice(error.sentence), *(gr.skip() for _ in range(5))]
        sources = sorted({each.source for each in counts})
        return [
            panels.gallery_panel(found, self.services.settings.home),
            "",
            ["", found.after],
            panels.counts_panel(counts),
            panels.curators_panel(people),
            gr.Dropdown(choices=[ANY, *((source, source) for source in sources)]),
            gr.Dropdown(choices=[("any", ANY_RUN), *((name, number) for number, name in runs.items())]),
        ]

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        from app.curate import actions, panels

        try:
            found = actions.gallery(self.services, query_of(filters), after)
        except UserError as error:
            return [gr.skip(), notice(error.sentence), gr.skip()]
        return [panels.gallery_panel(found, self.services.settings.home), "", [*places, found.after]]

    def counts(self, dataset: str | None) -> Any:
        """Count again after an edit. Returns counts."""
        from app.curate import actions, panels

        try:
            return panels.counts_panel(actions.counts(self.services, dataset or ""))
        except UserError:
            return gr.skip()

    def view(self, place: CuratePlace, event: gr.EventData, *filters: Any) -> list[Any]:
        """Open a region of the gallery, the first or the next one to review, or the same picture again.

        Returns editor, place.
        """
        from app.curate import actions

        ask = event.ask if isinstance(event.ask, Mapping) else {}
        if ask.get("do") == "first":
            return self._next(CuratePlace(place.image, place.chosen), query_of(filters))
        if ask.get("do") == "next":
            return self._next(place, query_of(filters))
        try:
            if ask.get("do") == "open":
                region = whole_number("id", ask.get("id"))
                return self.edited(place, actions.image_of(self.services, region), region)
            return self.edited(place, place.image, place.chosen)
        except UserError as error:
            warn(error)
            return [gr.skip(), gr.skip()]

    def ask(
        self,
        place: CuratePlace,
        checkpoint: str,
        advance: bool,
        request: gr.Request,
        event: gr.EventData,
        *filters: Any,
    ) -> list[Any]:
        """Do an edit of the editor; a decision opens the next region. Returns editor, place."""
        from app.curate import editor

        ask = event.ask
        if not isinstance(ask, Mapping):
            return [gr.skip(), gr.skip()]
        try:
            done = editor.apply_edit(self.services, ask, who=person_of(request).name, checkpoint=checkpoint or "")
        except UserError as error:
            warn(error)
            return self.edited(place, place.image, place.chosen)
        decided = ask.get("do") == "verdict" and ask.get("status") in ("accepted", "rejected")
        if advance and done.conflict is None and (decided or ask.get("do") == "review"):
            return self._next(place, query_of(filters), done)
        return self.edited(place, done.image_id, done.chosen or place.chosen, done=done)

    def _next(self, place: CuratePlace, query: CurateQuery, done: EditResult | None = None) -> list[Any]:
        """Open the next region without a verdict, first of the same picture. Returns editor, place."""
        from app.curate import actions

        try:
            if done and (pending := actions.pending_of(self.services, done.image_id)):
                return self.edited(place, done.image_id, pending, done=done)
            found, ahead = actions.next_pending(self.services, query, place.queue)
            if done is None and found.tiles and found.tiles[0].region.id == place.chosen:
                found, ahead = actions.next_pending(self.services, query, found.after)  # it is open already
        except UserError as error:
            warn(error)
            return [gr.skip(), gr.skip()]
        if not found.tiles:
            return [ALL_REVIEWED, CuratePlace()]
        self.services.pictures.prefetch(ahead)
        tile = found.tiles[0]
        return self.edited(CuratePlace(queue=found.after), tile.image.id, tile.region.id)

    def edited(
        self, place: CuratePlace, image: int, chosen: int | None, *, done: EditResult | None = None
    ) -> list[Any]:
        """Show a picture in the editor. Returns editor, place."""
        from app.curate import actions, panels

        if not image:
            return [gr.skip(), gr.skip()]
        opened = actions.open_picture(self.services, image, chosen)
        message, conflict = (done.message, done.conflict) if done else ("", None)
        return [panels.editor_panel(opened, message, conflict), CuratePlace(image, opened.chosen, place.queue)]


def build(app: gr.Blocks, services: Services, *, below: Section | None = None) -> None:
    """Lay the page out inside the current Blocks and wire its events. below: another section."""
    page = CuratePage(services)
    parts = _lay_out()
    _wire(app, page, parts)
    if below is not None:
        below(app, services, parts.filters["dataset"], parts.place)


def _lay_out() -> CurateComponents:
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD, NOVEL))
        checkpoint = gr.Dropdown(
            [], label="scores with", filterable=False, elem_id="scores-with", min_width=150, scale=0
        )
    map_components = map_page.lay_out()
    with gr.Row(elem_classes="columns curate"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            html(heading("Filters"))
            filters = {control.name: control.make() for control in CONTROLS}
            counts = html(elem_id="counts")
            with gr.Accordion("Decisions by person", open=False):
                curators = html(elem_id="curators")
        with gr.Column(elem_classes="card", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html(heading("Regions"))
                back, forward = (gr.Button(name, size="sm", min_width=60) for name in ("Back", "More"))
            note = html(elem_id="note-gallery")
            gallery = html(elem_id="regions")
        with gr.Column(elem_classes="card work", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html(heading("Review"))
                advance = gr.Checkbox(True, label="open the next one by itself", elem_id="advance", container=False)
                gr.Button("Review", variant="primary", size="sm", elem_id="review")  # its script asks
            editor = gr.HTML(NOTHING_OPEN, js_on_load=SCRIPT, apply_default_css=False, elem_id="editor")
            html(keys_hint(KEYS))
    return CurateComponents(
        filters=filters,
        checkpoint=checkpoint,
        advance=advance,
        gallery=gallery,
        note=note,
        pages=gr.State([""]),
        back=back,
        forward=forward,
        editor=editor,
        counts=counts,
        curators=curators,
        map=map_components,
        place=gr.State(CuratePlace()),
    )


def _wire(app: gr.Blocks, page: CuratePage, parts: CurateComponents) -> None:
    filters = [*parts.filters.values()]
    choices = [parts.filters["source"], parts.filters["run_id"]]
    shown = [parts.gallery, parts.note, parts.pages, parts.counts, parts.curators, *choices]
    edited = [parts.editor, parts.place]
    regions = in_order("regions")
    link = gr.Textbox(visible=False)
    restored = (
        app.load(page.open, None, [parts.checkpoint, *filters], **LIGHT)
        .then(page.show, filters, shown, **regions)
        .then(page.restore, None, edited, **LIGHT)
    )
    gr.on(change_events(filters), page.show, filters, shown, **regions)
    links = in_order("regions-link")
    for linked in (
        restored.then(page.address, filters, link, **links),
        gr.on(change_events(filters), page.address, filters, link, **links),
    ):
        linked.then(None, link, None, js=LINK_SCRIPT, api_visibility="private")
    map_page.wire(
        map_page.MapSection(page.services, page.edited),
        parts.map,
        dataset=parts.filters["dataset"],
        checkpoint=parts.checkpoint,
        selection=parts.filters["selection"],
        edited=edited,
    )
    page_outputs = [parts.gallery, parts.note, parts.pages]
    parts.forward.click(page.forward, [parts.pages, *filters], page_outputs, **regions)
    parts.back.click(page.back, [parts.pages, *filters], page_outputs, **regions)
    # the page's script asks for all that the editor shows, one thing at a time: it must hear of every answer
    views = parts.editor.select(page.view, [parts.place, *filters], edited, **(LIGHT | QUEUE_ALL))
    edits = parts.editor.click(
        page.ask, [parts.place, parts.checkpoint, parts.advance, *filters], edited, **(LIGHT | QUEUE_ALL)
    )
    for answered in (views.then, views.failure, edits.then, edits.failure):
        answered(None, None, None, js=ANSWERED_SCRIPT, api_visibility="private")
    edits.then(page.counts, parts.filters["dataset"], parts.counts, **LIGHT)
