"""What several pages are made of: plain HTML, a toast, the list of a page's keys, a list of jobs."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from app.services import Services

ON_JOB = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) trigger("click", { job: Number(button.dataset.job), ask: button.dataset.ask });
});"""  # js_on_load of a list of jobs


def html(value: str = "", *, elem_id: str | None = None) -> gr.HTML:
    """HTML of ours without a script."""
    return gr.HTML(value, js_on_load=None, apply_default_css=False, elem_id=elem_id)


def warn(error: Exception) -> None:
    """A toast with the error's sentence."""
    gr.Warning(escape(str(error)), title="Not yet")  # escaped: toasts show HTML


def ask_job(services: Services, event: gr.EventData) -> None:
    """A button of a job was pressed: pause, resume or cancel it, or say why not."""
    from app import annotating

    try:
        annotating.ask_job(services, int(event.job), str(event.ask))
    except annotating.AnnotatingError as error:
        warn(error)


def script(name: str) -> str:
    """A page's script, after what lists its keys."""
    return "\n".join(Path(__file__).with_name(each).read_text(encoding="utf-8") for each in ("keys.js", name))
