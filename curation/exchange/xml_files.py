"""Read and write the XML of annotation formats: nothing is defined in it, nothing is fetched, any text is escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from curation.files.records import shown
from user_errors import UserError

DEFINITIONS = ("<!DOCTYPE", "<!ENTITY")
UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0, even escaped
REPLACEMENT = "\ufffd"
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


def parse_xml(text: str) -> ElementTree.Element:
    """Parse XML that defines nothing: definitions can name other files, or grow to any size.

    The text is decoded before, so that no encoding hides a definition; but the parser takes text with NULs for UTF-16,
    whatever it is told.
    Raises: UserError: it is none.
    """
    if "\0" in text:
        raise UserError("expected XML as UTF-8 text, got a NUL: save the file as UTF-8")
    if any(word in text for word in DEFINITIONS):
        raise UserError(f"expected XML without {' or '.join(DEFINITIONS)}, got one: remove it")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError) as error:
        raise UserError(f"expected XML, got something else ({error}): get the file again") from error


def whole_in(parent: ElementTree.Element | None, tag: str) -> int:
    """Return the whole number that an element's child holds.

    Raises: UserError: there is none.
    """
    content = " ".join(("" if parent is None else parent.findtext(tag, "")).split())
    if not re.fullmatch(r"-?[0-9]{1,9}(\.0{1,9})?", content):
        raise UserError(f"expected a whole number as <{tag}>, got {shown(content or None)}: correct it")
    return int(content.partition(".")[0])


def writable(text: str) -> str:
    """Return text with a mark in place of each character that XML has no place for."""
    return UNWRITABLE.sub(REPLACEMENT, text)


def escaped(text: str) -> str:
    """Return text for an element or an attribute, which a parser gives back as writable(text)."""
    return "".join(ESCAPES.get(character, character) for character in writable(text))
