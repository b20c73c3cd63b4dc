"""What several pages are made of: plain HTML, a toast, the list of a page's keys, a list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.accounts import who
from app.services import Services

QUIET: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last", "show_progress": "hidden"}
LIGHT: dict[str, Any] = {"concurrency_id": "light", "concurrency_limit": 4, **QUIET}
EVERY: dict[str, Any] = {"trigger_mode": "multiple"}
"""For an event that carries what is asked (gr.EventData): each one is sent. With always_last Gradio sends, for what was
asked while an answer was awaited, the first one's data once more.
"""
TICK_SECONDS = 2.0  # between two looks at the jobs
ON_ASK = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) trigger("click", { ask: JSON.parse(button.dataset.ask) });
});"""  # js_on_load of what has buttons that ask
ON_JOB = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) trigger("click", { job: Number(button.dataset.job), ask: button.dataset.ask });
});"""  # js_on_load of a list of jobs


def html(value: str = "", *, elem_id: str | None = None) -> gr.HTML:
    """HTML of ours without a script."""
    return gr.HTML(value, js_on_load=None, apply_default_css=False, elem_id=elem_id)


def in_turn(name: str) -> dict[str, Any]:
    """For events that write the same: those of one name are answered in the order in which they were asked."""
    return {"concurrency_id": name, "concurrency_limit": 1, **QUIET}


def warn(error: Exception) -> None:
    """A toast with the error's sentence."""
    gr.Warning(escape(str(error)), title="Not yet")  # escaped: toasts show HTML


def hear_again() -> None:
    """Nothing; but a page whose stream of answers Gradio closed while a question was on its way opens it again."""


def linked(names: Sequence[str], asked: str | None, kind: str) -> str | None:
    """What a link names, else the first there is; of a link that leads nowhere a toast says so."""
    if asked in names:
        return asked
    if asked:
        sentence = f"There is no {kind} “{asked[:60]}” here: choose one of the list."
        gr.Warning(escape(sentence), title="This link leads nowhere")
    return next(iter(names), None)


def dataset_field(services: Services, asked: str | None) -> gr.Dropdown:
    """All data sets, with the one chosen that was asked for, else the first."""
    from app.annotating import dataset_names

    names = dataset_names(services)
    return gr.Dropdown(choices=names, value=linked(names, asked, "data set"))


def still(now: str | None, names: Sequence[str], otherwise: str | None) -> gr.Dropdown:
    """The names there are by now. What is chosen stays unless it is gone, so also what is chosen while this comes."""
    return gr.Dropdown(choices=[*names]) if now in names else gr.Dropdown(choices=[*names], value=otherwise)


def ask_job(services: Services, request: gr.Request, event: gr.EventData) -> None:
    """A button of a job was pressed: do it, or say why not."""
    from app.steering import SteeringError, steer

    try:
        steer(services, who(request), int(event.job), str(event.ask))
    except SteeringError as error:
        warn(error)


class Paged:
    """Pages of a list by key. places: where each page so far began, and where the next one begins."""

    def forward(self, places: list[str], *filters: Any) -> list[Any]:
        """The next page. Returns list, note, places."""
        if len(places) < 2 or not places[-1]:
            gr.Info("That was all with these filters.", title="The end")
            return [gr.skip(), gr.skip(), gr.skip()]
        return self._page(places, places[-1], filters)

    def back(self, places: list[str], *filters: Any) -> list[Any]:
        """The page before. Returns list, note, places."""
        if len(places) < 3:
            return [gr.skip(), gr.skip(), gr.skip()]
        return self._page(places[:-2], places[-3], filters)

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        """The page behind a key. Returns list, note, places with the next key."""
        raise NotImplementedError


def edits(fields: Sequence[Any]) -> list[Any]:
    """What tells that a person changed one of the fields, and is done with it.

    For one gr.on: events of their own would be answered side by side, and an earlier answer could come last.
    """
    found = []
    for field in fields:
        if isinstance(field, gr.Slider):
            found += [field.release]
        elif isinstance(field, gr.Textbox):
            found += [field.submit, field.blur]
        else:
            found += [field.change if isinstance(field, gr.State) else field.input]
    return found


def script(name: str) -> str:
    """A page's script, after what lists its keys."""
    return "\n".join(Path(__file__).with_name(each).read_text(encoding="utf-8") for each in ("keys.js", name))
