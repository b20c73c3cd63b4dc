"""Read what programs send for the page's fields, and what the browser kept of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from app.core.ground_links import GroundQuestion
from app.core.recent_pictures import find_kept_picture, owner_of
from app.core.settings import Settings

MOST_KEPT_CHARACTERS = 2_000_000  # ImageNet's classes with their descriptions have 500,000


@dataclass(frozen=True)
class KeptForm:
    """The fields as the browser kept them. owner: whose they are. picture: id of a kept picture, or ""."""

    owner: str = ""
    picture: str = ""
    descriptions: str = ""
    classes: str = ""
    checkpoint: str = ""
    versus: str = ""
    threshold: float = 0.0
    alpha: float = 1.0


def texts_of(value: str | list[str] | dict[str, list[str]] | None) -> str:
    """Return what a program sent, as a person would type it: a line each, or the JSON of classes."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return "\n".join(map(str, value)) if isinstance(value, list) else value or ""


def kept_question(settings: Settings, person: str, kept: str) -> GroundQuestion | None:
    """Read what the browser kept; None where there is nothing, it is another person's, or its picture is gone.

    Args: kept: the JSON of a KeptForm, which is not believed.
    """
    form = _read_form(kept)
    if form is None or form.owner != owner_of(person):
        return None
    path: Path | None = find_kept_picture(settings, person, form.picture)
    if path is None:
        return None
    texts = (form.descriptions, form.classes, form.checkpoint, form.versus)
    return GroundQuestion(str(path), *texts, _within(form.threshold, -1.0), _within(form.alpha, 0.0))


def _kind(field: Field[Any]) -> Callable[[Any], Any]:
    return float if isinstance(field.default, float) else str


def _within(value: float, least: float) -> float:
    return min(max(value, least), 1.0) if math.isfinite(value) else 0.0


def _read_form(kept: str) -> KeptForm | None:
    if not kept or len(kept) > MOST_KEPT_CHARACTERS:
        return None
    try:
        found = json.loads(kept)
        values: dict[str, Any] = {
            each.name: _kind(each)(found.get(each.name, each.default)) for each in fields(KeptForm)
        }
        return KeptForm(**values)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
