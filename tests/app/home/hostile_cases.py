"""The templates of the Home page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.core.example_data import ExampleDataSet
from app.core.templates import render
from app.home import panels
from app.home.actions import DatasetRoad, RoadStep
from db.models import Image
from tests.support.hostile import HOSTILE

STEPS = [
    RoadStep(HOSTILE, "bad", HOSTILE, HOSTILE, HOSTILE, HOSTILE, "/home"),
    RoadStep(HOSTILE, "done", HOSTILE, action=HOSTILE, link="/train"),
]


def road() -> str:
    image = Image(id=1, dataset_id=1, sha256="0" * 64, width=1, height=1, location=HOSTILE)
    return panels.road_panel(DatasetRoad(HOSTILE, STEPS, [image]), Path("home"))


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "home/templates/road.html": (road,),
    "home/templates/ways_in.html": (
        lambda: render(
            "home/templates/ways_in.html",
            edits=True,
            first=True,
            examples=[ExampleDataSet(HOSTILE, HOSTILE, HOSTILE, {}, HOSTILE)],
        ),
    ),
}
