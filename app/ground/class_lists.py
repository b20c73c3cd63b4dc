"""Offer the classes of data sets for the Ground page's field, each with its descriptions."""

from __future__ import annotations

from app.ground.typed_texts import texts_of
from app.services import Services
from app.ui.html import things
from curation.exchange.concept_classes import from_plain, to_lines
from db.engine import reading
from db.queries.concept_queries import class_lists

PUNCTUATION = (":", ";", "\n")  # which lines give a meaning


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
        classes = from_plain(class_lists(session).get(dataset, []))
    texts = {one.name: list(one.descriptions) for one in classes}
    written = [word for name, rows in texts.items() for word in (name, *rows)]
    if any(mark in word for word in written for mark in PUNCTUATION):
        return texts_of(texts)
    return to_lines(classes)
