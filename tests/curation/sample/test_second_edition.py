"""The sample world's second edition: unseen phrases stay unseen, families differ in one thing, boxes stay exact."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curation.sample.colors import COLORS
from curation.sample.crowd import MAIN_SHARE, MOST_HIDDEN, OTHER_SHARE, hidden_shares
from curation.sample.families import (
    ABSENT_PAIRS,
    FAMILY,
    class_texts,
    family_classes,
)
from curation.sample.products import holds_novel_pair
from curation.sample.scenes import Scene, render_scene
from curation.sample.shapes import KINDS, SLOTS, Part, Piece, PlacedPart, corners
from curation.sample.words import paraphrases_of, sentence_of, trained_wordings
from curation.sample.world import WorldConfig, write_world
from grain.sentences import split_phrases
from tests.support.products import things_that_differ


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(split, seed=5, index=i, edition=2) for split in ("train", "held_out") for i in range(60)]


# the first edition


def test_the_first_edition_is_what_it_was() -> None:
    scene = render_scene("train", seed=3, index=17)
    told = (scene.caption, [(region.text, [round(v, 6) for v in region.box_xyxy]) for region in scene.regions])
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] == "f18d535bc58c6447"
    assert render_scene("train", seed=3, index=17, edition=1).image.tobytes() == scene.image.tobytes()


# phrases


def test_a_fifth_of_the_phrases_of_each_slot_is_never_trained_on_and_one_color_is_only_elsewhere() -> None:
    absent = []
    for slot, kinds in KINDS.items():
        never = {(kind, color) for of, kind, color in ABSENT_PAIRS if of == slot}
        assert len(never) == 0.2 * len(kinds) * len(COLORS)
        absent += [color for color in COLORS if all((kind, color) in never for kind in kinds)]
    assert len(set(absent)) == len(absent) == len(SLOTS)


def test_training_shows_no_unseen_phrase_and_no_novel_pair_but_every_word(scenes: list[Scene]) -> None:
    parts = [region.part for scene in scenes for region in scene.regions]
    assert len(parts) > 500 and not ABSENT_PAIRS & {(part.slot, part.kind, part.color) for part in parts}
    assert not any(holds_novel_pair({region.part.slot: region.part for region in scene.regions}) for scene in scenes)
    assert {part.color for part in parts} == set(COLORS)
    assert {part.kind for part in parts} == {kind for kinds in KINDS.values() for kind in kinds}


def test_a_paraphrase_is_never_said_in_training_though_all_its_words_are(scenes: list[Scene]) -> None:
    said = {region.text for scene in scenes for region in scene.regions} | {scene.caption for scene in scenes}
    words = set(re.findall(r"\w+", " ".join(said)))
    for slot, kinds in KINDS.items():
        for kind in kinds:
            part = Part(slot, kind, "red")
            for text in paraphrases_of(part, side="left"):
                assert text not in trained_wordings(part, side="left")
                assert set(re.findall(r"\w+", text)) <= words | set(kind.split()) | {"red"}


def test_a_sentence_comes_apart_into_the_phrases_that_it_was_made_of() -> None:
    for one in family_classes(7, 2 * FAMILY):
        assert split_phrases(sentence_of(one.descriptions)) == list(one.descriptions)


# novel classes


def test_each_class_of_a_family_differs_from_four_others_in_one_thing_alone() -> None:
    classes = family_classes(11, 3 * FAMILY)
    for first in range(0, len(classes), FAMILY):
        family = classes[first : first + FAMILY]
        for one in family:
            assert sum(things_that_differ(one, other) == 1 for other in family) == 4
            assert holds_novel_pair({part.slot: part for part in one.parts})
    assert len({(one.parts, one.side) for one in classes}) == len({one.name for one in classes}) == 3 * FAMILY


def test_a_fresh_seed_gives_fresh_classes_and_fewer_are_the_first_of_more() -> None:
    assert family_classes(1, 20) == family_classes(1, 40)[:20]
    assert not {one.name for one in family_classes(1, 40)} & {one.name for one in family_classes(2, 40)}
    with pytest.raises(ValueError, match="between 1 and 1000, got 0"):
        family_classes(1, 0)


def test_a_novel_picture_shows_its_class_and_its_side() -> None:
    for index, one in enumerate(family_classes(5, 8)):
        scene = render_scene("novel", seed=5, index=index, classes=8, edition=2)
        boxes = {region.part.slot: region.box_xyxy for region in scene.regions}
        assert (scene.class_name, tuple(region.part for region in scene.regions)) == (one.name, one.parts)
        left = boxes["side"][0] + boxes["side"][2] < boxes["body"][0] + boxes["body"][2]
        assert one.side == ("left" if left else "right")
        assert any(one.side in text for text in class_texts([one])["phrases"][one.name])


# pictures


def test_a_picture_is_the_same_alone_and_among_others(scenes: list[Scene]) -> None:
    again = render_scene("train", seed=5, index=7, edition=2)
    assert (again.image.tobytes(), again.caption, again.regions) == (
        scenes[7].image.tobytes(),
        scenes[7].caption,
        scenes[7].regions,
    )
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_the_main_product_is_larger_than_any_other_and_lies_within_the_picture(scenes: list[Scene]) -> None:
    assert OTHER_SHARE[1] < MAIN_SHARE[0]
    for scene in scenes:
        size = np.array(scene.image.size)
        corners_xy = np.concatenate([np.array(region.box_xyxy).reshape(2, 2) * size for region in scene.regions])
        assert MAIN_SHARE[0] - 0.05 <= np.ptp(corners_xy, axis=0).max() / size.min() <= MAIN_SHARE[1] + 0.02
        assert corners_xy.min() >= 0


def test_how_much_of_a_part_is_hidden_is_counted_in_pixels() -> None:
    square = PlacedPart(Part("emblem", "house", "red"), (Piece(corners("10,10 29,10 29,29 10,29")),))
    cover = Image.new("L", (40, 40))
    cover.paste(255, (10, 10, 20, 30))
    assert hidden_shares([square], cover) == pytest.approx([0.5])
    assert hidden_shares([square], Image.new("L", (40, 40))) == [0.0]
    assert 0.5 < MOST_HIDDEN < 1


def test_captions_speak_of_the_main_product_alone(scenes: list[Scene]) -> None:
    kinds = {kind for kinds in KINDS.values() for kind in kinds}
    for scene in scenes:
        said = {kind for kind in kinds if re.search(rf"\b{kind}\b", scene.caption)}
        assert said <= {region.part.kind for region in scene.regions}


# files


def test_the_second_edition_is_written_with_its_classes_in_three_ways(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"images": 3, "held_out_images": 1, "classes": 4, "novel_images_per_class": 1}
    config = WorldConfig(out=tmp_path / "world", seed=2, edition=2, **sizes)
    folder = write_world(config)
    told = {
        way: json.loads((folder / name).read_text())
        for way, name in {
            "phrases": "classes.json",
            "paraphrased": "classes_paraphrased.json",
            "sentences": "classes_sentences.json",
        }.items()
    }
    assert told == class_texts(family_classes(2, 4))
    assert [len(next(iter(texts.values()))) for texts in told.values()] == [5, 5, 1]
    assert json.loads((folder / "manifest.json").read_text())["options"]["edition"] == 2
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    write_world(config)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_first_editions_manifest_does_not_name_the_edition() -> None:
    assert "edition" not in WorldConfig(out=Path("w")).options()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"edition": 3}, "one of 1, 2, got 3"), ({"edition": 2, "rendering": "sketch"}, "edition 2 is painted only")],
)
def test_an_edition_that_cannot_be_drawn_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldConfig(out=Path("w"), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        render_scene("train", seed=0, index=0, **options)  # type: ignore[arg-type]


def test_no_two_classes_of_different_families_are_one_thing_apart() -> None:
    classes = family_classes(1001, 96)
    families = [classes[first : first + FAMILY] for first in range(0, 96, FAMILY)]
    for one, other in combinations(families, 2):
        assert min(things_that_differ(a, b) for a in one for b in other) > 1
