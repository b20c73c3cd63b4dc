"""The paper's experiment in small: what all arms see alike, and what each scores a picture by."""

import numpy as np
import pytest
import torch

from benchmarks.photo_experiment import (
    BATCH,
    ImageAndRegions,
    Photograph,
    Step,
    caption_loss,
    singular,
    steps_of,
)
from benchmarks.photo_experiment_scores import BOTH, IMAGE, PLACES, Seen, way_scores
from grain.dense.features import Entity
from grain.dense.train import Picture


def photograph(name: str, *captions: str, phrases: tuple[str, ...] = ("a man",)) -> Photograph:
    """A picture without tokens."""
    kept = Picture(None, None, 0, [Entity(((0.0, 0.0, 1.0, 1.0),), phrases)])
    return Photograph(kept, "train", tuple(f"{caption} {name}".strip() for caption in captions))


@pytest.mark.parametrize(
    ("word", "single"),
    [
        ("dogs", "dog"), ("benches", "bench"), ("sunglasses", "sunglass"), ("scarves", "scarf"), ("gloves", "glove"),
        ("boxes", "box"), ("dress", "dress"), ("bus", "bus"), ("horses,", "horse"), ("leashes", "leash"),
    ],
)  # fmt: skip
def test_a_plural_is_its_noun(word: str, single: str) -> None:
    assert singular(word) == single


def test_a_picture_is_novel_where_any_caption_names_a_novel_noun() -> None:
    assert photograph("", "a dog runs", "two men fly").novel == frozenset()
    assert photograph("", "a dog runs", "two birds fly over a bench.").novel == {"bird", "bench"}


def test_all_arms_see_the_same_pictures_and_captions_in_the_same_order() -> None:
    pictures = [photograph(str(row), *"abcde", phrases=(f"thing {row}",)) for row in range(2 * BATCH + 3)]
    plain = list(steps_of(pictures, seed=1, epoch=0, with_phrases=False))
    mixed = list(steps_of(pictures, seed=1, epoch=0, with_phrases=True))
    assert [len(step.texts) for step in plain] == [BATCH, BATCH]
    assert [step.photographs for step in plain] == [step.photographs for step in mixed]
    texts = [
        (one, other) for a, b in zip(plain, mixed, strict=True) for one, other in zip(a.texts, b.texts, strict=True)
    ]
    phrases = [other for one, other in texts if one != other]
    assert all(phrase.startswith("thing ") for phrase in phrases)
    assert 0.3 < len(phrases) / len(texts) < 0.7


def test_a_text_that_another_pictures_words_imply_is_no_negative_for_it() -> None:
    model = ImageAndRegions()
    images = torch.eye(384)[:2]
    texts = torch.eye(384)[[0, 0]]  # both texts look like the first picture
    apart = Step([photograph("", "x"), photograph("", "y")], ["a red hat", "a blue cap"])
    implied = Step(
        [photograph("", "x", phrases=("blue cap on a man",)), photograph("", "y")], ["a red hat", "a blue cap"]
    )
    scale = float(model.caption_scale.detach().exp())
    rows = [np.log(2), np.log(2)]  # pictures to texts: both alike in either row
    columns = [np.log1p(np.exp(-scale)), scale + np.log1p(np.exp(-scale))]
    expected = (np.mean(rows) + np.mean(columns)) / 2
    assert float(caption_loss(model, images, texts, apart).detach()) == pytest.approx(expected, rel=1e-4)
    left = (np.mean([0.0, np.log(2)]) + np.mean([np.log1p(np.exp(-scale)), 0.0])) / 2
    assert float(caption_loss(model, images, texts, implied).detach()) == pytest.approx(left, rel=1e-4)


def test_the_embedding_of_a_picture_with_one_token_is_that_tokens() -> None:
    torch.manual_seed(0)
    model = ImageAndRegions()
    states = torch.randn(3, 1, 256)
    images = model.embed_image(states, torch.zeros(3, 1, dtype=torch.bool))
    torch.testing.assert_close(images, model.embed_patches(states)[:, 0])


def test_both_ways_count_alike_whatever_their_spread() -> None:
    texts = torch.eye(2)
    seen = Seen(
        torch.tensor([0.1, 0.0]), torch.tensor([[0.0, 0.9], [0.2, 0.0]]), torch.zeros(2), torch.zeros(2, 2), None
    )
    scores = way_scores(seen, texts)
    assert scores[IMAGE].tolist() == pytest.approx([0.1, 0.0])
    assert scores[PLACES].tolist() == pytest.approx([0.2, 0.9])
    assert scores[BOTH].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
