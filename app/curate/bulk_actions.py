"""Answer acts on many regions of the Curate page: what a selection is, counts, acts, undo, trash, saved filters."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.core.page_values import whole_number
from app.curate.actions import OUTLIERS, CurateQuery, dataset_of
from app.curate.editor import action_of
from app.curate.map_cache import chosen_by, outliers_of
from app.services import Services
from curation.review.acts import (
    MOST_AT_ONCE,
    ActCount,
    ActRequest,
    count_act,
    count_trash,
    do_act,
    empty_trash,
    redo_act,
    undo_act,
)
from db.engine import reading, retrying
from db.models import ReviewAct, SavedFilter
from db.queries.bulk_edit_queries import ManyEdited
from db.queries.curate_filter import ChosenRegions
from db.queries.review_queries import (
    RegionSelection,
    count_tags,
    drop_filter,
    latest_acts,
    save_filter,
    saved_filters,
)
from db.queries.wide_act_queries import count_action
from user_errors import UserError


@dataclass(frozen=True)
class ReviewLibrary:
    """Things that a data set keeps beside its regions. trash: deleted ones and their pictures. who: who looks."""

    dataset: str
    filters: Sequence[SavedFilter]
    tags: Mapping[str, int]
    trash: tuple[int, int]
    acts: Sequence[ReviewAct]
    who: str


def selection_of(services: Services, query: CurateQuery, ids: Any) -> RegionSelection:
    """Return the regions that a page's script names, or with None all that the gallery shows.

    Raises: UserError: they are no ids or too many, there is no such data set, or the map of the query is gone.
    """
    dataset_id, home = dataset_of(services, query.dataset), services.settings.home
    if ids is not None:
        if not isinstance(ids, list) or len(ids) > MOST_AT_ONCE:
            raise UserError(f"expected at most {MOST_AT_ONCE:,} regions of the page, got others: select fewer")
        return RegionSelection(dataset_id, query.filters, ids=tuple(whole_number("region", each) for each in ids))
    filters = replace(query.filters, chosen=chosen_by(home, dataset_id, query.selection))
    also = (ChosenRegions(tuple(outliers_of(home, dataset_id))),) if query.sort == OUTLIERS else ()
    return RegionSelection(dataset_id, filters, also=also, scored=query.sort == "disagreement")


def act_request(ask: Mapping[str, Any]) -> ActRequest:
    """Return the act that a page's script asks for.

    Raises: UserError: there is no such act, or its text has no meaning.
    """
    kind: Any = str(ask.get("kind", ""))
    return ActRequest(kind, str(ask.get("text") or ""))


def count(services: Services, query: CurateQuery, ask: Mapping[str, Any]) -> tuple[ActRequest, ActCount]:
    """Count what an act would change.

    Raises: UserError: as of `selection_of`, `wanted_act` and `count_act`.
    """
    act = act_request(ask)
    return act, count_act(services.engine, selection_of(services, query, ask.get("ids")), act)


def act(services: Services, query: CurateQuery, ask: Mapping[str, Any], *, who: str) -> ReviewAct:
    """Do an act on many regions, as they were counted.

    Raises: UserError: as of `count`, or the regions are others by now.
    """
    name = action_of(who, ask.get("act"))
    if not name:
        raise UserError("Expected a name for what was done: reload the page.")
    selection = selection_of(services, query, ask.get("ids"))
    return do_act(services.engine, selection, act_request(ask), who=who, action=name, seen=str(ask.get("seen")))


def take_back(services: Services, ask: Mapping[str, Any], *, who: str) -> ManyEdited:
    """Undo or redo an act on many regions.

    Raises: UserError: there is no such act of this person, or it is too large for a page.
    """
    with reading(services.engine) as session:
        regions, _ = count_action(session, action=str(ask.get("action")))  # also of an act that was stopped
    if regions > MOST_AT_ONCE:
        raise UserError(f"That act has {regions:,} regions: undo it on the Data page, as a job.")
    done = redo_act if ask.get("do") == "redo" else undo_act
    return done(services.engine, undone=str(ask.get("action")), who=who, action=secrets.token_hex(8))


def library(services: Services, dataset: str, *, who: str) -> ReviewLibrary:
    """Return the saved filters, tags, trash and latest acts of a data set.

    Raises: UserError: there is no such data set.
    """
    dataset_id = dataset_of(services, dataset)
    with reading(services.engine) as session:
        filters = saved_filters(session, dataset_id=dataset_id)
        tags = count_tags(session, dataset_id=dataset_id)
        acts = latest_acts(session, dataset_id=dataset_id)
    return ReviewLibrary(dataset, filters, tags, count_trash(services.engine, dataset_id), acts, who)


def tags(services: Services, dataset: str) -> list[str]:
    """Return the tags of a data set, by name.

    Raises: UserError: there is no such data set.
    """
    with reading(services.engine) as session:
        return [*count_tags(session, dataset_id=dataset_of(services, dataset))]


def keep_filter(services: Services, dataset: str, ask: Mapping[str, Any], *, who: str) -> None:
    """Save the filters of an address, ask["address"], under a name, or drop those of a name.

    Raises: UserError: the name or the address has no meaning, or there is no such data set.
    """
    dataset_id, name, address = dataset_of(services, dataset), str(ask.get("name", "")), str(ask.get("address", ""))
    if ask.get("do") == "drop":
        retrying(services.engine, lambda session: drop_filter(session, dataset_id=dataset_id, name=name))
        return
    named = {"name": name, "address": address, "who": who}
    retrying(services.engine, lambda session: save_filter(session, dataset_id=dataset_id, **named))


def remove_for_good(services: Services, dataset: str, regions: Any, *, who: str) -> int:
    """Empty the trash of a data set, if it has as many regions as the person saw; return how many.

    Raises: UserError: it has others, or there is no such data set.
    """
    dataset_id = dataset_of(services, dataset)
    there, _ = count_trash(services.engine, dataset_id)
    if there != whole_number("count", regions):
        raise UserError(f"The trash has {there:,} regions by now: look again before you empty it.")
    return empty_trash(services.engine, dataset_id, who=who, action=secrets.token_hex(8))
