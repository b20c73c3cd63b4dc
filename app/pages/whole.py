"""The part of the Curate page that looks at a data set as a whole: its map, look-alikes, and the jobs behind them.

What it needs of the data's side is imported in the handlers: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.accounts import who
from app.pages.shared import EVERY, LIGHT, ON_JOB, TICK_SECONDS, ask_job, html, in_turn, script, warn
from app.services import Services

TITLE = "Look at the whole: a map, look-alikes, what stands apart"
COLOURS = [("verdict", "status"), ("who said it", "source"), ("class", "class")]
ON_KEEP = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-keep]");
  if (button) trigger("click", JSON.parse(button.dataset.keep));
});"""
HELP = (
    '<details class="quiet"><summary>&lt;/&gt; on the command line</summary>'
    "<code>python -m curation.atlas --dataset NAME --what regions<br>"
    "python -m curation.similarity --dataset NAME</code></details>"
)
INVITATION = '<p class="quiet">Drag around points: the gallery and the queue show just those. A click opens one.</p>'

OpenPicture = Callable[[Any, int, int | None], list[Any]]
"""(place, picture, region) -> editor, place"""


@dataclass(frozen=True)
class Parts:
    """The components that events come from or go to."""

    fold: Any
    what: Any
    colour: Any
    map: Any
    bridge: Any
    draw: Any
    score: Any
    jobs: Any
    alikes: Any
    tick: Any
    ended: Any


@dataclass(frozen=True)
class WholePage:
    """The handlers. Each makes one call and shows what came of it. opened: shows a picture in the editor."""

    services: Services
    opened: OpenPicture

    def unfold(self, dataset: str | None, what: str, colour: str) -> list[Any]:
        """The part is opened. Returns map, alikes, jobs, ended, tick."""
        return [self.draw(dataset, what, colour), self.alikes(dataset), *self._jobs(), gr.Timer(active=True)]

    def fold(self) -> Any:
        """It is closed: nobody asks for the jobs any more. Returns tick."""
        return gr.Timer(active=False)

    def draw(self, dataset: str | None, what: str, colour: str) -> Any:
        """The map. Returns map."""
        from app import curating, whole, whole_panels

        try:
            points = whole.points(self.services, dataset or "", _what(what), colour)  # type: ignore[arg-type]
        except curating.CuratingError as error:
            warn(error)
            return gr.skip()
        return whole_panels.map_figure(points)

    def alikes(self, dataset: str | None) -> Any:
        """Pictures that look alike. Returns alikes."""
        from app import curating, whole, whole_panels

        try:
            groups, by = whole.alikes(self.services, dataset or "")
        except curating.CuratingError:
            return ""
        return whole_panels.alikes_panel(groups, by, self.services.settings.home)

    def ask(self, place: Any, dataset: str | None, what: str, event: gr.EventData) -> list[Any]:
        """Points were drawn around, one was pressed, or all are wanted. Returns within, bridge, editor, place."""
        from app import curating, whole, whole_panels

        stay, asked = [gr.skip()] * 4, event.ask
        if not isinstance(asked, Mapping):
            return stay
        try:
            if asked.get("do") == "open":
                number = int(asked["id"])
                image = number if what == "pictures" else curating.image_of(self.services, number)
                chosen = None if what == "pictures" else number
                return [gr.skip(), gr.skip(), *self.opened(place, image, chosen)]
            corners = asked.get("corners") if asked.get("do") == "select" else None
            if not isinstance(corners, list):
                return ["", INVITATION, gr.skip(), gr.skip()]
            written, count = whole.select(self.services, dataset or "", _what(what), corners)
        except (curating.CuratingError, KeyError, TypeError, ValueError) as error:
            warn(error)
            return stay
        if not count:
            return ["", INVITATION, gr.skip(), gr.skip()]
        return [written, whole_panels.selection_panel(count, what), gr.skip(), gr.skip()]

    def forget(self) -> list[Any]:
        """Another data set: what was drawn around belongs to the map before. Returns within, bridge."""
        return ["", INVITATION]

    def start_map(self, dataset: str | None, what: str, checkpoint: str, request: gr.Request) -> list[Any]:
        """[Draw the map]: a job. Returns jobs, ended."""
        return self._start("map", dataset, what, checkpoint, request)

    def start_scores(self, dataset: str | None, what: str, checkpoint: str, request: gr.Request) -> list[Any]:
        """[Score all regions]: a job. Returns jobs, ended."""
        return self._start("similarity", dataset, what, checkpoint, request)

    def ask_job(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """A button of a job: pause, resume or cancel. Returns jobs, ended."""
        ask_job(self.services, request, event)
        return self._jobs()

    def tick(self, before: str) -> list[Any]:
        """Every two seconds while it is open: how far the jobs are. Returns jobs, ended."""
        jobs, ended = self._jobs()
        return [gr.skip(), gr.skip()] if jobs == before else [jobs, ended]

    def keep(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> Any:
        """[Keep this one]. Returns alikes."""
        from app import whole
        from db.curate_queries import EditConflictError

        try:
            others = [int(number) for number in event.others]
            count = whole.keep_one(self.services, int(event.keep), others, who(request).name)
        except (EditConflictError, TypeError, ValueError) as error:
            warn(error)
        else:
            gr.Info(f"{count:,} regions rejected; each can be undone in its picture.", title="Kept")
        return self.alikes(dataset)

    def _start(self, kind: str, dataset: str | None, what: str, checkpoint: str, request: gr.Request) -> list[Any]:
        from app import curating, whole

        try:
            whole.start(self.services, kind, dataset or "", _what(what), checkpoint, who(request).name)
        except curating.CuratingError as error:
            warn(error)
        return self._jobs()

    def _jobs(self) -> list[Any]:
        from app import annotate_panels, annotating, whole

        views = annotating.jobs_now(self.services, whole.KINDS, most=whole.MOST_JOBS)
        ended = " ".join(str(view.job.id) for view in views if view.job.state == "done")
        return [annotate_panels.jobs_panel(views) if views else "", ended]


def _what(what: str) -> Any:
    return "pictures" if what == "pictures" else "regions"


def lay_out() -> Parts:
    """Inside the current Blocks, closed: most who review never open it."""
    with gr.Accordion(TITLE, open=False, elem_id="whole") as fold, gr.Row(elem_classes="columns whole"):
        with gr.Column(elem_classes="card", min_width=320, scale=3):
            with gr.Row():
                what = gr.Radio(["regions", "pictures"], value="regions", label="points are", elem_id="map-what")
                colour = gr.Radio(COLOURS, value="status", label="coloured by", elem_id="map-colour")
            plot = gr.Plot(show_label=False, elem_id="map")
            bridge = gr.HTML(
                INVITATION,
                js_on_load=script("whole.js"),
                apply_default_css=False,
                elem_id="map-bridge",
            )
        with gr.Column(elem_classes="card", min_width=280, scale=2):
            with gr.Row():
                draw = gr.Button("Draw the map", size="sm", elem_id="draw-map")
                score = gr.Button("Score all regions with GRAIN", size="sm", elem_id="score-all")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="whole-jobs")
            html(HELP)
            html("<h2>Look-alikes</h2>")
            alikes = gr.HTML(js_on_load=ON_KEEP, apply_default_css=False, elem_id="alikes")
    return Parts(
        fold, what, colour, plot, bridge, draw, score, jobs, alikes, gr.Timer(TICK_SECONDS, active=False), gr.State("")
    )


def wire(page: WholePage, parts: Parts, *, dataset: Any, checkpoint: Any, within: Any, edited: list[Any]) -> None:
    """Its events. edited: editor and place of the page around it."""
    asked, jobs = [dataset, parts.what, parts.colour], [parts.jobs, parts.ended]
    turn = in_turn("map")
    parts.fold.expand(page.unfold, asked, [parts.map, parts.alikes, *jobs, parts.tick], **turn)
    parts.fold.collapse(page.fold, None, parts.tick, **LIGHT)
    drawn = [each.change for each in (dataset, parts.what, parts.colour, parts.ended)]
    gr.on(drawn, page.draw, asked, parts.map, **turn)
    dataset.change(page.forget, None, [within, parts.bridge], **turn)
    gr.on([dataset.change, parts.ended.change], page.alikes, dataset, parts.alikes, **turn)
    parts.bridge.click(page.ask, [edited[1], dataset, parts.what], [within, parts.bridge, *edited], **(turn | EVERY))
    parts.draw.click(page.start_map, [dataset, parts.what, checkpoint], jobs, **LIGHT)
    parts.score.click(page.start_scores, [dataset, parts.what, checkpoint], jobs, **LIGHT)
    parts.jobs.click(page.ask_job, None, jobs, **(LIGHT | EVERY))
    parts.tick.tick(page.tick, parts.jobs, jobs, **LIGHT)
    parts.alikes.click(page.keep, dataset, parts.alikes, **(turn | EVERY))
