"""Keep names apart: one that repeats gets a number, so that files of one name can lie together."""

from __future__ import annotations

from collections.abc import Iterable

from curation.files.file_spelling import fold_name


def distinct_names(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return names that many disks and archives keep apart: one that is taken, case aside, gets a number, as a-2.jpg.

    Args:   names: stem and suffix of each, as "a" and ".jpg".
    """
    found: dict[str, str] = {}
    for stem, suffix in names:
        name, number = stem + suffix, 1
        while fold_name(name) in found:
            number += 1
            name = f"{stem}-{number}{suffix}"
        found[fold_name(name)] = name
    return [*found.values()]
