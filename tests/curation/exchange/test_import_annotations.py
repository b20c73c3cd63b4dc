"""Imports of annotations bring each description once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.formats import Format
from curation.exchange.import_annotations import ImportAnnotationsConfig, import_file, main
from curation.review.wide_acts import import_work, undo_work
from db.engine import Engine
from job_progress import PROGRESS
from tests.support.curated import all_regions, curated

SIDES = {"width": 40, "height": 30}


def coco(path: Path, *boxes: tuple[list[float], str]) -> Path:
    """A COCO file of the first picture, as another program writes it: boxes in pixels and their categories."""
    names = list(dict.fromkeys(name for _, name in boxes))
    content = {
        "images": [{"id": 1, "file_name": "деталь 0.jpg", **SIDES}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": names.index(name), "bbox": box}
            for number, (box, name) in enumerate(boxes)
        ],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def bare(engine: Engine, tmp_path: Path) -> Engine:
    curated(engine, tmp_path / "pictures", described=False)
    return engine


def test_a_file_that_was_renamed_brings_nothing_twice(bare: Engine, tmp_path: Path) -> None:
    boxes = ([1.5, 2.25, 20, 10], "a lid"), ([1.5, 2.25, 20, 10], "a rim"), ([9.0, 9, 3, 3], "a lid")
    for name, added, known in (("boxes.json", 3, 0), ("boxes (1).json", 0, 3)):
        file = coco(tmp_path / name, *boxes)
        brought = import_file(bare, dataset="lids", path=file, format="coco", who="cy")
        assert (brought.added, brought.known) == (added, known)
    again = coco(tmp_path / "more.json", *boxes, ([1.5, 2.25, 20, 10], "a knob"))
    brought = import_file(bare, dataset="lids", path=again, format="coco", who="cy", accept=True)
    assert (brought.added, brought.known, brought.accepted) == (1, 3, 3)
    assert sorted(row.text for row in all_regions(bare, 1)) == ["a knob", "a lid", "a lid", "a rim"]
    assert {row.status for row in all_regions(bare, 1)} == {"accepted"}


@pytest.mark.parametrize("format", ["yolo", "odvg", "voc", "cvat"])
def test_an_export_that_names_no_sources_comes_back_as_known(engine: Engine, tmp_path: Path, format: Format) -> None:
    curated(engine, tmp_path / "pictures")
    before = [(row.id, row.version, row.status) for row in all_regions(engine, 1)]
    export(engine, tmp_path, ExportConfig(format=format, out=tmp_path / format, dataset="lids"))
    brought = import_file(engine, dataset="lids", path=tmp_path / format, format=format, who="cy")
    assert (brought.added, brought.known) == (0, 12)
    assert [(row.id, row.version, row.status) for row in all_regions(engine, 1)] == before


def test_what_is_known_only_in_the_trash_is_counted_and_the_command_says_where_it_is(
    bare: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = ([1.0, 2, 20, 10], "a lid"), ([1.0, 2, 20, 10], "a rim"), ([2.0, 2, 3, 3], "a lid")
    file = coco(tmp_path / "boxes.json", *boxes)
    first = import_file(bare, dataset="lids", path=file, format="coco", who="cy")
    undo_work(bare, import_work(bare, first.number), who="cy", action="oops")
    config = ImportAnnotationsConfig(file, dataset="lids", format="coco", home=tmp_path)
    monkeypatch.setenv("GRAIN_DATABASE_URL", bare.url.render_as_string(hide_password=False))
    monkeypatch.setenv(PROGRESS, str(tmp_path / "progress.json"))
    main(config)
    answer = json.loads(capsys.readouterr().out)
    assert (answer["added"], answer["known"], answer["in_trash"]) == (0, 3, 3)
    message = json.loads((tmp_path / "progress.json").read_text())["message"]
    assert message == "0 added, 3 known (3 of them in the trash: restore them on Curate), 0 pictures not found"


def test_descriptions_without_words_are_left_out_and_counted(bare: Engine, tmp_path: Path) -> None:
    file = coco(tmp_path / "boxes.json", ([1.0, 2, 20, 10], ""), ([1.0, 2, 20, 10], " \n"), ([1.0, 2, 3, 3], "a lid"))
    brought = import_file(bare, dataset="lids", path=file, format="coco", who="cy")
    assert (brought.added, brought.left_out) == (1, {"description without words": 2})
    assert [row.text for row in all_regions(bare, 1)] == ["a lid"]
