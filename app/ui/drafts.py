"""Keep what people type into long fields in their browser, and offer it again after a reload or a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def draft_fields_script() -> None:
    """Lay out what keeps the drafts of this page's draft fields."""
    gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="drafts")


def draft_field(*, elem_id: str, of_dataset: bool = False, **options: Any) -> gr.Textbox:
    """Lay out a field of several lines whose draft is kept.

    Args: of_dataset: each data set has a draft of its own. options: of gr.Textbox.
    """
    classes = ["keeps-draft", *(["of-dataset"] if of_dataset else [])]
    return gr.Textbox(elem_id=elem_id, elem_classes=classes, **options)
