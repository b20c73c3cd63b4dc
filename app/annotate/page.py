"""Answer the events of the Annotate page: a data set and annotators in; a plan, a job and its results out.

What a handler needs of the data's side is imported when it runs: the first page must not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.annotate import compare_page
from app.annotate.form import DEFAULTS, AnnotateForm
from app.annotate.layout import TITLE, AnnotateOutputs, AnnotateParts, lay_out
from app.core.example_data import EXAMPLE
from app.services import Services
from app.ui.annotations_beside import beside_question, hide_choice, show_choice
from app.ui.dataset_choice import NO_DATASET, open_dataset, refreshed_dataset
from app.ui.events import (
    LIGHT,
    MODEL_LANE,
    QUEUE_ALL,
    SAVE,
    TICK_SECONDS,
    control_job_by_button,
    in_order,
    server_choices,
    warn,
)
from app.ui.html import notice
from curation.annotate.registry import DESCRIBERS, LOCALIZERS, facts_of, uses_of
from user_errors import UserError

__all__ = ["PATH", "TITLE", "AnnotatePage", "build"]

PATH = "annotate"
LEVERS = (
    "convention",
    "precision",
    "attention",
    "device_map",
    "batch",
    "concurrency",
    "timeout_seconds",
    "picture_side",
)
"""Fields of the form that have the name of the setting that they are."""


class AnnotatePage:
    """The handlers of the page's events. Each makes one call and shows its result."""

    def __init__(self, services: Services) -> None:
        """Keep the services that the handlers call."""
        self.services = services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page on the data set of its link; without any data set, with the import unfolded.

        Returns dataset, known, importing, jobs.
        """
        dataset = open_dataset(self.services, request)
        importing = not dataset.names or "import" in request.query_params
        return [dataset.field, dataset.names, gr.update(open=importing), self.jobs()]

    def show(self, request: gr.Request, *values: Any) -> list[Any]:
        """Show plan, command and results of a changed form. Returns outputs."""
        from app.annotate import actions, panels
        from grain.hub.weights import WeightsUnreadError

        form = AnnotateForm.of(values)
        if not form.dataset:
            return list(AnnotateOutputs("", NO_DATASET, "", "", 0, False, gr.Timer(active=False)))
        try:
            config = actions.config_of(self.services, form, person_of(request))
            plan = actions.plan_of(self.services, config)
            views = actions.results(self.services, config)
        except UserError as error:
            again = gr.Timer(active=isinstance(error, WeightsUnreadError))
            return list(AnnotateOutputs(notice(error.sentence), "", "", "", 0, False, again))
        return list(
            AnnotateOutputs(
                "",
                panels.plan_panel(plan),
                panels.command_panel(config),
                panels.results_panel(views, self.services.settings.home),
                views[-1].image.id if views else 0,
                False,
                gr.Timer(active=False),
            )
        )

    def show_progress(self, request: gr.Request, paged: bool, *values: Any) -> list[Any]:
        """Show what a job has changed; results that a person has paged through stay. Returns outputs."""
        now = AnnotateOutputs(*self.show(request, *values))
        return list(now._replace(results=gr.skip(), last=gr.skip(), paged=gr.skip()) if paged else now)

    def show_fields(self, describer: str, localizer: str, server: str | None) -> list[Any]:
        """Show the fields that the chosen annotators use. Returns the fields that may hide."""
        described, localized = uses_of(DESCRIBERS, describer), uses_of(LOCALIZERS, localizer)
        used = described | localized
        models = (
            gr.update(visible="model" in uses, info=facts.field_help, placeholder=facts.example)
            for uses, facts in (
                (described, facts_of(DESCRIBERS, describer)),
                (localized, facts_of(LOCALIZERS, localizer)),
            )
        )
        servers = server_choices(self.services, server, visible="server" in used)
        levers = [gr.update(visible=name in used) for name in LEVERS]
        shown = [gr.update(visible=name in uses) for name, uses in (("vocabulary", described), ("ask", described))]
        sample = gr.update(visible="sample" in used)
        return [next(models), servers, *shown, next(models), sample, sample, *levers, shown[1]]

    def suit_annotators(self, dataset: str | None, suited: bool, describer: str, localizer: str) -> list[Any]:
        """Choose the annotators that know the example's pictures, and the first ones again for other pictures.

        Args:    suited: whether this page chose those of the example; what a person has chosen stays.
        Returns: suited, describer and localizer.
        """
        first, own = (DEFAULTS.describer, DEFAULTS.localizer), (EXAMPLE.annotator, EXAMPLE.annotator)
        chosen, example = (describer, localizer), dataset == EXAMPLE.name
        if example and chosen == first:
            return [True, *own]
        if not example and suited and chosen == own:
            return [False, *first]
        return [suited and example, gr.skip(), gr.skip()]

    def show_more(self, request: gr.Request, last: int, results: str, *values: Any) -> list[Any]:
        """Show the next page of results below those that are there. Returns results, last and paged."""
        from app.annotate import actions, panels

        try:
            config = actions.config_of(self.services, AnnotateForm.of(values), person_of(request))
            views = actions.results(self.services, config, after=last)
        except UserError as error:
            warn(error)
            return [gr.skip()] * 3
        if not views:
            gr.Info("These are all results so far.", title="The end")
            return [gr.skip()] * 3
        return [results + str(panels.results_panel(views, self.services.settings.home)), views[-1].image.id, True]

    def show_left_out(self, dataset: str | None) -> list[Any]:
        """Show which files imports left out of the data set, and why. Returns left_out, save."""
        from app.annotate import actions, panels

        reasons, files = actions.left_out(self.services, dataset or "")
        return [panels.left_out_panel(reasons, files), gr.update(visible=files > 0)]

    def save_left_out(self, dataset: str | None) -> dict[str, str]:
        """Return the list of all files that were left out for the page's script to save."""
        from app.annotate import actions

        try:
            return actions.left_out_file(self.services, dataset or "")
        except UserError as error:
            warn(error)
            return {}

    def refresh_jobs(self, before: str) -> Any:
        """Show every two seconds how far the jobs are. Returns jobs."""
        jobs = self.jobs()
        return gr.skip() if jobs == before else jobs

    def start(self, request: gr.Request, *values: Any) -> Any:
        """Queue a run. Returns jobs."""
        from app.annotate import actions

        try:
            config = actions.config_of(self.services, AnnotateForm.of(values), person_of(request))
            actions.start(self.services, config, person_of(request).name)
        except UserError as error:
            warn(error)
            return gr.skip()
        return self.jobs()

    def control_job(self, request: gr.Request, event: gr.EventData) -> Any:
        """Pause, resume or cancel a job by its button. Returns jobs."""
        control_job_by_button(self.services, request, event)
        return self.jobs()

    def import_pictures(self, source: str, name: str, annotations: str | None, request: gr.Request) -> list[Any]:
        """Queue an import, once it is said what to do with annotations beside the pictures.

        Returns its note, jobs, and annotations.
        """
        from curation.ingest.annotations_beside import annotations_beside

        place = (source or "").strip()
        beside = annotations_beside(Path(place).expanduser()) if place else ()
        if beside and not annotations:
            return [beside_question(beside), gr.skip(), show_choice()]
        options = {"annotations": annotations} if beside else {}
        return [*self._import(request, source=place, name=name or "", **options), hide_choice()]

    def try_picture(self, request: gr.Request, number: float, upload: str | None, *values: Any) -> list[Any]:
        """Run all stages on one picture. Returns trial and its note."""
        from app.annotate import actions, panels

        try:
            config = actions.config_of(self.services, AnnotateForm.of(values), person_of(request))
            image, trial = actions.try_one(self.services, config, upload=upload, number=int(number or 0))
            plan = actions.plan_of(self.services, config)
        except UserError as error:
            return [gr.skip(), notice(error.sentence)]
        return [panels.trial_panel(image, trial, plan), ""]

    def preview_messages(self, request: gr.Request, number: float, upload: str | None, *values: Any) -> list[Any]:
        """Show the messages that would be sent about one picture. Returns trial and its note."""
        from app.annotate import actions, panels

        try:
            config = actions.config_of(self.services, AnnotateForm.of(values), person_of(request))
            found = actions.preview_messages(self.services, config, upload=upload, number=int(number or 0))
        except UserError as error:
            return [gr.skip(), notice(error.sentence)]
        return [panels.messages_panel(found), ""]

    def refresh_data_sets(self, request: gr.Request, dataset: str | None, known: list[str]) -> list[Any]:
        """List the data sets again after an import; the new one is chosen. Returns dataset, known."""
        return list(refreshed_dataset(self.services, dataset, known, who=person_of(request).name))

    def _import(self, request: gr.Request, **settings: Any) -> list[Any]:
        from app.jobs.imports import queue_import

        try:
            queue_import(self.services.jobs, owner=person_of(request).name, **settings)
        except UserError as error:
            return [notice(error.sentence), gr.skip()]
        return ["", self.jobs()]

    def jobs(self) -> str:
        """Render the list of jobs."""
        from app.annotate import actions
        from app.ui import jobs_list

        return jobs_list.jobs_panel(jobs_list.latest_jobs(self.services, actions.KINDS))


def build(app: gr.Blocks, services: Services, dataset: Any) -> None:
    """Lay the page out inside the current Blocks and wire its events. dataset: the field of the navigation."""
    page, parts = AnnotatePage(services), lay_out(dataset)
    _wire_form(app, page, parts)
    _wire_jobs(page, parts)
    section = compare_page.CompareSection(services, page.jobs)
    compare_page.wire(section, parts.compare, form=[*parts.form], jobs=parts.jobs)


def _wire_form(app: gr.Blocks, page: AnnotatePage, parts: AnnotateParts) -> None:
    """Wire the events that show a plan, results or a trial."""
    form, outputs, trial = parts.form, parts.outputs, parts.trial
    ordered = in_order("annotate")
    fields = [*form]
    app.load(page.open, None, [form.dataset, parts.known, parts.imports.accordion, parts.jobs], **LIGHT).then(
        page.show, fields, [*outputs], **ordered
    )
    changed = [field.release if isinstance(field, gr.Slider) else field.change for field in fields]
    gr.on([*changed, outputs.again.tick], page.show, fields, [*outputs], **ordered)
    kinds = [form.describer, form.localizer]
    hiding = [form.describer_model, form.server, form.vocabulary, form.prompts]
    hiding += [form.localizer_model, form.wrong, form.shifted]
    hiding += [*(getattr(form, name) for name in LEVERS), form.tokens]
    suited = gr.State(False)
    form.dataset.change(page.suit_annotators, [form.dataset, suited, *kinds], [suited, *kinds], **LIGHT)
    gr.on([kind.change for kind in kinds], page.show_fields, [*kinds, form.server], hiding, **LIGHT)
    parts.more.click(
        page.show_more,
        [outputs.last, outputs.results, *fields],
        [outputs.results, outputs.last, outputs.paged],
        **ordered,
    )
    trial.preview.click(
        page.preview_messages, [trial.number, trial.upload, *fields], [trial.trial, trial.note], **LIGHT
    )
    trial.start.click(
        page.try_picture,
        [trial.number, trial.upload, *fields],
        [trial.trial, trial.note],
        show_progress_on=trial.trial,
        concurrency_id=MODEL_LANE,
        concurrency_limit=1,
        api_visibility="private",
    )


def _wire_jobs(page: AnnotatePage, parts: AnnotateParts) -> None:
    """Wire the events that queue jobs, control them and show what they changed."""
    form, jobs, imports = parts.form, parts.jobs, parts.imports
    fields = [*form]
    parts.start.click(page.start, fields, jobs, **LIGHT)
    jobs.click(page.control_job, None, jobs, **(LIGHT | QUEUE_ALL))
    asked = [imports.source, imports.name, imports.annotations]
    imports.start.click(page.import_pictures, asked, [imports.note, jobs, imports.annotations], **LIGHT)
    shown = [imports.left_out, imports.save]
    gr.on([form.dataset.change, jobs.change], page.show_left_out, form.dataset, shown, **LIGHT)
    imports.save.click(page.save_left_out, form.dataset, imports.file, **LIGHT).then(None, imports.file, None, js=SAVE)
    gr.Timer(TICK_SECONDS).tick(page.refresh_jobs, jobs, jobs, **LIGHT)
    # a job changes the data sets, the plan and the results
    there = [form.dataset, parts.known]
    jobs.change(page.refresh_data_sets, there, there, **LIGHT).then(
        page.show_progress, [parts.outputs.paged, *fields], [*parts.outputs], **in_order("annotate")
    )
