from random import Random

from hypothesis import given
from hypothesis import strategies as st

from grain.hard_negatives import hard_negative
from grain.sentences import join_phrases

PARTS = ["a red lid", "an orange star", "a band of blue dots"]
OTHERS = ["a green lid", "a red flag", "a band of blue dots", "a wheel", "a tall house on the left"]
seeds = st.integers(0, 1000).map(Random)


def drawn(own: list[str], others: list[str]) -> set[str]:
    return {hard_negative(own, others, Random(seed)) for seed in range(200)}


def test_colours_change_places_and_articles_follow() -> None:
    assert drawn(PARTS, []) == {
        "an orange lid with a red star and a band of blue dots",
        "a blue lid with an orange star and a band of red dots",
        "a red lid with a blue star and a band of orange dots",
    }


def test_one_description_gives_way_to_others_that_have_half_of_its_words() -> None:
    assert drawn(["a red lid", "a tall house on the right"], OTHERS) == {
        "a green lid with a tall house on the right",
        "a red flag with a tall house on the right",
        "a red lid with a tall house on the left",
    }


def test_nothing_can_be_exchanged() -> None:
    for own in ([], ["a red lid"], ["a red lid", "a red star"], ["a wheel", "a house"]):
        assert drawn(own, own) == {""}


@given(st.lists(st.sampled_from(PARTS + OTHERS), unique=True), seeds)
def test_it_is_never_the_true_sentence(own: list[str], draw: Random) -> None:
    assert hard_negative(own, PARTS + OTHERS, draw) != (join_phrases(own) or None)
