"""Edits as the Curate page asks for them: nothing that comes from the page is trusted, and no score stops an edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app import curating
from app.services import Services
from app.settings import Settings
from app.shown import Pictures
from db.curate_queries import get_annotation
from db.engine import reading, transaction
from db.gallery_queries import Similarity, set_similarities
from db.models import Annotation
from tests.curated import all_annotations, curated


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """An app with the embedded models and a curated data set."""
    folder = tmp_path_factory.mktemp("curating")
    services = Services(Settings(home=folder / "home"))
    curated(services.engine, folder / "pictures")
    return services


@pytest.fixture
def row(services: Services) -> Annotation:
    """A region with one description, as it is now."""
    return next(each for each in all_annotations(services.engine, 1) if (each.status, each.x2) == ("pending", 0.5))


def act(services: Services, ask: Mapping[str, Any], checkpoint: str = "") -> curating.Done:
    return curating.act(services, Pictures(), ask, "ana", checkpoint)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"id": "abc"}, "Expected a whole number as the page's id, got 'abc': reload the page"),
        ({"id": 10**30}, "Expected a whole number as the page's id"),
        ({"version": -1}, "Expected a whole number as the page's version"),
        ({"box": [0, 0, 1]}, "Expected a box of four numbers, got"),
        ({"box": "whole"}, "Expected a box of four numbers, got whole"),
        ({"box": None}, "Expected a box of four numbers, got None"),
    ],
)
def test_what_a_page_could_not_mean_is_told_in_a_sentence(
    services: Services, row: Annotation, wrong: dict[str, Any], sentence: str
) -> None:
    ask = {"do": "box", "id": row.id, "version": row.version, "box": [0, 0, 1, 1]} | wrong
    with pytest.raises(curating.CuratingError, match=sentence):
        act(services, ask)


def test_a_new_score_stands_beside_the_same_models_score_before(services: Services, row: Annotation) -> None:
    with transaction(services.engine) as session:
        set_similarities(session, rows=[Similarity(row.id, 0.99, None)])  # of another model
    box = [row.x1, row.y1, row.x2, row.y2]
    done = act(services, {"do": "text", "id": row.id, "version": row.version, "text": "red"}, "sample")
    first = done.said.removeprefix("GRAIN ").split(" → ")[1].removesuffix(" (sample)")
    again = act(
        services, {"do": "box", "id": row.id, "version": row.version + 1, "box": [*box[:3], box[3] / 2]}, "sample"
    )
    assert again.said.startswith(f"GRAIN {first} → ") and "0.99" not in done.said + again.said


def test_an_edit_is_kept_where_its_score_cannot_be_had(services: Services, row: Annotation) -> None:
    ask = {"do": "draw", "image": row.image_id, "box": [0.1, 0.1, 0.3, 0.3], "text": "a knob", "key": "k1"}
    drawn = act(services, ask, "gone")
    assert drawn.said.startswith("Saved. Not scored: There is no checkpoint 'gone'")
    again = act(services, ask, "gone")
    assert again.chosen == drawn.chosen, "the same key draws once"
    ask = {"do": "text", "id": drawn.chosen, "version": 1, "text": "a red knob"}
    assert act(services, ask, "gone").said.startswith("Saved. Not scored")
    with reading(services.engine) as session:
        kept = get_annotation(session, annotation_id=drawn.chosen or 0)
    assert kept is not None and (kept.text, kept.version) == ("a red knob", 2)
