"""Read where in the picture a description says that its thing is, and score how well boxes fit that."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from grain.photo.word_lists import HEAD_ENDS
from grain.structures import Array

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
_AIMS = HEAD_ENDS | frozenset(
    "turning turned turn pointing going go heading moving keep swinging bending tilting swimming flying".split()
)  # before "left": a way to go or to look
_ADJECTIVE = re.compile(
    rf"^{_FAR}((?:{_SIDE})(?:[ -]?most|[ -]hand)?|central|{'|'.join(_SIZES)})(?:[ -]((?:{_SIDE})(?:-?most)?))?"
    r" (?!of |hats?\b|aged\b)"
)


def take_positions(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a lower-case description without its first article into the rest and its positions.

    Positions are left, right, top, bottom, middle, largest, smallest.
    """
    text, found = _take(_ADJECTIVE, text)
    for pattern in (TAIL, _AFTER_COMMA, _LAST):
        rest, more = _take(pattern, text)
        if more:
            text, found = rest, found + more
            break
    words = (_SIZES.get(word, _SAME.get(word, word)) for word in found)
    return text.strip(" ,"), tuple(dict.fromkeys(words))


def position_scores(boxes_xyxy: Array, positions: Collection[str]) -> Array:
    """Score how well each box fits the position words: [Q, 4] -> [Q], higher is better."""
    x, y = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]).T / 2
    width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).T
    area = width * height
    off_centre = np.hypot(x - 0.5, y - 0.5)
    fits = {
        "left": -x, "right": x, "top": -y, "bottom": y, "middle": -off_centre, "largest": area, "smallest": -area,
    }  # fmt: skip
    scores: Array = np.sum([fits[word] for word in positions], axis=0, dtype=np.float32)
    return scores


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
