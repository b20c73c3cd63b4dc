"""Lay out the Evaluate page: its components, before any event is wired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr

from app.evaluate.results import AUTHORS, FILES
from app.ui.drafts import draft_field, draft_fields_script
from app.ui.events import ON_JOB, html
from app.ui.html import empty_state, heading, page_head, render, render_macro
from app.ui.plots import empty_figure
from grain.evaluate.experiments import MAX_ARMS
from grain.evaluate.other_ways import FILTERED, WEIGHTED_CROPS

LEAD = "Is one checkpoint better than another, on what, and because of which descriptions?"
LIMIT = 200  # pictures of a data set, at first
DRAFT = "python -m curation.annotate.describe_classes FOLDER --out GRAIN_HOME/class_descriptions/NAME.review.json"
OPTIONS = [
    ("filtered by text", FILTERED),
    ("weighted crops (WCA), slow", WEIGHTED_CROPS),
    ("the authors' grammar", AUTHORS),
]
NO_PLOT = "No result yet"
NO_RESULT = empty_state("No result yet", "Choose models and data sets, and press Evaluate.")
NO_REVIEW = render("evaluate/templates/no_review.html", command=DRAFT)
CHOOSE_EXPERIMENT = render_macro("note", "Choose one: its arms, and how they are trained, are shown here.")
ON_PICTURE = """element.addEventListener("click", (event) => {
  const at = event.target.closest("[data-picture]")?.dataset;
  if (at) trigger("click", { set: Number(at.set), picture: Number(at.picture), model: at.model });
});"""
ON_JUDGE = """element.addEventListener("click", (event) => {
  const at = event.target.closest("[data-verdict]")?.dataset;
  if (at) trigger("click", { name: at.class, text: at.text, verdict: at.verdict });
});"""


class EvaluateForm(NamedTuple):
    """The fields of an evaluation, in the order of app.evaluate.request.EvaluateRequest."""

    models: Any
    data_sets: Any
    paths: Any
    descriptions: Any
    limit: Any
    options: Any


class ExperimentForm(NamedTuple):
    """The fields of a ready experiment: its name, and the checkpoints of its arms in order."""

    name: Any
    arms: tuple[Any, ...]


class ResultChoice(NamedTuple):
    """The chosen result: evaluation, data set, and two rows to compare; as components, and as their values."""

    result: Any
    data_set: Any
    one: Any
    other: Any


class ResultPanels(NamedTuple):
    """The parts that follow from the choice; as components, and as their values."""

    head: Any
    table: Any
    others: Any
    leads: Any
    leads_plot: Any
    pair: Any
    deltas: Any
    apart: Any
    examples: Any
    confusion: Any
    alpha: Any
    grounding: Any
    calibration: Any
    effects: Any
    costs: Any


class ResultCards(NamedTuple):
    """The cards that are there while they have something to show; as components, and whether each has something."""

    controls: Any
    files: Any
    leads: Any
    pair: Any
    alpha: Any
    grounding: Any
    calibration: Any
    confusion: Any
    effects: Any
    costs: Any


@dataclass(frozen=True)
class EvaluatePageParts:
    """The components that events come from or go to."""

    form: EvaluateForm
    missing: Any
    start: Any
    note: Any
    command: Any
    review: Any
    drafts: Any
    jobs: Any
    experiment: ExperimentForm
    experiment_panel: Any
    experiment_start: Any
    experiment_note: Any
    experiment_command: Any
    choice: ResultChoice
    shown: ResultPanels
    cards: ResultCards
    files: tuple[Any, ...]


def lay_out() -> EvaluatePageParts:
    """Lay the page out inside the current Blocks."""
    with gr.Row(elem_classes="page-head"):
        html(page_head("Evaluate", LEAD))
    with gr.Row(elem_classes="columns two"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            form, missing = _form()
            start = gr.Button("Evaluate", variant="primary", elem_id="start")
            note, command = html(elem_id="note-form"), html(elem_id="command")
            with gr.Accordion("Descriptions of new classes, to review", open=False, elem_id="reviews"):
                review = gr.Dropdown([], label="drafted by a describer", elem_id="review", filterable=False)
                drafts = gr.HTML(NO_REVIEW, js_on_load=ON_JUDGE, apply_default_css=False, elem_id="drafts")
            html(heading("Jobs"))
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
        with gr.Column(elem_classes="middle", min_width=320):
            experiment = _experiments()
            results = _results()
    return EvaluatePageParts(form, missing, start, note, command, review, drafts, jobs, *experiment, *results)


def _form() -> tuple[EvaluateForm, Any]:
    html(heading("Models"))
    models = gr.Dropdown(
        [],
        label="checkpoints, by name or folder, or open_clip:ViT-B-16=FILE; CLIP twins are added",
        multiselect=True,
        allow_custom_value=True,
        elem_id="models",
    )
    html(heading("Data sets"))
    data_sets = gr.Dropdown([], label="on this machine", multiselect=True, elem_id="data-sets")
    draft_fields_script()
    paths = draft_field(
        label="or paths: data folder, ImageFolder, WebDataset, file of captions; one a line",
        lines=2,
        placeholder="/data/birds",
        elem_id="paths",
    )
    descriptions = gr.Textbox(
        label="descriptions of classes, JSON of DCLIP or CuPL (empty: those of the data set)",
        lines=1,
        placeholder="/data/birds.json",
        elem_id="descriptions",
    )
    limit = gr.Number(LIMIT, label="pictures of each, at most (0: all)", precision=0, elem_id="limit")
    options = gr.CheckboxGroup(OPTIONS, label="other ways with descriptions", elem_id="options")
    missing = html(elem_id="missing")
    return EvaluateForm(models, data_sets, paths, descriptions, limit, options), missing


def _experiments() -> tuple[ExperimentForm, Any, Any, Any, Any]:
    with gr.Accordion("Ready experiments", open=False, elem_id="experiments", elem_classes="card"):
        name = gr.Dropdown([], label="experiment", elem_id="experiment", filterable=False)
        panel = html(CHOOSE_EXPERIMENT, elem_id="experiment-panel")
        with gr.Row(elem_classes="controls"):
            arms = tuple(_arm_field(number) for number in range(MAX_ARMS))
        start = gr.Button("Run the experiment on the data sets chosen", elem_id="run-experiment")
        note, command = html(elem_id="note-experiment"), html(elem_id="command-experiment")
    return ExperimentForm(name, arms), panel, start, note, command


def _arm_field(number: int) -> gr.Dropdown:
    return gr.Dropdown([], label="arm", visible=False, allow_custom_value=True, min_width=150, elem_id=f"arm-{number}")


def _results() -> tuple[ResultChoice, ResultPanels, ResultCards, tuple[gr.Button, ...]]:
    with gr.Column(elem_classes="card"):
        html(heading("Results"))
        with gr.Row(elem_classes="controls", visible=False) as controls:
            result, data_set = _choice("evaluation", "result"), _choice("data set", "data-set")
        head, table, others = html(elem_id="head"), html(NO_RESULT, elem_id="table"), html(elem_id="others")
        with gr.Row(elem_classes="actions", visible=False) as downloads:
            files = tuple(gr.Button(name, size="sm", min_width=90) for name in FILES)
    with gr.Column(elem_classes="card", visible=False) as leads_card:
        html(heading("Compare with the first model"))
        leads, leads_plot = html(elem_id="leads"), _plot("leads-plot")
    with gr.Column(elem_classes="card", visible=False) as pair_card:
        html(heading("Compare two rows"))
        with gr.Row(elem_classes="controls"):
            one, other = _choice("row", "one"), _choice("compare with", "other")
        pair, deltas = html(elem_id="pair"), _plot("deltas")
        apart, examples = _pictures("apart"), _pictures("examples")
    with gr.Row(elem_classes="plots"):
        alpha_card, alpha = _card("Whole picture or regions", _plot, "alpha-plot")
        grounding_card, grounding = _card("Grounding", _plot, "grounding")
    with gr.Row(elem_classes="plots"):
        calibration_card, calibration = _card("Calibration", _plot, "calibration")
        confusion_card, confusion = _card("Confusions", _pictures, "confusion")
    with gr.Row(elem_classes="plots"):
        effects_card, effects = _card("Descriptions left out one by one", _pictures, "effects")
        costs_card, costs = _card("Cost", _plain, "costs")
    shown = ResultPanels(
        head, table, others, leads, leads_plot, pair, deltas, apart, examples, confusion, alpha, grounding, calibration,
        effects, costs,
    )  # fmt: skip
    cards = ResultCards(
        controls, downloads, leads_card, pair_card, alpha_card, grounding_card, calibration_card, confusion_card,
        effects_card, costs_card,
    )  # fmt: skip
    return ResultChoice(result, data_set, one, other), shown, cards, files


def _choice(label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, elem_id=elem_id, filterable=False)


def _plot(elem_id: str) -> gr.Plot:
    return gr.Plot(empty_figure(NO_PLOT), show_label=False, elem_id=elem_id, elem_classes="plot")


def _card(title: str, content: Callable[[str], Any], elem_id: str) -> tuple[gr.Column, Any]:
    """Lay out a card with one panel, out of sight while it is empty."""
    with gr.Column(elem_classes="card", min_width=300, visible=False) as card:
        html(heading(title))
        return card, content(elem_id)


def _plain(elem_id: str) -> gr.HTML:
    return html(elem_id=elem_id)


def _pictures(elem_id: str) -> gr.HTML:
    """Lay out pictures that open on Ground."""
    return gr.HTML(js_on_load=ON_PICTURE, apply_default_css=False, elem_id=elem_id)
