"""Handle the Evaluate page: models and data sets in; a job, then numbers with intervals, plots and images.

Handlers import what needs the database and plots: the first page must not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.core.data_uri import file_to_save
from app.evaluate.layout import CHOOSE_EXPERIMENT, NO_REVIEW, EvaluatePageParts, ResultChoice, lay_out
from app.services import Services
from app.ui.events import (
    LIGHT,
    QUEUE_ALL,
    SAVE,
    TICK_SECONDS,
    choose_linked,
    control_job_by_button,
    in_order,
    warn,
)
from app.ui.html import notice
from grain.evaluate.experiments import MAX_ARMS
from user_errors import UserError

if TYPE_CHECKING:
    from app.access.rules import Role
    from app.evaluate.request import EvaluateRequest
    from app.evaluate.results import EvaluationResult

TITLE, PATH = "Evaluate", "evaluate"
PLAN = in_order("evaluation-plan")
GO_TO_GROUND = "(query) => { if (query) window.location.assign(`/?q=${query}`); }"


class EvaluatePage:
    """The handlers. Each makes one call and shows the result."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page with the checkpoints that a link names as a and b, and its data; nothing else is chosen.

        Returns models, data sets, paths, missing data sets, jobs, evaluations, the newest.
        """
        from app.evaluate import panels
        from app.evaluate.request import data_set_choices, is_place, missing_data_sets, model_names

        names = model_names(self.services)
        query = dict(request.query_params)
        linked = [name for name in dict.fromkeys((query.get("a"), query.get("b"))) if name]
        first = [name for name in linked if is_place(name) or choose_linked(names, name, "model") == name]
        sets = data_set_choices(self.services)
        missing = panels.missing_panel(missing_data_sets(self.services))
        models = gr.Dropdown(choices=names, value=first)
        found = self._names()
        newest = found[0] if found else ""
        results = self._results(found, newest)
        paths = query.get("data", "")
        return [models, gr.Dropdown(choices=sets, value=[]), paths, missing, self._jobs(), results, newest]

    def plan(self, request: gr.Request, *form: Any) -> list[Any]:
        """Show the command of a form that changed. Returns the command and the sentence beside it."""
        asked = _request(form)
        if not (asked.models or asked.data_sets or asked.paths):
            return ["", ""]
        return self._command(asked, person_of(request).role)

    def start(self, request: gr.Request, *form: Any) -> Any:
        """Queue an evaluation. Returns jobs."""
        from app.evaluate import actions

        try:
            actions.start(self.services, _request(form), person_of(request))
        except UserError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def experiments(self) -> Any:
        """Open the page. Returns the list of ready experiments."""
        from app.evaluate.experiments import experiment_choices

        return gr.Dropdown(choices=experiment_choices(), value=None)

    def pick_experiment(self, name: str | None) -> list[Any]:
        """Show the experiment that was chosen. Returns its panel, the data sets it is about, a field for each arm."""
        from app.evaluate import panels
        from app.evaluate.experiments import DATA_SETS_OF, view_experiment
        from app.evaluate.request import model_names

        try:
            view = view_experiment(self.services, name or "")
        except UserError:
            hidden = [gr.Dropdown(visible=False) for _ in range(MAX_ARMS)]
            return [CHOOSE_EXPERIMENT, gr.skip(), *hidden]
        names = model_names(self.services)
        fields = [
            gr.Dropdown(
                choices=list(dict.fromkeys([*names, *filter(None, (each.checkpoint,))])),
                value=each.checkpoint or None,
                label=each.arm.name,
                visible=True,
            )
            for each in view.arms
        ]
        hidden = [gr.Dropdown(value=None, visible=False)] * (MAX_ARMS - len(fields))
        about = DATA_SETS_OF.get(view.name)
        return [panels.experiment_panel(view), list(about) if about else gr.skip(), *fields, *hidden]

    def plan_experiment(self, request: gr.Request, name: str | None, *values: Any) -> list[Any]:
        """Show the command of arms that changed. Returns the command and the sentence beside it."""
        if not name:
            return ["", ""]
        role = person_of(request).role
        try:
            return self._command(self._with_arms(name, values, role), role)
        except UserError as error:
            return ["", notice(error.sentence)]

    def start_experiment(self, request: gr.Request, name: str | None, *values: Any) -> Any:
        """Queue an experiment. Returns jobs."""
        from app.evaluate import actions

        try:
            person = person_of(request)
            actions.start(self.services, self._with_arms(name or "", values, person.role), person)
        except UserError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """Pause, resume or cancel a job by its button. Returns jobs."""
        control_job_by_button(self.services, request, event)
        return self._jobs()

    def reviews(self) -> Any:
        """Open the page. Returns the list of review files of drafted descriptions."""
        from app.evaluate import actions

        names = actions.review_names(self.services)
        return gr.Dropdown(choices=names, value=names[0] if names else None)

    def show_review(self, name: str | None) -> str:
        """Show the review file that was chosen. Returns its drafts."""
        from app.evaluate import actions, panels

        if not name:
            return NO_REVIEW
        try:
            return panels.review_panel(*actions.read_review(self.services, name))
        except UserError as error:
            return notice(error.sentence)

    def judge(self, name: str | None, event: gr.EventData) -> str:
        """Keep a verdict on a description. Returns the drafts."""
        from app.evaluate import actions

        verdict = {"class_name": str(event.name), "text": str(event.text), "verdict": str(event.verdict)}
        try:
            actions.judge_draft(self.services, name or "", **verdict)
        except UserError as error:
            warn(error)
        return self.show_review(name)

    def tick(self, before: str) -> Any:
        """Show the progress of the jobs, every two seconds. Returns jobs."""
        jobs = self._jobs()
        return gr.skip() if jobs == before else jobs

    def refresh(self, chosen: str | None, newest: str) -> list[Any]:
        """List the evaluations again after a job moved on. Returns the list, which turns to a new one; the newest."""
        names = self._names()
        now = names[0] if names else ""
        keep = now == newest and chosen in names  # while the page opens, nothing is chosen yet
        return [self._results(names, chosen if keep else now), now]

    def pick_result(self, name: str | None) -> list[Any]:
        """Choose an evaluation. Returns data set, and the two rows."""
        from app.evaluate.results import read_result

        try:
            result = read_result(self.services, name or "")
        except UserError:
            return [gr.Dropdown(choices=[], value=None) for _ in range(3)]
        sets = [(each, number) for number, each in enumerate(result.data_set_names())]
        return [gr.Dropdown(choices=sets, value=0), *_row_fields(result, 0)]

    def pick_data_set(self, name: str | None, data_set: int | None) -> list[Any]:
        """Choose a data set. Returns the two rows."""
        from app.evaluate.results import read_result

        try:
            return _row_fields(read_result(self.services, name or ""), data_set or 0)
        except UserError:
            return [gr.skip(), gr.skip()]

    def show(self, *choice: Any) -> list[Any]:
        """Draw the chosen result. Returns ResultPanels and ResultCards."""
        from app.evaluate import result_panels
        from app.evaluate.results import read_result

        chosen = ResultChoice(*choice)
        try:
            result = read_result(self.services, chosen.result or "")
        except UserError:
            drawn, cards = result_panels.no_result(), result_panels.no_cards(bool(self._names()))
        else:
            number, one, other = chosen.data_set or 0, chosen.one or "", chosen.other or ""
            drawn = result_panels.draw_result(result, number, one=one, other=other)
            cards = result_panels.filled_cards(result, number, one=one)
        return [*drawn, *(gr.update(visible=there) for there in cards)]

    def ground(self, name: str | None, event: gr.EventData) -> str:
        """Open a picture on Ground. Returns the id of its question, which the page's script goes to."""
        from app.evaluate import actions
        from app.evaluate.results import read_result

        try:
            result = read_result(self.services, name or "")
            picture = {"data_set": int(event.set), "picture": int(event.picture)}
            return actions.link_to_ground(self.services, result, **picture, model=str(event.model))
        except UserError as error:
            warn(error)
            return ""

    def metrics_json(self, name: str | None) -> dict[str, str]:
        """Return the metrics as a file for the page's script to save; so do the next four."""
        return self._file(name, "metrics.json", "application/json")

    def results_csv(self, name: str | None) -> dict[str, str]:
        """Return the table."""
        return self._file(name, "results.csv", "text/csv")

    def measures_csv(self, name: str | None) -> dict[str, str]:
        """Return retrieval and grounding."""
        return self._file(name, "measures.csv", "text/csv")

    def classes_csv(self, name: str | None) -> dict[str, str]:
        """Return the recall of every class."""
        return self._file(name, "classes.csv", "text/csv")

    def pictures_csv(self, name: str | None) -> dict[str, str]:
        """Return the prediction of every row for every picture."""
        return self._file(name, "pictures.csv", "text/csv")

    def _file(self, name: str | None, file: str, kind: str) -> dict[str, str]:
        from app.evaluate.results import read_file, read_result

        try:
            content = read_file(read_result(self.services, name or ""), file)
        except (UserError, OSError) as error:
            warn(error)
            return {}
        return file_to_save(file, kind, content)

    def _command(self, request: EvaluateRequest, role: Role) -> list[Any]:
        """Return the command of a request, or why there is none."""
        from app.evaluate.request import shown_command
        from app.ui.html import command_block

        try:
            return [command_block(shown_command(self.services, request, role)), ""]
        except UserError as error:
            return ["", notice(error.sentence)]

    def _with_arms(self, name: str, values: tuple[Any, ...], role: Role) -> EvaluateRequest:
        """Return the request for an experiment. values: the arms' checkpoints, then the form.

        Raises: UserError: it cannot be run.
        """
        from app.evaluate.experiments import with_arms

        arms, form = values[:MAX_ARMS], values[MAX_ARMS:]
        checkpoints = [each or "" for each in arms]
        return with_arms(self.services, _request(form), name=name, checkpoints=checkpoints, role=role)

    def _jobs(self) -> str:
        from app.evaluate import actions
        from app.ui import jobs_list

        views = jobs_list.latest_jobs(self.services, (actions.KIND,), most=actions.MOST_JOBS)
        return jobs_list.jobs_panel(views, "Choose models and data sets, and press Evaluate.")

    def _names(self) -> list[str]:
        from app.evaluate.results import result_names

        return result_names(self.services)

    def _results(self, names: list[str], chosen: str | None) -> Any:
        labels = [(f"{n[:4]}-{n[4:6]}-{n[6:8]} {n[9:11]}:{n[11:13]}:{n[13:15]}", n) for n in names]
        return gr.Dropdown(choices=labels, value=chosen or None)


def _request(form: tuple[Any, ...]) -> EvaluateRequest:
    from app.evaluate.request import EvaluateRequest

    models, data_sets, paths, descriptions, limit, options = form
    texts = {"paths": paths or "", "descriptions": descriptions or ""}
    return EvaluateRequest(models or (), data_sets or (), limit=limit or 0, options=options or (), **texts)


def _row_fields(result: EvaluationResult, data_set: int) -> list[Any]:
    """Return the fields of the two rows to compare."""
    from app.evaluate.results import rows_to_compare

    names, *chosen = rows_to_compare(result, data_set)
    return [gr.Dropdown(choices=names, value=row) for row in chosen]


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    _wire(app, EvaluatePage(services), lay_out())


def _wire(app: gr.Blocks, page: EvaluatePage, parts: EvaluatePageParts) -> None:
    form, choice, shown = parts.form, parts.choice, parts.shown
    kept: Any = gr.JSON(visible=False)
    query = gr.Textbox(visible=False)
    newest = gr.State("")
    opened = [form.models, form.data_sets, form.paths, parts.missing, parts.jobs, choice.result, newest]
    app.load(page.open, None, opened, **LIGHT).then(page.plan, [*form], [parts.command, parts.note], **PLAN)
    app.load(page.reviews, None, parts.review, **LIGHT)
    drafts = in_order("drafts")
    parts.review.change(page.show_review, parts.review, parts.drafts, **drafts)
    parts.drafts.click(page.judge, parts.review, parts.drafts, **(drafts | QUEUE_ALL))
    _follow([*form], page.plan, inputs=[*form], outputs=[parts.command, parts.note])
    parts.start.click(page.start, [*form], parts.jobs, **LIGHT)
    _wire_experiments(app, page, parts)
    parts.jobs.click(page.ask, None, parts.jobs, **(LIGHT | QUEUE_ALL))
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
    parts.jobs.change(page.refresh, [choice.result, newest], [choice.result, newest], **LIGHT)
    result = in_order("evaluation")
    choice.result.change(page.pick_result, choice.result, [*choice[1:]], **result).then(
        page.show, [*choice], [*shown, *parts.cards], **result
    )
    choice.data_set.input(page.pick_data_set, [choice.result, choice.data_set], [*choice[2:]], **result).then(
        page.show, [*choice], [*shown, *parts.cards], **result
    )
    gr.on([field.input for field in choice[2:]], page.show, [*choice], [*shown, *parts.cards], **result)
    for pictures in (shown.apart, shown.examples, shown.confusion, shown.effects):
        pictures.click(page.ground, choice.result, query, **(LIGHT | QUEUE_ALL)).then(
            None, query, None, js=GO_TO_GROUND
        )
    downloads = (page.metrics_json, page.results_csv, page.measures_csv, page.classes_csv, page.pictures_csv)
    for button, download in zip(parts.files, downloads, strict=True):
        button.click(download, choice.result, kept, **LIGHT).then(None, kept, None, js=SAVE)


def _wire_experiments(app: gr.Blocks, page: EvaluatePage, parts: EvaluatePageParts) -> None:
    experiment, planned = parts.experiment, [parts.experiment_command, parts.experiment_note]
    inputs = [experiment.name, *experiment.arms, *parts.form]
    app.load(page.experiments, None, experiment.name, **LIGHT)
    experiment.name.change(
        page.pick_experiment, experiment.name, [parts.experiment_panel, parts.form.data_sets, *experiment.arms], **LIGHT
    ).then(page.plan_experiment, inputs, planned, **PLAN)
    _follow([*experiment.arms, *parts.form[1:]], page.plan_experiment, inputs=inputs, outputs=planned)
    parts.experiment_start.click(page.start_experiment, inputs, parts.jobs, **LIGHT)


def _follow(fields: list[Any], handler: Any, *, inputs: list[Any], outputs: list[Any]) -> None:
    """Call a handler when any of the fields changes, in order: an answer is never that of an older form."""
    gr.on([field.change for field in fields], handler, inputs, outputs, **PLAN)
