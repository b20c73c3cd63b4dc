"""Lay out the Audit page: its components, before any event is wired."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.ui.events import ON_ASK, ON_JOB, html, script, server_field
from app.ui.html import empty_state, heading, keys_hint, page_head, render_macro
from curation.annotate.registry import DESCRIBERS, LOCALIZERS

LEAD = (
    "Which descriptions does the picture support? Claim by claim, with evidence from sources that did not write them."
)
SCRIPT = script(Path(__file__).with_name("page.js"))
KINDS = ["object", "attribute", "part", "count", "relation", "text"]
VERDICTS = ["unsupported", "cannot tell", "supported"]
JUDGED = [("anybody or nobody", "anybody"), ("nobody yet", "nobody"), ("people", "people")]
DETECTORS = [
    (LOCALIZERS["owlv2"].label, "owlv2"),
    (LOCALIZERS["photo"].label, "photo"),
    ("sample stand-in, offline", "sample"),
    ("none", "none"),
]
VQA_MODELS = [
    ("none", "none"),
    ("sample stand-in, offline", "sample"),
    (DESCRIBERS["llava"].label, "llava"),
    (DESCRIBERS["server"].label, "server"),
]
JUDGES = [("its own, if one is fitted", ""), ("the one that GRAIN ships for these sources", "shipped")]
SAMPLE = 400  # claims of the sample for people
NO_CLAIM = empty_state("No claim chosen", "Press one in the list, or judge the sample.")
NO_CLAIMS = empty_state("No result yet", "Choose a data set that has descriptions, and audit it.")
FIT = (
    "“Fit the judge” fits one on people’s verdicts on the sample, tests it on pictures that it was not fitted on, and "
    "judges every claim again by it. No model runs again, and people’s verdicts stay."
)
KEYS = (
    *(("S", "supported"), ("U", "unsupported"), ("C", "cannot tell"), ("A", "agree"), ("E", "rewrite"), ("Z", "undo")),
    ("→", "next"),
)


class AuditFilterFields(NamedTuple):
    """The filter fields, in the order of app.audit.claims.AuditFilter; as components, and as their values."""

    dataset: Any
    audit: Any
    kinds: Any
    verdicts: Any
    at_most: Any
    words: Any
    judged: Any


class AuditSourceFields(NamedTuple):
    """The fields of an audit's sources, named as in app.audit.actions.audit_config."""

    detector: Any
    checkpoint: Any
    vqa: Any
    server: Any
    judge: Any


@dataclass(frozen=True)
class AuditPageParts:
    """The components that events come from or go to."""

    filters: AuditFilterFields
    latest: Any
    run: Any
    sources: AuditSourceFields
    start: Any
    command: Any
    jobs: Any
    back: Any
    forward: Any
    note: Any
    list: Any
    matches: Any
    reject: Any
    places: Any
    judge: Any
    claim: Any
    count: Any
    draw: Any
    fit: Any
    report: Any
    threshold: Any
    curve: Any


def lay_out(dataset: Any) -> AuditPageParts:
    """Lay the page out inside the current Blocks. dataset: the field of the navigation."""
    with gr.Row(elem_classes="page-head"):
        html(page_head("Audit", LEAD))
        audit = gr.Dropdown([], label="audit", visible=False, filterable=False, elem_id="audit")
    with gr.Row(elem_classes="columns audit"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            filters = _filter_fields(dataset, audit)
            with gr.Accordion("Audit this data set", open=False, elem_id="run") as run:
                sources = _source_fields()
                start = gr.Button("Audit", variant="primary", elem_id="start")
                command = html(elem_id="command")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
        with gr.Column(elem_classes="card", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html(heading("Claims, worst first"))
                back, forward = (gr.Button(name, size="sm", min_width=60) for name in ("Back", "More"))
            note = html(elem_id="note-claims")
            claims = gr.HTML(NO_CLAIMS, js_on_load=ON_ASK, apply_default_css=False, elem_id="claims")
            with gr.Accordion("Reject by this rule", open=False, elem_id="rule"):
                matches = html(elem_id="touched")
                reject = gr.Button("Reject these regions", size="sm", elem_id="reject")
        with gr.Column(elem_classes="card work", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html(heading("Verdict"))
                judge = gr.Button("Judge the sample", variant="primary", size="sm", elem_id="judge")
            claim = gr.HTML(NO_CLAIM, js_on_load=SCRIPT, apply_default_css=False, elem_id="claim")
            html(keys_hint(KEYS))
    measured = _measured()
    return AuditPageParts(
        filters, gr.State(0), run, sources, start, command, jobs, back, forward, note, claims, matches, reject,
        gr.State([""]), judge, claim, *measured,
    )  # fmt: skip


def _measured() -> tuple[Any, ...]:
    """Lay out the sample, the numbers and the curve."""
    with gr.Row(elem_classes="columns measured"):
        with gr.Column(elem_classes="card", min_width=320):
            html(heading("Hallucination rate, and the auditor's quality"))
            with gr.Row(elem_classes="gallery-head asked-of-people"):
                count = gr.Number(SAMPLE, label="claims in the sample for people", precision=0)
                draw = gr.Button("Draw", size="sm", elem_id="draw")
                fit = gr.Button("Fit the judge", size="sm", elem_id="fit")
            html(render_macro("note", FIT))
            report = html(elem_id="report")
        with gr.Column(elem_classes="card", min_width=320):
            html(heading("Claims that a threshold would drop"))
            threshold = gr.Slider(0, 1, value=0.5, step=0.01, label="drop at or below", buttons=[], elem_id="threshold")
            curve = gr.Plot(show_label=False, elem_id="curve")
    return count, draw, fit, report, threshold, curve


def _filter_fields(dataset: Any, audit: Any) -> AuditFilterFields:
    html(heading("Filters"))
    verdicts = gr.CheckboxGroup(VERDICTS, value=VERDICTS[:1], label="verdict", elem_id="verdicts")
    kinds = gr.CheckboxGroup(KINDS, value=KINDS, label="kind", elem_id="kinds")
    judged = gr.Dropdown(JUDGED, value="anybody", label="judged by", elem_id="judged", filterable=False)
    at_most = gr.Slider(0, 1, value=1, step=0.01, label="at most this likely to be true", buttons=[], elem_id="likely")
    words = gr.Textbox(label="words of the claim", placeholder="red", elem_id="words")
    return AuditFilterFields(dataset, audit, kinds, verdicts, at_most, words, judged)


def _source_fields() -> AuditSourceFields:
    detector = gr.Dropdown(DETECTORS, value="photo", label="detector", elem_id="detector")
    checkpoint = gr.Dropdown([], label="GRAIN checkpoint", elem_id="checkpoint")
    vqa = gr.Dropdown(VQA_MODELS, value="none", label="VQA model", elem_id="vqa")
    server = server_field(elem_id="server")
    judge = gr.Dropdown(JUDGES, value="", label="judge", elem_id="judged-by", filterable=False)
    return AuditSourceFields(detector, checkpoint, vqa, server, judge)
