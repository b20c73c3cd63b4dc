"""COCO files beside the pictures of a folder are recognised, and brought with them where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from sqlmodel import col, select

from curation.concepts.concepts import ConceptsConfig
from curation.concepts.concepts import main as import_concepts
from curation.files.home import database_url
from curation.ingest.annotations_beside import Annotations, annotations_beside
from curation.ingest.ingest import IngestConfig, command_line, main
from db.engine import open_engine, reading
from db.models import RegionRow
from user_errors import UserError

BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10], "description": "a red lid"}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
    "annotations": [BOX],
    "categories": [{"id": 1, "name": "lid"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture with its boxes beside it, and JSON that is something else."""
    place = tmp_path / "photos"
    (place / "train").mkdir(parents=True)
    Image.new("RGB", (40, 20), "red").save(place / "a.png")
    (place / "instances.json").write_text(json.dumps(COCO))
    (place / "annotations_old.json").write_text("[]")
    return place


@pytest.mark.parametrize("name", ["instances.json", "_annotations.coco.json", "train/_annotations.coco.json"])
def test_coco_files_are_recognised_by_name_and_content(folder: Path, name: str) -> None:
    (folder / "instances.json").unlink()
    (folder / name).write_text(json.dumps(COCO))
    assert annotations_beside(folder) == (folder / name,)
    assert annotations_beside(folder / "a.png") == annotations_beside(folder / "nowhere") == ()


@pytest.mark.parametrize(("asked", "status"), [("bring", "pending"), ("accept", "accepted")])
def test_an_import_brings_them_as_it_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, status: str
) -> None:
    config = IngestConfig(str(folder), dataset="d", home=tmp_path / "home", annotations=asked, who="ana")  # type: ignore[arg-type]
    assert command_line(config)[-4:-1] == [f"--home={tmp_path / 'home'}", f"--annotations={asked}", "--who=ana"]
    (tmp_path / "home").mkdir()
    main(config)
    answer = json.loads(capsys.readouterr().out)
    [brought] = answer["annotations"]
    assert (answer["added"], brought["file"], brought["added"]) == (1, "instances.json", 1)
    assert not any("instances" in reason for reason in answer["refused"]), "it is no picture that was left out"
    engine = open_engine(database_url(tmp_path / "home"))
    with reading(engine) as session:
        [row] = session.exec(select(RegionRow).order_by(col(RegionRow.id))).all()
    engine.dispose()
    assert (row.text, row.status, row.x1, row.y2) == ("a red lid", status, 0.25, 0.75)


def test_an_import_that_is_not_told_leaves_them_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    main(IngestConfig(str(folder), dataset="d", home=tmp_path / "home"))
    said = capsys.readouterr()
    assert "annotations" not in json.loads(said.out)
    assert "instances.json has annotations: --annotations bring brings them too" in said.err
    with pytest.raises(ValueError, match="annotations: expected one of leave, bring, accept, got 'all'"):
        IngestConfig(str(folder), dataset="d", annotations="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "status"), [("leave", None), ("bring", "pending"), ("accept", "accepted")])
def test_found_pictures_of_novel_concepts_bring_them_as_any_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: Annotations, status: str | None
) -> None:
    (home := tmp_path / "home").mkdir()
    import_concepts(ConceptsConfig(str(folder), "d", annotations=asked, who="ana", home=home))
    said = capsys.readouterr()
    assert json.loads(said.out)["added"] == 1 and ("--annotations bring" in said.err) == (status is None)
    engine = open_engine(database_url(home))
    with reading(engine) as session:
        assert [row.status for row in session.exec(select(RegionRow)).all()] == ([status] if status else [])
    engine.dispose()


def test_an_import_of_found_pictures_that_brings_none_says_so(tmp_path: Path) -> None:
    for name in ("home", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "empty" / "a.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"Nothing came in\. Left out: 1"):
        import_concepts(ConceptsConfig(str(tmp_path / "empty"), "d", home=tmp_path / "home"))
