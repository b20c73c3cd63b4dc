"""Hostile text for the pages' templates, and what makes a rendering of it harmless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import MappingProxyType

HOSTILE = """<img src=x onerror=alert(1)> "quoted" 'single' </p></table><script>alert(2)</script> {{ 7 * 7 }} & $x$"""
MARK = "onerror=alert(1)"
TAGS = frozenset({"script", "iframe", "object", "embed", "link", "base", "meta", "form", "style"})


@dataclass
class Found(HTMLParser):
    """What a browser would make of a page: its tags, their attributes, its text."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def must_be_harmless(html: str, *, own: Mapping[str, int] = MappingProxyType({})) -> Found:
    """Assert that hostile text became text: no tag of it, no handler, no attribute that it broke out of.

    Args: own: how many of the forbidden tags the template has itself.
    """
    found = Found()
    found.feed(html)
    found.close()
    assert Counter(tag for tag in found.tags if tag in TAGS) == own, html
    assert [name for name, _ in found.attributes if name.startswith("on")] == [], html
    assert [
        value for name, value in found.attributes if name in ("src", "href") and "alert" in value.split("?")[0]
    ] == []
    assert "49" not in html or "7 * 7" in html, "text was taken for a template"
    return found
