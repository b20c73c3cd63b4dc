"""Select many regions by a filter, and keep acts on them, their tags, and filters under names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category, normalize

from sqlalchemy import delete, func, text, update
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import ConceptSet, Image, RegionRow, RegionTag, ReviewAct, SavedFilter, Status
from db.queries.bulk import IN_LIST, batches, insert_into
from db.queries.curate_filter import ChosenRegions, CurateFilter
from db.queries.filter_clauses import RegionQuery, chosen_clause, status_clause, where_clauses
from db.queries.values import storable
from user_errors import UserError

NAME = re.compile(r"\w[\w .:#&+-]*")
MOST_TAG, MOST_ADDRESS = 60, 2_000  # characters
LATEST = 20  # acts that are listed
NEWEST, MOST_OFFERED, LONGEST_OFFERED = 2_000, 400, 120  # regions of a status, texts, characters of one
TAG_IS_THERE = text("region_tag.removed_by = ''")  # as the partial index says it


@dataclass(frozen=True)
class SelectedRegion:
    """A region of a selection as it is now."""

    id: int
    image_id: int
    version: int
    status: Status
    text: str


@dataclass(frozen=True)
class RegionSelection:
    """Regions named one by one, or all that a filter shows.

    ids: None for all of the filter. also: further lists that a region must be in, as of an order that has only some.
    scored: only those that have a disagreement, as in its order.
    """

    dataset_id: int
    filters: CurateFilter
    ids: tuple[int, ...] | None = None
    also: tuple[ChosenRegions, ...] = ()
    scored: bool = False


def selected_regions(session: Session, selection: RegionSelection, *, limit: int) -> list[SelectedRegion]:
    """Return the regions of a selection by id, at most `limit`."""
    columns = [col(getattr(RegionRow, name)) for name in ("id", "image_id", "version", "status", "text")]
    asked = select_rows(*columns).order_by(col(RegionRow.id)).limit(limit)
    if selection.ids is not None:
        listed = chosen_clause(session, ChosenRegions(selection.ids))
        asked = asked.where(listed, col(RegionRow.dataset_id) == selection.dataset_id)
    else:
        selection.filters.check()
        chosen = (*selection.also, *([selection.filters.chosen] if selection.filters.chosen else []))
        query = RegionQuery(session, selection.dataset_id, selection.filters, "newest")
        asked = asked.where(*where_clauses(query), status_clause(selection.filters))
        for each in chosen:
            asked = asked.where(chosen_clause(session, each))
        if selection.scored:
            asked = asked.where(col(RegionRow.disagreement).is_not(None))
    return [SelectedRegion(*row) for row in session.connection().execute(asked)]


def fingerprint(rows: Sequence[SelectedRegion]) -> str:
    """Return what tells these regions, as they are now, from all others."""
    seen = " ".join(f"{row.id}:{row.version}" for row in rows)
    return hashlib.blake2b(seen.encode(), digest_size=12).hexdigest()


# ---------------------------------------------------------------- acts


def get_act(session: Session, *, action: str) -> ReviewAct | None:
    """Return an act by its action; None where there is none."""
    return session.exec(select(ReviewAct).where(ReviewAct.action == action)).first()


def lock_act(session: Session, *, action: str) -> ReviewAct:
    """Lock and return an act.

    Raises: UserError: there is none.
    """
    asked = select(ReviewAct).where(ReviewAct.action == action).with_for_update()
    act = session.exec(asked.execution_options(populate_existing=True)).first()
    if act is None:
        raise UserError("expected an act of this data set, got another: reload the page")
    return act


def latest_acts(session: Session, *, dataset_id: int, limit: int = LATEST) -> Sequence[ReviewAct]:
    """Return the latest acts of a data set, newest first."""
    asked = select(ReviewAct).where(ReviewAct.dataset_id == dataset_id)
    return session.exec(asked.order_by(col(ReviewAct.id).desc()).limit(limit)).all()


# ---------------------------------------------------------------- words


def texts_to_offer(session: Session, *, dataset_id: int, limit: int = MOST_OFFERED) -> list[str]:
    """Return the commonest texts among the newest regions of a data set, then the classes of its pictures and labels.

    Rejected ones do not count: nobody wants their words again.
    """
    counts: Counter[str] = Counter()
    for status in ("accepted", "pending"):
        asked = select(RegionRow.text).where(RegionRow.dataset_id == dataset_id, RegionRow.status == status)
        counts.update(session.exec(asked.order_by(col(RegionRow.id).desc()).limit(NEWEST)).all())
    texts = [text for text, _ in counts.most_common(limit)]
    pictures = select(Image.facts).where(Image.dataset_id == dataset_id).order_by(col(Image.id).desc()).limit(NEWEST)
    classes = [facts.get("class", "") for facts in session.exec(pictures).all() if facts]
    known = session.get(ConceptSet, dataset_id)
    classes += [str(each.get("name", "")) for each in (known.classes if known else [])]
    return [text for text in dict.fromkeys([*texts, *classes]) if text and len(text) <= LONGEST_OFFERED]


# ---------------------------------------------------------------- tags


def check_tag(tag: str) -> str:
    """Return a tag or another short name, tidied; an accent or vowel sign goes with its letter, joined to it or apart.

    Raises: UserError: it is empty, too long, or has other signs than a name.
    """
    tidy = normalize("NFC", " ".join(storable(tag).split()))
    if not NAME.fullmatch("".join(sign for sign in tidy if not category(sign).startswith("M"))):
        raise UserError(f"expected a name of letters, digits, spaces and .:#&+-, got {tidy[:60]!r}: write one")
    if len(tidy) > MOST_TAG:
        raise UserError(f"expected a tag of at most {MOST_TAG} characters, got {len(tidy)}: shorten it")
    return tidy


def add_tag(session: Session, *, dataset_id: int, ids: Collection[int], tag: str, action: str) -> set[int]:
    """Tag regions; return those that did not have the tag."""
    there = set(tagged_regions(session, ids=ids, tag=tag))
    new = sorted(set(ids) - there)
    for some in batches(new, IN_LIST):
        rows = [{"region_id": number, "tag": tag, "dataset_id": dataset_id, "added_by": action} for number in some]
        again = insert_into(session, RegionTag).on_conflict_do_update(
            index_elements=["region_id", "tag"], set_={"added_by": action, "removed_by": "", "returned_by": ""}
        )
        session.connection().execute(again, rows)
    return set(new)


def remove_tag(session: Session, *, ids: Collection[int], tag: str, action: str) -> set[int]:
    """Take a tag off regions; return those that had it."""
    there = tagged_regions(session, ids=ids, tag=tag)
    for some in batches(there, IN_LIST):
        mine = (col(RegionTag.region_id).in_(some), col(RegionTag.tag) == tag)
        session.connection().execute(update(RegionTag).where(*mine).values(removed_by=action))
    return set(there)


def undo_tags(session: Session, *, undone: str, action: str) -> int:
    """Take back what an action did to tags; return how many changed."""
    off = update(RegionTag).where(col(RegionTag.added_by) == undone, TAG_IS_THERE).values(removed_by=action)
    back = update(RegionTag).where(col(RegionTag.removed_by) == undone, text("region_tag.removed_by <> ''"))
    return _run_all(session, off, back.values(removed_by="", returned_by=action))


def redo_tags(session: Session, *, undo: str, action: str) -> int:
    """Do again to tags what an undo took back of an action; return how many changed."""
    on = update(RegionTag).where(col(RegionTag.removed_by) == undo, text("region_tag.removed_by <> ''"))
    off = update(RegionTag).where(col(RegionTag.returned_by) == undo, text("region_tag.returned_by <> ''"))
    return _run_all(session, on.values(removed_by=""), off.values(removed_by=action, returned_by=""))


def _run_all(session: Session, *statements: Any) -> int:
    return sum(int(session.connection().execute(each).rowcount) for each in statements)


def tagged_regions(session: Session, *, ids: Collection[int], tag: str) -> list[int]:
    """Return those regions that have the tag."""
    found: list[int] = []
    for some in batches(sorted(ids), IN_LIST):
        mine = (col(RegionTag.region_id).in_(some), col(RegionTag.tag) == tag, TAG_IS_THERE)
        found += session.exec(select(RegionTag.region_id).where(*mine)).all()
    return found


def count_tags(session: Session, *, dataset_id: int) -> dict[str, int]:
    """Return the tags of a data set with the number of their regions, by name; the trash does not count."""
    asked = select_rows(col(RegionTag.tag), func.count()).join(RegionRow, col(RegionRow.id) == RegionTag.region_id)
    asked = asked.where(col(RegionTag.dataset_id) == dataset_id, TAG_IS_THERE, col(RegionRow.status) != "deleted")
    rows = session.connection().execute(asked.group_by(col(RegionTag.tag)).order_by(col(RegionTag.tag)))
    return {str(tag): int(count) for tag, count in rows}


def images_with_tag(session: Session, *, dataset_id: int, tag: str) -> set[int]:
    """Return the images that have a region with a tag."""
    asked = select(RegionRow.image_id).join(RegionTag, col(RegionTag.region_id) == RegionRow.id)
    mine = (RegionTag.dataset_id == dataset_id, RegionTag.tag == tag, TAG_IS_THERE)
    return set(session.exec(asked.where(*mine).where(RegionRow.status != "deleted")).all())


def tags_of(session: Session, *, ids: Collection[int]) -> dict[int, list[str]]:
    """Return the tags of regions, by region; those without one are left out."""
    found: dict[int, list[str]] = {}
    for some in batches(sorted(ids), IN_LIST):
        asked = select(RegionTag).where(col(RegionTag.region_id).in_(some), TAG_IS_THERE).order_by(RegionTag.tag)
        for row in session.exec(asked):
            found.setdefault(row.region_id, []).append(row.tag)
    return found


# ---------------------------------------------------------------- saved filters


def save_filter(session: Session, *, dataset_id: int, name: str, address: str, who: str) -> None:
    """Keep filters under a name; those of that name before are replaced.

    Raises: UserError: the name is empty, too long, or more than a line, or the filters are too long.
    """
    tidy = check_tag(name)
    if len(address) > MOST_ADDRESS:
        raise UserError(f"expected filters of at most {MOST_ADDRESS} characters, got {len(address)}: shorten the words")
    known = session.exec(_filter(dataset_id, tidy)).first()
    row = known or SavedFilter(dataset_id=dataset_id, name=tidy, address="", who=who)
    row.address, row.who = storable(address), who
    session.add(row)


def drop_filter(session: Session, *, dataset_id: int, name: str) -> None:
    """Forget filters that were kept under a name."""
    mine: Any = (col(SavedFilter.dataset_id) == dataset_id, col(SavedFilter.name) == name)
    session.connection().execute(delete(SavedFilter).where(*mine))


def saved_filters(session: Session, *, dataset_id: int) -> Sequence[SavedFilter]:
    """Return the filters that are kept for a data set, by name."""
    return session.exec(
        select(SavedFilter).where(SavedFilter.dataset_id == dataset_id).order_by(SavedFilter.name)
    ).all()


def _filter(dataset_id: int, name: str) -> Any:
    return select(SavedFilter).where(SavedFilter.dataset_id == dataset_id, SavedFilter.name == name)
