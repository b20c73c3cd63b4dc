"""Query the labels that people give to images of novel concepts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlmodel import Session, col, select

from db.models import ConceptLabel, Image, now
from db.queries.bulk import insert_into
from db.queries.values import storable
from user_errors import UserError

NONE_OF_THESE = "none of these"  # the label of a picture that shows none of the classes


@dataclass(frozen=True, slots=True)
class UndoneLabel:
    """A label that was taken back.

    label: the one that stands again, "" for none. gone: the one that would, were it still a class.
    """

    image_id: int
    label: str = ""
    gone: str = ""


def set_label(session: Session, *, image_id: int, who: str, label: str) -> None:
    """Keep what a person takes a picture for; over what the same person said before, which one undo brings back.

    Raises: UserError: no such picture, or an empty name or label.
    """
    image = session.get(Image, image_id)
    if image is None:
        raise UserError(f"expected the id of a picture, got {image_id}: it was removed meanwhile")
    if not who.strip() or not label.strip():
        raise UserError(f"expected a person and a label, got {who!r} and {label!r}: give both")
    values = {"label": storable(label), "at": now()}
    row = insert_into(session, ConceptLabel)
    row = row.values(dataset_id=image.dataset_id, image_id=image_id, who=storable(who), before="", **values)
    over = values | {"before": col(ConceptLabel.label), "before_at": col(ConceptLabel.at)}
    session.connection().execute(row.on_conflict_do_update(index_elements=["image_id", "who"], set_=over))


def labels_by_picture(session: Session, *, dataset_id: int) -> dict[int, dict[str, str]]:
    """Return image -> person -> label, of images that have one."""
    asked = select(ConceptLabel.image_id, ConceptLabel.who, ConceptLabel.label)
    asked = asked.where(ConceptLabel.dataset_id == dataset_id)
    found: dict[int, dict[str, str]] = {}
    for image_id, who, label in session.exec(asked.order_by(col(ConceptLabel.image_id), col(ConceptLabel.who))):
        found.setdefault(image_id, {})[who] = label
    return found


def undo_label(
    session: Session, *, dataset_id: int, who: str, among: Collection[str] | None = None
) -> UndoneLabel | None:
    """Take a person's latest label back: what that person said of the picture before stands again, once.

    Args:    among: the labels that there are by now: another one does not come back. None: all.
    Returns: None where there is nothing to take back.
    """
    mine = (ConceptLabel.dataset_id == dataset_id, ConceptLabel.who == who)
    latest = select(ConceptLabel).where(*mine).order_by(col(ConceptLabel.at).desc(), col(ConceptLabel.id).desc())
    row = session.exec(latest.limit(1)).first()
    if row is None:
        return None
    gone = row.before if among is not None and row.before not in among else ""
    undone = UndoneLabel(row.image_id, label="" if gone else row.before, gone=gone)
    if undone.label:
        row.label, row.before, row.at, row.before_at = row.before, "", row.before_at or row.at, None
        session.add(row)
    else:
        session.delete(row)
    session.flush()
    return undone
