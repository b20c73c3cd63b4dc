"""Save what people decide about pictures: leaks, labels and settled classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from curation.concepts.class_list import check_as_seen
from curation.concepts.metadata import BATCH
from curation.concepts.status import LEAK, NO_CLASS, dataset_id_of, person_name, settled_class, status_of
from curation.exchange.concept_classes import FACTS, LEFT_OUT, ConceptClass, from_plain
from curation.files.records import CLASS, shown
from db.engine import Engine, Session, retrying
from db.models import Image, LeakSuspect
from db.queries.bulk import batches
from db.queries.concept_label_queries import NONE_OF_THESE, UndoneLabel, set_label, undo_label
from db.queries.concept_queries import Decision, decide_suspect, dropped_suspects, get_concept_set
from db.queries.curate_queries import edit_image
from db.queries.data_set_queries import get_image
from db.queries.edit_values import ImageChange
from user_errors import UserError


def decide_leak(engine: Engine, suspect_id: int, decision: Decision, *, seen: Collection[str], who: str) -> None:
    """Keep or drop a suspect; a picture is left out while one of its suspects is to be dropped.

    Args:   seen: the decision that the person saw, and those made there since.
    Raises: UserError: somebody decided otherwise meanwhile, or it is suspected no more.
    """

    def write(session: Session) -> None:
        row = decide_suspect(session, suspect_id=suspect_id, seen=seen, decision=decision, who=who)
        image = get_image(session, image_id=row.image_id)
        assert image is not None
        facts = {name: value for name, value in (image.facts or {}).items() if name != LEFT_OUT}
        dropped = dropped_suspects(session, image_id=image.id)
        reason = _left_out((image.facts or {}).get(LEFT_OUT, ""), dropped)
        change = ImageChange(facts=facts | ({LEFT_OUT: reason} if reason else {}))
        edit_image(
            session, image_id=image.id, expected_version=image.version, who=who, change=change, reason="leak check"
        )

    retrying(engine, write)


def label_picture(engine: Engine, image_id: int, name: str, *, who: str) -> None:
    """Save a person's label of a picture.

    Raises: UserError: no such picture or class.
    """

    def write(session: Session) -> None:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise UserError(f"there is no picture {image_id}: reload the page")
        _class_named(session, image, name)
        set_label(session, image_id=image_id, who=who, label=name)

    retrying(engine, write)


def undo_last_label(engine: Engine, dataset: str, *, who: str) -> UndoneLabel | None:
    """Take a person's latest label back; a label before it comes back only while it is a class.

    Returns: None where there is nothing to take back.
    Raises:  UserError: no such data set.
    """

    def write(session: Session) -> UndoneLabel | None:
        dataset_id = dataset_id_of(session, dataset)
        names = {one.name for one in _classes_of(session, dataset_id)} | {NONE_OF_THESE}
        return undo_label(session, dataset_id=dataset_id, who=who, among=names)

    return retrying(engine, write)


def settle_class(engine: Engine, image_id: int, name: str, *, seen: Collection[str], who: str, reason: str) -> None:
    """Decide a picture's class and copy the class's facts; "none of these" leaves the picture out.

    Args:   seen: the class that the person saw there ("" for none yet), and those chosen there since.
    Raises: UserError: no such class, or somebody was quicker.
    """

    def write(session: Session) -> None:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise UserError(f"there is no picture {image_id}: reload the page")
        check_as_seen("class", now=settled_class(image), seen=seen, wanted=name)
        _settle_class(session, image, name, expected_version=image.version, who=who, reason=reason)

    retrying(engine, write)


def settle_agreed(engine: Engine, dataset: str, who: str) -> int:
    """Settle the pictures on which all labellers agree, and return how many.

    Raises: UserError: not everybody is done.
    """
    now = status_of(engine, dataset)
    if not now.everybody_labelled:
        raise UserError("Two people have to label every picture first.")
    for some in batches(now.agreed(), BATCH):

        def write(session: Session, some: list[tuple[Image, str]] = some) -> None:
            for image, name in some:
                people = " and ".join(person_name(person) for person in now.kept_labels[image.id])
                agreed = f"{people} agree"
                _settle_class(session, image, name, expected_version=image.version, who=who, reason=agreed)

        retrying(engine, write)
    return len(now.agreed())


def _settle_class(session: Session, image: Image, name: str, *, expected_version: int, who: str, reason: str) -> None:
    found = _class_named(session, image, name)
    left_out = (image.facts or {}).get(LEFT_OUT, NO_CLASS)
    if left_out != NO_CLASS or dropped_suspects(session, image_id=image.id):
        raise UserError("This picture is left out as a leak: keep it first.")
    facts = {key: value for key, value in (image.facts or {}).items() if key not in (CLASS, LEFT_OUT, *FACTS)}
    facts |= {CLASS: found.name, **found.facts()} if found else {LEFT_OUT: NO_CLASS}
    edit_image(
        session,
        image_id=image.id,
        expected_version=expected_version,
        who=who,
        change=ImageChange(facts=facts),
        reason=reason,
    )


def _left_out(before: str, dropped: Sequence[LeakSuspect]) -> str:
    """Return why a picture is left out after a decision on a leak; "" where it is used.

    A leak comes before "none of these", which comes back with the picture; what a person wrote by hand stays.

    Args: before: the reason so far. dropped: its suspects that are to be dropped.
    """
    of_leak = before.startswith(LEAK)
    if before and before != NO_CLASS and not of_leak:
        return before
    no_class = NO_CLASS if before == NO_CLASS or (of_leak and before.endswith(f"; {NO_CLASS}")) else ""
    leak = f"{LEAK}: {dropped[0].against}" if dropped else ""
    return "; ".join(filter(None, (leak, no_class)))


def _class_named(session: Session, image: Image, name: str) -> ConceptClass | None:
    """Return the class of that name; None for "none of these".

    Raises: UserError.
    """
    for one in _classes_of(session, image.dataset_id):
        if one.name == name:
            return one
    if name != NONE_OF_THESE:
        raise UserError(f"expected one of the classes, got {shown(name)}: reload the page, they may have changed")
    return None


def _classes_of(session: Session, dataset_id: int) -> list[ConceptClass]:
    """Return the classes of a set, which nobody changes before the transaction ends."""
    concept = get_concept_set(session, dataset_id=dataset_id, lock=True)
    return from_plain(concept.classes) if concept else []
