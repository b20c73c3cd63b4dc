import csv
import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.evaluation import novel_hits
from grain.checkpoint import model_digest
from grain.data.loader import find_shards, read_records
from grain.data.record import ShardRecord
from grain.evaluate.evaluate import EvaluateConfig, evaluate, labels_of, main
from grain.evaluate.evaluated_models import open_model
from grain.evaluate.features import ARRAYS
from grain.evaluate.held_out import encode_records, grounding_ious, held_out_metrics
from grain.evaluate.notes import notes_on
from grain.evaluate.report import _cell
from grain.evaluate.retrieval import ranks
from grain.evaluate.scoring import Outcomes
from grain.evaluate.summary import ResultRow, compared
from grain.model.encode import TorchEncoder
from grain.model.pretrained import ModelCard, export_open_clip, from_pretrained, save_pretrained
from grain.predict import Predictor
from grain.structures import ImageFeatures
from tests.support.tiny import FakeEncoder, finish, picture, start, tiny_config, tiny_model, unit, write_data
from user_errors import DiskFullError

TEXTS = {"east": unit(1, 0), "north": unit(0, 1), "zorbex": unit(1, 0.2), "quimble": unit(0.2, 1)}
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


def record(caption: str, boxes: list[tuple], texts: list[str]) -> ShardRecord:
    return ShardRecord(caption, picture(0), caption, tuple(boxes), tuple(texts), None)


PREDICTOR = Predictor(FakeEncoder(TEXTS, features([1, 0])))
LEFT_AND_RIGHT = features([1, 0], TEXTS["east"], TEXTS["north"])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny GRAIN and the CLIP twin that it names."""
    folder, config = tmp_path_factory.mktemp("checkpoints"), tiny_config()
    save_pretrained(tiny_model(config), config, folder / "tiny", card=ModelCard("tiny", "nothing", twin="tiny-clip"))
    twin = config.as_clip()
    save_pretrained(tiny_model(twin), twin, folder / "tiny-clip", card=ModelCard("tiny-clip", "nothing"))
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
    assert found["grounding_acc50"].low < 0.02 and found["grounding_acc50"].high > 0.98, "one of two says little"


def test_a_checkpoint_that_cannot_ground_has_no_grounding_metrics() -> None:
    found = held_out_metrics(PREDICTOR, [features([1, 0])], [record("east", [(0.0, 0.0, 0.5, 1.0)], ["east"])])
    assert found.keys() == set(RETRIEVAL)


def test_a_novel_picture_is_a_hit_where_its_class_wins() -> None:
    classes = {"zorbex": ["north"], "quimble": []}
    seen = [features([1, 0]), features([0, 1])]
    by_name = Predictor(FakeEncoder(TEXTS, seen[0]))
    hits = novel_hits(by_name, seen, names=["quimble", "quimble"], classes={"zorbex": [], "quimble": []}, alpha=1.0)
    assert hits.tolist() == [0.0, 1.0]
    assert novel_hits(by_name, seen, names=["zorbex", "zorbex"], classes=classes, alpha=1.0).tolist() == [0.0, 1.0]


def test_a_class_without_descriptions_of_its_own_is_refused_where_it_is_not_known() -> None:
    with pytest.raises(ValueError, match=r"the class 'zorbax' of a picture is not in classes.json"):
        novel_hits(PREDICTOR, [features([1, 0])], names=["zorbax"], classes={"zorbex": []}, alpha=1.0)


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


@pytest.fixture(scope="module")
def result(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Path:
    """A finished evaluation of the GRAIN and its twin."""
    out = tmp_path_factory.mktemp("evaluation")
    main(EvaluateConfig((str(checkpoints / "tiny"),), (str(data_folder),), out))
    return out


def loaded(out: Path, name: str = "metrics.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / name).read_text(encoding="utf-8"))["data_sets"][0]
    return content


def test_every_way_of_asking_has_its_numbers_with_intervals_and_every_pair_its_test(result: Path) -> None:
    metrics = loaded(result)
    assert [row["row"] for row in metrics["rows"]] == [
        "tiny · names",
        "tiny · descriptions",
        "tiny · regions",
        "tiny · mixed",
        "tiny-clip · names",
        "tiny-clip · descriptions",
    ]
    for row in metrics["rows"]:
        for name in ("top1", "top5"):
            value, low, high = row[name]
            assert 0 <= low <= value <= high <= 1
        assert row["top5"][0] == 1.0, "there are three classes"
    assert len(metrics["pairs"]) == 15
    shares = {row["row"]: row["top1"][0] for row in metrics["rows"]}
    for pair in metrics["pairs"]:
        assert pair["lead"][0] == pytest.approx(shares[pair["one"]] - shares[pair["other"]])
        assert pair["only_one"] - pair["only_other"] == pytest.approx(4 * pair["lead"][0])
        assert 0 < pair["p_value"] <= 1
    ways = [lead["way"] for lead in metrics["leads"]]
    assert ways == ["names", "descriptions", "best", "image_to_text_r1", "text_to_image_r1"]
    for lead in metrics["leads"][:3]:
        assert (lead["model"], lead["lead"][0]) == ("tiny-clip", shares[lead["one"]] - shares[lead["other"]])
    assert metrics["leads"][2]["other"] == max(
        (row for row in shares if "clip" not in row), key=lambda row: shares[row]
    )
    assert (metrics["split"], metrics["pictures"], metrics["labelled"], metrics["classes"]) == ("novel", 4, 4, 3)
    assert metrics["descriptions"]["report"] == ["1 class has none and goes by its name alone: plain."]


def test_of_many_rows_the_best_of_each_model_is_among_those_that_are_compared() -> None:
    def row(model: str, way: str, right: int) -> ResultRow:
        rank = (np.arange(4) >= right).astype(np.int64)
        return ResultRow(model, way, Outcomes(rank, rank, np.ones(4, np.float32), np.ones(4, np.float32)))

    rows = [row(model, way, right) for model in "abc" for way, right in (("names", 1), ("regions", 3), ("mixed", 2))]
    kept = [each.name for each in compared(rows, most=4)]
    assert kept == ["a · names", "a · regions", "b · regions", "c · regions"]
    assert compared(rows) == rows and compared([]) == []


def test_the_numbers_are_those_of_the_functions_that_training_uses(
    result: Path, checkpoints: Path, data_folder: Path
) -> None:
    predictor = Predictor.from_pretrained(checkpoints / "tiny")
    records = list(read_records(find_shards(data_folder, "novel")))
    seen = predictor.batch_features([each.image for each in records])
    classes = json.loads((data_folder / "classes.json").read_text())
    names = [str(each.class_name) for each in records]
    rows = {row["row"]: row["top1"][0] for row in loaded(result)["rows"]}
    for way, alpha in (("descriptions", 1.0), ("regions", 0.0)):
        assert rows[f"tiny · {way}"] == novel_hits(predictor, seen, names=names, classes=classes, alpha=alpha).mean()
    bare: dict[str, list[str]] = {name: [] for name in classes}
    assert rows["tiny · names"] == novel_hits(predictor, seen, names=names, classes=bare, alpha=1.0).mean()
    held_out = held_out_metrics(predictor, seen, records)
    assert loaded(result)["grounding"][0]["acc50"][0] == pytest.approx(held_out["grounding_acc50"].value)
    assert loaded(result)["retrieval"][0]["image_to_text_r1"][0] == held_out["retrieval_image_to_text_r1"].value


def test_details_hold_what_the_page_draws_and_every_picture_that_it_points_to(result: Path) -> None:
    details = loaded(result, "details.json")
    wanted = {row for pair in details["deltas"] for row in (*pair["wins"], *pair["losses"])}
    wanted |= {row for each in details["rows"].values() for pair in each["confused"] for row in pair["pictures"]}
    apart = [(pair, each) for pair in details["deltas"] for each in pair["apart"]]
    wanted |= {each["picture"] for _, each in apart}
    wanted |= {each["picture"] for found in details["effects"].values() for each in found["shown"]}
    assert apart, "some pair differs on some class"
    for pair, each in apart:
        one = details["pictures"][str(each["picture"])]
        right = {name: one["rows"][pair[name]]["said"] == each["name"] for name in ("one", "other")}
        [value] = [row["lead"][0] for row in pair["classes"] if row["name"] == each["name"]]
        assert one["true"] == each["name"] and right == {"one": value > 0, "other": value < 0}
    assert wanted and set(details["pictures"]) == {str(row) for row in wanted}
    for one in details["pictures"].values():
        assert (result / "pictures" / one["file"]).is_file()
        assert one["true"] in details["classes"] and len(one["rows"]) == 6
    described = next(one for one in details["pictures"].values() if one["true"] == "zorbex")
    assert [region["text"] for region in described["regions"]["tiny"]] == ["a red lid", "a blue star"]
    assert [point[0] for point in details["sweeps"]["tiny"]["curves"][0]] == [round(0.1 * i, 1) for i in range(11)]
    curve = details["grounding"]["tiny"]
    assert curve["cosine"] == sorted(curve["cosine"], reverse=True) and curve["recall"] == sorted(curve["recall"])
    assert details["effects"]["tiny"]["descriptions"] == 2, "the only one of a class cannot be left out"


def test_the_tables_can_be_opened_elsewhere(result: Path) -> None:
    with (result / "results.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 6
    with (result / "pictures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 4
    right = [line["said"] == line["class"] for line in lines if line["row"] == "tiny · names"]
    assert sum(right) / 4 == loaded(result)["rows"][0]["top1"][0]


def test_a_name_that_would_be_a_formula_is_marked_as_text() -> None:
    assert [_cell(value) for value in ("=cmd()", "+1", "plain", 0.5, None)] == ["'=cmd()", "'+1", "plain", 0.5, None]


def test_data_sets_of_one_name_are_told_apart_by_their_paths_and_one_named_twice_is_one(
    checkpoints: Path, tmp_path: Path
) -> None:
    places = [tmp_path / "night" / "test", tmp_path / "day" / "test", tmp_path / "birds"]
    for place in places:
        (place / "fox").mkdir(parents=True)
        picture(0).save(place / "fox" / "0.png")
    out = tmp_path / "run"
    metrics = evaluate(EvaluateConfig((str(checkpoints / "tiny"),), tuple(map(str, [*places, places[0]])), out))
    names = ["night/test", "day/test", "birds"]
    assert [each["name"] for each in metrics["data_sets"]] == names
    with (out / "results.csv").open(newline="") as file:
        assert list(dict.fromkeys(row["data_set"] for row in csv.DictReader(file))) == names


def test_ways_of_others_stand_beside_ours_where_they_are_asked_for(
    checkpoints: Path, data_folder: Path, tmp_path: Path
) -> None:
    models, ways = (str(checkpoints / "tiny"),), ("filtered", "weighted_crops")
    asked = EvaluateConfig(models, (str(data_folder),), tmp_path / "run", other_ways=ways, crops=2, twins=False)
    once, again = evaluate(asked), evaluate(asked)
    rows = once["data_sets"][0]["rows"]
    assert [row["way"] for row in rows] == ["names", "descriptions", *ways, "regions", "mixed"]
    assert [row["top1"] for row in rows] == [row["top1"] for row in again["data_sets"][0]["rows"]]
    clauses = evaluate(replace(asked, other_ways=(), grammar="authors", out=tmp_path / "clauses"))
    assert [row["way"] for row in clauses["data_sets"][0]["rows"]] == ["names", "descriptions", "regions", "mixed"]


def test_no_crops_are_refused() -> None:
    with pytest.raises(ValueError, match="crops must be at least 1, got 0"):
        EvaluateConfig(("sample",), ("x",), crops=0)


class Counted:
    """Counts what a checkpoint is asked; fails at a picture if told so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> None:
        self.pictures = self.texts = 0
        images, texts = TorchEncoder.encode_images, TorchEncoder.encode_texts

        def encode_images(encoder: TorchEncoder, pictures: list[Any], proposals: Any = None) -> Any:
            self.pictures += len(pictures)
            if fail_at is not None and self.pictures > fail_at:
                raise KeyboardInterrupt
            return images(encoder, pictures, proposals)

        def encode_texts(encoder: TorchEncoder, some: list[str]) -> Any:
            self.texts += len(some)
            return texts(encoder, some)

        monkeypatch.setattr(TorchEncoder, "encode_images", encode_images)
        monkeypatch.setattr(TorchEncoder, "encode_texts", encode_texts)


def test_an_interrupted_evaluation_goes_on_where_it_was_and_comes_to_the_same(
    result: Path, checkpoints: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grain.evaluate.features.BATCH", 2)
    config = EvaluateConfig((str(checkpoints / "tiny"),), (str(data_folder),), tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Counted(patch, fail_at=4)
        evaluate(config)
    assert not (tmp_path / "run" / "metrics.json").exists()
    with monkeypatch.context() as patch:
        counted = Counted(patch)
        evaluate(config)
        assert counted.pictures == 4, "the twin's; those of the first model were kept"
    ours, theirs = loaded(tmp_path / "run"), loaded(result)
    assert [row["top1"] for row in ours["rows"]] == [row["top1"] for row in theirs["rows"]]
    assert ours["pairs"] == theirs["pairs"]


def test_the_second_run_encodes_nothing(
    checkpoints: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluateConfig(
        (str(checkpoints / "tiny"),), (str(data_folder),), tmp_path / "one", cache=tmp_path / "cache"
    )
    evaluate(config)
    counted = Counted(monkeypatch)
    metrics = evaluate(replace(config, out=tmp_path / "two"))
    assert (counted.pictures, counted.texts) == (0, 0)
    assert [model["texts_encoded"] for model in metrics["data_sets"][0]["models"]] == [0, 0]


def test_a_damaged_batch_is_encoded_again(
    checkpoints: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluateConfig((str(checkpoints / "tiny-clip"),), (str(data_folder),), tmp_path / "run")
    before = evaluate(config)
    [batch] = (tmp_path / "run" / "cache" / "features").glob("*/*/*.safetensors")
    batch.write_bytes(batch.read_bytes()[:-8])
    counted = Counted(monkeypatch)
    assert evaluate(config)["data_sets"][0]["rows"] == before["data_sets"][0]["rows"]
    assert counted.pictures == 4


def test_a_model_in_another_precision_is_encoded_anew(
    checkpoints: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluateConfig((str(checkpoints / "tiny-clip"),), (str(data_folder),), tmp_path / "run", precision="bf16")
    half = evaluate(config)["data_sets"][0]["models"][0]
    counted = Counted(monkeypatch)
    full = evaluate(replace(config, precision="fp32"))["data_sets"][0]["models"][0]
    assert counted.pictures == 4 and counted.texts > 0
    assert half["digest"] != full["digest"] == model_digest(checkpoints / "tiny-clip")
    evaluate(replace(config, precision="auto"))
    assert counted.pictures == 4, "for so small a model auto is fp32, too"


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_model_that_sees_no_numbers_is_refused_by_name(data_folder: Path, tmp_path: Path, tower: str) -> None:
    config = tiny_config().as_clip()
    model = tiny_model(config)
    with torch.no_grad():
        next(getattr(model, tower).parameters()).fill_(torch.nan)
    save_pretrained(model, config, tmp_path / "broken", card=ModelCard("broken", "nothing"))
    asked = EvaluateConfig((str(tmp_path / "broken"),), (str(data_folder),), tmp_path / "run")
    what = "pictures" if tower == "vision" else "texts"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^broken embeds {what} as NaN or infinity, expected finite numbers"):
            evaluate(asked)
    assert not list((tmp_path / "run" / "cache" / "features").rglob("*.safetensors"))


def test_a_broken_model_and_a_broken_set_leave_the_other_pairs_as_they_would_be_alone(
    checkpoints: Path, data_folder: Path, captioned: Path, tmp_path: Path
) -> None:
    config = tiny_config().as_clip()
    model = tiny_model(config)
    with torch.no_grad():
        next(model.text.parameters()).fill_(torch.nan)
    save_pretrained(model, config, tmp_path / "broken", card=ModelCard("broken", "nothing"))
    shutil.copytree(captioned, tmp_path / "cut")
    picture = tmp_path / "cut" / "flickr30k-images" / "3.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    models = (str(tmp_path / "broken"), str(checkpoints / "tiny"), "nowhere", str(checkpoints / "tiny-clip"))
    sets = (str(tmp_path / "cut"), str(data_folder), "cifar10", str(captioned))
    asked = EvaluateConfig(models, sets, tmp_path / "run", root=tmp_path)
    metrics = evaluate(asked)
    assert [data["asked"] for data in metrics["data_sets"]] == [str(data_folder), str(captioned)]
    for data in metrics["data_sets"]:
        alone = evaluate(replace(asked, models=models[1:2], data_sets=(data["asked"],), out=tmp_path / "alone"))
        assert alone["failures"] == []
        [right] = alone["data_sets"]
        for found in ("rows", "retrieval", "grounding"):
            assert data[found] == right[found] and len(data["models"]) == 2
    reasons = {(each["model"], each["data_set"]): each["reason"] for each in metrics["failures"]}
    assert len(reasons) == len(metrics["failures"]) == 16 - 4
    assert reasons["tiny", "cifar10"].startswith("CIFAR-10 is not on this machine")
    assert reasons["broken", str(data_folder)].startswith("Broken embeds texts as NaN")
    assert reasons["nowhere", str(captioned)].startswith("Nowhere is no checkpoint folder")
    assert "3.jpg cannot be read as a picture" in reasons["tiny-clip", str(tmp_path / "cut")]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["failures"] == metrics["failures"]


def test_a_full_disk_ends_an_evaluation_at_once(
    checkpoints: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: Any) -> Any:
        raise DiskFullError.on(tmp_path)

    monkeypatch.setattr("grain.evaluate.features._save", no_room)
    with pytest.raises(DiskFullError):
        evaluate(EvaluateConfig((str(checkpoints / "tiny"),), (str(data_folder),), tmp_path / "run"))


def test_doubts_about_the_data_are_noted() -> None:
    notes = notes_on(["Fox", "owl", "fox", "elk"], np.array([0, 0, 1]), pictures=3)
    assert len(notes) == 3 and "3 pictures: fewer than 30" in notes[0]
    assert "2 of 4 classes have no picture here" in notes[1] and "fox, elk" in notes[1]
    assert notes[2].startswith("The classes 'Fox' and 'fox' differ only by case, spaces, punctuation")
    alike = notes_on(["ice-cream", "café", "Ice cream", "cafe\u0301", "icecream"], np.arange(5), pictures=40)
    assert [note.partition(" differ")[0] for note in alike] == [
        "The classes 'ice-cream' and 'Ice cream'",
        "The classes 'café' and 'cafe\u0301'",
    ]
    assert notes_on(["fox"], np.zeros(1, int), pictures=1)[0].startswith("There is 1 picture: fewer")
    assert notes_on(["fox", "owl"], np.arange(40) % 2, pictures=40) == []
    assert notes_on((), np.zeros(0, int), pictures=30) == [], "captions alone have no classes to lack"
    [few] = notes_on((), np.zeros(0, int), pictures=30, categories=3)
    assert few.startswith("3 categories have boxes: an AP over fewer than 10")
    assert notes_on((), np.zeros(0, int), pictures=30, categories=10) == []


def test_numbers_that_an_earlier_version_kept_broken_are_not_read(
    checkpoints: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluateConfig((str(checkpoints / "tiny-clip"),), (str(data_folder),), tmp_path / "run")
    before = evaluate(config)
    [batch] = (tmp_path / "run" / "cache" / "features").glob("*/*/*.safetensors")
    with safe_open(batch, "numpy") as kept:
        facts, arrays = kept.metadata(), {name: kept.get_tensor(name) for name in ARRAYS}
    arrays["images"][0, 0] = np.nan
    save_file(arrays, batch, facts)
    counted = Counted(monkeypatch)
    assert evaluate(config)["data_sets"][0]["rows"] == before["data_sets"][0]["rows"]
    assert counted.pictures == 4


def test_descriptions_of_a_file_take_the_place_of_those_that_came_along(
    checkpoints: Path, data_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"Zorbex": ["a lid"], "plain": ["nothing", "nothing"], "moon": []}))
    config = EvaluateConfig((str(checkpoints / "tiny-clip"),), (str(data_folder),), tmp_path / "run")
    for named in (str(file), f"{data_folder}={file}"):
        metrics = evaluate(replace(config, descriptions=(named,)))["data_sets"][0]
        assert (metrics["descriptions"]["source"], metrics["descriptions"]["texts"]) == ("mine.json", 2)
        assert len(metrics["descriptions"]["report"]) == 3
    with pytest.raises(ValueError, match=f"names 'cifar10', which is none of the data sets: name {data_folder}"):
        replace(config, descriptions=(f"cifar10={file}",))


def test_a_published_set_takes_the_descriptions_that_lie_beside_it_under_its_name(
    checkpoints: Path, tmp_path: Path
) -> None:
    names = ("banded", "dotted")
    for name in names:
        (tmp_path / "dtd/dtd/images" / name).mkdir(parents=True)
        picture(0, (40, 40)).save(tmp_path / "dtd/dtd/images" / name / "0.png")
    (tmp_path / "dtd/dtd/labels").mkdir()
    (tmp_path / "dtd/dtd/labels/test1.txt").write_text("banded/0.png\ndotted/0.png\n")
    config = EvaluateConfig((str(checkpoints / "tiny-clip"),), ("dtd",), tmp_path / "run", root=tmp_path)
    [bare] = evaluate(config)["data_sets"]
    assert [row["way"] for row in bare["rows"]] == ["names"] and "2 classes and 2 pictures here" in bare["note"]
    (tmp_path / "descriptions").mkdir()
    (tmp_path / "descriptions" / "dtd.json").write_text(json.dumps({name: ["thin lines"] for name in names}))
    [described] = evaluate(config)["data_sets"]
    assert described["descriptions"]["source"] == "descriptions/dtd.json" and described["descriptions"]["texts"] == 2


def test_captions_and_regions_are_measured_without_any_class(
    checkpoints: Path, data_folder: Path, tmp_path: Path
) -> None:
    config = EvaluateConfig((str(checkpoints / "tiny"),), (f"{data_folder}#held_out",), tmp_path / "run", limit=5)
    metrics = evaluate(config)["data_sets"][0]
    assert (metrics["pictures"], metrics["labelled"], metrics["rows"]) == (5, 0, [])
    assert len(metrics["retrieval"]) == 2 and len(metrics["grounding"]) == 1


def test_a_checkpoint_that_looks_at_the_picture_again_finds_the_second_time_what_it_found_the_first(
    data_folder: Path, tmp_path: Path
) -> None:
    config = EvaluateConfig(("photo",), (f"{data_folder}#held_out",), tmp_path / "one", cache=tmp_path / "cache")
    first, second = (evaluate(each) for each in (config, replace(config, out=tmp_path / "two")))
    assert (first["failures"], second["failures"]) == ([], [])
    assert len(first["data_sets"][0]["grounding"]) == 1
    assert second["data_sets"][0]["grounding"] == first["data_sets"][0]["grounding"]
    [kept] = (tmp_path / "cache" / "features").iterdir()
    assert kept.name == open_model("photo", tmp_path / "cache").features_digest


def test_features_are_kept_by_how_a_model_sees_long_pictures_if_that_is_in_parts(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, clip = (open_model(spec, tmp_path) for spec in ("photo-names", str(checkpoints / "tiny-clip")))
    assert clip.features_digest == clip.digest
    now = photo.features_digest
    monkeypatch.setattr("grain.evaluate.evaluated_models.TILING", "tiles of another size")
    assert len({photo.digest, now, photo.features_digest}) == 3


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures with two captions each, as Flickr30k packs them."""
    root = tmp_path_factory.mktemp("captioned")
    (root / "flickr30k-images").mkdir()
    lines = []
    for number in range(5):
        picture(number, (40, 40)).save(root / "flickr30k-images" / f"{number}.jpg")
        lines += [f"{number}.jpg#{row}\tcaption {row} of {number}" for row in range(2)]
    (root / "results_all.token").write_text("\n".join(lines), encoding="utf-8")
    return root


def test_retrieval_is_measured_both_ways_with_several_captions_a_picture(
    checkpoints: Path, captioned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    [found] = evaluate(EvaluateConfig((str(checkpoints / "tiny"),), (str(captioned),), out))["data_sets"]
    assert (found["pictures"], found["captions"], found["rows"]) == (5, 10, [])
    predictor = Predictor.from_pretrained(checkpoints / "tiny")
    images = [Image.open(file).convert("RGB") for file in sorted((captioned / "flickr30k-images").iterdir())]
    texts = [f"caption {row} of {number}" for number in range(5) for row in range(2)]
    embeds = np.stack([each.image_embed for each in predictor.batch_features(images)])
    expected = ranks(embeds, predictor.embed_texts(texts), np.arange(10) // 2).recalls()
    row = found["retrieval"][0]
    assert {name: row[name][0] for name in expected} == {name: pytest.approx(r.value) for name, r in expected.items()}
    assert set(expected) == {f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)}
    ahead = {lead["way"]: lead["lead"][0] for lead in found["leads"]}
    for way in ("image_to_text_r1", "text_to_image_r1"):
        assert ahead[way] == pytest.approx(found["retrieval"][1][way][0] - row[way][0])
    with (out / "measures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["model"], line["measure"]) for line in lines[:2]] == [
        ("tiny", "image_to_text_r1"),
        ("tiny", "text_to_image_r1"),
    ]
    assert len(lines) == 12 and float(lines[0]["value"]) == row["image_to_text_r1"][0]


def test_retrieval_stopped_half_way_goes_on_and_the_second_time_encodes_nothing(
    checkpoints: Path, captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grain.evaluate.features.BATCH", 2)
    config = EvaluateConfig((str(checkpoints / "tiny"),), (str(captioned),), tmp_path / "run", twins=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Counted(patch, fail_at=2)
        evaluate(config)
    for pictures, texts in ((3, 10), (0, 0)):
        with monkeypatch.context() as patch:
            counted = Counted(patch)
            evaluate(config)
            assert (counted.pictures, counted.texts) == (pictures, texts)


def test_an_open_clip_file_is_a_model_like_any_other(checkpoints: Path, data_folder: Path, tmp_path: Path) -> None:
    config = tiny_config()
    fields = {"embed_dim": config.embed_dim, "vision_cfg": config.vision_cfg, "text_cfg": config.text_cfg}
    file, weights = tmp_path / "tiny-evaluated.json", tmp_path / "weights.safetensors"
    file.write_text(json.dumps(fields), encoding="utf-8")
    open_clip.add_model_config(file)
    export_open_clip(from_pretrained(checkpoints / "tiny-clip")[0], weights)
    specs = (f"open_clip:tiny-evaluated={weights}", str(checkpoints / "tiny-clip"))
    metrics = evaluate(EvaluateConfig(specs, (str(data_folder),), tmp_path / "run"))["data_sets"][0]
    assert [row["way"] for row in metrics["rows"]] == 2 * ["names", "descriptions"]
    ours, theirs = metrics["rows"][:2], metrics["rows"][2:]
    assert metrics["models"][0]["parameters"] == metrics["models"][1]["parameters"]
    assert [row["top1"] for row in theirs] != [] and ours[0]["model"] == specs[0]


def test_models_are_called_by_their_folder_unless_two_would_be_alike() -> None:
    assert labels_of(["a/best", "b/last"]) == {"a/best": "a", "b/last": "last"}, "a run's best goes by the run's name"
    assert labels_of(["x/a", "y/a"]) == {"x/a": "x/a", "y/a": "y/a"}


def test_a_set_of_novel_concepts_that_holds_nothing_out_is_evaluated(checkpoints: Path, tmp_path: Path) -> None:
    data, models = write_data(tmp_path / "data", train=4, held_out=0), (str(checkpoints / "tiny"),)
    [found] = evaluate(EvaluateConfig(models, (str(data),), tmp_path / "run"))["data_sets"]
    assert (found["split"], found["pictures"]) == ("novel", 4) and found["rows"]
    with pytest.raises(ValueError, match=r"the split held_out of .* has no pictures"):
        evaluate(EvaluateConfig(models, (f"{data}#held_out",), tmp_path / "none"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": ("nowhere",)}, "nowhere is no checkpoint folder"),
        ({"data_sets": ("nowhere/at/all",)}, "there is no folder nowhere/at/all"),
        ({"data_sets": ("cifar10",)}, "CIFAR-10 is not on this machine"),
        ({"descriptions": ("nowhere.json",)}, "nowhere.json cannot be read"),
        ({"models": ()}, "nothing to evaluate"),
        ({"limit": 0}, "limit must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    changes: dict[str, Any], sentence: str, checkpoints: Path, data_folder: Path, tmp_path: Path
) -> None:
    config = EvaluateConfig((str(checkpoints / "tiny"),), (str(data_folder),), tmp_path / "run", root=tmp_path)
    with pytest.raises(ValueError, match=sentence):
        evaluate(replace(config, **changes))
    assert not (tmp_path / "run" / "metrics.json").exists()


def command(arguments: list[str]) -> None:
    """`python -m grain.evaluate`, where torch is imported already."""
    sys.argv = ["grain.evaluate", *arguments]
    runpy.run_module("grain.evaluate", run_name="__main__", alter_sys=True)


@pytest.mark.slow
def test_the_command_line_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    words = ["--models", "nowhere", "--data-sets", str(tmp_path), "--out", str(tmp_path / "run")]
    process = start(command, words, log=tmp_path / "log")
    assert finish(process) == 1
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith("grain.evaluate: ")
    assert "Traceback" not in (tmp_path / "log").read_text()
