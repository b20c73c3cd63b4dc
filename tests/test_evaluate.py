import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grain.data import Record, find_shards, read_records
from grain.evaluate import (
    EvaluateConfig,
    encode_records,
    evaluate,
    grounding_ious,
    held_out_metrics,
    main,
    novel_hits,
)
from grain.predict import Predictor
from grain.pretrained import Card, save_pretrained
from grain.structures import ImageFeatures
from tests.tiny import FakeEncoder, finish, picture, start, tiny_config, tiny_model, unit, write_data

TEXTS = {"east": unit(1, 0), "north": unit(0, 1), "zorbex": unit(1, 0.2), "quimble": unit(0.2, 1)}
NOVEL = ("novel_top1", "novel_top1_regions", "novel_top1_both")
GROUNDING = ("grounding_acc50", "grounding_miou")
RETRIEVAL = ("retrieval_image_to_text_r1", "retrieval_text_to_image_r1")


def features(image: list[float], *regions: list[float]) -> ImageFeatures:
    """An image embedding, and regions whose boxes are the left and the right half."""
    boxes = [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]][: len(regions)]
    return ImageFeatures(
        np.array(image, np.float32),
        np.array(regions, np.float32).reshape(-1, 2),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(len(regions), np.float32),
    )


def record(caption: str, boxes: list[tuple], texts: list[str]) -> Record:
    return Record(caption, picture(0), caption, tuple(boxes), tuple(texts), None)


PREDICTOR = Predictor(FakeEncoder(TEXTS, features([1, 0])))
LEFT_AND_RIGHT = features([1, 0], TEXTS["east"], TEXTS["north"])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny GRAIN and the CLIP twin that it names."""
    folder, config = tmp_path_factory.mktemp("checkpoints"), tiny_config()
    save_pretrained(tiny_model(config), config, folder / "tiny", Card("tiny", "nothing", twin="tiny-clip"))
    twin = config.as_clip()
    save_pretrained(tiny_model(twin), twin, folder / "tiny-clip", Card("tiny-clip", "nothing"))
    return folder


# with embeddings chosen by hand


def test_a_true_description_is_compared_with_the_box_of_its_best_region() -> None:
    records = [
        record("a", [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 0.5)], ["east", "north"]),
        record("b", [], []),
        record("c", [(0.0, 0.0, 1.0, 1.0)], ["north"]),
    ]
    ious = grounding_ious(PREDICTOR, [LEFT_AND_RIGHT] * 3, records)
    assert ious.tolist() == pytest.approx([1.0, 0.5, 0.5])


def test_without_boxes_nothing_is_compared() -> None:
    records = [record("a", [(0.0, 0.0, 0.5, 1.0)], ["east"])]
    assert grounding_ious(PREDICTOR, [features([1, 0])], records).shape == (0,)
    assert grounding_ious(PREDICTOR, [], []).shape == (0,)


def test_held_out_pictures_are_measured_by_retrieval_and_by_grounding() -> None:
    records = [record("east", [(0.0, 0.0, 0.5, 0.6)], ["east"]), record("north", [(0.0, 0.0, 0.1, 0.1)], ["north"])]
    seen = [LEFT_AND_RIGHT, features([0.9, 0.1], TEXTS["east"], TEXTS["north"])]
    found = held_out_metrics(PREDICTOR, seen, records)
    assert found.keys() == set(RETRIEVAL + GROUNDING)
    values = {name: found[name].value for name in found}
    assert values["retrieval_image_to_text_r1"] == 0.5, "both pictures look east"
    assert values["retrieval_text_to_image_r1"] == 1.0
    assert (values["grounding_acc50"], values["grounding_miou"]) == pytest.approx((0.5, 0.3))
    assert found["grounding_acc50"].low == 0 and found["grounding_acc50"].high == 1


def test_a_checkpoint_that_cannot_ground_has_no_grounding_metrics() -> None:
    found = held_out_metrics(PREDICTOR, [features([1, 0])], [record("east", [(0.0, 0.0, 0.5, 1.0)], ["east"])])
    assert found.keys() == set(RETRIEVAL)


def test_a_novel_picture_is_a_hit_where_its_class_wins() -> None:
    classes = {"zorbex": ["north"], "quimble": []}
    seen = [features([1, 0]), features([0, 1])]
    by_name = Predictor(FakeEncoder(TEXTS, seen[0]))
    hits = novel_hits(by_name, seen, ["quimble", "quimble"], {"zorbex": [], "quimble": []}, alpha=1.0)
    assert hits.tolist() == [0.0, 1.0]
    assert novel_hits(by_name, seen, ["zorbex", "zorbex"], classes, alpha=1.0).tolist() == [0.0, 1.0]


def test_a_class_without_descriptions_of_its_own_is_refused_where_it_is_not_known() -> None:
    with pytest.raises(ValueError, match=r"the class 'zorbax' of a picture is not in classes.json"):
        novel_hits(PREDICTOR, [features([1, 0])], ["zorbax"], {"zorbex": []}, alpha=1.0)


def test_no_held_out_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="held_out has no pictures"):
        held_out_metrics(PREDICTOR, [], [])


# with a checkpoint


def test_pictures_are_encoded_in_order_and_counted(checkpoints: Path, data_folder: Path) -> None:
    predictor = Predictor.from_pretrained(checkpoints / "tiny")
    records = list(read_records(find_shards(data_folder, "train")))
    seen, kept = encode_records(predictor, iter(records), total=12)
    assert [each.key for each in kept] == [each.key for each in records]
    np.testing.assert_allclose(seen[7].image_embed, predictor.features(records[7].image).image_embed, atol=1e-6)


def test_metrics_json_has_every_number_that_the_product_names_with_its_interval(
    checkpoints: Path, data_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "metrics.json"
    main(EvaluateConfig(checkpoints / "tiny", data_folder, out=out))
    metrics = json.loads(out.read_text())
    names = {*NOVEL, "clip_novel_top1", *GROUNDING, *RETRIEVAL, *(f"{name}_lead" for name in NOVEL)}
    assert metrics.keys() == names | {"intervals", "checkpoint", "novel_classes", "novel_images", "held_out_images"}
    assert metrics["intervals"].keys() == names
    for name in names:
        low, high = metrics["intervals"][name]
        assert -1 <= low <= metrics[name] <= high <= 1, name
    assert (metrics["checkpoint"], metrics["novel_classes"]) == ("tiny", 3)
    assert (metrics["novel_images"], metrics["held_out_images"]) == (4, 6)
    assert metrics["novel_top1_lead"] == pytest.approx(metrics["novel_top1"] - metrics["clip_novel_top1"])


def test_a_clip_checkpoint_is_measured_without_regions_and_without_a_twin(checkpoints: Path, data_folder: Path) -> None:
    metrics = evaluate(checkpoints / "tiny-clip", data_folder, clip=None)
    assert metrics["intervals"].keys() == {"novel_top1", *RETRIEVAL}


def test_a_twins_own_numbers_are_those_that_the_lead_is_measured_against(checkpoints: Path, data_folder: Path) -> None:
    alone = evaluate(checkpoints / "tiny-clip", data_folder, clip=None)
    beside = evaluate(checkpoints / "tiny", data_folder, clip=checkpoints / "tiny-clip")
    assert beside["clip_novel_top1"] == alone["novel_top1"]


def test_a_limit_bounds_the_pictures_of_each_split(checkpoints: Path, data_folder: Path) -> None:
    metrics = evaluate(checkpoints / "tiny", data_folder, clip=None, limit=2)
    assert (metrics["novel_images"], metrics["held_out_images"]) == (2, 2)


def test_data_without_novel_pictures_give_the_held_out_numbers_alone(checkpoints: Path, tmp_path: Path) -> None:
    metrics = evaluate(checkpoints / "tiny", write_data(tmp_path / "data", train=4, novel=0), clip=None)
    assert metrics["intervals"].keys() == set(RETRIEVAL + GROUNDING)


def test_a_set_of_novel_concepts_holds_nothing_out_and_gives_the_novel_numbers_alone(
    checkpoints: Path, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data", train=4, held_out=0)
    metrics = evaluate(checkpoints / "tiny", data, clip=None)
    assert metrics["intervals"].keys() == set(NOVEL) and metrics["held_out_images"] == 0
    with pytest.raises(ValueError, match="the split held_out has no pictures"):
        evaluate(checkpoints / "tiny", write_data(tmp_path / "none", train=4, held_out=0, novel=0), clip=None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"checkpoint": Path("nowhere")}, "nowhere is no checkpoint folder"),
        ({"data": Path("nowhere")}, "nowhere has no manifest.json"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    changes: dict, sentence: str, checkpoints: Path, data_folder: Path, tmp_path: Path
) -> None:
    config = EvaluateConfig(checkpoints / "tiny", data_folder, out=tmp_path / "metrics.json")
    with pytest.raises(ValueError, match=sentence):
        main(replace(config, **changes))
    assert not (tmp_path / "metrics.json").exists()


def command(arguments: list[str]) -> None:
    """`python -m grain.evaluate`, where torch is imported already."""
    sys.argv = ["grain.evaluate", *arguments]
    runpy.run_module("grain.evaluate", run_name="__main__", alter_sys=True)


def test_the_command_line_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    process = start(command, ["--checkpoint", "nowhere", "--data", str(tmp_path)], log=tmp_path / "log")
    assert finish(process) == 1
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith("grain.evaluate: nowhere is no checkpoint folder")
    assert "Traceback" not in (tmp_path / "log").read_text()
