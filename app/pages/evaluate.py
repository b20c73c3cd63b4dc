"""The Evaluate page: models and data sets in; a job, then numbers with intervals, plots, and pictures to click.

What it needs of the database and of plots is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import draw, panels
from app.accounts import who
from app.pages.shared import EVERY, LIGHT, ON_JOB, TICK_SECONDS, ask_job, html, in_turn, linked, warn
from app.services import Services
from grain.experiments import MOST_ARMS

if TYPE_CHECKING:
    from app.evaluating import Result, Wanted
    from app.rules import Role

TITLE, PATH = "Evaluate", "evaluate"
LEAD = "Is one checkpoint better than another, on what, and because of which descriptions?"
PLAN = in_turn("evaluation-plan")
LIMIT = 200  # pictures of a data set, at first
FILES = ("metrics.json", "results.csv", "measures.csv", "classes.csv", "pictures.csv")
ON_PICTURE = """element.addEventListener("click", (event) => {
  const at = event.target.closest("[data-picture]")?.dataset;
  if (at) trigger("click", { set: Number(at.set), picture: Number(at.picture), model: at.model });
});"""
ON_JUDGE = """element.addEventListener("click", (event) => {
  const at = event.target.closest("[data-verdict]")?.dataset;
  if (at) trigger("click", { name: at.class, text: at.text, verdict: at.verdict });
});"""
GO_TO_GROUND = "(query) => { if (query) window.location.assign(`/?q=${query}`); }"
SAVE = """(file) => {
  if (file?.uri) Object.assign(document.createElement("a"), { href: file.uri, download: file.name }).click();
}"""
EMPTY = panels.empty_state("Nothing evaluated yet", "Choose models and data sets on the left, and press Evaluate.")
NO_REVIEW = (
    '<p class="quiet">None yet: <code>python -m curation.describe_classes FOLDER --out '
    "GRAIN_HOME/class_descriptions/NAME.review.json</code> drafts some from example pictures; with a file of class "
    "names in place of FOLDER, and a describer that is a server or a LLaVA, from the names alone.</p>"
)
TO_CHOOSE = '<p class="quiet">Choose one: its arms, and how they are trained, are shown here.</p>'
NO_CLASSES = '<p class="quiet">No pictures with classes.</p>'
NO_PLOT = "Evaluate something first"


class Form(NamedTuple):
    """What a person chooses, in the order of app.evaluating.Wanted; as components, and as their values."""

    models: Any
    data_sets: Any
    paths: Any
    descriptions: Any
    limit: Any


class Trial(NamedTuple):
    """A ready experiment: which, and the checkpoints of its arms in order; as components, and as their values."""

    name: Any
    arms: tuple[Any, ...]


class Choice(NamedTuple):
    """Which result is looked at: evaluation, data set, and the two rows that are compared."""

    result: Any
    data_set: Any
    one: Any
    other: Any


class Shown(NamedTuple):
    """What follows from the choice; as components, and as their values."""

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


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    form: Form
    trial: Trial
    trial_panel: Any
    trial_start: Any
    trial_command: Any
    trial_note: Any
    choice: Choice
    shown: Shown
    missing: Any
    start: Any
    command: Any
    note: Any
    jobs: Any
    review: Any
    drafts: Any
    files: tuple[Any, ...]


class EvaluatePage:
    """The handlers. Each makes one call and shows what came of it."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens, with the checkpoints that a link names as a and b, or with the embedded one. Returns models,
        data sets, what is missing, jobs, evaluations, the newest.
        """
        from app import evaluate_panels, evaluating

        names = evaluating.model_names(self.services)
        asked = dict(request.query_params)
        wanted = [name for name in dict.fromkeys((asked.get("a"), asked.get("b"))) if name]
        first = [name for name in wanted if linked(names, name, "model") == name]
        first = first or [name for name in names if name == "sample"] or names[:1]
        sets = evaluating.data_set_choices(self.services)
        lacking = evaluate_panels.missing(evaluating.missing(self.services))
        models = gr.Dropdown(choices=names, value=first)
        found = self._names()
        newest = found[0] if found else ""
        results = self._results(found, newest)
        return [models, gr.Dropdown(choices=sets, value=[sets[0][1]]), lacking, self._jobs(), results, newest]

    def plan(self, request: gr.Request, *form: Any) -> list[Any]:
        """The form changed. Returns the command and the sentence beside it."""
        from app import evaluate_panels, evaluating

        try:
            line = evaluating.command_shown(self.services, _wanted(form), who(request).role)
            return [evaluate_panels.command(line), ""]
        except evaluating.EvaluatingError as error:
            return ["", panels.notice(str(error))]

    def start(self, request: gr.Request, *form: Any) -> Any:
        """[Evaluate]: a job. Returns jobs."""
        from app import evaluating

        try:
            evaluating.start(self.services, _wanted(form), who(request))
        except evaluating.EvaluatingError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def experiments(self) -> Any:
        """The page opens. Returns the list of ready experiments."""
        from app import experimenting

        return gr.Dropdown(choices=experimenting.choices(), value=None)

    def pick_experiment(self, name: str | None) -> list[Any]:
        """A ready experiment was chosen. Returns its panel, the data sets it is about, a field for each arm."""
        from app import evaluate_panels, evaluating, experimenting

        try:
            view = experimenting.view(self.services, name or "")
        except evaluating.EvaluatingError:
            return [TO_CHOOSE, gr.skip(), *(gr.Dropdown(visible=False) for _ in range(MOST_ARMS))]
        names = evaluating.model_names(self.services)
        fields = [
            gr.Dropdown(
                choices=list(dict.fromkeys([*names, *filter(None, (each.checkpoint,))])),
                value=each.checkpoint or None,
                label=each.arm.name,
                visible=True,
            )
            for each in view.arms
        ]
        hidden = [gr.Dropdown(value=None, visible=False)] * (MOST_ARMS - len(fields))
        about = experimenting.SHOWN.get(view.name)
        return [evaluate_panels.experiment(view), list(about) if about else gr.skip(), *fields, *hidden]

    def plan_experiment(self, request: gr.Request, name: str | None, *values: Any) -> list[Any]:
        """Its arms or the form changed. Returns the command and the sentence beside it."""
        from app import evaluate_panels, evaluating

        if not name:
            return ["", ""]
        try:
            role = who(request).role
            line = evaluating.command_shown(self.services, self._tried(name, values, role), role)
            return [evaluate_panels.command(line), ""]
        except evaluating.EvaluatingError as error:
            return ["", panels.notice(str(error))]

    def start_experiment(self, request: gr.Request, name: str | None, *values: Any) -> Any:
        """[Run the experiment]: a job. Returns jobs."""
        from app import evaluating

        try:
            person = who(request)
            evaluating.start(self.services, self._tried(name or "", values, person.role), person)
        except evaluating.EvaluatingError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def _tried(self, name: str, values: tuple[Any, ...], role: Role) -> Wanted:
        """values: the arms' checkpoints, then the form.

        Raises: EvaluatingError.
        """
        from app import experimenting

        arms, form = values[:MOST_ARMS], values[MOST_ARMS:]
        return experimenting.with_arms(self.services, _wanted(form), name, [each or "" for each in arms], role)

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job: pause, resume or cancel. Returns jobs."""
        ask_job(self.services, request, event)
        return self._jobs()

    def reviews(self) -> Any:
        """The page opens: drafted descriptions there are. Returns the list of review files."""
        from app import evaluating

        names = evaluating.review_names(self.services)
        return gr.Dropdown(choices=names, value=names[0] if names else None)

    def show_review(self, name: str | None) -> str:
        """A review file was chosen. Returns its drafts."""
        from app import evaluate_panels, evaluating

        if not name:
            return NO_REVIEW
        try:
            return evaluate_panels.review(*evaluating.review(self.services, name))
        except evaluating.EvaluatingError as error:
            return panels.notice(str(error))

    def judge(self, name: str | None, event: gr.EventData) -> str:
        """A verdict on a description. Returns the drafts."""
        from app import evaluating

        try:
            evaluating.judge(self.services, name or "", str(event.name), str(event.text), str(event.verdict))
        except evaluating.EvaluatingError as error:
            warn(error)
        return self.show_review(name)

    def tick(self, before: str) -> Any:
        """Every two seconds: how far the jobs are."""
        jobs = self._jobs()
        return gr.skip() if jobs == before else jobs

    def refresh(self, chosen: str | None, newest: str) -> list[Any]:
        """A job moved on: the evaluations there are. Returns the list, which turns to a new one; and the newest."""
        names = self._names()
        now = names[0] if names else ""
        keep = now == newest and chosen in names  # while the page opens, nothing is chosen yet
        return [self._results(names, chosen if keep else now), now]

    def pick_result(self, name: str | None) -> list[Any]:
        """An evaluation was chosen. Returns data set, and the two rows."""
        from app import evaluating

        try:
            found = evaluating.result(self.services, name or "")
        except evaluating.EvaluatingError:
            return [gr.Dropdown(choices=[], value=None) for _ in range(3)]
        sets = [(each, number) for number, each in enumerate(found.data_sets())]
        return [gr.Dropdown(choices=sets, value=0), *self._rows(found, 0)]

    def pick_data_set(self, name: str | None, data_set: int | None) -> list[Any]:
        """A data set was chosen. Returns the two rows."""
        from app import evaluating

        try:
            return self._rows(evaluating.result(self.services, name or ""), data_set or 0)
        except evaluating.EvaluatingError:
            return [gr.skip(), gr.skip()]

    def show(self, *choice: Any) -> list[Any]:
        """What was chosen, drawn. Returns Shown."""
        from app import evaluating

        chosen = Choice(*choice)
        try:
            found = evaluating.result(self.services, chosen.result or "")
        except evaluating.EvaluatingError:
            return list(_nothing())
        return list(_drawn(found, chosen.data_set or 0, chosen.one or "", chosen.other or ""))

    def ground(self, name: str | None, event: gr.EventData) -> str:
        """A click on a picture. Returns the id of its look, which the page's script goes to."""
        from app import evaluating

        try:
            found = evaluating.result(self.services, name or "")
            return evaluating.on_ground(self.services, found, int(event.set), int(event.picture), str(event.model))
        except evaluating.EvaluatingError as error:
            warn(error)
            return ""

    def metrics_json(self, name: str | None) -> dict[str, str]:
        """Returns a file for the page's script to save; so do the next four."""
        return self._file(name, "metrics.json", "application/json")

    def results_csv(self, name: str | None) -> dict[str, str]:
        """The table."""
        return self._file(name, "results.csv", "text/csv")

    def measures_csv(self, name: str | None) -> dict[str, str]:
        """Retrieval and grounding."""
        return self._file(name, "measures.csv", "text/csv")

    def classes_csv(self, name: str | None) -> dict[str, str]:
        """Recall of every class."""
        return self._file(name, "classes.csv", "text/csv")

    def pictures_csv(self, name: str | None) -> dict[str, str]:
        """What every row says of every picture."""
        return self._file(name, "pictures.csv", "text/csv")

    def _file(self, name: str | None, file: str, kind: str) -> dict[str, str]:
        from app import evaluating

        try:
            content = evaluating.file_of(evaluating.result(self.services, name or ""), file)
        except (evaluating.EvaluatingError, OSError) as error:
            warn(error)
            return {}
        return {"name": file, "uri": f"data:{kind};base64,{base64.b64encode(content).decode()}"}

    def _jobs(self) -> str:
        from app import annotate_panels, annotating, evaluating

        views = annotating.jobs_now(self.services, (evaluating.KIND,), most=evaluating.MOST_JOBS)
        return annotate_panels.jobs_panel(views, "Choose models and data sets, and press Evaluate.")

    def _names(self) -> list[str]:
        from app import evaluating

        return evaluating.result_names(self.services)

    def _results(self, names: list[str], chosen: str | None) -> Any:
        labels = [(f"{n[:4]}-{n[4:6]}-{n[6:8]} {n[9:11]}:{n[11:13]}:{n[13:15]}", n) for n in names]
        return gr.Dropdown(choices=labels, value=chosen or None)

    def _rows(self, found: Result, data_set: int) -> list[Any]:
        """The rows that are compared; two to start with: the best one, and the best of another model."""
        data = found.metrics["data_sets"][data_set]
        paired = {name for pair in data["pairs"] for name in (pair["one"], pair["other"])}
        names = [row["row"] for row in data["rows"] if row["row"] in paired or not paired]
        rows = sorted((row for row in data["rows"] if row["row"] in names), key=lambda row: -row["top1"][0])
        if not rows:
            return [gr.Dropdown(choices=[], value=None), gr.Dropdown(choices=[], value=None)]
        rivals = [row for row in rows if row["model"] != rows[0]["model"]] or rows[1:] or rows
        one, other = rows[0]["row"], rivals[0]["row"]
        return [gr.Dropdown(choices=names, value=one), gr.Dropdown(choices=names, value=other)]


def _wanted(form: tuple[Any, ...]) -> Wanted:
    from app.evaluating import Wanted

    models, data_sets, paths, descriptions, limit = form
    return Wanted(models or (), data_sets or (), paths or "", descriptions or "", limit or 0)


def _nothing() -> Shown:
    plot = draw.empty_figure(NO_PLOT)
    return Shown("", EMPTY, "", "", plot, "", plot, "", "", "", plot, plot, plot, "", "")


def _drawn(found: Result, number: int, one: str, other: str) -> Shown:
    from app import evaluate_panels, evaluate_plots

    data, details = found.metrics["data_sets"][number], found.details["data_sets"][number]
    compared = evaluate_panels.find_pair(details["deltas"], one, other)
    has_classes = bool(data["rows"])
    ahead = data.get("leads", [])
    base = evaluate_panels.first_model(ahead) if ahead else ""
    return Shown(
        head=evaluate_panels.experiment_head(found.metrics) + evaluate_panels.head(data),
        table=evaluate_panels.table(data),
        others=evaluate_panels.others(data) + evaluate_panels.across(found.metrics),
        leads=evaluate_panels.leads(data),
        leads_plot=evaluate_plots.leads(ahead, base),
        pair=evaluate_panels.pair(data, one, other) if has_classes else "",
        deltas=evaluate_plots.deltas(compared)
        if compared
        else draw.empty_figure("Choose two rows" if has_classes else "No classes to compare"),
        apart=evaluate_panels.apart(found, number, one, other) if has_classes else "",
        examples=evaluate_panels.examples(found, number, one, other) if has_classes else "",
        confusion=evaluate_panels.confusion(found, number, one) if has_classes else NO_CLASSES,
        alpha=evaluate_plots.alpha(details["sweeps"]),
        grounding=evaluate_plots.grounding(details["grounding"]),
        calibration=evaluate_plots.calibration(details["rows"], list(dict.fromkeys((one, other)))),
        effects=evaluate_panels.effects(found, number, one.rpartition(" · ")[0]) if has_classes else NO_CLASSES,
        costs=evaluate_panels.costs(data),
    )


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = EvaluatePage(services)
    _wire(app, page, _lay_out())


def _lay_out() -> Parts:
    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Evaluate</h1><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="columns two"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            form, missing = _form()
            start = gr.Button("Evaluate", variant="primary", elem_id="start")
            note, command = html(elem_id="note-form"), html(elem_id="command")
            with gr.Accordion("Descriptions of new classes, to review", open=False, elem_id="reviews"):
                review = gr.Dropdown([], label="drafted by a describer", elem_id="review", filterable=False)
                drafts = gr.HTML(NO_REVIEW, js_on_load=ON_JUDGE, apply_default_css=False, elem_id="drafts")
            html("<h2>Jobs</h2>")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
        with gr.Column(elem_classes="middle", min_width=320):
            trial = _experiments()
            choice, shown, files = _results()
    return Parts(form, *trial, choice, shown, missing, start, command, note, jobs, review, drafts, files)


def _form() -> tuple[Form, Any]:
    html("<h2>Models</h2>")
    models = gr.Dropdown(
        [],
        label="checkpoints, by name or folder, or open_clip:ViT-B-16=FILE; CLIP twins come along",
        multiselect=True,
        allow_custom_value=True,
        elem_id="models",
    )
    html("<h2>Data sets</h2>")
    data_sets = gr.Dropdown([], label="on this machine", multiselect=True, elem_id="data-sets")
    paths = gr.Textbox(
        label="or paths: data folder, ImageFolder, WebDataset, file of captions; one a line",
        lines=2,
        placeholder="/data/birds",
        elem_id="paths",
    )
    descriptions = gr.Textbox(
        label="descriptions of classes, JSON of DCLIP or CuPL (empty: those that came along)",
        lines=1,
        placeholder="/data/birds.json",
        elem_id="descriptions",
    )
    limit = gr.Number(LIMIT, label="pictures of each, at most (0: all)", precision=0, minimum=0, elem_id="limit")
    missing = html(elem_id="missing")
    return Form(models, data_sets, paths, descriptions, limit), missing


def _experiments() -> tuple[Trial, Any, Any, Any, Any]:
    with gr.Accordion("Ready experiments", open=False, elem_id="experiments", elem_classes="card"):
        name = gr.Dropdown([], label="experiment", elem_id="experiment", filterable=False)
        panel = html(TO_CHOOSE, elem_id="experiment-panel")
        with gr.Row(elem_classes="controls"):
            arms = tuple(_arm_field(number) for number in range(MOST_ARMS))
        start = gr.Button("Run the experiment on the data sets chosen", elem_id="run-experiment")
        note, command = html(elem_id="note-experiment"), html(elem_id="command-experiment")
    return Trial(name, arms), panel, start, command, note


def _arm_field(number: int) -> Any:
    return gr.Dropdown([], label="arm", visible=False, allow_custom_value=True, min_width=150, elem_id=f"arm-{number}")


def _results() -> tuple[Choice, Shown, tuple[Any, ...]]:
    with gr.Column(elem_classes="card"):
        html("<h2>Results</h2>")
        with gr.Row(elem_classes="controls"):
            result = gr.Dropdown([], label="evaluation", elem_id="result", filterable=False)
            data_set = gr.Dropdown([], label="data set", elem_id="data-set", filterable=False)
        head, table = html(elem_id="head"), html(EMPTY, elem_id="table")
        others = html(elem_id="others")
        with gr.Row(elem_classes="actions"):
            files = tuple(gr.Button(name, size="sm", min_width=90) for name in FILES)
    with gr.Column(elem_classes="card"):
        html("<h2>All against the first</h2>")
        ahead = html(elem_id="leads")
        ahead_plot = _plot("leads-plot")
    with gr.Column(elem_classes="card"):
        html("<h2>One against the other</h2>")
        with gr.Row(elem_classes="controls"):
            one = gr.Dropdown([], label="one", elem_id="one", filterable=False)
            other = gr.Dropdown([], label="the other", elem_id="other", filterable=False)
        pair = html(elem_id="pair")
        deltas = _plot("deltas")
        apart = gr.HTML(js_on_load=ON_PICTURE, apply_default_css=False, elem_id="apart")
        examples = gr.HTML(js_on_load=ON_PICTURE, apply_default_css=False, elem_id="examples")
    with gr.Row(elem_classes="plots"):
        with gr.Column(elem_classes="card", min_width=300):
            html("<h2>Whole picture or regions</h2>")
            alpha = _plot("alpha-plot")
        with gr.Column(elem_classes="card", min_width=300):
            html("<h2>Boxes</h2>")
            grounding = _plot("grounding")
    with gr.Row(elem_classes="plots"):
        with gr.Column(elem_classes="card", min_width=300):
            html("<h2>How sure, how often right</h2>")
            calibration = _plot("calibration")
        with gr.Column(elem_classes="card", min_width=300):
            html("<h2>Taken for another</h2>")
            confusion = gr.HTML(js_on_load=ON_PICTURE, apply_default_css=False, elem_id="confusion")
    with gr.Row(elem_classes="plots"):
        with gr.Column(elem_classes="card", min_width=300):
            html("<h2>Each description left out</h2>")
            effects = gr.HTML(js_on_load=ON_PICTURE, apply_default_css=False, elem_id="effects")
        with gr.Column(elem_classes="card", min_width=300):
            html("<h2>What it costs</h2>")
            costs = html(elem_id="costs")
    shown = Shown(
        head,
        table,
        others,
        ahead,
        ahead_plot,
        pair,
        deltas,
        apart,
        examples,
        confusion,
        alpha,
        grounding,
        calibration,
        effects,
        costs,
    )
    return Choice(result, data_set, one, other), shown, files


def _plot(elem_id: str) -> Any:
    return gr.Plot(draw.empty_figure(NO_PLOT), show_label=False, elem_id=elem_id, elem_classes="plot")


def _wire(app: gr.Blocks, page: EvaluatePage, parts: Parts) -> None:
    form, choice, shown = parts.form, parts.choice, parts.shown
    kept: Any = gr.JSON(visible=False)
    query = gr.Textbox(visible=False)
    newest = gr.State("")
    opened = [form.models, form.data_sets, parts.missing, parts.jobs, choice.result, newest]
    app.load(page.open, None, opened, **LIGHT).then(page.plan, [*form], [parts.command, parts.note], **PLAN)
    app.load(page.reviews, None, parts.review, **LIGHT)
    drafts = in_turn("drafts")
    parts.review.change(page.show_review, parts.review, parts.drafts, **drafts)
    parts.drafts.click(page.judge, parts.review, parts.drafts, **(drafts | EVERY))
    _follow([*form], page.plan, [*form], [parts.command, parts.note])
    parts.start.click(page.start, [*form], parts.jobs, **LIGHT)
    _wire_experiments(app, page, parts)
    parts.jobs.click(page.ask, None, parts.jobs, **(LIGHT | EVERY))
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
    parts.jobs.change(page.refresh, [choice.result, newest], [choice.result, newest], **LIGHT)
    result = in_turn("evaluation")
    choice.result.change(page.pick_result, choice.result, [*choice[1:]], **result).then(
        page.show, [*choice], [*shown], **result
    )
    choice.data_set.input(page.pick_data_set, [choice.result, choice.data_set], [*choice[2:]], **result).then(
        page.show, [*choice], [*shown], **result
    )
    gr.on([field.input for field in choice[2:]], page.show, [*choice], [*shown], **result)
    for pictures in (shown.apart, shown.examples, shown.confusion, shown.effects):
        pictures.click(page.ground, choice.result, query, **(LIGHT | EVERY)).then(None, query, None, js=GO_TO_GROUND)
    downloads = (page.metrics_json, page.results_csv, page.measures_csv, page.classes_csv, page.pictures_csv)
    for button, download in zip(parts.files, downloads, strict=True):
        button.click(download, choice.result, kept, **LIGHT).then(None, kept, None, js=SAVE)


def _wire_experiments(app: gr.Blocks, page: EvaluatePage, parts: Parts) -> None:
    trial, planned = parts.trial, [parts.trial_command, parts.trial_note]
    asked = [trial.name, *trial.arms, *parts.form]
    app.load(page.experiments, None, trial.name, **LIGHT)
    trial.name.change(
        page.pick_experiment, trial.name, [parts.trial_panel, parts.form.data_sets, *trial.arms], **LIGHT
    ).then(page.plan_experiment, asked, planned, **PLAN)
    _follow([*trial.arms, *parts.form[1:]], page.plan_experiment, asked, planned)
    parts.trial_start.click(page.start_experiment, asked, parts.jobs, **LIGHT)


def _follow(fields: list[Any], handler: Any, inputs: list[Any], outputs: list[Any]) -> None:
    """Call a handler when any of the fields changes; in turn, so that an answer is never an older form's."""
    gr.on([field.change for field in fields], handler, inputs, outputs, **PLAN)
