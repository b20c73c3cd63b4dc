"""A query a token: entities, mirroring, losses and a training that resumes."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from grain.checkpoint import EMBEDDED, FAMILIAR, read_info, verify
from grain.checkpoint import WEIGHTS as CHECKPOINT_WEIGHTS
from grain.data.loader import find_shards
from grain.data.record import Box, ShardRecord
from grain.dense.calibrate import CalibrateConfig
from grain.dense.calibrate import main as calibrate
from grain.dense.features import Entity, FeaturesConfig, entities_of, read_entities, write_shards
from grain.dense.features import main as write_features
from grain.dense.losses import Target, assign, dense_losses, implied_texts
from grain.dense.measure import Grounded, MeasureConfig, ground_all
from grain.dense.measure import main as measure
from grain.dense.model import DenseOutput, DenseRegions
from grain.dense.publish import DensePublishConfig
from grain.dense.publish import main as publish
from grain.dense.train import (
    STATE,
    WEIGHTS,
    DenseConfig,
    Phrases,
    Picture,
    Run,
    batches,
    make_batch,
    mirror_boxes,
    read_pictures,
    sentence_encoder,
    without_article,
)
from grain.dense.train import (
    main as train,
)
from grain.photo.tokens import TOKEN_PARTS
from grain.predict import Predictor
from grain.sentences import mirror_words
from grain.structures import SCHEMA_VERSION
from user_errors import UserError

LEFT: Box = (0.0, 0.25, 0.5, 0.75)
RIGHT: Box = (0.5, 0.25, 1.0, 0.75)


def encode(texts: list[str]) -> np.ndarray:
    """A direction of its own for each text."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=384) for text in texts]
    return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


def picture(number: int, entities: list[tuple[list[Box], list[str]]]) -> Picture:
    """A picture of 2 x 2 tokens of noise, others mirrored."""
    tokens = np.random.default_rng(number).normal(size=(1, 2, 4, sum(TOKEN_PARTS))).astype(np.float16)
    return Picture(tokens, np.array([[2, 2]]), 0, [Entity(tuple(boxes), tuple(texts)) for boxes, texts in entities])


def output(boxes: list[Box], centres: list[tuple[float, float]], absent: list[bool]) -> DenseOutput:
    count = len(boxes)
    return DenseOutput(
        torch.zeros(1, count, 384), torch.tensor([boxes]), torch.zeros(1, count), torch.tensor([centres]),
        torch.tensor([absent]),
    )  # fmt: skip


def test_phrases_for_the_same_boxes_are_one_entity_and_a_phrase_keeps_all_of_its_boxes() -> None:
    record = ShardRecord(
        "1", None, "", (LEFT, LEFT, RIGHT, LEFT), ("A dog", "a  brown dog", "two dogs", "two dogs"), None
    )
    assert [(entity.boxes, entity.phrases) for entity in entities_of(record)] == [
        ((LEFT,), ("a dog", "a brown dog")),
        ((LEFT, RIGHT), ("two dogs",)),
    ]


def test_a_mirrored_picture_has_its_words_and_boxes_mirrored() -> None:
    assert mirror_words("the left hand of a man on the right") == "the right hand of a man on the left"
    assert mirror_words("leftover bright lights") == "leftover bright lights"
    assert torch.equal(mirror_boxes(torch.tensor([LEFT])), torch.tensor([RIGHT]))


def test_some_phrases_are_learned_without_their_article() -> None:
    assert [without_article(text) for text in ("a dog", "The dog", "an", "another dog")] == [
        "dog",
        "The dog",
        "an",
        "another dog",
    ]
    pictures = [picture(0, [([LEFT], ["a dog", "the brown dog"])])]
    phrases, order = Phrases(pictures, encode), np.random.default_rng(0)
    drawn = [make_batch(pictures, phrases, order).texts for _ in range(50)]
    seen = {row for rows in drawn for row in rows}
    assert seen == {phrases.row(text) for text in ("a dog", "dog", "the brown dog", "brown dog")}
    batch = make_batch(pictures, phrases)
    assert batch.texts == [phrases.row("a dog"), phrases.row("the brown dog")]


def test_boxes_lie_in_the_picture_and_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = DenseRegions().eval()
    tokens = torch.randn(1, 6, sum(TOKEN_PARTS))
    plain = model(tokens, torch.tensor([[2, 3]]))
    padded = model(torch.cat([tokens, torch.randn(1, 3, sum(TOKEN_PARTS))], dim=1), torch.tensor([[2, 3]]))
    assert plain.boxes_xyxy.shape == (1, 18, 4)
    assert ((plain.boxes_xyxy >= 0) & (plain.boxes_xyxy <= 1)).all()
    assert (plain.boxes_xyxy[..., :2] < plain.boxes_xyxy[..., 2:]).all()
    torch.testing.assert_close(padded.boxes_xyxy[:, :18], plain.boxes_xyxy, atol=1e-5, rtol=0)
    assert padded.absent[0].tolist() == [False] * 18 + [True] * 9
    assert (model.logits(padded, torch.randn(2, 384))[0, 18:] == -1e4).all()


def test_a_phrase_is_no_negative_where_a_longer_phrase_of_the_picture_implies_it() -> None:
    words = Phrases([picture(0, [([LEFT], ["a man", "a man in green", "green grass", "the"])])], encode)
    rows = [words.row(text) for text in ("a man", "a man in green", "green grass", "the")]
    own = torch.tensor([[False, True, False, False], [True, False, False, False]])
    assert implied_texts(words.words(rows), own).tolist() == [[True, True, False, False], [True, False, False, False]]


def test_a_box_is_learned_by_a_query_near_it_and_never_by_padding() -> None:
    far, near, beside = (0.9, 0.9), (0.25, 0.5), (0.3, 0.5)
    boxes = [LEFT, (0.1, 0.25, 0.5, 0.75), (0.4, 0.4, 0.9, 0.9), LEFT]
    given = output(boxes, [far, near, beside, near], [False, False, False, True])
    target = Target(0, torch.tensor([LEFT]), [0], [0])
    assert assign(given, target, likeness=torch.zeros(4))[:3, 0].tolist() == [
        1,
        2,
        0,
    ]  # not the exact box of a far token, nor padding


@pytest.mark.slow
def test_a_training_learns_what_each_phrase_means() -> None:
    pictures = [picture(number, [([LEFT], [f"thing {number}"]), ([RIGHT], [f"other {number}"])]) for number in range(4)]
    phrases = Phrases(pictures, encode)
    run = Run(DenseConfig((), Path("nowhere"), epochs=1, warm_steps=10, precision="no"), steps_an_epoch=120)
    order = np.random.default_rng(0)
    for _ in range(120):
        run.step(make_batch(pictures, phrases, order), phrases)
    model = run.model.eval()
    assert ground_all(model, pictures, phrases) == Grounded(pictures=4, phrases=8, right=1.0, within_reach=1.0)
    batch = make_batch(pictures, phrases)
    with torch.no_grad():
        found, texts = model(batch.tokens, batch.sizes), model.texts(phrases.embeds[batch.texts])
        losses = dense_losses(model, found, texts=texts, targets=batch.targets, implied=batch.own)
    assert losses.numbers()["presence"] < 0.3


def test_right_is_said_only_of_a_box_that_covers_the_phrase() -> None:
    pictures = [picture(0, [([(0.0, 0.0, 0.01, 0.01)], ["a fly"])])]
    torch.manual_seed(0)
    assert ground_all(DenseRegions().eval(), pictures, Phrases(pictures, encode)) == Grounded(1, 1, 0.0, 0.0)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three photographs of one colour, two boxes each."""
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(folder / "train-0.tar", "w") as shard:
        for number, colour in enumerate(("red", "green", "blue")):
            image = BytesIO()
            Image.new("RGB", (64, 48), colour).save(image, "JPEG")
            regions = [
                {"box": LEFT, "text": f"a {colour} left", "score": 1.0},
                {"box": RIGHT, "text": "all", "score": 0.5},
            ]
            sample = {"caption": colour, "regions": regions}
            for name, content in ((f"{number}.jpg", image.getvalue()), (f"{number}.json", json.dumps(sample).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                shard.addfile(entry, BytesIO(content))
    splits = {"train": [{"file": "train-0.tar", "images": 3}]}
    manifest = {"schema_version": SCHEMA_VERSION, "splits": splits, "trained_on": "three colours"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.slow
def test_from_shards_to_weights_and_on_where_it_stopped(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_features(FeaturesConfig(shards, tmp_path / "features"))
    ((_, rows),) = read_entities(tmp_path / "features")
    assert [entity.phrases for entity in rows[0]] == [("a red left",), ("all",)]
    kept = np.load(tmp_path / "features" / "train-0.tokens.npy", mmap_mode="r")
    assert kept.shape == (3, 2, 144, 2272)
    stamp = (tmp_path / "features" / "train-0.tokens.npy").stat().st_mtime_ns
    write_features(FeaturesConfig(shards, tmp_path / "features"))
    assert (tmp_path / "features" / "train-0.tokens.npy").stat().st_mtime_ns == stamp, "a finished shard is kept"

    def config(out: str) -> DenseConfig:
        return DenseConfig((tmp_path / "features",), tmp_path / out, epochs=2, batch_size=2, precision="no")

    train(config("whole"))

    pictures = read_pictures((tmp_path / "features",))
    phrases = Phrases(pictures, sentence_encoder(EMBEDDED / "photo-names"), seed=0)
    first = Run(config("stopped"), steps_an_epoch=1)
    for batch in batches(pictures, phrases, np.random.default_rng([0, 0]), size=2):
        first.step(batch, phrases)
    first.epoch = 1
    first.save()
    train(config("stopped"))
    whole, resumed = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    capsys.readouterr()
    measure(MeasureConfig((tmp_path / "features",), tmp_path / "whole" / WEIGHTS))
    assert json.loads(capsys.readouterr().out)["phrases"] == 6
    started = Run(dataclasses.replace(config("more"), start=tmp_path / "whole" / WEIGHTS), steps_an_epoch=1)
    assert all(torch.equal(whole[name], value) for name, value in started.model.state_dict().items())
    with pytest.raises(UserError, match="holds a run with another epochs: choose another --out or the same settings"):
        train(dataclasses.replace(config("whole"), epochs=1))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"rate": 5e-2, "seed": 7}, "rate, seed"),
        ({"average": 0.5}, "average"),
        ({"features": (Path("/data/others"),)}, "features"),
        ({"start": EMBEDDED / "photo" / CHECKPOINT_WEIGHTS}, "start"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_only(tmp_path: Path, changes: dict[str, Any], names: str) -> None:
    config = DenseConfig((Path("/data/mine"),), tmp_path / "run", epochs=2)
    run = Run(config, steps_an_epoch=3)
    run.epoch = 1
    run.save()
    with pytest.raises(UserError, match=f"run holds a run with another {names}: choose another --out or the same"):
        Run(dataclasses.replace(config, **changes), steps_an_epoch=3)
    moved = dataclasses.replace(config, features=(Path("/elsewhere/mine"),))
    assert Run(moved, steps_an_epoch=3).epoch == 1
    with pytest.raises(UserError, match="expected the run of 8 steps"):
        Run(config, steps_an_epoch=4)
    state = torch.load(config.out / STATE, weights_only=True)
    del state["settings"]
    torch.save(state, config.out / STATE)
    assert Run(config, steps_an_epoch=3).epoch == 1, "of an older version, which kept none"


def test_weights_become_a_checkpoint_that_is_weighed_and_answers(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, folder = EMBEDDED / "photo" / CHECKPOINT_WEIGHTS, tmp_path / "mine"
    what = "a GRAIN that was trained on three colours"
    publish(DensePublishConfig(weights, folder, trained_on=what, name="mine"))
    verify(folder)
    assert (folder / FAMILIAR).read_bytes() == (EMBEDDED / "photo-names" / FAMILIAR).read_bytes()
    assert (read_info(folder).name, read_info(folder).origin) == ("mine", f"is {what}")
    calibrate(CalibrateConfig(folder, (shards,), tmp_path / "fusion.json", split=("train",)))
    assert "after" in capsys.readouterr().out
    publish(DensePublishConfig(weights, folder, trained_on=what, name="mine", fusion=tmp_path / "fusion.json"))
    written = json.loads((tmp_path / "fusion.json").read_text())
    predictor = Predictor.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["fusion"] == written
    assert np.isfinite([number for row in written.values() for number in row]).all()
    assert predictor.predict(Image.new("RGB", (64, 48), "red"), ["a red left"], {}).matches.shape[1] == 1
    embedded = EMBEDDED / "photo"
    publish(DensePublishConfig(weights, tmp_path / "weighed", like=embedded, fusion=tmp_path / "fusion.json"))
    weighed, known = (json.loads((one / "config.json").read_text()) for one in (tmp_path / "weighed", embedded))
    assert (weighed["fusion"], weighed["name"], weighed["alpha"]) == (written, known["name"], known["alpha"])
    again = tmp_path / "again"
    publish(DensePublishConfig(folder / CHECKPOINT_WEIGHTS, again, like=folder))
    assert (again / "manifest.json").read_text() == (folder / "manifest.json").read_text()
    with pytest.raises(UserError, match="expected a split for each of 1 folders, or one for all, got 2"):
        calibrate(CalibrateConfig(folder, (shards,), tmp_path / "fusion.json", split=("train", "train")))


class StillNetworks:
    """Networks that see 2 x 2 tokens in any picture, and count the pictures."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, image: Image.Image) -> StillNetworks:
        self.looks += 1
        return self

    def tokens(self) -> np.ndarray:
        return np.zeros((2, 2, sum(TOKEN_PARTS)), np.float16)


def test_kept_tokens_are_read_again_where_data_networks_or_mirroring_are_others(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"

    def looks(*, model: str = "one", mirrored: bool = False) -> int:
        look: Any = StillNetworks()
        write_shards(find_shards(shards, "train"), out, look, model=model, mirrored=mirrored, after_each=lambda: None)
        return int(look.looks)

    def name_in_manifest(file: str) -> None:
        splits = {"train": [{"file": file, "images": 3}]}
        manifest = {"schema_version": SCHEMA_VERSION, "splits": splits, "trained_on": "three colours"}
        (shards / "manifest.json").write_text(json.dumps(manifest))

    assert (looks(), looks()) == (3, 0)
    assert (looks(mirrored=True), looks(mirrored=True)) == (6, 0)
    assert (looks(), looks(model="two"), looks(model="two")) == (3, 3, 0)
    content = (shards / "train-0.tar").read_bytes()
    (shards / "train-0.tar").write_bytes(content.replace(b"a red left", b"a new left"))
    assert (looks(model="two"), looks(model="two")) == (3, 0)
    ((_, rows),) = read_entities(out)
    assert rows[0][0].phrases == ("a new left",)
    (out / "val-0.jsonl").write_text("")
    (shards / "train-0.tar").rename(shards / "train-1.tar")
    name_in_manifest("train-1.tar")
    looks(model="two")
    left = {path.name.partition(".")[0] for path in out.iterdir()}
    assert left == {"train-1", "val-0"}, "of a shard that is gone nothing is learned; other splits stay"


def test_a_folder_without_features_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run python -m grain\.dense\.features first"):
        train(DenseConfig((tmp_path,), tmp_path / "out"))


def test_pictures_that_were_read_once_are_never_mirrored(shards: Path, tmp_path: Path) -> None:
    write_features(FeaturesConfig(shards, tmp_path / "twice"))
    write_features(FeaturesConfig(shards, tmp_path / "once", mirrored=False))
    both, once = (np.load(tmp_path / name / "train-0.tokens.npy") for name in ("twice", "once"))
    np.testing.assert_array_equal(once, both[:, :1])
    pictures = read_pictures((tmp_path / "once",))
    phrases, order = Phrases(pictures, encode), np.random.default_rng(0)
    drawn = [make_batch(pictures, phrases, order) for _ in range(10)]
    assert {tuple(target.boxes_xyxy[0].tolist()) for batch in drawn for target in batch.targets} == {LEFT, RIGHT}
    for batch in drawn:
        first = [target for target in batch.targets if target.picture == 0]
        assert [tuple(target.boxes_xyxy[0].tolist()) for target in first] == [LEFT, RIGHT]
        np.testing.assert_array_equal(batch.tokens, once[:, 0, : batch.tokens.shape[1]])
