"""Keep Gradio's memory of visitors small: it holds a megabyte a session, ten thousand of them, and forgets none.

Most of it is the layout of every page, kept for deep links, which this app does not offer. And a program that calls an
endpoint without naming a session gets one of its own, which nobody can use again.
"""

from __future__ import annotations

import re
from copy import copy
from typing import Any

import gradio as gr
from gradio import state_holder

MOST_SESSIONS = 1_000  # kept; after that the one that was idle longest goes
ONE_CALLS_NAME = re.compile(r"[0-9a-f]{32}")  # Gradio names the session of a call after its event


class LightSession(state_holder.SessionState):
    """Gradio's state of a visitor, without the layout of the pages: what changes of it is added as it changes."""

    def __init__(self, blocks: gr.Blocks) -> None:
        """blocks: the app. The parent's __init__ is not called: it would copy the layout."""
        self.blocks_config = copy(blocks.default_config)
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600  # Gradio's: a person may open the tab again


def light_sessions() -> None:
    """Have Gradio make LightSessions; it takes the class from its module."""
    state_holder.SessionState = LightSession  # type: ignore[misc]


def forget_session(app: gr.Blocks, name: str | None) -> None:
    """Forget the session of a call that is answered; those of browsers and clients stay."""
    if name and ONE_CALLS_NAME.fullmatch(name):
        holder = app.state_holder
        with holder.lock:
            holder.session_data.pop(name, None)
            holder.time_last_used.pop(name, None)
