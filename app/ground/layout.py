"""Lay out the components of the Ground page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.ground.browser_events import ON_EXAMPLE, ON_SEEN, TOGGLE_CODE
from app.ground.class_lists_page import class_list_field
from app.ground.examples import GroundExample
from app.ground.panels import gallery_panel
from app.ui.events import html, script, server_field
from app.ui.html import empty_state, heading, keys_hint, page_head
from app.ui.plots import empty_figure
from app.ui.upload_field import UploadedPicture
from curation.annotate.registry import DESCRIBERS, LOCALIZERS, label_choices
from grain.checkpoint import DEFAULT_ALPHA

REGION_CHOICES = [("found", "best"), ("all", "all"), ("of both checkpoints", "both")]
TITLE = "Ground"
LEAD = "Find each description in a picture, and see which class the picture shows."
SCRIPT = script(Path(__file__).with_name("page.js"), "kept_form.js", "labels.js")
DESCRIBER_CHOICES = label_choices(row for row in DESCRIBERS.values() if row.any_picture)
DETECTOR_CHOICES = label_choices(row for row in LOCALIZERS.values() if row.any_picture)


class GroundForm(NamedTuple):
    """The question's fields; as components, and as their values."""

    picture: Any
    descriptions: Any
    classes: Any
    checkpoint: Any
    versus: Any
    threshold: Any
    alpha: Any
    which: Any


class CheckpointFields(NamedTuple):
    """The fields that change with the checkpoint; as components, and as their values."""

    checkpoint: Any
    versus: Any
    about: Any
    alpha: Any


class GroundOutputs(NamedTuple):
    """The result of a run; as components, and as their values."""

    view: Any
    stage: Any
    matrix: Any
    classes: Any
    timing: Any
    code: Any


class FieldNotes(NamedTuple):
    """A sentence beside each field that cannot be used; as components, and as their values."""

    picture: Any = ""
    descriptions: Any = ""
    classes: Any = ""
    checkpoint: Any = ""


@dataclass(frozen=True)
class GroundParts:
    """The components that events come from or go to."""

    form: GroundForm
    outputs: GroundOutputs
    notes: FieldNotes
    about: Any
    inputs: InputParts
    comparison: ComparisonParts
    middle: Any
    share: Any
    link: Any
    as_json: Any
    as_png: Any


@dataclass(frozen=True)
class InputParts:
    """The components of the first column beside the form."""

    gallery: Any
    kept: Any
    seen: Any
    progress: Any
    cancel: Any
    run: Any
    class_list: Any
    describer: Any
    server: Any
    describe: Any
    described: Any
    described_note: Any


@dataclass(frozen=True)
class ComparisonParts:
    """The components that compare with a detector."""

    detector: Any
    compare: Any
    audit: Any
    comparison: Any
    note: Any


def lay_out(examples: Sequence[GroundExample]) -> GroundParts:
    """Lay the page out inside the current Blocks."""
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD))
        checkpoint, versus = _picker("checkpoint", "checkpoint"), _picker("compare with", "versus")
    about, checkpoint_note = html(elem_id="about"), html(elem_id="note-checkpoint")
    with gr.Row(elem_classes="columns"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            picture, picture_note, gallery = _picture_field(examples)
            descriptions = gr.Textbox(
                label="Descriptions: lines, or commas",
                lines=4,
                max_lines=7,
                placeholder="a red car, a dog, the person on the left",
                elem_id="descriptions",
            )
            descriptions_note = html(elem_id="note-descriptions")
            seen = gr.HTML("", js_on_load=ON_SEEN, apply_default_css=False, elem_id="seen")
            run = gr.Button("Run", variant="primary", elem_id="run-button")
            progress = html(elem_id="progress")
            cancel = gr.Button("Cancel", size="sm", elem_id="cancel-button")
            html(keys_hint([("Ctrl Enter", "run")]))
            class_list = class_list_field()
            classes = gr.Textbox(
                label="Classes: lines, commas, or JSON",
                lines=4,
                max_lines=9,
                placeholder="magpie: a long tail; a white belly",
                elem_id="classes",
            )
            classes_note = html(elem_id="note-classes")
            describing, kept = _describer_fields(), html(elem_id="kept")
        with gr.Column(elem_classes="middle", min_width=320) as middle:
            stage, threshold, which, matrix = _detection_cards()
            comparison = _comparison_card()
        with gr.Column(elem_classes="card recognised", min_width=280):
            html(heading("Recognised as"))
            scores = html(
                empty_state("No result yet", "Write classes with their descriptions, and press Run."), elem_id="scores"
            )
            alpha = _slider("α: 0 regions · 1 whole picture", "alpha", 0, value=DEFAULT_ALPHA, step=0.05)
            timing = html(elem_id="timing")
            with gr.Row(elem_classes="actions"):
                share, as_json, as_png, code_button = map(_small_button, ("Link", "JSON", "PNG", "Code"))
                code_button.click(None, None, None, js=TOGGLE_CODE)
            link, code = html(elem_id="link"), html(elem_id="code")
    return GroundParts(
        GroundForm(picture, descriptions, classes, checkpoint, versus, threshold, alpha, which),
        GroundOutputs(gr.State(None), stage, matrix, scores, timing, code),
        FieldNotes(picture_note, descriptions_note, classes_note, checkpoint_note),
        about,
        InputParts(gallery, kept, seen, progress, cancel, run, class_list, *describing),
        comparison,
        middle,
        *(share, link, as_json, as_png),
    )


def _picture_field(examples: Sequence[GroundExample]) -> tuple[gr.Image, gr.HTML, gr.HTML]:
    html(heading("Picture"))
    picture = UploadedPicture(
        label="picture",
        show_label=False,
        container=False,
        height=176,
        buttons=[],
        elem_id="picture",
        placeholder="Drop a picture here",
    )
    note = html(elem_id="note-picture")
    gallery = gr.HTML(gallery_panel(examples), js_on_load=ON_EXAMPLE, apply_default_css=False, elem_id="gallery")
    return picture, note, gallery


def _describer_fields() -> tuple[Any, ...]:
    """Return describer, server, describe, described, described_note."""
    with gr.Accordion("Let a model describe it", open=False, elem_id="let-describe"):
        describer = gr.Dropdown(DESCRIBER_CHOICES, value="photo", label="describer", elem_id="describer")
        server = server_field(elem_id="server")
        describe = gr.Button("Describe", size="sm", elem_id="describe")
        note, described = html(elem_id="note-described"), html(elem_id="described")
    return describer, server, describe, described, note


def _detection_cards() -> tuple[Any, ...]:
    """Return stage, threshold, which, matrix."""
    with gr.Column(elem_classes="card"):
        html(heading("Detections"))
        empty = empty_state("No result yet", "Drop a picture, write what to find, and press Run.")
        stage = gr.HTML(empty, js_on_load=SCRIPT, apply_default_css=False, elem_id="stage")
        with gr.Row(elem_classes="controls"):
            threshold = _slider("threshold (cosine)", "threshold", -1, value=0.0, step=0.01)
            which = gr.Radio(REGION_CHOICES, value="best", label="regions", elem_id="which")
    with gr.Column(elem_classes="card"):
        html(heading("Region × description"))
        matrix = gr.Plot(empty_figure("No result yet"), show_label=False, elem_id="matrix")
    return stage, threshold, which, matrix


def _comparison_card() -> ComparisonParts:
    with gr.Column(elem_classes="card"):
        html(heading("Compare with a detector"))
        with gr.Row(elem_classes="controls"):
            detector = gr.Dropdown(
                DETECTOR_CHOICES, value="photo", label="detector", elem_id="detector", filterable=False
            )
            compare = gr.Button("Compare", elem_id="compare")
            audit = gr.Button("Audit", elem_id="audit")
        note = html(elem_id="note-comparison")
        comparison = html(
            empty_state("No result yet", "Choose a detector, and compare its boxes with GRAIN's."),
            elem_id="comparison",
        )
    return ComparisonParts(detector, compare, audit, comparison, note)


def _picker(label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, filterable=False, elem_id=elem_id, min_width=150, scale=0)


def _slider(label: str, elem_id: str, least: float, *, value: float, step: float) -> gr.Slider:
    return gr.Slider(least, 1, value=value, step=step, label=label, elem_id=elem_id, buttons=[])


def _small_button(name: str) -> gr.Button:
    return gr.Button(name, size="sm", elem_id=f"{name.lower()}-button", min_width=60)
