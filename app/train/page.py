"""Handle the Train page: a form that becomes a job, runs with their curves, and checkpoints to keep.

Handlers import what needs the database: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.core.data_uri import file_to_save
from app.services import Services
from app.train.layout import NO_PLAN, PAGE, TrainPageParts, lay_out
from app.ui.dataset_choice import open_dataset
from app.ui.events import (
    LIGHT,
    QUEUE_ALL,
    SAVE,
    TICK_SECONDS,
    choose_linked,
    control_job_by_button,
    in_order,
    into_address,
    warn,
)
from app.ui.html import notice, render_macro
from user_errors import UserError

if TYPE_CHECKING:
    from app.train.plan import TrainRequest
    from app.train.runs import RunOrder, RunView

TITLE, PATH = "Train", "train"
MOST_CHOSEN = 6  # runs over each other


class TrainPage:
    """The handlers. Each makes one call and shows the result."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page with the runs of its link. Returns dataset, form and chosen."""
        from app.train.runs import are_runs, first_form

        asked = [each for each in request.query_params.get("run", "").split(",") if each][:MOST_CHOSEN]
        known = are_runs(self.services, asked)
        chosen = [int(each) for each in asked if choose_linked(known, each, "run") == each]
        dataset = open_dataset(self.services, request)
        form = self._form(first_form(self.services, dataset.chosen), dataset.chosen)
        return [dataset.field, form, chosen]

    def choose_dataset(self, dataset: str | None, values: dict[str, Any]) -> str:
        """Take the latest version of another data set; all else of the form stays. Returns form."""
        from app.train.plan import newest_version

        return self._form(values | {"data": newest_version(self.services, dataset)}, dataset)

    def suggest(self, dataset: str | None, event: gr.EventData) -> Any:
        """Fill the settings in for a fine-tune on the chosen data, or with the defaults. Returns form."""
        from app.train.recipe import suggested_form

        try:
            return self._form(suggested_form(self.services, dict(event.values), str(event.recipe)), dataset)
        except UserError as error:
            warn(error)
            return gr.skip()

    def check(self, newest: dict[str, Any], request: gr.Request, event: gr.EventData) -> list[Any]:
        """Check a form that changed, unless a newer one was checked: requests may overtake one another.

        Returns values, plan, note.
        """
        values = dict(event.values) if isinstance(event.values, Mapping) else {}
        if values.get("check", 0) < newest.get("check", 0):
            return [gr.skip()] * 3
        return [values, *self._plan(values, request)]

    def recheck(self, values: dict[str, Any], request: gr.Request) -> list[Any]:
        """Check the form again, after dry steps or once data are there. Returns plan, note."""
        return self._plan(values, request) if values else [gr.skip(), gr.skip()]

    def measure(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Queue dry steps of what the form holds. Returns plan, note."""
        from app.train import actions

        try:
            actions.measure(self.services, person_of(request), self._read(event.values))
        except UserError as error:
            warn(error)
        return self._plan(event.values, request)

    def queue(self, chosen: list[int], request: gr.Request, event: gr.EventData) -> list[Any]:
        """Queue a training and choose it; the form is ready for another. Returns chosen, note, form."""
        from app.train import actions, runs

        try:
            job = actions.queue(self.services, person_of(request), self._read(event.values))
        except UserError as error:
            warn(error)
            return [gr.skip(), notice(error.sentence), gr.skip()]
        return [[job, *chosen][:MOST_CHOSEN], "", self._form(runs.form_of(self.services, job))]

    def choose(self, chosen: list[int], limit: int, event: gr.EventData) -> list[Any]:
        """Choose the run whose row was pressed, or choose it no longer. Returns chosen, limit."""
        if getattr(event, "more", False):
            return [gr.skip(), limit + PAGE]
        run = int(event.run)
        rest = [each for each in chosen if each != run]
        return [rest if run in chosen else [*rest, run][-MOST_CHOSEN:], gr.skip()]

    def address(self, chosen: list[int]) -> str:
        """Return the runs that the page puts into its address, so that a link opens them."""
        return ",".join(map(str, chosen))

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """Do what a button of a job says. Returns form."""
        from app.train import runs

        if event.ask != "duplicate":
            control_job_by_button(self.services, request, event)
            return gr.skip()
        try:
            return self._form(runs.form_of(self.services, int(event.job)))
        except UserError as error:
            warn(error)
            return gr.skip()

    def keep(self, request: gr.Request, event: gr.EventData) -> Any:
        """Promote, export or push a checkpoint. Returns kept."""
        from app.train import panels, runs

        run, which, what = int(event.run), str(event.which), str(event.keep)
        try:
            if what == "promote":
                before = self.services.registry.promoted()
                name = runs.promote(self.services, run, which)
                before = before if before not in ("", name) else runs.start_checkpoint(self.services, run)
                ground = runs.ground_link(self.services, run, name, versus=before)
                return panels.promoted_panel(name, before, ground)
            if what == "onnx":
                job = runs.keep_onnx(self.services, person_of(request), run, which=which)
            else:
                push_to = str(event.to) if what == "push" else ""
                job = runs.keep(self.services, person_of(request), run, which=which, push_to=push_to)
        except UserError as error:
            warn(error)
            return gr.skip()
        return render_macro("finding", f"Job {job} writes it to a folder in exports, in GRAIN_HOME.")

    def note(self, request: gr.Request, event: gr.EventData) -> None:
        """Write the note or the tags of a run."""
        from app.train import runs

        try:
            runs.write_words(self.services, int(event.run), what=str(event.what), text=str(event.text))
        except UserError as error:
            warn(error)

    def download(self, event: gr.EventData) -> dict[str, str]:
        """Return the log of a run, or its metrics, for the browser to save."""
        from app.train import runs

        try:
            name, content = runs.file_of(self.services, int(event.run), str(event.what))
        except UserError as error:
            warn(error)
            return {}
        return file_to_save(name, "text/plain", content)

    def tick(self, chosen: list[int], limit: int, seen: dict[str, Any], words: str, order: RunOrder) -> list[Any]:
        """Draw what is new, every two seconds and at once after a choice. Returns the outputs of `_wire` and seen."""
        from app.train import panels, runs
        from app.train.curves import PANELS, curves

        rows = runs.runs(self.services, limit + 1, words=words or "", order=order or "newest")
        views = self._views(chosen)
        now = {
            "runs": panels.runs_panel(rows[:limit], chosen, more=len(rows) > limit, searched=bool(words)),
            "side": panels.side_panel(runs.side_jobs(self.services)),
            "watched": panels.watch_panel(views),
            "log": panels.log_panel(views),
        }
        marks = {name: hash(text) for name, text in now.items()}
        marks["curves"] = hash(tuple((view.job.id, len(view.log.steps), len(view.log.evaluations)) for view in views))
        marks["pictures"] = hash(tuple((view.job.id, *(each.step for each in view.moments)) for view in views))
        marks["details"] = bool(views)
        new = {name for name, mark in marks.items() if seen.get(name) != mark}
        logs = [(view.label, view.log) for view in views]
        plots = [_plot(curves(panel, logs)) if "curves" in new else gr.skip() for panel in PANELS]
        pictures = panels.pictures_panel(views) if "pictures" in new else gr.skip()
        shown = [now[name] if name in new else gr.skip() for name in now]
        details = gr.update(visible=bool(views)) if "details" in new else gr.skip()
        return [*shown, *plots, pictures, details, details, details, marks if new else gr.skip()]

    def _views(self, chosen: list[int]) -> list[RunView]:
        """Return the chosen runs that are still there."""
        from app.train import runs

        views = []
        for each in chosen:
            try:
                views.append(runs.view(self.services, each))
            except UserError as error:
                gr.Info(error.sentence, title="No such run")
        return views

    def _plan(self, values: dict[str, Any], request: gr.Request) -> list[Any]:
        from app.train import panels
        from app.train.plan import plan_run
        from app.train.preflight import check_plan

        try:
            plan = plan_run(self.services, self._read(values), person_of(request).role)
            return [panels.plan_panel(plan, check_plan(self.services, plan)), ""]
        except UserError as error:
            return [NO_PLAN, notice(error.sentence)]

    def _read(self, values: Mapping[str, Any]) -> TrainRequest:
        from app.train.plan import TrainRequest, without_hidden_fields

        return without_hidden_fields(self.services, TrainRequest.read(values))

    def _form(self, values: Mapping[str, Any], dataset: str | None = None) -> str:
        from app.train import panels, plan

        data = plan.data_choices(self.services)
        if dataset and not values.get("data"):  # nothing else is trained on unasked
            data = [(f"{dataset}: no version yet, freeze one on Data", ""), *data]
        data = _with_lost(data, values.get("data"))
        starts = _with_lost(plan.start_choices(self.services), values.get("start"))
        return panels.form_panel(
            values,
            data=data,
            starts=starts,
            region_starts=plan.region_starts(self.services),
            places=plan.where_choices(self.services),
            zero_shot=plan.zero_shot_choices(self.services),
        )


def _with_lost(choices: list[tuple[str, str]], chosen: Any) -> list[tuple[str, str]]:
    """Return choices with what was chosen for an earlier run and is gone: a browser would take the first instead."""
    lost = chosen and chosen not in [key for _, key in choices]
    return [("is gone: choose another", chosen), *choices] if lost else choices


def _plot(figure: Any | None) -> Any:
    return gr.update(value=figure, visible=figure is not None)


def build(app: gr.Blocks, services: Services, dataset: Any) -> None:
    """Lay the page out inside the current Blocks and wire its events. dataset: the field of the navigation."""
    _wire(app, TrainPage(services), lay_out(), dataset=dataset)


def _wire(app: gr.Blocks, page: TrainPage, parts: TrainPageParts, *, dataset: Any) -> None:
    inputs = [parts.chosen, parts.limit, parts.seen, parts.words, parts.order]
    shown = [parts.runs, parts.side, parts.watched, parts.log, *parts.plots, parts.pictures, *parts.details, parts.seen]
    planned = [parts.plan, parts.note]
    app.load(page.open, None, [dataset, parts.form, parts.chosen], **LIGHT).then(page.tick, inputs, shown, **LIGHT)
    plan = in_order("train-plan")
    dataset.input(page.choose_dataset, [dataset, parts.values], parts.form, **plan)
    parts.form.input(page.check, parts.values, [parts.values, *planned], **(plan | QUEUE_ALL))
    parts.form.select(page.suggest, dataset, parts.form, **(LIGHT | QUEUE_ALL))
    parts.form.measure(page.measure, None, planned, **plan)
    parts.form.queue(page.queue, parts.chosen, [parts.chosen, parts.note, parts.form], **plan)
    parts.runs.select(
        page.choose, [parts.chosen, parts.limit], [parts.chosen, parts.limit], **(in_order("train-runs") | QUEUE_ALL)
    )
    for jobs in (parts.runs, parts.side):
        jobs.click(page.ask, None, parts.form, **(LIGHT | QUEUE_ALL)).then(page.tick, inputs, shown, **LIGHT)
    parts.watched.click(page.keep, None, parts.kept, **(LIGHT | QUEUE_ALL))
    parts.watched.select(page.note, None, None, **(LIGHT | QUEUE_ALL)).then(page.tick, inputs, shown, **LIGHT)
    parts.watched.input(page.download, None, parts.download, **(LIGHT | QUEUE_ALL)).then(
        None, parts.download, None, js=SAVE, api_visibility="private"
    )
    for field in (parts.words, parts.order):
        field.change(page.tick, inputs, shown, **(in_order("train-search") | QUEUE_ALL))
    parts.chosen.change(page.tick, inputs, shown, **LIGHT)
    query = gr.Textbox(visible=False)  # the browser never has a gr.State
    parts.chosen.change(page.address, parts.chosen, query, **LIGHT).then(
        None, query, None, js=into_address("run"), api_visibility="private"
    )
    parts.limit.change(page.tick, inputs, shown, **LIGHT)
    gr.Timer(TICK_SECONDS).tick(page.tick, inputs, shown, **LIGHT)
    # results of dry steps and data that arrived change the preflight
    parts.side.change(page.recheck, parts.values, planned, **plan)
