"""Answer the Curate page: pages of regions, a picture to work on, counts; pictures are decoded ahead."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from app.core.page_values import MOST_IDS, chosen_dataset
from app.curate.map_cache import MapSelection, chosen_by, outliers_of
from app.services import Services
from curation.files.decode import RefusedError
from db.engine import reading, retrying
from db.models import AnnotationRun, RegionEdit, RegionRow, now
from db.models import Image as Picture
from db.queries.curate_filter import NO_FILTER, CurateFilter, Sort
from db.queries.data_set_queries import dataset_name, existing_dataset, get_dataset, get_image
from db.queries.gallery_queries import curate_page, ids_by_picture, listed_page
from db.queries.history_queries import Throughput, history_page, throughput
from db.queries.region_index_queries import SourceCount, count_by_status, index_regions
from db.queries.region_queries import get_region, regions_of
from db.queries.review_queries import count_tags, tags_of, texts_to_offer
from db.queries.run_queries import get_run, list_runs
from user_errors import UserError

PAGE = 50  # regions of a gallery's page
MOST_PAGES = 20  # of the queue, looked through for pictures that are not known yet
HISTORY = 30
DAYS = 14  # of the decisions by person
INDEX_SECONDS = 0.5  # spent on rows that came in bulk when the page opens
NEWEST, OUTLIERS = "newest", "outliers"  # orders: the first one of all, and that in which regions stand apart
PICTURES = "/curate/pictures/"  # their address begins with this: see app/curate/editor_routes.py
FACTS = ("class", "brand", "release date", "found at", "found on")


@dataclass(frozen=True, kw_only=True)
class CurateQuery:
    """The regions that a person wants to see. sort: an order of the database, or OUTLIERS.

    selection: an outline on the map, as app/curate/map_cache.py writes it; "" for none.
    """

    dataset: str
    filters: CurateFilter = NO_FILTER
    sort: str = NEWEST
    selection: str = ""


@dataclass(frozen=True)
class FilterChoices:
    """The sources and runs of a data set for a choice, with those that the filters name. runs: number -> in words.

    gone: what the filters name and the data set does not have, in words.
    """

    sources: Sequence[str]
    runs: Mapping[int, str]
    gone: Sequence[str] = ()


@dataclass(frozen=True)
class GalleryTile:
    """A region in the gallery, its picture and its tags."""

    region: RegionRow
    image: Picture
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class GalleryPage:
    """A page of the gallery. after: the key of the next one; "" when nothing follows."""

    tiles: tuple[GalleryTile, ...]
    after: str


@dataclass(frozen=True)
class QueueAhead:
    """The next pictures of the queue: the id of each -> the region to open there.

    after: the key behind which the queue goes on. end: nothing follows.
    """

    pictures: Mapping[int, int]
    after: str
    end: bool


@dataclass(frozen=True)
class OpenedPicture:
    """A picture to work on. regions: the descriptions of each box. chosen: the id of the chosen description.

    uri: where browsers find it; "" where it cannot be shown: problem says why. dataset: its name.
    """

    image: Picture
    regions: tuple[tuple[RegionRow, ...], ...]
    chosen: int | None
    edits: tuple[RegionEdit, ...]
    uri: str
    problem: str = ""
    dataset: str = ""


def index_some(services: Services) -> bool:
    """Index regions that came in bulk, for INDEX_SECONDS; return whether there may be more."""
    deadline = time.monotonic() + INDEX_SECONDS
    while time.monotonic() < deadline:
        if not retrying(services.engine, index_regions):
            return False
    return True


def gallery(services: Services, query: CurateQuery, after: str = "", *, limit: int = PAGE) -> GalleryPage:
    """Return a page of regions with their pictures.

    Raises: UserError: there is no such data set, or a filter has no meaning.
    """
    home, order = services.settings.home, _order_of(services, query)
    with reading(services.engine) as session:
        dataset_id = _dataset(session, query.dataset)
        filters = replace(query.filters, chosen=chosen_by(home, dataset_id, query.selection))
        options: dict[str, Any] = {"dataset_id": dataset_id, "filters": filters, "after": after, "limit": limit}
        if order is None:
            page = curate_page(session, sort=cast(Sort, query.sort), **options)
        else:
            page = listed_page(session, ids=order, **options)
        images = {row.image_id: get_image(session, image_id=row.image_id) for row in page.regions}
        tags = tags_of(session, ids=[row.id for row in page.regions])
    there = ((row, images[row.image_id]) for row in page.regions)
    tiles = tuple(GalleryTile(row, image, tuple(tags.get(row.id, ()))) for row, image in there if image is not None)
    return GalleryPage(tiles, page.after)


def _order_of(services: Services, query: CurateQuery) -> Sequence[int] | None:
    """Return regions in an order that the database does not know; None where it knows it."""
    if query.sort == OUTLIERS:
        return outliers_of(services.settings.home, dataset_of(services, query.dataset))
    found = MapSelection.from_text(query.selection) if query.selection and query.sort == NEWEST else None
    if found is None or not found.ids:
        return None
    if found.what == "regions":
        return found.ids  # the most like first
    with reading(services.engine) as session:
        return ids_by_picture(session, image_ids=found.ids)


def next_pictures(
    services: Services, query: CurateQuery, after: str, *, skip: Collection[int] = (), count: int = 1
) -> QueueAhead:
    """Return the next pictures with regions to review, each once, by the first of its regions in the queue.

    Args: skip: ids of pictures that are known to the browser that asks.
    """
    if not query.dataset or "pending" not in query.filters.statuses:  # other verdicts leave nothing to review
        return QueueAhead({}, "", end=True)
    pending = replace(query, filters=replace(query.filters, statuses=("pending",)))
    found: dict[int, int] = {}
    for _ in range(MOST_PAGES):
        page = gallery(services, pending, after)
        for tile in page.tiles:
            if tile.image.id not in skip:
                found.setdefault(tile.image.id, tile.region.id)
        if len(found) > count:  # some of this page are left for the next time
            return QueueAhead(dict(list(found.items())[:count]), after, end=False)
        if not page.after:
            return QueueAhead(found, after, end=True)
        after = page.after
        if len(found) == count:
            break
    return QueueAhead(found, after, end=False)


def dataset_key(services: Services, name: str | None) -> str:
    """Return what tells a data set from others, also from one of that name in another database; "" for none."""
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=name) if name else None
    return f"{dataset.name} {dataset.created_at.isoformat()}" if dataset else ""


def common_texts(services: Services, name: str | None) -> list[str]:
    """Return what the regions of a data set mostly say, and its classes, to complete words from; [] for none."""
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=name) if name else None
        return texts_to_offer(session, dataset_id=dataset.id) if dataset else []


def dataset_of(services: Services, name: str) -> int:
    """Return the id of a data set.

    Raises: UserError: there is none of that name.
    """
    with reading(services.engine) as session:
        return _dataset(session, name)


def counts(services: Services, dataset: str) -> list[SourceCount]:
    """Count regions by source and status.

    Raises: UserError: there is no such data set.
    """
    with reading(services.engine) as session:
        return count_by_status(session, dataset_id=_dataset(session, dataset))


def curators(services: Services, dataset: str) -> list[Throughput]:
    """Return who edited how much, by day.

    Raises: UserError: there is no such data set.
    """
    with reading(services.engine) as session:
        return throughput(session, dataset_id=_dataset(session, dataset), since=now() - timedelta(days=DAYS))


def filter_choices(services: Services, query: CurateQuery) -> FilterChoices:
    """Return what a data set's regions can be filtered by. A link may name what is gone, or is another data set's.

    Raises: UserError: there is no such data set.
    """
    source, run_id, tag = query.filters.source, query.filters.run_id, query.filters.tag
    with reading(services.engine) as session:
        dataset_id = _dataset(session, query.dataset)
        sources = sorted({each.source for each in count_by_status(session, dataset_id=dataset_id)})
        runs = {run.id: _run_in_words(run) for run in list_runs(session, dataset_id=dataset_id)}
        older = get_run(session, run_id=run_id) if run_id is not None and run_id not in runs else None
        if older is not None and older.dataset_id == dataset_id:
            runs[older.id] = _run_in_words(older)
        tags = count_tags(session, dataset_id=dataset_id) if tag else {}
    gone = []
    if source and source not in sources:
        sources.append(source)
        gone.append(f"source “{source}”")
    if tag and tag not in tags:
        gone.append(f"tag “{tag}”")
    if run_id is not None and run_id not in runs:
        runs[run_id] = f"run {run_id}"
        gone.append(runs[run_id])
    return FilterChoices(sources, runs, gone)


def _run_in_words(run: AnnotationRun) -> str:
    return f"{run.id}: {run.created_at:%Y-%m-%d %H:%M}, {' + '.join(_kinds(run))}"


def _kinds(run: AnnotationRun) -> list[str]:
    return [str(dict(run.config.get(part) or {}).get("kind", part)) for part in ("describer", "localizer")]


def open_picture(services: Services, image_id: int, chosen: int | None = None) -> OpenedPicture:
    """Return a picture with all regions that nobody deleted.

    Raises: UserError: there is none of that id.
    """
    with reading(services.engine) as session:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise UserError(f"There is no picture {image_id}: it was removed meanwhile.")
        rows = regions_of(session, image_ids=[image_id])[image_id]
        edits = tuple(history_page(session, image_id=image_id, limit=HISTORY))
        dataset = dataset_name(session, dataset_id=image.dataset_id)
    boxes: dict[int, list[RegionRow]] = {}
    for row in rows:
        boxes.setdefault(row.box_id or row.id, []).append(row)
    regions = tuple(map(tuple, boxes.values()))
    if chosen not in {row.id for row in rows}:
        chosen = rows[0].id if rows else None
    try:
        services.pictures.jpeg(image)
        return OpenedPicture(image, regions, chosen, edits, f"{PICTURES}{image.id}/{image.sha256}", dataset=dataset)
    except RefusedError as error:
        return OpenedPicture(image, regions, chosen, edits, "", str(error), dataset)


def picture_jpeg(services: Services, image_id: int, sha256: str) -> bytes | None:
    """Return a picture as the editor shows it; None where there is none of that id and content."""
    if image_id >= MOST_IDS:
        return None
    with reading(services.engine) as session:
        image = get_image(session, image_id=image_id)
    if image is None or image.sha256 != sha256:
        return None
    try:
        return services.pictures.jpeg(image)
    except RefusedError:
        return None


def image_of(services: Services, region_id: int) -> int:
    """Return the id of the picture that a region is of.

    Raises: UserError: there is no such region.
    """
    with reading(services.engine) as session:
        row = get_region(session, region_id=region_id)
    if row is None:
        raise UserError(f"There is no region {region_id}: it was removed meanwhile.")
    return row.image_id


def _dataset(session: Any, name: str) -> int:
    return existing_dataset(session, name=chosen_dataset(name)).id
