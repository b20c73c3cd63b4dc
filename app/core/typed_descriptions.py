"""Read descriptions as people type them into a field, and write them so that they are read as they were."""

from __future__ import annotations

import re
from collections.abc import Iterable

from grain.texts import MOST_TEXT_CHARACTERS
from grain.zero_shot import parse_descriptions

SEPARATORS = re.compile(r"[,;]|\.(?:\s|$)")  # not the point of "1.5 litres"
QUOTED = re.compile(r'"([^"]+)"|“([^“”]+)”')


def split_descriptions(text: str, *, one_a_line: bool = False) -> list[str]:
    """Read a description a line; a single line may hold several, between commas, semicolons or full stops.

    A line that is in quotes is one, without them. Blank ones are dropped, repeated ones kept once.

    Args: one_a_line: a single line is one description, and quotes belong to theirs.
    """
    lines = parse_descriptions(text)
    if one_a_line:
        return lines
    if len(lines) == 1 and not QUOTED.fullmatch(lines[0]):
        lines = SEPARATORS.split(lines[0])
    found = [(line, QUOTED.fullmatch(line)) for line in map(str.strip, lines)]
    return parse_descriptions("\n".join(quoted[1] or quoted[2] if quoted else line for line, quoted in found))


def typed_descriptions(texts: Iterable[str]) -> str:
    """Write descriptions a line each; one that would be read as another, or as several, is put in quotes.

    But not one that is too long for a description, as a caption may be: its parts can be looked for.
    """
    lines = parse_descriptions("\n".join(" ".join(text.split()) for text in texts))
    alone = len(lines) == 1 and len(lines[0]) <= MOST_TEXT_CHARACTERS
    return "\n".join(
        _in_quotes(line) if QUOTED.fullmatch(line) or (alone and SEPARATORS.search(line)) else line for line in lines
    )


def _in_quotes(line: str) -> str:
    straight = re.sub("[“”]", '"', line)
    return f'"{line}"' if '"' not in line else f"“{straight}”"
