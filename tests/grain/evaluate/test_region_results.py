"""Sentences, objects and contrasts: by hand, against pycocotools, and through a whole evaluation."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from grain.data.data_sets import CaptionContrast, EvaluationItem, GroundedSentence, PictureObjects
from grain.evaluate.average_precision import PictureDetections, average_precision
from grain.evaluate.evaluate import EvaluateConfig, evaluate
from grain.evaluate.region_results import Contrasts, RegionResults
from grain.model.pretrained import ModelCard, save_pretrained
from grain.structures import ImageFeatures, RegionRanking
from tests.support.tiny import picture, tiny_config, tiny_model

SIDE = 1000
HALVES = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def found(boxes: Any, scores: Any, categories: Any) -> PictureDetections:
    return PictureDetections(
        np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64), np.array(categories, np.int64)
    )


# average precision


def test_average_precision_by_hand() -> None:
    left, right = HALVES
    truth = PictureObjects((left, right), (0, 0), (False, False), asked=(0, 1))
    answers = found([left, (0, 0, 0.1, 0.1), right], [0.9, 0.8, 0.7], [0, 0, 0])
    ap = average_precision([answers], [truth], 2)
    # recall 0 to 0.5 at precision 1: 51 of 101; then 2 of 3 right: 50 of 101
    assert ap[:, 0] == pytest.approx((51 + 50 * 2 / 3) / 101) and np.isnan(ap[:, 1]).all()
    with pytest.raises(ValueError, match="same pictures, got 0 and 1"):
        average_precision([], [truth], 2)
    assert average_precision([found([], [], [])], [truth], 2)[0, 0] == 0


def test_what_nobody_looked_for_or_boxed_in_full_counts_neither_way() -> None:
    left, right = HALVES
    answers = found([left, right], [0.5, 0.9], [0, 0])
    truth = {"boxes_xyxy": (left,), "categories": (0,), "crowds": (False,)}
    assert average_precision([answers], [PictureObjects(**truth, asked=(0,))], 1)[0, 0] == pytest.approx(0.5)
    assert average_precision([answers], [PictureObjects(**truth, asked=(0,), incomplete=(0,))], 1)[0, 0] == 1
    empty = PictureObjects((), (), (), asked=())
    assert average_precision([answers] * 2, [PictureObjects(**truth, asked=(0,), incomplete=(0,)), empty], 1)[0, 0] == 1
    looked = PictureObjects((), (), (), asked=(0,))
    assert average_precision([answers] * 2, [PictureObjects(**truth, asked=(0,), incomplete=(0,)), looked], 1)[0, 0] < 1
    crowd = PictureObjects(((0, 0, 1, 1), left), (0, 0), (True, False), asked=(0,))
    assert average_precision([answers], [crowd], 1)[0, 0] == 1, "what lies in a crowd is not wrong"


def drawn(seed: int, categories: int = 3) -> tuple[PictureDetections, PictureObjects]:
    """Detections around true boxes, with ties; crowds among the boxes."""
    rng = np.random.default_rng(seed)
    count, answers = int(rng.integers(0, 6)), int(rng.integers(0, 9))
    corner, size = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
    true = np.concatenate([corner, corner + size], axis=1)
    of = rng.integers(0, count, answers) if count else np.zeros(answers, int)
    near = true[of] if count else np.tile([0.2, 0.2, 0.5, 0.5], (answers, 1))
    boxes = np.clip(near + rng.normal(0, 0.03, near.shape), 0, 1)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.01)
    kinds = rng.integers(0, categories, count)
    objects = PictureObjects(
        tuple(map(tuple, true.tolist())),
        tuple(kinds.tolist()),
        tuple((rng.random(count) < 0.25).tolist()),
        asked=tuple(range(categories)),
    )
    said = np.where(rng.random(answers) < 0.8, kinds[of] if count else 0, rng.integers(0, categories, answers))
    return found(boxes, rng.integers(0, 12, answers) / 12, said), objects


def xywh(box: Any) -> list[float]:
    x0, y0, x1, y1 = (SIDE * float(value) for value in box)
    return [x0, y0, x1 - x0, y1 - y0]


def coco_precision(pairs: list[tuple[PictureDetections, PictureObjects]], categories: int) -> Any:
    """[T, C] of pycocotools, NaN for a category that has no box."""
    truth: dict[str, Any] = {"images": [{"id": n} for n in range(len(pairs))], "annotations": [], "info": {}}
    truth["categories"] = [{"id": row, "name": str(row)} for row in range(categories)]
    answers: list[dict[str, Any]] = []
    for number, (detections, objects) in enumerate(pairs):
        for box, category, crowd in zip(objects.boxes_xyxy, objects.categories, objects.crowds, strict=True):
            row = {"image_id": number, "category_id": category, "bbox": xywh(box), "iscrowd": int(crowd)}
            truth["annotations"].append(
                row | {"id": len(truth["annotations"]) + 1, "area": xywh(box)[2] * xywh(box)[3]}
            )
        answers += [
            {"image_id": number, "category_id": int(category), "bbox": xywh(box), "score": float(score)}
            for box, score, category in zip(
                detections.boxes_xyxy, detections.scores, detections.categories, strict=True
            )
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO()
        gold.dataset = truth
        gold.createIndex()
        judge = COCOeval(gold, gold.loadRes(answers), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # [T, R, C]
    return np.where(precision < 0, np.nan, precision).mean(axis=1)


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_pycocotools_with_crowds_and_ties(seed: int) -> None:
    pairs = [drawn(1000 * seed + row) for row in range(25)]
    ours = average_precision([pair[0] for pair in pairs], [pair[1] for pair in pairs], 3)
    np.testing.assert_allclose(ours, coco_precision(pairs, 3), atol=1e-12)
    assert 0.02 < np.nanmean(ours) < 0.98


# contrasts


def test_contrasts_by_hand() -> None:
    pairs = Contrasts(
        ("a", "a", "b", "b", "c", "c"),
        right=np.array([0.9, 0.8, 0.9, 0.3, 0.3, 0.3], np.float32),
        wrong=np.array([0.1, 0.2, 0.2, 0.4, 0.3, 0.2], np.float32),
    )
    hits = pairs.hits()
    assert hits["text"].tolist() == [1, 0, 0], "b's second picture is nearer to the other caption, c's first to neither"
    # caption 0 of b: 0.9 with its picture, 0.4 with the other; caption 1: 0.3 with its own, 0.2 with the other
    assert hits["image"].tolist() == [1, 1, 0]
    assert hits["group"].tolist() == [1, 0, 0]
    alone = Contrasts(("a", "b"), np.array([0.5, 0.1], np.float32), np.array([0.4, 0.2], np.float32))
    assert {name: values.tolist() for name, values in alone.hits().items()} == {"text": [1.0, 0.0]}


# picture by picture


class Model:
    """Texts that point east or north; regions are ranked by cosine, or as told."""

    def __init__(self, confidence: Any = None, can_ground: bool = True) -> None:
        self.info, self.confidence = SimpleNamespace(can_ground=can_ground), confidence

    def texts(self, texts: list[str]) -> Any:
        return np.array([EAST if text.startswith("east") else NORTH for text in texts], np.float32).reshape(-1, 2)

    def rank(self, item: EvaluationItem, features: ImageFeatures, texts: list[str]) -> RegionRanking:
        ranking = features.region_embeds @ self.texts(texts).T
        return RegionRanking(ranking, None, self.confidence)


def seen(*regions: Any) -> ImageFeatures:
    boxes = np.array(HALVES[: len(regions)], np.float32).reshape(-1, 4)
    embeds = np.array(regions, np.float32).reshape(-1, 2)
    return ImageFeatures(np.array(EAST, np.float32), embeds, boxes, np.ones(len(regions), np.float32))


def item(**facts: Any) -> EvaluationItem:
    return EvaluationItem("a", lambda: picture(0), **facts)


def results(model: Any, *pairs: tuple[EvaluationItem, ImageFeatures], categories: Any = ()) -> RegionResults:
    kept = RegionResults(model, categories)
    for row, (each, features) in enumerate(pairs):
        kept.add(each, features, row)
    return kept


def test_a_sentence_is_right_by_any_of_its_boxes_and_found_nowhere_is_wrong() -> None:
    asked = item(
        sentences=(
            GroundedSentence("east", (HALVES[1], (0.0, 0.0, 0.5, 0.5))),
            GroundedSentence("north", (HALVES[0],)),
        )
    )
    other = item(sentences=(GroundedSentence("east side", (HALVES[0],)),))
    grounding = results(Model(), (asked, seen(EAST, NORTH)), (other, seen(EAST, NORTH)), (asked, seen())).grounding()
    assert grounding
    assert grounding.ious.tolist() == [0.5, 0.0, 1.0, 0.0, 0.0]
    assert grounding.picture.tolist() == [0, 0, 1, 2, 2]
    assert grounding.cosines.tolist() == [1, 1, 1, -1, -1] and grounding.absent.tolist() == [1, 1]
    assert results(Model(can_ground=False), (asked, seen())).grounding() is None


def test_a_picture_that_was_looked_at_for_nothing_has_no_detections() -> None:
    asked = item(objects=PictureObjects((), (), (), asked=()))
    kept = results(Model(), (asked, seen(EAST, NORTH)), categories=("north",)).detection()
    assert kept and [len(each.boxes_xyxy) for each in kept.found] == [0]


def test_detections_are_of_what_was_looked_for_by_the_surest_score_that_there_is() -> None:
    truth = PictureObjects((HALVES[0],), (2,), (False,), asked=(0, 2))
    asked = item(objects=truth)
    kept = results(Model(), (asked, seen(EAST, NORTH)), categories=("north", "x", "east")).detection()
    assert kept and kept.truths == (truth,)
    [one] = kept.found
    pairs = sorted(zip(one.categories.tolist(), one.scores.tolist(), one.boxes_xyxy[:, 0].tolist(), strict=True))
    assert pairs == [(0, 0.0, 0.0), (0, 1.0, 0.5), (2, 0.0, 0.5), (2, 1.0, 0.0)]
    sure = np.array([[0.1, 0.2], [0.3, 0.9]], np.float32)
    [told] = results(Model(sure), (asked, seen(EAST, NORTH)), categories=("north", "x", "east")).detection().found  # type: ignore[union-attr]
    assert told.scores.tolist() == pytest.approx([0.9, 0.3, 0.2, 0.1])


def test_a_copy_of_a_box_is_detected_once() -> None:
    same = ImageFeatures(
        np.array(EAST, np.float32),
        np.array([EAST, EAST], np.float32),
        np.array([HALVES[0]] * 2, np.float32),
        np.ones(2),
    )
    truth = PictureObjects((HALVES[0],), (0,), (False,), asked=(0,))
    kept = results(Model(), (item(objects=truth), same), categories=("east",)).detection()
    assert kept and len(kept.found[0].scores) == 1


def test_captions_are_told_apart_by_the_whole_picture() -> None:
    told = results(Model(can_ground=False), (item(contrast=CaptionContrast("e", "east", "north")), seen())).contrasts()
    assert told and (told.right.tolist(), told.wrong.tolist()) == ([1.0], [0.0])


# a whole evaluation


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, config = tmp_path_factory.mktemp("checkpoints"), tiny_config()
    for seed, name in enumerate(("one", "two")):
        save_pretrained(tiny_model(config, seed), config, folder / name, card=ModelCard(name, "nothing"))
    twin = config.as_clip()
    save_pretrained(tiny_model(twin), twin, folder / "clip", card=ModelCard("clip", "nothing"))
    return folder


def draw(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for row, name in enumerate(names):
        picture(row, (40, 40)).save(folder / name)


def test_objects_and_contrasts_have_tables_leads_and_lines(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "boxed" / "test", [f"{row}.png" for row in range(4)])
    content = {
        "images": [{"id": row, "file_name": f"{row}.png", "width": 40, "height": 40} for row in range(4)],
        "annotations": [
            {"id": row, "image_id": row // 2, "category_id": row % 2, "bbox": [0, 0, 30, 30]} for row in range(8)
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    (tmp_path / "boxed" / "test" / "_annotations.coco.json").write_text(json.dumps(content))
    rows = [
        {"id": n, **{f"image_{m}": f"{n}-{m}" for m in (0, 1)}, "caption_0": "a b", "caption_1": "b a"}
        for n in range(4)
    ]
    draw(tmp_path / "winoground" / "images", [f"{n}-{m}.png" for n in range(4) for m in range(2)])
    (tmp_path / "winoground" / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    models = tuple(str(checkpoints / name) for name in ("one", "two", "clip"))
    sets = (f"{tmp_path}/boxed#test", "winoground")
    metrics = evaluate(EvaluateConfig(models, sets, tmp_path / "run", root=tmp_path))
    boxed, contrasted = metrics["data_sets"]
    assert metrics["failures"] == []
    assert [row["model"] for row in boxed["detection"]] == ["one", "two"], "a CLIP finds no boxes"
    assert all(row["categories"] == 2 and 0 <= row["ap"][0] <= row["ap50"][0] <= 1 for row in boxed["detection"])
    assert [(lead["model"], lead["way"]) for lead in boxed["leads"]] == [("two", "detection_ap")]
    ap = [row["ap"][0] for row in boxed["detection"]]
    assert boxed["leads"][0]["lead"][0] == pytest.approx(ap[1] - ap[0])
    assert [row["model"] for row in contrasted["contrasts"]] == ["one", "two", "clip"]
    for row in contrasted["contrasts"]:
        assert row["examples"] == 4 and row["group"][0] <= min(row["text"][0], row["image"][0])
    assert {lead["way"] for lead in contrasted["leads"]} == {"contrast_text", "contrast_image", "contrast_group"}
    lines = (tmp_path / "run" / "measures.csv").read_text()
    assert "test,one,ap50," in lines and "winoground,clip,group," in lines
    assert Image.open(tmp_path / "boxed" / "test" / "0.png").size == (40, 40)
    drawn = evaluate(EvaluateConfig(models[:1], ("winoground",), tmp_path / "few", root=tmp_path, limit=3))
    assert drawn["data_sets"][0]["contrasts"][0]["examples"] == 1, "pictures of an example are drawn together"


def test_a_class_of_several_names_is_recognised_by_any_of_them(checkpoints: Path, tmp_path: Path) -> None:
    place = tmp_path / "objectnet-1.0"
    for folder in ("chair", "bench"):
        draw(place / "images" / folder, ["0.png", "1.png"])
    (place / "mappings").mkdir()
    maps = {
        "folder_to_objectnet_label": {"chair": "Chair", "bench": "Bench"},
        "objectnet_to_imagenet_1k": {"Chair": "barber chair; rocking chair, rocker", "Bench": "park bench"},
    }
    for name, content in maps.items():
        (place / "mappings" / f"{name}.json").write_text(json.dumps(content))
    asked = EvaluateConfig((str(checkpoints / "clip"),), ("objectnet",), tmp_path / "run", root=tmp_path)
    metrics = evaluate(asked)
    [found] = metrics["data_sets"]
    assert (found["classes"], found["labelled"], [row["way"] for row in found["rows"]]) == (2, 4, ["names"])
    maps["objectnet_to_imagenet_1k"]["Bench"] = "rocking chair"
    (place / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps(maps["objectnet_to_imagenet_1k"]))
    with pytest.raises(ValueError, match="two classes of objectnet go by the name 'rocking chair'"):
        evaluate(asked)
