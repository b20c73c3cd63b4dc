"""Ranks by hand and against peers that hold the whole matrix; annotation files as they go round."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_benchmark.metrics.zeroshot_retrieval import recall_at_k
from hypothesis import given
from hypothesis import strategies as st
from torch import from_numpy, zeros

from grain.data.retrieval_sets import CaptionedSet, missing_pictures, read_captions
from grain.evaluate import retrieval
from grain.evaluate.metrics import recall_at
from grain.evaluate.retrieval import ranks
from grain.structures import Array


def unit(seed: int, rows: int, width: int = 16) -> Array:
    found = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_ranks_by_hand() -> None:
    images = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    texts = np.array([[0.8, 0.6], [0, 1], [1, 0]], np.float32)  # of pictures 0, 1, 2
    found = ranks(images, texts, [0, 1, 2])
    # cosines, a row a picture: [.8 0 1], [.6 1 0], [.96 .8 .6]
    assert found.captions.tolist() == [1, 0, 2]
    assert found.pictures.tolist() == [1, 0, 1]
    assert found.caption_hits(1).tolist() == [0, 1, 0] and found.picture_hits(2).tolist() == [1, 1, 1]


@pytest.mark.parametrize("captions_each", [1, 3])
def test_recalls_are_those_of_clip_benchmark_which_sorts_the_whole_matrix(captions_each: int) -> None:
    pictures, seed = 600, 3
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(pictures), captions_each))
    images = unit(seed, pictures)
    texts = images[owner] + 2 * unit(seed + 1, len(owner))
    found = ranks(images, texts, owner).recalls()
    scores = from_numpy(texts @ images.T)
    positive = zeros(list(scores.shape), dtype=torch.bool)
    positive[np.arange(len(owner)), owner] = True
    for k in (1, 5, 10):
        to_image = (recall_at_k(scores, positive, k) > 0).float().mean().item()
        to_text = (recall_at_k(scores.T, positive.T, k) > 0).float().mean().item()
        assert found[f"text_to_image_r{k}"].value == pytest.approx(to_image, abs=1e-7)
        assert found[f"image_to_text_r{k}"].value == pytest.approx(to_text, abs=1e-7)
        assert 0 < found[f"image_to_text_r{k}"].low < found[f"image_to_text_r{k}"].value


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 60))
def test_a_rank_is_the_number_of_others_that_are_not_below(seed: int, pictures: int, captions: int) -> None:
    rng = np.random.default_rng(seed)
    images, texts = (rng.integers(-2, 3, (rows, 3)).astype(np.float32) for rows in (pictures, captions))  # many ties
    owner = rng.integers(0, pictures, captions)
    found = ranks(images, texts, owner)
    cosines = texts @ images.T
    for text, picture in enumerate(owner):
        others = np.delete(cosines[text], picture)
        assert found.pictures[text] == np.sum(others >= cosines[text, picture])
    for picture in range(pictures):
        own = owner == picture
        expected = np.sum(cosines[~own, picture] >= cosines[own, picture].max()) if own.any() else -1
        assert found.captions[picture] == expected


@pytest.mark.parametrize("sides", [(1, 1), (7, 5), (250, 4096)])
def test_blocks_of_any_size_give_the_same_ranks(sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    owner = np.arange(90) % 30
    images, texts = unit(1, 30), unit(2, 90)
    whole = ranks(images, texts, owner)
    monkeypatch.setattr(retrieval, "PICTURES", sides[0])
    monkeypatch.setattr(retrieval, "CAPTIONS", sides[1])
    assert ranks(images, texts, owner).captions.tolist() == whole.captions.tolist()
    assert ranks(images, texts, owner).pictures.tolist() == whole.pictures.tolist()


def test_one_caption_a_picture_is_the_recall_of_the_square() -> None:
    images, texts = unit(4, 50), unit(4, 50) + 0.7 * unit(5, 50)
    found = ranks(images, texts, range(50))
    assert found.caption_hits(5).tolist() == recall_at(images @ texts.T, 5).tolist()
    assert found.picture_hits(5).tolist() == recall_at(texts @ images.T, 5).tolist()


def test_a_model_that_embeds_everything_alike_or_not_at_all_finds_nothing() -> None:
    same = np.ones((8, 4), np.float32) / 2
    for images in (same, same * np.nan):
        found = ranks(images, same, range(8)).recalls((1, 5))
        assert {estimate.value for estimate in found.values()} == {0.0}


def test_a_picture_without_captions_is_searched_but_finds_none() -> None:
    images = unit(6, 3)
    found = ranks(images, images[[0, 2]], [0, 2])
    assert found.captions.tolist() == [0, -1, 0]
    assert found.caption_hits(1).tolist() == [1, 1]
    assert ranks(images[[0, 0, 2]], images[[0, 2]], [0, 2]).pictures.tolist() == [1, 0], "its twin came as high"


@pytest.mark.parametrize(
    ("shapes", "owner", "complaint"),
    [
        (((2, 4), (0, 4)), [], "no captions to rank"),
        (((2, 4), (1, 5)), [0], "use one model"),
        (((2, 4), (2, 4)), [0], "a row for each of 2 captions"),
        (((2, 4), (1, 4)), [2], "must lie in 0 … 1, got 2 … 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    shapes: tuple[tuple[int, int], tuple[int, int]], owner: list[int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        ranks(np.ones(shapes[0], np.float32), np.ones(shapes[1], np.float32), owner)


# ------------------------------------------------------------------------------------------------ annotation files

COCO = {
    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
    "annotations": [
        {"image_id": 3, "caption": "a dog"},
        {"image_id": 7, "caption": "two cats "},
        {"image_id": 3, "caption": "a puppy"},
    ],
}
KARPATHY = {
    "images": [
        {"filepath": "val", "filename": "b.jpg", "split": "test", "sentences": [{"raw": "two cats"}]},
        {"filepath": "val", "filename": "c.jpg", "split": "train", "sentences": [{"raw": "a bus"}]},
        {"filename": "a.jpg", "split": "test", "sentences": [{"raw": "a dog"}, {"raw": "a puppy"}]},
    ]
}
TWO = (("two cats",), ("a dog", "a puppy"))
LAYOUTS = [
    ("captions_val.json", json.dumps(COCO), ("b.jpg", "a.jpg")),
    ("dataset_coco.json", json.dumps(KARPATHY), ("val/b.jpg", "a.jpg")),
    ("results.token", "b.jpg#0\ttwo cats\na.jpg#0\ta dog\na.jpg#1\ta puppy\n", ("b.jpg", "a.jpg")),
    (
        "results.csv",
        "image_name| comment_number| comment\nb.jpg| 0| two cats\na.jpg| 0| a dog\na.jpg| 1| a puppy\n",
        ("b.jpg", "a.jpg"),
    ),
]


@pytest.mark.parametrize(("name", "text", "files"), LAYOUTS)
def test_each_layout_is_read(name: str, text: str, files: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_captions(tmp_path / name)
    assert found == CaptionedSet(files, TWO)
    assert found.texts == ["two cats", "a dog", "a puppy"] and found.picture_of == [0, 1, 1]


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert missing_pictures(CaptionedSet(("b.jpg", "a.jpg"), TWO), tmp_path) == ["b.jpg"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("x.json", "[1", "cannot be read"),
        ("x.json", "[]", "cannot be read"),
        ("x.json", '{"images": []}', "no captions of the split 'test'"),
        ("x.json", json.dumps({**COCO, "images": []}), "cannot be read"),
        (
            "x.json",
            '{"images": [{"id": 1, "file_name": "../a"}], "annotations": [{"image_id": 1, "caption": "x"}]}',
            "below",
        ),
        (
            "x.json",
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "caption": 5}]}',
            "a text",
        ),
        ("x.token", "a.jpg#0 a dog", "a file and a caption"),
        ("x.csv", "a.jpg, a dog", "a file and a caption"),
        ("x.csv", "", "holds no captions: expected COCO"),
    ],
)
def test_another_layout_gets_one_clear_sentence(name: str, text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as caught:
        read_captions(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no annotation file .*: put COCO's"):
        read_captions(tmp_path / "captions.json")
