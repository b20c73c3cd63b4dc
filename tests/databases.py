"""What tests put into a database, and how they make one; the fixtures are in tests/database_fixtures.py."""

from __future__ import annotations

import random
from functools import partial

from sqlalchemy import URL, create_engine
from sqlmodel import select

from db.curate_queries import AnnotationChange, EditConflictError, add_annotation_by_hand, edit_annotation
from db.engine import Engine, open_engine, retrying, transaction
from db.gallery_queries import Similarity, index_annotations, set_similarities
from db.models import Annotation
from db.queries import NewAnnotation, NewImage, add_annotations, add_images, create_dataset
from db.run_queries import NewStageResult, claim_images, save_stage_result, start_run

COLOURS = ("red", "blue", "RED", "naïve")
THINGS = ("lid", "handle", "lid-holder", "lids")
OWL = "google/owlv2@abc"
BOX, ELSEWHERE = (0.1, 0.2, 0.5, 0.75), (0.3, 0.2, 0.7, 0.75)
REGION = NewAnnotation(image_id=1, xyxy=BOX, text="a red lid", source=OWL, score=0.5)


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


def some_regions(pictures: int, seed: int = 0) -> list[NewAnnotation]:
    """Regions of the first pictures, a dozen each: mixed words, statuses and scores, equal ones and none among them."""
    chance = random.Random(seed)
    return [
        NewAnnotation(
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
        change = AnnotationChange(text=f"{who} {number}")
        for _ in range(rounds):
            try:
                work = partial(edit_annotation, annotation_id=1, expected_version=version, who=who, change=change)
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
        add_annotations(session, dataset_id=dataset_id, rows=[REGION])
        assert index_annotations(session) == 1


def edit(engine: Engine, who: str = "ada", version: int = 1, annotation_id: int = 1, **change: object) -> Annotation:
    """An edit in a transaction of its own."""
    with transaction(engine) as session:
        return edit_annotation(
            session,
            annotation_id=annotation_id,
            expected_version=version,
            who=who,
            change=AnnotationChange(**change),  # type: ignore[arg-type]
        )


def draw(engine: Engine, **values: object) -> Annotation:
    """Ada draws on the first picture, in a transaction of its own."""
    with transaction(engine) as session:
        return add_annotation_by_hand(session, image_id=1, who="ada", **values)  # type: ignore[arg-type]


def gallery(engine: Engine) -> None:
    """Two data sets that lie between one another, with runs, look-alikes and similarities."""
    first = filled(engine, pictures=0)
    with transaction(engine) as session:
        images = [NewImage(sha(n), 640, 480, f"{n}.jpg", phash="ffff" if n % 3 == 0 else "") for n in range(9)]
        add_images(session, dataset_id=first, images=images)
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=some_images(range(2)))
        run_id = start_run(session, dataset_id=first, config={}, recipes={}).id
        claim = claim_images(
            session, dataset_id=first, recipe=sha(1), worker="w", count=3, lease_seconds=60, run_id=run_id
        )
        regions = some_regions(9)
        for image in claim.images:
            mine = tuple(region for region in regions if region.image_id == image.id)
            result = NewStageResult(
                first, image.id, sha(image.id), sha(1), "localize", "owl@1", "done", run_id=run_id, regions=mine
            )
            save_stage_result(session, result=result, token=claim.token)
        add_annotations(session, dataset_id=other, rows=[NewAnnotation(10, BOX, "a red lid", "owl@1", 0.01)])
        add_annotations(session, dataset_id=first, rows=regions)
        while index_annotations(session, limit=17):
            pass
        ids = session.exec(select(Annotation.id)).all()
        set_similarities(session, rows=[Similarity(id_, 0.1 * (id_ % 5), 0.25 * (id_ % 4)) for id_ in ids if id_ % 3])
