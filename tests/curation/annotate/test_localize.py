import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.random_detectors import GRID, tiny_owlv2, write_random_detector
from curation.annotate.localize import (
    OWLV2,
    REVISIONS,
    LocalizeConfig,
    Owlv2Localizer,
    best_apart,
    choose,
)
from grain.hub.owl import OwlPicture, unpad_square
from grain.structures import Region
from tests.support.paths import ROOT
from tests.support.tiny import picture
from user_errors import UserError

EVERYTHING = LocalizeConfig(threshold=0.0, nms_iou=1.0, most_of_text=1000)
TEXTS = ["a red round lid", "a yellow bottle", "the black cat"]
WIDE, TALL, SQUARE = (96, 48), (30, 75), (50, 50)


class Counting(Owlv2Localizer):
    """Remembers what it encoded."""

    def __init__(self) -> None:
        super().__init__(*tiny_owlv2(), name="tiny@0", config=EVERYTHING, device="cpu", precision="fp32")
        self.texts: list[str] = []
        self.pictures = 0

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.texts += texts
        return super().encode_texts(texts)

    def encode_images(self, pictures: Sequence[Image.Image]) -> list[OwlPicture]:
        self.pictures += len(pictures)
        return super().encode_images(pictures)


def tiny(config: LocalizeConfig = EVERYTHING, *, precision: str = "fp32", batch_size: int = 8) -> Owlv2Localizer:
    return Owlv2Localizer(
        *tiny_owlv2(), name="tiny@0", config=config, device="cpu", precision=precision, batch_size=batch_size
    )


def boxes_of(regions: Sequence[Region]) -> np.ndarray:
    return np.array([region.xyxy for region in regions], np.float32).reshape(-1, 4)


def assert_same(ours: Sequence[Region], theirs: Sequence[Region]) -> None:
    assert [(region.index, region.text) for region in ours] == [(region.index, region.text) for region in theirs]
    assert np.allclose(boxes_of(ours), boxes_of(theirs), atol=1e-5)
    assert np.allclose([region.score for region in ours], [region.score for region in theirs], atol=1e-5)


# geometry, worked by hand


@pytest.mark.parametrize(
    ("size", "padded", "expected"),
    [
        ((200, 100), (0.1, 0.1, 0.3, 0.4), (0.1, 0.2, 0.3, 0.8)),  # wide: the square is twice as high as the picture
        ((200, 100), (0.5, 0.25, 0.75, 0.75), (0.5, 0.5, 0.75, 1.0)),  # ends in the padding below
        ((100, 400), (0.05, 0.5, 0.2, 0.75), (0.2, 0.5, 0.8, 0.75)),  # tall: four times as wide
        ((100, 400), (0.125, 0.0, 1.0, 1.0), (0.5, 0.0, 1.0, 1.0)),  # ends in the padding on the right
        ((70, 70), (0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4)),
        ((70, 70), (-0.1, 0.2, 1.3, 0.4), (0.0, 0.2, 1.0, 0.4)),  # OWLv2's boxes may leave the square too
    ],
)
def test_a_box_goes_from_the_padded_square_back_to_the_picture(
    size: tuple[int, int], padded: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert unpad_square(np.array([padded], np.float32), size) == pytest.approx(np.array([expected]), abs=1e-6)


@pytest.mark.parametrize(("size", "padded"), [((200, 100), (0.1, 0.6, 0.9, 0.9)), ((100, 400), (0.3, 0.1, 0.9, 0.9))])
def test_a_box_in_the_padding_alone_has_no_area_and_is_not_reported(
    size: tuple[int, int], padded: tuple[float, ...]
) -> None:
    boxes = unpad_square(np.array([padded], np.float32), size)
    assert float((boxes[:, 2:] - boxes[:, :2]).prod()) == 0.0
    assert choose(boxes, np.array([[0.9]], np.float32), texts=["a lid"], config=EVERYTHING) == ()


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    corners=st.tuples(*[st.floats(0, 1, width=32)] * 4).map(lambda c: (*np.sort(c[:2]), *np.sort(c[2:]))),
)
def test_padding_a_box_and_unpadding_it_gives_the_box(
    size: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    x0, x1, y0, y1 = corners
    box = np.array([[x0, y0, x1, y1]], np.float32)
    share = np.array([*size, *size], np.float32) / max(size)  # of the square that the picture fills
    assert np.allclose(unpad_square((box * share).astype(np.float32), size), box, atol=1e-5)


def test_no_boxes_stay_none_and_a_picture_without_area_is_refused() -> None:
    none = np.zeros((0, 4), np.float32)
    assert unpad_square(none, (3, 4)).shape == (0, 4)
    assert len(best_apart(none, none[:, 0], iou=0.5)) == 0
    assert choose(none, np.zeros((0, 2), np.float32), texts=["a lid", "a star"], config=EVERYTHING) == ()
    with pytest.raises(ValueError, match="at least 1 × 1 pixel, got 0 × 4"):
        unpad_square(np.zeros((1, 4), np.float32), (0, 4))


# which boxes are reported

BOXES = np.array([[0, 0, 0.5, 0.5], [0.01, 0, 0.51, 0.5], [0.6, 0.6, 0.9, 0.9], [0.2, 0.6, 0.4, 0.9]], np.float32)
SCORES = np.array([[0.8, 0.1], [0.9, 0.5], [0.6, 0.7], [0.2, 0.3]], np.float32)  # [P, T]


def chosen(**settings: float) -> list[tuple[int, float, tuple[float, ...]]]:
    regions = choose(BOXES, SCORES, texts=["lid", "star"], config=LocalizeConfig(**settings))  # type: ignore[arg-type]
    assert [region.text for region in regions] == [["lid", "star"][region.index] for region in regions]
    return [(region.index, round(region.score, 2), tuple(np.round(region.xyxy, 2).tolist())) for region in regions]


def test_each_description_keeps_its_best_box_of_those_that_overlap() -> None:
    assert chosen(threshold=0.3) == [
        (0, 0.9, (0.01, 0.0, 0.51, 0.5)),  # the box with 0.8 lies on it
        (0, 0.6, (0.6, 0.6, 0.9, 0.9)),
        (1, 0.7, (0.6, 0.6, 0.9, 0.9)),  # another description may share it
        (1, 0.5, (0.01, 0.0, 0.51, 0.5)),
        (1, 0.3, (0.2, 0.6, 0.4, 0.9)),  # reaches the threshold
    ]


def test_the_limits_of_boxes_act_as_they_say() -> None:
    assert [row[:2] for row in chosen(threshold=0.3, most_of_text=1)] == [(0, 0.9), (1, 0.7)]
    assert [row[:2] for row in chosen(threshold=0.75, nms_iou=1.0)] == [(0, 0.9), (0, 0.8)]
    assert [row[:2] for row in chosen(threshold=0.3, exclusive=True)] == [(0, 0.9), (1, 0.7), (1, 0.3)]
    assert chosen(threshold=0.95) == []


@pytest.mark.parametrize(
    "settings", [{"threshold": 1.2}, {"nms_iou": -0.1}, {"most_of_text": 0}, {"threshold": np.nan}]
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} must .*, got"):
        LocalizeConfig(**settings)  # type: ignore[arg-type]


coordinate = st.integers(0, 8).map(lambda n: n / 8)


@given(
    st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=10),
    st.floats(0, 1, width=32),
)
def test_suppression_keeps_the_best_box_and_none_that_overlaps_a_kept_one(
    corners: list[tuple[float, float, float, float]], iou: float
) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c) + 0.1, max(b, d) + 0.1] for a, b, c, d in corners], np.float32)
    scores = np.linspace(1, 0.1, len(boxes), dtype=np.float32)
    kept = best_apart(boxes, scores, iou=iou).tolist()
    overlap = [[_iou(a, b) for b in boxes] for a in boxes]
    assert kept[0] == 0 and kept == sorted(kept)
    for row in range(len(boxes)):
        over = [better for better in kept if better < row and overlap[row][better] > iou + 1e-4]
        under = all(overlap[row][better] < iou - 1e-4 for better in kept if better < row)
        assert not (over and row in kept) and not (under and row not in kept)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


# the real path, with random weights


@pytest.mark.parametrize("size", [WIDE, TALL, SQUARE])
def test_regions_are_those_of_transformers_own_post_processing(size: tuple[int, int]) -> None:
    model, processor = tiny_owlv2()
    image, (width, height) = picture(3, size), size
    inputs = processor(text=[TEXTS], images=image, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    theirs = processor.post_process_grounded_object_detection(outputs, threshold=0.5, target_sizes=[(height, width)])[0]
    expected = (theirs["boxes"] / torch.tensor([width, height] * 2)).clamp(0, 1).numpy()
    rows = sorted(zip(theirs["labels"].tolist(), (-theirs["scores"]).tolist(), expected.tolist(), strict=True))
    rows = [row for row in rows if row[2][0] < row[2][2] and row[2][1] < row[2][3]]

    config = LocalizeConfig(threshold=0.5, nms_iou=1.0, most_of_text=1000, exclusive=True)
    ours = tiny(config).localize([image], [TEXTS])[0]
    assert len(ours) == len(rows) > 2
    assert [region.index for region in ours] == [row[0] for row in rows]
    assert np.allclose([region.score for region in ours], [-row[1] for row in rows], atol=1e-5)
    assert np.allclose(boxes_of(ours), [row[2] for row in rows], atol=1e-5)


@pytest.mark.parametrize("size", [WIDE, TALL[::-1], (48, 96), (20, 80)])
def test_known_predictions_land_where_they_are_worked_out_by_hand(size: tuple[int, int]) -> None:
    """With the box head silent, OWLv2 predicts its prior: patch (i, j) a box a patch large around its lower right."""
    localizer = tiny()
    localizer.model.box_head.dense2.weight.data.zero_()
    localizer.model.box_head.dense2.bias.data.zero_()
    found = boxes_of(localizer.localize([picture(0, size)], [["a lid"]])[0])

    longest, expected = max(size), []
    for right in range(1, GRID + 1):
        for bottom in range(1, GRID + 1):
            low = [(place - 0.5) / GRID * longest / length for place, length in zip((right, bottom), size, strict=True)]
            high = [
                (place + 0.5) / GRID * longest / length for place, length in zip((right, bottom), size, strict=True)
            ]
            if max(low) < 1:
                expected.append([*low, *np.minimum(high, 1)])
    assert 0 < len(expected) < GRID**2
    assert np.allclose(sorted(found.tolist()), sorted(expected), atol=2e-3)


def test_a_batch_gives_what_single_pictures_give() -> None:
    images = [picture(seed, size) for seed, size in enumerate([WIDE, TALL, SQUARE, (1, 1), (70, 3)])]
    asked = [TEXTS, ["a green star"], [], TEXTS[:2], ["a jar", "a star", "a cat", "a lid"]]
    alone = [tiny().localize([image], [texts])[0] for image, texts in zip(images, asked, strict=True)]
    assert [len({region.index for region in regions}) for regions in alone] == [3, 1, 0, 2, 4]
    for batch_size in (2, 8):
        for ours, theirs in zip(tiny(batch_size=batch_size).localize(images, asked), alone, strict=True):
            assert_same(ours, theirs)


def test_a_vocabulary_gives_what_asking_each_picture_gives() -> None:
    images = [picture(seed, size) for seed, size in enumerate([WIDE, TALL])]
    together = tiny().localize(images, [TEXTS] * 2)
    for image, regions in zip(images, together, strict=True):
        assert_same(regions, tiny().localize([image], [TEXTS])[0])
        (alone,) = tiny().localize([image], [TEXTS[1:2]])  # a description's regions do not depend on the others
        assert_same([Region(r.xyxy, r.text, r.score, 1) for r in alone], [r for r in regions if r.index == 1])


def test_every_region_lies_in_its_picture_and_names_its_description() -> None:
    asked = ["a red lid", "a yellow bottle", "a red lid"]
    for size in (WIDE, TALL, SQUARE, (1, 1), (3, 1), (1, 3)):
        (regions,) = tiny().localize([picture(1, size)], [asked])
        assert regions and [region.text for region in regions] == [asked[region.index] for region in regions]
        boxes = boxes_of(regions)
        assert ((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, :2] < boxes[:, 2:]).all()
        assert all(0 <= region.score <= 1 for region in regions)
        first, twin = ([(r.xyxy, r.score) for r in regions if r.index == index] for index in (0, 2))
        assert first == twin != []


def test_a_panorama_that_would_not_fit_into_memory_as_a_square_is_reduced_first() -> None:
    (regions,) = tiny().localize([Image.new("RGB", (60_000, 90))], [TEXTS])
    assert all(region.xyxy[0] < region.xyxy[2] for region in regions)


def test_a_reduced_picture_has_its_boxes_where_the_whole_one_has() -> None:
    smooth = picture(4, (12, 9)).resize((300, 225), Image.Resampling.BICUBIC)
    reduced, whole = tiny().encode_images([smooth])[0], tiny()
    whole._side = 1000  # longer than the picture: nothing is reduced
    assert np.abs(reduced.boxes_xyxy - whole.encode_images([smooth])[0].boxes_xyxy).max() < 0.02


def test_texts_are_encoded_once_and_pictures_only_where_something_is_asked() -> None:
    localizer, images = Counting(), [picture(seed) for seed in range(3)]
    first = localizer.localize(images, [TEXTS] * 3)
    assert (localizer.texts, localizer.pictures) == (TEXTS, 3)
    again = localizer.localize(images, [[*TEXTS, "a jar"], [], TEXTS])
    assert (localizer.texts, localizer.pictures) == ([*TEXTS, "a jar"], 5)
    assert_same([region for region in again[0] if region.index < 3], first[0])
    assert again[1] == ()
    assert localizer.localize([], []) == [] and localizer.localize(images, [[], [], []]) == [(), (), ()]
    assert (len(localizer.texts), localizer.pictures) == (4, 5)


def test_a_text_that_the_model_cannot_read_whole_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    localizer, fits = tiny(), "a b c d e f g h i j k l m n"  # fourteen tokens, and two marks
    cut = f"{fits} o"
    assert localizer.too_long([cut, fits, "a lid"]) == (cut,)
    assert localizer.too_long([]) == ()
    with caplog.at_level(logging.WARNING):
        (regions,) = localizer.localize([picture(0)], [[cut, fits]])
        localizer.localize([picture(1)], [[cut, fits]])
    assert [record.getMessage() for record in caplog.records if record.name == "grain.hub.owl"] == [
        f"tiny@0 reads 16 tokens; the rest of this description is cut: {cut!r}"
    ]
    by_text = [[(r.xyxy, r.score) for r in regions if r.index == index] for index in (0, 1)]
    assert by_text[0] == by_text[1]  # what was cut made no difference, and the log said so


def test_bf16_gives_nearly_the_same_boxes() -> None:
    exact, quick = (tiny(precision=precision).encode_images([picture(0, WIDE)])[0] for precision in ("fp32", "bf16"))
    difference = np.abs(exact.boxes_xyxy - quick.boxes_xyxy).max()
    assert 0 < difference < 0.03
    assert quick.features.dtype == torch.float32


@pytest.mark.parametrize(
    ("pictures", "descriptions", "complaint"),
    [
        ([picture(0)], [], "expected descriptions for 1 pictures, got 0 lists"),
        ([picture(0)], ["a lid"], "got a single text: write"),
        ([picture(0)], [["a lid", "  "]], "a description is blank"),
        ([picture(0).convert("L")], [["a lid"]], "must be upright RGB, got mode L"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    pictures: list[Image.Image], descriptions: list[list[str]], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        tiny().localize(pictures, descriptions)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"precision": "fp8"}, "auto, fp32, bf16, got 'fp8'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_a_localizer_that_cannot_be_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Owlv2Localizer(*tiny_owlv2(), name="tiny@0", **settings)  # type: ignore[arg-type]


# from files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_detector("owlv2", tmp_path_factory.mktemp("models") / "tiny-owl")


def test_a_model_that_was_loaded_finds_what_it_found_before(folder: Path) -> None:
    loaded = Owlv2Localizer.from_pretrained(folder, config=EVERYTHING, device="cpu", precision="fp32")
    assert_same(loaded.localize([picture(0)], [TEXTS])[0], tiny().localize([picture(0)], [TEXTS])[0])
    assert loaded.name.startswith("tiny-owl@")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "processor_config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused_where_transformers_would_make_it_up(
    folder: Path, tmp_path: Path, missing: str
) -> None:
    part = shutil.copytree(folder, tmp_path / "half-owl")
    (part / missing).unlink()
    with pytest.raises(UserError, match=r"half-owl(: copy the whole folder| are not complete on this machine)"):
        Owlv2Localizer.from_pretrained(part)


def test_damaged_weights_too_few_of_them_and_another_models_are_refused(folder: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(folder, tmp_path / "cut-owl")
    (cut / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    thin = shutil.copytree(folder, tmp_path / "thin-owl")
    tensors = load_file(thin / "model.safetensors")
    bias = tensors.pop("box_head.dense2.bias")
    save_file(tensors, thin / "model.safetensors", metadata={"format": "pt"})
    wide = shutil.copytree(folder, tmp_path / "wide-owl")
    tensors["box_head.dense2.bias"] = torch.cat([bias, bias])
    save_file(tensors, wide / "model.safetensors", metadata={"format": "pt"})
    for place in (cut, thin, wide):
        with pytest.raises(UserError, match=f"{place.name} are not complete on this machine"):
            Owlv2Localizer.from_pretrained(place)


def test_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "no-owl")
    (other / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match=f"the family owlv2, got .* of clip: .* a model such as {OWLV2}"):
        Owlv2Localizer.from_pretrained(other)


def test_a_missing_model_says_at_once_how_to_get_it_and_settings_need_no_torch(tmp_path: Path) -> None:
    code = """
import sys
import curation.annotate.filters, curation.annotate.localize
try:
    curation.annotate.localize.Owlv2Localizer.from_pretrained()
except ValueError as refusal:
    print(refusal)
print({"torch", "transformers"} & {*sys.modules})
"""
    there = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=there, capture_output=True, text=True, check=True)
    sentence, heavy = done.stdout.splitlines()
    assert f"`hf download {OWLV2} --revision {REVISIONS[OWLV2]}`" in sentence
    assert "HF_HUB_OFFLINE" in sentence
    assert heavy == "set()"
