"""What tests put into a database, and how they make one; the fixtures are in tests/support/database_fixtures.py."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import URL, create_engine, func
from sqlmodel import Session, col, select

from db.engine import Engine, open_engine, retrying, transaction
from db.models import RefusedFile, RegionRow
from db.queries.curate_queries import add_region_by_hand, edit_region
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from db.queries.edit_conflicts import EditConflictError
from db.queries.edit_values import RegionChange
from db.queries.lease_queries import lease_images
from db.queries.region_index_queries import Similarity, index_regions, set_similarities
from db.queries.region_queries import NewRegion, add_regions
from db.queries.run_queries import start_run
from db.queries.stage_result_queries import NewStageResult, save_stage_result

COLOURS = ("red", "blue", "RED", "naïve")
THINGS = ("lid", "handle", "lid-holder", "lids")
OWL = "google/owlv2@abc"
BOX, ELSEWHERE = (0.1, 0.2, 0.5, 0.75), (0.3, 0.2, 0.7, 0.75)
REGION = NewRegion(image_id=1, xyxy=BOX, text="a red lid", source=OWL, score=0.5)


def order(server: URL, *statements: str) -> None:
    """Tell a PostgreSQL server what cannot be told inside a transaction."""
    alone = create_engine(server, isolation_level="AUTOCOMMIT")
    with alone.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    alone.dispose()


def text_of(url: URL) -> str:
    """The URL as a person would set it."""
    return url.render_as_string(hide_password=False)


def sha(number: int) -> str:
    """A hash that no content has."""
    return f"{number:064x}"


def some_images(numbers: range) -> list[NewImage]:
    """Pictures named by their numbers."""
    return [NewImage(sha256=sha(n), width=640, height=480, location=f"{n}.jpg") for n in numbers]


def filled(engine: Engine, pictures: int) -> int:
    """The id of a new data set "lids" with so many pictures."""
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name="lids").id
        add_images(session, dataset_id=dataset_id, images=some_images(range(pictures)))
    return dataset_id


def add_one_by_one(url: str, worker: int, pictures: int) -> list[str]:
    """What one of several writing processes does: a commit a picture; the hashes whose commits were acknowledged."""
    engine = open_engine(url)
    kept = []
    for number in range(pictures):
        with transaction(engine) as session:
            [image] = some_images(range(worker * 1000 + number, worker * 1000 + number + 1))
            add_images(session, dataset_id=1, images=[image])
        kept.append(image.sha256)
    engine.dispose()
    return kept


def some_regions(pictures: int, seed: int = 0) -> list[NewRegion]:
    """Regions of the first pictures, a dozen each: mixed words, statuses and scores, equal ones and none among them."""
    chance = random.Random(seed)
    return [
        NewRegion(
            image_id=1 + n // 12,
            xyxy=(chance.random() / 2, chance.random() / 2, 0.6, 0.7),
            text=f"a {chance.choice(COLOURS)} {chance.choice(THINGS)}",
            source=chance.choice(("owl@1", "human:ada")),
            score=chance.choice((None, 0.25, 0.5, round(chance.random(), 2))),
            status=chance.choice(("pending", "accepted", "rejected", "deleted")),
        )
        for n in range(12 * pictures)
    ]


def collide(url: str, who: str, rounds: int) -> list[tuple[int, str]]:
    """What one of two colliding curators does to region 1: (version, text) of every edit that was acknowledged.

    One who is late looks at the present version and wants their own all the same.
    """
    engine = open_engine(url)
    kept, version = [], 1
    for number in range(rounds):
        change = RegionChange(text=f"{who} {number}")
        for _ in range(rounds):
            try:
                work = partial(edit_region, region_id=1, expected_version=version, who=who, change=change)
                row = retrying(engine, work)
            except EditConflictError as conflict:
                version = conflict.version
            else:
                version = row.version
                kept.append((row.version, row.text))
                break
    engine.dispose()
    return kept


def with_region(engine: Engine, pictures: int = 1) -> None:
    """Data set 1, pictures, and region 1 on the first."""
    dataset_id = filled(engine, pictures)
    with transaction(engine) as session:
        add_regions(session, dataset_id=dataset_id, rows=[REGION])
        assert index_regions(session) == 1


def edit(engine: Engine, who: str = "ada", version: int = 1, region_id: int = 1, **change: Any) -> RegionRow:
    """An edit in a transaction of its own."""
    with transaction(engine) as session:
        return edit_region(
            session,
            region_id=region_id,
            expected_version=version,
            who=who,
            change=RegionChange(**change),  # type: ignore[arg-type]
        )


def draw(engine: Engine, **values: Any) -> RegionRow:
    """Ada draws on the first picture, in a transaction of its own."""
    with transaction(engine) as session:
        return add_region_by_hand(session, image_id=1, who="ada", **values)  # type: ignore[arg-type]


def gallery(engine: Engine) -> None:
    """Two data sets that lie between one another, with runs, look-alikes and similarities."""
    first = filled(engine, pictures=0)
    with transaction(engine) as session:
        images = [NewImage(sha(n), 640, 480, f"{n}.jpg", phash="ffff" if n % 3 == 0 else "") for n in range(9)]
        add_images(session, dataset_id=first, images=images)
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=some_images(range(2)))
        run_id = start_run(session, dataset_id=first, config={}, recipes={}).id
        claim = lease_images(
            session, dataset_id=first, recipe=sha(1), worker="w", count=3, lease_seconds=60, run_id=run_id
        )
        regions = some_regions(9)
        for image in claim.images:
            mine = tuple(region for region in regions if region.image_id == image.id)
            result = NewStageResult(
                first, image.id, sha(image.id), sha(1), "localize", "owl@1", "done", run_id=run_id, regions=mine
            )
            save_stage_result(session, result=result, token=claim.token)
        add_regions(session, dataset_id=other, rows=[NewRegion(10, BOX, "a red lid", "owl@1", 0.01)])
        add_regions(session, dataset_id=first, rows=regions)
        while index_regions(session, limit=17):
            pass
        ids = session.exec(select(RegionRow.id)).all()
        set_similarities(session, rows=[Similarity(id_, 0.1 * (id_ % 5), 0.25 * (id_ % 4)) for id_ in ids if id_ % 3])


def refusal_page(
    session: Session, *, dataset_id: int, import_id: str, after: int = 0, limit: int = 50
) -> Sequence[RefusedFile]:
    """Return the files that one import left out."""
    mine = (RefusedFile.dataset_id == dataset_id, RefusedFile.import_id == import_id)
    return session.exec(
        select(RefusedFile).where(*mine, RefusedFile.id > after).order_by(col(RefusedFile.id)).limit(limit)
    ).all()


def count_refusals(session: Session, *, dataset_id: int, import_id: str) -> dict[str, int]:
    """Return how many files one import left out, by reason."""
    mine = (RefusedFile.dataset_id == dataset_id, RefusedFile.import_id == import_id)
    return dict(session.exec(select(RefusedFile.reason, func.count()).where(*mine).group_by(RefusedFile.reason)).all())
