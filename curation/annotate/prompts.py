"""Write the questions that describers are asked, and parse their answers.

The paper's prompts were never published; these are ours. A prompt's version changes with its words, so that no kept
answer can pass for the answer to another question.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from curation.annotate.answer_text import (
    MOST_ANSWER_CHARACTERS,
    is_of_the_writer,
    is_refusal,
    opens_with_refusal,
    readable,
    says_nothing,
    unbroken,
    unfenced,
)

MOST_DESCRIPTIONS = 10  # of one picture
MOST_WORDS = 16  # of one description: the localizer reads 16 tokens
MOST_CHARACTERS = 120  # of one description

LIST_FORM = (
    f"Write at most {MOST_DESCRIPTIONS} short noun phrases of two to eight words, one a line, "
    "each line starting with '- '. Write nothing else."
)
CAPTION = "Describe the whole picture in one sentence. Say only what can be seen in it."


@dataclass(frozen=True)
class Prompts:
    """The questions of one conversation about a picture; an empty one is not asked.

    stage1: what the subject is. stage2: its visible features, as a list. caption: one sentence on the whole picture.
    """

    name: str
    stage1: str
    stage2: str
    caption: str = CAPTION

    @property
    def questions(self) -> dict[str, str]:
        """Return stage -> question, in the order in which they are asked."""
        stages = {"stage1": self.stage1, "stage2": self.stage2, "caption": self.caption}
        return {stage: question for stage, question in stages.items() if question}

    @property
    def version(self) -> str:
        """Return the name with a digest of the questions: equal only where every word is."""
        return f"{self.name}-{hashlib.sha256(json.dumps(self.questions).encode()).hexdigest()[:8]}"


TWO_STAGE = Prompts(
    "two-stage-1",
    "What is the primary visual subject of this picture? Answer in one sentence that names it and where it is.",
    "Which visible features of that subject help to recognise it: its parts, colours, shapes, materials, markings? "
    f"Describe only what can be seen in the picture. {LIST_FORM}",
)
SINGLE_STAGE = Prompts(
    "single-stage-1",
    "",
    "Look at the primary visual subject of this picture. Which of its visible features help to recognise it: "
    f"its parts, colours, shapes, materials, markings? Describe only what can be seen in the picture. {LIST_FORM}",
)
NAME_MARK = "{name}"
BY_NAME = (
    f'Which visible features help to recognise a "{NAME_MARK}" in a photograph, for somebody who has never seen one: '
    f"its parts, colours, shapes, materials, markings? Describe only what can be seen, never its use. {LIST_FORM}"
)
PROMPTS = {prompts.name: prompts for prompts in (TWO_STAGE, SINGLE_STAGE)}


def name_question(name: str) -> str:
    """Write the question about a class that there is no picture of."""
    return BY_NAME.replace(NAME_MARK, " ".join(name.replace('"', "'").split()))


@dataclass(frozen=True)
class ParsedList:
    """A list that was read. left_out: its items that are no short description, or too many."""

    descriptions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


BULLET, NUMBER = "bullet", "number"
BULLETS = "-+•‣◦·–—▪●■○"  # and *, which emphasises, too
LETTER = r"[^\W\d_]"
MARKER = re.compile(
    rf"(?P<{BULLET}>[{BULLETS}*]\s+|[{BULLETS}](?={LETTER})|\*(?={LETTER}[^*]*$))"  # `- red`, `-red`, `*red`
    # 1. 1) (1) 1: １． 1、 **1.** a. a) ii. and 1.red, but neither 2.5 cm nor 3 stripes
    rf"|(?P<{NUMBER}>\*\*\d{{1,3}}[.)]\*\*\s+|\d{{1,3}}[:：]\s+|[(（]?(?:\d{{1,3}}|[a-z]|[ivx]{{2,5}})[.)]\s+"
    rf"|[(（]?\d{{1,3}}[.)）．、]\s*(?={LETTER}))"
)
BOLD = re.compile(r"\*\*[^*]+\*\*")
EMPHASIS = re.compile(r"([*_`])([^*_`]+)\1")  # of a whole item
NAMED = re.compile(r"^(\w[\w '/-]{0,39}): +(\S.*)$")  # `lid: red and round`
SENTENCE_END = re.compile(r"[.!?:]$")
LAST_SENTENCE = re.compile(r"^.*[.!?](?=\s|$)")
QUOTES = "\"'“”‘’"
ARTICLES = ("a", "an", "the")


def parse_descriptions(raw: str, *, complete: bool = True) -> ParsedList:
    """Parse a model's answer into short descriptions.

    Read are bullets, numbers, bare lines, tables of two columns, JSON lists and objects, and `name: description` in
    each of them, fenced or not, after the model's thoughts. Headings and words for nothing ("None") are left out. Text
    stays text: markup, formulas, paths and addresses in it are characters like any other.
    Args:   complete: False where the answer was cut at its limit: the last item, perhaps half a phrase, is left out.
    Raises: ValueError: it is no list of short phrases, or a refusal; the message is the reason.
    """
    text = readable(raw)
    if opens_with_refusal(text):
        raise ValueError("the answer is a refusal")
    text = _after_opening(unfenced(text))
    items = list(_json_items(text) if text.startswith(("[", "{")) else _lines(text))
    if items and is_refusal(items[0]):
        raise ValueError("the answer is a refusal")
    finished = items if complete else items[:-1]
    found: dict[str, str] = {}
    left_out: list[str] = []
    for item in finished:
        description = _tidy(item)
        if not _is_description(description) or len(found) == MOST_DESCRIPTIONS:
            left_out.append(item)
        else:
            found.setdefault(same_text(description), description)
    if not found:
        raise ValueError("the list holds no short description")
    return ParsedList(tuple(found.values()), (*left_out, *items[len(finished) :]))


def parse_sentence(raw: str, *, complete: bool = True) -> str:
    """Join a model's answer into one line; keep only the finished sentences of one that was cut at its limit.

    Raises: ValueError: it is no text, a refusal or a word for nothing, or no sentence ended; the message is the reason.
    """
    text = " ".join(readable(raw).split())
    if is_refusal(text):
        raise ValueError("the answer is a refusal")
    if says_nothing(text):
        raise ValueError("the answer is a word for nothing")
    if complete:
        return text
    ended = LAST_SENTENCE.match(text)
    if not ended:
        raise ValueError("the answer was cut before its first sentence ended")
    return ended[0]


def same_text(text: str) -> str:
    """Normalize a description: drop case, a leading article, extra spaces and punctuation at the ends."""
    words = unicodedata.normalize("NFKC", text).casefold().strip(f" \t\n\r.,;:!?{QUOTES}").split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ARTICLES else words)


def storable(text: str) -> str:
    """Make an answer storable in any database: cut it to the most accepted, escape lone surrogates and NULs."""
    return text[:MOST_ANSWER_CHARACTERS].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _after_opening(text: str) -> str:
    """Return the JSON that a line such as `Here are the features:` opens; any other text as it is."""
    opening, _, rest = text.partition("\n")
    return rest.strip() if opening.rstrip().endswith(":") and rest.lstrip().startswith(("[", "{")) else text


def _json_items(answer: str) -> Iterator[str]:
    try:
        data = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise ValueError("the answer starts like JSON but cannot be read") from error
    if isinstance(data, dict) and len(data) == 1 and isinstance(only := next(iter(data.values())), list):
        data = only  # {"descriptions": […]}
    if isinstance(data, dict):
        data = [data] if "description" in data else [{"name": key, "description": data[key]} for key in data]
    for item in data:
        yield unbroken(_json_item(item))  # JSON spells broken characters with harmless ones


def _json_item(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and isinstance(item.get("description"), str):
        name = item.get("name")
        return f"{name}: {item['description']}" if isinstance(name, str) else str(item["description"])
    raise ValueError("the answer is JSON, but no list of texts or of {name, description}")


def _lines(text: str) -> Sequence[str]:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if any(map(_is_rule, lines)):
        return [*_table_items([line.strip() for line in lines])]
    if marked := _marked(lines) or _marked([line.replace("**", "") for line in lines]):
        return marked
    lines = [line.strip() for line in lines]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]  # `Here are the features:`
    if len(lines) < 2 or any(
        SENTENCE_END.search(line) or len(line.split()) > MOST_WORDS or is_of_the_writer(line) for line in lines
    ):
        raise ValueError("the answer is no list: expected short phrases, one a line")
    return lines


def _marked(lines: Sequence[str]) -> list[str]:
    """Return the items that have a bullet or a number; what is bold and has items of its own below becomes `name:`."""
    items: list[str] = []
    before: tuple[int, str | None] | None = None
    for line in lines:
        item = line.lstrip()
        if not (mark := MARKER.match(item)):
            continue
        place = (len(line) - len(item), mark.lastgroup)
        if items and before and (place[0] > before[0] or place[1] != before[1]) and BOLD.fullmatch(items[-1]):
            items[-1] += ":"
        items.append(item[mark.end() :].strip())
        before = place
    return items


def _is_rule(line: str) -> bool:
    """Tell whether a line is what stands below the head of a table."""
    return {"|", "-"} <= {*line} <= {*"|-: \t"}


def _table_items(lines: Sequence[str]) -> Iterator[str]:
    """Yield the rows of a table but its head, as `name: description` where it has two columns besides numbers."""
    for row, below in pairwise([*lines, ""]):
        if "|" not in row or _is_rule(row) or _is_rule(below):
            continue
        cells = [cell for cell in map(str.strip, row.strip("|").split("|")) if cell and not cell.rstrip(".").isdigit()]
        if len(cells) > 2:
            raise ValueError("the answer is a table of more than two columns")
        yield ": ".join(cells)


def _is_description(text: str) -> bool:
    if text.endswith((":", "：")) or says_nothing(text) or is_of_the_writer(text):
        return False
    return len(text) <= MOST_CHARACTERS and len(text.split()) <= MOST_WORDS and any(map(str.isalpha, text))


def _tidy(item: str) -> str:
    plain = " ".join(item.replace("**", "").split())
    marked = EMPHASIS.fullmatch(plain.rstrip(".,;"))
    text = (marked[2] if marked else plain).lstrip(QUOTES).rstrip(f".,; {QUOTES}")
    named = NAMED.match(text)
    if not named:
        return text
    name, description = named[1].strip(), named[2]
    if name.isdigit() or says_nothing(description):
        return description
    says_it = name.split()[-1].casefold() in description.casefold().split()
    return description if says_it else f"{name}, {description}"
