"""Take from a description what only wraps it: quotes, bullets, and questions ("where is the dog?")."""

from __future__ import annotations

import re

_TYPED = str.maketrans("’‘ʼ“”„«»", "'''" + '"' * 5)
_QUOTED = re.compile(r"""^"([^"]*)"$|^'([^']*)'$|"([^" ]+)"|(?<!\w)'([^' ]+)'(?!\w)""")
_BULLET = re.compile(r"^(?:[-*•·–—>]+|\(?\d{1,2}[.)]|\(?[a-z]\)) +", re.IGNORECASE)
_SHORT_IS = re.compile(r"\b(that|which|who|there|it|what|where|here)'s\b", re.IGNORECASE)
_SOME = (
    r"(?= (?:an?|the|this|that|these|those|my|your|our|any|some|all|both|each|every|one|two|three|four|five|no|not|"
    r"\d+|many|several)\b)"
)
_SEE = r"(?:see|find|show(?: me)?|spot|locate|detect|point (?:to|at|out))"
_OPENING = re.compile(
    r"^(?:please )?(?:"
    rf"(?:can|could|do|did|would) (?:you|we|i) (?:please )?{_SEE}(?: me)?"
    rf"|(?:i|we) (?:can )?(?:see|want|need|am looking for)|looking for{_SOME}"
    rf"|(?:find|locate|detect|show me|search for|look for|point (?:to|at|out))(?: me)?"
    rf"|(?:show|spot|highlight|mark|segment|select|box|give me){_SOME}"
    r"|there (?:is|are|was|were)(?P<nt>n'?t)?|(?:is|are|was|were)(?: there|n'?t there)"
    rf"|(?:there|here(?: is| are)?|(?:is|are)){_SOME}|(?:this|that|it|these|those|they) (?:is|are){_SOME}"
    rf"|where (?:is|are|was|were)|(?:who|what|which(?: one)?) (?:is|are){_SOME}"
    r"|where (?:can|do|could) (?:i|we|you) (?:see|find)"
    r") (?=\S)",
    re.IGNORECASE,
)


def tidy(text: str) -> str:
    """Return a description without its wrapping: '1. Where is the “red” dog?' is "the red dog"; never nothing.

    Quotes stay around several words in the middle: a "no smoking" sign.
    """
    plain = " ".join(text.translate(_TYPED).split()).rstrip(" .!?,;:")
    plain = _BULLET.sub("", plain)
    plain = _QUOTED.sub(lambda match: next(filter(None, match.groups()), ""), plain).strip(" .!?,;:")
    plain = _SHORT_IS.sub(r"\1 is", plain)
    return _OPENING.sub(lambda match: "not " if match["nt"] else "", plain) or text
