import base64
import csv
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.core.ground_links import GroundQuestion, QuestionError
from app.ground.panels import several_note, several_panel
from app.ground.several import MOST_PICTURES, crops_zip, found_of, ground_files
from app.ground.several_page import SeveralPictures
from app.services import Services
from grain.detections import to_coco, to_csv
from tests.support.fake_app import fake_services

QUESTION = GroundQuestion("", "a lid, ../../<b>up</b>", "", "photo", threshold=-1.0)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for name, color in (("a.jpg", "red"), ("b.png", "blue")):
        Image.new("RGB", (120, 80), color).save(tmp_path / name)
    (tmp_path / "notes.jpg").write_text("no picture")
    return [str(tmp_path / name) for name in ("a.jpg", "notes.jpg", "b.png")]


def test_each_picture_is_grounded_and_one_that_cannot_be_read_says_so(services: Services, paths: list[str]) -> None:
    answers = list(ground_files(services, paths, QUESTION))
    assert [each.name for each in answers] == ["a.jpg", "notes.jpg", "b.png"]
    assert answers[1].problem.startswith("This is not a JPEG") and answers[1].found is None
    results = found_of(answers)
    assert [each.name for each in results] == ["a.jpg", "b.png"]
    assert results[0].prediction.descriptions == ("a lid", "../../<b>up</b>")
    grid, note = several_panel(answers), several_note(answers, total=3, last=True)
    assert grid.count("<figure>") == 3 and "&lt;b&gt;up" in grid and "<b>up" not in grid
    assert "3 of 3 pictures: a lid on 2" in note
    assert "1 picture could not be read: notes.jpg." in note
    assert "1 of 3 pictures" in (first := several_note(answers[:1], total=3, last=False)) and "be read" not in first


def test_the_table_names_the_pictures_that_could_not_be_read(services: Services, paths: list[str]) -> None:
    answers = list(ground_files(services, paths, QUESTION))
    content = SeveralPictures(services).download_csv(answers)["uri"].partition("base64,")[2]
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(content).decode())))
    assert {row["file"] for row in rows} == {"a.jpg", "notes.jpg", "b.png"}
    assert [row["reason"][:18] for row in rows if row["answer"] == "not read"] == ["This is not a JPEG"]


def test_a_picture_that_is_far_from_what_was_seen_says_so_in_the_grid(services: Services, paths: list[str]) -> None:
    answers = list(ground_files(services, paths, QUESTION))
    assert "far from" not in several_panel(answers) + several_note(answers, total=3, last=True)
    last = answers[2].found
    assert last is not None
    strange = replace(last, prediction=replace(last.prediction, novelty=1.5))
    answers[2] = replace(answers[2], found=strange)
    assert several_panel(answers).count("far from what the checkpoint has seen") == 1
    assert "1 picture is far from what photo has seen" in several_note(answers, total=3, last=True)


def test_what_the_threshold_hides_is_not_called_absent(services: Services, paths: list[str]) -> None:
    grid = several_panel(list(ground_files(services, paths[:1], replace(QUESTION, threshold=1.0))))
    assert "below the threshold: a lid, ../../&lt;b&gt;up&lt;/b&gt;" in grid and "not found" not in grid


def test_crops_are_an_image_folder_whose_names_stay_inside_it(services: Services, paths: list[str]) -> None:
    answers = list(ground_files(services, paths, QUESTION))
    with zipfile.ZipFile(io.BytesIO(crops_zip(services.settings, answers))) as archive:
        names = archive.namelist()
        assert len(names) == sum(len(each.prediction.regions) for each in found_of(answers)) == 4
        assert sorted({name.split("/")[0] for name in names}) == ["_.._b_up_b_", "a lid"]
        assert all(name.count("/") == 1 and not name.startswith(("/", ".")) for name in names)
        with Image.open(archive.open(names[0])) as crop:
            region = found_of(answers)[0].prediction.regions[0]
            assert crop.size[0] == pytest.approx(120 * (region.xyxy[2] - region.xyxy[0]), abs=1.5)


def test_pictures_of_one_name_stay_apart_in_every_result(services: Services, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("cam1/DSC.jpg", "cam2/DSC.jpg", "cam3/DSC.png")]
    for width, path in enumerate(paths, start=100):
        path.parent.mkdir()
        Image.new("RGB", (width, 80), "red").save(path)
    answers = list(ground_files(services, [*map(str, paths)], replace(QUESTION, descriptions="a lid")))
    found = found_of(answers)
    images = to_coco(found)["images"]
    assert [(image["file_name"], image["width"]) for image in images] == [
        ("DSC.jpg", 100),
        ("DSC-2.jpg", 101),
        ("DSC.png", 102),
    ]
    rows = csv.DictReader(io.StringIO(to_csv(found)))
    assert {(row["file"], row["width"]) for row in rows} == {
        ("DSC.jpg", "100"),
        ("DSC-2.jpg", "101"),
        ("DSC.png", "102"),
    }
    assert [name in several_panel(answers) for name in ("DSC.jpg", "DSC-2.jpg", "DSC.png")] == [True] * 3
    with zipfile.ZipFile(io.BytesIO(crops_zip(services.settings, answers))) as archive:
        stems = {name.rpartition("-")[0] for name in archive.namelist()}
    assert stems == {"a lid/DSC", "a lid/DSC-2", "a lid/DSC-3"}


def test_each_description_has_a_folder_of_its_own_whatever_its_letters(services: Services, paths: list[str]) -> None:
    long = "a person in a dark coat who walks along the pavement, on the"
    texts = ["cup + lid", "cup / lid", "CUP _ LID", "🐶", "🐱", f"{long} left side", f"{long} right side"]
    answers = list(ground_files(services, paths[:1], replace(QUESTION, descriptions="\n".join(texts))))
    with zipfile.ZipFile(io.BytesIO(crops_zip(services.settings, answers))) as archive:
        folders = [name.split("/")[0] for name in archive.namelist()]
    regions = [region.text for each in found_of(answers) for region in each.prediction.regions]
    assert len(folders) == len(regions) and set(regions) == set(texts)
    assert len({folder.casefold() for folder in folders}) == len(texts)
    assert folders[:3] == ["cup _ lid", "cup _ lid-2", "CUP _ LID-3"] and folders[3:5] == ["_", "_-2"]


def test_of_a_folder_only_the_pictures_are_run(services: Services, paths: list[str], tmp_path: Path) -> None:
    others = [str(tmp_path / name) for name in (".DS_Store", "labels.txt", "instances.json")]
    asked = (QUESTION.descriptions, "photo", -1.0)
    *_, (_, note, answers) = SeveralPictures(services).run(paths[:1], [paths[2], *others], *asked)
    assert [each.name for each in answers] == ["a.jpg", "b.png"]
    assert "2 of 2 pictures" in note and "be read" not in note


def test_cancel_shows_all_that_the_run_has_brought(services: Services, paths: list[str]) -> None:
    page = SeveralPictures(services)
    shown = list(page.run(paths * 2, None, QUESTION.descriptions, "photo", -1.0))[2]  # the grid comes at 1, 2, 4, …
    grid, note = page.show_kept(shown[2])
    assert grid.count("<figure>") == 3 and note.count("3 of 3 pictures: a lid on 2") == 1
    assert page.show_kept(None)[1] == ""


def test_crops_of_nothing_are_an_empty_archive(services: Services) -> None:
    with zipfile.ZipFile(io.BytesIO(crops_zip(services.settings, []))) as archive:
        assert archive.namelist() == []


@pytest.mark.parametrize(
    ("count", "question", "says"),
    [
        (0, QUESTION, "There are no pictures yet"),
        (MOST_PICTURES + 1, QUESTION, "101 pictures are more than the 100"),
        (1, GroundQuestion("", "", "jar: a lid", "photo"), "nothing to look for"),
        (1, GroundQuestion("", "a lid", "", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(
    services: Services, paths: list[str], count: int, question: GroundQuestion, says: str
) -> None:
    with pytest.raises(QuestionError, match=says):
        list(ground_files(services, paths[:1] * count, question))
