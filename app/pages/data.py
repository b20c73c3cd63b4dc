"""The Data page: a data set in numbers, its frozen versions and their differences, exports, annotations brought in.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import panels
from app.accounts import who
from app.pages.shared import EVERY, LIGHT, ON_JOB, TICK_SECONDS, ask_job, dataset_field, html, in_turn, still
from app.services import Services

if TYPE_CHECKING:
    from curation.export import ExportConfig

TITLE, PATH = "Data", "data"
LEAD = "What training and evaluation may trust: frozen versions, told apart, and files that lose nothing unsaid."
VERDICTS = ["pending", "accepted", "rejected"]
FORMATS = [
    ("shards, for training", "shards"),
    ("COCO JSON", "coco"),
    ("ODVG", "odvg"),
    ("ImageFolder", "imagefolder"),
    ("parquet", "parquet"),
    ("Label Studio JSON", "label-studio"),
]
NOW = [("as it is now", "")]
NOT_YET = panels.empty_state("No data set yet", "Import pictures on the Annotate page.")
NO_JOB = panels.empty_state("No job yet", "Freezing, exporting and bringing in run here, and go on without the page.")
IMPORT = (
    '<p class="quiet"><a href="/annotate">Import pictures</a> and describe them on the Annotate page; '
    '<a href="/curate">review them</a> on Curate.</p>'
)
READING = in_turn("versions")


class Form(NamedTuple):
    """What is to be exported; as components, and as their values."""

    dataset: Any
    version: Any
    format: Any
    statuses: Any
    unreviewed: Any


class Shown(NamedTuple):
    """What follows from the data set; as components, and as their values."""

    overview: Any
    versions: Any
    version: Any
    before: Any
    after: Any
    written: Any


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    form: Form
    shown: Shown
    name: Any
    remark: Any
    held: Any
    freeze: Any
    freeze_note: Any
    compare: Any
    difference: Any
    losses: Any
    command: Any
    export: Any
    export_note: Any
    file: Any
    file_format: Any
    bring: Any
    bring_note: Any
    jobs: Any


class DataPage:
    """The handlers. Each makes one call and shows what came of it."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens, on the data set that a link names. Returns dataset and jobs."""
        return [dataset_field(self.services, request.query_params.get("dataset")), self._jobs()]

    def show(self, dataset: str | None, before: str | None, after: str | None) -> list[Any]:
        """Another data set, or a job has changed it; versions that were chosen stay chosen. Returns Shown."""
        from app import data_panels, data_sets
        from app.annotating import dataset_names

        if not dataset and dataset_names(self.services):  # the page opens: its data set is not chosen yet
            return [gr.skip()] * len(Shown._fields)
        try:
            found = data_sets.overview(self.services, dataset or "")
        except data_sets.DataError:
            return list(Shown(NOT_YET, data_panels.NO_VERSION, gr.skip(), gr.skip(), gr.skip(), data_panels.NO_EXPORT))
        versions = data_sets.versions(self.services, dataset or "")
        names = [version.name for version in versions]
        return list(
            Shown(
                data_panels.overview_panel(found),
                data_panels.versions_panel(versions),
                gr.Dropdown(choices=[*NOW, *((name, name) for name in names)]),
                still(before, names, next(iter(names[1:]), None)),
                still(after, names, next(iter(names), None)),
                data_panels.written_panel(data_sets.exports(self.services, dataset or "")),
            )
        )

    def losses(self, *form: Any) -> list[Any]:
        """What would be exported has changed: what the format loses, and the command. Returns losses, command."""
        from app import data_panels, data_sets
        from curation.export import command_line

        try:
            config = self._config(form)
            found = data_sets.losses_of(self.services, config)
        except data_sets.DataError as error:
            return [panels.notice(str(error)) if form[0] else "", ""]
        return [data_panels.losses_panel(found, config), data_panels.commands_panel([command_line(config)])]

    def freeze(self, dataset: str | None, name: str, remark: str, held: list[str], request: gr.Request) -> list[Any]:
        """[Freeze]: a job. Returns its note and jobs."""
        from app import data_panels, data_sets
        from curation.freeze import command_line

        def work() -> str:
            config = data_sets.freeze_config(dataset or "", name or "", remark or "", held or [], who(request).name)
            data_sets.freeze(self.services, config)
            return data_panels.commands_panel([command_line(config)])

        return self._queued(work)

    def compare(self, dataset: str | None, before: str | None, after: str | None) -> Any:
        """[Compare]. Returns difference."""
        from app import data_panels, data_sets

        try:
            found = data_sets.difference(self.services, dataset or "", before or "", after or "")
        except data_sets.DataError as error:
            return panels.notice(str(error))
        return data_panels.difference_panel(found)

    def export(self, request: gr.Request, *form: Any) -> list[Any]:
        """[Export]: a job. Returns its note and jobs."""
        from app import data_sets

        def work() -> str:
            data_sets.export(self.services, self._config(form), who(request).name)
            return ""

        return self._queued(work)

    def bring(self, dataset: str | None, file: str, file_format: str, request: gr.Request) -> list[Any]:
        """[Bring in]: a job. Returns its note and jobs."""
        from app import data_panels, data_sets
        from curation.bring import command_line

        def work() -> str:
            config = data_sets.bring_config(dataset or "", file or "", file_format or "", who(request).name)
            data_sets.bring(self.services, config)
            return data_panels.commands_panel([command_line(config)])

        return self._queued(work)

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job: pause, resume or cancel. Returns jobs."""
        ask_job(self.services, request, event)
        return self._jobs()

    def tick(self, before: str) -> Any:
        """Every two seconds: how far the jobs are."""
        jobs = self._jobs()
        return gr.skip() if jobs == before else jobs

    def _config(self, form: tuple[Any, ...]) -> ExportConfig:
        from app import data_sets

        values = Form(*form)
        return data_sets.export_config(
            self.services,
            values.dataset or "",
            values.version or "",
            values.format or "",
            values.statuses or [],
            bool(values.unreviewed),
        )

    def _queued(self, work: Callable[[], str]) -> list[Any]:
        """work: queues a job and says by which command it runs. Returns that or what is wrong, and jobs."""
        from app.data_sets import DataError

        try:
            return [work(), self._jobs()]
        except DataError as error:
            return [panels.notice(str(error)), gr.skip()]

    def _jobs(self) -> str:
        from app import annotate_panels, annotating, data_sets

        views = annotating.jobs_now(self.services, data_sets.KINDS)
        return annotate_panels.jobs_panel(views) if views else NO_JOB


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = DataPage(services)
    _wire(app, page, _lay_out())


def _lay_out() -> Parts:
    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Data</h1><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="columns data"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            html("<h2>Data set</h2>")
            dataset = gr.Dropdown([], label="data set", elem_id="dataset")
            overview = html(NOT_YET, elem_id="overview")
            html(IMPORT)
            with gr.Accordion("Bring annotations in", open=False, elem_id="bring-in"):
                file_format = gr.Dropdown(FORMATS, value="coco", label="format", elem_id="file-format")
                file = gr.Textbox(
                    label="file or folder on this machine", placeholder="/data/annotations.json", elem_id="file"
                )
                bring = gr.Button("Bring in", size="sm", elem_id="bring")
                bring_note = html(elem_id="note-bring")
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html("<h2>Versions</h2>")
                versions = html(elem_id="versions")
                name, remark, held, freeze, freeze_note = _freeze_fields()
            with gr.Column(elem_classes="card"):
                html("<h2>What changed between two versions</h2>")
                with gr.Row(elem_classes="pair"):
                    before = gr.Dropdown([], label="from", elem_id="before", min_width=100)
                    after = gr.Dropdown([], label="to", elem_id="after", min_width=100)
                compare = gr.Button("Compare", size="sm", elem_id="compare-versions")
                difference = html(elem_id="difference")
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html("<h2>Export</h2>")
                version = gr.Dropdown(NOW, value="", label="version", elem_id="version")
                format = gr.Dropdown(FORMATS, value="shards", label="format", elem_id="format")
                with gr.Accordion("Which pictures and descriptions", open=False):
                    statuses = gr.CheckboxGroup(VERDICTS, value=["accepted"], label="verdict", elem_id="statuses")
                    unreviewed = gr.Checkbox(False, label="also pictures that nobody reviewed", elem_id="unreviewed")
                losses = html(elem_id="losses")
                export = gr.Button("Export", variant="primary", elem_id="export")
                export_note, command = html(elem_id="note-export"), html(elem_id="export-command")
            with gr.Column(elem_classes="card"):
                html("<h2>Jobs</h2>")
                jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
            with gr.Column(elem_classes="card"):
                html("<h2>Exports</h2>")
                written = html(elem_id="written")
    form = Form(dataset, version, format, statuses, unreviewed)
    shown = Shown(overview, versions, version, before, after, written)
    return Parts(
        form, shown, name, remark, held, freeze, freeze_note, compare, difference, losses, command, export, export_note,
        file, file_format, bring, bring_note, jobs,
    )  # fmt: skip


def _freeze_fields() -> tuple[Any, ...]:
    with gr.Row(elem_classes="pair"):
        name = gr.Textbox(label="name of a new version", placeholder="2026-11 reviewed", elem_id="version-name")
        remark = gr.Textbox(label="why (optional)", placeholder="November run", elem_id="remark")
    held = gr.CheckboxGroup(VERDICTS, value=["accepted"], label="descriptions that it holds", elem_id="held")
    freeze = gr.Button("Freeze the data set as it is now", size="sm", elem_id="freeze")
    note = html(elem_id="note-freeze")
    return name, remark, held, freeze, note


def _wire(app: gr.Blocks, page: DataPage, parts: Parts) -> None:
    form, shown, told = [*parts.form], [*parts.shown], [parts.losses, parts.command]
    dataset = parts.form.dataset
    known = [dataset, parts.shown.before, parts.shown.after]
    app.load(page.open, None, [dataset, parts.jobs], **LIGHT).then(page.show, known, shown, **READING).then(
        page.losses, form, told, **READING
    )
    dataset.input(page.show, known, shown, **READING).then(page.losses, form, told, **READING)
    for field in parts.form[1:]:
        field.input(page.losses, form, told, **READING)
    freezing = [dataset, parts.name, parts.remark, parts.held]
    parts.freeze.click(page.freeze, freezing, [parts.freeze_note, parts.jobs], **LIGHT)
    parts.compare.click(page.compare, known, parts.difference, **READING)
    parts.export.click(page.export, form, [parts.export_note, parts.jobs], **LIGHT)
    bringing = [dataset, parts.file, parts.file_format]
    parts.bring.click(page.bring, bringing, [parts.bring_note, parts.jobs], **LIGHT)
    parts.jobs.click(page.ask, None, parts.jobs, **(LIGHT | EVERY))
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
    parts.jobs.change(page.show, known, shown, **READING)  # what a job did is seen
