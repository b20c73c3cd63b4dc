"""The `photo` checkpoint: regions that learned phrases, beside the names that its networks know."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from app.ground.examples import FOLDER
from grain.checkpoint import (
    CARD,
    CONFIG,
    EMBEDDED,
    FAMILIAR,
    WEIGHTS,
    CheckpointError,
    checkpoint_folder,
    read_info,
    verify,
)
from grain.dense.model import DenseRegions
from grain.photo.learned import (
    EVIDENCE,
    Fusion,
    LearnedPhotoEncoder,
    agreed_boxes,
    expected_overlap,
    fuse,
    load_photo,
)
from grain.photo.photo import PhotoEncoder
from grain.photo.regions import RegionGraphs
from grain.predict import Predictor
from grain.zero_shot import MOST_SHOWN
from tests.support.paths import ROOT

PHOTO = EMBEDDED / "photo"


@pytest.fixture(scope="module")
def encoder() -> LearnedPhotoEncoder:
    return LearnedPhotoEncoder.load(PHOTO)


@pytest.fixture(scope="module")
def predictor(encoder: LearnedPhotoEncoder) -> Predictor:
    return Predictor(encoder)


def photograph(name: str) -> Image.Image:
    with Image.open(FOLDER / f"{name}.jpg") as image:
        return image.convert("RGB")


def changed_copy(folder: Path, **facts: object) -> Path:
    """The checkpoint with other facts in its config.json, and a manifest that fits."""
    with checkpoint_folder(folder) as place:
        for file in PHOTO.iterdir():
            if file.name not in (CONFIG, "manifest.json"):
                shutil.copyfile(file, place / file.name)
        config = json.loads((PHOTO / CONFIG).read_text(encoding="utf-8")) | facts
        (place / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_it_is_whole_small_and_says_what_it_learned_from() -> None:
    verify(PHOTO)
    files = {path.name for path in PHOTO.iterdir()}
    assert files == {"regions.onnx", "adapter.onnx", WEIGHTS, CONFIG, CARD, FAMILIAR, "manifest.json"}
    both = sum(path.stat().st_size for folder in ("photo", "photo-names") for path in (EMBEDDED / folder).iterdir())
    assert both <= 30_000_000
    info, card = read_info(PHOTO), (PHOTO / CARD).read_text(encoding="utf-8")
    assert info.can_ground and "Flickr30k Entities" in info.trained_on
    for said in ("non-commercial", "Flickr", "## Limits", "grain.dense.train"):
        assert said in card, said


def test_its_graphs_compute_what_was_trained() -> None:
    graphs, model = RegionGraphs(PHOTO), DenseRegions().eval()
    model.load_state_dict({name: value.float() for name, value in load_file(PHOTO / WEIGHTS).items()})
    tokens = PhotoEncoder.load(EMBEDDED / "photo-names").look(photograph("camera")).tokens()
    found = graphs(tokens)
    rows, columns, width = tokens.shape
    with torch.no_grad():
        wanted = model(torch.from_numpy(tokens.reshape(1, -1, width)), torch.tensor([[rows, columns]]))
        texts = torch.nn.functional.normalize(torch.randn(3, 384), dim=-1)
        adapted = model.texts(texts).numpy()
    np.testing.assert_allclose(found.embeds, wanted.embeds[0], atol=2e-5)
    np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy[0], atol=2e-5)
    np.testing.assert_allclose(found.objectness, wanted.objectness[0], atol=2e-4)
    np.testing.assert_allclose(graphs.texts(texts.numpy()), adapted, atol=1e-5)
    assert graphs.scale == pytest.approx(float(model.log_scale.exp().detach()), rel=1e-6)


def test_a_cosine_is_the_mean_of_likeness_to_names_and_to_phrases(encoder: LearnedPhotoEncoder) -> None:
    features = encoder.encode_images([photograph("coffee")])[0]
    texts = encoder.encode_texts(["a white cup", "a man"])
    assert features.hints is not None and features.hints.shape == (len(features.boxes_xyxy), 4)
    np.testing.assert_allclose(np.linalg.norm(features.region_embeds, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    names, phrases = encoder.names.encode_texts(["a white cup", "a man"]), texts[:, 384:] * 2**0.5
    parts = np.split(features.region_embeds * 2**0.5, 2, axis=1)
    np.testing.assert_allclose(
        features.region_embeds @ texts.T, (parts[0] @ names.T + parts[1] @ phrases.T) / 2, atol=1e-5
    )
    assert encoder.encode_texts([]).shape == (0, 768)


def test_evidence_is_weighed_more_towards_names_near_a_name() -> None:
    evidence = np.zeros((2, 2, len(EVIDENCE)), np.float32)
    evidence[0, :, EVIDENCE.index("phrase")], evidence[1, :, EVIDENCE.index("name")] = 3, 1
    weights, near_names = [0.0] * len(EVIDENCE), [0.0] * len(EVIDENCE)
    weights[EVIDENCE.index("phrase")] = 1
    near_names[EVIDENCE.index("name")] = 8
    fusion = Fusion(tuple(weights), tuple(near_names))
    logits = fuse(fusion, evidence, np.array([0.0, 0.5], np.float32))
    assert logits.tolist() == [[3, 3], [0, 4]]


def test_a_box_that_agrees_with_others_beats_a_lonely_one_that_is_a_little_likelier() -> None:
    boxes = np.array([[0, 0, 0.2, 0.2], [0.5, 0.5, 1, 1], [0.5, 0.5, 1, 0.9]], np.float32)
    logits = np.log(np.array([[0.4], [0.35], [0.25]], np.float32))
    overlap = 0.2 / 0.25  # of the two that agree
    np.testing.assert_allclose(
        expected_overlap(boxes, logits)[:, 0], [0.4, 0.35 + 0.25 * overlap, 0.25 + 0.35 * overlap], atol=1e-6
    )


def test_a_description_has_the_mean_of_the_boxes_that_agree_on_it() -> None:
    boxes = np.array([[0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1], [0.5, 0.5, 0.9, 1], [0.2, 0.2, 0.2, 0.2]], np.float32)
    logits = np.log(np.array([[0.1, 1e-30], [0.6, 0.3], [0.3, 0.6], [1e-9, 0.1]], np.float32))
    meant = agreed_boxes(boxes, logits)
    np.testing.assert_allclose(meant[1:3, 0], [[0.5, 0.5, 0.9 + 0.1 * 2 / 3, 1]] * 2, atol=1e-6)
    np.testing.assert_allclose(meant[1:3, 1], [[0.5, 0.5, 0.9 + 0.1 / 3, 1]] * 2, atol=1e-6)
    np.testing.assert_allclose(meant[[0, 3]], boxes[[0, 3], None].repeat(2, axis=1), atol=1e-6)


def test_several_things_have_the_boxes_of_the_regions(predictor: Predictor) -> None:
    image = photograph("coffee")
    [features] = predictor.batch_features([image])
    ranked = predictor.rank_regions(image, features, ["a cup", "cups", "two cups"])
    boxes = [ranked.boxes_for(column, features.boxes_xyxy) for column in range(3)]
    assert not np.array_equal(boxes[0], features.boxes_xyxy)
    assert np.array_equal(boxes[1], features.boxes_xyxy) and np.array_equal(boxes[2], features.boxes_xyxy)


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [
        ("camera", ["a photo of a man", "a man", "a tripod"], ["a zebra", "a banana"]),
        ("coffee", ["a cup", "cups"], ["a horse", "a truck", "a banana"]),
        ("chelsea", ["a cat"], ["a horse", "a bicycle", "a pizza"]),
        ("astronaut", ["a person"], ["an elephant", "a zebra"]),
    ],
)
def test_it_finds_what_is_there_and_says_what_is_not(
    predictor: Predictor, name: str, there: list[str], not_there: list[str]
) -> None:
    prediction = predictor.predict(photograph(name), [*there, *not_there], {})
    assert [region.text for region in prediction.regions] == there
    assert prediction.not_found == tuple(not_there)
    assert len(prediction.boxes_xyxy) <= MOST_SHOWN + len(there) + len(not_there)


def test_clothing_is_found_where_it_is_and_not_as_the_whole_person(predictor: Predictor) -> None:
    coat, man = predictor.ground(photograph("camera"), ["a dark coat", "a man"])
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (coat.xyxy, man.xyxy)]
    assert area[0] < 0.9 * area[1]
    assert 0 <= coat.xyxy[0] < coat.xyxy[2] < 0.7


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (31, 33)])
def test_any_picture_gives_regions_within_it_and_finite_numbers(predictor: Predictor, size: tuple[int, int]) -> None:
    prediction = predictor.predict(Image.new("RGB", size, "red"), ["a dog", "the left car", ""], {"a": [], "b": ["x"]})
    assert len(prediction.boxes_xyxy) >= 1 and np.isfinite(prediction.matches).all()
    assert prediction.boxes_xyxy.min() >= 0 and prediction.boxes_xyxy.max() <= 1
    json.dumps(prediction.to_json(), allow_nan=False)


def test_class_names_are_scored_on_the_whole_picture_as_by_names_alone(predictor: Predictor) -> None:
    classes: dict[str, list[str]] = {"dog": [], "cat": [], "horse": []}
    names = Predictor(PhotoEncoder.load(EMBEDDED / "photo-names"))
    ours, theirs = (each.predict(photograph("chelsea"), [], classes).classes for each in (predictor, names))
    assert [row.name for row in ours] == [row.name for row in theirs]
    np.testing.assert_allclose([row.probability for row in ours], [row.probability for row in theirs], atol=1e-5)


@pytest.mark.slow
def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from grain import Predictor; from PIL import Image; "
        f"image = Image.open({str(FOLDER / 'camera.jpg')!r}).convert('RGB'); "
        "prediction = Predictor.from_pretrained('photo').predict(image, ['a man'], {'a': ['x'], 'b': []}); "
        "assert prediction.regions; print({'torch', 'transformers', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_proposals_are_refused_because_it_makes_its_own(encoder: LearnedPhotoEncoder) -> None:
    with pytest.raises(ValueError, match="the photo checkpoint proposes its own regions: leave the proposals out"):
        encoder.encode_images([Image.new("RGB", (40, 30))], [[[0, 0, 1, 1]]])


def test_a_checkpoint_for_other_networks_or_of_other_weights_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for number, facts in enumerate(
        ({"base_digest": "0"}, {"base": "../sample"}, {"fusion": {"weights": [1]}}, {"base": 3})
    ):
        with pytest.raises(CheckpointError, match=r"copy|make") as refused:
            load_photo(changed_copy(tmp_path / str(number), **facts))
        assert "\n" not in str(refused.value)


def test_what_a_description_denies_or_the_pixels_lack_is_not_claimed(predictor: Predictor) -> None:
    texts = ["a cup", "a cup without a handle", "a purple cup"]
    found = predictor.predict(photograph("coffee"), texts, {}, instances="all")
    assert found.answers[0] == "found" and "found" not in found.answers[1:]
    assert found.reasons[0] == "" and "without a handle" in found.reasons[1] and "purple" in found.reasons[2]
    assert found.confidence is not None and (found.confidence[:, 1] == 0).all()
    cups = [region for region in found.regions if region.text == "a cup"]
    assert all(region.confidence is not None and region.confidence >= 0.5 for region in cups)


def test_fewer_than_a_description_counts_are_found_and_told(predictor: Predictor) -> None:
    found = predictor.predict(photograph("chelsea"), ["two cats", "a cat", "1950 cats"], {}, instances="all")
    assert found.answers == ("found", "found", "found") and found.reasons == ("1 of 2 found", "", "")


def test_what_somebody_is_to_wear_must_show_a_little_of_its_colour(predictor: Predictor) -> None:
    grey = photograph("camera")
    coloured, (wide, high) = grey.copy(), grey.size
    coloured.paste((190, 20, 30), (wide * 70 // 256, high * 100 // 256, wide // 3, high // 2))
    asked = ["a man", "a man in a red coat"]
    without, with_red = (predictor.predict(picture, asked, {}) for picture in (grey, coloured))
    assert without.answers[0] == with_red.answers[0] == "found"
    assert without.answers[1] != "found" and without.reasons[1] == "too little red on a man here"
    assert "too little" not in with_red.reasons[1]
    row, column = without.best[1], 1
    assert without.confidence is not None and without.confidence[row, column] <= 0.5


def test_a_recent_picture_is_remembered_by_its_pixels(encoder: LearnedPhotoEncoder) -> None:
    image = photograph("coffee").resize((64, 48))
    [first], [again] = encoder.encode_images([image]), encoder.encode_images([image.copy()])
    assert again is first
    changed = image.copy()
    changed.putpixel((0, 0), (255, 0, 0))
    [other] = encoder.encode_images([changed])
    assert other is not first
    [turned] = encoder.encode_images([Image.frombytes("RGB", (48, 64), image.tobytes())])
    assert turned is not first, "the same bytes in another shape"
