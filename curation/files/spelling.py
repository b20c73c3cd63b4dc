"""Find files by the paths that tables of other systems call them, and number names that repeat."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from unicodedata import normalize


class FileSpelling:
    """Finds how a file is spelled here; the names in folders are read when a path is there in no other way."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, list[str]]] = {}  # folder -> folded name -> names

    def spell(self, folder: Path, path: str) -> str:
        """Return a path of a table as its file is called here; as it is written where there is none, or several.

        Other systems write a backslash for a slash, an accent with its letter or after it, or ignore letter case.
        """
        plain = path.replace("\\", "/")
        for each in dict.fromkeys((path, plain, normalize("NFC", plain), normalize("NFD", plain))):
            with suppress(OSError, ValueError):  # too long for a path, or a NUL in it
                if (folder / each).is_file():
                    return each
        found = self.case_aside(folder, path)
        return found[0] if len(found) == 1 else path

    def case_aside(self, folder: Path, path: str) -> list[str]:
        """Return the files below a folder that a path means where letter case counts for nothing."""
        found = [folder]
        for part in PurePosixPath(path.replace("\\", "/")).parts:
            found = [at / name for at in found for name in self._in(at).get(_folded(part), [])]
        return [str(each.relative_to(folder)) for each in found if each.is_file()]

    def _in(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._names:
            names = self._names[folder] = {}
            with suppress(OSError):
                for each in sorted(folder.iterdir()):
                    names.setdefault(_folded(each.name), []).append(each.name)
        return self._names[folder]


def _folded(name: str) -> str:
    return normalize("NFC", name.casefold())


def distinct_names(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return names that many disks and archives keep apart: one that is taken, case aside, gets a number, as a-2.jpg.

    Args:   names: stem and suffix of each, as "a" and ".jpg".
    """
    found: dict[str, str] = {}
    for stem, suffix in names:
        name, number = stem + suffix, 1
        while _folded(name) in found:
            number += 1
            name = f"{stem}-{number}{suffix}"
        found[_folded(name)] = name
    return [*found.values()]
