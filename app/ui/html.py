"""Render the parts that every page is made of: heads, notices, empty states, command lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime

from markupsafe import Markup

from app.core.templates import duration as duration  # pages find all that they render with here
from app.core.templates import environment
from app.core.templates import fixed as fixed
from app.core.templates import render as render
from app.core.templates import things as things
from app.core.templates import thousands as thousands
from app.core.templates import utc as utc
from app.ui.marks import mark_of

MACROS = "ui/templates/macros.html"
environment().globals["mark_of"] = mark_of


def page_head(title: str, lead: str = "", link: tuple[str, str] | tuple[()] = ()) -> Markup:
    """Render the title of a page, with a sentence of what it is for. link: (words, address)."""
    return render_macro("page_head", title, lead, link)


def heading(title: str, lead: str = "") -> Markup:
    """Render the title of a card, with a sentence of what it is for."""
    return render_macro("heading", title, lead)


def keys_hint(keys: Sequence[tuple[str, str]]) -> Markup:
    """Render a few keys of a page, each with what it does, and the button that lists all of them."""
    return render_macro("keys_hint", keys)


def notice(sentence: str) -> Markup:
    """Render a sentence beside the field it is about; "" clears it."""
    return render_macro("notice", sentence)


def empty_state(title: str, advice: str) -> Markup:
    """Render a placeholder for a result: what is missing, and what to do first."""
    return render_macro("empty_state", title, advice)


def history(rows: Iterable[tuple[str, str, datetime]]) -> Markup:
    """Render who did what, and when: an item each of a list."""
    return render_macro("history", list(rows))


def command_block(words: str) -> Markup:
    """Render a command line that can be copied."""
    return render_macro("command_block", words)


def command_details(*commands: Sequence[str]) -> Markup:
    """Render the Python commands that do the same, folded away. commands: their words after the name of Python."""
    return render_macro("command_details", "\n\n".join(shlex.join(["python", *words]) for words in commands))


def render_macro(name: str, *values: object) -> Markup:
    """Render one macro of the pages' common parts by its name."""
    return Markup(getattr(environment().get_template(MACROS).module, name)(*values))
