"""Answer the choice of a data set whose classes fill the Ground page's field."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.services import Services
from app.ui.events import LIGHT


class ClassLists:
    """The handlers. Each makes one call and shows its result."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def offer(self) -> Any:
        """Offer the data sets that have classes; out of sight while none has. Returns the choice."""
        from app.ground.class_lists import list_choices

        choices = list_choices(self.services)
        return gr.update(choices=choices, visible=bool(choices), value=None)

    def fill(self, dataset: str | None) -> Any:
        """Fill the field with the classes of a data set. Returns classes."""
        from app.ground.class_lists import classes_of

        return classes_of(self.services, dataset or "") or gr.skip()


def class_list_field() -> gr.Dropdown:
    """Lay out the choice, to stand above the field of classes."""
    return gr.Dropdown([], label="classes of a data set", visible=False, elem_id="class-list")


def wire_class_lists(app: gr.Blocks, services: Services, *, choice: Any, classes: Any) -> None:
    """Wire its events. classes: the field that it fills."""
    lists = ClassLists(services)
    app.load(lists.offer, None, choice, **LIGHT)
    choice.input(lists.fill, choice, classes, **LIGHT)
