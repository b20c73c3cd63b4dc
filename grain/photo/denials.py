"""Split off what a description denies ("without wheels"), which nothing here can see."""

from __future__ import annotations

import re

from grain.photo.places import TAIL
from grain.photo.tidy import tidy

_RELATIVE = r"(?:(?:that|which|who) )?"
_VERB = r"(?:is|are|was|were|am|has|have|had|does|do|did|can|could|would|ca|wo|ai)"
_HAS = (
    r"(?:(?:(?:is|are|was|were) )?"
    r"(?:with|in|wearing|wears|having|has|have|had|holding|holds|carrying|carries|showing|shows) )?"
)
_NONE = r"(?:no one|no|not|nothing|nobody|none(?: of)?|neither|never)"
_LACKS = r"(?:without|w/o|lacking|lacks|(?:lack|missing)(?= (?:a|an|the|its|his|her|their|any|one) ))"
_DENIED = re.compile(
    rf"(?:^| )(?:(?:and|but) )?"
    rf"((?P<no>{_RELATIVE}(?:{_VERB}(?:n'?t| not| never| no)|cannot|{_HAS}{_NONE}|{_LACKS}))(?= |(?<!not)$).*)",
    re.IGNORECASE,
)
_ARTICLES = frozenset(("a", "an", "the"))
_SAYS = r"(?:says?|saying|(?:(?<=that )|(?<=which )|(?<=sign ))reads|with the (?:words?|text))"
_BANS = r"(?:\w+ing|entry|exit|trespass|turns?|(?:left|right|u)[ -]turn|\w+ allowed|enter)"
_SIGNS = r"(?:signs?|symbols?|zones?|notices?|stickers?|signage)"
_NAMES = re.compile(
    rf'"[^"]*"|\b{_SAYS} .*|(?<!with )(?<!has )(?<!have )\b(?:no|do not|don\'t) {_BANS} {_SIGNS}\b|\bno\.? ?(?=\d)',
    re.IGNORECASE,
)
_JOINS = re.compile(r"^(?:,| and| but)+", re.IGNORECASE)
_GOES_ON = re.compile(
    r"(?:,| and| but)+ (?=(?:with|in|on|at|wearing|holding|carrying|is|are|has|have)\b)", re.IGNORECASE
)
_THE_ONE = re.compile(r" (?:the|ones?|this|that|these|those)\b", re.IGNORECASE)


def split_denial(text: str) -> tuple[str, str]:
    """Split a description, made tidy, into what it says and what it denies: "a bus", "without wheels".

    In a name, a number or what is written somewhere, "no" denies nothing: "a no parking sign", "a sign that says no
    dogs". A place or "and with" ends a denial: "a bus without windows on the right" is on the right.
    """
    text = tidy(text)
    open_text = _NAMES.sub(lambda name: "x" * len(name[0]), text)
    match = _DENIED.search(open_text)
    if not match or text[: match.start()].lower() in _ARTICLES:
        return text, ""
    before, end = text[: match.start()], _denial_end(open_text, match.end("no"))
    if not before:
        return text[match.end("no") :].strip() or text, text[match.start(1) :]
    return before + _JOINS.sub("", text[end:]), text[match.start(1) : end]


def _denial_end(text: str, start: int) -> int:
    """Return where a denial ends whose first words end at start; place words there are what it denies itself."""
    if _THE_ONE.match(text, start) or TAIL.match(text, start):
        return len(text)
    place, goes_on = TAIL.search(text, start + 1), _GOES_ON.search(text, start)
    ends = [match.start() for match in (place, goes_on) if match and match.start() > start]
    ends = [end for end in ends if not _DENIED.search(text, end)]
    return min(ends, default=len(text))
