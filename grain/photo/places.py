"""Read where in the picture a description says that its thing is; choose boxes by place and by number."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from grain.box_overlap import instance_rows
from grain.photo.word_lists import HEAD_ENDS
from grain.structures import MIN_CONFIDENCE, Array

_SAME = {"upper": "top", "lower": "bottom", "center": "middle", "centre": "middle", "central": "middle"}
_SIZES = dict.fromkeys(("biggest", "largest"), "largest") | dict.fromkeys(("smallest", "tiniest"), "smallest")
_SIDE = r"left|right|top|bottom|upper|lower|middle|center|centre"
_FAR = r"(?:far |very |extreme )?"
_STANDING = r"(?:(?:standing|sitting|lying|located|placed) )?"
_HAND = r"(?:[ -]hand(?= (?:side|edge|corner|half)))?"
_FRAME = (
    r"(?: (?:side|edge|corner|half|part|end))?"
    r"(?: of (?:(?:the|this) )?(?:picture|image|photo|photograph|frame|scene|screen))?"
)
_POINT = rf"{_FAR}({_SIDE})(?:[ -]?most)?(?:[ -]({_SIDE}))?(?:[ -]?most)?{_HAND}{_FRAME}"
_BARE_END = rf"(?=$|,| (?:{'|'.join(sorted(HEAD_ENDS - {'of'}))})\b)"  # "in top hat" is no place
TAIL = re.compile(
    rf",? {_STANDING}(?:(?:on|at|in|to) the {_POINT}(?![\w-]| of | side| hand)"
    rf"|(?:on|at|in) (?!(?<=on )top(?![ -](?:left|right))){_POINT}{_BARE_END})"  # "a cherry on top"
)
_AFTER_COMMA = re.compile(rf", {_STANDING}(?:the )?{_POINT}$")
_LAST = re.compile(
    rf" {_STANDING}{_FAR}(?:(?:({_SIDE})[ -])?(left|right)|(left|right)[ -]({_SIDE}))(?:[ -]?most)?{_HAND}{_FRAME}$"
)
_ORDINALS = {
    name: order
    for order, names in enumerate(
        ("first 1st", "second 2nd", "third 3rd", "fourth 4th", "fifth 5th", "sixth 6th", "seventh 7th"), start=1
    )
    for name in names.split()
}
_ORDER = rf"({'|'.join(_ORDINALS)})"
_FROM = rf"from (?:the )?{_FAR}(left|right|top|bottom)(?:[ -]hand)?{_FRAME}$"
_ORDER_FIRST = re.compile(rf"^{_ORDER} (.+?),? {_FROM}")  # "second dog from the left"
_ORDER_LAST = re.compile(rf"^(.+?),? (?:the )?{_ORDER}(?: one)? {_FROM}")  # "dog second from the left"
_AIMS = HEAD_ENDS | frozenset(
    "turning turned turn pointing going go heading moving keep swinging bending tilting swimming flying".split()
)  # before "left": a way to go or to look
_ORDER_ALONE = re.compile(rf"^{_ORDER}(?: one)?,? {_FROM}")  # "second from the left"
_ADJECTIVE = re.compile(
    rf"^{_FAR}((?:{_SIDE})(?:[ -]?most|[ -]hand)?|central|{'|'.join(_SIZES)})(?:[ -]((?:{_SIDE})(?:-?most)?))?"
    r" (?!of |hats?\b|aged\b)"
)
MOST_COUNTED = 12  # things; of "1950 cars" there are no 1950
OF_SEVERAL = 7 / 3  # factor of the odds of a thing of which a description says that there are more: 0.3 becomes 0.5


def take_positions(text: str) -> tuple[str, tuple[str, ...], int]:
    """Split a lower-case description without its first article into the rest, its positions and its order.

    Positions are left, right, top, bottom, middle, largest, smallest. The order is 2 for "second from the left".
    The rest is "" where no thing is named.
    """
    if match := _ORDER_ALONE.search(text):
        return "", (match[2],), _ORDINALS[match[1]]
    if match := _ORDER_FIRST.search(text):
        return match[2], (match[3],), _ORDINALS[match[1]]
    if match := _ORDER_LAST.search(text):
        return match[1], (match[3],), _ORDINALS[match[2]]
    text, found = _take(_ADJECTIVE, text)
    for pattern in (TAIL, _AFTER_COMMA, _LAST):
        rest, more = _take(pattern, text)
        if more:
            text, found = rest, found + more
            break
    words = (_SIZES.get(word, _SAME.get(word, word)) for word in found)
    return text.strip(" ,"), tuple(dict.fromkeys(words)), 1


def position_scores(boxes_xyxy: Array, positions: Collection[str]) -> Array:
    """Score how well each box fits the position words: [Q, 4] -> [Q], higher is better."""
    x, y = _middles(boxes_xyxy)
    width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).T
    area = width * height
    off_centre = np.hypot(x - 0.5, y - 0.5)
    fits = {
        "left": -x, "right": x, "top": -y, "bottom": y, "middle": -off_centre, "largest": area, "smallest": -area,
    }  # fmt: skip
    scores: Array = np.sum([fits[word] for word in positions], axis=0, dtype=np.float32)
    return scores


def choose_rows(
    boxes_xyxy: Array,
    confidence: Array,
    *,
    best: int,
    positions: Collection[str],
    order: int = 1,
    several: bool = False,
    among_things: bool = False,
) -> list[int]:
    """Choose the regions that a description with a place means, the first of them the best.

    Args:    boxes_xyxy: [Q, 4]. confidence: [Q] that a region is such a thing, wherever it is. best: the row that
             position words choose among all that may be one. order: 2 for "second from the left". several: "the dogs
             on the left". among_things: where two things or more are surely there, one of them is chosen.
    Returns: rows; none where there are fewer such things than the order asks for.
    """
    sure = [int(row) for row in np.argsort(-confidence, kind="stable") if confidence[row] >= MIN_CONFIDENCE]
    fit = position_scores(boxes_xyxy, positions)
    things = instance_rows(boxes_xyxy, sure) if order > 1 or among_things else []
    things.sort(key=lambda row: -fit[row])
    if order > 1:
        return things[order - 1 : order]
    if len(things) > 1:
        best = things[0]
    if not several:
        return [best]
    x, y = _middles(boxes_xyxy)
    there = {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5, "middle": np.abs(x - 0.5) < 1 / 4}
    others = np.all([there.get(word, np.arange(len(x)) == best) for word in positions], axis=0)
    return [best, *(int(row) for row in np.flatnonzero(others) if row != best)]


def counted_confidence(boxes_xyxy: Array, confidence: Array, *, best: int, count: int) -> Array:
    """Return the confidence [Q] with which a description that counts means each region: "two dogs" are the two surest.

    Where one is surely there, the others need less to be found: the description says that there are more.

    Args: boxes_xyxy: [Q, 4]. confidence: [Q] that a region is such a thing. best: the row that is one in any case.
          count: of things; 0, or more than people count, leaves all as it is.
    """
    if not 0 < count <= MOST_COUNTED:
        return confidence
    rows = instance_rows(boxes_xyxy, [best, *np.argsort(-confidence, kind="stable")])[:count]
    chosen = confidence[rows]
    if confidence.max() >= MIN_CONFIDENCE:
        chosen = OF_SEVERAL * chosen / (1 + (OF_SEVERAL - 1) * chosen)
    counted = np.zeros_like(confidence)
    counted[rows] = chosen
    return counted


def _middles(boxes_xyxy: Array) -> tuple[Array, Array]:
    """Return x and y of the middles of boxes [Q, 4], [Q] each."""
    x, y = ((boxes_xyxy[:, side] + boxes_xyxy[:, side + 2]) / np.float32(2) for side in (0, 1))
    return x, y


def _take(pattern: re.Pattern[str], text: str) -> tuple[str, list[str]]:
    """Take the first place that a pattern finds out of a text."""
    match = pattern.search(text)
    if not match or (pattern is _LAST and _aims(text[: match.start()])):
        return text, []
    words = [re.sub(r"[ -]?(?:most|hand)$", "", word) for word in match.groups() if word]
    return text[: match.start()] + text[match.end() :], words


def _aims(before: str) -> bool:
    """Tell whether "left" after some words is no place of a thing: "a man looking left", "the man's left"."""
    word = before.rpartition(" ")[2]
    return word in _AIMS or word.endswith(("'s", "s'"))
