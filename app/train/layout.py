"""Lay out the Train page: its components, before any event is wired."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.ui.events import html, script
from app.ui.html import empty_state, heading, page_head

PAGE = 20  # runs of the table
WORDS = "name, owner, state, tag or words of a note"
ORDERS = ("newest", "name", "lowest loss", "best grounded")
SCRIPT = script(Path(__file__).with_name("page.py"))
LEAD = "Train on curated data. A run continues when this page is closed, and resumes after an interruption."
NO_PLAN = empty_state("No plan yet", "Fill in the form: what the run needs is checked here before anything starts.")
ON_RUNS = """element.addEventListener("click", (event) => {
  const ask = event.target.closest("[data-ask]"), run = event.target.closest("[data-watch]");
  if (ask) trigger("click", { job: Number(ask.dataset.job), ask: ask.dataset.ask });
  else if (event.target.closest("[data-more]")) trigger("select", { more: true });
  else if (run) trigger("select", { run: Number(run.dataset.watch) });
});"""
ON_WATCHED = """element.addEventListener("click", (event) => {
  const words = event.target.closest("[data-words]"), file = event.target.closest("[data-file]");
  if (words) {
    const asked = words.dataset.words === "tags" ? "Tags, separated by commas" : "Note";
    const text = window.prompt(asked, words.dataset.now);
    if (text !== null) trigger("select", { run: Number(words.dataset.run), what: words.dataset.words, text });
    return;
  }
  if (file) return trigger("input", { run: Number(file.dataset.run), what: file.dataset.file });
  const button = event.target.closest("[data-keep]");
  if (!button) return;
  const { run, which, keep } = button.dataset;
  const to = keep === "push" ? window.prompt("OWNER/NAME on the Hugging Face hub. It becomes private there.", "") : "";
  if (keep !== "push" || to) trigger("click", { run: Number(run), which, keep, to });
});"""
ON_PLAN = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  navigator.clipboard?.writeText(element.querySelector(".command pre").textContent);
  button.textContent = "copied";
});"""


@dataclass(frozen=True)
class TrainPageParts:
    """The components that events come from or go to."""

    form: Any
    values: Any
    plan: Any
    note: Any
    runs: Any
    side: Any
    watched: Any
    kept: Any
    plots: list[Any]
    pictures: Any
    log: Any
    details: list[Any]
    words: Any
    order: Any
    download: Any
    chosen: Any
    limit: Any
    seen: Any


def lay_out() -> TrainPageParts:
    """Lay the page out inside the current Blocks."""
    from app.train.curves import PANELS

    with gr.Row(elem_classes="page-head"):
        html(page_head("Train", LEAD))
    with gr.Row(elem_classes="columns train"):
        with gr.Column(elem_classes="card inputs", min_width=260):
            html(heading("A new run"))
            form = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="form")
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html(heading("Preflight"))
                note = html(elem_id="note-plan")
                plan = gr.HTML(NO_PLAN, js_on_load=ON_PLAN, apply_default_css=False, elem_id="plan")
                with gr.Row(elem_classes="actions"):
                    gr.Button("Dry steps", elem_id="measure")  # the form's script hears both
                    gr.Button("Queue", variant="primary", elem_id="queue")
            with gr.Column(elem_classes="card"):
                html(heading("Runs"))
                with gr.Row(elem_classes="controls"):
                    words = gr.Textbox(label="search runs", placeholder=WORDS, max_lines=1, elem_id="run-words")
                    order = gr.Dropdown([*ORDERS], value=ORDERS[0], label="order", min_width=140, elem_id="run-order")
                runs = gr.HTML(js_on_load=ON_RUNS, apply_default_css=False, elem_id="runs")
                side = gr.HTML(js_on_load=ON_RUNS, apply_default_css=False, elem_id="side")
            with gr.Column(elem_classes="card"):
                html(heading("Chosen runs"))
                kept = html(elem_id="kept")
                watched = gr.HTML(js_on_load=ON_WATCHED, apply_default_css=False, elem_id="watched")
                with gr.Row(elem_classes="curves", visible=False) as curves:
                    plots = [gr.Plot(show_label=False, elem_classes="curve", min_width=220) for _ in PANELS]
            with gr.Column(elem_classes="card", visible=False) as moments:
                html(heading("The same pictures at each evaluation"))
                pictures = html(elem_id="pictures")
            with gr.Column(elem_classes="card code", visible=False) as lines:
                html(heading("Log"))
                log = html(elem_id="log")
    return TrainPageParts(
        form, gr.State({}), plan, note, runs, side, watched, kept, plots, pictures, log,
        [curves, moments, lines], words, order, gr.JSON(visible=False), gr.State([]), gr.State(PAGE), gr.State({}),
    )  # fmt: skip
