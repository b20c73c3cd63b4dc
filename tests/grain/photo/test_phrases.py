"""Position, size and colour words, plurals and articles: what they are taken for, and how regions fit them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grain.photo.denials import split_denial
from grain.photo.phrases import (
    Phrase,
    colour_map,
    colour_shares,
    least_shares,
    parse_phrase,
    plural,
    preload_inflector,
    with_article,
)
from grain.photo.word_lists import COLOURS
from tests.support.steps import steps

KNOWN = frozenset({"black-and-white colobus", "brown bear", "bus", "skis", "teddy bear"})
WHOLE = np.array([0, 0, 1, 1], np.float32)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("a photo of a dog", Phrase("a dog")),
        ("Dogs.", Phrase("a dog", several=True)),
        ("the three people", Phrase("a person", several=True, count=3)),
        ("owl", Phrase("an owl")),
        ("the left dog", Phrase("a dog", (), ("left",))),
        ("a person on the left", Phrase("a person", (), ("left",))),
        ("the person on the right-hand side of the picture", Phrase("a person", (), ("right",))),
        ("the upper left window", Phrase("a window", (), ("top", "left"))),
        ("the biggest boats", Phrase("a boat", (), ("largest",), several=True)),
        ("two red cars next to a blue bus", Phrase("a car", ("red",), several=True, count=2)),
        ("a giraffe standing next to a tree", Phrase("a giraffe")),
        ("a riding helmet", Phrase("a riding helmet")),
        ("slices of cake on a plate", Phrase("a slice of cake", several=True)),
        ("a bus without wheels", Phrase("a bus", denied="without wheels")),
        ("a red street with no cars", Phrase("a street", ("red",), denied="with no cars")),
        ("a dog that is not brown", Phrase("a dog", denied="that is not brown")),
        ("no people", Phrase("a person", denied="no people", several=True)),
        ("A bus WITHOUT wheels", Phrase("a bus", denied="without wheels")),
        ("a no parking sign", Phrase("a no parking sign")),
        ("black and white cows", Phrase("a cow", ("black", "white"), several=True)),
        ("a gray cat at the bottom", Phrase("a cat", ("grey",), ("bottom",))),
        ("a man in a red shirt and blue jeans", Phrase("a man", worn=("red", "blue"))),
        ("a brown dog with a gray collar", Phrase("a dog", ("brown",), worn=("grey",))),
        ("a boy with a red hat standing on a blue mat", Phrase("a boy", worn=("red",))),
        ("a woman in black", Phrase("a woman", worn=("black",))),
        ("a woman in front of a blue wall", Phrase("a woman")),
        ("a woman left of the tree", Phrase("a woman")),
        ("a well dressed woman dressed all in black", Phrase("a well dressed woman", worn=("black",))),
        ("a woman holding an orange", Phrase("a woman")),
        ("a man near a red car", Phrase("a man")),
        ("a girl wearing a hat that is not red", Phrase("a girl", denied="that is not red")),
    ],
)
def test_a_description_is_taken_apart(text: str, phrase: Phrase) -> None:
    assert parse_phrase(text, KNOWN) == phrase


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("giraffe on left", ["left"]),
        ("giraffe at left", ["left"]),
        ("giraffe on far right", ["right"]),
        ("giraffe on left side", ["left"]),
        ("giraffe on left side of picture", ["left"]),
        ("giraffe in top left corner", ["top", "left"]),
        ("giraffe in middle", ["middle"]),
        ("giraffe on right eating leaves", ["right"]),
        ("giraffe on the left, in the sun", ["left"]),
        ("far left giraffe", ["left"]),
        ("left most giraffe", ["left"]),
        ("the very top giraffe", ["top"]),
        ("giraffe, left", ["left"]),
        ("giraffe, on the far left", ["left"]),
        ("giraffe, top", ["top"]),
        ("giraffe far left", ["left"]),
        ("giraffe bottom right", ["bottom", "right"]),
        ("giraffe standing right", ["right"]),
        ("a giraffe with a cherry on top", []),
        ("a giraffe in top hat", []),
        ("a giraffe in bottom gear", []),
        ("a giraffe from top to bottom", []),
        ("a giraffe on left side of car", []),
        ("a giraffe to left of car", []),
        ("a giraffe with a ball in the right hand", []),
        ("a giraffe looking left", []),
        ("a giraffe facing far right", []),
        ("a giraffe by the man's right", []),
        ("a giraffe with a tank top", []),
    ],
)
def test_positions_are_read_as_people_type_them(text: str, positions: list[str]) -> None:
    phrase = parse_phrase(text, KNOWN)
    assert (phrase.core, list(phrase.positions)) == ("a giraffe", positions)


@pytest.mark.parametrize(("text", "core"), [("a middle aged man", "a middle aged man"), ("a tank top", "a tank top")])
def test_a_side_that_belongs_to_a_name_is_no_position(text: str, core: str) -> None:
    assert parse_phrase(text, KNOWN) == Phrase(core)


@pytest.mark.parametrize(
    ("text", "worn"),
    [
        ("a dog next to a man in a purple shirt", ""),
        ("a horse behind a fence with purple stripes", ""),
        ("a dog near a woman in an orange dress", ""),
        ("a woman in a red dress and a man in a black suit", "red"),
        ("a woman in a red dress and a black dog", "red"),
        ("a car with a red roof and a truck with a blue roof", "red"),
        ("a dog chasing a boy in a red shirt", ""),
        ("a woman in front of a man in a red shirt", ""),
        ("the face of a woman in a red dress", ""),
        ("a man skiing while a woman in a red coat watches", ""),
        ("a person with long black hair and a white shirt", "black white"),
        ("a man sitting on a bench wearing a red hat", "red"),
        ("a man standing next to a car in a red shirt", "red"),
        ("a boy next to a man wearing a red hat", ""),
        ("a boy with a cap on his head in a red shirt", "red"),
        ("a man standing in a red shirt", "red"),
        ("a man who is wearing a red shirt", "red"),
        ("a girl with a hat that is red", "red"),
        ("a dog in a blue collar is chasing a green ball", "blue"),
        ("a dog in the back of a white truck", ""),
        ("a bird holding a piece of orange while perched", ""),
        ("a man in pink and white", "pink white"),
        ("a girl with a bunch of yellow flowers", "yellow"),
        ("a girl with two red and blue kites", "red blue"),
        ("a group of people in red", "red"),
    ],
)
def test_the_colours_of_other_things_are_not_worn(text: str, worn: str) -> None:
    assert parse_phrase(text, KNOWN).worn == tuple(worn.split())


def test_the_rarest_colour_counts_in_whole_boxes() -> None:
    picture = Image.new("RGB", (400, 200), (200, 30, 30))  # half of it red, a tenth blue, the rest white
    picture.paste((255, 255, 255), (200, 0, 400, 200))
    picture.paste((30, 30, 200), (200, 0, 240, 200))
    names = colour_map(picture)
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0, 1, 1], [0.9, 0.9, 0.9, 0.9]], np.float32)
    assert least_shares(names, boxes, ["red"]) == pytest.approx([0.5, 1, 0, 0], abs=0.02)
    assert least_shares(names, boxes, ["red", "blue"]) == pytest.approx([0.1, 0, 0, 0], abs=0.02)
    assert least_shares(names, boxes, ["white"])[3] == 1, "a box without area has the pixel that it lies in"


@pytest.mark.parametrize(
    ("text", "core"),
    [
        ("a brown bear", "a brown bear"),  # a known name
        ("a black-and-white colobus in a tree", "a black-and-white colobus"),
        ("a bus", "a bus"),
        ("an orange", "an orange"),  # a fruit, not a colour
        ("a top hat", "a top hat"),
        ("a lid on top of the jar", "a lid"),
        ("a person to the left of the car", "a person"),  # a relation, not a place
    ],
)
def test_what_only_looks_like_a_rule_word_stays(text: str, core: str) -> None:
    assert parse_phrase(text, KNOWN) == Phrase(core)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("a big no smoking sign", Phrase("a big no smoking sign")),
        ("a red no entry sign", Phrase("a no entry sign", ("red",))),
        ("no parking sign", Phrase("a no parking sign")),
        ("no left turn sign on the left", Phrase("a no left turn sign", (), ("left",))),
        ("a do not enter sign", Phrase("a do not enter sign")),
        ("a street with no parking sign", Phrase("a street", denied="with no parking sign")),
        ("a sign that says do not enter", Phrase("a sign")),
        ("a notice that says no dogs", Phrase("a notice")),
        ("a sign with the words do not feed", Phrase("a sign")),
        ('a sign with "no dogs" on it', Phrase("a sign")),
        ("a sign that reads no dogs", Phrase("a sign")),
        ("a bus that isn't standing on the left", Phrase("a bus", denied="that isn't standing on the left")),
        ("a girl who reads without glasses", Phrase("a girl", denied="without glasses")),
        ("stop sign no 4", Phrase("a stop sign no 4")),
        ("a stop sign with no. 4 on it", Phrase("a stop sign")),
        ("a stop sign with no 4 on it", Phrase("a stop sign")),
        ("a red bus without windows on the right", Phrase("a bus", ("red",), ("right",), "without windows")),
        ("a bus that is not red on left", Phrase("a bus", (), ("left",), "that is not red")),
        ("a bus that is not on the left", Phrase("a bus", denied="that is not on the left")),
        ("a bus but not the one on the left", Phrase("a bus", denied="not the one on the left")),
        ("no bus on the left", Phrase("a bus", (), ("left",), "no bus on the left")),
        ("a man without glasses and with a red hat", Phrase("a man", (), (), "without glasses", ("red",))),
        ("a man without glasses, in red", Phrase("a man", (), (), "without glasses", ("red",))),
        ("a man with no hat and with no bag", Phrase("a man", denied="with no hat and with no bag")),
    ],
)
def test_a_denial_is_as_long_as_what_it_denies(text: str, phrase: Phrase) -> None:
    assert parse_phrase(text, KNOWN) == phrase


def test_a_denial_is_split_off_whatever_its_case() -> None:
    assert split_denial("A bus WITHOUT wheels") == ("A bus", "WITHOUT wheels")
    assert split_denial("the no smoking sign") == ("the no smoking sign", "")


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("a dog that isn't brown", "that isn't brown"),
        ("a dog that isn’t brown", "that isn't brown"),
        ("a dog that isnt brown", "that isnt brown"),
        ("the dog is not brown", "is not brown"),
        ("a dog who doesn't wear a collar", "who doesn't wear a collar"),
        ("a dog which cannot swim", "which cannot swim"),
        ("a dog with nothing on its head", "with nothing on its head"),
        ("a dog with nobody beside it", "with nobody beside it"),
        ("a dog lacking a tail", "lacking a tail"),
        ("a dog that lacks a tail", "that lacks a tail"),
        ("a dog missing its tail", "missing its tail"),
        ("a dog w/o a collar", "w/o a collar"),
        ("a dog that has never had a tail", "that has never had a tail"),
        ("a dog wearing neither hat nor shoes", "wearing neither hat nor shoes"),
        ("a dog that is wearing no hat", "that is wearing no hat"),
        ("a dog that has no tail", "that has no tail"),
        ("a dog and no cat", "no cat"),
        ("not a dog", "not a dog"),
        ("neither a dog nor a cat", "neither a dog nor a cat"),
        ("none of the dogs", "none of the dogs"),
        ("without a dog", "without a dog"),
    ],
)
def test_denials_of_many_forms_are_not_claimed(text: str, denied: str) -> None:
    assert replace(parse_phrase(text, KNOWN), several=False) == Phrase("a dog", denied=denied)


@pytest.mark.parametrize("name", ["knot", "notebook", "missing piece", "nonet", "nosy dog", "front lack", "box or not"])
def test_a_name_that_begins_like_a_denial_is_none(name: str) -> None:
    assert split_denial(f"a {name}") == (f"a {name}", "")


@pytest.mark.parametrize(
    "text",
    [
        *("there is a red dog", "there's a red dog", "is there a red dog?", "are there any red dogs?"),
        *("here is a red dog!", "find red dogs"),
        *("where is the red dog?", "where's the red dog", "who is the red dog?", "is this the red dog?"),
        *("this is a red dog", "there a red dog"),
        *("find the red dog", "please show me the red dog", "can you see a red dog?", "There are 3 red dogs."),
        *("one of the red dogs", "some of those red dogs", "every red dog", "each red dog", "all red dogs"),
        *("12 red dogs", "five red dogs"),
        *("“a red dog”", '"a red dog"', "'a red dog'", "‘red dog’", 'a "red" dog', "a ‘red’ dog"),
        *("1. a red dog", "2) red dogs", "- a red dog", "• a red dog", "* a red dog"),
    ],
)
def test_what_wraps_a_description_is_not_looked_for(text: str) -> None:
    phrase = parse_phrase(text, KNOWN)
    assert replace(phrase, several=False, count=0) == Phrase("a dog", ("red",))


@pytest.mark.parametrize(
    ("text", "asserted", "denied"),
    [
        ("there is no dog", "dog", "no dog"),
        ("there isn't a dog?", "a dog", "not a dog"),
        ("Where is the dog without a tail?", "the dog", "without a tail"),
        ("“A Dog”", "A Dog", ""),
        ("a “no smoking” sign", 'a "no smoking" sign', ""),
        ("show jumping", "show jumping", ""),
        ("the dogs' ball", "the dogs' ball", ""),
        ("the dog's ball", "the dog's ball", ""),
        ("3.5 dogs", "3.5 dogs", ""),
        ("?!", "?!", ""),
    ],
)
def test_the_words_without_their_wrapping(text: str, asserted: str, denied: str) -> None:
    assert split_denial(text) == (asserted, denied)


@pytest.mark.parametrize(
    ("text", "core", "colours"),
    [
        ("an orange and a banana", "an orange", ""),
        ("an orange and broccoli", "an orange", ""),
        ("an orange and white cat", "a cat", "orange white"),
        ("an orange or a red bus", "an orange", ""),
        ("two red and three blue cars", "a car", "red blue"),
        ("a red and a blue car", "a car", "red blue"),
        ("a red and shiny car", "a shiny car", "red"),
        ("a red, white, and blue flag", "a flag", "red white blue"),
        ("a blue , red , and yellow plane", "a plane", "blue red yellow"),
        ("a white or black car", "a car", "white black"),
        ("a white or a light gray car", "a car", "white grey"),
    ],
)
def test_a_noun_stands_after_all_of_its_colours(text: str, core: str, colours: str) -> None:
    assert replace(parse_phrase(text, KNOWN), several=False, count=0) == Phrase(core, tuple(colours.split()))


@pytest.mark.parametrize(
    ("text", "colours"),
    [
        ("the dog is purple", "purple"),
        ("a dog that is purple", "purple"),
        ("a dog that's dark purple and green", "purple green"),
        ("dogs which are purple", "purple"),
        ("a dog that is purple in colour", "purple"),
        ("a dog of purple colour", "purple"),
        ("a dog coloured purple", "purple"),
        ("a dog, purple", "purple"),
        ("a dog, purple and green", "purple green"),
        ("a purple-coloured dog", "purple"),
        ("a purple colored dog", "purple"),
        ("a purple-and-green dog", "purple green"),
        ("a purple/green dog", "purple green"),
        ("a purple & green dog", "purple green"),
        ("a dark-blue dog", "blue"),
        ("a sky-blue dog", "blue"),
        ('a "purple" dog', "purple"),
        ("a dog that is purple haired", ""),
        ("a dog in a car that is blue", ""),
        ("a dog that is an orange", ""),
    ],
)
def test_a_colour_counts_wherever_it_stands(text: str, colours: str) -> None:
    phrase = parse_phrase(text, KNOWN)
    assert (phrase.core, phrase.colours) == ("a dog", tuple(colours.split()))


@pytest.mark.parametrize(
    ("text", "worn"), [("a man in a red-and-white shirt", "red white"), ("a man in red, on a bus", "red")]
)
def test_worn_colours_may_be_written_in_all_these_ways(text: str, worn: str) -> None:
    assert parse_phrase(text, KNOWN).worn == tuple(worn.split())


@pytest.mark.parametrize("noun", "lens iris canvas cactus octopus rhinoceros thermos walrus tennis".split())
def test_a_singular_that_looks_like_a_plural_stays(noun: str) -> None:
    for article in ("", "the ", "a ", "one red "):
        assert parse_phrase(article + noun, KNOWN).core == with_article(noun)
    assert plural(noun) != noun


@pytest.mark.parametrize("noun", "pants shorts clothes jeans trousers sunglasses scissors goggles pyjamas".split())
def test_what_has_no_singular_stays(noun: str) -> None:
    for article in ("", "the ", "two red "):
        assert parse_phrase(article + noun, KNOWN).core == f"a {noun}"
    assert plural(noun) == noun


@pytest.mark.parametrize(
    ("plural_noun", "noun"),
    [
        ("lenses", "lens"), ("cactuses", "cactus"), ("buses", "bus"), ("bikinis", "bikini"), ("zebras", "zebra"),
        ("jet-skis", "jet-ski"), ("menus", "menu"), ("tuxedos", "tuxedo"), ("gentlemen", "gentleman"),
        ("wine glasses", "wine glass"), ("dining tables", "dining table"), ("sheep", "sheep"),
    ],
)  # fmt: skip
def test_plurals_are_brought_to_the_singular(plural_noun: str, noun: str) -> None:
    assert parse_phrase(f"two {plural_noun}", KNOWN).core == f"a {noun}"
    assert plural(plural_noun) == plural_noun


def test_glasses_alone_are_to_see_with() -> None:
    assert parse_phrase("glasses", KNOWN).core == "a glasses"


@given(st.text(max_size=60))
def test_any_text_gives_a_phrase(text: str) -> None:
    phrase = parse_phrase(text, KNOWN)
    assert set(phrase.colours) <= set(COLOURS)
    assert phrase.core == text or phrase.core.startswith(("a ", "an "))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((10, 10, 10), "black"), ((250, 250, 250), "white"), ((128, 128, 128), "grey"), ((200, 20, 20), "red"),
        ((255, 140, 0), "orange"), ((240, 220, 30), "yellow"), ((30, 140, 50), "green"), ((30, 60, 200), "blue"),
        ((120, 40, 160), "purple"), ((255, 170, 190), "pink"), ((110, 70, 30), "brown"),
    ],
)  # fmt: skip
def test_plain_colours_have_their_everyday_names(rgb: tuple[int, int, int], name: str) -> None:
    shares = colour_shares(Image.new("RGB", (60, 40), rgb), WHOLE)
    assert shares[name] == 1.0
    assert sum(shares.values()) == pytest.approx(1.0)


def test_only_the_inner_part_of_the_box_counts() -> None:
    image = Image.new("RGB", (100, 100), (0, 0, 255))
    image.paste((255, 0, 0), (60, 10, 90, 40))
    assert colour_shares(image, np.array([0.55, 0.05, 0.95, 0.45], np.float32))["red"] == 1.0
    assert colour_shares(image, np.array([0.0, 0.5, 0.5, 1.0], np.float32))["blue"] == 1.0


def test_a_box_without_area_still_has_a_colour() -> None:
    assert colour_shares(Image.new("RGB", (7, 5), (255, 0, 0)), np.array([1, 1, 1, 1], np.float32))["red"] == 1.0


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "red ",
            "red and ",
            "a photo of ",
            "left ",
            "two cats ",
            "on the left of ",
            "red, ",
            "red-",
            "no ",
            '"',
            "'a ",
        ),
        *("and a man in red ", "is there a ", "1. ", "not on the left ", "that is red ", "without a hat and with "),
    ],
)
def test_the_work_grows_no_faster_than_the_text(piece: str) -> None:
    preload_inflector()
    parse_phrase(piece * 10)
    once, eightfold = (steps(lambda count=count: parse_phrase(piece * count)) for count in (500, 4_000))  # type: ignore[misc]
    assert eightfold < 12 * once, (once, eightfold)
