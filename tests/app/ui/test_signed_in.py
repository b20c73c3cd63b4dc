"""Who signed in sees with which role, and which buttons are not for that role, before anything is typed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.access.accounts import PERSON_KEY, Person
from app.access.rules import ROLES, Role, event_rule
from app.core.settings import Settings
from app.main import PAGES, Pages, build_app
from app.ui.signed_in import SignedIn
from tests.support.still_services import StillServices


def built(folder: Path, **settings: Any) -> Pages:
    return build_app(StillServices(Settings(home=folder, **settings)))


@pytest.mark.parametrize(("role", "disabled"), [("viewer", [0, 1]), ("curator", [1]), ("admin", [])])
def test_a_button_that_the_role_may_not_press_is_disabled(role: Role, disabled: list[int]) -> None:
    request: Any = SimpleNamespace(scope={PERSON_KEY: Person("<i>eve", role)})
    who, *buttons = SignedIn("curator", "admin").show(request)
    assert f"&lt;i&gt;eve, {role}" in who
    off = [number for number, button in enumerate(buttons) if isinstance(button, gr.Button)]
    assert off == disabled and all(buttons[number].interactive is False for number in off)


def test_every_button_that_not_every_role_may_press_is_among_them(tmp_path: Path) -> None:
    app, checked, told = built(tmp_path, login=True), 0, 0
    for page in {event.page for event in app.fns.values()}:
        events = [event for event in app.fns.values() if event.page == page]
        shown = [event for event in events if getattr(event.fn, "__func__", None) is SignedIn.show]
        told += len(shown)
        for event in events:
            pressed = [app.blocks.get(target) for target, _ in event.targets if target is not None]
            for button in pressed:
                if isinstance(button, gr.Button) and event_rule(event.fn) in ROLES[1:]:
                    assert any(button in each.outputs for each in shown), (page, button.elem_id)
                    checked += 1
    assert told == len(PAGES) and checked > 20


def test_where_nobody_signs_in_nothing_is_asked(tmp_path: Path) -> None:
    app = built(tmp_path)
    assert not [event for event in app.fns.values() if getattr(event.fn, "__func__", None) is SignedIn.show]
