"""Parse what a sentence embedding ignores: position, size and colour words, plurals, articles. Plain rules.

The first noun phrase says what is looked for: in "a red car next to a blue bus" the region is the car's, and it must be
red. In "a man in a red shirt" it is the man's, and some of it must be red. What a description denies ("without wheels")
nothing here can see.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from grain.photo.colour_words import colour_goes_on, colour_of, plain_colours, predicate_colours
from grain.photo.denials import split_denial
from grain.photo.places import take_positions
from grain.photo.tidy import tidy
from grain.photo.word_lists import COLOURS, DETERMINERS, HEAD_ENDS, PREPOSITIONS, is_being
from grain.structures import Array

if TYPE_CHECKING:
    import inflect

ColourMap = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
INNER = 0.7  # of a box's sides: its corners are mostly background
MOST_NAME_WORDS = 8  # of a known name
PATCH = 32  # pixels a side at which a region's colours are counted
SMALL = 256  # pixels of the longer side at which a little of a colour is looked for

_FRAMING = re.compile(r"^(?:(?:a|an|the) )?(?:photo|photograph|picture|image)s? (?:of|showing) ")
_NO_SINGULAR = frozenset(
    "pants trousers jeans shorts eyeglasses sunglasses spectacles scissors clothes tights leggings pyjamas pajamas"
    " goggles binoculars headphones earphones overalls dungarees tongs pliers tweezers shears khakis capris sweatpants"
    " underpants briefs slacks suspenders".split()
)
_STAYS = _NO_SINGULAR | frozenset(
    "lens canvas atlas gas christmas pancreas alias bias thermos rhinoceros cosmos chaos news".split()
)  # singulars that look like plurals; others end in "us" and "is"
_PLURAL_ENDS = ("skis", "taxis", "bikinis", "corgis", "saris", "kiwis", "safaris", "menus", "gnus", "emus", "tutus")
_ONE = frozenset("a an one each every this that".split())
COUNTED = {"both": 2} | {
    word: number
    for number, word in enumerate("one two three four five six seven eight nine ten eleven twelve".split(), start=1)
}
_NUMBER = rf"(?<!\ba )(?<!\ban )(?:{'|'.join(COUNTED)}|\d+)"  # "a two seat sofa" is one
_MANY = r"these|those|all|each|every(?: one)?|several|many|few"
_COUNT = re.compile(
    rf"^(?:(?:an?|the|this|that|some|any|{_MANY}|{_NUMBER})(?: of(?= (?:the|this|that|these|those) ))? )+"
)
_SEVERAL = re.compile(rf"\b(?:{_MANY}|{'|'.join(word for word in COUNTED if word != 'one')}|[2-9]|\d\d+)\b")
HOLDS = frozenset(
    (
        "piece pieces slice slices group groups pair pairs bunch bouquet lots herd flock crowd row rows stack pile set"
        " lot couple cup glass carton jar bottle bowl plate box bag pack can mug"
    ).split()
)  # before "of": the phrase goes on
_WITH = frozenset("with in wearing wears dressed holding holds carrying carries having has".split())
_DRESSED = frozenset("in wearing wears dressed".split())
_LINKS = frozenset("and or that which who".split())  # the same thing is spoken of
_IS = frozenset("is are was were".split())
_ENDS_BEFORE = {
    "left": ("of",),
    "right": ("of",),
    "dressed": ("in", "all", "as", "up", "like"),
}  # "a man left of a tree"
_POSSESSIVES = frozenset("his her its their".split())  # "on his head": a part of the first thing
_IN_PLACE = frozenset(("front", "between", "back"))  # after "in": a place, and nothing that is worn


@dataclass(frozen=True)
class Phrase:
    """A description taken apart.

    core: what is looked for, with an article. colours, positions: measured on the regions. worn: colours of what it has
    on or with it, of which a little must be there. denied: what the description says is not there. order: 2 for the
    second from that side. several: it means more than one. count: how many it says that there are; 0 if it does not.
    named: it says what is there, and not only where.
    """

    core: str
    colours: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    denied: str = ""
    worn: tuple[str, ...] = ()
    order: int = 1
    several: bool = False
    count: int = 0
    named: bool = True


def parse_phrase(text: str, known: Collection[str] = ()) -> Phrase:
    """Split a description into what is embedded and what is measured.

    Args:   known: lower-case names that stay whole ("brown bear", "bus").
    Returns: core begins with "a" or "an", its noun in the singular; colours as in COLOURS; positions are left, right,
             top, bottom, middle, largest, smallest.
    """
    rest, denied, counted = _split_denied_and_count(text)
    rest, positions, order = take_positions(rest)
    words = plain_colours(rest, known).split()
    end = head_end(words)
    head, colours = _take_colours(" ".join(words[:end]).rstrip(" ,").split(), known)
    predicate, rest = predicate_colours(" ".join(words[end:]))
    single = head if counted and counted.split()[-1] in _ONE else _singular(head, known)
    core = with_article(" ".join(single)) or text
    worn = _worn_colours(words[:end], rest.split())
    several = single != head or bool(_SEVERAL.search(counted))
    colours = list(dict.fromkeys([*colours, *predicate]))
    named = bool(words or not positions)
    return Phrase(core, tuple(colours), positions, denied, worn, order, several, _number(counted), named)


def described_words(text: str) -> list[str]:
    """Return the lower-case words of a description without its first articles, its place and what it denies."""
    rest, _, _ = take_positions(_split_denied_and_count(text)[0])
    return rest.replace(",", " and").split()


def embedded_words(text: str) -> str:
    """Return the words of a description that say what its thing looks like: neither its place nor what it denies."""
    seen = split_denial(text)[0]
    counted, rest = _split_count(seen.lower())
    rest, positions, _ = take_positions(rest)
    return seen[: len(counted)] + rest if positions else seen


def plural(noun: str) -> str:
    """Return the plural of a noun: "dining tables", "sheep"; one that is a plural stays."""
    *_, last = noun.split() or [noun]
    stays = last in _NO_SINGULAR or _singular_noun(last) != last
    return noun if stays else str(_inflector().plural_noun(noun))


def preload_inflector() -> None:
    """Load what the first plural needs, so that it need not wait."""
    _inflector()


def colour_shares(image: Image.Image, box_xyxy: Array) -> dict[str, float]:
    """Return the share of a region's inner pixels that a person would call by each of COLOURS; they sum to 1.

    Args: image: RGB. box_xyxy: [4] normalized.
    """
    return dict(zip(COLOURS, colour_table(image, box_xyxy[None])[0].tolist(), strict=True))


def colour_table(image: Image.Image, boxes_xyxy: Array) -> Array:
    """Return colour_shares of several regions [Q, 4] at once, in the order of COLOURS: [Q, 11]."""
    centres, halves = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * INNER
    size = np.array(image.size)
    low = np.minimum(np.floor((centres - halves) * size), size - 1).astype(int)
    high = np.maximum(np.ceil((centres + halves) * size).astype(int), low + 1)
    steps = (np.arange(PATCH) + 0.5) / PATCH
    across, down = np.floor(low[..., None] + (high - low)[..., None] * steps).astype(int).transpose(1, 0, 2)
    patches = np.asarray(image)[down[:, :, None], across[:, None, :]]  # [Q, 32, 32, 3]
    names = _colours_of(Image.fromarray(patches.reshape(-1, PATCH, 3))).reshape(len(boxes_xyxy), -1)
    return np.stack([(names == row).mean(axis=1) for row in range(len(COLOURS))], axis=1).astype(np.float32)


def colour_map(image: Image.Image) -> ColourMap:
    """Return what a person would call each pixel of an RGB picture, made small: rows of COLOURS, [h, w]."""
    scale = min(1.0, SMALL / max(image.size))
    return _colours_of(image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.NEAREST))


def least_shares(names: ColourMap, boxes_xyxy: Array, colours: Sequence[str]) -> Array:
    """Return of each box [Q, 4] the share of its pixels that has the rarest of some COLOURS there, [Q].

    Args: names: [h, w] of colour_map.
    """
    size = np.array(names.shape[::-1])
    low = np.minimum(np.floor(boxes_xyxy[:, :2] * size), size - 1).astype(int)
    high = np.maximum(np.ceil(boxes_xyxy[:, 2:] * size).astype(int), low + 1)
    (x0, y0), (x1, y1) = low.T, high.T
    shares = []
    for colour in colours:
        sums = np.pad((names == COLOURS.index(colour)).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        shares.append((sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / ((x1 - x0) * (y1 - y0)))
    least: Array = np.min(shares, axis=0).astype(np.float32)
    return least


def _colours_of(image: Image.Image) -> ColourMap:
    hue, saturation, value = np.moveaxis(np.asarray(image.convert("HSV"), np.float32), -1, 0)
    return _name_pixels(hue * 360 / 255, saturation / 255, value / 255)


def _name_pixels(hue: Array, saturation: Array, value: Array) -> ColourMap:
    """Name pixels: hue in degrees, the others 0..1 -> rows of COLOURS. The borders are those of everyday words."""
    rules: list[tuple[np.ndarray[tuple[int, ...], np.dtype[np.bool_]], str]] = [
        (value < 0.2, "black"),
        ((saturation < 0.15) & (value > 0.75), "white"),
        (saturation < 0.15, "grey"),
        (((hue < 20) | (hue >= 330)) & (saturation < 0.5) & (value > 0.7), "pink"),
        ((hue >= 10) & (hue < 45) & (value < 0.65), "brown"),
        ((hue < 15) | (hue >= 345), "red"),
        (hue < 42, "orange"),
        (hue < 70, "yellow"),
        (hue < 165, "green"),
        (hue < 260, "blue"),
        (hue < 295, "purple"),
    ]
    chosen = [np.full(hue.shape, COLOURS.index(name)) for _, name in rules]
    return np.select([test for test, _ in rules], chosen, COLOURS.index("pink"))


def _split_denied_and_count(text: str) -> tuple[str, str, str]:
    """Split a description into the rest in lower case, what it denies, and its first articles and numbers."""
    rest, denied = split_denial(_FRAMING.sub("", tidy(text.lower())))
    counted, rest = _split_count(rest.replace('"', ""))
    return rest, denied, counted


def _split_count(text: str) -> tuple[str, str]:
    """Split a lower-case description into its articles and numbers, "" for none, and the rest."""
    match = _COUNT.match(text)
    end = match.end() if match else 0
    return text[:end], text[end:]


def _number(counted: str) -> int:
    """Return the number that articles and numbers say first: 2 for "two of the five "; 0 for none."""
    numbers = (COUNTED.get(word, int(word) if word.isdecimal() else 0) for word in counted.split())
    return next((number for number in numbers if number), 0)


def head_end(words: Sequence[str]) -> int:
    """Return how many words, without an article, are of the first noun phrase."""
    return next((i for i in range(1, len(words)) if _ends_head(words, i)), len(words))


def goes_on(words: Sequence[str], i: int) -> bool:
    """Tell whether the word at i goes on with the noun phrase before it: "a cup of tea", "a red and white shirt"."""
    before, word = words[i - 1], words[i]
    if word in ("and", "or") and (colour := colour_of(before)) and i + 1 < len(words):
        return colour_goes_on(colour, words[i + 1])
    return word == "of" and before in HOLDS


def _ends_head(words: Sequence[str], i: int) -> bool:
    word = words[i]
    if goes_on(words, i):
        return False
    return word in HEAD_ENDS or (i + 1 < len(words) and words[i + 1] in _ENDS_BEFORE.get(word, ()))


def _take_colours(head: list[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    kept, colours = [], []
    for i, word in enumerate(head):
        last = i == len(head) - 1  # "an orange" is a fruit
        rest = head[i:] if len(head) - i <= MOST_NAME_WORDS else []
        if (colour := colour_of(word)) and not last and " ".join(rest) not in known:
            colours.append(colour)
        elif word not in ("and", "or", "light", "dark") or last:
            kept.append(word)
    return kept, colours


def _worn_colours(head: Sequence[str], rest: Sequence[str]) -> tuple[str, ...]:
    """Return the colours of what the first noun phrase, the head, has on or with it. rest: the words after it.

    What follows a preposition or another person is the colour of something else: "a dog next to a man in a red shirt".
    Clothes stay those of a person or an animal: "a man on a bench wearing a red hat".
    """
    inner = next((i for i in range(1, len(head)) if head[i] in DETERMINERS), len(head))
    head, rest = head[:inner], [*head[inner:], *rest]  # "a dog chasing a boy"
    found, worn, elsewhere, dressed = [], False, False, any(map(is_being, head))
    for i, word in enumerate(rest):
        before, after = rest[i - 1] if i else "", rest[i + 1] if i + 1 < len(rest) else ""
        if word == "and" and _is_another(rest[i + 1 : i + 1 + MOST_NAME_WORDS]):
            break
        if word == "in" and after in _IN_PLACE:
            worn, elsewhere = False, True
        elif word in _WITH:
            worn = not elsewhere or (dressed and word in _DRESSED)
        elif word in PREPOSITIONS:
            holds = word == "of" and before in HOLDS
            worn, elsewhere = worn and holds, elsewhere or not (holds or after in _POSSESSIVES)
        elif is_being(word) and not worn:
            elsewhere, dressed = True, False
        elif word in HEAD_ENDS:
            worn = worn and (word in _LINKS or (word in _IS and bool(colour_of(after))))
        elif worn and colour_of(word) and _names_a_colour(i, rest):
            found.append(colour_of(word))
    return tuple(dict.fromkeys(found))


def _names_a_colour(i: int, rest: Sequence[str]) -> bool:
    """Tell whether a word is a colour there, and no fruit: "an orange shirt", "in orange", "in red and orange"."""
    if i + 1 < len(rest) and (rest[i + 1] not in HEAD_ENDS or rest[i + 1] in _LINKS):
        return True
    joined = rest[i - 1] in ("and", "or") and bool(colour_of(rest[i - 2]))
    return joined or rest[i - 1] in _WITH or rest[i - 1] in _IS


def _is_another(words: Sequence[str]) -> bool:
    """Tell whether the words after "and" begin with another subject: "a man in a black suit", "two dogs"."""
    if not words or words[0] not in DETERMINERS:
        return False
    end = head_end(words)
    return any(map(is_being, words[:end])) or (end < len(words) and words[end] in _WITH)


def _singular(head: list[str], known: Collection[str]) -> list[str]:
    if not head or head[-1] in known or " ".join(head) in known:
        return head
    noun = head.index("of") - 1 if "of" in head[1:] else len(head) - 1
    if head == ["glasses"]:  # to see with; "wine glasses" are several
        return head
    return [*head[:noun], _singular_noun(head[noun]), *head[noun + 1 :]]


@lru_cache(maxsize=10_000)
def _singular_noun(word: str) -> str:
    """Return the singular of a plural; other nouns stay: "cactus", "tennis", "trousers"."""
    if word in _STAYS or (word.endswith(("us", "is")) and not word.endswith(_PLURAL_ENDS)):
        return word
    return str(_inflector().singular_noun(word) or word)


@lru_cache(maxsize=1)
def _inflector() -> inflect.engine:
    import inflect  # a second and more: not before it is needed, or preloaded

    return inflect.engine()


def with_article(words: str) -> str:
    """Put "a" or "an" before words; nothing before none."""
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}" if words else ""
