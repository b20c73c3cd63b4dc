"""True sentences and their false twins, by hand and as properties."""

from __future__ import annotations

from collections import Counter

from curation.audit.claims import split_claims
from curation.audit.known_sentences import KnownSentence, known_sentences
from curation.files.records import Box, DescriptionRecord, PictureRecord, RegionRecord


def picture(name: str, *boxes: tuple[str, Box]) -> PictureRecord:
    regions = tuple(RegionRecord(box, (DescriptionRecord(text),)) for text, box in boxes)
    return PictureRecord("0" * 64, 100, 100, name, regions=regions)


LEFT, RIGHT, MIDDLE = (0.0, 0.0, 0.2, 0.9), (0.8, 0.0, 1.0, 0.9), (0.4, 0.3, 0.6, 0.7)
PICTURES = [
    picture("a", ("dog", LEFT), ("cat", RIGHT), ("person", MIDDLE)),
    picture("b", ("dog", LEFT), ("dog", RIGHT), ("bus", MIDDLE)),
    picture("c", ("cat", LEFT), ("orange", RIGHT), ("bus", MIDDLE)),
    picture("d", ("dog", MIDDLE), ("cat", LEFT)),
    picture("e"),
]


def of(name: str, found: list[KnownSentence], kind: str) -> dict[str, str]:
    """Sentence -> its swap."""
    return {each.text: each.swap for each in found if (each.file_name, each.kind) == (name, kind)}


def test_objects_are_swapped_for_absent_ones_as_pope_draws_them() -> None:
    found = list(known_sentences(PICTURES))
    swaps = [(each.text, each.swap) for each in found if each.file_name == "c" and each.kind == "object"]
    assert [text for text, swap in swaps if not swap] == ["a bus", "a cat", "an orange"]
    assert {text for text, swap in swaps if swap} <= {"a dog", "a person"}
    assert {text for text, swap in swaps if swap == "frequent"} == {"a dog"}, "in three pictures"
    assert [text for text, swap in swaps if swap == "co-occurring"][1] == "a dog", "beside a cat twice, a person once"
    assert [each for each in found if each.file_name == "e"] == []


def test_counts_places_and_relations_are_those_of_the_boxes() -> None:
    found = list(known_sentences(PICTURES))
    counted = of("b", found, "count")
    assert counted["two dogs"] == "" and counted["one bus"] == ""
    assert {text for text, swap in counted.items() if swap and "dog" in text} <= {"one dog", "three dogs", "four dogs"}
    places = of("a", found, "relation")
    assert (places["a dog on the left"], places["a dog on the right"]) == ("", "place")
    assert (places["a cat right of a dog"], places["a cat left of a dog"]) == ("", "relation")
    assert not any("person on the" in text for text in places), "in the middle"
    assert not any("dog" in text for text in of("b", found, "relation")), "which of the two dogs?"


def test_colours_are_told_where_the_pixels_are_sure_and_never_of_people() -> None:
    shares = {"red": 0.9, "blue": 0.1, "green": 0.0}
    found = list(known_sentences(PICTURES[:1], colours=lambda record, box: shares))
    assert of("a", found, "attribute") == {
        "a red cat": "", "a green cat": "colour", "a red dog": "", "a green dog": "colour",
    }  # fmt: skip
    unsure = {"red": 0.5, "blue": 0.5, "green": 0.0}
    assert of("a", list(known_sentences(PICTURES, colours=lambda record, box: unsure)), "attribute") == {}


def test_every_false_sentence_has_a_true_twin_and_its_claim_is_read() -> None:
    found = list(known_sentences(PICTURES, seed=3))
    assert found == list(known_sentences(PICTURES, seed=3))
    kinds = Counter((each.kind, each.holds) for each in found)
    assert kinds["object", False] == 3 * kinds["object", True]
    assert all(kinds[kind, True] == kinds[kind, False] for kind in ("count", "relation"))
    for each in found:
        assert each.kind in {claim.kind for claim in split_claims(each.text)}, each.text
        assert each.holds is (each.swap == "")
