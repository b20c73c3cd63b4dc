"""Fine-tuning the regions of `photo` on a few pictures with a word that nobody has."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.numpy import load_file as load_tables
from safetensors.torch import load_file

from grain.checkpoint import CARD, CONFIG, EMBEDDED, METRICS, TUNED, WEIGHTS, CheckpointInfo, read_info, verify
from grain.data.record import Box, ShardRecord
from grain.dense.features import Entity
from grain.dense.train import Picture
from grain.evaluate.held_out import found_overlaps
from grain.photo.learned import LearnedPhotoEncoder, TunedWords
from grain.photo.tokens import TOKEN_PARTS
from grain.predict import Predictor
from grain.structures import SCHEMA_VERSION, ImageFeatures, RegionRanking
from grain.train.guard import WARM
from grain.train.preflight import preflight
from grain.train.region_trainer import FEATURES, Evaluated, RegionTrainer, doubts_of
from grain.train.run_folder import RunHardware, read_hardware
from grain.train.train import region_trainer, train
from grain.train_config import TrainConfig

WORDS = ("a blicket", "a dax")
SIDE = 96  # pixels
TRAINED, HELD_OUT = 12, 6  # pictures


def drawn(number: int) -> tuple[Image.Image, list[Box]]:
    """A picture with a ring in one half and a square in the other, and the boxes of both."""
    order = np.random.default_rng(number)
    image = Image.fromarray(order.integers(90, 130, (SIDE, SIDE, 3), np.uint8))
    draw, boxes = ImageDraw.Draw(image), []
    for half, shape in zip(order.permutation(2), (draw.ellipse, draw.rectangle), strict=True):
        left, top = 6 + 46 * int(half), int(order.integers(4, SIDE - 44))
        shape((left, top, left + 38, top + 38), outline=(240, 240, 60), width=7)
        boxes.append((left / SIDE, top / SIDE, (left + 38) / SIDE, (top + 38) / SIDE))
    return image, boxes


def write_split(folder: Path, split: str, numbers: range, words: tuple[str, str] = WORDS) -> dict[str, Any]:
    """Write a shard of such pictures; its entry of the manifest."""
    with tarfile.open(folder / f"{split}-0.tar", "w") as shard:
        for number in numbers:
            image, boxes = drawn(number)
            picture = BytesIO()
            image.save(picture, "JPEG", quality=95)
            regions = [{"box": box, "text": word, "score": 1.0} for box, word in zip(boxes, words, strict=True)]
            sample = json.dumps({"caption": "", "regions": regions}).encode()
            for ending, content in (("jpg", picture.getvalue()), ("json", sample)):
                entry = tarfile.TarInfo(f"{number}.{ending}")
                entry.size = len(content)
                shard.addfile(entry, BytesIO(content))
    return {"file": f"{split}-0.tar", "images": len(numbers)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two shapes whose words nobody knows."""
    folder = tmp_path_factory.mktemp("blickets")
    splits = {
        "train": [write_split(folder, "train", range(TRAINED))],
        "held_out": [write_split(folder, "held_out", range(100, 100 + HELD_OUT))],
    }
    manifest = {"schema_version": SCHEMA_VERSION, "splits": splits, "trained_on": "twelve pictures"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def settings(data: Path, out: Path, **changes: Any) -> TrainConfig:
    """A short fine-tune of `photo`, in 32 bits."""
    usual = TrainConfig(
        data,
        out,
        init=str(EMBEDDED / "photo"),
        images=24,
        batch_size=4,
        learning_rate=3e-4,
        warmup_images=8,
        checkpoint_images=4,
        evaluate_images=1_000,
        average=0.9,
        precision="no",
    )
    return dataclasses.replace(usual, **changes)


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_new_word_is_learned_from_a_few_pictures_and_not_found_where_it_is_not(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(settings(data, run, images=240, evaluate_images=120, name="blickets"))
    evaluations = [row for row in log_of(run) if "held_out_grounding_acc50" in row]
    assert [row["step"] for row in evaluations] == [0, 30, 60]
    before, _, after = (row["held_out_grounding_acc50"] for row in evaluations)
    assert before <= 0.75 < 0.9 < after, "a guess before, known after"
    assert {"loss", "box", "region_description", "presence", "images_per_second"} <= set(log_of(run)[1])
    assert not (run / FEATURES).exists(), "what was read of the pictures is gone with the run's end"
    assert {path.name for path in (run / "watched").iterdir()} >= {"0.jpg", "step-00000000.json", "step-00000060.json"}

    final, info = run / "final", read_info(run / "final")
    verify(final)
    assert (info.name, info.learned_regions) == ("blickets", True)
    assert info.origin == "is photo, its regions tuned on twelve pictures; 240 images seen"
    best = max(evaluations, key=lambda row: sum(value for name, value in row.items() if name.startswith("held_out_")))
    assert read_info(run / "best").origin.endswith(f"; {240 * best['step'] // 60} images seen")
    assert (
        str(tmp_path) not in (final / CARD).read_text() and "for research and education" in (final / CARD).read_text()
    )
    assert json.loads((final / METRICS).read_text())["grounding_acc50"] == after
    places = (("start", EMBEDDED / "photo"), ("tuned", final))
    shown, elsewhere = drawn(100)[0], Image.new("RGB", (SIDE, SIDE), "gray")
    tuned = Predictor.from_pretrained(final)
    encoder = LearnedPhotoEncoder.load(final)
    surer = LearnedPhotoEncoder.load(final)
    surer._tuned = None  # what it would say without the doubt
    assert all(presence >= 0.5 for presence in tuned.predict(shown, [*WORDS], {}).presence or (0.0,))
    for picture in (shown, elsewhere):
        embeds = encoder.encode_texts([*WORDS])
        with_doubt, without = (
            each.rank_regions(picture, each.encode_images([picture])[0], descriptions=[*WORDS], embeds=embeds)
            for each in (encoder, surer)
        )
        assert with_doubt.presence is not None and without.presence is not None
        assert (with_doubt.presence < without.presence).all()

    novelty = {name: Predictor.from_pretrained(folder).predict(shown, [], {}).novelty for name, folder in places}
    assert novelty["tuned"] < 0.5 < novelty["start"], "what it was tuned on is not far from what it has seen"

    again = tmp_path / "again"
    train(settings(data, again, init=str(final), images=4))
    words = load_tables(again / "final" / TUNED)["embeds"]
    assert len(words) == 2 * len(WORDS), "the words of the fine-tune before stay known"


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_one_that_was_not_and_once_more_changes_nothing(
    data: Path, tmp_path: Path
) -> None:
    train(settings(data, tmp_path / "whole"))
    killed = region_trainer(settings(data, tmp_path / "killed"))
    killed.learn_from(killed.read_pictures())
    for batch in killed.batches():
        killed.take_step(batch)
        killed._after_step()
        if killed.step == 4:  # the first of the second epoch's three
            break
    train(settings(data, tmp_path / "killed"))
    whole, resumed = (load_file(tmp_path / name / "final" / WEIGHTS) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_hardware(tmp_path / "whole") == RunHardware("cpu", "fp32")
    before = (tmp_path / "whole" / "metrics.jsonl").read_text()
    train(settings(data, tmp_path / "whole"))
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == before


@pytest.mark.slow
def test_dry_steps_measure_the_reading_too_and_leave_nothing_behind(data: Path, tmp_path: Path) -> None:
    report = preflight(settings(data, tmp_path / "run"))
    assert report is not None and (report.train_images, report.held_out_images, report.steps) == (TRAINED, HELD_OUT, 6)
    assert report.reading_seconds > 0 < report.seconds_per_step and report.evaluation_seconds > 0
    assert not (tmp_path / "run").exists()


def noise(number: int) -> Picture:
    """A picture of 2 x 2 tokens of noise that shows a blicket."""
    tokens = np.random.default_rng(number).normal(size=(1, 2, 4, sum(TOKEN_PARTS))).astype(np.float16)
    return Picture(tokens, np.array([[2, 2]]), 0, [Entity(((0.0, 0.25, 0.5, 0.75),), (WORDS[0],))])


def weights_of(trainer: RegionTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_steps_that_would_do_harm_are_skipped_and_after_some_the_weights_return(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = region_trainer(settings(data, tmp_path / "run", images=400, patience=2))
    trainer.learn_from([noise(number) for number in range(4)])
    batch = next(trainer.batches())
    broken = batch._replace(tokens=torch.full_like(batch.tokens, torch.inf))
    first = weights_of(trainer)
    trainer.take_step(batch)
    trainer._after_step()
    saved = weights_of(trainer)
    assert not all(torch.equal(first[name], saved[name]) for name in saved)

    trainer.state.guard.running, trainer.state.guard.taken = 1e-3, WARM
    assert trainer.take_step(batch)["skipped"] == 1, "its loss is a spike beside such a running loss"
    trainer._after_step()
    assert all(torch.equal(saved[name], value) for name, value in weights_of(trainer).items())
    assert [state.name for state in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"], "not in a spike"
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(torch.nan)
    assert trainer.take_step(broken)["skipped"] == 2
    assert all(torch.equal(saved[name], value) for name, value in weights_of(trainer).items())
    assert "step 2: 2 bad steps in a row, rolled back" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match="the loss broke 4 times, 2 steps in a row each, the last time at step 8: look"
    ):
        for _ in range(7):
            trainer.take_step(broken)


@pytest.mark.slow
def test_a_run_that_goes_on_with_other_data_learns_their_words(data: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "run"
    other.mkdir()
    splits = {
        "train": [write_split(other, "train", range(20, 20 + TRAINED), words=("a wug", "a tove"))],
        "held_out": [write_split(other, "held_out", range(100, 100 + HELD_OUT), words=("a wug", "a tove"))],
    }
    manifest = {"schema_version": SCHEMA_VERSION, "splits": splits, "trained_on": "other pictures"}
    (other / "manifest.json").write_text(json.dumps(manifest))
    words = []
    for folder in (data, other):
        trainer = region_trainer(settings(folder, out))
        trainer.learn_from(trainer.read_pictures())
        words.append((set(trainer.words), trainer.shards.trained_on))
    assert words == [({"a blicket", "a dax"}, "twelve pictures"), ({"a wug", "a tove"}, "other pictures")]


def test_settings_of_what_is_not_trained_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "run", clip=True, mix=(str(data),), max_regions=3)
    with pytest.raises(ValueError, match="expected settings for regions alone, got mix, clip, max_regions: "):
        train(config)
    assert not (tmp_path / "run").exists()


def test_pictures_without_a_described_box_are_refused_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(data, empty)
    manifest = json.loads((empty / "manifest.json").read_text())
    manifest["splits"]["held_out"] = []
    (empty / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="held_out has no pictures"):
        train(settings(empty, tmp_path / "run"))


def test_doubts_keep_nearly_all_that_held_out_pictures_show() -> None:
    sure = 1 / (1 + np.exp(-np.linspace(0, 10, 101)))  # logits 0, 0.1, … 10: the lowest twentieth ends at 0.5
    presence, confidence = doubts_of(Evaluated(np.ones(101), sure, np.full(101, 0.2)))
    assert presence == pytest.approx(0.5, abs=1e-5)
    assert confidence == 0, "what is not found is no reason to find more"
    assert np.mean(np.log(sure / (1 - sure)) - presence >= -1e-9) >= 0.95
    assert doubts_of(Evaluated(np.ones(2), np.ones(2), np.ones(2)))[0] == pytest.approx(np.log(1e6), rel=1e-3)


def test_a_doubt_counts_in_the_measure_that_a_description_is_near_one_of_the_words() -> None:
    words = TunedWords(np.eye(3, dtype=np.float32)[:2], np.array([2.0, 4.0]), np.array([1.0, 0.0]))
    near = np.array([0.95, 0, np.sqrt(1 - 0.95**2)])
    asked = np.stack([np.eye(3)[0], np.eye(3)[1], near, np.eye(3)[2]]).astype(np.float32)
    presence, confidence = words.doubts(asked)
    np.testing.assert_allclose(presence, [2, 4, 1, 0], atol=1e-5)
    np.testing.assert_allclose(confidence, [1, 0, 0.5, 0], atol=1e-5)


def test_any_box_of_a_description_may_be_found_and_another_descriptions_may_not() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [np.nan] * 4], np.float32)
    feature = ImageFeatures(np.zeros(2), np.zeros((3, 2)), boxes, np.zeros(3))
    record = ShardRecord(
        "1", None, "", ((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1), (0, 0, 0.5, 0.5), (0, 0, 1, 1)), ("a", "a", "b", "c"), None
    )
    ranked = RegionRanking(np.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]], np.float32), None)
    assert found_overlaps(ranked, feature, record).tolist() == [1, 1, 0, 0]


def test_what_can_be_trained_further_says_so(tmp_path: Path) -> None:
    assert {
        name: read_info(EMBEDDED / name).trainable for name in ("photo", "photo-names", "sample", "sample-clip")
    } == {
        "photo": True,
        "photo-names": False,
        "sample": True,
        "sample-clip": True,
    }
    exported = tmp_path / "exported"
    shutil.copytree(EMBEDDED / "sample", exported)
    config = json.loads((exported / CONFIG).read_text()) | {"runtime": "onnx"}
    (exported / CONFIG).write_text(json.dumps(config))
    info: CheckpointInfo = read_info(exported)
    assert not info.trainable
