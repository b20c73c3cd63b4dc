"""The Audit page: claims that the pictures do not support, worst first; people's verdicts; how often it happens.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import panels
from app.accounts import who
from app.pages.shared import (
    EVERY,
    LIGHT,
    ON_ASK,
    ON_JOB,
    TICK_SECONDS,
    Paged,
    ask_job,
    dataset_field,
    edits,
    html,
    in_turn,
    script,
    warn,
)
from app.services import Services

if TYPE_CHECKING:
    from app.auditing import Opened, Wanted

TITLE, PATH = "Audit", "audit"
LEAD = (
    "Which descriptions does the picture support? Claim by claim, with evidence from sources that did not write them."
)
SCRIPT = script("audit.js")
KINDS = ["object", "attribute", "part", "count", "relation", "text"]
VERDICTS = ["unsupported", "cannot tell", "supported"]
JUDGED = [("anybody or nobody", "anybody"), ("nobody yet", "nobody"), ("people", "people")]
DETECTORS = [
    ("OWLv2 on this machine", "owlv2"),
    ("photo stand-in, offline", "photo"),
    ("sample stand-in, offline", "sample"),
    ("none", "none"),
]
ASKED = [
    ("nobody", "none"),
    ("sample stand-in, offline", "sample"),
    ("LLaVA on this machine", "llava"),
    ("a server (vLLM, …)", "server"),
]
JUDGES = [("its own, if one is fitted", ""), ("the one that comes along", "sample")]
NO_CHECKPOINT = ""
SAMPLE = 400  # claims of the sample for people
NOTHING = panels.empty_state("No claim chosen", "Press one in the list, or judge the sample.")
ADVICE = "Open “Audit this data set” and press Audit."
NO_CLAIMS = panels.empty_state("Nothing to show yet", "Import and annotate a data set, then audit it.")
FIT = (
    '<p class="quiet">“Fit the judge” fits one on what people say of the sample, tests it on pictures that it was not '
    "fitted on, and judges every claim anew by it; no model is asked, and people’s words stay.</p>"
)
KEYS = (
    '<p class="quiet keys"><kbd>S</kbd> supported · <kbd>U</kbd> unsupported · <kbd>C</kbd> cannot tell · '
    "<kbd>A</kbd> agree · <kbd>E</kbd> fix · <kbd>Z</kbd> undo · <kbd>→</kbd> next · "
    '<button type="button" class="show-keys"><kbd>?</kbd> all keys</button></p>'
)


class Filters(NamedTuple):
    """Which claims, in the order of app.auditing.Wanted; as components, and as their values."""

    dataset: Any
    kinds: Any
    verdicts: Any
    likely: Any
    words: Any
    judged: Any


class Sources(NamedTuple):
    """What an audit asks, in the order of app.auditing.config_of behind the data set."""

    detector: Any
    checkpoint: Any
    asked: Any
    server: Any
    judge: Any


@dataclass(frozen=True)
class Place:
    """Where a person is. claim: open; 0: none. sample: its position where the sample is judged, unseen by others."""

    claim: int = 0
    sample: int | None = None


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    filters: Filters
    sources: Sources
    start: Any
    command: Any
    jobs: Any
    draw: Any
    fit: Any
    judge: Any
    list: Any
    note: Any
    places: Any
    back: Any
    forward: Any
    claim: Any
    report: Any
    curve: Any
    threshold: Any
    touched: Any
    reject: Any
    place: Any


@dataclass
class AuditPage(Paged):
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def open(self, request: gr.Request) -> list[Any]:
        """The page opens. Returns dataset, checkpoint, jobs."""
        checkpoints = [each.name for each in self.services.registry.usable()]
        choices = [("none", NO_CHECKPOINT), *((name, name) for name in checkpoints)]
        return [
            dataset_field(self.services, request.query_params.get("dataset")),
            gr.Dropdown(choices=choices, value="sample" if "sample" in checkpoints else NO_CHECKPOINT),
            self._jobs(),
        ]

    def show(self, *filters: Any) -> list[Any]:
        """Another choice of filters: the first page. Returns list, note, places, touched."""
        from app import audit_panels, auditing

        wanted = _wanted(filters)
        if not wanted.dataset:  # the page opens: its data set is not chosen yet
            return [gr.skip()] * 4
        try:
            found = auditing.claims(self.services, wanted)
            touched = auditing.preview(self.services, wanted)
        except auditing.AuditingError as error:
            return [panels.empty_state("Nothing to show yet", str(error)), "", [""], ""]
        return [audit_panels.claims_panel(found), "", ["", found.after], audit_panels.touched_panel(touched)]

    def report(self, dataset: str | None, threshold: float) -> list[Any]:
        """Rates and the auditor's quality. Returns report, curve."""
        from app import audit_panels, auditing, draw

        if not dataset:  # as above
            return [gr.skip(), gr.skip()]
        try:
            found = auditing.report(self.services, dataset)
        except auditing.AuditingError as error:
            return [panels.notice(str(error)), gr.skip()]
        return [audit_panels.report_panel(found, threshold), draw.threshold_curve(found.curve, threshold)]

    def pick(self, event: gr.EventData) -> list[Any]:
        """A claim of the list was pressed. Returns claim, place."""
        from app import auditing

        try:
            return self._opened(auditing.open_claim(self.services, self.services.pictures, int(dict(event.ask)["id"])))
        except (auditing.AuditingError, KeyError, ValueError) as error:
            warn(error)
            return [gr.skip(), gr.skip()]

    def judge(self, request: gr.Request, *filters: Any) -> list[Any]:
        """[Judge]: the first claim of the sample that wants this person's verdict. Returns claim, place."""
        return self._next_of_sample(_wanted(filters).dataset, -1, who(request).name)

    def go(self, place: Place, event: gr.EventData, request: gr.Request, *filters: Any) -> list[Any]:
        """Look at another claim: one of the same description, or the next. Returns claim, place."""
        from app import auditing

        asked, wanted = event.ask, _wanted(filters)
        if not isinstance(asked, Mapping) or asked.get("do") not in ("open", "next"):
            return [gr.skip(), gr.skip()]
        try:
            if asked["do"] == "open":
                return self._opened(auditing.open_claim(self.services, self.services.pictures, int(asked["id"])))
            return self._next(place, wanted, who(request).name)
        except (auditing.AuditingError, KeyError, ValueError) as error:
            warn(error)
            return [gr.skip(), gr.skip()]

    def ask(self, place: Place, event: gr.EventData, request: gr.Request, *filters: Any) -> list[Any]:
        """A verdict, other words, or one taken back. Returns claim, place."""
        from app import auditing

        asked, wanted, name = event.ask, _wanted(filters), who(request).name
        if not isinstance(asked, Mapping) or asked.get("do") not in ("decide", "agree", "fix", "undo"):
            return [gr.skip(), gr.skip()]
        try:
            claim, said = int(asked["id"]), ""
            if asked["do"] == "undo":
                auditing.take_back(self.services, claim, name)
            elif asked["do"] == "fix":
                said = auditing.fix(self.services, claim, str(asked.get("text", "")), name)
            else:
                verdict = str(asked.get("verdict", "")) or auditing.verdict_of(self.services, claim)
                auditing.decide(self.services, claim, verdict, name)
                return self._next(place, wanted, name)
            opened = auditing.open_claim(self.services, self.services.pictures, claim)
            return self._opened(replace(opened, sample=place.sample), said)
        except (auditing.AuditingError, KeyError, ValueError) as error:
            warn(error)
            return [gr.skip(), gr.skip()]

    def draw_sample(self, dataset: str | None, count: float) -> str:
        """[Draw]: claims for people. Returns note."""
        from app import auditing

        try:
            added = auditing.draw(self.services, dataset or "", int(count or 0))
        except auditing.AuditingError as error:
            return panels.notice(str(error))
        gr.Info(f"{added:,} claims were added to the sample.", title="Drawn")
        return ""

    def fit(self, request: gr.Request, dataset: str | None) -> Any:
        """[Fit the judge]: a job. Returns jobs."""
        from app import auditing

        try:
            auditing.fit(self.services, dataset or "", who(request).name)
        except auditing.AuditingError as error:
            warn(error)
        return self._jobs()

    def command(self, dataset: str | None, *sources: Any) -> str:
        """The run from a terminal. Returns command."""
        from app import audit_panels, auditing

        try:
            return audit_panels.command_panel(auditing.config_of(dataset or "", *_texts(sources)))
        except auditing.AuditingError as error:
            return panels.notice(str(error))

    def fields(self, asked: str) -> Any:
        """Only what means something is shown. Returns server."""
        return gr.update(visible=asked == "server")

    def start(self, request: gr.Request, dataset: str | None, *sources: Any) -> Any:
        """[Audit]: a job. Returns jobs."""
        from app import auditing

        try:
            config = auditing.config_of(dataset or "", *_texts(sources))
            auditing.start(self.services, config, who(request).name)
        except auditing.AuditingError as error:
            warn(error)
        return self._jobs()

    def reject(self, request: gr.Request, *filters: Any) -> Any:
        """[Reject these]: a job. Returns jobs."""
        from app import auditing

        try:
            auditing.reject(self.services, _wanted(filters), who(request).name)
        except auditing.AuditingError as error:
            warn(error)
        return self._jobs()

    def steer(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a job: pause, resume or cancel. Returns jobs."""
        ask_job(self.services, request, event)
        return self._jobs()

    def tick(self, before: str) -> Any:
        """Every two seconds: how far the jobs are."""
        jobs = self._jobs()
        return gr.skip() if jobs == before else jobs

    def _next(self, place: Place, wanted: Wanted, name: str) -> list[Any]:
        from app import auditing

        if place.sample is not None:
            return self._next_of_sample(wanted.dataset, place.sample, name)
        found = auditing.following(self.services, wanted, place.claim)
        if found is None:
            return [panels.empty_state("The end", "These are all claims with these filters."), Place()]
        return self._opened(auditing.open_claim(self.services, self.services.pictures, found))

    def _next_of_sample(self, dataset: str, after: int, name: str) -> list[Any]:
        from app import auditing

        try:
            found = auditing.next_in_sample(self.services, self.services.pictures, dataset, name, after)
        except auditing.AuditingError as error:
            warn(error)
            return [gr.skip(), gr.skip()]
        if found is None:
            done = panels.empty_state("The sample is judged", "Draw more, or look at the numbers below.")
            return [done, Place()]
        return self._opened(found)

    def _opened(self, opened: Opened, said: str = "") -> list[Any]:
        from app import audit_panels

        shown = audit_panels.claim_panel(opened, said, blind=opened.sample is not None)
        return [shown, Place(opened.row.claim.id, opened.sample)]

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        from app import audit_panels, auditing

        try:
            found = auditing.claims(self.services, _wanted(filters), after)
        except auditing.AuditingError as error:
            return [gr.skip(), panels.notice(str(error)), gr.skip()]
        return [audit_panels.claims_panel(found), "", [*places, found.after]]

    def _jobs(self) -> str:
        from app import annotate_panels, annotating, auditing

        return annotate_panels.jobs_panel(annotating.jobs_now(self.services, auditing.KINDS), ADVICE)


def _wanted(filters: tuple[Any, ...]) -> Wanted:
    from app.auditing import Wanted

    values = Filters(*filters)
    return Wanted(
        values.dataset or "",
        values.kinds or [],
        values.verdicts or [],
        float(1 if values.likely is None else values.likely),
        values.words or "",
        values.judged or "anybody",
    )


def _texts(values: tuple[Any, ...]) -> list[str]:
    return ["" if value is None else str(value) for value in values]  # Gradio sends an empty text as None


def build(app: gr.Blocks, services: Services) -> None:
    """Lay the page out inside the current Blocks and wire its events."""
    page = AuditPage(services)
    _wire(app, page, _lay_out())


def _lay_out() -> Parts:
    with gr.Row(elem_classes="page-head"):
        html(f'<h1>Audit</h1><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="columns curate"):
        with gr.Column(elem_classes="card inputs", min_width=240):
            filters = _filter_fields()
            with gr.Accordion("Audit this data set", open=False, elem_id="run"):
                sources = _source_fields()
                start = gr.Button("Audit", variant="primary", elem_id="start")
                command = html(elem_id="command")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="jobs")
        with gr.Column(elem_classes="card", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html("<h2>Claims, worst first</h2>")
                back, forward = (gr.Button(name, size="sm", min_width=60) for name in ("Back", "More"))
            note = html(elem_id="note-claims")
            claims = gr.HTML(NO_CLAIMS, js_on_load=ON_ASK, apply_default_css=False, elem_id="claims")
            with gr.Accordion("Reject by this rule", open=False, elem_id="rule"):
                touched = html(elem_id="touched")
                reject = gr.Button("Reject these regions", size="sm", elem_id="reject")
        with gr.Column(elem_classes="card work", min_width=320):
            with gr.Row(elem_classes="gallery-head"):
                html("<h2>Verdict</h2>")
                judge = gr.Button("Judge the sample", variant="primary", size="sm", elem_id="judge")
            claim = gr.HTML(NOTHING, js_on_load=SCRIPT, apply_default_css=False, elem_id="claim")
            html(KEYS)
    with gr.Row(elem_classes="columns measured"):
        with gr.Column(elem_classes="card", min_width=320):
            html("<h2>How often, and how good is the auditor</h2>")
            with gr.Row(elem_classes="gallery-head asked-of-people"):
                count = gr.Number(SAMPLE, label="claims in the sample for people", precision=0, minimum=1)
                draw = gr.Button("Draw", size="sm", elem_id="draw")
                fit = gr.Button("Fit the judge", size="sm", elem_id="fit")
            html(FIT)
            report = html(elem_id="report")
        with gr.Column(elem_classes="card", min_width=320):
            html("<h2>What a threshold would drop</h2>")
            threshold = gr.Slider(0, 1, value=0.5, step=0.01, label="drop at or below", buttons=[], elem_id="threshold")
            curve = gr.Plot(show_label=False, elem_id="curve")
    return Parts(
        filters, sources, start, command, jobs, (draw, count), fit, judge, claims, note, gr.State([""]), back, forward,
        claim, report, curve, threshold, touched, reject, gr.State(Place()),
    )  # fmt: skip


def _filter_fields() -> Filters:
    html("<h2>Which claims</h2>")
    dataset = gr.Dropdown([], label="data set", elem_id="dataset")
    verdicts = gr.CheckboxGroup(VERDICTS, value=VERDICTS[:1], label="verdict", elem_id="verdicts")
    kinds = gr.CheckboxGroup(KINDS, value=KINDS, label="kind", elem_id="kinds")
    judged = gr.Dropdown(JUDGED, value="anybody", label="judged by", elem_id="judged", filterable=False)
    likely = gr.Slider(0, 1, value=1, step=0.01, label="at most this likely to hold", buttons=[], elem_id="likely")
    words = gr.Textbox(label="words of the claim", placeholder="red", elem_id="words")
    return Filters(dataset, kinds, verdicts, likely, words, judged)


def _source_fields() -> Sources:
    detector = gr.Dropdown(DETECTORS, value="photo", label="detector", elem_id="detector")
    checkpoint = gr.Dropdown([], label="GRAIN checkpoint", elem_id="checkpoint")
    asked = gr.Dropdown(ASKED, value="none", label="model that is asked", elem_id="asked")
    server = gr.Textbox(label="the server's address", placeholder="http://127.0.0.1:8000/v1", visible=False)
    judge = gr.Dropdown(JUDGES, value="", label="judge", elem_id="judged-by", filterable=False)
    return Sources(detector, checkpoint, asked, server, judge)


def _wire(app: gr.Blocks, page: AuditPage, parts: Parts) -> None:
    filters, sources = [*parts.filters], [*parts.sources]
    shown = [parts.list, parts.note, parts.places, parts.touched]
    measured = [parts.filters.dataset, parts.threshold]
    told = [parts.report, parts.curve]
    opened = [parts.claim, parts.place]
    rows, claim, numbers, words = map(in_turn, ("audit-list", "audit-claim", "audit-report", "audit-command"))
    app.load(page.open, None, [parts.filters.dataset, parts.sources.checkpoint, parts.jobs], **LIGHT).then(
        page.report, measured, told, **numbers
    ).then(page.command, [parts.filters.dataset, *sources], parts.command, **words)
    gr.on([parts.filters.dataset.change, *edits(filters[1:])], page.show, filters, shown, **rows)
    gr.on([parts.filters.dataset.change, parts.threshold.release], page.report, measured, told, **numbers)
    for source in (parts.filters.dataset, *sources):
        source.change(page.command, [parts.filters.dataset, *sources], parts.command, **words)
    parts.sources.asked.change(page.fields, parts.sources.asked, parts.sources.server, **LIGHT)
    turned = [parts.list, parts.note, parts.places]
    parts.forward.click(page.forward, [parts.places, *filters], turned, **rows)
    parts.back.click(page.back, [parts.places, *filters], turned, **rows)
    parts.list.click(page.pick, None, opened, **(claim | EVERY))
    parts.judge.click(page.judge, filters, opened, **claim)
    parts.claim.click(page.go, [parts.place, *filters], opened, **(claim | EVERY))
    parts.claim.click(page.ask, [parts.place, *filters], opened, **(claim | EVERY)).then(
        page.report, measured, told, **numbers
    )
    draw, count = parts.draw
    draw.click(page.draw_sample, [parts.filters.dataset, count], parts.note, **LIGHT).then(
        page.report, measured, told, **numbers
    )
    parts.fit.click(page.fit, parts.filters.dataset, parts.jobs, **LIGHT)
    parts.start.click(page.start, [parts.filters.dataset, *sources], parts.jobs, **LIGHT)
    parts.reject.click(page.reject, filters, parts.jobs, **LIGHT)
    parts.jobs.click(page.steer, None, parts.jobs, **(LIGHT | EVERY))
    gr.Timer(TICK_SECONDS).tick(page.tick, parts.jobs, parts.jobs, **LIGHT)
    # what a job did is seen in the list and in the numbers
    parts.jobs.change(page.show, filters, shown, **rows).then(page.report, measured, told, **numbers)
