import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from curation.annotate.describe import DescriberResult
from curation.annotate.describe_classes import (
    DescribeClassesConfig,
    DraftDescription,
    accepted_path,
    decide,
    draft,
    draft_of_names,
    load,
    main,
    names_in,
    save,
)
from curation.annotate.registry import DescriberChoice
from grain.class_texts import read_descriptions
from tests.support.fake_openai import COLOURS, fake_openai, pictures_of
from tests.support.tiny import picture
from user_errors import DiskFullError, UserError


class Describer:
    """Says a word of each picture's width, and one thing of all."""

    name = "words@1"

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        return [DescriberResult(descriptions=("A red lid.", f"{image.width} px wide")) for image in images]


class Teller(Describer):
    """Knows a thing of every class but one."""

    def describe_names(self, names: Sequence[str]) -> list[DescriberResult]:
        return [
            DescriberResult(problem="no list") if name == "void" else DescriberResult(descriptions=(f"a {name} lid",))
            for name in names
        ]


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
    decide(file, class_name="cup", text="A red lid.", verdict="accepted")
    decide(file, class_name="cup", text="40 px wide", verdict="rejected")
    found = read_descriptions(accepted_path(file), ["cup", "pot"])
    assert found.classes == {"cup": ("A red lid.",), "pot": ()}
    decide(file, class_name="cup", text="A red lid.", verdict="pending")
    assert read_descriptions(accepted_path(file), ["cup", "pot"]).texts == 0
    assert load(file)["cup"][1] == DraftDescription("40 px wide", 1, "words@1", "rejected")


def test_a_server_that_goes_away_among_the_classes_leaves_what_it_said_before(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.review.json"
    with fake_openai() as server:
        server.always = {"blue": 401}
        for name, colour in (("cup", "red"), ("jug", "blue"), ("pot", "green")):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
            Image.new("RGB", (48, 32), COLOURS[colour]).save(folder / name / "1.png")
        choice = DescriberChoice(kind="server", model="words", server=server.url)
        with pytest.raises(
            UserError, match=r"has the descriptions of the 1 classes before it\. For the 2 others \(jug, pot\)"
        ):
            main(DescribeClassesConfig(folder, out, describer=choice))
    assert list(load(out)) == ["cup"] and load(out)["cup"]


def test_a_slip_is_said_before_anything_is_described(folder: Path, tmp_path: Path) -> None:
    class Never(Describer):
        def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
            raise AssertionError(f"{len(images)} pictures were described")

    (folder / "pot" / "z.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"z\.png cannot be used"):
        draft(Never(), folder)
    with pytest.raises(UserError, match=r"expected a file called \*\.review\.json"):
        main(DescribeClassesConfig(folder, tmp_path / "mine.json"))


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
    with pytest.raises(UserError, match=sentence):
        decide(file, class_name=class_name, text=text, verdict=verdict)  # type: ignore[arg-type]
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema_version": 2}', '{"schema_version": 1, "classes": {"a": [{}]}}']
)
def test_a_broken_review_file_is_one_sentence(content: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.review.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"mine\.review\.json cannot be read as a review"):
        load(file)


def test_verdicts_are_never_written_over_and_a_folder_without_pictures_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.review.json"
    save(file, draft(Describer(), folder))
    with pytest.raises(UserError, match="is there already, perhaps with verdicts"):
        main(DescribeClassesConfig(folder, file))
    with pytest.raises(UserError, match="has no pictures in folders"):
        draft(Describer(), folder / "empty")
    with pytest.raises(UserError, match=r"expected a file called \*\.review\.json"):
        save(tmp_path / "mine.json", {})


def test_classes_are_described_by_their_names_alone_and_wait_for_the_same_review(tmp_path: Path) -> None:
    drafts = draft_of_names(Teller(), ["cup", "void"])
    assert drafts == {"cup": [DraftDescription("a cup lid", 0, "words@1")], "void": []}
    file = tmp_path / "mine.review.json"
    save(file, drafts)
    assert read_descriptions(accepted_path(file), ["cup", "void"]).texts == 0
    decide(file, class_name="cup", text="a cup lid", verdict="accepted")
    assert read_descriptions(accepted_path(file), ["cup", "void"]).classes["cup"] == ("a cup lid",)
    with pytest.raises(UserError, match=r"words@1 described no class \(no list\)"):
        draft_of_names(Teller(), ["void"])
    with pytest.raises(UserError, match="no class names"):
        draft_of_names(Teller(), [])


def test_names_are_the_lines_of_a_file_or_the_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(" red panda \n\ncup\ncup\n", encoding="utf-8")
    assert names_in(tmp_path / "names.txt") == ["red panda", "cup"]
    (tmp_path / "notepad.txt").write_text("magpie\r\ncrow\r\n", encoding="utf-8-sig")
    assert names_in(tmp_path / "notepad.txt") == ["magpie", "crow"]
    assert names_in(folder) == ["cup", "empty", "pot"]
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff")
    for name in ("x.jpg", "nowhere"):
        with pytest.raises(UserError, match="expected a folder, or a text file of class names"):
            names_in(tmp_path / name)


def test_a_server_is_asked_by_name_from_the_command_line_and_stand_ins_say_that_they_need_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("cup\npot", encoding="utf-8")
    with fake_openai() as server:
        choice = DescriberChoice(kind="server", model="words", server=server.url)
        main(DescribeClassesConfig(tmp_path / "names.txt", tmp_path / "a.review.json", describer=choice))
        main(DescribeClassesConfig(folder, tmp_path / "b.review.json", text_only=True, describer=choice))
    assert [pictures_of(body) for body in server.requests] == [[]] * 5
    assert [each.text for each in load(tmp_path / "a.review.json")["pot"]] == ["a plain lid", "a plain star"]
    assert list(load(tmp_path / "b.review.json")) == ["cup", "empty", "pot"]
    assert "4 descriptions of 2 classes to review" in capsys.readouterr().out
    with pytest.raises(UserError, match="the describer photo needs pictures: to ask by name choose"):
        main(DescribeClassesConfig(tmp_path / "names.txt", tmp_path / "c.review.json"))


def test_on_a_full_disk_a_verdict_is_one_sentence_and_what_was_written_stays(small_disk: Path) -> None:
    path = small_disk / "new.review.json"
    save(
        path,
        {"cup": [DraftDescription(f"a handle {'of red clay ' * 400}{number}", 1, "words@1") for number in range(4)]},
    )
    before = {file.name: file.read_bytes() for file in small_disk.iterdir()}
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(DiskFullError) as caught:
        decide(path, class_name="cup", text=load(path)["cup"][0].text, verdict="accepted")
    assert str(caught.value) == (
        f"The disk is full: free some space on {small_disk} and try again; what was there before is unchanged."
    )
    assert {file.name: file.read_bytes() for file in small_disk.iterdir() if file.name != "ballast"} == before
