"""Lay out the map section of the Curate page: an embedding map, similar pictures, and the jobs that make them.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.core.page_values import whole_number
from app.curate.filter_controls import LIKENESS, SORTS
from app.services import Services
from app.ui.events import LIGHT, ON_JOB, QUEUE_ALL, TICK_SECONDS, control_job_by_button, html, in_order, script, warn
from app.ui.html import command_details, heading, render
from grain.texts import one_line
from user_errors import UserError

TITLE = "Map: similar regions, duplicates, outliers"
COLOURS = [("verdict", "status"), ("source", "source"), ("class", "class")]
ON_KEEP = """element.addEventListener("click", (event) => {
  const { keep, undo, cancel } = event.target.closest("button")?.dataset ?? {};
  const send = () => trigger("click", { ask: JSON.parse(keep) });
  if (keep) document.dispatchEvent(new CustomEvent("curate:when-saved", { detail: send }));
  if (undo) document.dispatchEvent(new CustomEvent("curate:undo-many", { detail: undo }));
  if (undo || cancel) event.target.closest(".bulk-answer").replaceChildren();
});"""
KEPT = """() => {
  const done = document.querySelector("#similar .bulk-answer [data-undo]")?.dataset.undo;
  if (done) document.dispatchEvent(new CustomEvent("curate:many-done", { detail: done }));
  document.dispatchEvent(new Event("curate:many-ends"));
}"""
COMMANDS = (
    ("-m", "curation.explore.atlas", "--dataset", "NAME", "--what", "regions"),
    ("-m", "curation.explore.similarity", "--dataset", "NAME"),
)
NO_SELECTION = render("curate/templates/selection.html", count=0, what="", alike=False, words="")


@dataclass(frozen=True, kw_only=True)
class MapComponents:
    """The components that events come from or go to. ended: ids of the jobs that are done."""

    fold: Any
    what: Any
    colour: Any
    map: Any
    bridge: Any
    peek: Any
    draw: Any
    score: Any
    jobs: Any
    similar: Any
    tick: Any
    ended: Any


@dataclass(frozen=True)
class MapSection:
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def unfold(self, dataset: str | None, what: str, colour: str) -> list[Any]:
        """Open the section. Returns map, similar, jobs, ended, tick."""
        return [self.draw(dataset, what, colour), self.similar(dataset), *self._jobs(), gr.Timer(active=True)]

    def fold(self) -> Any:
        """Close the section, so that it no longer asks for the jobs. Returns tick."""
        return gr.Timer(active=False)

    def draw(self, dataset: str | None, what: str, colour: str) -> Any:
        """Draw the map. Returns map."""
        from app.curate import map_actions, map_panels

        try:
            points = map_actions.points(self.services, dataset or "", _what(what), colour=colour)  # type: ignore[arg-type]
        except UserError as error:
            warn(error)
            return gr.skip()
        return map_panels.map_figure(points)

    def similar(self, dataset: str | None) -> Any:
        """Show the groups of similar pictures. Returns similar."""
        from app.curate import map_actions, map_panels

        try:
            groups, by = map_actions.similar_groups(self.services, dataset or "")
        except UserError:
            return ""
        return map_panels.similar_groups_panel(groups, by, self.services.settings.home)

    def ask(self, dataset: str | None, what: str, event: gr.EventData) -> list[Any]:
        """Select what was drawn around, what is like what is open or like words, or all.

        Returns selection, bridge, sort.
        """
        from app.curate import map_actions

        ask, points = event.ask if isinstance(event.ask, Mapping) else {}, _what(what)
        does, words = ask.get("do"), ""
        try:
            if does == "like":
                example = _example(ask, points)
                selection, count = map_actions.alike(self.services, dataset or "", points, number=example)
            elif does == "words":
                words = one_line(str(ask.get("words") or ""))
                selection, count = map_actions.like_words(self.services, dataset or "", points, words=words)
            elif does == "select" and isinstance(ask.get("corners"), list):
                selection, count = map_actions.select(self.services, dataset or "", points, corners=ask["corners"])
            else:
                return self.forget()
        except UserError as error:
            warn(error)
            return [gr.skip(), gr.skip(), gr.skip()]
        shown = render("curate/templates/selection.html", count=count, what=what, alike=does == "like", words=words)
        alike = count and does in ("like", "words")
        return [selection if count else "", shown, gr.update(choices=LIKENESS if alike else SORTS)]

    def peek(self, what: str, event: gr.EventData) -> str:
        """Show the thumbnail of the point under the pointer. Returns peek."""
        from app.curate import map_actions, map_panels

        ask = event.ask if isinstance(event.ask, Mapping) else {}
        try:
            found = map_actions.point_shown(self.services, _what(what), whole_number("point", ask.get("id")))
        except UserError:
            return ""
        return map_panels.peek_panel(*found, self.services.settings.home) if found else ""

    def forget(self) -> list[Any]:
        """Forget the selection, which belongs to the map of another data set. Returns selection, bridge, sort."""
        return ["", NO_SELECTION, gr.update(choices=SORTS)]

    def start_map(self, dataset: str | None, what: str, checkpoint: str, request: gr.Request) -> list[Any]:
        """Queue the drawing of the map. Returns jobs, ended."""
        return self._start("map", dataset, request, what=what, checkpoint=checkpoint)

    def start_scores(self, dataset: str | None, what: str, checkpoint: str, request: gr.Request) -> list[Any]:
        """Queue the scoring of all regions. Returns jobs, ended."""
        return self._start("similarity", dataset, request, what=what, checkpoint=checkpoint)

    def control_job_by_button(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Control a job: pause, resume or cancel it. Returns jobs, ended."""
        control_job_by_button(self.services, request, event)
        return self._jobs()

    def tick(self, before: str) -> list[Any]:
        """Return jobs and ended if they changed; asked every two seconds while the section is open."""
        jobs, ended = self._jobs()
        return [gr.skip(), gr.skip()] if jobs == before else [jobs, ended]

    def keep(self, dataset: str | None, request: gr.Request, event: gr.EventData) -> Any:
        """Keep one of some copies: ask how many regions that rejects, then do it. Returns similar."""
        from app.curate import bulk_panels, map_actions, map_panels

        ask, question = event.ask if isinstance(event.ask, Mapping) else {}, ""
        try:
            if ask.get("do") in ("ask", "keep"):
                number, seen = (
                    whole_number("picture", ask.get("keep")),
                    ask.get("seen") if ask["do"] == "keep" else None,
                )
                count, done = map_actions.keep_one(
                    self.services, dataset or "", number, who=person_of(request).name, seen=seen
                )
                question = bulk_panels.done_panel(done) if done else map_panels.keep_question(count, number)
            groups, by = map_actions.similar_groups(self.services, dataset or "")
        except UserError as error:
            warn(error)
            return self.similar(dataset)
        return map_panels.similar_groups_panel(groups, by, self.services.settings.home, question=question)

    def _start(self, kind: str, dataset: str | None, request: gr.Request, *, what: str, checkpoint: str) -> list[Any]:
        from app.curate import map_actions

        try:
            owner = person_of(request).name
            job = map_actions.new_job(kind, dataset or "", _what(what), checkpoint=checkpoint, owner=owner)
            map_actions.start(self.services, job)
        except UserError as error:
            warn(error)
        return self._jobs()

    def _jobs(self) -> list[Any]:
        from app.curate import map_actions
        from app.ui import jobs_list

        views = jobs_list.latest_jobs(self.services, map_actions.KINDS, most=map_actions.MOST_JOBS)
        ended = " ".join(str(view.job.id) for view in views if view.job.state == "done")
        return [jobs_list.jobs_panel(views) if views else "", ended]


def _example(ask: Mapping[str, Any], what: str) -> int:
    """Return the number of what is open in the editor: it is what others are to be like."""
    number = whole_number("example", ask.get("image" if what == "pictures" else "region") or 0)
    if not number:
        raise UserError("Open a region first: it is the example.")
    return number


def _what(what: str) -> Any:
    return "pictures" if what == "pictures" else "regions"


def lay_out() -> MapComponents:
    """Lay the section out inside the current Blocks, closed: most who review never open it."""
    with gr.Accordion(TITLE, open=False, elem_id="map-section") as fold, gr.Row(elem_classes="columns map-section"):
        with gr.Column(elem_classes="card", min_width=320, scale=3):
            with gr.Row():
                what = gr.Radio(["regions", "pictures"], value="regions", label="points are", elem_id="map-what")
                colour = gr.Radio(COLOURS, value="status", label="coloured by", elem_id="map-colour")
            plot = gr.Plot(show_label=False, elem_id="map")
            peek = html(elem_id="map-peek")
            bridge = gr.HTML(
                NO_SELECTION,
                js_on_load=script(Path(__file__)),
                apply_default_css=False,
                elem_id="map-bridge",
            )
        with gr.Column(elem_classes="card", min_width=280, scale=2):
            with gr.Row():
                draw = gr.Button("Draw the map", size="sm", elem_id="draw-map")
                score = gr.Button("Score all regions with GRAIN", size="sm", elem_id="score-all")
            jobs = gr.HTML(js_on_load=ON_JOB, apply_default_css=False, elem_id="map-jobs")
            html(command_details(*COMMANDS))
            html(heading("Similar pictures"))
            similar = gr.HTML(js_on_load=ON_KEEP, apply_default_css=False, elem_id="similar")
    return MapComponents(
        fold=fold,
        what=what,
        colour=colour,
        map=plot,
        bridge=bridge,
        peek=peek,
        draw=draw,
        score=score,
        jobs=jobs,
        similar=similar,
        tick=gr.Timer(TICK_SECONDS, active=False),
        ended=gr.State(""),
    )


def wire(page: MapSection, parts: MapComponents, *, filters: Mapping[str, Any], checkpoint: Any) -> None:
    """Wire its events. filters: the controls that it reads and sets, by name."""
    dataset, selection, sort = (filters[name] for name in ("dataset", "selection", "sort"))
    drawing, jobs = [dataset, parts.what, parts.colour], [parts.jobs, parts.ended]
    turn = in_order("map")
    parts.fold.expand(page.unfold, drawing, [parts.map, parts.similar, *jobs, parts.tick], **turn)
    parts.fold.collapse(page.fold, None, parts.tick, **LIGHT)
    changes = [each.change for each in (dataset, parts.what, parts.colour, parts.ended)]
    gr.on(changes, page.draw, drawing, parts.map, **turn)
    dataset.change(page.forget, None, [selection, parts.bridge, sort], **turn)
    gr.on([dataset.change, parts.ended.change], page.similar, dataset, parts.similar, **turn)
    parts.bridge.click(page.ask, [dataset, parts.what], [selection, parts.bridge, sort], **(turn | QUEUE_ALL))
    parts.bridge.select(page.peek, parts.what, parts.peek, **LIGHT)
    parts.draw.click(page.start_map, [dataset, parts.what, checkpoint], jobs, **LIGHT)
    parts.score.click(page.start_scores, [dataset, parts.what, checkpoint], jobs, **LIGHT)
    parts.jobs.click(page.control_job_by_button, None, jobs, **(LIGHT | QUEUE_ALL))
    parts.tick.tick(page.tick, parts.jobs, jobs, **LIGHT)
    kept = parts.similar.click(page.keep, dataset, parts.similar, **(turn | QUEUE_ALL))
    kept.then(None, None, None, js=KEPT, api_visibility="private")
