"""Handle the Audit page: claims that images do not support, worst first; people's verdicts; rates.

Handlers import what needs the database: the first page must not wait for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.access.accounts import person_of
from app.audit.layout import NO_CLAIM, AuditFilterFields, AuditPageParts, AuditSourceFields, lay_out
from app.core.page_values import whole_number
from app.services import Services
from app.ui.dataset_choice import open_dataset
from app.ui.events import (
    LIGHT,
    QUEUE_ALL,
    TICK_SECONDS,
    Paged,
    change_events,
    choose_linked,
    control_job_by_button,
    in_order,
    into_address,
    one_at_a_time,
    server_choices,
    warn,
)
from app.ui.html import command_block, empty_state, notice, things
from user_errors import UserError

if TYPE_CHECKING:
    from app.audit.audits import AuditChoice
    from app.audit.claims import AuditFilter, OpenClaim
    from curation.audit.audit import AuditConfig

TITLE, PATH = "Audit", "audit"
NO_CHECKPOINT = ""
ADVICE = "Open “Audit this data set” and press Audit."
WRITES = ("decide", "agree", "fix", "undo")  # what the claim's buttons and keys write


@dataclass(frozen=True)
class AuditPosition:
    """A person's place in an audit. sample: the claim's position in the sample, where it is judged blind."""

    claim: int
    sample: int | None


@dataclass
class AuditPage(Paged):
    """The handlers. Each makes one call and shows the result."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """Open the page with the audit of its link.

        Returns: dataset, audit, latest, run, detector, checkpoint, vqa, jobs.
        """
        from app.audit.actions import fitting_sources
        from app.audit.audits import audit_choices

        checkpoints = [each.name for each in self.services.registry.usable()]
        choices = [("none", NO_CHECKPOINT), *((name, name) for name in checkpoints)]
        chosen = open_dataset(self.services, request)
        sources = fitting_sources(self.services, chosen.chosen or "")
        checkpoint = sources.checkpoint if sources.checkpoint in checkpoints else NO_CHECKPOINT
        dropdown = gr.Dropdown(choices=choices, value=checkpoint)
        audits = audit_choices(self.services, chosen.chosen)
        linked = choose_linked([each.id for each in audits], request.query_params.get("audit"), "audit")
        offered = [*_offer(audits, linked), gr.Accordion(open=not audits)]
        return [chosen.field, *offered, sources.detector, dropdown, sources.vqa, self._jobs()]

    def choose_audit(self, request: gr.Request, dataset: str | None, audit: str | None, latest: int) -> list[Any]:
        """Offer the audits that are there now. The choice stays, unless this person ran one since.

        Args:    latest: id of the run that was the latest before.
        Returns: audit, latest, run.
        """
        from app.audit.audits import audit_choices, runner_of

        if not dataset:  # the page opens: its data set is not chosen yet
            return [gr.skip()] * 3
        audits = audit_choices(self.services, dataset)
        newer = [each for each in audits[:1] if each.audit.run.id != latest]
        mine = [each for each in newer if runner_of(self.services, each) == person_of(request).name]
        stays = not mine and audit in [each.id for each in audits]
        run = gr.Accordion(open=True) if latest and not audits else gr.skip()  # of the data set before
        return [*_offer(audits, None if stays or not audits else audits[0].id), run]

    def close(self) -> str:
        """Close the claim of an audit that is no longer shown. Returns claim."""
        return NO_CLAIM

    def show(self, *filters: Any) -> list[Any]:
        """Show the first page of other filters. Returns list, note, places, matches."""
        from app.audit import claims, panels

        claim_filter = _filter(filters)
        if not claim_filter.dataset:  # the page opens: its data set is not chosen yet
            return [gr.skip()] * 4
        try:
            found, matches = (
                claims.find_claims(self.services, claim_filter),
                claims.count_matches(self.services, claim_filter),
            )
        except UserError as error:
            return [empty_state("No result yet", error.sentence), "", [""], ""]
        listed = panels.claims_panel(found, self.services.settings.home)
        return [listed, "", ["", found.after], panels.matches_panel(matches)]

    def report(self, dataset: str | None, audit: str | None, threshold: float) -> list[Any]:
        """Show rates and the auditor's quality. Returns report, curve."""
        from app.audit.report import audit_report
        from app.audit.report_panel import report_panel
        from app.ui.plots import threshold_curve

        if not dataset:  # as above
            return [gr.skip(), gr.skip()]
        try:
            found = audit_report(self.services, dataset, int(audit or 0))
        except UserError as error:
            return [notice(error.sentence), gr.skip()]
        return [report_panel(found, threshold), threshold_curve(found.curve, threshold)]

    def pick(self, event: gr.EventData) -> Any:
        """Open the claim that was pressed in the list. Returns claim."""
        try:
            return self._open(_asked(event))
        except UserError as error:
            warn(error)
            return gr.skip()

    def judge(self, request: gr.Request, *filters: Any) -> Any:
        """Open the first claim of the sample that this person has not judged. Returns claim."""
        try:
            return self._next_of_sample(_filter(filters), after=-1, name=person_of(request).name)
        except UserError as error:
            warn(error)
            return gr.skip()

    def go(self, event: gr.EventData, request: gr.Request, *filters: Any) -> Any:
        """Open another claim: one of the same description, or the next. Returns claim."""
        asked = _asked(event)
        try:
            if asked.get("do") == "open":
                return self._open(asked)
            if asked.get("do") == "next":
                return self._next(_position(asked), _filter(filters), person_of(request).name)
        except UserError as error:
            warn(error)
        return gr.skip()

    def ask(self, event: gr.EventData, request: gr.Request, *filters: Any) -> Any:
        """Keep or take back a verdict, or rewrite the description. Returns claim."""
        from app.audit import actions, claims

        asked, name = _asked(event), person_of(request).name
        do = asked.get("do")
        if do not in WRITES:
            return gr.skip()
        try:
            position, message = _position(asked), ""
            if do == "undo":
                actions.take_back(self.services, position.claim, who=name)
            elif do == "fix":
                text = str(asked.get("text", ""))
                message = actions.rewrite(self.services, position.claim, text=text, seen=_seen(asked), who=name)
            else:
                verdict = str(asked.get("verdict", "")) or actions.auditor_verdict(self.services, position.claim)
                actions.decide(self.services, position.claim, verdict=verdict, who=name)
                return self._next(position, _filter(filters), name)
            return self._opened(claims.open_claim(self.services, position.claim, position.sample), message)
        except UserError as error:
            warn(error)
            return gr.skip()

    def draw_sample(self, dataset: str | None, audit: str | None, count: float) -> str:
        """Draw claims for people. Returns note."""
        from app.audit import actions
        from db.queries.audit_sample_queries import LEAST_OF_STRATUM

        try:
            added = actions.draw(self.services, dataset or "", int(count or 0), audit=int(audit or 0))
        except UserError as error:
            return notice(error.sentence)
        more = f" That is more than asked: each kind and verdict has at least {LEAST_OF_STRATUM}." * (added > count)
        gr.Info(f"{things(added, 'claim')} added to the sample.{more}", title="Drawn")
        return ""

    def fit(self, request: gr.Request, dataset: str | None, audit: str | None) -> Any:
        """Queue the fit of a judge. Returns jobs."""
        from app.audit import actions

        try:
            actions.fit(self.services, dataset or "", person_of(request).name, audit=int(audit or 0))
        except UserError as error:
            warn(error)
        return self._jobs()

    def command(self, dataset: str | None, *sources: Any) -> str:
        """Show the audit's command for a terminal. Returns command."""
        from curation.audit.audit import command_line

        try:
            return command_block(shlex.join(["python", *command_line(_config(dataset, sources))]))
        except UserError as error:
            return notice(error.sentence)

    def fields(self, vqa: str, server: str | None) -> Any:
        """Show only fields that mean something. Returns server."""
        return server_choices(self.services, server, visible=vqa == "server")

    def start(self, request: gr.Request, dataset: str | None, *sources: Any) -> Any:
        """Queue an audit. Returns jobs."""
        from app.audit import actions

        try:
            actions.start(self.services, _config(dataset, sources), person_of(request))
        except UserError as error:
            warn(error)
        return self._jobs()

    def reject(self, request: gr.Request, *filters: Any) -> Any:
        """Queue the rejection of the regions that match. Returns jobs."""
        from app.audit import actions

        try:
            actions.reject(self.services, _filter(filters), person_of(request).name)
        except UserError as error:
            warn(error)
        return self._jobs()

    def control_job(self, request: gr.Request, event: gr.EventData) -> Any:
        """Pause, resume or cancel a job by its button. Returns jobs."""
        control_job_by_button(self.services, request, event)
        return self._jobs()

    def tick(self, before: str) -> Any:
        """Show the progress of the jobs, every two seconds. Returns jobs."""
        jobs = self._jobs()
        return gr.skip() if jobs == before else jobs

    def _open(self, asked: Mapping[str, Any]) -> str:
        from app.audit.claims import open_claim

        return self._opened(open_claim(self.services, whole_number("claim", asked.get("id"))))

    def _next(self, position: AuditPosition, claim_filter: AuditFilter, name: str) -> str:
        from app.audit import claims

        if position.sample is not None:
            return self._next_of_sample(claim_filter, after=position.sample, name=name)
        found = claims.next_claim(self.services, claim_filter, position.claim)
        if found is None:
            return empty_state("The end", "These are all claims with these filters.")
        return self._opened(claims.open_claim(self.services, found))

    def _next_of_sample(self, claim_filter: AuditFilter, *, after: int, name: str) -> str:
        from app.audit.claims import has_sample, next_in_sample

        dataset, audit = claim_filter.dataset, claim_filter.audit
        found = next_in_sample(self.services, dataset, audit=audit, who=name, after=after)
        if found is not None:
            return self._opened(found)
        if has_sample(self.services, dataset, audit=audit):
            return empty_state("The sample is judged", "Draw more, or see the numbers below.")
        return empty_state("No sample yet", "Draw one below: it is judged here, claim by claim.")

    def _opened(self, opened: OpenClaim, message: str = "") -> str:
        from app.audit.panels import claim_panel

        return claim_panel(opened, message, blind=opened.sample is not None)

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        from app.audit import claims, panels

        try:
            found = claims.find_claims(self.services, _filter(filters), after)
        except UserError as error:
            return [gr.skip(), notice(error.sentence), gr.skip()]
        return [panels.claims_panel(found, self.services.settings.home), "", [*places, found.after]]

    def _jobs(self) -> str:
        from app.audit import actions
        from app.ui import jobs_list

        return jobs_list.jobs_panel(jobs_list.latest_jobs(self.services, actions.KINDS), ADVICE)


def _asked(event: gr.EventData) -> Mapping[str, Any]:
    """Return what a button or a key sent; nothing where it is no object."""
    return event.ask if isinstance(event.ask, Mapping) else {}


def _position(asked: Mapping[str, Any]) -> AuditPosition:
    """Return which claim was on the screen when something was asked: that is what was meant, whatever came since.

    Raises: UserError: it names none.
    """
    sample = asked.get("sample", "")
    at = None if sample == "" else whole_number("position in the sample", sample)
    return AuditPosition(whole_number("claim", asked.get("id")), at)


def _seen(asked: Mapping[str, Any]) -> dict[int, int]:
    """Return the version of each region that was on the screen.

    Raises: UserError: one of them is no number.
    """
    seen = asked.get("seen")
    versions = seen.items() if isinstance(seen, Mapping) else ()
    return {whole_number("region", region): whole_number("version", version) for region, version in versions}


def _filter(filters: tuple[Any, ...]) -> AuditFilter:
    from app.audit.claims import AuditFilter

    values = AuditFilterFields(*filters)
    return AuditFilter(
        dataset=values.dataset or "",
        audit=int(values.audit or 0),
        kinds=values.kinds or [],
        verdicts=values.verdicts or [],
        at_most=float(1 if values.at_most is None else values.at_most),
        words=values.words or "",
        judged=values.judged or "anybody",
    )


def _offer(audits: Sequence[AuditChoice], chosen: str | None) -> list[Any]:
    """Return the updates of the field of audits and of the latest run. chosen: the audit; None: the choice stays."""
    value: dict[str, Any] = {"value": chosen} if chosen or not audits else {}
    choices = [(each.label, each.id) for each in audits]
    return [gr.update(choices=choices, visible=bool(audits), **value), audits[0].audit.run.id if audits else 0]


def _config(dataset: str | None, sources: tuple[Any, ...]) -> AuditConfig:
    """Return the settings of an audit.

    Raises: UserError: one of them is wrong.
    """
    from app.audit.actions import audit_config

    texts = ("" if value is None else str(value) for value in sources)  # Gradio sends an empty text as None
    return audit_config(dataset or "", **AuditSourceFields(*texts)._asdict())


def build(app: gr.Blocks, services: Services, dataset: Any) -> None:
    """Lay the page out inside the current Blocks and wire its events. dataset: the field of the navigation."""
    _wire(app, AuditPage(services), lay_out(dataset))


def _wire(app: gr.Blocks, page: AuditPage, parts: AuditPageParts) -> None:
    filters, sources = [*parts.filters], [*parts.sources]
    dataset, audit = parts.filters.dataset, parts.filters.audit
    shown = [parts.list, parts.note, parts.places, parts.matches]
    opened = parts.claim
    rows, claim, numbers, words = map(in_order, ("audit-list", "audit-claim", "audit-report", "audit-command"))
    measured, threshold = [parts.report, parts.curve], parts.threshold
    report = {"fn": page.report, "inputs": [dataset, audit, threshold], "outputs": measured} | numbers
    command = {"fn": page.command, "inputs": [dataset, *sources], "outputs": parts.command} | words
    known, offered = [dataset, audit, parts.latest], [audit, parts.latest, parts.run]
    opened_with = [dataset, *offered, parts.sources.detector, parts.sources.checkpoint, parts.sources.vqa, parts.jobs]
    app.load(page.open, None, opened_with, **LIGHT).then(**report).then(**command)
    # results of a job change the audits that are there, the list and the numbers
    gr.on([dataset.change, parts.jobs.change], page.choose_audit, known, offered, **rows).then(
        page.show, filters, shown, **rows
    ).then(**report)
    audit.change(None, audit, None, js=into_address("audit"), api_visibility="private")
    audit.change(page.close, None, opened, **claim)
    gr.on(change_events(filters[1:]), page.show, filters, shown, **rows)
    gr.on([audit.input, threshold.release], **report)
    for source in (dataset, *sources):
        source.change(**command)
    parts.sources.vqa.change(page.fields, [parts.sources.vqa, parts.sources.server], parts.sources.server, **LIGHT)
    turned = [parts.list, parts.note, parts.places]
    parts.forward.click(page.forward, [parts.places, *filters], turned, **rows)
    parts.back.click(page.back, [parts.places, *filters], turned, **rows)
    parts.list.click(page.pick, None, opened, **(claim | QUEUE_ALL))
    parts.judge.click(page.judge, filters, opened, **claim)
    elsewhere = parts.claim.click(page.go, filters, opened, **(claim | QUEUE_ALL))
    changed = parts.claim.submit(page.ask, filters, opened, **(claim | QUEUE_ALL))
    for act in (elsewhere, changed):
        one_at_a_time(act)
    changed.then(**report).then(page.choose_audit, known, offered, **rows)  # labels count verdicts
    parts.draw.click(page.draw_sample, [dataset, audit, parts.count], parts.note, **LIGHT).then(**report)
    parts.fit.click(page.fit, [dataset, audit], parts.jobs, **LIGHT)
    parts.start.click(page.start, [dataset, *sources], parts.jobs, **LIGHT)
    parts.reject.click(page.reject, filters, parts.jobs, **LIGHT)
    parts.jobs.click(page.control_job, None, parts.jobs, **(LIGHT | QUEUE_ALL))
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
