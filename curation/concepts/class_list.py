"""Edit the class list of a novel-concept data set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from curation.concepts.status import dataset_id_of, images_of
from curation.exchange.concept_classes import (
    FACTS,
    ConceptClass,
    checked,
    from_plain,
    parse,
    to_plain,
    with_facts_of,
)
from curation.files.records import CLASS, shown
from db.engine import Engine, Session, retrying
from db.models import ConceptSet
from db.queries.concept_label_queries import NONE_OF_THESE, labels_by_picture
from db.queries.concept_queries import get_concept_set, save_concept_set
from db.queries.curate_queries import edit_image
from db.queries.edit_values import ImageChange
from user_errors import UserError


def save_classes(
    engine: Engine,
    dataset: str,
    classes: Sequence[ConceptClass],
    *,
    who: str,
    expected_version: int,
    licence: str | None = None,
    intended_use: str | None = None,
) -> ConceptSet:
    """Replace the class list, and optionally the licence and the intended use.

    Facts that settled pictures have from their class are corrected with it; what people wrote on a picture stays.

    Raises: UserError: the list has errors, leaves out a class that pictures have, or somebody was quicker.
    """
    classes = checked(classes)
    names = {one.name for one in classes} | {NONE_OF_THESE}
    if NONE_OF_THESE in {one.name.casefold() for one in classes}:
        raise UserError(f"expected names of concepts, got {NONE_OF_THESE!r}, which every labeller can say anyway")

    def write(session: Session) -> ConceptSet:
        dataset_id = dataset_id_of(session, dataset)
        found = get_concept_set(session, dataset_id=dataset_id, lock=True)
        before = from_plain(found.classes) if found else []
        labels = labels_by_picture(session, dataset_id=dataset_id).values()
        used = {label for by_person in labels for label in by_person.values()}
        if gone := sorted(used & {one.name for one in before} - names):
            raise UserError(
                f"expected {shown(gone[0])} among the classes, since pictures are labelled with it: keep it, or label "
                "those pictures again"
            )
        after = save_concept_set(
            session,
            dataset_id=dataset_id,
            who=who,
            expected_version=expected_version,
            classes=to_plain(classes),
            licence=licence,
            intended_use=intended_use,
        )
        _correct_pictures(session, dataset_id, before, classes=classes, who=who)
        return after

    saved: ConceptSet = retrying(engine, write)
    return saved


def _correct_pictures(
    session: Session, dataset_id: int, before: Sequence[ConceptClass], *, classes: Sequence[ConceptClass], who: str
) -> None:
    """Give pictures of classes whose facts have changed the new ones, where they have what the class had."""
    old = {one.name: one.facts() for one in before}
    new = {one.name: one.facts() for one in classes if one.name in old and one.facts() != old[one.name]}
    for image in images_of(session, dataset_id) if new else []:
        facts = dict(image.facts or {})
        if (name := facts.get(CLASS, "")) not in new:
            continue
        from_class = [fact for fact in FACTS if facts.get(fact, "") == old[name].get(fact, "")]
        kept = {fact: value for fact, value in facts.items() if fact not in from_class}
        kept |= {fact: value for fact, value in new[name].items() if fact in from_class}
        change = ImageChange(facts=kept)
        edit_image(
            session, image_id=image.id, expected_version=image.version, who=who, change=change, reason="class corrected"
        )


def check_as_seen(fact: str, *, now: str, seen: Collection[str], wanted: str) -> None:
    """Raise UserError where a fact is neither what its editor saw or wrote nor what they want, apart from spaces."""
    if " ".join(now.split()) not in {" ".join(text.split()) for text in (*seen, wanted)}:
        raise UserError(f"{fact} was changed to {shown(now)} meanwhile: look at it and write yours again")


def parse_keeping_facts(text: str, before: Sequence[ConceptClass]) -> list[ConceptClass]:
    """Parse classes as a person typed them, keeping the facts that they had.

    Raises: UserError.
    """
    return with_facts_of(parse(text), before)


def set_class_fact(
    classes: Sequence[ConceptClass], name: str, *, fact: str, seen: Collection[str], value: str
) -> list[ConceptClass]:
    """Return the classes after changing one's product class, brand or release date.

    Args:   seen: what the editor saw there, or wrote there since.
    Raises: UserError: there is no such class or fact, or no such date, or somebody was quicker.
    """
    if fact not in FACTS or name not in {one.name for one in classes}:
        raise UserError(f"expected a class and one of {', '.join(FACTS)}, got {shown(name)} and {shown(fact)}")
    changed: Any = {FACTS[fact]: value}
    after = checked([replace(one, **changed) if one.name == name else one for one in classes])
    [now] = [getattr(one, FACTS[fact]) for one in classes if one.name == name]
    check_as_seen(fact, now=now, seen=seen, wanted=value)
    return after
