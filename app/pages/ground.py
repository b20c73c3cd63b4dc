"""The Ground page: a picture and some words in; where each description lands and what is recognised out."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import draw, panels
from app.gallery import Example, load_examples
from app.looking import Answer, AskError, Question, Sight, answer_json, ask, find, keep, open_picture
from app.pages.shared import EVERY, LIGHT, html, in_turn, script, warn
from app.pages.upload_field import UploadedPicture
from app.services import DEFAULT_CHECKPOINT, Services

if TYPE_CHECKING:
    from curation.annotators import DescriberKind, LocalizerKind

TITLE, PATH = "Ground", ""
SCRIPT = script("ground.js")
DEFAULT_ALPHA = 0.5  # shows what regions add to the whole picture
NO_OTHER = ""
DESCRIBERS = [
    ("photo stand-in, offline", "photo"),
    ("LLaVA on this machine", "llava"),
    ("a server (vLLM, …)", "server"),
]
DETECTORS = [("photo stand-in, offline", "photo"), ("OWLv2 on this machine", "owlv2")]
EMPTY_OPINION = panels.empty_state("Not compared yet", "Choose a detector, and see its boxes beside GRAIN's.")
PLACEHOLDER = "Drop a picture here"
KEYS = (
    '<p class="quiet keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd> looks, '
    '<button type="button" class="show-keys"><kbd>?</kbd> lists all keys</button></p>'
)
EMPTY_STAGE = panels.empty_state("Nothing looked at yet", "Drop a picture, write what to find, and press Look.")
EMPTY_CLASSES = panels.empty_state("Nothing looked at yet", "Write classes with their descriptions, and press Look.")
ON_EXAMPLE = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-example]");
  if (button) trigger("click", { example: Number(button.dataset.example) });
});"""
TOGGLE_CODE = "() => { document.querySelector('#code').classList.toggle('open'); }"
PUT_INTO_ADDRESS = "(query) => { if (query) history.replaceState(null, '', `?q=${query}`); }"
SAVE = """(file) => {
  if (file?.uri) Object.assign(document.createElement("a"), { href: file.uri, download: file.name }).click();
}"""
# always_last: what a person does while the page is busy is done afterwards; Gradio's default forgets it.
OURS: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, **OURS}


class Form(NamedTuple):
    """What a person fills in; as components, and as their values."""

    picture: Any
    descriptions: Any
    classes: Any
    checkpoint: Any
    versus: Any
    threshold: Any
    alpha: Any
    which: Any


class Picked(NamedTuple):
    """What changes with the checkpoint; as components, and as their values."""

    checkpoint: Any
    versus: Any
    about: Any


class Result(NamedTuple):
    """What a look fills; as components, and as their values."""

    seen: Any
    stage: Any
    matrix: Any
    classes: Any
    timing: Any
    code: Any


class Notes(NamedTuple):
    """A sentence beside each field that cannot be used; as components, and as their values."""

    picture: Any = ""
    descriptions: Any = ""
    classes: Any = ""
    checkpoint: Any = ""


@dataclass(frozen=True)
class Seen:
    """What the page shows now, kept for redrawing, downloads and the link. uri: the picture as the page shows it."""

    question: Question
    sight: Sight
    versus: Sight | None
    uri: str


class GroundPage:
    """The handlers. Each reads the form, makes one call and draws."""

    def __init__(self, services: Services, examples: tuple[Example, ...]) -> None:
        """examples: pictures to start from; the page opens with the first."""
        self.services = services
        self.examples = examples

    def look(self, *form: Any) -> list[Any]:
        """[Look]: Result and Notes. What cannot be used is said at its field and in a toast; the rest stays."""
        shown = Form(*form)
        try:
            return [*self._show(ask(self.services, _question(shown)), shown.which), *Notes()]
        except AskError as error:
            warn(error)
            return [*_unchanged(), *Notes(**_said(error))]

    def first_look(self, *form: Any) -> list[Any]:
        """The look that a page opens with: no toast, since nobody asked for it, and what is said of the link stays."""
        shown = Form(*form)
        if not shown.picture:
            return [*_unchanged(), *_unsaid()]
        try:
            return [*self._show(ask(self.services, _question(shown)), shown.which), *_unsaid()]
        except AskError as error:
            return [*_unchanged(), *_unsaid()._replace(**_said(error))]

    def mix(self, seen: Seen | None, alpha: float, which: draw.Which) -> list[Any]:
        """The α slider: the same picture and texts, scored again. Returns Result."""
        if seen is None:
            return _unchanged()
        try:
            answer = ask(self.services, replace(seen.question, alpha=alpha))
        except AskError as error:
            warn(error)
            return _unchanged()
        return list(self._show(answer, which))

    def redraw(self, seen: Seen | None, threshold: float, which: draw.Which) -> list[Any]:
        """The threshold, and best or all regions: what was seen, drawn again. Returns Result."""
        if seen is None:
            return _unchanged()
        return list(_draw(replace(seen, question=replace(seen.question, threshold=threshold)), which))

    def check_picture(self, picture: str | None, checkpoint: str) -> list[Any]:
        """A picture of one's own: whether it can be used is said at once. Returns picture, its note, and Picked."""
        if not picture:
            return [gr.skip(), "", *_unpicked()]
        try:
            open_picture(self.services, picture)
        except AskError as error:
            warn(error)
            return [None, panels.notice(str(error)), *_unpicked()]
        return [gr.skip(), "", *self._suit(checkpoint, DEFAULT_CHECKPOINT)]

    def use_example(self, checkpoint: str, event: gr.EventData) -> list[Any]:
        """A click on an example. Returns picture, descriptions, classes, and Picked."""
        example = self.examples[int(event.example)]
        picked = self._suit(checkpoint, example.checkpoint)
        return [str(example.path), example.descriptions, example.classes, *picked]

    def _suit(self, chosen: str, wanted: str) -> list[Any]:
        """Change between the examples' checkpoints, to the one that knows such pictures; any other was chosen, so it
        stays. Returns Picked.
        """
        usable = {each.name for each in self.services.registry.usable()}
        if chosen == wanted or wanted not in usable or chosen not in {each.checkpoint for each in self.examples}:
            return _unpicked()
        return [wanted, *self.pick(wanted)]

    def pick(self, checkpoint: str) -> list[Any]:
        """A checkpoint was picked: its twin goes beside it. Returns versus and the honest lines."""
        known = {each.name: each for each in self.services.registry.usable()}
        info = known[checkpoint].info if checkpoint in known else None
        versus = info.twin if info and info.twin in known else NO_OTHER
        return [versus, self.about(checkpoint, versus)]

    def about(self, checkpoint: str, versus: str) -> str:
        """The honest lines: what comes from where."""
        return panels.about(self.services.registry.checkpoints(), checkpoint, versus)

    def start(self, request: gr.Request) -> list[Any]:
        """The page opens, with the look behind its link or the first example, and the checkpoint that a link names or
        that was promoted last. Returns Form, about, picture note.
        """
        usable = [each.name for each in self.services.registry.usable()]
        asked = dict(request.query_params)
        question, sentence = self._first_question(asked.get("q", ""))
        promoted = "" if asked.get("q") else self.services.registry.promoted()
        wanted = (asked.get("checkpoint", ""), promoted, question.checkpoint, *usable)
        chosen = next((name for name in wanted if name in usable), None)
        versus, about = self.pick(chosen or "")
        if asked.get("versus") in usable:
            versus, about = asked["versus"], self.about(chosen or "", asked["versus"])
        form = Form(
            picture=question.picture or None,
            descriptions=question.descriptions,
            classes=question.classes,
            checkpoint=gr.Dropdown(choices=usable, value=chosen),
            versus=gr.Dropdown(choices=[("nothing", NO_OTHER), *((name, name) for name in usable)], value=versus),
            threshold=question.threshold,
            alpha=question.alpha,
            which="best",
        )
        return [*form, about, panels.notice(sentence)]

    def describe(self, picture: str | None, kind: DescriberKind, server: str) -> list[Any]:
        """[Describe it]: a describer's words become the descriptions. Returns descriptions, what was said, its note."""
        from app import second_opinion

        try:
            said = second_opinion.describe(self.services, picture or "", kind, server or "")
        except AskError as error:
            return [gr.skip(), "", panels.notice(str(error))]
        return [second_opinion.lines(said) or gr.skip(), panels.described(said), ""]

    def compare(self, seen: Seen | None, kind: LocalizerKind) -> list[Any]:
        """[Compare]: a detector's boxes beside GRAIN's. Returns the comparison and its note."""
        from app import second_opinion

        if seen is None:
            return [gr.skip(), panels.notice("Look at a picture first: then there are boxes to compare.")]
        look = seen.sight.look
        try:
            rows = second_opinion.compare(self.services, seen.question.picture, look, kind)
        except AskError as error:
            return [gr.skip(), panels.notice(str(error))]
        pairs = [(row.grain_xyxy, row.detector_xyxy) for row in rows]
        table = panels.comparison(rows, same_model=kind == seen.sight.info.kind == "photo")
        return [draw.comparison_frame(seen.uri, look.width, look.height, pairs) + table, ""]

    def audit(self, seen: Seen | None, kind: LocalizerKind) -> list[Any]:
        """[Audit]: which claims of the descriptions the picture supports. Returns the claims and its note."""
        from app import audit_panels, second_opinion

        if seen is None:
            return [gr.skip(), panels.notice("Look at a picture first: then there are descriptions to audit.")]
        asked = seen.question
        try:
            rows = second_opinion.audit(self.services, asked.picture, seen.sight.look, asked.checkpoint, kind)
        except AskError as error:
            return [gr.skip(), panels.notice(str(error))]
        return [audit_panels.judged_panel(rows), ""]

    def share(self, seen: Seen | None) -> list[Any]:
        """Keep what is seen. Returns the link and its id, which the page's script puts into the address."""
        if seen is None:
            gr.Warning("Look at a picture first: the link brings back what you see.", title="Not yet")
            return [gr.skip(), ""]
        try:
            query = keep(self.services, seen.question)
        except AskError as error:
            warn(error)
            return [gr.skip(), ""]
        return [panels.link(f"?q={query}"), query]

    def download_json(self, seen: Seen | None) -> dict[str, str]:
        """Everything that was seen, the other model's look as well. Returns a file for the page's script to save."""
        if seen is None:
            return _nothing_to_keep()
        look = answer_json(seen.sight) | ({"versus": answer_json(seen.versus)} if seen.versus else {})
        return _file("look.json", "application/json", json.dumps(look, indent=1).encode())

    def download_png(self, seen: Seen | None, which: draw.Which) -> dict[str, str]:
        """The picture with its regions. Returns a file for the page's script to save."""
        if seen is None:
            return _nothing_to_keep()
        try:
            image = open_picture(self.services, seen.question.picture)
        except AskError as error:
            warn(error)
            return {}
        shown = draw.shown_regions(seen.sight.look, threshold=seen.question.threshold, which=which)
        return _file("look.png", "image/png", draw.png(draw.annotate(image, seen.sight.look, shown)))

    def ground(
        self,
        picture: str,
        descriptions: str,
        classes: str = "",
        checkpoint: str = DEFAULT_CHECKPOINT,
        threshold: float = 0.0,
        alpha: float = DEFAULT_ALPHA,
    ) -> dict[str, Any]:
        """Find where descriptions are in a picture and which class it shows.

        Args:
            picture: The picture, an uploaded JPEG, PNG, WebP, GIF, BMP or TIFF file.
            descriptions: Short texts to find, one a line, as in "a red lid".
            classes: Classes with their descriptions, one a line, as in "zorbex: a red lid; a star", or JSON
                {"zorbex": ["a red lid", "a star"]}. May be empty.
            checkpoint: "photo" for photographs, "sample" for the rendered sample world, or one of your own.
            threshold: Least cosine of a region, -1 to 1.
            alpha: Share of the whole picture in a class score, 0 to 1; the rest is the regions'.

        Returns:
            One object: regions (the best box of each description, xyxy normalized to the upright picture, and its
            cosine), not_found (descriptions that the picture does not show), matches (the cosine of every region and
            description), classes (best first), checkpoint, timing_ms.
        """
        question = Question(picture or "", descriptions, classes, checkpoint, NO_OTHER, threshold, alpha)
        try:
            return answer_json(ask(self.services, question).sight)
        except AskError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def _first_question(self, query: str) -> tuple[Question, str]:
        """The question behind a link, else that of the first example; and what is wrong with the link, if anything."""
        example = self.examples[0]
        first = Question(
            str(example.path), example.descriptions, example.classes, example.checkpoint, alpha=DEFAULT_ALPHA
        )
        if not query:
            return first, ""
        try:
            question = find(self.services, query)
        except AskError as error:
            return first, str(error)
        return question, "" if question.picture else "The picture of this link is no longer there."

    def _show(self, answer: Answer, which: draw.Which) -> Result:
        return _draw(Seen(answer.question, answer.sight, answer.versus, draw.picture_uri(answer.image)), which)


def _draw(seen: Seen, which: draw.Which) -> Result:
    question, look, note = seen.question, seen.sight.look, seen.sight.info.grounding_note
    shown = draw.shown_regions(look, threshold=question.threshold, which=which)
    return Result(
        seen=seen,
        stage=draw.stage(look, shown, seen.uri, question.threshold) + panels.notice(note and f"{note.capitalize()}."),
        matrix=draw.heatmap(look),
        classes=panels.classes_panel(seen.sight, seen.versus, alpha=question.alpha),
        timing=panels.timing([seen.sight] + ([seen.versus] if seen.versus else [])),
        code=panels.code(question, seen.sight.checkpoint),
    )


def _question(form: Form) -> Question:
    return Question(
        picture=form.picture or "",
        descriptions=form.descriptions or "",
        classes=form.classes or "",
        checkpoint=form.checkpoint or "",
        versus=form.versus or NO_OTHER,
        threshold=form.threshold,
        alpha=form.alpha,
    )


def _unchanged() -> list[Any]:
    return [gr.skip() for _ in Result._fields]


def _unsaid() -> Notes:
    return Notes(*(gr.skip() for _ in Notes._fields))


def _unpicked() -> list[Any]:
    return [gr.skip() for _ in Picked._fields]


def _said(error: AskError) -> dict[str, str]:
    return {error.field: panels.notice(str(error))}


def _nothing_to_keep() -> dict[str, str]:
    gr.Warning("Look at a picture first: there is nothing to keep yet.", title="Not yet")
    return {}


def _file(name: str, kind: str, content: bytes) -> dict[str, str]:
    """A file inside the answer itself: it never lies on the server, where others could ask for it."""
    return {"name": name, "uri": f"data:{kind};base64,{base64.b64encode(content).decode()}"}


@dataclass(frozen=True)
class Parts:
    """The components of the page that events come from or go to."""

    form: Form
    result: Result
    notes: Notes
    about: Any
    gallery: Any
    go: Any
    describer: Any
    server: Any
    describe: Any
    said: Any
    said_note: Any
    detector: Any
    compare: Any
    audit: Any
    opinion: Any
    opinion_note: Any
    share: Any
    link: Any
    as_json: Any
    as_png: Any


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = GroundPage(services, load_examples())
    _wire(app, page, _lay_out(page))
    _add_endpoint(page)


def _lay_out(page: GroundPage) -> Parts:
    with gr.Row(elem_classes="page-head"):
        html('<h1>Ground</h1><p class="lead">Where does each description land, and what is recognised?</p>')
        checkpoint, versus = _picker("checkpoint", "checkpoint"), _picker("vs", "versus")
    about, checkpoint_note = html(elem_id="about"), html(elem_id="note-checkpoint")
    with gr.Row(elem_classes="columns"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            picture, picture_note, gallery = _picture_field(page.examples)
            descriptions, descriptions_note = _descriptions_field()
            with gr.Accordion("Let a model describe it", open=False, elem_id="let-describe"):
                describer = gr.Dropdown(DESCRIBERS, value="photo", label="describer", elem_id="describer")
                server = gr.Textbox(
                    label="the server's address",
                    placeholder="http://127.0.0.1:8000/v1",
                    visible=False,
                    elem_id="server",
                )
                describe = gr.Button("Describe it", size="sm", elem_id="describe")
                said_note, said = html(elem_id="note-said"), html(elem_id="said")
            classes, classes_note = _classes_field()
            go = gr.Button("Look", variant="primary", elem_id="look")
            html(KEYS)
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html("<h2>What it sees</h2>")
                stage = gr.HTML(EMPTY_STAGE, js_on_load=SCRIPT, apply_default_css=False, elem_id="stage")
                with gr.Row(elem_classes="controls"):
                    threshold = _slider("threshold (cosine)", "threshold", -1, 0.0, 0.01)
                    which = gr.Radio(["best", "all"], value="best", label="regions", elem_id="which")
            with gr.Column(elem_classes="card"):
                html("<h2>Region × description</h2>")
                matrix = gr.Plot(draw.empty_figure("Look at a picture first"), show_label=False, elem_id="matrix")
            with gr.Column(elem_classes="card"):
                html("<h2>Beside a detector</h2>")
                with gr.Row(elem_classes="controls"):
                    detector = gr.Dropdown(
                        DETECTORS, value="photo", label="detector", elem_id="detector", filterable=False
                    )
                    compare = gr.Button("Compare", elem_id="compare")
                    audit = gr.Button("Audit", elem_id="audit")
                opinion_note, opinion = html(elem_id="note-opinion"), html(EMPTY_OPINION, elem_id="opinion")
        with gr.Column(elem_classes="card recognised", min_width=280):
            html("<h2>Recognised as</h2>")
            scores = html(EMPTY_CLASSES, elem_id="scores")
            alpha = _slider("α: 0 regions · 1 whole picture", "alpha", 0, DEFAULT_ALPHA, 0.05)
            timing = html(elem_id="timing")
            with gr.Row(elem_classes="actions"):
                share, as_json, as_png = (_small(name) for name in ("Link", "JSON", "PNG"))
                gr.Button("</>", size="sm", min_width=50, elem_id="code-button").click(None, None, None, js=TOGGLE_CODE)
            link, code = html(elem_id="link"), html(elem_id="code")
    return Parts(
        Form(picture, descriptions, classes, checkpoint, versus, threshold, alpha, which),
        Result(gr.State(None), stage, matrix, scores, timing, code),
        Notes(picture_note, descriptions_note, classes_note, checkpoint_note),
        *(about, gallery, go, describer, server, describe, said, said_note),
        *(detector, compare, audit, opinion, opinion_note, share, link, as_json, as_png),
    )


def _picture_field(examples: Sequence[Example]) -> tuple[gr.Image, gr.HTML, gr.HTML]:
    html("<h2>Picture</h2>")
    picture = UploadedPicture(
        show_label=False, container=False, height=200, buttons=[], elem_id="picture", placeholder=PLACEHOLDER
    )
    note = html(elem_id="note-picture")
    gallery = gr.HTML(panels.gallery(examples), js_on_load=ON_EXAMPLE, apply_default_css=False, elem_id="gallery")
    return picture, note, gallery


def _descriptions_field() -> tuple[gr.Textbox, gr.HTML]:
    descriptions = gr.Textbox(
        label="Descriptions, one a line", lines=5, max_lines=9, placeholder="a red car", elem_id="descriptions"
    )
    return descriptions, html(elem_id="note-descriptions")


def _classes_field() -> tuple[gr.Textbox, gr.HTML]:
    classes = gr.Textbox(
        label="Classes, one a line, or JSON",
        lines=4,
        max_lines=9,
        placeholder="magpie: a long tail; a white belly",
        elem_id="classes",
    )
    return classes, html(elem_id="note-classes")


def _wire(app: gr.Blocks, page: GroundPage, parts: Parts) -> None:
    form, result, notes = parts.form, parts.result, parts.notes
    looked = [*result, *notes]
    picked = Picked(form.checkpoint, form.versus, parts.about)
    kept: Any = gr.JSON(visible=False)
    query = gr.Textbox(visible=False)

    app.load(page.start, None, [*form, parts.about, notes.picture], **LIGHT).then(
        page.first_look, [*form], looked, show_progress_on=result.stage, **MODEL
    )
    parts.go.click(page.look, [*form], looked, show_progress_on=result.stage, **MODEL)
    parts.gallery.click(
        page.use_example,
        form.checkpoint,
        [form.picture, form.descriptions, form.classes, *picked],
        **(in_turn("examples") | EVERY),
    ).then(page.look, [*form], looked, show_progress_on=result.stage, **MODEL)
    form.picture.input(
        page.check_picture,
        [form.picture, form.checkpoint],
        [form.picture, notes.picture, *picked],
        **LIGHT,
    )
    form.checkpoint.input(page.pick, form.checkpoint, [form.versus, parts.about], **LIGHT).then(
        page.look, [*form], looked, show_progress_on=result.stage, **MODEL
    )
    form.versus.input(page.about, [form.checkpoint, form.versus], parts.about, **LIGHT).then(
        page.look, [*form], looked, show_progress_on=result.stage, **MODEL
    )
    parts.describer.input(lambda kind: gr.update(visible=kind == "server"), parts.describer, parts.server, **LIGHT)
    parts.describe.click(
        page.describe,
        [form.picture, parts.describer, parts.server],
        [form.descriptions, parts.said, parts.said_note],
        show_progress_on=parts.said,
        **MODEL,
    ).then(page.look, [*form], looked, show_progress_on=result.stage, **MODEL)
    parts.compare.click(
        page.compare,
        [result.seen, parts.detector],
        [parts.opinion, parts.opinion_note],
        show_progress_on=parts.opinion,
        **MODEL,
    )
    parts.audit.click(
        page.audit,
        [result.seen, parts.detector],
        [parts.opinion, parts.opinion_note],
        show_progress_on=parts.opinion,
        **MODEL,
    )
    # one event for both, in one line with the looks: an earlier answer must not come last
    drawn = [form.threshold.release, form.which.input]
    gr.on(drawn, page.redraw, [result.seen, form.threshold, form.which], [*result], show_progress="hidden", **MODEL)
    form.alpha.release(page.mix, [result.seen, form.alpha, form.which], [*result], show_progress="hidden", **MODEL)
    parts.share.click(page.share, result.seen, [parts.link, query], **LIGHT).then(
        None, query, None, js=PUT_INTO_ADDRESS
    )
    parts.as_json.click(page.download_json, result.seen, kept, **LIGHT).then(None, kept, None, js=SAVE)
    parts.as_png.click(page.download_png, [result.seen, form.which], kept, **LIGHT).then(None, kept, None, js=SAVE)


def _add_endpoint(page: GroundPage) -> None:
    """/ground for gradio_client and MCP: the same look, one JSON object. Its parameters are named by hidden fields."""
    picture = UploadedPicture(visible=False, label="picture")
    descriptions = gr.Textbox(visible=False, label="descriptions")
    classes = gr.Textbox("", visible=False, label="classes")
    checkpoint = gr.Textbox(DEFAULT_CHECKPOINT, visible=False, label="checkpoint")
    threshold = gr.Number(0.0, visible=False, label="threshold")
    alpha = gr.Number(DEFAULT_ALPHA, visible=False, label="alpha")
    gr.Button(visible=False).click(
        page.ground,
        [picture, descriptions, classes, checkpoint, threshold, alpha],
        gr.JSON(visible=False),
        api_name="ground",
        concurrency_id=MODEL["concurrency_id"],
    )


def _picker(label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, filterable=False, elem_id=elem_id, min_width=150, scale=0)


def _slider(label: str, elem_id: str, least: float, value: float, step: float) -> gr.Slider:
    return gr.Slider(least, 1, value=value, step=step, label=label, elem_id=elem_id, buttons=[])


def _small(name: str) -> gr.Button:
    return gr.Button(name, size="sm", elem_id=f"{name.lower()}-button", min_width=60)
