"""Read descriptions of classes from the JSON of DCLIP and CuPL: strictly, matched to a data set's classes, reported.

The file is {"class": ["description", …]}. Equal names match first; then those that differ by case, spaces and
punctuation, where only one of either side does. Signs count: C, C++ and C# are three classes.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from user_errors import UserError

MAX_BYTES = 64 * 2**20  # of a file
MAX_DESCRIPTIONS = 200_000  # ImageNet with CuPL's has 50,000
FEW = 3  # names shown in a sentence
JOINTS = re.compile(r"[\s_.,:;!?'’\"“”/()\[\]‐‑–-]+")  # between the words of a name; + and # tell one from another


@dataclass(frozen=True)
class ClassDescriptions:
    """The descriptions of each class, and what was wrong with the file.

    classes: every class of the data set, in its order -> its descriptions, () where there are none. empty: texts of
    nothing but spaces. duplicates: descriptions of a class that were there before. missing: classes without any.
    unknown: classes of the file that the data set has not. ambiguous: classes of the file that could be several of the
    data set's, or of which several could be one.
    """

    classes: Mapping[str, tuple[str, ...]]
    empty: int = 0
    duplicates: int = 0
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()

    @property
    def texts(self) -> int:
        """Count the descriptions in all."""
        return sum(map(len, self.classes.values()))

    def report(self) -> list[str]:
        """List what was left out and why, a sentence each."""
        sentences = []
        if self.duplicates:
            stood = "description stood there twice and counts", "descriptions stood there twice and count"
            sentences.append(f"{_counted(self.duplicates, *stood)} once.")
        if self.empty:
            sentences.append(f"{_counted(self.empty, 'description was', 'descriptions were')} empty and left out.")
        if self.missing:
            none = _counted(len(self.missing), "class has none and goes by its", "classes have none and go by their")
            sentences.append(f"{none} name alone: {few_names(self.missing)}.")
        if self.unknown:
            none = _counted(len(self.unknown), "class of the file is", "classes of the file are")
            sentences.append(f"{none} none of the data set's: {few_names(self.unknown)}.")
        if self.ambiguous:
            several = _counted(len(self.ambiguous), "class of the file is", "classes of the file are")
            sentences.append(
                f"{several} left out, where more than one matches by case, spaces or punctuation: "
                f"{few_names(self.ambiguous)}; write them as the data set does."
            )
        return sentences


def without_descriptions(class_names: Sequence[str]) -> ClassDescriptions:
    """Return every class without descriptions, by its name alone."""
    return ClassDescriptions(dict.fromkeys(class_names, ()))


def read_descriptions(path: Path, class_names: Sequence[str]) -> ClassDescriptions:
    """Read a file's descriptions of a data set's classes.

    Raises: UserError: no such file, empty, too large, another form, too many descriptions, or none of the
            classes is in it.
    """
    return match_descriptions(load_descriptions(path), class_names, path.name)


def load_descriptions(path: Path) -> dict[str, list[str]]:
    """Read a file's classes with their own spelling.

    Raises: UserError: as read_descriptions.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path.name} has {size / 2**20:,.0f} MB, more than the {MAX_BYTES / 2**20:.0f} MB a description file "
                "may have: split it by class"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a description file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is no text in UTF-8: save it as UTF-8") from error
    if not text.strip():
        raise UserError(f'{path.name} is empty: expected {{"class": ["description", …]}}')
    try:
        found = json.loads(text, object_pairs_hook=each_once)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is no JSON ({error}): check commas and quotes") from error
    return _checked(found, path.name)


def each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON.

    Raises: UserError: a name is there twice, of which JSON would keep the last without a word.
    """
    counts = Counter(name for name, _ in pairs)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise UserError(f"the class {twice[:40]!r} is there twice: put its descriptions into one list")
    return dict(pairs)


def match_descriptions(
    found: Mapping[str, Sequence[str]], class_names: Sequence[str], source: str = "the descriptions"
) -> ClassDescriptions:
    """Key descriptions by the data set's own.

    Raises: UserError: none of the classes is in it.
    """
    same = matching_names(class_names, tuple(found))
    left = set(found) - set(same.values())
    keys = set(map(loose_key, class_names))
    unknown = tuple(name for name in found if name in left and loose_key(name) not in keys)
    ambiguous = tuple(name for name in found if name in left and loose_key(name) in keys)
    if len(unknown) == len(found):
        raise UserError(_strangers(unknown, class_names, source))
    classes: dict[str, tuple[str, ...]] = {}
    empty = duplicates = 0
    for name in class_names:
        texts = [" ".join(text.split()) for text in (found[same[name]] if name in same else ())]
        full = [text for text in texts if text]
        classes[name] = tuple(dict.fromkeys(full))
        empty += len(texts) - len(full)
        duplicates += len(full) - len(classes[name])
    missing = tuple(name for name, rows in classes.items() if not rows)
    return ClassDescriptions(classes, empty, duplicates, missing, unknown, ambiguous)


def _checked(found: object, name: str) -> dict[str, list[str]]:
    expected = f'expected {{"class": ["description", …]}} in {name}, got'
    if not isinstance(found, dict):
        raise UserError(f"{expected} {_kind(found)}: correct the file")
    if not found:
        raise UserError(f"{expected} no class: write some, or go without descriptions")
    total = 0
    for key, rows in found.items():
        if not isinstance(rows, list):
            raise UserError(f"{expected} {_kind(rows)} for the class {key[:40]!r}: put it into a list")
        wrong = [row for row in rows if not isinstance(row, str)]
        if wrong:
            raise UserError(f"{expected} {_kind(wrong[0])} among those of {key[:40]!r}: write texts alone")
        total += len(rows)
    if total > MAX_DESCRIPTIONS:
        raise UserError(
            f"{name} has {total:,} descriptions, more than the {MAX_DESCRIPTIONS:,} that may be: keep the best of each"
        )
    return found


def _strangers(unknown: Sequence[str], class_names: Sequence[str], source: str) -> str:
    near = difflib.get_close_matches(unknown[0], class_names, n=1)
    meant = f", did you mean {near[0]!r}?" if near else ""
    ours = few_names(class_names) or "no classes"
    return f"no class of {source} is one of the data set's ({ours}); its first is {unknown[0][:40]!r}{meant}"


def matching_names(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Return our name -> theirs: equal names first, then loosely, where one of either side is alone with its key."""
    found = {name: name for name in set(ours) & set(theirs)}
    ours_left, theirs_left = ([name for name in dict.fromkeys(names) if name not in found] for names in (ours, theirs))
    counts = Counter(map(loose_key, ours_left))
    by_key: dict[str, list[str]] = {}
    for name in theirs_left:
        by_key.setdefault(loose_key(name), []).append(name)
    for name in ours_left:
        key = loose_key(name)
        if counts[key] == len(by_key.get(key, ())) == 1:
            found[name] = by_key[key][0]
    return found


def loose_key(name: str) -> str:
    """Return what is equal for names that differ by case, spaces, punctuation and Unicode form only."""
    return JOINTS.sub(" ", unicodedata.normalize("NFC", name)).casefold().strip() or name


def _counted(count: int, one: str, many: str) -> str:
    """Return a count with the words for one, or for many."""
    return f"{count:,} {one if count == 1 else many}"


def _kind(value: object) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "nothing")


def few_names(names: Sequence[str]) -> str:
    """Return the first names as they stand in a sentence."""
    return ", ".join(name[:40] for name in names[:FEW]) + (", …" if len(names) > FEW else "")
