"""Tell which files beside a picture describe it, and read what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence

from curation.files.decode import Limits, RefusedError, check_size
from curation.files.file_spelling import by_fold, fold_name
from curation.files.tables import captions_of
from curation.files.text_files import decode_text
from user_errors import UserError

COMPANIONS = ("txt", "json", "cls")  # beside a picture of the same name: its caption, and what else is known of it
COMPANION_LIMITS = Limits(file_bytes=1_000_000)
NO_UTF8_REFUSAL = "The text beside this picture is not UTF-8, and was left out: save it as UTF-8, and import it again."


def picture_names(names: Sequence[str]) -> dict[str, list[str]]:
    """Map the names of files that lie together -> each that is no companion, and its companions' names.

    `a.txt` belongs to `a.jpg`, and, as in WebDataset, to `a.mask.png`. Where none is spelled so, and one name alone
    differs in nothing but letter case, it belongs to that. One that belongs to nothing stands for itself.
    """
    by_stem: dict[str, list[str]] = {}
    for name in filter(is_companion, names):
        by_stem.setdefault(stem_of(name), []).append(name)
    pictures = [name for name in names if not is_companion(name)]
    found = {name: by_stem.get(stem_of(name)) or by_stem.get(key_of(name)) or [] for name in pictures}
    taken = {companion for companions in found.values() for companion in companions}
    left = by_fold(stem for stem, companions in by_stem.items() if companions[0] not in taken)
    for part in (stem_of, key_of) if left else ():
        spelled = by_fold(map(part, pictures))
        for name in pictures:
            fold = fold_name(part(name))
            if not found[name] and len(left.get(fold, [])) == len(spelled[fold]) == 1:
                found[name] = by_stem[left[fold][0]]
                taken.update(found[name])
    return {name: found.get(name, []) for name in names if name not in taken}


def companion_text(content: bytes) -> str:
    """Decode a companion.

    Raises: RefusedError: it is too large, or in another encoding.
    """
    if content:
        check_size(len(content), COMPANION_LIMITS)
    try:
        text = decode_text(content)
    except UserError as error:
        raise RefusedError(NO_UTF8_REFUSAL) from error
    if "\0" in text:  # as in UTF-16 without a mark
        raise RefusedError(NO_UTF8_REFUSAL)
    return text


def captions_in(text: str, suffix: str) -> tuple[str, ...]:
    """Return the captions in the text of a companion."""
    if suffix == "txt":
        return tuple(filter(None, [text.strip()]))
    try:
        return captions_of(json.loads(text))
    except (ValueError, RecursionError):
        return ()


def is_companion(name: str) -> bool:
    """Tell whether a file describes a picture, by how its name ends."""
    return name.rpartition(".")[2].lower() in COMPANIONS


def stem_of(name: str) -> str:
    """Return a name up to its last dot."""
    return name.rpartition(".")[0]


def key_of(name: str) -> str:
    """Return the key as WebDataset has it: the path, and the name up to its first dot."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def fold_key(name: str) -> str:
    """Return the key of a name, whatever its letter case."""
    return fold_name(key_of(name))
