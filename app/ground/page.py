"""Answer the events of the Ground page: a picture and some texts in, detections and classes out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.core.data_uri import file_to_save, picture_uri
from app.core.ground_links import GroundQuestion, QuestionError, open_picture, save_question
from app.core.recent_pictures import keep_picture, owner_of
from app.ground import annotated_image, overlay, panels
from app.ground.actions import (
    GroundView,
    answer,
    embed_class_texts,
    linked_question,
    result_json,
    seen_names,
)
from app.ground.browser_events import CLEAR_EXAMPLE, PUT_INTO_ADDRESS, READ_KEPT
from app.ground.class_lists_page import wire_class_lists
from app.ground.examples import GroundExample, load_examples
from app.ground.heatmap import heatmap
from app.ground.layout import (
    TITLE,
    CheckpointFields,
    FieldNotes,
    GroundForm,
    GroundOutputs,
    GroundParts,
    lay_out,
)
from app.ground.more_models_page import build_more_models
from app.ground.novelty import stage_note
from app.ground.several_page import build_several
from app.ground.typed_texts import kept_question, texts_of
from app.services import DEFAULT_CHECKPOINT, Services
from app.ui.api_calls import checked
from app.ui.events import LIGHT, MODEL_LANE, QUEUE_ALL, QUIET, SAVE, in_order, server_choices, warn
from app.ui.html import notice
from app.ui.upload_field import TextsField, UploadedPicture
from curation.annotate.registry import DESCRIBERS, uses_of
from user_errors import UserError

if TYPE_CHECKING:
    from curation.annotate.registry import LocalizerKind

__all__ = ["PATH", "TITLE", "GroundPage", "build"]

PATH = ""
NO_OTHER = ""
NO_RESULT = "There is no result yet: press Run first."
# always_last: what a person does while the page is busy is done afterwards; Gradio's default forgets it.
QUEUED: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
MODEL: dict[str, Any] = {"concurrency_id": MODEL_LANE, "concurrency_limit": 1, **QUEUED}


class GroundPage:
    """The handlers of the page's events. Each reads the form, makes one call and draws."""

    def __init__(self, services: Services, examples: tuple[GroundExample, ...]) -> None:
        """Keep the example pictures; the page opens with the first."""
        self.services = services
        self.examples = examples

    def prepare(self, *values: Any) -> Iterator[str]:
        """Embed the texts of many classes before a run, and show how far it is. Returns progress."""
        began = time.monotonic()
        try:
            for done, total in embed_class_texts(self.services, _question(GroundForm(*values))):
                yield panels.progress_line(done, total, seconds=time.monotonic() - began)
        except QuestionError:
            pass  # the run says it
        yield ""

    def clear_progress(self) -> str:
        """Answer [Cancel], which has ended the run. Returns progress."""
        return ""

    def run(self, *values: Any) -> list[Any]:
        """Answer [Run] with outputs and notes. What cannot be used is said at its field and in a toast."""
        form = GroundForm(*values)
        try:
            return [*self._answer(_question(form), form.which), *FieldNotes()]
        except QuestionError as error:
            warn(error)
            return [*_unchanged(), *FieldNotes(**_note(error))]

    def first_run(self, *values: Any) -> list[Any]:
        """Answer the question that the page opens with: no toast, and the note about its link stays."""
        form = GroundForm(*values)
        kept = FieldNotes(*(gr.skip() for _ in FieldNotes._fields))
        if not form.picture or not ((form.descriptions or "").strip() or (form.classes or "").strip()):
            return [*_unchanged(), *kept]
        try:
            return [*self._answer(_question(form), form.which), *kept]
        except QuestionError as error:
            return [*_unchanged(), *kept._replace(**_note(error))]

    def set_alpha(self, view: GroundView | None, alpha: float, which: overlay.Which) -> list[Any]:
        """Score the same picture and texts by another α. Returns outputs."""
        if view is None:
            return _unchanged()
        try:
            return list(self._answer(replace(view.question, alpha=alpha), which))
        except QuestionError as error:
            warn(error)
            return _unchanged()

    def redraw(self, view: GroundView | None, threshold: float, which: overlay.Which) -> list[Any]:
        """Draw the result again by another threshold, or with best or all regions. Returns outputs."""
        if view is None:
            return _unchanged()
        return list(_draw(replace(view, question=replace(view.question, threshold=threshold)), which))

    def check_picture(self, picture: str | None, checkpoint: str, request: gr.Request) -> list[Any]:
        """Check a picture as soon as a person chooses it. Returns picture, its note, checkpoint fields, and kept."""
        if not picture:
            return [gr.skip(), "", *_same_checkpoint(), ""]
        try:
            mark, shown = self._keep(picture, request)
        except QuestionError as error:
            warn(error)
            return [None, notice(error.sentence), *_same_checkpoint(), ""]
        # a HEIC or TIFF file is shown as what was kept of it
        picture_field = gr.skip() if Path(shown).name == Path(picture).name else shown
        return [picture_field, "", *self._follow_example(checkpoint, DEFAULT_CHECKPOINT), mark]

    def suggest(self, picture: str | None, descriptions: str) -> str:
        """Name what a picture seems to show while nothing is asked of it. Returns seen."""
        if not picture or (descriptions or "").strip():
            return ""
        try:
            return panels.seen_panel(seen_names(self.services, picture))
        except QuestionError:
            return ""  # the picture's own note says so

    def use_example(self, checkpoint: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Fill in an example that was pressed. Returns picture, descriptions, classes, checkpoint fields, and kept."""
        example = self.examples[int(event.example)]
        fields = self._follow_example(checkpoint, example.checkpoint)
        mark, _ = self._keep(str(example.path), request)
        return [str(example.path), example.descriptions, example.classes, *fields, mark]

    def _keep(self, picture: str, request: gr.Request) -> tuple[str, str]:
        """Keep a picture for its person; return the mark for the page's script, and a file that browsers show.

        Raises: QuestionError: it cannot be read.
        """
        settings, person = self.services.settings, person_of(request).name
        image = open_picture(settings, picture)
        try:
            kept_id, shown = keep_picture(settings, person, Path(picture), image=image)
        except UserError:  # no room: the page works without
            return "", picture
        return panels.kept_mark(owner_of(person), kept_id), str(shown)

    def _follow_example(self, chosen: str, suited: str) -> list[Any]:
        """Change to the checkpoint that suits an example, from that of another example; one that a person chose stays.

        Returns checkpoint fields.
        """
        usable = {each.name for each in self.services.registry.usable()}
        if chosen == suited or suited not in usable or chosen not in {each.checkpoint for each in self.examples}:
            return _same_checkpoint()
        return [suited, *self.choose_checkpoint(suited)]

    def choose_checkpoint(self, checkpoint: str) -> list[Any]:
        """Put a checkpoint's twin beside it, and take its own α. Returns versus, about and alpha."""
        known = {each.name: each for each in self.services.registry.usable()}
        info = known[checkpoint].info if checkpoint in known else None
        versus = info.twin if info and info.twin in known else NO_OTHER
        return [versus, self.about(checkpoint, versus), self.services.registry.default_alpha(checkpoint)]

    def about(self, checkpoint: str, versus: str) -> str:
        """Render where the checkpoints come from. Returns about."""
        return panels.about_panel(self.services.registry.checkpoints(), checkpoint, versus)

    def open(self, kept: str, request: gr.Request) -> list[Any]:
        """Open the page with the question of its link, what the browser kept, or else the first example.

        Returns form, about, picture note, and kept.
        The checkpoint is the one that the address names, else the one promoted last, else that of the question.
        """
        usable = [each.name for each in self.services.registry.usable()]
        asked = dict(request.query_params)
        linked, image = asked.get("q", ""), asked.get("image", "")
        restored = kept_question(self.services.settings, person_of(request).name, kept or "")
        question, problem = (restored, "") if restored else self._linked_question(linked, image)
        promoted = "" if linked or restored else self.services.registry.promoted()
        candidates = (asked.get("checkpoint", ""), promoted, question.checkpoint, *usable)
        chosen = next((name for name in candidates if name in usable), "")
        versus = asked.get("versus") or (question.versus if (linked or restored) and not problem else None)
        if versus is None or versus not in (NO_OTHER, *usable):
            versus = self.choose_checkpoint(chosen)[0]
        own_alpha = self.services.registry.default_alpha(chosen)
        form = GroundForm(
            picture=question.picture or None,
            descriptions=question.descriptions,
            classes=question.classes,
            checkpoint=gr.Dropdown(choices=usable, value=chosen or None),
            versus=gr.Dropdown(choices=[("nothing", NO_OTHER), *((name, name) for name in usable)], value=versus),
            threshold=question.threshold,
            alpha=question.alpha if (linked and not problem) or restored else own_alpha,
            which="best",
        )
        mark = self._keep(question.picture, request)[0] if question.picture else ""
        return [*form, self.about(chosen, versus), notice(problem), mark]

    def show_server(self, describer: str, server: str | None) -> Any:
        """Show the address field for a describer on a server."""
        return server_choices(self.services, server, visible="server" in uses_of(DESCRIBERS, describer))

    def describe(self, picture: str | None, kind: str, server: str, request: gr.Request) -> list[Any]:
        """Let a model write the descriptions. Returns descriptions, its answer, and its note."""
        from app.ground import model_comparison

        try:
            person = person_of(request)
            described = model_comparison.describe(
                self.services, picture or "", kind, server=server or "", person=person
            )
        except QuestionError as error:
            return [gr.skip(), "", notice(error.sentence)]
        lines = model_comparison.description_lines(described)
        return [lines or gr.skip(), panels.described_panel(described), ""]

    def compare(self, view: GroundView | None, kind: LocalizerKind) -> list[Any]:
        """Find a detector's boxes beside GRAIN's. Returns comparison and its note."""
        from app.ground import model_comparison

        if view is None:
            return [gr.skip(), notice(NO_RESULT)]
        prediction = view.result.prediction
        try:
            rows = model_comparison.compare(self.services, view.question.picture, prediction, kind=kind)
        except QuestionError as error:
            return [gr.skip(), notice(error.sentence)]
        same_model = kind == view.result.info.name == "photo"
        return [panels.comparison_panel(prediction, view.uri, rows, same_model=same_model), ""]

    def audit(self, view: GroundView | None, kind: LocalizerKind) -> list[Any]:
        """Judge which claims of the descriptions the picture supports. Returns comparison and its note."""
        from app.ground import model_comparison

        if view is None:
            return [gr.skip(), notice(NO_RESULT)]
        picture, checkpoint = view.question.picture, view.question.checkpoint
        try:
            rows = model_comparison.audit(
                self.services, picture, view.result.prediction, checkpoint=checkpoint, kind=kind
            )
        except QuestionError as error:
            return [gr.skip(), notice(error.sentence)]
        return [panels.audit_panel(rows), ""]

    def share(self, view: GroundView | None) -> list[Any]:
        """Save the question. Returns the link and its id, which the page's script puts into the address."""
        if view is None:
            gr.Warning(NO_RESULT, title="Not yet")
            return [gr.skip(), ""]
        try:
            query = save_question(self.services.settings, self.services.engine, view.question)
        except QuestionError as error:
            warn(error)
            return [gr.skip(), ""]
        return [panels.link_panel(f"?q={query}"), query]

    def download_json(self, view: GroundView | None) -> dict[str, str]:
        """Return the result, with that of the other model, as a file for the page's script to save."""
        if view is None:
            gr.Warning(NO_RESULT, title="Not yet")
            return {}
        content = result_json(view.result, threshold=view.question.threshold, versus=view.versus)
        return file_to_save("detections.json", "application/json", json.dumps(content, indent=1).encode())

    def download_png(self, view: GroundView | None, which: overlay.Which) -> dict[str, str]:
        """Return the picture with its regions as a file for the page's script to save."""
        if view is None:
            gr.Warning(NO_RESULT, title="Not yet")
            return {}
        try:
            image = open_picture(self.services.settings, view.question.picture)
        except QuestionError as error:
            warn(error)
            return {}
        drawn = annotated_image.draw_results(image, view.results, threshold=view.question.threshold, which=which)
        return file_to_save("detections.png", "image/png", annotated_image.png_bytes(drawn))

    def ground(
        self,
        picture: str | None,
        descriptions: str | list[str] | None,
        classes: str | list[str] | dict[str, Any] | None = "",
        checkpoint: str | None = DEFAULT_CHECKPOINT,
        threshold: float | None = 0.0,
        alpha: float | None = None,
    ) -> dict[str, Any]:
        """Find where descriptions are in a picture and which class it shows.

        Args:
            picture: The picture, an uploaded JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC file.
            descriptions: Short texts to find: a list, as in ["a red lid", "a star"], or one text, a line each; a
                single line may hold several between commas, or be one in quotes.
            classes: Classes with their descriptions, one a line, as in "zorbex: a red lid; a star", or an object
                {"zorbex": ["a red lid", "a star"]}. May be empty.
            checkpoint: "photo" for photographs, "sample" for the rendered sample world, or one of your own.
            threshold: Least cosine of a region, -1 to 1.
            alpha: Share of the whole picture in a class score, 0 to 1, the rest is the regions'; null: the
                checkpoint's own, which was measured.

        Returns:
            One object: regions (all boxes that a description means, xyxy normalized to the upright picture, cosine and
            confidence), not_found (descriptions that the picture does not show), matches (the cosine of every region
            and description; of each description its presence, reason and answer: "found", "not found", "cannot tell",
            where no region is surely it, or "below the threshold", where it is found and the threshold hides its
            boxes), classes (best first), checkpoint, novelty (above 1 the picture is far from what the checkpoint has
            seen) and far (whether it is).
        """
        # null is no text
        texts = (picture or "", texts_of(descriptions), texts_of(classes), checkpoint or "", NO_OTHER)
        numbers = (threshold or 0.0, self.services.registry.default_alpha(texts[3]) if alpha is None else alpha)
        question = GroundQuestion(*texts, *numbers, one_a_line=isinstance(descriptions, list))
        try:
            return result_json(answer(self.services, question).result, threshold=question.threshold)
        except QuestionError as error:
            raise gr.Error(error.sentence, print_exception=False) from error

    def _linked_question(self, query: str, image: str) -> tuple[GroundQuestion, str]:
        example = self.examples[0]
        first = GroundQuestion(str(example.path), example.descriptions, example.classes, example.checkpoint)
        return linked_question(self.services, first, query=query, image=image)

    def _answer(self, question: GroundQuestion, which: overlay.Which) -> GroundOutputs:
        found = answer(self.services, question)
        return _draw(GroundView(found.question, found.result, found.versus, picture_uri(found.image)), which)


def _draw(view: GroundView, which: overlay.Which) -> GroundOutputs:
    question, prediction = view.question, view.result.prediction
    threshold, note = question.threshold, stage_note(view.results)
    regions = overlay.drawn_regions(prediction, threshold=threshold, which=which)
    both = overlay.drawn_results(view.results, threshold=threshold, which=which)
    return GroundOutputs(
        view=view,
        stage=overlay.stage(prediction, regions, view.uri, threshold=threshold, note=note, compared=both),
        matrix=heatmap(prediction),
        classes=panels.classes_panel(view.result, view.versus, alpha=question.alpha),
        timing=panels.timing_panel(view.results),
        code=panels.code_panel(question, view.result.checkpoint),
    )


def _question(form: GroundForm) -> GroundQuestion:
    return GroundQuestion(
        picture=form.picture or "",
        descriptions=form.descriptions or "",
        classes=form.classes or "",
        checkpoint=form.checkpoint or "",
        versus=form.versus or NO_OTHER,
        threshold=form.threshold,
        alpha=form.alpha,
    )


def _unchanged() -> list[Any]:
    return [gr.skip() for _ in GroundOutputs._fields]


def _same_checkpoint() -> list[Any]:
    return [gr.skip() for _ in CheckpointFields._fields]


def _note(error: QuestionError) -> dict[str, Any]:
    return {error.field: notice(error.sentence)}


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = GroundPage(services, load_examples())
    parts = lay_out(page.examples)
    _wire_questions(app, page, parts)
    _wire_results(page, parts)
    wire_class_lists(app, services, choice=parts.inputs.class_list, classes=parts.form.classes)
    with parts.middle:
        build_several(services, parts.form, view=parts.outputs.view)
        build_more_models(services, parts.form)
    _add_endpoint(page)


def _wire_questions(app: gr.Blocks, page: GroundPage, parts: GroundParts) -> None:
    """Wire the events that end in a run."""
    form, outputs, notes, inputs = parts.form, parts.outputs, parts.notes, parts.inputs
    fields = CheckpointFields(form.checkpoint, form.versus, parts.about, form.alpha)
    run: dict[str, Any] = {
        "fn": page.run,
        "inputs": [*form],
        "outputs": [*outputs, *notes],
        "show_progress_on": outputs.stage,
        **MODEL,
    }
    suggest: dict[str, Any] = {
        "fn": page.suggest,
        "inputs": [form.picture, form.descriptions],
        "outputs": inputs.seen,
        "show_progress": "hidden",
        **MODEL,
    }
    kept_form = gr.Textbox(visible=False)
    app.load(page.open, kept_form, [*form, parts.about, notes.picture, inputs.kept], js=READ_KEPT, **LIGHT).then(
        **(run | {"fn": page.first_run})
    ).then(**suggest)
    # in a lane of its own: many class texts take minutes, and others' runs need not wait
    prepare: dict[str, Any] = {
        "fn": page.prepare,
        "inputs": [*form],
        "outputs": inputs.progress,
        "concurrency_id": "class-texts",
        "concurrency_limit": 4,
        **QUIET,
    }
    other = [
        form.checkpoint.input(page.choose_checkpoint, form.checkpoint, [*fields[1:]], **LIGHT),
        form.versus.input(page.about, [form.checkpoint, form.versus], parts.about, **LIGHT),
    ]
    prepared = [inputs.run.click(**prepare), *(event.then(**prepare) for event in other)]
    for each in prepared:
        each.success(**run)
    inputs.cancel.click(page.clear_progress, None, inputs.progress, cancels=prepared, **LIGHT)
    inputs.gallery.click(
        page.use_example,
        form.checkpoint,
        [form.picture, form.descriptions, form.classes, *fields, inputs.kept],
        **(in_order("examples") | QUEUE_ALL),
    ).then(**run)
    form.picture.input(None, form.picture, js=CLEAR_EXAMPLE)
    form.picture.input(
        page.check_picture,
        [form.picture, form.checkpoint],
        [form.picture, notes.picture, *fields, inputs.kept],
        **LIGHT,
    ).then(**suggest)
    inputs.describer.input(page.show_server, [inputs.describer, inputs.server], inputs.server, **LIGHT)
    inputs.describe.click(
        page.describe,
        [form.picture, inputs.describer, inputs.server],
        [form.descriptions, inputs.described, inputs.described_note],
        show_progress_on=inputs.described,
        **MODEL,
    ).then(**run)


def _wire_results(page: GroundPage, parts: GroundParts) -> None:
    """Wire the events on a result that is there."""
    form, outputs, other = parts.form, parts.outputs, parts.comparison
    compared: dict[str, Any] = {
        "inputs": [outputs.view, other.detector],
        "outputs": [other.comparison, other.note],
        "show_progress_on": other.comparison,
        **MODEL,
    }
    other.compare.click(page.compare, **compared)
    other.audit.click(page.audit, **compared)
    # one event for both, in one queue with the runs: an earlier answer must not come last
    drawn = [form.threshold.release, form.which.input]
    gr.on(drawn, page.redraw, [outputs.view, form.threshold, form.which], [*outputs], show_progress="hidden", **MODEL)
    form.alpha.release(
        page.set_alpha, [outputs.view, form.alpha, form.which], [*outputs], show_progress="hidden", **MODEL
    )
    query = gr.Textbox(visible=False)
    parts.share.click(page.share, outputs.view, [parts.link, query], **LIGHT).then(
        None, query, None, js=PUT_INTO_ADDRESS
    )
    file: Any = gr.JSON(visible=False)
    parts.as_json.click(page.download_json, outputs.view, file, **LIGHT).then(None, file, None, js=SAVE)
    parts.as_png.click(page.download_png, [outputs.view, form.which], file, **LIGHT).then(None, file, None, js=SAVE)


def _add_endpoint(page: GroundPage) -> None:
    """Add /ground for gradio_client and MCP: the same run, one JSON object. Hidden fields name its parameters."""
    picture = UploadedPicture(visible=False, label="picture")
    descriptions = TextsField(visible=False, label="descriptions")
    classes = TextsField("", visible=False, label="classes")
    checkpoint = gr.Textbox(DEFAULT_CHECKPOINT, visible=False, label="checkpoint")
    threshold = gr.Number(0.0, visible=False, label="threshold")
    alpha = gr.Number(None, visible=False, label="alpha")
    gr.Button(visible=False).click(
        checked(page.ground),
        [picture, descriptions, classes, checkpoint, threshold, alpha],
        gr.JSON(visible=False),
        api_name="ground",
        concurrency_id=MODEL["concurrency_id"],
    )
