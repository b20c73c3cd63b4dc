"""Show who is signed in, with which role, and disable the buttons that this role may not press.

The server refuses them anyway (app/main.py), but only once they are pressed, when a form may have been filled in.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.access.accounts import person_of
from app.access.rules import Role, Rule, allows, event_rule
from app.ui.events import LIGHT
from app.ui.html import render_macro

NEEDS: dict[Role, str] = {
    "viewer": ": changes and jobs need a curator",
    "curator": ": the server's disk and deletions need an admin",
    "admin": "",
}
"""A role -> what it may not do."""


class SignedIn:
    """The handler. rules: of the buttons that not every role may press."""

    def __init__(self, *rules: Rule) -> None:
        """rules: in the order of the buttons."""
        self.rules = rules

    def show(self, request: gr.Request) -> list[Any]:
        """Show the person, and disable what the role may not press. Returns who, buttons."""
        person = person_of(request)
        buttons = [gr.skip() if allows(person.role, rule) else gr.Button(interactive=False) for rule in self.rules]
        return [render_macro("note", f"{person.name}, {person.role}{NEEDS[person.role]}"), *buttons]


def build_signed_in(app: gr.Blocks, who: Any, *, since: int) -> None:
    """Wire it for a page. who: where the person is shown. since: the number of the page's first event."""
    closed: dict[Any, Rule] = {}
    for event in [event for number, event in app.fns.items() if number >= since]:
        rule, targets = event_rule(event.fn), [target for target, _ in event.targets if target is not None]
        buttons = [app.blocks[target] for target in targets if target in app.blocks]  # the load of the page is no block
        closed |= {button: rule for button in buttons if isinstance(button, gr.Button) and rule != "viewer"}
    app.load(SignedIn(*closed.values()).show, None, [who, *closed], **LIGHT)
