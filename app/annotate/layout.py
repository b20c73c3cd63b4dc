"""Lay out the components of the Annotate page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr

from app.annotate import compare_page
from app.annotate.compare_page import CompareComponents
from app.annotate.form import (
    ATTENTION_CHOICES,
    CONVENTION_CHOICES,
    DEFAULTS,
    DESCRIBER_CHOICES,
    DEVICE_CHOICES,
    LOCALIZER_CHOICES,
    PRECISION_CHOICES,
    PROMPT_CHOICES,
    AnnotateForm,
)
from app.ui.annotations_beside import beside_field
from app.ui.dataset_choice import NO_DATASET
from app.ui.drafts import draft_field, draft_fields_script
from app.ui.events import ON_JOB, TICK_SECONDS, html, server_field
from app.ui.html import heading, page_head
from app.ui.upload_field import UploadedPicture

TITLE = "Annotate"
LEAD = "Describe every picture of a data set and find the boxes. Progress is saved; resume from any browser."


class AnnotateOutputs(NamedTuple):
    """The panels that follow from the form; as components, and as their values.

    last: id of the last result. paged: whether a person has asked for more of them. again: a timer that runs while
    weights are being read, to look again.
    """

    note: Any
    plan: Any
    command: Any
    results: Any
    last: Any
    paged: Any
    again: Any


@dataclass(frozen=True)
class ImportParts:
    """The components that import pictures.

    annotations: asks what to do with COCO files beside the pictures, once there are some. left_out: lists the files
    that imports left out of the data set. save: downloads the list. file: what is downloaded.
    """

    accordion: Any
    source: Any
    name: Any
    annotations: Any
    start: Any
    note: Any
    left_out: Any
    save: Any
    file: Any


@dataclass(frozen=True)
class TrialParts:
    """The components that try one picture."""

    number: Any
    upload: Any
    start: Any
    preview: Any
    note: Any
    trial: Any


@dataclass(frozen=True)
class AnnotateParts:
    """The components that events come from or go to. form: of components. known: the names of the data sets."""

    form: AnnotateForm
    known: Any
    outputs: AnnotateOutputs
    imports: ImportParts
    start: Any
    jobs: Any
    more: Any
    trial: TrialParts
    compare: CompareComponents


def lay_out(dataset: Any) -> AnnotateParts:
    """Lay the page out inside the current Blocks. dataset: the field of the navigation."""
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD))
    with gr.Row(elem_classes="columns"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            imports = _import_fields()
            form = _annotator_fields(dataset)
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html(heading("Plan"))
                note, plan = html(elem_id="note-plan"), html(NO_DATASET, elem_id="plan")
                start = gr.Button("Start", variant="primary", elem_id="start")
                command = html(elem_id="command")
            with gr.Column(elem_classes="card"):
                html(heading("Jobs"))
                jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
            with gr.Column(elem_classes="card"):
                html(heading("Results"))
                results = html(elem_id="results")
                more = gr.Button("More", size="sm", elem_id="more")
            with gr.Column(elem_classes="card"):
                compare = compare_page.lay_out()
        with gr.Column(elem_classes="card recognised", min_width=280):
            trial = _trial_fields()
    again = gr.Timer(TICK_SECONDS, active=False)
    outputs = AnnotateOutputs(note, plan, command, results, gr.State(0), gr.State(False), again)
    return AnnotateParts(form, gr.State([]), outputs, imports, start, jobs, more, trial, compare)


def _import_fields() -> ImportParts:
    with gr.Accordion("Import pictures", open=False, elem_id="import") as accordion:
        source = gr.Textbox(
            label="folder, archive or table on the server's disk",
            info="Pictures on your own machine are imported on Home.",
            placeholder="/data/photos or photos.zip",
            elem_id="source",
        )
        name = gr.Textbox(label="name of the data set", placeholder="photos", elem_id="name")
        annotations = beside_field()
        start = gr.Button("Import", size="sm", elem_id="import-button")
        note, left_out = html(elem_id="note-import"), html(elem_id="left-out")
        save = gr.Button("Download the list of what was left out", size="sm", visible=False, elem_id="save-left-out")
        file = gr.JSON(visible=False)
    return ImportParts(accordion, source, name, annotations, start, note, left_out, save, file)


def _annotator_fields(dataset: Any) -> AnnotateForm:
    html(heading("Annotators"))
    describer = gr.Dropdown(DESCRIBER_CHOICES, value=DEFAULTS.describer, label="describer", elem_id="describer")
    describer_model = gr.Textbox(label="the describer's model", visible=False)
    server = server_field(elem_id="server")
    draft_fields_script()
    vocabulary = draft_field(label="class names, one a line", lines=4, visible=False, elem_id="vocabulary")
    prompts = gr.Dropdown(PROMPT_CHOICES, value=DEFAULTS.prompts, label="prompts", visible=False)
    localizer = gr.Dropdown(LOCALIZER_CHOICES, value=DEFAULTS.localizer, label="localizer", elem_id="localizer")
    localizer_model = gr.Textbox(label="the localizer's model", visible=False)
    convention = gr.Dropdown(
        CONVENTION_CHOICES,
        value=DEFAULTS.convention,
        label="how the model writes boxes",
        info="auto: as Qwen's, InternVL's, GLM-4V's and Gemini's do",
        visible=False,
        elem_id="convention",
    )
    threshold = gr.Slider(
        0, 1, value=DEFAULTS.threshold, step=0.01, label="least score of a box", buttons=[], elem_id="least-score"
    )
    most = gr.Slider(1, 20, value=DEFAULTS.most_of_text, step=1, label="most boxes of one description", buttons=[])
    wrong = gr.Slider(0, 1, value=0.0, step=0.05, label="share of wrong descriptions", buttons=[], visible=False)
    shifted = gr.Slider(0, 1, value=0.0, step=0.05, label="share of shifted boxes", buttons=[], visible=False)
    texts = (dataset, describer, describer_model, server, vocabulary, prompts, localizer, localizer_model, convention)
    precision = gr.Dropdown(
        PRECISION_CHOICES, value=DEFAULTS.precision, label="precision", info="4bit: of the describer", visible=False
    )
    attention = gr.Dropdown(ATTENTION_CHOICES, value=DEFAULTS.attention, label="attention kernel", visible=False)
    device_map = gr.Dropdown(
        DEVICE_CHOICES,
        value=DEFAULTS.device_map,
        label="devices",
        info="auto: the model is spread over all GPUs",
        visible=False,
        elem_id="device-map",
    )
    batch = _count_field(DEFAULTS.batch, "pictures of one call of a model", elem_id="batch")
    concurrency = _count_field(DEFAULTS.concurrency, "requests to the server at once", elem_id="concurrency")
    timeout = _count_field(DEFAULTS.timeout_seconds, "seconds for one request", elem_id="timeout")
    tokens = _count_field(DEFAULTS.tokens, "most tokens of the list of descriptions", elem_id="tokens")
    side = _count_field(DEFAULTS.picture_side, "longest side of a picture sent, in pixels", elem_id="picture-side")
    numbers = (threshold, most, wrong, shifted, batch, concurrency, timeout, tokens, side)
    return AnnotateForm(*texts, precision, attention, device_map, *numbers)


def _count_field(value: float, label: str, *, elem_id: str) -> gr.Number:
    return gr.Number(value, label=label, precision=0, visible=False, elem_id=elem_id)


def _trial_fields() -> TrialParts:
    html(heading("Try one picture"))
    number = gr.Number(1, label="number in the data set", precision=0, elem_id="number")
    upload = UploadedPicture(
        label="or one of your own", height=190, buttons=[], sources=["upload", "clipboard"], elem_id="upload"
    )
    start = gr.Button("Try", elem_id="try")
    preview = gr.Button("Preview the messages", size="sm", elem_id="preview-messages")
    note, trial = html(elem_id="note-trial"), html(elem_id="trial")
    return TrialParts(number, upload, start, preview, note, trial)
