"""Offer the classes of data sets for the Ground page's field, each with its descriptions."""

from __future__ import annotations

from app.services import Services
from app.ui.html import things
from curation.exchange.concept_classes import from_plain, to_text
from db.engine import reading
from db.queries.concept_queries import class_lists


def list_choices(services: Services) -> list[tuple[str, str]]:
    """Return the label and the name of every data set that has classes."""
    with reading(services.engine) as session:
        lists = class_lists(session)
    return [(f"{name} · {things(len(classes), 'class', 'classes')}", name) for name, classes in lists.items()]


def classes_of(services: Services, dataset: str) -> str:
    """Return a data set's classes as a person would type them: lines, or JSON where lines would mean something else.

    "" where it has none any more.
    """
    with reading(services.engine) as session:
        return to_text(from_plain(class_lists(session).get(dataset, [])))
