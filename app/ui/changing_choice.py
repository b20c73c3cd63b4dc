"""Provide the dropdown of choices that an event changes. Gradio's own refuses a value that is no longer among them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.ui.upload_field import NoStub


class ChangingChoice(gr.Dropdown, metaclass=NoStub):
    """gr.Dropdown that passes its value on as it is: the handlers say what is wrong with it, and offer others.

    Gradio's own would fail each event that reads it, and with it the whole page, before a handler could mend it.
    """

    is_template = True  # the browser draws it as its parent

    def preprocess(self, payload: Any) -> Any:
        """Return what is chosen."""
        return payload
