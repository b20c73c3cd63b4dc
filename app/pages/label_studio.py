"""Label Studio on the Curate page: whether it is connected, how far it is, pictures there, decisions back.

Its server is asked apart from everything else on the page: where it is slow or down, only this panel waits or says so.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import panels
from app.accounts import who
from app.pages.shared import EVERY, LIGHT, ON_ASK, ON_JOB, ask_job, html, in_turn, warn
from app.services import Services

if TYPE_CHECKING:
    from app.label_studio import Connection

TEMPLATES = [("judge regions", "regions"), ("novel concepts", "novel")]
TICK_SECONDS = 3.0
ALONE = in_turn("label-studio")


class LabelStudioPanel:
    """The handlers. Each makes one call and shows what came of it."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def look(self, dataset: str | None) -> list[Any]:
        """How the data set stands with Label Studio. Returns status, jobs, disputes."""
        from app import label_studio

        status = connection_panel(label_studio.connection(self.services, dataset or ""))
        return [status, self._jobs(), self._disputes(dataset)]

    def push(self, dataset: str | None, template: str, request: gr.Request) -> Any:
        """[Push]: a job. Returns jobs."""
        return self._queue(dataset, template, "push", request)

    def pull(self, dataset: str | None, template: str, request: gr.Request) -> Any:
        """[Pull]: a job. Returns jobs."""
        return self._queue(dataset, template, "pull", request)

    def ask(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job. Returns jobs."""
        ask_job(self.services, request, event)
        return self._jobs()

    def choose(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> str:
        """A button of what changed on both sides. Returns disputes."""
        from app import label_studio

        try:
            label_studio.settle_dispute(self.services, event.ask, who(request).name)
        except label_studio.ReviewingError as error:
            warn(error)
        return self._disputes(dataset)

    def tick(self, dataset: str | None, *before: str) -> list[Any]:
        """Every few seconds: how far the jobs are, and what a webhook brought. Returns jobs, disputes."""
        now = self._jobs(), self._disputes(dataset)
        return [gr.skip() if new == old else new for new, old in zip(now, before, strict=True)]

    def task(self, place: Any) -> str:
        """Another picture is in the editor: where Label Studio shows it. Returns link."""
        from app import label_studio

        return links_panel(label_studio.task_links(self.services, place.image)) if place.image else ""

    def _queue(self, dataset: str | None, template: str, do: str, request: gr.Request) -> Any:
        from app import label_studio

        try:
            label_studio.keep_in_step(self.services, dataset or "", template, do, who(request).name)
        except label_studio.ReviewingError as error:
            warn(error)
            return gr.skip()
        return self._jobs()

    def _disputes(self, dataset: str | None) -> str:
        from app import curate_panels, label_studio

        found = label_studio.open_disputes(self.services, dataset or "")
        return curate_panels.disputes_panel(found, self.services.settings.home)

    def _jobs(self) -> str:
        from app import annotate_panels, annotating, label_studio

        views = annotating.jobs_now(self.services, label_studio.KINDS)[:1]
        return annotate_panels.jobs_panel(views) if views else ""


def connection_panel(found: Connection) -> str:
    """Connected or what to do; how many pictures went there and were decided."""
    counts = "".join(
        f'<li><a href="{escape(each.project)}" target="_blank" rel="noopener">project '
        f"{escape(each.project.rpartition('/')[2])}</a>: {each.pushed:,} pushed, {each.decided:,} decided</li>"
        for each in found.projects
    )
    listed = f"<ul>{counts}</ul>" if counts else '<p class="quiet">No picture of this data set is there yet.</p>'
    if found.problem:
        return f'<p class="standing off"><b>●</b> not connected</p>{panels.notice(found.problem)}{listed}'
    link = f'<a href="{escape(found.url)}" target="_blank" rel="noopener">{escape(found.url)}</a>'
    return f'<p class="standing on"><b>●</b> connected · {link}</p>{listed}'


def links_panel(links: list[str]) -> str:
    """The task of the picture at hand."""
    if not links:
        return '<p class="quiet">The picture in the editor is not in Label Studio: push first.</p>'
    made = " · ".join(
        f'<a href="{escape(link)}" target="_blank" rel="noopener">task {escape(link.rpartition("=")[2])}</a>'
        for link in links
    )
    return f'<p class="quiet">The picture in the editor: {made}</p>'


def build(app: gr.Blocks, services: Services, dataset: Any, place: Any) -> None:
    """Lay the panel out inside the current Blocks. dataset: the field that names it. place: what is in the editor."""
    panel = LabelStudioPanel(services)
    with gr.Column(elem_classes="card label-studio", elem_id="label-studio"):
        html("<h2>Label Studio</h2>")
        with gr.Row(elem_classes="label-studio-row"):
            with gr.Column(min_width=260, scale=3):
                status, link = html(elem_id="label-studio-status"), html(elem_id="label-studio-task")
            with gr.Column(min_width=200, scale=2):
                template = gr.Dropdown(
                    TEMPLATES,
                    value="regions",
                    label="people are asked to",
                    filterable=False,
                    elem_id="template",
                )
                with gr.Row(elem_classes="label-studio-acts"):
                    push = gr.Button("Push pictures", size="sm", min_width=90, elem_id="push")
                    pull = gr.Button("Pull decisions", size="sm", min_width=90, elem_id="pull")
                    look = gr.Button("Look again", size="sm", min_width=90, elem_id="look-again")
            with gr.Column(min_width=260, scale=3):
                jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="label-studio-jobs")
        disputes = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="disputes")
    shown = [status, jobs, disputes]
    app.load(panel.look, dataset, shown, **ALONE)
    dataset.change(panel.look, dataset, shown, **ALONE)
    look.click(panel.look, dataset, shown, **ALONE)
    push.click(panel.push, [dataset, template], jobs, **LIGHT)
    pull.click(panel.pull, [dataset, template], jobs, **LIGHT)
    jobs.click(panel.ask, None, jobs, **(LIGHT | EVERY))
    jobs.change(panel.look, dataset, shown, **ALONE)
    place.change(panel.task, place, link, **LIGHT)
    disputes.click(panel.choose, dataset, disputes, **(ALONE | EVERY))
    gr.Timer(TICK_SECONDS).tick(panel.tick, [dataset, *shown[1:]], shown[1:], **LIGHT)
