"""Choose what the lists of a set show: what is on the screen keeps its place, so that no press meets another thing."""

from __future__ import annotations

from collections.abc import Sequence

from curation.concepts.status import ConceptSetStatus, settled_class
from db.models import Image, LeakSuspect

MOST_SHOWN = 60  # in one list; the rest comes as these are done
Listed = Image | LeakSuspect


def all_listed(step: str, now: ConceptSetStatus) -> tuple[list[Listed], set[int]]:
    """Return all that a step's list is about, and the ids of those that somebody has still to do."""
    if step == "pictures":
        return [*now.kept], {image.id for image in now.unfound}
    if step == "leaks":
        todo = {one.id for one in now.suspects if not one.decision or one.image_id in now.unmarked}
        return sorted(now.suspects, key=lambda one: one.id), todo
    if step == "agreement" and now.everybody_labelled:
        images = {image.id: image for image in now.images}
        differ = sorted((images[one.image_id] for one in now.disagreements()), key=lambda image: image.id)
        return [*differ], {image.id for image in differ if not settled_class(image)}
    return [], set()


def listed_in(step: str, now: ConceptSetStatus, listed: Sequence[int] = ()) -> list[Listed]:
    """Return what a step shows: what it has shown, in its places, until all of that is done; then what is to do first.

    Args:   listed: ids of what it has shown since it was entered.
    """
    every, todo = all_listed(step, now)
    by_id = {one.id: one for one in every}
    before = [by_id[number] for number in listed if number in by_id]
    if not any(one.id in todo for one in before):
        before = []
    there = {one.id for one in before}
    rest = [one for one in every if one.id not in there]
    done = [one for one in rest if one.id not in todo] if step != "pictures" else []  # found ones are no work any more
    return [*before, *(one for one in rest if one.id in todo), *done][:MOST_SHOWN]
