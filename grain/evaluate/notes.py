"""Write what readers of an evaluation's numbers should know about its data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grain.class_texts import few_names, loose_key
from grain.evaluate.scoring import Ints

FEW_PICTURES, FEW_CATEGORIES = 30, 10


def notes_on(class_names: Sequence[str], target: Ints, *, pictures: int, categories: int = 0) -> list[str]:
    """Return a sentence for each doubt: few pictures or categories, classes without a picture, names much alike.

    Args: target: [N] rows of the classes of the pictures that have one. pictures: that were evaluated. categories: over
          which average precision is averaged; 0: it is not measured.
    """
    notes = []
    if pictures < FEW_PICTURES:
        there = "is 1 picture" if pictures == 1 else f"are {pictures} pictures"
        notes.append(f"There {there}: fewer than {FEW_PICTURES} decide little, see the intervals.")
    if 0 < categories < FEW_CATEGORIES:
        have = "category has" if categories == 1 else "categories have"
        notes.append(
            f"{categories} {have} boxes: an AP over fewer than {FEW_CATEGORIES} decides little, see the intervals."
        )
    counts = np.bincount(target, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if empty and len(target):
        notes.append(
            f"{len(empty):,} of {len(class_names):,} classes have no picture here, and can only be taken for others: "
            f"{few_names(empty)}."
        )
    spellings: dict[str, list[str]] = {}
    for name in class_names:
        spellings.setdefault(loose_key(name), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            listed = " and ".join(repr(name[:40]) for name in names)
            notes.append(
                f"The classes {listed} differ only by case, spaces, punctuation or how an accent is stored: they may "
                "be one class."
            )
    return notes
