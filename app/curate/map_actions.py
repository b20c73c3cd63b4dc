"""Answer the map section of the Curate page: points, a selection, groups of similar pictures, jobs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.curate.actions import dataset_of
from app.curate.map_cache import MapSelection, atlas_of, example_search
from app.jobs.control import NewJob
from app.services import Services
from curation.explore.alike import ExampleSearch
from curation.explore.atlas import Atlas, AtlasConfig
from curation.explore.atlas import command_line as map_command
from curation.explore.embedding_store import What
from curation.explore.embeddings import EmbeddingModel
from curation.explore.similarity import SimilarityConfig
from curation.explore.similarity import command_line as scores_command
from curation.review.acts import ActCount, ActRequest, count_act, do_act
from curation.review.near_duplicates import copies_of
from db.engine import Session, reading
from db.models import Image, RegionRow, ReviewAct
from db.queries.curate_filter import ChosenRegions, CurateFilter
from db.queries.data_set_queries import get_image, lookalike_page, pictures_by_id
from db.queries.embedding_map_queries import PointFacts, picture_facts, region_facts
from db.queries.region_queries import get_region, regions_of
from db.queries.review_queries import RegionSelection
from grain.structures import Array
from user_errors import UserError

KINDS = ("map", "similarity")  # of jobs that the section shows
MOST_JOBS = 4
MOST_POINTS = 100_000  # that are drawn, chosen by chance
MOST_NAMES = 12  # colours; the rarer ones share the last
OTHERS = "others"
NONE = "none"
GROUPS = 20  # of similar pictures that are shown
SEED = 0
Colour = Literal["status", "source", "class"]


@dataclass(frozen=True)
class MapPoints:
    """The points of a map that are drawn. groups: name -> rows, the largest first. total: points of the map."""

    what: What
    ids: NDArray[np.int64]
    xy: Array
    groups: dict[str, NDArray[np.int64]]
    total: int
    model: str
    exact: bool


@dataclass(frozen=True)
class SimilarPictures:
    """A group of similar pictures. regions: how many of each are not rejected. copies: how many copies each has."""

    images: tuple[Image, ...]
    regions: tuple[int, ...]
    copies: tuple[int, ...]


def points(services: Services, dataset: str, what: What, *, colour: Colour) -> MapPoints | None:
    """Return the points to draw; None where there is no map.

    Raises: UserError: there is no such data set, or its map cannot be read.
    """
    atlas = _atlas(services, dataset, what)
    if atlas is None:
        return None
    rows = np.arange(len(atlas.ids))
    if len(rows) > MOST_POINTS:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, MOST_POINTS, replace=False))
    ids = atlas.ids[rows]
    with reading(services.engine) as session:
        facts = (region_facts if what == "regions" else picture_facts)(session, ids=ids.tolist())
    names = np.array([_name(facts.get(number), colour) for number in ids.tolist()])
    there = names != ""  # what was deleted since is not drawn
    found, counts = np.unique(names[there], return_counts=True)
    common = found[np.argsort(-counts, kind="stable")][:MOST_NAMES].tolist()
    groups = {name: np.flatnonzero(names == name) for name in common}
    rest = np.flatnonzero(there & ~np.isin(names, common))
    groups |= {OTHERS: rest} if len(rest) else {}
    return MapPoints(what, ids, atlas.xy[rows], groups, len(atlas.ids), atlas.model, atlas.exact)


def _name(facts: PointFacts | None, colour: Colour) -> str:
    if facts is None or facts.status == "deleted":
        return ""
    named = {"status": facts.status, "source": facts.source, "class": facts.name}[colour]
    return named or NONE


def select(services: Services, dataset: str, what: What, *, corners: Sequence[Sequence[float]]) -> tuple[str, int]:
    """Return a selection drawn around points as the page keeps it, and the number of points within.

    Raises: UserError: it is no polygon.
    """
    atlas = _atlas(services, dataset, what)
    selection = MapSelection.of(what, corners)
    if atlas is None:
        return "", 0
    return selection.to_text(), len(atlas.inside(np.array(selection.polygon, np.float32)))


def alike(services: Services, dataset: str, what: What, *, number: int) -> tuple[str, int]:
    """Return the selection of what is most like an example, as the page keeps it, and how many that are.

    Raises: UserError: there is no map, or the example is not on it.
    """
    ids = _search(services, dataset, _drawn(services, dataset, what)).most_alike(number)
    return MapSelection(what, ids=tuple(ids)).to_text(), len(ids)


def like_words(services: Services, dataset: str, what: What, *, words: str) -> tuple[str, int]:
    """Return the selection of what is most like words, whether anybody described it so or not, and how many that are.

    Raises: UserError: there is no map, or its checkpoint is gone or has changed since.
    """
    atlas = _drawn(services, dataset, what)
    name = atlas.model.rpartition("@")[0]
    folder = services.registry.find(name).folder
    if EmbeddingModel.of(str(folder.resolve()), services.settings.home).id != atlas.model:
        raise UserError(f"The checkpoint {name} has changed since this map was drawn: draw it again.")
    with services.model_turn:
        [embed] = services.registry.load(name).embed_texts([words])
    ids = _search(services, dataset, atlas).most_like(embed)
    return MapSelection(what, ids=tuple(ids)).to_text(), len(ids)


def _drawn(services: Services, dataset: str, what: What) -> Atlas:
    """Return the map, which a search needs."""
    atlas = _atlas(services, dataset, what)
    if atlas is None:
        raise UserError(f"Similar {what} come from their map: draw it first.")
    return atlas


def _search(services: Services, dataset: str, atlas: Atlas) -> ExampleSearch:
    home, dataset_id = services.settings.home, dataset_of(services, dataset)
    return example_search(services.engine, home, dataset_id=dataset_id, atlas=atlas)


def point_shown(services: Services, what: What, number: int) -> tuple[Image, RegionRow | None] | None:
    """Return the picture of a point, and its region where points are regions; None where either is gone."""
    with reading(services.engine) as session:
        region = get_region(session, region_id=number) if what == "regions" else None
        if what == "regions" and region is None:
            return None
        image = get_image(session, image_id=region.image_id if region else number)
        return (image, region) if image else None


def new_job(kind: str, dataset: str, what: What, *, checkpoint: str, owner: str) -> NewJob:
    """Return the job that draws the map (kind: map), or scores all regions (similarity)."""
    if kind == "map":
        drawing = AtlasConfig(dataset, checkpoint, what)
        return NewJob(kind=kind, owner=owner, config=drawing, argv=map_command(drawing))
    scoring = SimilarityConfig(dataset, checkpoint)
    return NewJob(kind=kind, owner=owner, config=scoring, argv=scores_command(scoring))


def start(services: Services, job: NewJob) -> int:
    """Queue a job of the map and return its id.

    Raises: UserError: there is no such data set or checkpoint.
    """
    if not job.config.checkpoint:
        raise UserError("This needs a checkpoint: choose one at the top right, under “scores with”.")
    dataset_of(services, job.config.dataset)
    services.registry.find(job.config.checkpoint)
    return services.jobs.submit(job)


def similar_groups(services: Services, dataset: str) -> tuple[list[SimilarPictures], str]:
    """Return the first groups of similar pictures, and what they were found by.

    They come from the map of pictures where there is one, else from equal perceptual hashes.

    Raises: UserError: there is no such data set, or its map cannot be read.
    """
    dataset_id = dataset_of(services, dataset)
    atlas = _atlas(services, dataset, "pictures")
    with reading(services.engine) as session:
        if atlas is not None:
            groups = [pictures_by_id(session, ids=ids) for ids in atlas.groups()[:GROUPS]]
        else:
            groups = lookalike_page(session, dataset_id=dataset_id, limit=GROUPS)
        found = [_similar(session, group) for group in groups if len(group) > 1]
    return found, "embeddings and perceptual hashes" if atlas is not None else "equal perceptual hashes"


def keep_one(
    services: Services, dataset: str, keep: int, *, who: str, seen: str | None = None
) -> tuple[ActCount, ReviewAct | None]:
    """Reject the regions of all copies of a picture, as one act with one undo; without `seen` only count them.

    Pictures that only look alike keep theirs: curation/review/near_duplicates.py says what a copy is.

    Args:   seen: `ActCount.seen` as the person saw it.
    Raises: UserError: there is no such picture, or its copies have other regions by now.
    """
    dataset_id = dataset_of(services, dataset)
    with reading(services.engine) as session:
        picture = get_image(session, image_id=keep)
        if picture is None or picture.dataset_id != dataset_id:
            raise UserError(f"There is no picture {keep} in this data set: it was removed meanwhile.")
    group = next((each for each in similar_groups(services, dataset)[0] if keep in [im.id for im in each.images]), None)
    copies = tuple(image.id for image in copies_of(picture, group.images if group else ()))
    chosen = CurateFilter(chosen=ChosenRegions(copies, of="pictures"))
    selection, act = RegionSelection(dataset_id, chosen), ActRequest("keep one", reason=f"copy of picture {keep}")
    count = count_act(services.engine, selection, act)
    if seen is None or not count.regions:
        return count, None
    return count, do_act(services.engine, selection, act, who=who, action=secrets.token_hex(8), seen=seen)


def _similar(session: Session, images: Sequence[Image]) -> SimilarPictures:
    found = regions_of(session, image_ids=[image.id for image in images])
    counted = {image.id: sum(row.status != "rejected" for row in found[image.id]) for image in images}
    copies = (sum(bool(counted[other.id]) for other in copies_of(image, images)) for image in images)
    return SimilarPictures(tuple(images), tuple(counted.values()), tuple(copies))


def _atlas(services: Services, dataset: str, what: What) -> Atlas | None:
    return atlas_of(services.settings.home, dataset_of(services, dataset), what)
