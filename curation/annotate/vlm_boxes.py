"""Ask a vision-language model where descriptions lie, and read its boxes in the convention that it was trained on.

Models write the same box in different numbers: pixels of the picture, pixels of the picture as they resized it, parts
of 1000 or of 1, and some the vertical number first. The convention belongs to the model; nothing is guessed from the
numbers, because most boxes would make sense in several.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from curation.annotate.picture_sizes import Size
from curation.annotate.prompts import MOST_ANSWER_CHARACTERS, same_text
from user_errors import UserError

Convention = Literal["pixels", "resized", "thousand", "unit", "y-first"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
Box = tuple[float, float, float, float]
PARTS = 1000.0  # in which "thousand" and "y-first" count
FRAMES: dict[Convention, str] = {
    "pixels": "in pixels of the picture",
    "resized": "in pixels of the picture",
    "thousand": "from 0 to 1000 along each side of the picture",
    "unit": "from 0 to 1 along each side of the picture",
    "y-first": "from 0 to 1000 along each side of the picture, the vertical number before the horizontal one",
}
OF_FAMILIES: dict[str, Convention] = {
    "qwen2_5_vl": "resized",
    "qwen2_vl": "thousand",
    "qwen3_vl": "thousand",
    "qwen3_vl_moe": "thousand",
    "internvl": "thousand",
    "glm4v": "thousand",
}
"""By the model_type of weights on this machine."""
OF_NAMES: tuple[tuple[re.Pattern[str], Convention], ...] = (
    (re.compile(r"qwen2[._]5[-_]?vl", re.I), "resized"),
    (re.compile(r"qwen2[-_]?vl|qwen3|internvl|glm-?4", re.I), "thousand"),
    (re.compile(r"gemini", re.I), "y-first"),
)
"""By the name that a server gives its model."""
KEYS = ("bbox_2d", "box_2d", "bbox", "box")
LABELS = ("label", "name", "text")
BEYOND = 0.05  # of the picture's side; a box that leaves it by more was not written in this convention
MOST_BOXES = 200  # of one answer
NUMBER = r"\s*(-?\d{1,7}(?:\.\d{1,20})?)\s*"
ENTRY = re.compile(r"\{[^{}]{1,2000}\}")
NAMED_BOX = re.compile(rf"^([^\[\]\n]{{0,300}}?)[:\s]*\[?\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]", re.M)
NOTHING_FOUND = re.compile(r"\[\s*\]")
NUMBERED = re.compile(r"^\s*\d{1,3}[.)]\s+")


@dataclass(frozen=True)
class BoxAnswer:
    """An answer about a picture. sent, seen: sizes of the picture as it was sent, and as the model resized it.

    problem: why there is no answer; "" where there is one.
    """

    text: str
    sent: Size
    seen: Size
    problem: str = ""


@dataclass(frozen=True)
class AnsweredBox:
    """A box of an answer. index: of the description that it belongs to. xyxy: normalized to the picture."""

    index: int
    xyxy: Box


def convention_of(chosen: str, *, family: str = "", name: str = "") -> Convention:
    """Return how a model writes boxes: as chosen, or, for "auto", by its family or its name on a server.

    Raises: UserError: it is not known.
    """
    if chosen in CONVENTIONS:
        return chosen
    if family in OF_FAMILIES:
        return OF_FAMILIES[family]
    for pattern, convention in OF_NAMES:
        if name and pattern.search(name):
            return convention
    raise UserError(
        f"How {(name or family)[:60]!r} writes boxes is not known: choose its convention, one of "
        f"{', '.join(CONVENTIONS)} (its model card says which)."
    )


def box_question(texts: Sequence[str], convention: Convention) -> str:
    """Write the question for one picture."""
    listed = "\n".join(f"{number}. {' '.join(text.split())}" for number, text in enumerate(texts, 1))
    key, corners = ("box_2d", "y1, x1, y2, x2") if convention == "y-first" else ("bbox_2d", "x1, y1, x2, y2")
    return (
        f"Find these in the picture:\n{listed}\nAnswer with a JSON list and nothing else, an entry for each place "
        f'where one can be seen, none for what cannot be seen: {{"{key}": [{corners}], "label": its words as above}}, '
        f"the numbers {FRAMES[convention]}."
    )


def question_version() -> str:
    """Return a name of the question that changes with its words."""
    words = [box_question(["a"], convention) for convention in CONVENTIONS]
    return f"boxes-1-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:8]}"


def place_box(numbers: Sequence[float], convention: Convention, *, sent: Size, seen: Size) -> Box | None:
    """Return a box normalized to the picture, clipped to it; None where the numbers are no box of this convention.

    Args: numbers: four, as the model wrote them. sent: size of the picture as sent. seen: as the model resized it.
    """
    a, b, c, d = numbers
    x0, y0, x1, y1 = (b, a, d, c) if convention == "y-first" else (a, b, c, d)
    frames: dict[Convention, tuple[float, float]] = {
        "pixels": sent,
        "resized": seen,
        "thousand": (PARTS, PARTS),
        "unit": (1.0, 1.0),
        "y-first": (PARTS, PARTS),
    }
    wide, high = frames[convention]
    corners = (x0 / wide, y0 / high, x1 / wide, y1 / high)
    if not all(-BEYOND <= each <= 1 + BEYOND for each in corners):
        return None
    left, top, right, bottom = (min(max(each, 0.0), 1.0) for each in corners)
    return (left, top, right, bottom) if left < right and top < bottom else None


def parse_boxes(
    answer: str, texts: Sequence[str], convention: Convention, *, sent: Size, seen: Size
) -> tuple[AnsweredBox, ...]:
    """Read a model's answer: the boxes of the descriptions that were asked about, in its order; others are left out.

    Read are JSON entries, also of a list that was cut or fenced, and lines such as `a red lid: [10, 20, 30, 40]`.
    Raises: ValueError: it is no list of boxes; the message is the reason.
    """
    if len(answer) > MOST_ANSWER_CHARACTERS:
        raise ValueError(f"the answer is longer than the {MOST_ANSWER_CHARACTERS:,} characters accepted")
    rows = {same_text(text): row for row, text in reversed([*enumerate(texts)])}
    found = []
    pairs = [*_entries(answer)] or [*_lines(answer)]
    for label, numbers in pairs[:MOST_BOXES]:
        index = 0 if len(texts) == 1 and not label else rows.get(same_text(NUMBERED.sub("", label)))
        xyxy = place_box(numbers, convention, sent=sent, seen=seen)
        if index is not None and xyxy is not None:
            found.append(AnsweredBox(index, xyxy))
    if pairs and not found and not any(place_box(each, convention, sent=sent, seen=seen) for _, each in pairs):
        raise ValueError(f"no box of the answer lies in the picture when read as {convention!r}")
    if not pairs and not NOTHING_FOUND.search(answer):
        raise ValueError("the answer holds no list of boxes")
    return tuple(found)


def _entries(answer: str) -> Iterator[tuple[str, list[float]]]:
    """Yield label and numbers of each JSON object that has a box."""
    for entry in ENTRY.findall(answer):
        try:
            plain = json.loads(entry)
        except (ValueError, RecursionError):
            continue
        numbers = next((plain[key] for key in KEYS if key in plain), None)
        label = next((plain[key] for key in LABELS if isinstance(plain.get(key), str)), "")
        if (four := _four(numbers)) is not None:
            yield label, four


def _lines(answer: str) -> Iterator[tuple[str, list[float]]]:
    for label, *numbers in NAMED_BOX.findall(answer):
        yield label.strip(" -*\"'"), [float(number) for number in numbers]


def _four(value: Any) -> list[float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e7 for each in value):
        return None
    return [float(each) for each in value]
