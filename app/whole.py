"""What "look at the whole" asks: a map's points, a selection, look-alikes and which one to keep, its jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.atlases import Selection, atlas_of
from app.curating import CuratingError, dataset_of
from app.looking import sentence
from app.services import Services
from curation import atlas as drawing
from curation import similarity as scoring
from curation.atlas import Atlas, AtlasConfig
from curation.embeddings import EmbeddingError, What
from curation.similarity import SimilarityConfig
from db.curate_queries import set_status
from db.engine import DatabaseError, Session, reading, retrying
from db.models import Image
from db.queries import annotations_of, lookalike_page
from db.whole_queries import PointFacts, picture_facts, pictures_by_id, region_facts
from grain.structures import Array

KINDS = ("map", "similarity")  # of jobs that are shown
MOST_JOBS = 4
MOST_POINTS = 100_000  # drawn; of more some are drawn by chance
MOST_NAMES = 12  # colours; the rarer ones share the last
OTHERS = "others"
NONE = "none"
GROUPS = 20  # of a page
SEED = 0
Colour = Literal["status", "source", "class"]


@dataclass(frozen=True)
class Points:
    """What of a map is drawn. groups: name -> rows, the largest first. whole: how many points it has."""

    what: What
    ids: NDArray[np.int64]
    xy: Array
    groups: dict[str, NDArray[np.int64]]
    whole: int
    model: str
    exact: bool


@dataclass(frozen=True)
class Alikes:
    """Pictures that look alike; regions: of each, how many are not rejected."""

    images: tuple[Image, ...]
    regions: tuple[int, ...]


def points(services: Services, dataset: str, what: What, colour: Colour) -> Points | None:
    """The map as it is to be drawn; None where nobody has made one.

    Raises: CuratingError.
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
    return Points(what, ids, atlas.xy[rows], groups, len(atlas.ids), atlas.model, atlas.exact)


def _name(facts: PointFacts | None, colour: Colour) -> str:
    if facts is None or facts.status == "deleted":
        return ""
    named = {"status": facts.status, "source": facts.source, "class": facts.name}[colour]
    return named or NONE


def select(services: Services, dataset: str, what: What, corners: Sequence[Sequence[float]]) -> tuple[str, int]:
    """What a person drew around points: as the page keeps it, and how many points are within.

    Raises: CuratingError: it is no polygon.
    """
    atlas = _atlas(services, dataset, what)
    try:
        selection = Selection(what, tuple((float(x), float(y)) for x, y in corners))
        written = Selection.read(selection.written()).written()
    except (TypeError, ValueError) as error:
        raise CuratingError(sentence(error)) from error
    if atlas is None:
        return "", 0
    return written, len(atlas.inside(np.array(selection.polygon, np.float32)))


def start(services: Services, kind: str, dataset: str, what: What, checkpoint: str, owner: str) -> int:
    """Queue a job that draws the map or scores all regions; its id.

    Raises: CuratingError: it could not begin.
    """
    if not checkpoint:
        raise CuratingError("This needs a checkpoint: choose one at the top right, under “scores with”.")
    dataset_of(services, dataset)
    config, words = work(kind, dataset, what, checkpoint)
    try:
        services.registry.find(checkpoint)
        return services.jobs.enqueue(kind=kind, owner=owner, config=config, argv=[sys.executable, *words])
    except (ValueError, DatabaseError) as error:
        raise CuratingError(sentence(error)) from error


def work(kind: str, dataset: str, what: What, checkpoint: str) -> tuple[dict[str, Any], list[str]]:
    """What a job of a kind is asked, and its words after the name of Python."""
    if kind == "map":
        drawn = AtlasConfig(dataset, checkpoint, what)
        return _plain(drawn), drawing.command_line(drawn)
    scored = SimilarityConfig(dataset, checkpoint)
    return _plain(scored), scoring.command_line(scored)


def _plain(config: AtlasConfig | SimilarityConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if value is not None}


def alikes(services: Services, dataset: str, after: int = 0) -> tuple[list[Alikes], str]:
    """Groups of pictures that look alike, a page of them, and by what they were found.

    By the map of pictures where there is one, else by equal perceptual hashes. after: groups of the pages before.

    Raises: CuratingError.
    """
    dataset_id = dataset_of(services, dataset)
    atlas = _atlas(services, dataset, "pictures")
    with reading(services.engine) as session:
        if atlas is not None:
            groups = [pictures_by_id(session, ids=ids) for ids in atlas.groups()[after : after + GROUPS]]
        else:
            groups = lookalike_page(session, dataset_id=dataset_id, limit=after + GROUPS)[after:]
        found = [_alikes(session, group) for group in groups if len(group) > 1]
    return found, "embeddings and perceptual hashes" if atlas is not None else "equal perceptual hashes"


def keep_one(services: Services, keep: int, others: Sequence[int], who: str) -> int:
    """Reject the regions of all pictures of a group but one; how many. Each stands in the history and can be undone.

    Raises: EditConflictError: somebody was quicker; nothing is written.
    """

    def reject(session: Session) -> int:
        rows = [row for each in annotations_of(session, image_ids=others).values() for row in each]
        rows = [row for row in rows if row.status != "rejected"]
        for row in rows:
            reason = f"looks like picture {keep}"
            set_status(
                session, annotation_id=row.id, expected_version=row.version, who=who, status="rejected", reason=reason
            )
        return len(rows)

    return retrying(services.engine, reject)


def _alikes(session: Session, images: Sequence[Image]) -> Alikes:
    found = annotations_of(session, image_ids=[image.id for image in images])
    counts = (sum(row.status != "rejected" for row in found[image.id]) for image in images)
    return Alikes(tuple(images), tuple(counts))


def _atlas(services: Services, dataset: str, what: What) -> Atlas | None:
    try:
        return atlas_of(services.settings.home, dataset_of(services, dataset), what)
    except EmbeddingError as error:
        raise CuratingError(sentence(error)) from error
