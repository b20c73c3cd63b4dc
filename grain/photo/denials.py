"""Split off what a description denies ("without wheels"), which nothing here can see."""

from __future__ import annotations

import re

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
_TYPED = str.maketrans("’‘ʼ“”„«»", "'''" + '"' * 5)


def split_denial(text: str) -> tuple[str, str]:
    """Split a description into what it says and what it denies: "a bus", "without wheels".

    After an article "no" belongs to a name: "a no parking sign".
    """
    text = text.translate(_TYPED)
    match = _DENIED.search(text)
    if not match or text[: match.start()].lower() in _ARTICLES:
        return text, ""
    return text[: match.start()] or text[match.end("no") :].strip() or text, match[1]
