"""Compare the settings of a run with those of the command that goes on with it. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any


def plain_settings(config: Any) -> dict[str, Any]:
    """Return a dataclass of settings as plain values, as JSON holds them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


def changed_settings(
    kept: Mapping[str, Any], asked: Mapping[str, Any], *, places: Collection[str], may_change: Collection[str]
) -> list[str]:
    """Return the names of settings that are not those of the run, sorted.

    Args: places: those that name files or folders, which may lie elsewhere now: their last names are compared.
          may_change: those that may differ between two commands of one run.
    """
    known = {key: _named(value) if key in places else value for key, value in kept.items()}
    now = {key: _named(value) if key in places else value for key, value in asked.items()}
    return sorted(key for key in now if now[key] != known.get(key) and key not in may_change)


def another_run(out: Path, changed: Collection[str]) -> str:
    """Return the sentence for a folder that holds a run with other settings."""
    return f"{out} holds a run with another {', '.join(changed)}: choose another --out or the same settings"


def _named(value: Any) -> Any:
    """Return a place, or several, by its last name."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    return Path(value).name if isinstance(value, str) else value
