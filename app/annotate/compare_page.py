"""Lay out the comparison of prompts on the Annotate page, and answer its events.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.annotate.form import AUDITOR_CHOICES, AnnotateForm
from app.core.page_values import whole_number
from app.services import Services
from app.ui.events import LIGHT, ON_ASK, QUEUE_ALL, html, in_order, warn
from app.ui.html import command_details, notice, render_macro
from user_errors import UserError

if TYPE_CHECKING:
    from curation.audit.compare_prompts import ComparePromptsConfig

LEAD = (
    "The same pictures are described with two questions and with one, as in the paper's first check: claims and "
    "hallucination rate side by side, and a few claims for people. By the describer of the form; the data set stays as "
    "it is."
)
ORDER = in_order("compare-prompts")


@dataclass(frozen=True, kw_only=True)
class CompareComponents:
    """The components that events come from or go to."""

    accordion: Any
    pictures: Any
    auditor: Any
    claims: Any
    start: Any
    note: Any
    result: Any
    judge: Any
    claim: Any

    @property
    def fields(self) -> list[Any]:
        """Return the fields of the comparison."""
        return [self.pictures, self.auditor, self.claims]


@dataclass(frozen=True)
class CompareSection:
    """The handlers. Each makes one call and shows what came of it. jobs: renders the page's list of jobs."""

    services: Services
    jobs: Callable[[], str]

    def show(self, request: gr.Request, *values: Any) -> list[Any]:
        """Show the comparison of the form, if it is done. Returns result, judge."""
        from app.annotate import compare_actions, compare_panels

        try:
            found = compare_actions.comparison(self.services, self._config(request, values))
        except UserError:  # the plan above says it
            found = None
        shown = compare_panels.comparison_panel(found, self.services.settings.home)
        return [shown, gr.update(visible=found is not None)]

    def start(self, request: gr.Request, *values: Any) -> list[Any]:
        """Queue a comparison. Returns note, jobs."""
        from app.annotate import compare_actions
        from curation.audit.compare_prompts import command_line

        try:
            config = self._config(request, values)
            compare_actions.start(self.services, config, person_of(request).name)
        except UserError as error:
            return [notice(error.sentence), gr.skip()]
        return [command_details(command_line(config)), self.jobs()]

    def next_claim(self, request: gr.Request, *values: Any) -> str:
        """Show the next claim that this person has not judged. Returns claim."""
        from app.annotate import compare_actions, compare_panels

        try:
            config = self._config(request, values)
            found = compare_actions.claim_to_judge(self.services, config, who=person_of(request).name)
        except UserError as error:
            return notice(error.sentence)
        return compare_panels.claim_panel(found)

    def decide(self, request: gr.Request, event: gr.EventData, *values: Any) -> Any:
        """Keep a verdict and show the next claim. Returns claim."""
        from app.annotate import compare_actions

        asked = event.ask if isinstance(event.ask, Mapping) else {}
        try:
            number, verdict = whole_number("claim", asked.get("id")), str(asked.get("verdict", ""))
            compare_actions.judge(self.services, number, verdict, who=person_of(request).name)
        except UserError as error:
            warn(error)
            return gr.skip()
        return self.next_claim(request, *values)

    def _config(self, request: gr.Request, values: tuple[Any, ...]) -> ComparePromptsConfig:
        """Return the settings of a comparison.

        Raises: UserError: one of them is wrong.
        """
        from app.annotate import compare_actions

        pictures, auditor, claims, *form = values
        return compare_actions.compare_config(
            self.services,
            AnnotateForm.of(tuple(form)),
            person_of(request),
            pictures=pictures,
            auditor=auditor,
            claims=claims,
        )


def lay_out() -> CompareComponents:
    """Lay out the fields and the result, folded."""
    with gr.Accordion("Two questions or one: compare prompts", open=False, elem_id="compare-prompts") as accordion:
        html(render_macro("note", LEAD))
        with gr.Row():
            pictures = gr.Number(50, label="pictures", precision=0, min_width=90, elem_id="compare-pictures")
            claims = gr.Number(
                20, label="claims of each for people", precision=0, min_width=90, elem_id="compare-claims"
            )
            auditor = gr.Dropdown(
                AUDITOR_CHOICES, value=AUDITOR_CHOICES[0][1], label="auditor", min_width=160, elem_id="compare-auditor"
            )
        start = gr.Button("Compare", elem_id="compare-start")
        note, result = html(elem_id="compare-note"), html(elem_id="compare-result")
        judge = gr.Button("Judge claims", size="sm", visible=False, elem_id="compare-judge")
        claim = gr.HTML(js_on_load=ON_ASK, apply_default_css=False, elem_id="compare-claim")
    return CompareComponents(
        accordion=accordion,
        pictures=pictures,
        auditor=auditor,
        claims=claims,
        start=start,
        note=note,
        result=result,
        judge=judge,
        claim=claim,
    )


def wire(section: CompareSection, parts: CompareComponents, *, form: list[Any], jobs: Any) -> None:
    """Wire its events. form: the fields of the page. jobs: the page's list of jobs."""
    fields, shown = [*parts.fields, *form], [parts.result, parts.judge]
    gr.on([parts.accordion.expand, jobs.change], section.show, fields, shown, **ORDER)
    parts.start.click(section.start, fields, [parts.note, jobs], **LIGHT)
    parts.judge.click(section.next_claim, fields, parts.claim, **ORDER)
    parts.claim.click(section.decide, fields, parts.claim, **(ORDER | QUEUE_ALL)).then(
        section.show, fields, shown, **ORDER
    )
