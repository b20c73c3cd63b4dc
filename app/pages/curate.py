"""The Curate page: regions to look through and to review one after the other, and an editor for the picture of one.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from app import panels
from app.accounts import who
from app.pages import label_studio, whole
from app.pages.shared import EVERY, LIGHT, Paged, dataset_field, edits, html, in_turn, script, warn
from app.services import Services

if TYPE_CHECKING:
    from app.curating import Done, Opened, Wanted

TITLE, PATH = "Curate", "curate"
LEAD = "Are the annotations true? Fix what is not, and decide what training may trust."
NOVEL = '<a href="/concepts">Novel concepts: label what no model knows yet →</a>'
SCRIPT = script("curate.js")
ANSWERED = "() => { document.dispatchEvent(new Event('curate:answered')); }"
STATUSES = ["pending", "accepted", "rejected", "deleted"]
SORTS = [
    ("newest first", "newest"),
    ("lowest score first", "lowest_score"),
    ("largest disagreement first", "disagreement"),
    ("standing apart first", "outliers"),
]
NO_SCORES = ""
ANY, ANY_RUN = ("any", ""), 0
MOST_WORDS = 200  # characters of a filter in a link
TELL_SCRIPT = "(link) => { document.dispatchEvent(new CustomEvent('curate:filtered', { detail: link })); }"
NOTHING = panels.empty_state("Nothing chosen yet", "Press a region in the gallery, or start the review queue.")
KEYS = (
    '<p class="quiet keys"><kbd>A</kbd> accept · <kbd>R</kbd> reject · <kbd>N</kbd> nothing here · <kbd>Z</kbd> undo · '
    '<kbd>→</kbd> next · <button type="button" class="show-keys"><kbd>?</kbd> all keys</button></p>'
)


class Filters(NamedTuple):
    """Which regions, in the order of app.curating.Wanted; as components, and as their values."""

    dataset: Any
    statuses: Any
    source: Any
    run: Any
    words: Any
    least: Any
    most: Any
    apart: Any
    phash: Any
    sort: Any
    within: Any


PLAIN = Filters(None, STATUSES[:3], "", ANY_RUN, "", 0, 1, 0, "", "newest", "")
"""As they are before anybody touches them."""


@dataclass(frozen=True)
class Place:
    """Where a person is. image, chosen: in the editor. queue: behind which region the review goes on."""

    image: int = 0
    chosen: int | None = None
    queue: str = ""


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    filters: Filters
    checkpoint: Any
    advance: Any
    gallery: Any
    note: Any
    after: Any
    back: Any
    forward: Any
    editor: Any
    counts: Any
    curators: Any
    whole: whole.Parts
    place: Any


@dataclass
class CuratePage(Paged):
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens, with the filters of its link. Returns checkpoint, Filters."""
        from app import curating

        curating.index_some(self.services)
        usable = [each.name for each in self.services.registry.usable()]
        choices = [("nothing", NO_SCORES), *((name, name) for name in usable)]
        chosen = next(iter(usable), NO_SCORES)
        asked = dict(request.query_params)
        filters = _linked(asked)._replace(dataset=dataset_field(self.services, asked.get("dataset")))
        return [gr.Dropdown(choices=choices, value=chosen), *filters]

    def restore(self, request: gr.Request) -> list[Any]:
        """The page is open: what its link had in the editor. Returns editor, place."""
        from app import curating

        asked = dict(request.query_params)
        try:
            if region := asked.get("region"):
                number = curating.whole_number("region", region)
                return self.edited(Place(), curating.image_of(self.services, number), number)
            if image := asked.get("image"):
                return self.edited(Place(), curating.whole_number("image", image), None)
        except curating.CuratingError as error:
            warn(error)
        return [gr.skip(), gr.skip()]

    def address(self, *filters: Any) -> str:
        """What brings the filters back. Returns the query that the page's script puts into its address."""
        return _link(Filters(*filters))

    def show(self, *filters: Any) -> list[Any]:
        """Another choice of filters: the first page. Returns gallery, note, after, counts, curators, and which
        sources and runs there are.
        """
        from app import curate_panels, curating

        wanted = _wanted(filters)
        if not wanted.dataset:
            nothing = panels.empty_state("No data set yet", "Import one on the Annotate page.")
            return [nothing, "", [""], "", "", gr.skip(), gr.skip()]
        try:
            found = curating.gallery(self.services, wanted)
            counts = curating.counts(self.services, wanted.dataset)
            people = curating.curators(self.services, wanted.dataset)
            runs = curating.runs(self.services, wanted.dataset)
        except curating.CuratingError as error:
            return [gr.skip(), panels.notice(str(error)), *(gr.skip() for _ in range(5))]
        sources = sorted({each.source for each in counts})
        return [
            curate_panels.gallery_panel(found, self.services.settings.home),
            "",
            ["", found.after],
            curate_panels.counts_panel(counts),
            curate_panels.curators_panel(people),
            gr.Dropdown(choices=[ANY, *((source, source) for source in sources)]),
            gr.Dropdown(choices=[("any", ANY_RUN), *((name, number) for number, name in runs.items())]),
        ]

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        from app import curate_panels, curating

        try:
            found = curating.gallery(self.services, _wanted(filters), after)
        except curating.CuratingError as error:
            return [gr.skip(), panels.notice(str(error)), gr.skip()]
        return [curate_panels.gallery_panel(found, self.services.settings.home), "", [*places, found.after]]

    def counts(self, dataset: str | None) -> Any:
        """After an edit. Returns counts."""
        from app import curate_panels, curating

        try:
            return curate_panels.counts_panel(curating.counts(self.services, dataset or ""))
        except curating.CuratingError:
            return gr.skip()

    def look(self, place: Place, event: gr.EventData, *filters: Any) -> list[Any]:
        """The page's script asks for a region of the gallery, the first or the next without a verdict, or the same
        picture as it is now. Returns editor, place.
        """
        from app import curating

        asked = event.ask if isinstance(event.ask, Mapping) else {}
        if asked.get("do") == "first":
            return self._next(Place(place.image, place.chosen), _wanted(filters))
        if asked.get("do") == "next":
            return self._next(place, _wanted(filters))
        try:
            if asked.get("do") == "open":
                annotation = curating.whole_number("id", asked.get("id"))
                return self.edited(place, curating.image_of(self.services, annotation), annotation)
            return self.edited(place, place.image, place.chosen)
        except curating.CuratingError as error:
            warn(error)
            return [gr.skip(), gr.skip()]

    def ask(
        self, place: Place, checkpoint: str, advance: bool, request: gr.Request, event: gr.EventData, *filters: Any
    ) -> list[Any]:
        """An edit that the editor asks for. Returns editor, place."""
        from app import curating

        wanted, asked = _wanted(filters), event.ask
        if not isinstance(asked, Mapping):
            return [gr.skip(), gr.skip()]
        try:
            done = curating.act(
                self.services, self.services.pictures, asked, who(request).name, checkpoint or NO_SCORES
            )
        except curating.CuratingError as error:
            warn(error)
            return self.edited(place, place.image, place.chosen)
        decided = asked.get("do") == "verdict" and asked.get("status") in ("accepted", "rejected")
        if advance and done.conflict is None and (decided or asked.get("do") == "review"):
            return self._next(place, wanted, done)
        return self.edited(place, done.image_id, done.chosen or place.chosen, done)

    def _next(self, place: Place, wanted: Wanted, done: Done | None = None) -> list[Any]:
        """The next region without a verdict; of the same picture first."""
        from app import curating

        try:
            opened = self._open(done.image_id, None) if done else None
            left = [row.id for region in opened.regions for row in region if row.status == "pending"] if opened else []
            if opened and left and opened.image.review == "open":
                return self.edited(place, opened.image.id, left[0], done)
            found, ahead = curating.next_pending(self.services, wanted, place.queue)
            if done is None and found.tiles and found.tiles[0].annotation.id == place.chosen:
                found, ahead = curating.next_pending(self.services, wanted, found.after)  # it is open already
        except curating.CuratingError as error:
            warn(error)
            return [gr.skip(), gr.skip()]
        if not found.tiles:
            end = panels.empty_state("Nothing left to review", "Every region with these filters has a verdict.")
            return [end, Place()]
        self.services.pictures.make_ready(ahead)
        tile = found.tiles[0]
        return self.edited(Place(queue=found.after), tile.image.id, tile.annotation.id, None)

    def edited(self, place: Place, image: int, chosen: int | None, done: Done | None = None) -> list[Any]:
        """A picture in the editor. Returns editor, place."""
        from app import curate_panels

        if not image:
            return [gr.skip(), gr.skip()]
        opened = self._open(image, chosen)
        said, conflict = (done.said, done.conflict) if done else ("", None)
        shown = curate_panels.editor_panel(opened, said, conflict)
        return [shown, Place(image, opened.chosen, place.queue)]

    def _open(self, image: int, chosen: int | None) -> Opened:
        from app import curating

        return curating.open_picture(self.services, self.services.pictures, image, chosen)


def _wanted(filters: tuple[Any, ...]) -> Wanted:
    from app.curating import Wanted

    values = Filters(*filters)
    return Wanted(
        dataset=values.dataset or "",
        statuses=values.statuses or [],
        source=values.source or "",
        run=int(values.run or ANY_RUN),
        words=values.words or "",
        least=float(values.least or 0),
        most=float(1 if values.most is None else values.most),
        apart=float(values.apart or 0),
        phash=values.phash or "",
        sort=values.sort or "newest",
        within=values.within or "",
    )


def _link(values: Filters) -> str:
    """The filters that somebody has set, as a link names them; not what is drawn around on the map."""
    kept = {
        name: ",".join(value) if name == "statuses" else value
        for name, value in values._asdict().items()
        if name != "within" and value is not None and value != getattr(PLAIN, name)
    }
    return urlencode(kept)


def _linked(asked: Mapping[str, str]) -> Filters:
    """The filters that a link names; what has no meaning is left plain. dataset: plain."""
    source, words, phash = (asked.get(name, "")[:MOST_WORDS] for name in ("source", "words", "phash"))
    run = int(asked["run"]) if re.fullmatch("[0-9]{1,9}", asked.get("run", "")) else ANY_RUN
    shares = {
        name: float(asked[name]) if re.fullmatch(r"[01](\.[0-9]{1,6})?", asked.get(name, "")) else getattr(PLAIN, name)
        for name in ("least", "most", "apart")
    }
    statuses = [each for each in asked.get("statuses", "").split(",") if each in STATUSES]
    return PLAIN._replace(
        statuses=statuses or PLAIN.statuses,
        source=gr.Dropdown(choices=[ANY, (source, source)], value=source) if source else ANY[1],
        run=gr.Dropdown(choices=[("any", ANY_RUN), (f"run {run}", run)], value=run) if run else ANY_RUN,
        words=words,
        phash=phash,
        sort=asked["sort"] if asked.get("sort") in dict(SORTS).values() else PLAIN.sort,
        **shares,
    )


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = CuratePage(services)
    parts = _lay_out()
    _wire(app, page, parts)
    label_studio.build(app, services, parts.filters.dataset, parts.place)


def _lay_out() -> Parts:
    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Curate</h1><p class="lead">{LEAD} {NOVEL}</p>')
        checkpoint = gr.Dropdown(
            [], label="scores with", filterable=False, elem_id="scores-with", min_width=150, scale=0
        )
    looking = whole.lay_out()
    with gr.Row(elem_classes="columns curate"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            filters = _filter_fields()
            counts = html(elem_id="counts")
            with gr.Accordion("Who decided how much", open=False):
                curators = html(elem_id="curators")
        with gr.Column(elem_classes="card", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html("<h2>Regions</h2>")
                back, forward = (gr.Button(name, size="sm", min_width=60) for name in ("Back", "More"))
            note = html(elem_id="note-gallery")
            gallery = html(elem_id="regions")
        with gr.Column(elem_classes="card work", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html("<h2>Review</h2>")
                advance = gr.Checkbox(True, label="go on by itself", elem_id="advance", container=False)
                gr.Button("Review", variant="primary", size="sm", elem_id="review")  # its script asks
            editor = gr.HTML(NOTHING, js_on_load=SCRIPT, apply_default_css=False, elem_id="editor")
            html(KEYS)
    return Parts(
        filters, checkpoint, advance, gallery, note, gr.State([""]), back, forward, editor, counts, curators,
        looking, gr.State(Place()),
    )  # fmt: skip


def _filter_fields() -> Filters:
    html("<h2>Which regions</h2>")
    dataset = gr.Dropdown([], label="data set", elem_id="dataset")
    statuses = gr.CheckboxGroup(STATUSES, value=STATUSES[:3], label="verdict", elem_id="statuses")
    sort = gr.Dropdown(SORTS, value="newest", label="order", elem_id="sort", filterable=False)
    words = gr.Textbox(label="words in the description", placeholder="red lid*", elem_id="words")
    source = gr.Dropdown([ANY], value="", label="from", elem_id="source")
    run = gr.Dropdown([("any", ANY_RUN)], value=ANY_RUN, label="found by run", elem_id="run")
    least = gr.Slider(0, 1, value=0, step=0.01, label="least score", buttons=[], elem_id="least")
    most = gr.Slider(0, 1, value=1, step=0.01, label="largest score", buttons=[], elem_id="most")
    apart = gr.Slider(0, 1, value=0, step=0.05, label="annotators disagree at least by", buttons=[], elem_id="apart")
    phash = gr.Textbox(label="look-alikes of (perceptual hash)", placeholder="any", elem_id="phash")
    return Filters(dataset, statuses, source, run, words, least, most, apart, phash, sort, gr.State(""))


def _wire(app: gr.Blocks, page: CuratePage, parts: Parts) -> None:
    filters = [*parts.filters]
    choices = [parts.filters.source, parts.filters.run]
    shown = [parts.gallery, parts.note, parts.after, parts.counts, parts.curators, *choices]
    edited = [parts.editor, parts.place]
    regions = in_turn("regions")
    link = gr.Textbox(visible=False)
    restored = (
        app.load(page.open, None, [parts.checkpoint, *filters], **LIGHT)
        .then(page.show, filters, shown, **regions)
        .then(page.restore, None, edited, **LIGHT)
    )
    gr.on(edits(filters), page.show, filters, shown, **regions)
    links = in_turn("regions-link")
    for linked in (
        restored.then(page.address, filters, link, **links),
        gr.on(edits(filters), page.address, filters, link, **links),
    ):
        linked.then(None, link, None, js=TELL_SCRIPT, api_visibility="private")
    whole.wire(
        whole.WholePage(page.services, page.edited),
        parts.whole,
        dataset=parts.filters.dataset,
        checkpoint=parts.checkpoint,
        within=parts.filters.within,
        edited=edited,
    )
    turned = [parts.gallery, parts.note, parts.after]
    parts.forward.click(page.forward, [parts.after, *filters], turned, **regions)
    parts.back.click(page.back, [parts.after, *filters], turned, **regions)
    # the page's script asks for all that the editor shows, one thing at a time: it must hear of every answer
    looks = parts.editor.select(page.look, [parts.place, *filters], edited, **(LIGHT | EVERY))
    acts = parts.editor.click(
        page.ask, [parts.place, parts.checkpoint, parts.advance, *filters], edited, **(LIGHT | EVERY)
    )
    for answered in (looks.then, looks.failure, acts.then, acts.failure):
        answered(None, None, None, js=ANSWERED, api_visibility="private")
    acts.then(page.counts, parts.filters.dataset, parts.counts, **LIGHT)
