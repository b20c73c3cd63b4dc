"""What a description names beside its own thing: taken apart, weighed by hand, and asked of a photograph."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from app.ground.examples import FOLDER
from grain.photo.other_things import leave_out_others, leave_out_owners, other_things, pale_on, part_of, weigh_others
from grain.predict import Predictor
from grain.structures import RegionRanking

PALE = {name: np.zeros(3, np.float32) for name in ("a hat", "a dog", "a bat")}  # as if all had their colours


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("a dog", ()),
        ("A man in a red hat", ("a red hat",)),
        ("a rider in a white coat on a black horse", ("a white coat", "a black horse")),
        ("a dog chasing a boy", ("a boy",)),
        ("a woman with short dark hair cutting a cake", ("short dark hair", "a cake")),
        ("a man on the left with a hat", ("a hat",)),
        ("a red car in front of the building on the left", ("the building",)),
        ("a cup of coffee on a wooden table", ("a wooden table",)),
        ("the head of the zebra", ("the zebra",)),
        ("a man with a red and white shirt", ("a red and white shirt",)),
        ("two men and a dog", ("a dog",)),
        ("a bus without wheels", ()),
        ("a boy or a girl", ()),
        ("a man in black", ()),
        ("a woman in white and blue", ()),
        ("a man dressed as a clown", ()),
        ("a sign that says stop", ()),
        ("a dog running fast", ()),
        ("a bird in flight", ()),
        ("the second car from the right", ()),
        ("someone in the middle of the picture", ()),
        ("a dog looking at the camera", ()),
        ("a man pointing a camera at a dog", ("a camera", "a dog")),
        ("a horse in the picture", ()),
        ("", ()),
    ],
)
def test_the_things_that_a_description_names_beside_its_own(text: str, things: tuple[str, ...]) -> None:
    assert other_things(text) == things


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("the head of the zebra", "the zebra"),
        ("a zebra's head", "a zebra"),
        ("the man's left hand", "a man"),
        ("a man's hat", ""),
        ("the side of the street", ""),
        ("a door of wood", ""),
        ("his face", ""),
        ("the head of", ""),
        ("", ""),
    ],
)
def test_a_part_is_told_from_what_it_is_part_of(text: str, whole: str) -> None:
    assert part_of(text) == whole


def test_the_least_likely_other_thing_is_weighed_by_hand() -> None:
    ranked = RegionRanking(np.zeros((1, 3), np.float32), np.array([0.8, 0.8, 0.8], np.float32), reasons=("", "x", ""))
    weighed = weigh_others(ranked, [("a hat", "a dog"), ("a dog",), ()], {"a hat": 0.5, "a dog": 0.1}, pale=PALE)
    assert weighed.presence is not None
    odds = 4**0.46 * (1 / 9) ** 0.78
    np.testing.assert_allclose(weighed.presence, [odds / (1 + odds), odds / (1 + odds), 0.8], rtol=1e-5)
    assert weighed.reasons == ("no sign of a dog here", "x", "")


def test_a_sure_other_thing_makes_a_description_likelier_and_certainty_stays_finite() -> None:
    ranked = RegionRanking(np.zeros((1, 2), np.float32), np.array([0.6, 1.0], np.float32), reasons=("", ""))
    weighed = weigh_others(ranked, [("a hat",), ("a bat",)], {"a hat": 1.0, "a bat": 0.0}, pale=PALE)
    assert weighed.presence is not None
    assert weighed.presence[0] > 0.99 and 0 < weighed.presence[1] < 0.2


def test_a_thing_without_its_colour_on_the_own_region_is_doubted_by_hand() -> None:
    ranked = RegionRanking(np.zeros((1, 2), np.float32), np.array([0.5, 0.5], np.float32), reasons=("", ""))
    pale = {"a red hat": np.array([-4, 0], np.float32)}
    weighed = weigh_others(ranked, [("a red hat",)] * 2, {"a red hat": 0.5}, pale=pale)
    assert weighed.presence is not None
    np.testing.assert_allclose(weighed.presence, [1 / (1 + np.exp(2)), 0.5], rtol=1e-5)
    assert weighed.reasons == ("no sign of a red hat here", "")


def test_colours_are_asked_of_the_thing_on_the_own_region_and_not_of_one_beside_it() -> None:
    boxes = np.array([[0, 0, 0.5, 1], [0.1, 0, 0.3, 0.2], [0.6, 0, 0.8, 0.2]], np.float32)  # a man, his hat, another
    fit = np.array([[-3], [1], [2]], np.float32)
    colour = np.array([[-1], [-5], [0]], np.float32)
    assert pale_on(boxes, np.array([0, 2]), fit=fit, colour=colour).tolist() == [[-5, 0]]


def test_a_whole_things_region_is_no_part_of_it() -> None:
    boxes = np.array([[0, 0, 1, 1], [0.05, 0, 1, 1], [0, 0, 0.3, 0.3]], np.float32)
    confidence = np.full((3, 2), 0.9, np.float32)
    ranked = RegionRanking(np.array([[3, 3], [2, 2], [1, 1]], np.float32), np.ones(2), confidence, ("", ""))
    left = leave_out_owners(boxes, ranked, owners=["the zebra", ""], best={"the zebra": 1})
    assert left.confidence is not None
    np.testing.assert_allclose(left.confidence, [[0, 0.9], [0, 0.9], [0.9, 0.9]])
    assert left.reasons == ("only the zebra as a whole seems to be here", "")


def test_another_things_region_is_no_further_one_of_its_own() -> None:
    boxes = np.array([[0, 0, 0.3, 0.3], [0.4, 0, 0.6, 1], [0.4, 0.05, 0.6, 1], [0.7, 0, 1, 1]], np.float32)
    ranked = RegionRanking(np.array([[4], [3], [2], [1]], np.float32), np.ones(1), np.full((4, 1), 0.8, np.float32))
    sure = {"a camera": np.full(4, 0.5), "a tripod": np.array([0, 0.9, 0.6, 0.9])}

    def kept(other: str, row: int, *, own: str = "a camera", likely: str = "a tripod") -> list[bool]:
        left = leave_out_others(
            boxes,
            ranked,
            own=[own],
            others=[(other,)],
            best={other: row},
            confidence={own: sure["a camera"], other: sure[likely]},
        )
        assert left.confidence is not None
        return (left.confidence[:, 0] > 0).tolist()

    assert kept("a tripod", 1) == [True, False, False, True]
    assert kept("a tripod", 0) == [True] * 4, "the best one stays"
    assert kept("a tripod", 1, likely="a camera") == [True] * 4, "no likelier than its own"
    assert kept("another camera", 1) == kept("a dog", 1, own="a dogs chasing a dog") == [True] * 4


def test_the_tripod_of_a_camera_is_no_camera() -> None:
    with Image.open(FOLDER / "camera.jpg") as image:
        seen = Predictor.from_pretrained("photo").predict(
            image, ["a camera on a tripod", "two cameras on a tripod", "a camera"], {}, instances="all"
        )
    assert [region.text for region in seen.regions] == list(seen.descriptions)
    assert len({region.index for region in seen.regions}) == 1
    assert seen.reasons == ("", "1 of 2 found", "")


@pytest.mark.parametrize(
    ("there", "not_there", "missing"),
    [
        ("a man in a black coat", "a man with a dog", "a dog"),
        ("a man behind a tripod", "a man on a horse", "a horse"),
        ("a man with a camera", "a man holding a tennis racket", "a tennis racket"),
    ],
)
def test_a_man_is_not_found_with_what_is_not_there(there: str, not_there: str, missing: str) -> None:
    with Image.open(FOLDER / "camera.jpg") as image:
        seen = Predictor.from_pretrained("photo").predict(image, [there, not_there], {})
    assert seen.answers == ("found", "not found")
    assert seen.reasons == ("", f"no sign of {missing} here")
