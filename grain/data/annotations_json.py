"""Read annotation files of data sets: JSON of a bounded size, checked as it is used, and boxes in pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from user_errors import UserError

if TYPE_CHECKING:
    from grain.data.record import Box

MOST_BYTES = 1_500 * 2**20  # LVIS's largest published file has 1.1 GB


def read_json(path: Path, expected: str) -> Any:
    """Read a JSON file.

    Args:   expected: what should be there, in words.
    Raises: UserError: missing, too large or no JSON.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path.name} has more than {MOST_BYTES // 2**20:,} MB: expected {expected}")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): put {expected} there") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} is no JSON ({str(error)[:80]}): expected {expected}") from error


@contextmanager
def laid_out_as(name: str, expected: str) -> Iterator[None]:
    """Say in a sentence that a file has another layout than its code takes for granted.

    Raises: UserError.
    """
    try:
        yield
    except UserError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error)[:80]}"
        raise UserError(f"{name} has another layout than {expected} ({reason}): get the published file") from error


def box_from_xywh(xywh: Sequence[float], width: float, height: float) -> Box:
    """Return a box of pixels, as COCO writes it, normalized and clipped to its picture.

    Raises: ValueError: no finite numbers, or a picture without area.
    """
    x, y, w, h = (float(value) for value in xywh)
    if not all(map(math.isfinite, (x, y, w, h))) or width <= 0 or height <= 0:
        raise ValueError(f"expected a box in a picture of some size, got {list(xywh)} in {width} × {height}")
    return _clip(x / width), _clip(y / height), _clip((x + w) / width), _clip((y + h) / height)


def below(folder: Path, name: str) -> Path:
    """Return a file of a folder by the name that an annotation gives it.

    Raises: ValueError: it would lie elsewhere.
    """
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"a picture must lie below its folder, got {str(name)[:80]!r}")
    return folder / name


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
