"""Lay out what the Curate page does with many regions at once: the bar above the gallery, and what is kept.

Handlers import what they need of the data's side: the first page must not wait for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.curate.filter_controls import CONTROLS, address_of, query_of
from app.services import Services
from app.ui.events import LIGHT, QUEUE_ALL, in_order, script, warn
from app.ui.html import render, things
from user_errors import UserError

ACTS = (
    ("accept", "accept", ""),
    ("reject", "reject", ""),
    ("reopen", "make pending", ""),
    ("relabel", "relabel …", "new words for all of them"),
    ("tag", "tag …", "tag"),
    ("untag", "untag …", "tag to take off"),
    ("delete", "delete", ""),
    ("restore", "restore", ""),
)
HERE = Path(__file__)
BULK_SCRIPT = script(HERE.with_name("gallery.py"), "picked.js")
BULK_ENDED = "() => { document.dispatchEvent(new Event('curate:bulk-ended')); }"
BAR = render("curate/templates/bulk_bar.html", acts=ACTS)
LIBRARY_SCRIPT = script(HERE.with_name("library.py"))


@dataclass(frozen=True, kw_only=True)
class BulkComponents:
    """The components that events come from or go to."""

    bar: Any
    library: Any


@dataclass(frozen=True)
class BulkSection:
    """The handlers. Each makes one call and shows what came of it."""

    services: Services

    def count(self, event: gr.EventData, *filters: Any) -> Any:
        """Say what an act on many would change. Returns bar."""
        from app.curate import bulk_actions, bulk_panels

        ask = event.ask if isinstance(event.ask, Mapping) else {}
        try:
            act, count = bulk_actions.count(self.services, query_of(filters), ask)
        except UserError as error:
            return _refused(ask, error)
        return _answer(ask) | {"panel": bulk_panels.question_panel(act, count), "seen": count.seen}

    def act(self, request: gr.Request, event: gr.EventData, *filters: Any) -> Any:
        """Do an act on many, or undo or redo one. Returns bar."""
        from app.curate import bulk_actions, bulk_panels

        ask, who = event.ask if isinstance(event.ask, Mapping) else {}, person_of(request).name
        try:
            if ask.get("do") in ("undo", "redo"):
                done = bulk_actions.take_back(self.services, ask, who=who)
                return _answer(ask) | {"back": str(ask["do"]), "message": bulk_panels.back_words(done, str(ask["do"]))}
            made = bulk_actions.act(self.services, query_of(filters), ask, who=who)
        except UserError as error:
            return _refused(ask, error)
        return _answer(ask) | {"panel": bulk_panels.done_panel(made), "did": made.action}

    def library(self, dataset: str | None, tag: str | None, request: gr.Request) -> list[Any]:
        """Show what is kept of the data set. Returns library, tag."""
        from app.curate import bulk_actions, bulk_panels
        from app.curate.filter_controls import ANY

        try:
            found = bulk_actions.library(self.services, dataset or "", who=person_of(request).name)
        except UserError:
            return ["", gr.skip()]
        named = dict.fromkeys([*found.tags, *([tag] if tag else [])])  # a link may name one that is gone
        choices = [ANY, *((each, each) for each in named)]
        return [bulk_panels.library_panel(found), gr.Dropdown(choices=choices)]

    def keep(self, request: gr.Request, event: gr.EventData, *filters: Any) -> list[Any]:
        """Save the filters as they are under a name, or forget some. Returns library, tag."""
        from app.curate import bulk_actions

        values = {control.name: value for control, value in zip(CONTROLS, filters, strict=True)}
        dataset, tag = values["dataset"], values["tag"]
        ask = event.ask if isinstance(event.ask, Mapping) else {}
        ask = {**ask, "address": address_of(filters, with_dataset=False)}  # the browser's follows later
        try:
            bulk_actions.keep_filter(self.services, dataset or "", ask, who=person_of(request).name)
        except UserError as error:
            warn(error)
        return self.library(dataset, tag, request)

    def empty_trash(self, dataset: str | None, tag: str | None, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Remove what is in the trash for good. Returns library, tag."""
        from app.curate import bulk_actions

        try:
            who = person_of(request).name
            removed = bulk_actions.remove_for_good(self.services, dataset or "", event.regions, who=who)
            gr.Info(f"{things(removed, 'region')} removed.", title="The trash is empty")
        except UserError as error:
            warn(error)
        return self.library(dataset, tag, request)


def _answer(ask: Mapping[str, Any]) -> dict[str, Any]:
    """Return the start of an answer; the token tells it from an equal one before."""
    return {"asked": str(ask.get("asked", "")), "token": secrets.token_hex(4)}


def _refused(ask: Mapping[str, Any], error: UserError) -> dict[str, Any]:
    warn(error)
    return _answer(ask) | {"refused": error.sentence}


def lay_out_bar() -> Any:
    """Lay out the bar above the gallery."""
    return gr.HTML(None, html_template=BAR, js_on_load=BULK_SCRIPT, apply_default_css=False, elem_id="bulk")


def lay_out_library() -> Any:
    """Lay out saved filters, tags, trash and latest acts."""
    return gr.HTML(js_on_load=LIBRARY_SCRIPT, apply_default_css=False, elem_id="library")


def wire(
    page: BulkSection,
    parts: BulkComponents,
    *,
    filters: list[Any],
    dataset: Any,
    tag: Any,
    refresh: Callable[[Any], None],
) -> None:
    """Wire its events. refresh: wires what must be shown again after an event that changed regions."""
    turn, kept = in_order("bulk"), [parts.library, tag]
    counted = parts.bar.select(page.count, filters, parts.bar, **(LIGHT | QUEUE_ALL))
    acted = parts.bar.click(page.act, filters, parts.bar, **(turn | QUEUE_ALL))
    for each in (acted.then, acted.failure, counted.then, counted.failure):
        each(None, None, None, js=BULK_ENDED, api_visibility="private")
    refresh(acted)
    acted.then(page.library, [dataset, tag], kept, **LIGHT)
    parts.library.click(page.keep, filters, kept, **(turn | QUEUE_ALL))
    emptied = parts.library.select(page.empty_trash, [dataset, tag], kept, **(turn | QUEUE_ALL))
    refresh(emptied)
