import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from curation.describe import Described
from curation.describe_classes import (
    DescribeClassesConfig,
    Drafted,
    ReviewError,
    accepted_path,
    decide,
    draft,
    load,
    main,
    save,
)
from grain.class_texts import read_descriptions
from tests.tiny import picture


class Describer:
    """Says a word of each picture's width, and one thing of all."""

    name = "words@1"

    def describe(self, images: Sequence[Image.Image]) -> list[Described]:
        return [Described(descriptions=("A red lid.", f"{image.width} px wide")) for image in images]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, widths in (("cup", (40, 50, 60)), ("pot", (40,)), ("empty", ())):
        (tmp_path / "new" / name).mkdir(parents=True)
        for width in widths:
            picture(width, (width, 40)).save(tmp_path / "new" / name / f"{width}.png")
    return tmp_path / "new"


def test_what_is_said_of_more_pictures_comes_first_and_nothing_is_accepted_yet(folder: Path) -> None:
    drafts = draft(Describer(), folder, examples=2)
    assert list(drafts) == ["cup", "pot"]
    assert [(each.text, each.seen) for each in drafts["cup"]] == [
        ("A red lid.", 2),
        ("40 px wide", 1),
        ("50 px wide", 1),
    ]
    assert {each.verdict for rows in drafts.values() for each in rows} == {"pending"}


def test_only_what_a_person_accepted_reaches_an_evaluation(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.review.json"
    save(file, draft(Describer(), folder))
    assert json.loads(accepted_path(file).read_text()) == {"cup": [], "pot": []}
    decide(file, "cup", "A red lid.", "accepted")
    decide(file, "cup", "40 px wide", "rejected")
    found = read_descriptions(accepted_path(file), ["cup", "pot"])
    assert found.classes == {"cup": ("A red lid.",), "pot": ()}
    decide(file, "cup", "A red lid.", "pending")
    assert read_descriptions(accepted_path(file), ["cup", "pot"]).texts == 0
    assert load(file)["cup"][1] == Drafted("40 px wide", 1, "words@1", "rejected")


@pytest.mark.parametrize(
    ("class_name", "text", "verdict", "sentence"),
    [
        ("cup", "nothing", "accepted", "has no description 'nothing'"),
        ("plate", "A red lid.", "accepted", "the class 'plate' has no description"),
        ("cup", "A red lid.", "perhaps", "expected one of pending, accepted, rejected, got 'perhaps'"),
    ],
)
def test_what_cannot_be_decided_is_one_sentence(
    class_name: str, text: str, verdict: str, sentence: str, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.review.json"
    save(file, draft(Describer(), folder))
    before = file.read_bytes()
    with pytest.raises(ReviewError, match=sentence):
        decide(file, class_name, text, verdict)  # type: ignore[arg-type]
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema_version": 2}', '{"schema_version": 1, "classes": {"a": [{}]}}']
)
def test_a_broken_review_file_is_one_sentence(content: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.review.json"
    file.write_text(content)
    with pytest.raises(ReviewError, match=r"mine\.review\.json cannot be read as a review"):
        load(file)


def test_verdicts_are_never_written_over_and_a_folder_without_pictures_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.review.json"
    save(file, draft(Describer(), folder))
    with pytest.raises(ReviewError, match="is there already, perhaps with verdicts"):
        main(DescribeClassesConfig(folder, file))
    with pytest.raises(ReviewError, match="has no pictures in folders"):
        draft(Describer(), folder / "empty")
    with pytest.raises(ReviewError, match=r"expected a file called \*\.review\.json"):
        save(tmp_path / "mine.json", {})
