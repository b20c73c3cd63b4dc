"""Mend texts before they are cut into tokens, as open_clip does. Needs neither torch nor open_clip."""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Mapping

import ftfy

PUNCTUATION = str.maketrans("", "", string.punctuation)


def mended(text: str) -> str:
    """Mend broken encodings, entities and white space."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def lowered(text: str) -> str:
    """Mend, without capitals: CLIP's way."""
    return mended(text).lower()


def canonical(text: str) -> str:
    """Mend, without capitals and punctuation: SigLIP's way."""
    return " ".join(lowered(text).replace("_", " ").translate(PUNCTUATION).split())


CLEANING: Mapping[str, Callable[[str], str]] = {"lower": lowered, "whitespace": mended, "canonicalize": canonical}
"""By open_clip's names."""
