"""Read a settings dataclass from a YAML file, checked field by field."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError


def read_fields(path: Path, settings: type) -> dict[str, Any]:
    """Read the fields that a YAML mapping names, each of its type in a dataclass; none is required.

    Args:   settings: a dataclass; a field that is a dataclass itself is a mapping in the file.
    Raises: ValueError: no such file, no mapping, an unknown field or a value of another kind; one sentence.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): expected a YAML file of settings") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no YAML ({reason}): write one `field: value` a line") from error
    return _checked(found, settings, str(path))


def _checked(found: Any, settings: type, place: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{place} holds a {type(found).__name__}: expected one `field: value` a line")
    kinds = get_type_hints(settings)
    unknown = [str(name) for name in found if name not in kinds]
    if unknown:
        raise ValueError(f"{place} has no field {unknown[0]!r}: the fields are {', '.join(kinds)}")
    return {name: _value(value, kinds[name], f"{place}: {name}") for name, value in found.items()}


def _value(value: Any, kind: Any, place: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**_checked(value, kind, place))
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Input ")
        raise ValueError(f"{place} {reason}, got {value!r}") from error
