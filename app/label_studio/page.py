"""Answer the events of Label Studio's section of the Curate page: connection, push, pull, and conflicts.

Its server is asked apart from everything else on the page: where it is slow or down, only this section waits.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.services import Services
from app.ui.events import LIGHT, ON_ASK, ON_JOB, QUEUE_ALL, control_job_by_button, html, in_order, warn
from app.ui.html import heading, things
from user_errors import UserError

TEMPLATES = [("judge regions", "regions"), ("novel concepts", "novel")]
ALL_PICTURES = ("all pictures", "")
NO_TAGS = "No tags yet: select regions in the gallery above, and tag them."
TICK_SECONDS = 3.0
LINKS_SCRIPT = """document.addEventListener("curate:links", ({ detail }) => {
  element.firstElementChild.innerHTML = detail;
});"""  # the editor's script tells task_links_panel of its picture
ORDERED = in_order("label-studio")


def task_links_panel(services: Services, image: int) -> str:
    """Link to the tasks of the picture that is now in Curate's editor."""
    from app.label_studio import actions, panels

    return panels.links_panel(actions.task_links(services, image))


class LabelStudioPanel:
    """The handlers of the section's events. Each makes one call and shows its result."""

    def __init__(self, services: Services) -> None:
        """Keep the services that the handlers call."""
        self.services = services

    def show(self, dataset: str | None) -> list[Any]:
        """Show the state of a data set in Label Studio. Returns status, jobs, conflicts, not taken."""
        from app.label_studio import actions, panels

        status = panels.connection_panel(actions.connection(self.services, dataset or ""))
        return [status, self._jobs(), self._conflicts(dataset), self._not_taken(dataset)]

    def offer_tags(self, dataset: str | None, tag: str | None) -> Any:
        """Offer the tags of a data set, with their counts. A chosen one stays while it is there. Returns tag."""
        from app.label_studio import actions

        tags = actions.tags(self.services, dataset or "")
        choices = [ALL_PICTURES, *((f"{name} · {things(count, 'region')}", name) for name, count in tags.items())]
        return gr.update(choices=choices, value=tag if tag in tags else "", info="" if tags else NO_TAGS)

    def push(self, dataset: str | None, template: str, tag: str | None, request: gr.Request) -> Any:
        """Queue a push, of all pictures or those of a tag. Returns jobs."""
        return self._queue(dataset, request, template=template, do="push", tag=tag or "")

    def pull(self, dataset: str | None, template: str, request: gr.Request) -> Any:
        """Queue a pull. Returns jobs."""
        return self._queue(dataset, request, template=template, do="pull")

    def control_job(self, request: gr.Request, event: gr.EventData) -> Any:
        """Pause, resume or cancel a job by its button. Returns jobs."""
        control_job_by_button(self.services, request, event)
        return self._jobs()

    def choose(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> str:
        """Settle a conflict by its button. Returns conflicts."""
        from app.label_studio import actions

        try:
            actions.settle_conflict(self.services, event.ask, person_of(request).name)
        except UserError as error:
            warn(error)
        return self._conflicts(dataset)

    def refresh(self, dataset: str | None, *before: str) -> list[Any]:
        """Show every few seconds how far the jobs are, and what came in. Returns jobs, conflicts, not taken."""
        now = self._jobs(), self._conflicts(dataset), self._not_taken(dataset)
        return [gr.skip() if new == old else new for new, old in zip(now, before, strict=True)]

    def _queue(self, dataset: str | None, request: gr.Request, **settings: str) -> Any:
        from app.label_studio import actions

        try:
            actions.queue_sync(self.services, dataset or "", owner=person_of(request).name, **settings)
        except UserError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def _conflicts(self, dataset: str | None) -> str:
        from app.label_studio import actions, panels

        waiting = actions.waiting_conflicts(self.services, dataset or "")
        return panels.conflicts_panel(waiting, self.services.settings.home)

    def _not_taken(self, dataset: str | None) -> str:
        from app.label_studio import actions, panels

        return panels.not_taken_panel(actions.not_taken(self.services, dataset or ""), self.services.settings.home)

    def _jobs(self) -> str:
        from app.label_studio import actions
        from app.ui import jobs_list

        views = jobs_list.latest_jobs(self.services, actions.KINDS)[:1]
        return jobs_list.jobs_panel(views) if views else ""


def build(app: gr.Blocks, services: Services, dataset: Any) -> None:
    """Lay the section out inside the current Blocks.

    Args:   dataset: the field that names the data set.
    """
    panel = LabelStudioPanel(services)
    with gr.Column(elem_classes="card label-studio", elem_id="label-studio"):
        html(heading("Label Studio"))
        with gr.Row(elem_classes="label-studio-row"):
            with gr.Column(min_width=260, scale=3):
                status = html(elem_id="label-studio-status")
                gr.HTML(None, html_template="<div></div>", js_on_load=LINKS_SCRIPT, apply_default_css=False)
            with gr.Column(min_width=200, scale=2):
                template = gr.Dropdown(
                    TEMPLATES, value="regions", label="people are asked to", filterable=False, elem_id="template"
                )
                tag = gr.Dropdown(
                    [ALL_PICTURES], value="", label="push only pictures with the tag", info=NO_TAGS, elem_id="push-tag"
                )
                with gr.Row(elem_classes="label-studio-acts"):
                    push = gr.Button("Push pictures", size="sm", min_width=90, elem_id="push")
                    pull = gr.Button("Pull decisions", size="sm", min_width=90, elem_id="pull")
                    refresh = gr.Button("Refresh", size="sm", min_width=90, elem_id="refresh")
            with gr.Column(min_width=260, scale=3):
                jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="label-studio-jobs")
        conflicts = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="conflicts")
        left = html(elem_id="not-taken")
    outputs = [status, jobs, conflicts, left]
    for event in (app.load, dataset.change, refresh.click, jobs.change):
        event(panel.show, dataset, outputs, **ORDERED)
    offers = [app.load, dataset.change, refresh.click, tag.focus]  # tags are given above, on the same page
    gr.on(offers, panel.offer_tags, [dataset, tag], tag, **LIGHT)
    push.click(panel.push, [dataset, template, tag], jobs, **LIGHT)
    pull.click(panel.pull, [dataset, template], jobs, **LIGHT)
    jobs.click(panel.control_job, None, jobs, **(LIGHT | QUEUE_ALL))
    conflicts.click(panel.choose, dataset, conflicts, **(ORDERED | QUEUE_ALL))
    gr.Timer(TICK_SECONDS).tick(panel.refresh, [dataset, jobs, conflicts, left], [jobs, conflicts, left], **LIGHT)
