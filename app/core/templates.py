"""Render the templates of the pages: Jinja2 with autoescape, so that no text of a person or a model becomes markup."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

ROOMS = Path(__file__).parents[1]
STYLE = ROOMS / "ui" / "style.css"


def render(template: str, **values: Any) -> Markup:
    """Render a template by its path below app/, such as "ground/templates/classes.html".

    Raises: jinja2.TemplateError: there is none of that name, it is wrong, or a value that it needs is missing.
    """
    return Markup(environment().get_template(template).render(values))


@cache
def palette() -> Markup:
    """Return the colours of the pages as CSS of a page without scripts: the start of style.css."""
    colours = STYLE.read_text(encoding="utf-8").split("/* ---")[0]
    return Markup(colours.replace(".dark {", "@media (prefers-color-scheme: dark) { :root {") + "}")


@cache
def environment() -> Environment:
    """Return the one Jinja environment. Undefined values are errors, and everything is escaped."""
    made = Environment(
        loader=FileSystemLoader(ROOMS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ask": ask,
        "commands": commands,
        "thousands": thousands,
        "things": things,
        "percent": percent,
        "fixed": fixed,
        "duration": duration,
        "ago": ago,
        "utc": utc,
    }
    return made


def ask(value: dict[str, Any]) -> str:
    """Return what a button sends, as JSON for its `data-ask` attribute."""
    return json.dumps(value, ensure_ascii=False)


def commands(sentence: str) -> Markup:
    """Render a sentence in which `backticks` mark what is typed."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def thousands(number: int) -> str:
    """Return a whole number with commas: 1,234."""
    return f"{number:,}"


def things(count: int, name: str, many: str = "") -> str:
    """Return a count with the name of what is counted. many: its plural, where that is not name + s."""
    return f"{count:,} {name if count == 1 else many or name + 's'}"


def percent(share: float, digits: int = 0) -> str:
    """Return a share in [0, 1] as a percentage: 62.5%."""
    return f"{share:.{digits}%}"


def fixed(number: float | None, digits: int = 2) -> str:
    """Return a number with so many decimals; a dash for None."""
    return "–" if number is None else f"{number:.{digits}f}"


def duration(seconds: float) -> str:
    """Return a span of time in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 129_600 else f"{seconds / 86_400:.1f} days"


def ago(moment: datetime) -> str:
    """Return how long ago a moment was."""
    return f"{duration((datetime.now(UTC) - moment).total_seconds())} ago"


def utc(moment: datetime) -> str:
    """Return a moment to the minute: 2026-11-02 09:30 UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
