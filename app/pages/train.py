"""The Train page: a form that becomes a job, runs watched as they are, and what is kept of them.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import panels
from app.accounts import who
from app.pages.shared import EVERY, LIGHT, TICK_SECONDS, ask_job, html, in_turn, linked, script, warn
from app.services import Services

if TYPE_CHECKING:
    from app.train_runs import RunView
    from app.training import Asked

TITLE, PATH = "Train", "train"
LEAD = "What does the curated data teach the model? A run outlives this page, and nothing of it is lost."
PAGE = 20  # runs of the table
MOST_CHOSEN = 6  # runs over each other
SCRIPT = script("train.js")
NO_PLAN = panels.empty_state("Preflight", "Fill in the form: what it will need is said here before anything runs.")
ON_RUNS = """element.addEventListener("click", (event) => {
  const ask = event.target.closest("[data-ask]"), run = event.target.closest("[data-watch]");
  if (ask) trigger("click", { job: Number(ask.dataset.job), ask: ask.dataset.ask });
  else if (event.target.closest("[data-more]")) trigger("select", { more: true });
  else if (run) trigger("select", { run: Number(run.dataset.watch) });
});"""
ON_WATCHED = """element.addEventListener("click", (event) => {
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
INTO_ADDRESS = "(query) => { history.replaceState(null, '', location.pathname + query); }"


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    form: Any
    values: Any
    plan: Any
    note: Any
    measure: Any
    queue: Any
    runs: Any
    side: Any
    watched: Any
    kept: Any
    plots: list[Any]
    pictures: Any
    log: Any
    details: list[Any]
    chosen: Any
    limit: Any
    seen: Any


class TrainPage:
    """The handlers. Each makes one call and shows what came of it."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens, with the runs behind its link. Returns form and chosen."""
        from app.train_runs import are_runs, latest_asked

        asked = [each for each in request.query_params.get("run", "").split(",") if each][:MOST_CHOSEN]
        known = are_runs(self.services, asked)
        chosen = [int(each) for each in asked if linked(known, each, "run") == each]
        return [self._form(latest_asked(self.services)), chosen]

    def check(self, event: gr.EventData) -> list[Any]:
        """The form changed: the preflight, and the command. Returns values, plan, note."""
        values = event.values if isinstance(event.values, Mapping) else {}
        return [dict(values), *self._plan(dict(values))]

    def recheck(self, values: dict[str, Any]) -> list[Any]:
        """After dry steps, or when data are there. Returns plan, note."""
        return self._plan(values) if values else [gr.skip(), gr.skip()]

    def measure(self, values: dict[str, Any], request: gr.Request) -> list[Any]:
        """[Dry steps]: a job. Returns plan, note."""
        from app import training

        try:
            training.measure(self.services, who(request), _asked(values))
        except training.TrainingError as error:
            warn(error)
        return self.recheck(values)

    def queue(self, values: dict[str, Any], chosen: list[int], request: gr.Request) -> list[Any]:
        """[Queue]: a job, which is watched at once; the form is ready for another. Returns chosen, note, form."""
        from app import train_runs, training

        try:
            job = training.queue(self.services, who(request), _asked(values))
        except training.TrainingError as error:
            warn(error)
            return [gr.skip(), panels.notice(str(error)), gr.skip()]
        return [[job, *chosen][:MOST_CHOSEN], "", self._form(train_runs.form_of(self.services, job))]

    def choose(self, chosen: list[int], limit: int, event: gr.EventData) -> list[Any]:
        """A row of the table was pressed: it is watched, or no longer. Returns chosen, limit."""
        if getattr(event, "more", False):
            return [gr.skip(), limit + PAGE]
        run = int(event.run)
        rest = [each for each in chosen if each != run]
        return [rest if run in chosen else [*rest, run][-MOST_CHOSEN:], gr.skip()]

    def address(self, chosen: list[int]) -> str:
        """What brings the watched runs back. Returns the query that the page puts into its address."""
        return f"?run={','.join(map(str, chosen))}" if chosen else ""

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job. Returns form."""
        from app import train_runs, training

        if event.ask != "duplicate":
            ask_job(self.services, request, event)
            return gr.skip()
        try:
            return self._form(train_runs.form_of(self.services, int(event.job)))
        except training.TrainingError as error:
            warn(error)
            return gr.skip()

    def keep(self, request: gr.Request, event: gr.EventData) -> Any:
        """Promote, export or push a checkpoint. Returns kept."""
        from app import train_panels, train_runs, training

        run, which, what = int(event.run), str(event.which), str(event.keep)
        try:
            if what == "promote":
                before = self.services.registry.promoted()
                return train_panels.promoted_panel(train_runs.promote(self.services, run, which), before)
            job = train_runs.keep(self.services, who(request), run, which, str(event.to) if what == "push" else "")
        except training.TrainingError as error:
            warn(error)
            return gr.skip()
        return f'<p class="finding">Job {job} writes it.</p>'

    def tick(self, chosen: list[int], limit: int, seen: dict[str, Any]) -> list[Any]:
        """Every two seconds, and at once after a choice: what is new. Returns Shown and seen."""
        from app import train_panels, train_runs, training
        from app.curves import PANELS, curves

        rows = train_runs.runs(self.services, limit + 1)
        views: list[RunView] = []
        for each in chosen:
            try:
                views.append(train_runs.view(self.services, each))
            except training.TrainingError as error:
                gr.Info(str(error), title="No such run")
        now = {
            "runs": train_panels.runs_panel(rows[:limit], chosen, len(rows) > limit),
            "side": train_panels.side_panel(train_runs.side_jobs(self.services)),
            "watched": train_panels.watch_panel(views),
            "log": train_panels.log_panel(views),
        }
        told = {name: hash(text) for name, text in now.items()}
        logs = [(view.label, view.log) for view in views]
        told["curves"] = hash(tuple((view.job.id, len(view.log.steps), len(view.log.evaluations)) for view in views))
        told["pictures"] = hash(tuple((view.job.id, *(each.step for each in view.moments)) for view in views))
        told["details"] = bool(views)  # nothing watched: nothing more to see
        fresh = {name for name, mark in told.items() if seen.get(name) != mark}
        plots = [curves(panel, logs) if "curves" in fresh else gr.skip() for panel in PANELS]
        pictures = train_panels.pictures_panel(views) if "pictures" in fresh else gr.skip()
        shown = [now[name] if name in fresh else gr.skip() for name in now]
        details = gr.update(visible=bool(views)) if "details" in fresh else gr.skip()
        return [*shown, *plots, pictures, details, details, details, told if fresh else gr.skip()]

    def _plan(self, values: dict[str, Any]) -> list[Any]:
        from app import train_panels, training

        try:
            planned = training.plan(self.services, _asked(values))
            return [train_panels.plan_panel(planned, training.preflight(self.services, planned)), ""]
        except training.TrainingError as error:
            return [gr.skip(), panels.notice(str(error))]

    def _form(self, values: Mapping[str, Any]) -> str:
        from app import train_panels, training

        return train_panels.form_panel(
            values,
            training.data_choices(self.services),
            training.start_choices(self.services),
            training.where_choices(self.services),
        )


def _asked(values: Mapping[str, Any]) -> Asked:
    from app.training import Asked

    return Asked.read(values)


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = TrainPage(services)
    _wire(app, page, _lay_out())


def _lay_out() -> Parts:
    from app.curves import PANELS

    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Train</h1><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="columns train"):
        with gr.Column(elem_classes="card inputs", min_width=260):
            html("<h2>A new run</h2>")
            form = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="form")
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html("<h2>Preflight</h2>")
                note = html(elem_id="note-plan")
                plan = gr.HTML(NO_PLAN, js_on_load=ON_PLAN, apply_default_css=False, elem_id="plan")
                with gr.Row(elem_classes="actions"):
                    measure = gr.Button("Dry steps", elem_id="measure")
                    queue = gr.Button("Queue", variant="primary", elem_id="queue")
            with gr.Column(elem_classes="card"):
                html("<h2>Runs</h2>")
                runs = gr.HTML(js_on_load=ON_RUNS, apply_default_css=False, elem_id="runs")
                side = gr.HTML(js_on_load=ON_RUNS, apply_default_css=False, elem_id="side")
            with gr.Column(elem_classes="card"):
                html("<h2>Watched</h2>")
                kept = html(elem_id="kept")
                watched = gr.HTML(js_on_load=ON_WATCHED, apply_default_css=False, elem_id="watched")
                with gr.Row(elem_classes="curves", visible=False) as curves:
                    plots = [gr.Plot(show_label=False, elem_classes="curve", min_width=220) for _ in PANELS]
            with gr.Column(elem_classes="card", visible=False) as moments:
                html("<h2>The same pictures at each evaluation</h2>")
                pictures = html(elem_id="pictures")
            with gr.Column(elem_classes="card code", visible=False) as lines:
                html("<h2>Log</h2>")
                log = html(elem_id="log")
    return Parts(
        form, gr.State({}), plan, note, measure, queue, runs, side, watched, kept, plots, pictures, log,
        [curves, moments, lines], gr.State([]), gr.State(PAGE), gr.State({}),
    )  # fmt: skip


def _wire(app: gr.Blocks, page: TrainPage, parts: Parts) -> None:
    asked = [parts.chosen, parts.limit, parts.seen]
    shown = [parts.runs, parts.side, parts.watched, parts.log, *parts.plots, parts.pictures, *parts.details, parts.seen]
    planned = [parts.plan, parts.note]
    app.load(page.open, None, [parts.form, parts.chosen], **LIGHT).then(page.tick, asked, shown, **LIGHT)
    plan = in_turn("train-plan")
    parts.form.input(page.check, None, [parts.values, *planned], **(plan | EVERY))
    parts.measure.click(page.measure, parts.values, planned, **plan)
    parts.queue.click(page.queue, [parts.values, parts.chosen], [parts.chosen, parts.note, parts.form], **LIGHT)
    parts.runs.select(
        page.choose, [parts.chosen, parts.limit], [parts.chosen, parts.limit], **(in_turn("train-runs") | EVERY)
    )
    for jobs in (parts.runs, parts.side):
        jobs.click(page.ask, None, parts.form, **(LIGHT | EVERY)).then(page.tick, asked, shown, **LIGHT)
    parts.watched.click(page.keep, None, parts.kept, **(LIGHT | EVERY))
    parts.chosen.change(page.tick, asked, shown, **LIGHT)
    query = gr.Textbox(visible=False)  # the browser never has a gr.State
    parts.chosen.change(page.address, parts.chosen, query, **LIGHT).then(
        None, query, None, js=INTO_ADDRESS, api_visibility="private"
    )
    parts.limit.change(page.tick, asked, shown, **LIGHT)
    gr.Timer(TICK_SECONDS).tick(page.tick, asked, shown, **LIGHT)
    # what dry steps found and data that are there now are seen in the preflight
    parts.side.change(page.recheck, parts.values, planned, **plan)
