"""The sample world: exact boxes, honest captions, novel pairs kept apart, files that are whole and reproducible."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image, ImageDraw

from curation.sample import sketch as sample_sketch
from curation.sample.colors import COLORS
from curation.sample.products import NOVEL_BODY_TOPS, NOVEL_SIDE_EMBLEMS, novel_classes
from curation.sample.render import SUPERSAMPLE, assemble, draw_part, part_box, to_pixels
from curation.sample.scenes import SPLITS, Rendering, Scene, render_scene
from curation.sample.shapes import KINDS, SLOTS, Part, Piece, PlacedPart, corners, ellipse, stroke
from curation.sample.words import descriptions_of
from curation.sample.world import WorldConfig, write_world
from tests.support.paths import ROOT
from user_errors import UserError

WIDTH, HEIGHT = 220, 160
TINY: dict[str, Any] = {"images": 5, "held_out_images": 2, "classes": 3, "novel_images_per_class": 1, "shard_images": 3}


@pytest.fixture(scope="module")
def known_scenes() -> list[Scene]:
    return [render_scene(split, seed=5, index=i) for split in ("train", "held_out") for i in range(250)]


@pytest.fixture(scope="module")
def novel_scenes() -> list[Scene]:
    return [render_scene("novel", seed=5, index=i) for i in range(100)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(WorldConfig(out=tmp_path_factory.mktemp("sample") / "world", seed=9, **TINY))


def kinds_of(scene: Scene) -> dict[str, str]:
    return {region.part.slot: region.part.kind for region in scene.regions}


def said_kinds(caption: str) -> set[str]:
    return {kind for kinds in KINDS.values() for kind in kinds if re.search(rf"\b{kind}\b", caption)}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def samples_of(folder: Path, split: str) -> list[tuple[str, Image.Image, dict[str, Any]]]:
    found: list[tuple[str, Image.Image, dict[str, Any]]] = []
    for path in sorted(folder.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            for picture, text in zip(members[::2], members[1::2], strict=True):
                assert picture.name.removesuffix(".jpg") == text.name.removesuffix(".json")
                files = [tar.extractfile(member) for member in (picture, text)]
                content, facts = (file.read() for file in files if file is not None)
                found.append((picture.name, Image.open(io.BytesIO(content)), json.loads(facts)))
    return found


def a_product(slot: str, kind: str) -> dict[str, Part]:
    parts = {"body": Part("body", "box", "white")}
    return parts | {slot: Part(slot, kind, "white" if slot == "body" else "red")}


# boxes


def test_a_box_is_the_polygon_widened_by_half_its_outline() -> None:
    square = PlacedPart(Part("emblem", "house", "red"), (Piece(corners("20,40 60,40 60,80 20,80")),))
    assert part_box(square, width=100, height=200) == pytest.approx((0.1925, 0.19625, 0.6075, 0.40375))


def test_a_box_is_clipped_to_the_picture() -> None:
    beyond = PlacedPart(Part("emblem", "house", "red"), (Piece(corners("-5,-5 120,-5 120,120 -5,120")),))
    assert part_box(beyond, width=100, height=100) == (0.0, 0.0, 1.0, 1.0)


def test_a_stroke_along_a_level_line_is_a_rectangle() -> None:
    level = stroke(corners("0,0 4,0 8,0"), 2.0)
    assert level.min(axis=0).tolist() == [0, -1] and level.max(axis=0).tolist() == [8, 1]


def test_an_ellipse_touches_its_four_extremes() -> None:
    points = ellipse((1, 2), (3, 4))
    assert points.min(axis=0) == pytest.approx([-2, -2]) and points.max(axis=0) == pytest.approx([4, 6])


@pytest.mark.parametrize(("slot", "kind"), [(slot, kind) for slot in SLOTS for kind in KINDS[slot]])
def test_boxes_are_tight_around_the_drawn_pixels_of_every_kind_of_part(slot: str, kind: str) -> None:
    rng = Random(kind)
    placed = to_pixels(assemble(a_product(slot, kind), rng, side="left"), rng, width=WIDTH, height=HEIGHT)
    part = next(one for one in placed if one.part.slot == slot)
    canvas = Image.new("L", (WIDTH * SUPERSAMPLE, HEIGHT * SUPERSAMPLE))
    mask = canvas.convert("RGB")
    draw_part(ImageDraw.Draw(mask), part, COLORS["red"])
    drawn: Any = np.asarray(mask.reduce(SUPERSAMPLE)).any(axis=2)
    columns, rows = np.flatnonzero(drawn.any(axis=0)), np.flatnonzero(drawn.any(axis=1))
    pixels = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    box = np.array(part_box(part, width=WIDTH, height=HEIGHT)) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert box == pytest.approx(pixels, abs=1.0)


def test_every_box_lies_inside_the_picture_and_has_an_area(
    known_scenes: list[Scene], novel_scenes: list[Scene]
) -> None:
    boxes = np.array([region.box_xyxy for scene in known_scenes + novel_scenes for region in scene.regions])
    assert len(boxes) > 2000
    assert boxes.min() > 0 and boxes.max() < 1
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 0.03


def test_products_and_emblems_are_large_enough_to_see(known_scenes: list[Scene]) -> None:
    for scene in known_scenes:
        size = np.array(scene.image.size)
        boxes = {region.part.slot: np.array(region.box_xyxy).reshape(2, 2) * size for region in scene.regions}
        corners_xy = np.concatenate(list(boxes.values()))
        extent = np.ptp(corners_xy, axis=0).max() / size.min()
        assert 0.55 <= extent <= 0.91
        if "emblem" in boxes:
            assert np.ptp(boxes["emblem"], axis=0).max() / size.min() >= 0.135


# what a scene holds


def test_the_same_arguments_give_the_same_scene() -> None:
    first, second = (render_scene("train", seed=3, index=17) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.caption, first.regions) == (second.caption, second.regions)


def test_another_seed_split_or_index_gives_another_picture() -> None:
    scenes = [
        render_scene(split, seed=seed, index=i)
        for split, seed, i in [("train", 3, 17), ("train", 4, 17), ("train", 3, 18)]
    ]
    scenes.append(render_scene("held_out", seed=3, index=17))
    assert len({scene.image.tobytes() for scene in scenes}) == 4


def test_pictures_are_rgb_and_rarely_square(known_scenes: list[Scene]) -> None:
    assert {scene.image.mode for scene in known_scenes} == {"RGB"}
    assert all(144 <= side <= 256 for scene in known_scenes for side in scene.image.size)
    assert sum(scene.image.width == scene.image.height for scene in known_scenes) < 20


def test_a_part_other_than_the_body_is_missing_about_one_time_in_ten(known_scenes: list[Scene]) -> None:
    slots = [kinds_of(scene).keys() for scene in known_scenes]
    assert all("body" in present for present in slots)
    for slot in SLOTS[1:]:
        assert 0.05 < sum(slot not in present for present in slots) / len(slots) < 0.16


def test_no_part_has_the_color_of_the_body_it_sits_on(known_scenes: list[Scene], novel_scenes: list[Scene]) -> None:
    for scene in known_scenes + novel_scenes:
        colors = {region.part.slot: region.part.color for region in scene.regions}
        assert list(colors.values()).count(colors["body"]) == 1


def test_a_split_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="one of train, held_out, novel, got 'val'"):
        render_scene("val", seed=0, index=0)


# novel pairs and classes


def test_a_fifth_of_each_grid_is_held_out_and_every_kind_keeps_most_partners() -> None:
    for pairs, (first, second) in ((NOVEL_BODY_TOPS, ("body", "top")), (NOVEL_SIDE_EMBLEMS, ("side", "emblem"))):
        assert len(pairs) == 0.2 * len(KINDS[first]) * len(KINDS[second])
        for column, slot in enumerate((first, second)):
            for kind in KINDS[slot]:
                assert sum(pair[column] == kind for pair in pairs) <= 2


def test_held_out_pairs_never_appear_in_train_or_held_out(known_scenes: list[Scene]) -> None:
    kinds = [kinds_of(scene) for scene in known_scenes]
    assert not [k for k in kinds if (k["body"], k.get("top")) in NOVEL_BODY_TOPS]
    assert not [k for k in kinds if (k.get("side"), k.get("emblem")) in NOVEL_SIDE_EMBLEMS]
    for slot in SLOTS:  # though each kind alone does
        assert {k[slot] for k in kinds if slot in k} == set(KINDS[slot])


def test_every_novel_scene_has_all_five_parts_of_its_class_and_both_held_out_pairs(novel_scenes: list[Scene]) -> None:
    classes = novel_classes(5)
    assert [scene.class_name for scene in novel_scenes] == list(classes)
    for scene in novel_scenes:
        kinds = kinds_of(scene)
        assert tuple(kinds) == SLOTS
        assert tuple(region.part for region in scene.regions) == classes[str(scene.class_name)].parts
        assert (kinds["body"], kinds["top"]) in NOVEL_BODY_TOPS
        assert (kinds["side"], kinds["emblem"]) in NOVEL_SIDE_EMBLEMS


def test_any_two_classes_differ_in_two_parts_or_more() -> None:
    pairs = list(combinations(novel_classes(11).values(), 2))
    assert len(pairs) == 4950
    assert min(sum(a != b for a, b in zip(x.parts, y.parts, strict=True)) for x, y in pairs) >= 2


def test_a_class_is_described_by_its_parts_and_never_by_its_name() -> None:
    for name, one in novel_classes(11).items():
        assert len(one.descriptions) == 5
        assert one.descriptions == tuple(descriptions_of(part)[0] for part in one.parts)
        assert name not in " ".join(one.descriptions)
        assert re.fullmatch(r"[a-z]{5,8}", name)


def test_a_fresh_seed_gives_fresh_classes_and_the_same_seed_the_same() -> None:
    assert novel_classes(1) == novel_classes(1)
    assert not novel_classes(1).keys() & novel_classes(2).keys()


@pytest.mark.parametrize("count", [0, 1001])
def test_a_number_of_classes_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 1000, got {count}"):
        novel_classes(0, count)


# words


@pytest.mark.parametrize(
    ("part", "first", "second"),
    [
        (Part("body", "hourglass", "orange"), "an orange hourglass", "an hourglass in orange"),
        (Part("band", "dots", "red"), "a band of red dots", "red dots around it"),
        (Part("top", "antenna", "blue"), "a blue antenna", "an antenna in blue"),
        (Part("emblem", "star", "white"), "a white star", "a star in white"),
    ],
)
def test_the_first_two_wordings_of_a_part(part: Part, first: str, second: str) -> None:
    assert descriptions_of(part)[:2] == (first, second)


def test_only_a_side_part_is_described_by_where_it_is() -> None:
    assert descriptions_of(Part("side", "tap", "red"), side="left")[-1] == "a red tap on the left"
    assert descriptions_of(Part("top", "lid", "red"), side="left") == descriptions_of(Part("top", "lid", "red"))


def test_no_wording_means_two_different_parts() -> None:
    parts = [Part(slot, kind, color) for slot, kinds in KINDS.items() for kind in kinds for color in COLORS]
    wordings = [text for part in parts for text in descriptions_of(part, side="left")]
    assert len(wordings) > 1200 and len(set(wordings)) == len(wordings)


def test_left_and_right_are_true(known_scenes: list[Scene]) -> None:
    checked = 0
    for scene in known_scenes:
        boxes = {region.part.slot: region.box_xyxy for region in scene.regions}
        texts = [scene.caption, *(region.text for region in scene.regions)]
        for said in re.findall(r"\b(left|right)\b", " ".join(texts)):
            side, body = boxes["side"], boxes["body"]
            assert said == ("left" if side[0] + side[2] < body[0] + body[2] else "right")
            checked += 1
    assert checked > 100


def test_a_caption_with_share_zero_names_the_body_and_nothing_else_of_it() -> None:
    for index in range(40):
        scene = render_scene("train", seed=6, index=index, part_share=0.0)
        body = scene.regions[0].part
        assert said_kinds(scene.caption) == {body.kind}
        assert not any(wording in scene.caption for wording in descriptions_of(body))


def test_a_caption_with_share_one_mentions_every_part_in_some_wording() -> None:
    for index in range(40):
        scene = render_scene("train", seed=6, index=index, part_share=1.0)
        assert said_kinds(scene.caption) == set(kinds_of(scene).values())
        side = "left" if "left" in scene.caption else "right"
        for region in scene.regions:
            assert any(wording in scene.caption for wording in descriptions_of(region.part, side=side))


def test_another_share_changes_the_words_and_not_the_picture() -> None:
    plain, full = (render_scene("train", seed=6, index=8, part_share=share) for share in (0.0, 1.0))
    assert plain.image.tobytes() == full.image.tobytes()
    assert plain.regions == full.regions
    assert plain.caption != full.caption


def test_captions_mention_each_part_at_the_stated_share(known_scenes: list[Scene]) -> None:
    present = said = colored = 0
    for scene in known_scenes:
        kinds, mentioned = kinds_of(scene), said_kinds(scene.caption)
        assert kinds.pop("body") in mentioned
        present += len(kinds)
        said += len(mentioned & set(kinds.values()))
        colored += any(wording in scene.caption for wording in descriptions_of(scene.regions[0].part))
    assert 0.26 < said / present < 0.34
    assert 0.24 < colored / len(known_scenes) < 0.36


# files


def test_shards_hold_what_the_contract_says(world: Path) -> None:
    counts = {split: len(samples_of(world, split)) for split in SPLITS}
    assert counts == {"train": 5, "held_out": 2, "novel": 3}
    for split in SPLITS:
        for index, (name, image, text) in enumerate(samples_of(world, split)):
            assert name == f"{split}-{index:07d}.jpg" and text["id"] == f"{split}-{index:07d}"
            assert (image.format, image.size) == ("JPEG", (text["width"], text["height"]))
            wanted = {"schema_version", "id", "width", "height", "caption", "regions"}
            assert text.keys() == (wanted | {"class"} if split == "novel" else wanted)
            assert text["schema_version"] == 1
            for region in text["regions"]:
                assert region.keys() == {"box", "text", "score", "part"}
                assert region["part"] in SLOTS and region["score"] == 1.0
                assert 0 <= region["box"][0] < region["box"][2] <= 1 and 0 <= region["box"][1] < region["box"][3] <= 1


def test_a_written_sample_is_the_scene_of_its_index(world: Path) -> None:
    scene = render_scene("train", seed=9, index=4, classes=3)
    _, image, text = samples_of(world, "train")[4]
    assert text["caption"] == scene.caption
    assert [region["text"] for region in text["regions"]] == [region.text for region in scene.regions]
    error = np.abs(np.asarray(image, np.float32) - np.asarray(scene.image, np.float32))
    assert error.mean() < 6  # what JPEG loses


def test_the_manifest_names_every_shard_with_its_digest(world: Path) -> None:
    manifest = json.loads((world / "manifest.json").read_text())
    assert (manifest["schema_version"], manifest["source"], manifest["seed"]) == (1, "sample world", 9)
    assert manifest["options"]["part_share"] == 0.3
    assert "never seen a photograph" in manifest["trained_on"]
    shards = [shard for split in SPLITS for shard in manifest["splits"][split]]
    assert [(shard["file"], shard["images"]) for shard in shards] == [
        ("train-000000.tar", 3),
        ("train-000001.tar", 2),
        ("held_out-000000.tar", 2),
        ("novel-000000.tar", 3),
    ]
    for shard in shards:
        assert hashlib.sha256((world / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]


def test_the_class_file_is_the_descriptions_of_the_novel_classes(world: Path) -> None:
    classes = json.loads((world / "classes.json").read_text())
    assert classes == {name: list(one.descriptions) for name, one in novel_classes(9, 3).items()}
    assert {text["class"] for _, _, text in samples_of(world, "novel")} == set(classes)


def test_coco_ground_truth_holds_the_same_boxes_in_pixels(world: Path) -> None:
    checked = 0
    for split in SPLITS:
        coco = json.loads((world / f"coco_{split}.json").read_text())
        names = {category["id"]: (category["supercategory"], category["name"]) for category in coco["categories"]}
        assert sorted(names.values()) == sorted((slot, kind) for slot, kinds in KINDS.items() for kind in kinds)
        for picture, (name, image, text) in zip(coco["images"], samples_of(world, split), strict=True):
            assert (picture["file_name"], picture["width"], picture["height"]) == (name, *image.size)
            regions = [a for a in coco["annotations"] if a["image_id"] == picture["id"]]
            for row, region in zip(regions, text["regions"], strict=True):
                x, y, width, height = row["bbox"]
                box = [x / image.width, y / image.height, (x + width) / image.width, (y + height) / image.height]
                assert box == pytest.approx(region["box"], abs=2e-4)
                assert row["description"] == region["text"]
                assert names[row["category_id"]][0] == region["part"]
                checked += 1
        assert len({row["id"] for row in coco["annotations"]}) == len(coco["annotations"])
    assert checked > 30


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(world: Path, tmp_path: Path) -> None:
    again = write_world(WorldConfig(out=tmp_path / "again", seed=9, workers=2, **TINY))
    assert files_of(again) == files_of(world)


def test_proposals_are_every_part_shaken_and_boxes_at_random_and_change_no_picture(world: Path, tmp_path: Path) -> None:
    proposing = write_world(WorldConfig(out=tmp_path / "proposing", seed=9, proposals=8, **TINY))
    checked = 0
    for split in SPLITS:
        pairs = zip(samples_of(world, split), samples_of(proposing, split), strict=True)
        for (_, plain, facts), (_, picture, proposed) in pairs:
            boxes = np.array(proposed.pop("proposals"))
            assert np.array_equal(np.asarray(plain), np.asarray(picture)) and proposed == facts
            assert boxes.shape == (8, 4) and boxes.min() >= 0 and boxes.max() <= 1
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            for region in facts["regions"]:
                x0, y0, x1, y1 = region["box"]
                near = np.abs(boxes - region["box"]) <= 0.1 * np.array([x1 - x0, y1 - y0] * 2) + 1e-6
                assert near.all(axis=1).any()
                checked += 1
    assert checked > 30
    assert not {"proposals", "rendering"} & set(json.loads((world / "manifest.json").read_text())["options"])
    assert json.loads((proposing / "manifest.json").read_text())["options"]["proposals"] == 8


def test_another_rendering_shows_the_same_product_in_another_look(tmp_path: Path) -> None:
    for split, index in (("held_out", 0), ("novel", 3), ("novel", 11)):
        painted, sketch = (render_scene(split, seed=9, index=index, rendering=look) for look in get_args(Rendering))
        assert (sketch.regions, sketch.class_name) == (painted.regions, painted.class_name)
        assert sketch.image.size == painted.image.size
        assert np.median(np.asarray(sketch.image), axis=(0, 1)).min() > 225, "mostly paper"
        assert any(place in sketch.caption for place in sample_sketch.PLACES)
        for region in sketch.regions:
            x0, y0, x1, y1 = (round(v * side) for v, side in zip(region.box_xyxy, sketch.image.size * 2, strict=True))
            assert np.asarray(sketch.image.crop((x0, y0, x1, y1))).std() > 8, "something is drawn in every box"
    flat = write_world(WorldConfig(out=tmp_path / "sketch", seed=9, rendering="sketch", **TINY))
    assert json.loads((flat / "manifest.json").read_text())["options"]["rendering"] == "sketch"
    with pytest.raises(ValueError, match="rendering must be one of painted, sketch"):
        render_scene("train", seed=0, index=0, rendering="oil")  # type: ignore[arg-type]


def test_an_evaluation_only_set_has_no_training_pictures(tmp_path: Path) -> None:
    folder = write_world(WorldConfig(out=tmp_path / "eval", seed=1, **{**TINY, "images": 0, "held_out_images": 0}))
    assert {path.name for path in folder.glob("*.tar")} == {"novel-000000.tar"}
    assert json.loads((folder / "manifest.json").read_text())["splits"]["train"] == []
    assert json.loads((folder / "coco_train.json").read_text())["images"] == []


@pytest.mark.parametrize(("images", "held_out"), [(0, 200), (30_000, 600), (1_000_000, 2000)])
def test_held_out_defaults_to_a_fiftieth_within_bounds(images: int, held_out: int, tmp_path: Path) -> None:
    counts = WorldConfig(out=tmp_path, images=images).counts()
    assert counts == {"train": images, "held_out": held_out, "novel": 1000}


def test_a_complete_folder_is_verified_and_kept(tmp_path: Path) -> None:
    config = WorldConfig(out=tmp_path / "world", seed=2, **TINY)
    before = {path: path.stat().st_mtime_ns for path in write_world(config).iterdir()}
    write_world(config)
    assert {path: path.stat().st_mtime_ns for path in config.out.iterdir()} == before


def test_a_damaged_folder_is_written_again_to_the_same_bytes(tmp_path: Path) -> None:
    config = WorldConfig(out=tmp_path / "world", seed=2, **TINY)
    whole = files_of(write_world(config))
    shard = bytearray(whole["train-000000.tar"])
    shard[700] ^= 1
    (config.out / "train-000000.tar").write_bytes(shard)
    (config.out / ".train-000001.tar.7.7.tmp").write_bytes(b"left by a crash")
    (config.out / "train-000007.tar").write_bytes(b"left by a longer run")
    write_world(config)
    assert files_of(config.out) == whole


def test_a_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds 'thesis\.txt': choose another --out"):
        write_world(WorldConfig(out=tmp_path, **TINY))
    assert files_of(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_data_set_with_other_options_is_refused_and_left_alone(tmp_path: Path) -> None:
    config = WorldConfig(out=tmp_path / "world", seed=2, **TINY)
    before = files_of(write_world(config))
    with pytest.raises(UserError, match="made with other options"):
        write_world(WorldConfig(out=config.out, seed=3, **TINY))
    assert files_of(config.out) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "world").write_text("a file")
    with pytest.raises(UserError, match="must be a folder"):
        write_world(WorldConfig(out=tmp_path / "world", **TINY))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("images", -1),
        ("held_out_images", -1),
        ("part_share", 1.5),
        ("classes", 0),
        ("classes", 1001),
        ("workers", 0),
        ("proposals", -1),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option: str, value: float, tmp_path: Path) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=rf"{option} must .*, got {value}"):
        WorldConfig(out=tmp_path, **options)


def test_the_command_writes_a_set_and_refuses_a_foreign_folder_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "curation.sample.world", "--images", "2", "--held-out-images", "1"]
    command += ["--classes", "1", "--novel-images-per-class", "1", "--seed", "4"]
    done = subprocess.run([*command, "--out", str(tmp_path / "new")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "sample world complete" in done.stdout
    assert "img/s" in done.stderr  # the progress bar
    refused = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith("sample_world: ") and refused.stderr.count("\n") == 1
