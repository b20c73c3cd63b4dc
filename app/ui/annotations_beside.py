"""Ask what an import is to do with COCO files that lie beside the pictures of a server's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.ui.html import notice

CHOICES = [
    ("leave them", "leave"),
    ("bring them too, pending", "bring"),
    ("bring them as accepted: people made them", "accept"),
]


def beside_field() -> gr.Radio:
    """Lay out the choice, out of sight until there is something to choose."""
    return gr.Radio(CHOICES, value=None, label="its annotations", visible=False, elem_id="beside")


def beside_question(beside: Sequence[Path]) -> str:
    """Render the question. beside: the COCO files that were found."""
    names = ", ".join(file.name for file in beside)
    return notice(f"{names} has annotations of these pictures. Bring them too? Choose, and press Import again.")


def show_choice() -> Any:
    """Return the update of the choice once it is needed."""
    return gr.update(visible=True)


def hide_choice() -> Any:
    """Return the update of the choice once the import is queued."""
    return gr.update(visible=False, value=None)
