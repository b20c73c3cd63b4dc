"""The Annotate page: a data set and annotators in; a plan, a job that outlives the page, and its results out.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import panels
from app.accounts import who
from app.pages.shared import EVERY, LIGHT, ON_JOB, TICK_SECONDS, ask_job, dataset_field, html, in_turn, still, warn
from app.pages.upload_field import UploadedPicture
from app.services import Services

if TYPE_CHECKING:
    from app.annotating import Wanted

TITLE, PATH = "Annotate", "annotate"
LEAD = "What can be seen in every picture of a data set, and where? Stopped at any moment, it goes on where it was."
DESCRIBERS = [
    ("photo stand-in, offline", "photo"),
    ("sample truth, offline", "sample"),
    ("LLaVA on this machine", "llava"),
    ("a server (vLLM, …)", "server"),
    ("class names only", "vocabulary"),
]
LOCALIZERS = [
    ("photo stand-in, offline", "photo"),
    ("sample truth, offline", "sample"),
    ("OWLv2 on this machine", "owlv2"),
]
PROMPTS = ["two-stage-1", "single-stage-1"]
SAMPLE_NAME, SAMPLE_PICTURES = "sample-world", 200
NOT_YET = panels.empty_state("No data set yet", "Import pictures on the left, or draw the sample world.")


class Form(NamedTuple):
    """What a person chooses, in the order of app.annotating.Wanted; as components, and as their values."""

    dataset: Any
    describer: Any
    describer_model: Any
    server: Any
    vocabulary: Any
    prompts: Any
    localizer: Any
    localizer_model: Any
    threshold: Any
    most_of_text: Any
    wrong: Any
    shifted: Any


class Shown(NamedTuple):
    """What follows from the choice; as components, and as their values."""

    note: Any
    plan: Any
    command: Any
    results: Any
    last: Any


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    form: Form
    shown: Shown
    importing: Any
    source: Any
    name: Any
    bring: Any
    draw: Any
    import_note: Any
    start: Any
    jobs: Any
    more: Any
    number: Any
    upload: Any
    attempt: Any
    trial: Any
    trial_note: Any


class AnnotatePage:
    """The handlers. Each makes one call and shows what came of it."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens, on the data set that a link names; where there is none, with how to get one.

        Returns dataset, importing, jobs.
        """
        dataset = dataset_field(self.services, request.query_params.get("dataset"))
        return [dataset, gr.update(open=not dataset.choices), self._jobs()]

    def show(self, *form: Any) -> list[Any]:
        """The choice changed: plan, command and results. Returns Shown."""
        from app import annotate_panels, annotating

        if not form[0]:
            return list(Shown("", NOT_YET, "", "", 0))
        try:
            config = annotating.config_of(_wanted(form))
            plan = annotating.plan_of(self.services, config)
            views = annotating.results(self.services, config)
        except annotating.AnnotatingError as error:
            return list(Shown(panels.notice(str(error)), "", "", "", 0))
        return list(
            Shown(
                "",
                annotate_panels.plan_panel(plan),
                annotate_panels.command_panel(config),
                annotate_panels.results_panel(views, self.services.settings.home),
                views[-1].image.id if views else 0,
            )
        )

    def follow(self, last: int, *form: Any) -> list[Any]:
        """What a job did: the same, but results that a person has turned to stay as they are. Returns Shown."""
        now = Shown(*self.show(*form))
        return list(now if last <= now.last else now._replace(results=gr.skip(), last=gr.skip()))

    def fields(self, describer: str, localizer: str) -> list[Any]:
        """Only the fields that mean something are shown. Returns the fields that may hide."""
        asks = describer in ("llava", "server")
        sample = "sample" in (describer, localizer)
        shown = (asks, describer == "server", describer == "vocabulary", asks, localizer == "owlv2", sample, sample)
        return [gr.update(visible=each) for each in shown]

    def more(self, last: int, results: str, *form: Any) -> list[Any]:
        """The next page of results, below those that are there. Returns results and last."""
        from app import annotate_panels, annotating

        try:
            views = annotating.results(self.services, annotating.config_of(_wanted(form)), after=last)
        except annotating.AnnotatingError as error:
            warn(error)
            return [gr.skip(), gr.skip()]
        if not views:
            gr.Info("These are all results so far.", title="The end")
            return [gr.skip(), gr.skip()]
        return [results + annotate_panels.results_panel(views, self.services.settings.home), views[-1].image.id]

    def tick(self, before: str) -> Any:
        """Every two seconds: how far the jobs are."""
        jobs = self._jobs()
        return gr.skip() if jobs == before else jobs

    def start(self, request: gr.Request, *form: Any) -> Any:
        """[Start]: a job. Returns jobs."""
        from app import annotating

        try:
            annotating.start(self.services, annotating.config_of(_wanted(form)), who(request).name)
        except annotating.AnnotatingError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job: pause, resume or cancel. Returns jobs."""
        ask_job(self.services, request, event)
        return self._jobs()

    def bring(self, source: str, name: str, request: gr.Request) -> list[Any]:
        """[Import]: a job. Returns its note and jobs."""
        return self._bring(source, name, 0, request)

    def draw_sample(self, request: gr.Request) -> list[Any]:
        """[Draw the sample world]: a job. Returns its note and jobs."""
        return self._bring("", SAMPLE_NAME, SAMPLE_PICTURES, request)

    def attempt(self, number: float, upload: str | None, *form: Any) -> list[Any]:
        """[Try]: all stages on one picture. Returns trial and its note."""
        from app import annotate_panels, annotating

        try:
            config = annotating.config_of(_wanted(form))
            image, trial = annotating.try_one(self.services, config, upload, int(number or 0))
            plan = annotating.plan_of(self.services, config)
        except annotating.AnnotatingError as error:
            return [gr.skip(), panels.notice(str(error))]
        return [annotate_panels.trial_panel(image, trial, plan), ""]

    def refresh(self, dataset: str | None) -> Any:
        """The data sets as they are now, after an import. Returns dataset."""
        from app.annotating import dataset_names

        names = dataset_names(self.services)
        return still(dataset, names, next(iter(names), None))

    def _bring(self, source: str, name: str, sample: int, request: gr.Request) -> list[Any]:
        from app import annotating

        try:
            annotating.import_data(self.services, source, name, who(request).name, sample)
        except annotating.AnnotatingError as error:
            return [panels.notice(str(error)), gr.skip()]
        return ["", self._jobs()]

    def _jobs(self) -> str:
        from app import annotate_panels, annotating

        return annotate_panels.jobs_panel(annotating.jobs_now(self.services))


def _wanted(form: tuple[Any, ...]) -> Wanted:
    from app.annotating import Wanted

    values: list[Any] = ["" if value is None else value for value in form]  # Gradio sends an empty text as None
    return Wanted(*values)


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = AnnotatePage(services)
    _wire(app, page, _lay_out())


def _lay_out() -> Parts:
    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Annotate</h1><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="columns"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            dataset, importing, source, name, bring, draw, import_note = _data_fields()
            form = _annotator_fields(dataset)
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html("<h2>Plan</h2>")
                note, plan = html(elem_id="note-plan"), html(NOT_YET, elem_id="plan")
                start = gr.Button("Start", variant="primary", elem_id="start")
                command = html(elem_id="command")
            with gr.Column(elem_classes="card"):
                html("<h2>Jobs</h2>")
                jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
            with gr.Column(elem_classes="card"):
                html("<h2>Results</h2>")
                results = html(elem_id="results")
                more = gr.Button("More", size="sm", elem_id="more")
        with gr.Column(elem_classes="card recognised", min_width=280):
            html("<h2>Try one picture</h2>")
            number = gr.Number(1, label="number in the data set", precision=0, minimum=1, elem_id="number")
            upload = UploadedPicture(
                label="or one of your own", height=150, buttons=[], sources=["upload", "clipboard"], elem_id="upload"
            )
            attempt = gr.Button("Try", elem_id="try")
            trial_note, trial = html(elem_id="note-trial"), html(elem_id="trial")
    shown = Shown(note, plan, command, results, gr.State(0))
    return Parts(
        form,
        shown,
        importing,
        source,
        name,
        bring,
        draw,
        import_note,
        start,
        jobs,
        more,
        number,
        upload,
        attempt,
        trial,
        trial_note,
    )


def _data_fields() -> tuple[Any, ...]:
    html("<h2>Data set</h2>")
    dataset = gr.Dropdown([], label="data set", elem_id="dataset")
    with gr.Accordion("Import pictures", open=False, elem_id="import") as importing:
        source = gr.Textbox(
            label="folder, archive or table on this machine", placeholder="/data/photos or photos.zip", elem_id="source"
        )
        name = gr.Textbox(label="name of the data set", placeholder="photos", elem_id="name")
        bring = gr.Button("Import", size="sm", elem_id="bring")
        draw = gr.Button("Draw the sample world", size="sm", elem_id="draw")
        import_note = html(elem_id="note-import")
    return dataset, importing, source, name, bring, draw, import_note


def _annotator_fields(dataset: Any) -> Form:
    html("<h2>Annotators</h2>")
    describer = gr.Dropdown(DESCRIBERS, value="photo", label="describer", elem_id="describer")
    describer_model = gr.Textbox(
        label="its model (empty: LLaVA-NeXT 7B)", placeholder="a name on the hub, or a folder", visible=False
    )
    server = gr.Textbox(label="the server's address", placeholder="http://127.0.0.1:8000/v1", visible=False)
    vocabulary = gr.Textbox(label="class names, one a line", lines=4, visible=False, elem_id="vocabulary")
    prompts = gr.Dropdown(PROMPTS, value=PROMPTS[0], label="prompts", visible=False)
    localizer = gr.Dropdown(LOCALIZERS, value="photo", label="localizer", elem_id="localizer")
    localizer_model = gr.Textbox(
        label="its model (empty: OWLv2 base)", placeholder="a name on the hub, or a folder", visible=False
    )
    threshold = gr.Slider(0, 1, value=0.3, step=0.01, label="least score of a box", buttons=[], elem_id="least-score")
    most = gr.Slider(1, 20, value=5, step=1, label="most boxes of one description", buttons=[])
    wrong = gr.Slider(0, 1, value=0.0, step=0.05, label="share of wrong descriptions", buttons=[], visible=False)
    shifted = gr.Slider(0, 1, value=0.0, step=0.05, label="share of shifted boxes", buttons=[], visible=False)
    return Form(
        dataset, describer, describer_model, server, vocabulary, prompts, localizer, localizer_model, threshold, most,
        wrong, shifted,
    )  # fmt: skip


def _wire(app: gr.Blocks, page: AnnotatePage, parts: Parts) -> None:
    form, shown = parts.form, parts.shown
    turn = in_turn("annotate")
    hiding = [form.describer_model, form.server, form.vocabulary, form.prompts]
    hiding += [form.localizer_model, form.wrong, form.shifted]
    app.load(page.open, None, [form.dataset, parts.importing, parts.jobs], **LIGHT).then(
        page.show, [*form], [*shown], **turn
    )
    changed = [field.release if isinstance(field, gr.Slider) else field.change for field in form]
    gr.on(changed, page.show, [*form], [*shown], **turn)
    kinds = [form.describer, form.localizer]
    gr.on([kind.change for kind in kinds], page.fields, kinds, hiding, **LIGHT)
    parts.start.click(page.start, [*form], parts.jobs, **LIGHT)
    parts.jobs.click(page.ask, None, parts.jobs, **(LIGHT | EVERY))
    parts.bring.click(page.bring, [parts.source, parts.name], [parts.import_note, parts.jobs], **LIGHT)
    parts.draw.click(page.draw_sample, None, [parts.import_note, parts.jobs], **LIGHT)
    parts.more.click(page.more, [shown.last, shown.results, *form], [shown.results, shown.last], **turn)
    parts.attempt.click(
        page.attempt,
        [parts.number, parts.upload, *form],
        [parts.trial, parts.trial_note],
        show_progress_on=parts.trial,
        concurrency_id="model",
        concurrency_limit=1,
        api_visibility="private",
    )
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
    # what a job did is seen in the data sets, the plan and the results
    parts.jobs.change(page.refresh, form.dataset, form.dataset, **LIGHT).then(
        page.follow, [shown.last, *form], [*shown], **turn
    )
