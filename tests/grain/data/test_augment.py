from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grain.config import GrainConfig
from grain.data.augment import MIN_VISIBLE, Augmentation, cropped, flipped
from grain.data.loader import TrainingStream, find_mixed
from grain.data.record import ShardRecord
from grain.sentences import mirror_words, names_colour
from grain.structures import Batch
from grain.train.train import train
from grain.train_config import TrainConfig
from tests.grain.train.test_train import settings
from tests.support.tiny import tiny_config, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("augmented") / "tiny", proposals=2)


def record(**changes: Any) -> ShardRecord[Tensor]:
    """A picture of 8 x 4 pixels whose level is its column, and a region on its left quarter."""
    image = torch.arange(8, dtype=torch.uint8).expand(3, 4, 8).contiguous()
    found = ShardRecord(
        "one",
        image,
        "a man left of a tree",
        ((0.0, 0.25, 0.25, 0.75),),
        ("the left man",),
        None,
        "Right",
        ((0.5, 0, 1, 1),),
    )
    return replace(found, **changes)


def test_a_mirrored_picture_has_its_boxes_and_its_words_mirrored() -> None:
    found = flipped(record())
    assert found.image[0, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert found.boxes_xyxy == ((0.75, 0.25, 1.0, 0.75),)
    assert found.proposals == ((0.0, 0.0, 0.5, 1.0),)
    assert (found.texts, found.caption, found.written_caption) == (("the right man",), "a man right of a tree", "Left")
    assert flipped(record(captions=("left", "a dog"))).captions == ("right", "a dog")
    twice = flipped(found)
    assert torch.equal(twice.image, record().image) and replace(twice, image=None) == replace(record(), image=None)


def test_a_window_moves_boxes_and_drops_regions_that_it_hardly_shows() -> None:
    boxes = ((0.0, 0.0, 0.5, 1.0), (0.375, 0.0, 0.5, 1.0), (0.0, 0.0, 0.25, 0.5))
    whole = record(boxes_xyxy=boxes, texts=("half", "inside", "outside"), proposals=None)
    found = cropped(whole, (0, 2, 4, 4))  # columns 2 to 5, all rows
    assert found.image.shape == (3, 4, 4) and found.image[0, 0].tolist() == [2, 3, 4, 5]
    assert MIN_VISIBLE == 0.5
    assert found.texts == ("half", "inside"), "of the first just half is left: columns 2 and 3 of 0 to 3"
    assert found.boxes_xyxy == ((0.0, 0.0, 0.5, 1.0), (0.25, 0.0, 0.5, 1.0))
    assert found.proposals is None


def test_a_crop_that_would_leave_no_region_is_not_made_and_every_crop_is_as_large_as_asked() -> None:
    large = torch.zeros(3, 40, 80, dtype=torch.uint8)
    whole = record(image=large, boxes_xyxy=((0.0, 0.0, 0.02, 0.02),))
    sizes = []
    for seed in range(200):
        found = Augmentation(smallest_crop=0.5).apply(whole, seed)
        assert found.texts == whole.texts, "the region is there in each"
        alone = Augmentation(smallest_crop=0.5).apply(replace(whole, boxes_xyxy=(), texts=()), seed)
        sizes.append(alone.image.shape[1] * alone.image.shape[2] / (40 * 80))
    assert 0.48 <= min(sizes) < 0.6 and 0.9 < max(sizes) <= 1


def test_half_of_the_pictures_are_mirrored_and_a_seed_decides_which() -> None:
    turned = [Augmentation(flip=True).apply(record(), seed).texts == ("the right man",) for seed in range(400)]
    assert 160 < sum(turned) < 240
    assert turned == [Augmentation(flip=True).apply(record(), s).texts == ("the right man",) for s in range(400)]


@pytest.mark.parametrize(
    "words",
    [
        {"caption": "a red car"},
        {"captions": ("a blue one",)},
        {"texts": ("a greenish lid",)},
        {"written_caption": "Grey sky"},
    ],
)
def test_colours_stay_where_a_word_names_one(words: dict[str, Any]) -> None:
    image = torch.randint(0, 255, (3, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    named, plain = record(image=image, **words), record(image=image)
    recoloured = Augmentation(colors=0.5)
    assert torch.equal(recoloured.apply(named, 1).image, image)
    changed = recoloured.apply(plain, 1).image
    assert changed.dtype == torch.uint8 and not torch.equal(changed, image)


def test_words_of_sides_and_colours() -> None:
    assert mirror_words("leftmost cup, LEFT of the Right-hand door; leftover bright rights") == (
        "rightmost cup, RIGHT of the Left-hand door; leftover bright rights"
    )
    assert mirror_words("a right angle, all right") == "a right angle, all right"
    assert names_colour(["a magenta car"])
    assert names_colour(["a dog", "an orange-ish ball"]) and names_colour(["darker wood"])
    assert not names_colour(["a dog", "a credit card", ""])


def batches(data: Path, augmentation: Augmentation, config: GrainConfig | None = None) -> list[Batch]:
    stream = TrainingStream(
        find_mixed(data, ()),
        config or tiny_config(),
        global_batch=6,
        seed=1,
        last_step=4,
        augmentation=augmentation,
    )
    return list(stream)


def test_a_stream_without_changes_is_the_very_same_and_with_them_differs_by_epoch(data: Path) -> None:
    plain, none, all_kinds = (
        batches(data, each) for each in (Augmentation(), Augmentation(False, 1.0, 0.0), Augmentation(True, 0.5, 0.3))
    )
    for one, other in zip(plain, none, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.regions.boxes_xyxy, other.regions.boxes_xyxy)
    again = batches(data, Augmentation(True, 0.5, 0.3))
    for one, other in zip(all_kinds, again, strict=True):
        assert torch.equal(one.images, other.images)
    assert all(not torch.equal(one.images, other.images) for one, other in zip(plain, all_kinds, strict=True))
    for batch in all_kinds:
        boxes = batch.regions.boxes_xyxy
        assert bool((boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, 2:] > boxes[:, :2]).all())


def test_proposals_move_with_their_picture(data: Path) -> None:
    config = tiny_config(queries="proposals")
    for batch in batches(data, Augmentation(flip=True), config):
        assert batch.proposals is not None
        proposed = [boxes[mask] for boxes, mask in zip(batch.proposals.boxes_xyxy, batch.proposals.mask, strict=True)]
        for box, row in zip(batch.regions.boxes_xyxy, batch.regions.image_index, strict=True):
            assert float((proposed[int(row)] - box).abs().max(dim=1).values.min()) < 1e-6, "regions are among them"


def test_a_run_that_is_augmented_resumes_to_the_same_files(data: Path, tmp_path: Path) -> None:
    whole = settings(data, tmp_path, out=tmp_path / "whole", flip=True, smallest_crop=0.6, colors=0.2, workers=1)
    train(whole)
    for name in ("final", "checkpoints/step-00000012"):
        broken = whole.out / name
        broken.rename(broken.with_name(f"away-{broken.name}"))  # as if it had been killed after step 9
    kept = {name: (whole.out / "away-final" / name).read_bytes() for name in ("model.safetensors", "metrics.json")}
    train(whole)
    assert {name: (whole.out / "final" / name).read_bytes() for name in kept} == kept


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"smallest_crop": 0.0}, r"expected smallest_crop to be a finite number, 0\.05 or more, got 0\.0"),
    ({"smallest_crop": 1.5}, "expected smallest_crop to be at most 1, got 1.5"),
    ({"colors": 1.0}, r"expected colors to be at most 0\.9, got 1\.0"),
])  # fmt: skip
def test_a_change_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(Path("d"), Path("o"), **changes)
