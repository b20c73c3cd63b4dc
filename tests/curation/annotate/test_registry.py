"""The annotators by name: one row each, and recipes that stay what they are, since results are found by them."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import tyro
from PIL import Image

from app.ground.examples import FOLDER
from curation.annotate.filters import FilterConfig
from curation.annotate.localize import LocalizeConfig
from curation.annotate.registry import (
    DESCRIBERS,
    LOCALIZERS,
    DescriberChoice,
    LocalizerChoice,
    StageWork,
    label_choices,
    make_describer,
    make_localizer,
    uses_of,
    works_of,
)
from curation.annotate.sample_annotators import SampleConfig
from grain.checkpoint import EMBEDDED, CheckpointError, model_digest
from grain.dense.publish import DensePublishConfig
from grain.dense.publish import main as publish

ADDRESS = "http://127.0.0.1:8000/v1"
WEAK = LocalizerChoice("photo", boxes=LocalizeConfig(threshold=0.1))
NEVER_WRONG = SampleConfig()


@pytest.mark.parametrize(
    ("describer", "localizer", "sample", "recipes"),
    [
        (DescriberChoice("photo"), LocalizerChoice("photo"), NEVER_WRONG, ["727eb7b0", "68a7f546"]),
        (
            DescriberChoice("sample"),
            LocalizerChoice("sample"),
            SampleConfig(wrong=0.25),
            ["ccfd7410", "474cfb51"],
        ),
        (DescriberChoice("server", server=ADDRESS), WEAK, NEVER_WRONG, ["4439ecce", "6c4a4bf5"]),
        (
            DescriberChoice("server", model="m", revision="7", server=ADDRESS),
            WEAK,
            NEVER_WRONG,
            ["3f1898e5", "4d57f53b"],
        ),
        (
            DescriberChoice("server", model="m", server=ADDRESS),
            LocalizerChoice("sample", keep=FilterConfig(most=5)),
            SampleConfig(seed=1),
            ["505553ca", "d2bde273"],
        ),
        (
            DescriberChoice("vocabulary", vocabulary=("a cup", "a pot")),
            LocalizerChoice("photo"),
            NEVER_WRONG,
            ["46ae63d1"],
        ),
    ],
)
def test_a_recipe_stays_what_it_is(
    describer: DescriberChoice, localizer: LocalizerChoice, sample: SampleConfig, recipes: list[str]
) -> None:
    works = works_of(describer, localizer, sample)
    assert [work.recipe[:8] for work in works] == recipes, "every stored result would be made again"
    assert [work.needs for work in works] == ["", *(work.recipe for work in works[:-1])]


def test_what_changes_nothing_for_a_model_without_scores_is_no_part_of_its_recipe() -> None:
    def work(boxes: LocalizeConfig, kind: str = "vlm-server") -> StageWork:
        asked = LocalizerChoice(kind, model="Qwen3-VL", server=ADDRESS, boxes=boxes)
        return works_of(DescriberChoice("vocabulary", vocabulary=("a cup",)), asked, NEVER_WRONG)[-1]

    usual, other = work(LocalizeConfig()), work(LocalizeConfig(threshold=0.5, exclusive=True))
    assert (usual.recipe[:8], usual.former) == ("96b43c82", ""), "every stored result would be made again"
    assert (other.recipe, other.former[:8]) == (usual.recipe, "c0c29f31"), "the recipe of earlier releases is known"
    assert work(LocalizeConfig(nms_iou=0.9)).recipe != usual.recipe != work(LocalizeConfig(most_of_text=2)).recipe
    assert work(LocalizeConfig(threshold=0.5), "photo").recipe != work(LocalizeConfig(), "photo").recipe


def test_recipes_of_weights_in_a_folder_stay_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "x"}')
    describer = DescriberChoice("llava", model=str(folder), precision="fp32")
    works = works_of(describer, LocalizerChoice("photo"), NEVER_WRONG)
    assert works[0].recipe[:8] == "d6d8390f"
    (folder / "config.json").write_text('{"model_type": "owlv2"}')
    works = works_of(
        DescriberChoice("photo"), LocalizerChoice("owlv2", model=str(folder), precision="bf16"), NEVER_WRONG
    )
    assert [work.recipe[:8] for work in works] == ["727eb7b0", "261542b1"]


def test_rows_name_settings_that_there_are_and_are_told_apart() -> None:
    for rows, choice in ((DESCRIBERS, DescriberChoice), (LOCALIZERS, LocalizerChoice)):
        known = {field.name for field in fields(choice)} | {"sample"}
        assert len(rows) >= 3
        assert all(row.uses <= known and row.kind == kind for kind, row in rows.items())
        labels = [label for label, _ in label_choices(rows.values())]
        assert len(set(labels)) == len(labels) and all(labels)
    of_servers = {
        "model",
        "revision",
        "server",
        "concurrency",
        "timeout_seconds",
        "patience_seconds",
        "ask",
        "picture_side",
    }
    assert uses_of(DESCRIBERS, "server") == of_servers
    assert uses_of(LOCALIZERS, "nothing of the kind") == frozenset()
    assert [kind for kind, row in DESCRIBERS.items() if row.any_picture] == [
        *("photo", "llava", "llava-onevision", "qwen2.5-vl", "qwen3-vl", "smolvlm", "server")
    ]


@pytest.mark.parametrize("choice", [DescriberChoice, LocalizerChoice])
def test_a_kind_without_a_row_is_refused(
    choice: type[DescriberChoice | LocalizerChoice], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"expected one of photo, sample, .*, got 'phto'"):
        choice("phto")
    with pytest.raises(SystemExit):
        tyro.cli(choice, args=["--kind=phto"])
    assert "phto" in capsys.readouterr().err
    assert tyro.cli(choice, args=["--kind=photo"]) == choice("photo")


def test_the_command_lines_help_has_every_kind_with_its_label(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(DescriberChoice, args=["--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(f"{row.kind}: {row.label}" in told for row in DESCRIBERS.values())


def test_the_stand_ins_are_made_and_named_as_their_recipe_says_and_a_vocabulary_is_not() -> None:
    for kind in ("photo", "sample"):
        made = (
            make_describer(DescriberChoice(kind), NEVER_WRONG),
            make_localizer(LocalizerChoice(kind), NEVER_WRONG),
        )
        works = works_of(DescriberChoice(kind), LocalizerChoice(kind), NEVER_WRONG)
        assert [each.name for each in made] == [work.source for work in works]
    served = DescriberChoice("server", model="m", server=ADDRESS)
    assert make_describer(served, NEVER_WRONG).name == works_of(served, WEAK, NEVER_WRONG)[0].source == "m@served"
    with pytest.raises(ValueError, match="a vocabulary describes nothing"):
        make_describer(DescriberChoice("vocabulary", vocabulary=("a cup",)), NEVER_WRONG)


def test_a_checkpoint_tuned_from_photo_finds_boxes_under_its_own_name(tmp_path: Path) -> None:
    tuned = tmp_path / "mine"
    publish(DensePublishConfig(EMBEDDED / "photo" / "model.safetensors", tuned, like=EMBEDDED / "photo"))
    choice = LocalizerChoice("checkpoint", model=str(tuned))
    spec = choice.row.spec(choice, NEVER_WRONG)
    assert spec.source() == f"photo-localizer@3:photo@{model_digest(tuned)[:12]}"
    with Image.open(FOLDER / "chelsea.jpg") as image:
        picture = image.convert("RGB")
    usual = LocalizerChoice("photo")
    found, expected = (
        each.row.spec(each, NEVER_WRONG).load().localize([picture], [["a cat"]]) for each in (choice, usual)
    )
    assert found == expected and found[0]
    moved = tmp_path / "moved"
    tuned.rename(moved)
    works = [works_of(DescriberChoice("photo"), replace(choice, model=str(moved)), NEVER_WRONG)[1].recipe]
    moved.rename(tuned)
    assert works == [works_of(DescriberChoice("photo"), choice, NEVER_WRONG)[1].recipe], "not where it lies counts"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("sample", "expected a checkpoint that was tuned from photo, got sample: choose another"),
        ("nowhere", "nowhere is no checkpoint folder"),
    ],
)
def test_another_checkpoint_finds_no_boxes_for_annotations(model: str, sentence: str) -> None:
    choice = LocalizerChoice("checkpoint", model=model)
    with pytest.raises(CheckpointError, match=sentence):
        choice.row.spec(choice, NEVER_WRONG)
    with pytest.raises(ValueError, match="boxes from a checkpoint of your own need its name"):
        LocalizerChoice("checkpoint")
