"""Ask a vision-language model where descriptions lie, and read its boxes in the convention that it was trained on.

Models write the same box in different numbers: pixels of the picture, pixels of the picture as they resized it, parts
of 1000 or of 1, and some the vertical number first. The convention belongs to the model; nothing is guessed from the
numbers, because most boxes would make sense in several.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from curation.annotate.answer_text import MOST_ANSWER_CHARACTERS, says_nothing, without_thoughts
from curation.annotate.picture_sizes import Size
from curation.annotate.prompts import same_text
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
BOX = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]|\({NUMBER},{NUMBER}\)\s*,\s*\({NUMBER},{NUMBER}\)")
TAGS = re.compile(r"</?(?:ref|box|p|answer)>|<\|[a-z_]{1,30}\|>")  # of InternVL, Qwen2-VL and GLM-4V
MOST_LABEL = 300  # characters
NOTHING_FOUND = re.compile(r"\[\s*\]")
NUMBERED = re.compile(r"^\s*\d{1,3}[.)]\s+")
ONLY_NUMBER = re.compile(r"#?(\d{1,3})[.):]?")
AROUND = " \t\r\n-–—•*\"'`:,;{}"  # a label


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

    Read are JSON entries, also of a list that was cut or fenced, objects such as `{"a red lid": [10, 20, 30, 40]}`, and
    lines such as `a red lid: [10, 20, 30, 40], [50, 60, 70, 80]`. A label is a description's words, or its number in
    the question.
    Raises: ValueError: it is no list of boxes, or all of them are of something else; the message is the reason.
    """
    if len(answer) > MOST_ANSWER_CHARACTERS:
        raise ValueError(f"the answer is longer than the {MOST_ANSWER_CHARACTERS:,} characters accepted")
    answer = TAGS.sub("", without_thoughts(answer))
    rows = {same_text(text): row for row, text in reversed([*enumerate(texts)])}
    pairs = [*_entries(answer)] or [*_lines(answer)]
    if not pairs:
        if NOTHING_FOUND.search(answer) or says_nothing(answer):
            return ()
        raise ValueError("the answer holds no list of boxes")
    named = [(_row_of(label, rows, texts), numbers) for label, numbers in pairs[:MOST_BOXES]]
    if all(index is None for index, _ in named):
        raise ValueError("the boxes of the answer are of none of the descriptions")
    found = []
    for index, numbers in named:
        xyxy = place_box(numbers, convention, sent=sent, seen=seen)
        if index is not None and xyxy is not None:
            found.append(AnsweredBox(index, xyxy))
    if not found:
        raise ValueError(f"no box of the answer lies in the picture when read as {convention!r}")
    return tuple(found)


def _row_of(label: str, rows: Mapping[str, int], texts: Sequence[str]) -> int | None:
    """Return the row of the description that a label means; None where it means none that was asked about."""
    if len(texts) == 1 and not label:
        return 0
    for words in (label, NUMBERED.sub("", label)):
        if (row := rows.get(same_text(words))) is not None:
            return row
    number = ONLY_NUMBER.fullmatch(label.strip())
    return int(number[1]) - 1 if number and 1 <= int(number[1]) <= len(texts) else None


def _entries(answer: str) -> Iterator[tuple[str, list[float]]]:
    """Yield label and numbers of each box of each JSON object that has some."""
    for entry in ENTRY.findall(answer):
        try:
            plain = json.loads(entry)
        except (ValueError, RecursionError):
            continue
        label = next((str(plain[key]) for key in LABELS if type(plain.get(key)) in (str, int)), "")
        boxed = [(label, plain[key]) for key in KEYS if key in plain][:1]
        for words, numbers in boxed or plain.items():  # {"bbox_2d": […], "label": …}, or {"a red lid": […], …}
            several = numbers if isinstance(numbers, list) and _four(numbers) is None else [numbers]
            for four in filter(None, map(_four, several)):
                yield words, four


def _lines(answer: str) -> Iterator[tuple[str, list[float]]]:
    """Yield label and numbers of each box that stands behind its label; further boxes behind one have it, too."""
    for line in answer.splitlines():
        label, end = "", 0
        for number, box in enumerate(BOX.finditer(line)):
            between = line[end : box.start()].rstrip(" \t[(")
            words = re.split(r"[\[\]]", between)[-1][-MOST_LABEL:].replace("**", "").strip(AROUND)
            words = "" if words == "and" else words
            if number == 0 or (words and label):  # where the first box has no label, labels may stand behind boxes
                label = words
            end = box.end()
            yield label, [float(each) for each in box.groups() if each is not None]


def _four(value: Any) -> list[float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e7 for each in value):
        return None
    return [float(each) for each in value]
