"""Lay out the Curate page: regions to filter and to review one after the other, and an editor for the picture of one.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.access.rules import allows
from app.core.page_values import whole_number
from app.curate import bulk_page, map_page
from app.curate.filter_controls import ANY, ANY_RUN, CONTROLS, address_of, query_of, restored_controls, sets_drawer
from app.services import Services
from app.ui.dataset_choice import open_dataset
from app.ui.events import LIGHT, QUEUE_ALL, Paged, change_events, html, in_order, script, warn
from app.ui.html import empty_state, heading, keys_hint, notice, page_head, render
from user_errors import UserError

if TYPE_CHECKING:
    from app.curate.answers import Answer

TITLE, PATH = "Curate", "curate"
LEAD = "Are the annotations true? Fix what is not, and decide what training may trust."
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
)
ANSWERED = """watch("value", () => props.value &&
  document.dispatchEvent(new CustomEvent("curate:%s", { detail: JSON.parse(props.value) })));"""
EDIT_ENDED, VIEW_ENDED, SUGGEST_FAILED, SCORED_OTHERWISE = (
    f"() => {{ document.dispatchEvent(new Event('curate:{what}')); }}"
    for what in ("edit-ended", "view-ended", "suggest-failed", "scored-otherwise")
)
SESSION_SCRIPT = (
    "(found) => { document.dispatchEvent(new CustomEvent('curate:session', { detail: JSON.parse(found) })); }"
)
NO_SCORES = ""
NO_DATASET = empty_state("No data set yet", "Import one on the Annotate page.")
STATES = (
    ("empty", "No region open", "Press a region in the gallery, or start the review."),
    ("waiting", "Loading the next picture", "Keys do nothing until it is here."),
    ("finished", "Nothing left to review", "Every region with these filters has a verdict."),
)
STAGE = render("curate/templates/stage.html", states=STATES)
"""All that Gradio puts into the editor: its script draws there what it is answered, when nobody is writing."""
MOST_AHEAD, MOST_SKIPPED = 12, 2_000  # pictures in an answer, and known ones that a page names
MOST_TOGETHER = 25  # edits that are asked after another in one event
KEYS = (("A", "accept"), ("R", "reject"), ("N", "nothing here"), ("Z", "undo"), ("→", "next"))


@dataclass(frozen=True)
class CuratePlace:
    """The picture in a person's editor, and the description chosen there; 0 for none."""

    image: int = 0
    chosen: int = 0


@dataclass(frozen=True, kw_only=True)
class CurateComponents:
    """The components that events come from or go to."""

    filters: Mapping[str, Any]
    drawer: Any
    checkpoint: Any
    gallery: Any
    note: Any
    pages: Any
    back: Any
    forward: Any
    editor: Any
    edits: Any
    views: Any
    suggested: Any
    counts: Any
    curators: Any
    map: map_page.MapComponents
    bulk: bulk_page.BulkComponents
    place: Any


Section = Callable[[gr.Blocks, Services, Any, Any], None]
"""A function that lays out a section of the page: app, services, the data set's dropdown, the editor's place."""


@dataclass
class CuratePage(Paged):
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page with the filters of its link. Returns checkpoint, drawer, filters."""
        from app.curate import actions

        actions.index_some(self.services)
        usable = [each.name for each in self.services.registry.usable()]
        choices = [("nothing", NO_SCORES), *((name, name) for name in usable)]
        chosen = next(iter(usable), NO_SCORES)
        query = dict(request.query_params)
        controls = restored_controls(query, open_dataset(self.services, request).field)
        drawer = gr.Accordion(open=sets_drawer(controls))
        return [gr.Dropdown(choices=choices, value=chosen), drawer, *controls]

    def restore(self, request: gr.Request) -> list[Any]:
        """Open the region or the picture of a link in the editor. Returns view, place."""
        from app.curate import actions

        query = dict(request.query_params)
        try:
            if region := query.get("region"):
                number = whole_number("region", region)
                return self.opened(actions.image_of(self.services, number), number)
            if image := query.get("image"):
                return self.opened(whole_number("image", image), None)
        except UserError as error:
            warn(error)
        return [gr.skip(), gr.skip()]

    def session(self, request: gr.Request, *filters: Any) -> str:
        """Return what the page's script must know: who works on what, and the address that restores the filters."""
        from app.curate import actions

        person = person_of(request)
        dataset = query_of(filters).dataset
        found = {
            "address": address_of(filters),
            "person": person.name,
            "dataset": actions.dataset_key(self.services, dataset),
            "texts": actions.common_texts(self.services, dataset),
            "edits": allows(person.role, "curator"),
        }
        return json.dumps(found)

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

    def counts(self, dataset: str | None) -> Any:
        """Count again after an edit. Returns counts."""
        from app.curate import actions, panels

        try:
            return panels.counts_panel(actions.counts(self.services, dataset or ""))
        except UserError:
            return gr.skip()

    def view(self, event: gr.EventData, *filters: Any) -> list[Any]:
        """Answer a question that changes nothing: a picture, the next ones of the queue. Returns view, place."""
        from app.curate import answers

        ask = event.ask if isinstance(event.ask, Mapping) else {}
        try:
            place = _place_of(ask)
            answer = self._view(ask, filters)
        except UserError as error:
            warn(error)
            return [answers.sent(answers.refused_answer(str(ask.get("asked", "")), error.sentence)), gr.skip()]
        if go := answer.get("go"):
            place = CuratePlace(go["image"], go["region"])
        return [answers.sent(answer), place]

    def _view(self, ask: Mapping[str, Any], filters: tuple[Any, ...]) -> Answer:
        from app.curate import actions, answers

        asked = str(ask.get("asked", ""))
        if ask.get("do") == "open":
            region = whole_number("id", ask.get("id"))
            opened = actions.open_picture(self.services, actions.image_of(self.services, region), region)
            return answers.open_answer(opened, asked)
        if ask.get("do") != "ahead":
            return answers.refused_answer(asked, "")
        known = ask.get("skip")
        skip = {whole_number("picture", each) for each in (known if isinstance(known, list) else [])[:MOST_SKIPPED]}
        count = max(1, min(MOST_AHEAD, whole_number("count", ask.get("count"))))
        after = str(ask.get("after") or "")
        ahead = actions.next_pictures(self.services, query_of(filters), after, skip=skip, count=count)
        pictures = [actions.open_picture(self.services, *each) for each in ahead.pictures.items()]
        return answers.ahead_answer(ahead, pictures, asked)

    def ask(self, checkpoint: str, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Do an edit of the editor, and the quick verdicts after it that came along. Returns edits, place."""
        from app.curate.answers import sent

        ask = event.ask if isinstance(event.ask, Mapping) else {}
        more = ask.get("more")
        asks = [ask, *(each for each in (more if isinstance(more, list) else [])[:MOST_TOGETHER] if _is_verdict(each))]
        who = person_of(request).name
        answers = [self._answer(each, asks[index + 1 :], who, checkpoint or "") for index, each in enumerate(asks)]
        refused = all("refused" in each for each in answers)
        try:
            place: Any = gr.skip() if refused else _place_of(ask)
        except UserError:
            place = gr.skip()
        return [sent(answers[0] | {"more": answers[1:]}), place]

    def _answer(self, ask: Mapping[str, Any], later: Sequence[Mapping[str, Any]], who: str, checkpoint: str) -> Answer:
        """Do one edit. later: those that follow; a picture is answered once, after the last edit of it."""
        from app.curate import actions, answers, editor

        asked, image = str(ask.get("act", "")), ask.get("image")
        try:
            _place_of(ask)
            done = editor.apply_edit(self.services, ask, who=who, checkpoint=checkpoint)
            again = any(each.get("image") == image for each in later)
            opened = None if again else actions.open_picture(self.services, done.image_id, done.chosen)
        except UserError as error:
            warn(error)
            return answers.refused_answer(asked, error.sentence, self._picture(image))
        return answers.edit_answer(done, opened, asked=asked, what=str(ask.get("do")))

    def suggest(self, checkpoint: str, dataset: str | None, event: gr.EventData) -> Any:
        """Suggest boxes of the picture on the screen. Returns suggested."""
        from app.curate import answers, suggestions

        ask = event.ask if isinstance(event.ask, Mapping) else {}
        try:
            found = suggestions.suggest_boxes(self.services, ask, dataset=dataset or "", checkpoint=checkpoint or "")
        except UserError as error:
            return answers.sent(answers.suggest_answer(ask, [], error.sentence))
        return answers.sent(answers.suggest_answer(ask, found))

    def _picture(self, image: Any) -> Any:
        """Return a picture as it is; None where there is none any more."""
        from app.curate import actions

        try:
            return actions.open_picture(self.services, whole_number("picture", image))
        except UserError:
            return None

    def opened(self, image: int, chosen: int | None) -> list[Any]:
        """Go to a picture. Returns view, place."""
        from app.curate import actions, answers

        found = actions.open_picture(self.services, image, chosen)
        return [answers.sent(answers.open_answer(found)), CuratePlace(image, found.chosen or 0)]


def _is_verdict(ask: Any) -> bool:
    return isinstance(ask, Mapping) and ask.get("do") == "verdict"


def _place_of(ask: Mapping[str, Any]) -> CuratePlace:
    """Return the place in the editor from which something is asked."""
    at = ask.get("at")
    image, region = at if isinstance(at, list) and len(at) == 2 else (0, 0)
    return CuratePlace(whole_number("picture", image), whole_number("region", region))


def build(app: gr.Blocks, services: Services, dataset: Any, *, below: Section | None = None) -> None:
    """Lay the page out inside the current Blocks and wire its events.

    Args: dataset: the field of the navigation. below: another section.
    """
    page = CuratePage(services)
    parts = _lay_out(dataset)
    _wire(app, page, parts)
    if below is not None:
        below(app, services, parts.filters["dataset"], parts.place)


def _lay_out(dataset: Any) -> CurateComponents:
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD, NOVEL))
        checkpoint = gr.Dropdown(
            [], label="scores with", filterable=False, elem_id="scores-with", min_width=150, scale=0
        )
    filters, drawer, counts, curators, library = _lay_out_filters(dataset)
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
            editor = gr.HTML(None, html_template=STAGE, js_on_load=SCRIPT, apply_default_css=False, elem_id="editor")
            # not the editor itself: Gradio copies all that an answered component holds, its script too, at every event
            edits, views, suggested = (
                gr.HTML(None, html_template="<i></i>", js_on_load=ANSWERED % what, apply_default_css=False)
                for what in ("edited", "viewed", "suggested")
            )
            html(keys_hint(KEYS))
    map_components = map_page.lay_out()
    return CurateComponents(
        filters=filters,
        drawer=drawer,
        checkpoint=checkpoint,
        gallery=gallery,
        note=note,
        pages=gr.State([""]),
        back=back,
        forward=forward,
        editor=editor,
        edits=edits,
        views=views,
        suggested=suggested,
        counts=counts,
        curators=curators,
        map=map_components,
        bulk=bulk_page.BulkComponents(bar=bar, library=library),
        place=gr.State(CuratePlace()),
    )


def _lay_out_filters(dataset: Any) -> tuple[dict[str, Any], Any, Any, Any, Any]:
    """Lay out the filters, with those that few need folded away. Returns filters, drawer, counts, curators, library."""
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
            counts, curators = (html(elem_id=name) for name in ("counts", "curators"))
    return {control.name: made[control.name] for control in CONTROLS}, drawer, counts, curators, library


def _wire(app: gr.Blocks, page: CuratePage, parts: CurateComponents) -> None:
    filters = [*parts.filters.values()]
    choices = [parts.filters["source"], parts.filters["run_id"]]
    shown = [parts.gallery, parts.note, parts.pages, parts.counts, parts.curators, *choices]
    viewed = [parts.views, parts.place]
    regions = in_order("regions")
    link = gr.Textbox(visible=False)
    restored = (
        app.load(page.open, None, [parts.checkpoint, parts.drawer, *filters], **LIGHT)
        .then(page.show, filters, shown, **regions)
        .then(page.restore, None, viewed, **LIGHT)
    )
    gr.on(change_events(filters), page.show, filters, shown, **regions)
    links = in_order("regions-link")
    for linked in (
        restored.then(page.session, filters, link, **links),
        gr.on(change_events(filters), page.session, filters, link, **links),
    ):
        linked.then(None, link, None, js=SESSION_SCRIPT, api_visibility="private")
    map_page.wire(
        map_page.MapSection(page.services, page.opened),
        parts.map,
        dataset=parts.filters["dataset"],
        checkpoint=parts.checkpoint,
        selection=parts.filters["selection"],
        viewed=viewed,
    )
    page_outputs = [parts.gallery, parts.note, parts.pages]
    dataset = parts.filters["dataset"]

    def show_again(changed: Any) -> None:
        changed.then(page.again, [parts.pages, *filters], page_outputs, **regions)
        changed.then(page.counts, dataset, parts.counts, **LIGHT)

    bulk = bulk_page.BulkSection(page.services)
    options: dict[str, Any] = {"filters": filters, "dataset": dataset, "tag": parts.filters["tag"]}
    bulk_page.wire(bulk, parts.bulk, **options, refresh=show_again)
    library = bulk.library, [dataset, parts.filters["tag"]], [parts.bulk.library, parts.filters["tag"]]
    restored.then(*library, **LIGHT)
    dataset.change(*library, **LIGHT)
    parts.forward.click(page.forward, [parts.pages, *filters], page_outputs, **regions)
    parts.back.click(page.back, [parts.pages, *filters], page_outputs, **regions)
    # the page's script hears of every answer, and of every end without one: it sends what it has one after the other
    views = parts.editor.select(page.view, filters, viewed, **(LIGHT | QUEUE_ALL))
    edits = parts.editor.click(page.ask, parts.checkpoint, [parts.edits, parts.place], **(LIGHT | QUEUE_ALL))
    asked = [parts.checkpoint, dataset]
    suggested = parts.editor.input(page.suggest, asked, parts.suggested, **(in_order("suggest") | QUEUE_ALL))
    parts.checkpoint.change(None, None, None, js=SCORED_OTHERWISE, api_visibility="private")
    suggested.failure(None, None, None, js=SUGGEST_FAILED, api_visibility="private")
    for ended, told in ((views, VIEW_ENDED), (edits, EDIT_ENDED)):
        for each in (ended.then, ended.failure):
            each(None, None, None, js=told, api_visibility="private")
    edits.then(page.counts, parts.filters["dataset"], parts.counts, **LIGHT)
