"""Lay out the part of the Ground page that brings published models into its menu, and answer its events."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.ground.layout import GroundForm
from app.services import Services
from app.ui.events import LIGHT, ON_ASK, ON_JOB, QUEUE_ALL, TICK_SECONDS, control_job_by_button, html, keep_choice, warn
from app.ui.html import render_macro
from user_errors import UserError

LEAD = (
    "Detectors and CLIPs that others published. Fetched once from the Hugging Face hub, they are checkpoints like any "
    "other, on every page; a GPU makes them quick."
)


class MoreModels:
    """The handlers: which models there are, fetch one, and how far it is."""

    def __init__(self, services: Services) -> None:
        """Keep the services."""
        self.services = services

    def unfold(self, checkpoint: str, versus: str, request: gr.Request) -> list[Any]:
        """Open the part. Returns models, jobs, menus, tick."""
        return [*self.tick(checkpoint, versus, request), gr.Timer(active=True)]

    def fold(self) -> Any:
        """Close the part, so that it no longer asks for its jobs. Returns tick."""
        return gr.Timer(active=False)

    def tick(self, checkpoint: str, versus: str, request: gr.Request) -> list[Any]:
        """Show how far it is; what has come is in the menus. Returns models, jobs, checkpoint, versus."""
        from app.ground import more_models  # here: the first page does not wait for the database's library
        from app.ui import jobs_list

        person = person_of(request)
        views = jobs_list.latest_jobs(self.services, (more_models.KIND,))
        rows = more_models.model_rows(self.services)
        usable = [each.name for each in self.services.registry.usable()]
        return [
            more_models.models_panel(rows, more_models.fetch_problem(person.role)),
            jobs_list.jobs_panel(views) if views else "",
            keep_choice(checkpoint, usable, None),
            gr.Dropdown(choices=[("nothing", ""), *((name, name) for name in usable)], value=versus),
        ]

    def fetch(self, checkpoint: str, versus: str, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Queue the fetching of a model, or say why not. Returns models, jobs, checkpoint, versus."""
        from app.ground import more_models

        try:
            more_models.fetch(self.services, str(event.ask), person_of(request))
        except UserError as error:
            warn(error)
        return self.tick(checkpoint, versus, request)

    def control_job_by_button(
        self, checkpoint: str, versus: str, request: gr.Request, event: gr.EventData
    ) -> list[Any]:
        """Pause, resume or cancel a job by its button. Returns models, jobs, checkpoint, versus."""
        control_job_by_button(self.services, request, event)
        return self.tick(checkpoint, versus, request)


def build_more_models(services: Services, form: GroundForm) -> None:
    """Lay the part out inside the current column and wire its events; what has come is in the form's menus."""
    page = MoreModels(services)
    with gr.Column(elem_classes="card"), gr.Accordion("More models", open=False, elem_id="more-models") as fold:
        html(render_macro("note", LEAD))
        models = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="models")
        jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="model-jobs")
    tick = gr.Timer(TICK_SECONDS, active=False)
    chosen, shown = [form.checkpoint, form.versus], [models, jobs, form.checkpoint, form.versus]
    fold.expand(page.unfold, chosen, [*shown, tick], **LIGHT)
    fold.collapse(page.fold, None, tick, **LIGHT)
    tick.tick(page.tick, chosen, shown, **LIGHT)
    models.click(page.fetch, chosen, shown, **(LIGHT | QUEUE_ALL))
    jobs.click(page.control_job_by_button, chosen, shown, **(LIGHT | QUEUE_ALL))
