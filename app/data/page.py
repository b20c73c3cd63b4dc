"""Lay out the Data page: a data set in numbers, its versions and their differences, exports and imports.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app.access.accounts import person_of
from app.data import panels, upkeep_page
from app.services import Services
from app.ui.changing_choice import ChangingChoice
from app.ui.dataset_choice import NO_DATASET, open_dataset
from app.ui.events import (
    LIGHT,
    ON_ASK,
    ON_JOB,
    QUEUE_ALL,
    TICK_SECONDS,
    control_job_by_button,
    html,
    in_order,
    keep_choice,
)
from app.ui.html import command_details, heading, notice, page_head
from user_errors import UserError

if TYPE_CHECKING:
    from curation.exchange.export_config import ExportConfig

TITLE, PATH = "Data", "data"
LEAD = (
    "Freeze versions for training and evaluation, compare them, and see what a format cannot store before you export."
)
VERDICTS = ["pending", "accepted", "rejected"]
FORMATS = [(words, name) for name, words in panels.FORMATS.items()]
IMPORT_FORMATS = [(words, name) for name, words in panels.IMPORT_FORMATS.items()]
NOW = [("as it is now", "")]
NO_JOB = "Versions, exports and imports are made here; they go on when the page is closed."
READING = in_order("versions")


class ExportForm(NamedTuple):
    """The fields of an export; as components, and as their values."""

    dataset: Any
    version: Any
    format: Any
    statuses: Any
    unreviewed: Any


class DatasetOutputs(NamedTuple):
    """The outputs that depend on the data set; as components, and as their values."""

    overview: Any
    versions: Any
    version: Any
    before: Any
    after: Any
    exports: Any
    holds: Any


@dataclass(frozen=True, kw_only=True)
class FreezeFields:
    """The components by which a version is made."""

    name: Any
    remark: Any
    held: Any
    holds: Any
    button: Any
    note: Any


@dataclass(frozen=True, kw_only=True)
class ImportFields:
    """The components by which annotations are imported."""

    format: Any
    file: Any
    accept: Any
    button: Any
    note: Any


@dataclass(frozen=True, kw_only=True)
class DataComponents:
    """The components that events come from or go to."""

    form: ExportForm
    outputs: DatasetOutputs
    freeze: FreezeFields
    imports: ImportFields
    compare: Any
    difference: Any
    losses: Any
    command: Any
    export: Any
    export_note: Any
    jobs: Any
    upkeep: upkeep_page.UpkeepComponents


class DataPage:
    """The handlers. Each makes one call and shows what came of it."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page on the data set that a link names. Returns dataset and jobs."""
        return [open_dataset(self.services, request).field, self.jobs()]

    def show(
        self,
        dataset: str | None,
        before: str | None,
        after: str | None,
        held: list[str] | None,
        version: str | None,
    ) -> list[Any]:
        """Show another data set, or what a job changed; chosen versions stay chosen. Returns DatasetOutputs."""
        from app.data import actions
        from app.ui.jobs_list import dataset_names

        if not dataset and dataset_names(self.services):  # the page opens: its data set is not chosen yet
            return [gr.skip()] * len(DatasetOutputs._fields)
        try:
            found = actions.overview(self.services, dataset or "")
        except UserError:
            kept = gr.skip()
            return list(DatasetOutputs(NO_DATASET, panels.NO_VERSION, kept, kept, kept, panels.NO_EXPORT, ""))
        versions = actions.versions(self.services, dataset or "")
        names = [version.name for version in versions]
        return list(
            DatasetOutputs(
                panels.overview_panel(found),
                panels.versions_panel(versions),
                keep_choice(version, names, NOW[0][1], first=NOW),
                keep_choice(before, names, next(iter(names[1:]), None)),
                keep_choice(after if before else None, names, next(iter(names), None)),  # the second version joins
                panels.exports_panel(actions.written_exports(self.services, dataset or "")),
                panels.holds_panel(found, held or []),
            )
        )

    def holds(self, dataset: str | None, held: list[str] | None) -> Any:
        """Count what a version with these verdicts would hold. Returns holds."""
        from app.data import actions

        try:
            return panels.holds_panel(actions.overview(self.services, dataset or ""), held or [])
        except UserError:
            return ""

    def losses(self, *form: Any) -> list[Any]:
        """List what an export of the form would lose, and its command. Returns losses, command."""
        from app.data import actions
        from curation.exchange.export import command_line

        try:
            config = self._config(form)
            found = actions.export_losses(self.services, config)
        except UserError as error:
            return [notice(error.sentence) if form[0] else "", ""]
        return [panels.losses_panel(found), command_details(command_line(config))]

    def freeze(self, dataset: str | None, name: str, remark: str, held: list[str], request: gr.Request) -> list[Any]:
        """Queue a freeze. Returns its note and jobs."""
        from app.data import actions
        from curation.versions.freeze import command_line

        def work() -> str:
            config = actions.freeze_config(
                dataset or "", name or "", remark or "", statuses=held or [], who=person_of(request).name
            )
            actions.freeze(self.services, config)
            return command_details(command_line(config))

        return self._queued(work)

    def compare(self, dataset: str | None, before: str | None, after: str | None) -> Any:
        """Compare two versions. Returns difference."""
        return self._difference(dataset, before, after, start=0)

    def turn(self, dataset: str | None, before: str | None, after: str | None, event: gr.EventData) -> Any:
        """Show other pictures of the comparison. Returns difference."""
        ask = event.ask if isinstance(event.ask, Mapping) else {}
        return self._difference(dataset, before, after, start=ask.get("start"))

    def _difference(self, dataset: str | None, before: str | None, after: str | None, *, start: Any) -> Any:
        from app.core.page_values import whole_number
        from app.data import actions

        named = {"before": before or "", "after": after or ""}
        try:
            found = actions.difference(self.services, dataset or "", **named, start=whole_number("start", start))
        except UserError as error:
            return notice(error.sentence)
        return panels.difference_panel(found, self.services.settings.home)

    def export(self, request: gr.Request, *form: Any) -> list[Any]:
        """Queue an export. Returns its note and jobs."""
        from app.data import actions

        def work() -> str:
            actions.export(self.services, self._config(form), person_of(request).name)
            return ""

        return self._queued(work)

    def import_annotations(
        self, dataset: str | None, file: str, file_format: str, accept: bool, request: gr.Request
    ) -> list[Any]:
        """Queue an import of annotations. Returns its note and jobs."""
        from app.data import actions
        from app.jobs.imports import queue_annotations
        from curation.exchange.import_annotations import command_line

        def work() -> str:
            config = actions.import_config(
                dataset or "", file or "", file_format or "", who=person_of(request).name, accept=bool(accept)
            )
            queue_annotations(self.services.jobs, config)
            return command_details(command_line(config))

        return self._queued(work)

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """Control a job: pause, resume or cancel it. Returns jobs."""
        control_job_by_button(self.services, request, event)
        return self.jobs()

    def tick(self, before: str) -> Any:
        """Return the jobs if they changed; asked every two seconds."""
        jobs = self.jobs()
        return gr.skip() if jobs == before else jobs

    def _config(self, form: tuple[Any, ...]) -> ExportConfig:
        from app.data import actions

        values = ExportForm(*form)
        return actions.export_config(
            self.services,
            values.dataset or "",
            values.version or "",
            format=values.format or "",
            statuses=values.statuses or [],
            unreviewed=bool(values.unreviewed),
        )

    def _queued(self, work: Callable[[], str]) -> list[Any]:
        """Return the note of `work`, which queues a job, or what is wrong; and jobs."""
        try:
            return [work(), self.jobs()]
        except UserError as error:
            return [notice(error.sentence), gr.skip()]

    def jobs(self) -> str:
        """Render the latest jobs."""
        from app.data import actions
        from app.ui import jobs_list

        return jobs_list.jobs_panel(jobs_list.latest_jobs(self.services, actions.KINDS), NO_JOB)


def build(app: gr.Blocks, services: Services, dataset: Any) -> None:
    """Lay the page out inside the current Blocks and wire its events. dataset: the field of the navigation."""
    _wire(app, DataPage(services), _lay_out(dataset))


def _lay_out(dataset: Any) -> DataComponents:
    with gr.Row(elem_classes="page-head"):
        html(page_head(TITLE, LEAD))
    with gr.Row(elem_classes="columns data"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            html(heading("Data set"))
            overview = html(NO_DATASET, elem_id="overview")
            imports = _import_fields()
            upkeep = upkeep_page.lay_out()
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html(heading("Versions"))
                versions = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="versions")
                restore = upkeep_page.lay_out_restore()
                freeze = _freeze_fields()
            with gr.Column(elem_classes="card"):
                html(heading("What changed between two versions"))
                with gr.Row(elem_classes="pair"):
                    before = ChangingChoice([], label="from", elem_id="before", min_width=100)
                    after = ChangingChoice([], label="to", elem_id="after", min_width=100)
                compare = gr.Button("Compare", size="sm", elem_id="compare-versions")
                difference = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="difference")
        with gr.Column(elem_classes="middle", min_width=320):
            with gr.Column(elem_classes="card"):
                html(heading("Export"))
                form = _export_form(dataset)
                losses = html(elem_id="losses")
                export = gr.Button("Export", variant="primary", elem_id="export")
                export_note, command = html(elem_id="note-export"), html(elem_id="export-command")
            with gr.Column(elem_classes="card"):
                html(heading("Jobs"))
                jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
            with gr.Column(elem_classes="card"):
                html(heading("Exports"))
                exports = html(elem_id="written")
    return DataComponents(
        form=form,
        outputs=DatasetOutputs(overview, versions, form.version, before, after, exports, freeze.holds),
        freeze=freeze,
        imports=imports,
        compare=compare,
        difference=difference,
        losses=losses,
        command=command,
        export=export,
        export_note=export_note,
        jobs=jobs,
        upkeep=replace(upkeep, restore=restore),
    )


def _import_fields() -> ImportFields:
    with gr.Accordion("Import annotations", open=False, elem_id="import-annotations"):
        return ImportFields(
            format=gr.Dropdown(IMPORT_FORMATS, value="coco", label="format", elem_id="file-format"),
            file=gr.Textbox(
                label="file or folder on this machine", placeholder="/data/annotations.json", elem_id="file"
            ),
            accept=gr.Checkbox(
                False,
                label="people made them: accept those without a verdict",
                info="Otherwise they are pending until somebody accepts them on the Curate page.",
                elem_id="accept",
            ),
            button=gr.Button("Import", size="sm", elem_id="import"),
            note=html(elem_id="note-import"),
        )


def _freeze_fields() -> FreezeFields:
    with gr.Row(elem_classes="pair"):
        name = gr.Textbox(label="name of a new version", placeholder="2026-11 reviewed", elem_id="version-name")
        remark = gr.Textbox(label="why (optional)", placeholder="November run", elem_id="remark")
    return FreezeFields(
        name=name,
        remark=remark,
        held=gr.CheckboxGroup(VERDICTS, value=["accepted"], label="descriptions that it holds", elem_id="held"),
        holds=html(elem_id="holds"),
        button=gr.Button("Freeze the data set as it is now", size="sm", elem_id="freeze"),
        note=html(elem_id="note-freeze"),
    )


def _export_form(dataset: gr.Dropdown) -> ExportForm:
    version = ChangingChoice(NOW, value="", label="version", elem_id="version")
    format = gr.Dropdown(FORMATS, value="shards", label="format", elem_id="format")
    with gr.Accordion("Which pictures and descriptions", open=False):
        statuses = gr.CheckboxGroup(VERDICTS, value=["accepted"], label="verdict", elem_id="statuses")
        unreviewed = gr.Checkbox(False, label="also pictures that nobody reviewed", elem_id="unreviewed")
    return ExportForm(dataset, version, format, statuses, unreviewed)


def _wire(app: gr.Blocks, page: DataPage, parts: DataComponents) -> None:
    form, outputs, losses = [*parts.form], [*parts.outputs], [parts.losses, parts.command]
    dataset = parts.form.dataset
    compared = [dataset, parts.outputs.before, parts.outputs.after]
    known = [*compared, parts.freeze.held, parts.form.version]
    app.load(page.open, None, [dataset, parts.jobs], **LIGHT).then(page.show, known, outputs, **READING).then(
        page.losses, form, losses, **READING
    )
    dataset.input(page.show, known, outputs, **READING).then(page.losses, form, losses, **READING)
    for field in parts.form[1:]:
        field.input(page.losses, form, losses, **READING)
    freeze, imports = parts.freeze, parts.imports
    freeze.held.input(page.holds, [dataset, freeze.held], freeze.holds, **READING)
    freezing = [dataset, freeze.name, freeze.remark, freeze.held]
    freeze.button.click(page.freeze, freezing, [freeze.note, parts.jobs], **LIGHT)
    parts.compare.click(page.compare, compared, parts.difference, **READING)
    parts.difference.click(page.turn, compared, parts.difference, **(READING | QUEUE_ALL))
    parts.export.click(page.export, form, [parts.export_note, parts.jobs], **LIGHT)
    importing = [dataset, imports.file, imports.format, imports.accept]
    imports.button.click(page.import_annotations, importing, [imports.note, parts.jobs], **LIGHT)
    parts.jobs.click(page.ask, None, parts.jobs, **(LIGHT | QUEUE_ALL))
    section = upkeep_page.UpkeepSection(page.services, page.jobs)
    upkeep_page.wire(app, section, parts.upkeep, dataset=dataset, versions=parts.outputs.versions, jobs=parts.jobs)
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
    parts.jobs.change(page.show, known, outputs, **READING)  # a job may have changed the data set
