"""Find files by the paths that tables of other systems call them."""

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
            found = [at / name for at in found for name in self._in(at).get(fold_name(part), [])]
        return [str(each.relative_to(folder)) for each in found if each.is_file()]

    def _in(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._names:
            self._names[folder] = {}
            with suppress(OSError):
                self._names[folder] = by_fold(sorted(each.name for each in folder.iterdir()))
        return self._names[folder]


def fold_name(name: str) -> str:
    """Return a name as it is compared where letter case, and how an accent is written, count for nothing."""
    return normalize("NFC", name.casefold())


def by_fold(names: Iterable[str]) -> dict[str, list[str]]:
    """Map each name as fold_name returns it -> the distinct names that it stands for."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(fold_name(name), []).append(name)
    return found
