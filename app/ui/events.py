"""Share what pages' events are made of: options, toasts, fields, paging, scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.services import Services
from user_errors import UserError, sentence

MODEL_LANE = "model"  # the concurrency id of what a model computes for a visitor: one after the other
QUIET: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last", "show_progress": "hidden"}
LIGHT: dict[str, Any] = {"concurrency_id": "light", "concurrency_limit": 4, **QUIET}
QUEUE_ALL: dict[str, Any] = {"trigger_mode": "multiple"}
"""For an event that carries what is asked (gr.EventData): each one is sent. With always_last Gradio sends, for what was
asked while an answer was awaited, the first one's data once more.
"""
TICK_SECONDS = 2.0  # between two looks at the jobs
SAVE = """(file) => {
  if (file?.uri) Object.assign(document.createElement("a"), { href: file.uri, download: file.name }).click();
}"""  # of a file that a handler returns as {"name", "uri"}
ON_ASK = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) trigger("click", { ask: JSON.parse(button.dataset.ask) });
});"""  # js_on_load of what has buttons that ask
ON_QUESTION = ON_ASK.replace("if (button)", "if (button && event.detail < 2)")
"""js_on_load of a question that is answered once: the second press of a double click is none (it counts 2)."""
ON_JOB = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) trigger("click", { job: Number(button.dataset.job), ask: button.dataset.ask });
});"""  # js_on_load of a list of jobs


ANSWERED = '() => document.dispatchEvent(new Event("answered"))'


def one_at_a_time(act: Any) -> None:
    """Let keys.js know when an act (an event) has ended, well or not, so that the next one may be sent."""
    for ended in (act.then, act.failure):  # Gradio 6.31 runs `then` after no failure
        ended(None, js=ANSWERED, api_visibility="private")


def into_address(name: str) -> str:
    """Return a script that keeps a value in the page's address, so that a link opens it; an empty one is left out."""
    return f"""(value) => {{
  const query = new URLSearchParams(location.search);
  if (value) query.set("{name}", value);
  else query.delete("{name}");
  const address = `${{location.pathname}}${{query.size ? `?${{query}}` : ""}}`;
  history.replaceState(history.state, "", address.replaceAll("%2C", ","));
}}"""


def html(value: str = "", *, elem_id: str | None = None) -> gr.HTML:
    """Lay out HTML of ours without a script."""
    return gr.HTML(value, js_on_load=None, apply_default_css=False, elem_id=elem_id)


def in_order(name: str) -> dict[str, Any]:
    """Return options for events that write the same: those of one name are answered in order."""
    return {"concurrency_id": name, "concurrency_limit": 1, **QUIET}


def warn(error: Exception) -> None:
    """Show an error's sentence as a toast."""
    gr.Warning(escape(sentence(error)), title="Not yet")  # escaped: toasts show HTML


def keep_stream_alive() -> None:
    """Do nothing, so that a page whose event stream Gradio closed opens it again."""


def choose_linked(names: Sequence[str], asked: str | None, kind: str) -> str | None:
    """Return the linked name, else the first one; a toast says that a link leads nowhere."""
    if asked in names:
        return asked
    if asked:
        sentence = f"There is no {kind} “{asked[:60]}” here: choose one of the list."
        gr.Warning(escape(sentence), title="This link leads nowhere")
    return next(iter(names), None)


def keep_choice(
    now: str | None, names: Sequence[str], otherwise: str | None, *, first: Sequence[tuple[str, str]] = ()
) -> gr.Dropdown:
    """Update a list of names, below `first`. The current choice stays unless it is gone, even one made meanwhile."""
    choices = [*first, *((name, name) for name in names)]
    there = now == otherwise or now in [value for _, value in choices]
    return gr.Dropdown(choices=choices) if there else gr.Dropdown(choices=choices, value=otherwise)


def server_field(*, elem_id: str) -> gr.Dropdown:
    """Lay out the choice of a model server, hidden until a model behind one is chosen; an admin may write a new one."""
    return gr.Dropdown(
        [],
        label="model server",
        info="An admin may write a new address, as http://127.0.0.1:8000/v1.",
        allow_custom_value=True,
        visible=False,
        elem_id=elem_id,
    )


def server_choices(services: Services, now: str | None, *, visible: bool) -> Any:
    """Update a server field, shown or hidden: the servers that are known, and chosen is the only one.

    Args:   now: what is chosen or written there, which stays.
    """
    from curation.annotate.servers import known_servers

    try:
        known = known_servers(services.settings.home) if visible else {}
    except UserError as error:
        warn(error)
        known = {}
    choices = [(f"{name} · {address}", address) for name, address in known.items()]
    only = {} if now or len(known) != 1 else {"value": next(iter(known.values()))}
    return gr.update(choices=choices, visible=visible, **only)


def control_job_by_button(services: Services, request: gr.Request, event: gr.EventData) -> None:
    """Control a job by its button, or show why that is not possible."""
    from app.jobs.job_control import control_job

    try:
        control_job(services.jobs, person_of(request), int(event.job), what=str(event.ask))
    except UserError as error:
        warn(error)


class Paged:
    """Pages of a list by key. places: where each page so far began, and where the next one begins."""

    def forward(self, places: list[str], *filters: Any) -> list[Any]:
        """Show the next page. Returns list, note, places."""
        if len(places) < 2 or not places[-1]:
            gr.Info("That was all with these filters.", title="The end")
            return [gr.skip(), gr.skip(), gr.skip()]
        return self._page(places, places[-1], filters)

    def back(self, places: list[str], *filters: Any) -> list[Any]:
        """Show the previous page. Returns list, note, places."""
        if len(places) < 3:
            return [gr.skip(), gr.skip(), gr.skip()]
        return self._page(places[:-2], places[-3], filters)

    def _page(self, places: list[str], after: str, filters: tuple[Any, ...]) -> list[Any]:
        """Show the page after a key. Returns list, note, places with the next key."""
        raise NotImplementedError


def change_events(fields: Sequence[Any]) -> list[Any]:
    """Return the events that say that a person has changed one of the fields.

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


def script(page: Path, *parts: str) -> str:
    """Return a page's script after that of its shortcuts and its parts.

    Args: page: the script, or the Python file beside it. parts: names of further scripts beside it.
    """
    files = (Path(__file__).with_name("keys.js"), *(page.with_name(part) for part in parts), page.with_suffix(".js"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
