"""Define data sets to evaluate on: images with a class, captions or described regions, in a fixed order."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from grain.config import ClassTexts
from grain.preprocess import upright_rgb
from user_errors import UserError

if TYPE_CHECKING:
    from grain.data.record import Box

NO_LABEL = -1


@dataclass(frozen=True)
class GroundedSentence:
    """A description of a part of a picture, and its boxes, normalized: any of them is right."""

    text: str
    boxes_xyxy: tuple[Box, ...]


@dataclass(frozen=True)
class PictureObjects:
    """The truth for detection by descriptions: boxes_xyxy [R] and categories [R], rows of the data set's.

    crowds: [R] whether a box holds many, so that what is found in it counts neither for nor against. asked: the
    categories that somebody looked for in this picture; nothing is measured of the others. incomplete: those of asked
    of which more may be there than have a box: what is found beside their boxes does not count.
    """

    boxes_xyxy: tuple[Box, ...]
    categories: tuple[int, ...]
    crowds: tuple[bool, ...]
    asked: tuple[int, ...]
    incomplete: tuple[int, ...] = ()


@dataclass(frozen=True)
class CaptionContrast:
    """A caption that is right of a picture, and one much like it that is not.

    example: what the picture belongs to; where a second picture of it has the two captions the other way round, the
    pictures are told apart by a caption as well.
    """

    example: str
    right: str
    wrong: str


@dataclass(frozen=True)
class EvaluationItem:
    """One picture and what is true of it. label: row of the class, NO_LABEL without one. open: decodes the picture.

    proposals: see grain.data.loader.ShardRecord.
    """

    key: str
    open: Callable[[], Image.Image]
    label: int = NO_LABEL
    captions: tuple[str, ...] = ()
    sentences: tuple[GroundedSentence, ...] = ()
    objects: PictureObjects | None = None
    contrast: CaptionContrast | None = None
    proposals: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class DataSet:
    """Pictures in an order that never changes.

    name: what results call it. source: what it is, in words. fingerprint: differs where a file differs.
    templates: the published ones; None leaves the choice to the model. classes: descriptions that came with it.
    read: the items from a position on, undecoded. note: what readers of its numbers should know.
    categories: the descriptions that objects are detected by; category_groups: rows of those that are told of apart.
    sentences: how many are grounded, or contrasted, in all; 0 where nobody counted. together: how many items belong
    together, one after the other. members: class -> the names that it goes by, where it is several classes in one.
    """

    name: str
    split: str
    source: str
    class_names: tuple[str, ...]
    total: int
    fingerprint: str
    read: Callable[[int], Iterator[EvaluationItem]]
    templates: ClassTexts | None = None
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    note: str = ""
    categories: tuple[str, ...] = ()
    category_groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sentences: int = 0
    together: int = 1
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def fingerprint_of(files: Sequence[Path], *facts: object) -> str:
    """Digest the paths, sizes and times of files, and any other facts that decide the items."""
    digest = hashlib.sha256(repr(facts).encode())
    for path in files:
        found = path.stat()
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def open_picture(source: Path | bytes, name: str) -> Image.Image:
    """Open a file, or its bytes, as an upright RGB picture. name: of the file, for the error.

    Raises: UserError: it cannot be read.
    """
    try:
        return upright_rgb(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (OSError, ValueError) as error:
        reason = str(error).rpartition(": ")[0] if isinstance(error, UserError) else error  # one advice is enough
        raise UserError(f"{name} cannot be read as a picture ({reason}): copy it again or take it away") from error


def of_files(
    files: Sequence[Path],
    labels: Sequence[int],
    *,
    class_names: tuple[str, ...],
    name: str,
    split: str,
    source: str,
    templates: ClassTexts | None = None,
    captions: Sequence[tuple[str, ...]] | None = None,
) -> DataSet:
    """Make a data set of picture files. labels: NO_LABEL where there are no classes. captions: of each picture.

    Raises: UserError: two classes of one name, or a file that is not there.
    """
    if len(set(class_names)) != len(class_names):
        twice = next(each for each in class_names if class_names.count(each) > 1)
        raise UserError(f"two classes of {name} are called {twice!r}: rename one, or results would mix them up")
    try:
        fingerprint = fingerprint_of(files, split, class_names, tuple(labels))
    except OSError as error:
        raise UserError(f"{name} lacks {error.filename}: copy the data set again, whole") from error

    keys = _keys_of(files)

    def read(start: int) -> Iterator[EvaluationItem]:
        for row in range(start, len(files)):
            own = captions[row] if captions else ()
            file = files[row]
            yield EvaluationItem(keys[row], partial(open_picture, file, str(file)), labels[row], own)

    return DataSet(name, split, source, class_names, len(files), fingerprint, read, templates)


def _keys_of(files: Sequence[Path]) -> list[str]:
    """Return the names of files without their endings; where two have one name, all paths below their common folder."""
    names = [file.stem for file in files]
    if len(set(names)) == len(names):
        return names
    above = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(above).as_posix() for file in files]


def of_items(
    items: Sequence[EvaluationItem],
    files: Sequence[Path],
    *,
    name: str,
    split: str,
    source: str,
    sentences: int = 0,
    categories: Sequence[str] = (),
    category_groups: Mapping[str, tuple[int, ...]] | None = None,
    together: int = 1,
) -> DataSet:
    """Make a data set of items with more than a class. files: their pictures, and what their truth was read from.

    Raises: UserError: no items, or a file that is not there.
    """
    if not items:
        raise UserError(f"{name} has no pictures of the split {split!r}: see that its files are whole")
    try:
        fingerprint = fingerprint_of(files, name, split)
    except OSError as error:
        raise UserError(f"{name} lacks {error.filename}: copy the data set again, whole") from error

    def read(start: int) -> Iterator[EvaluationItem]:
        return iter(items[start:])

    return DataSet(
        name,
        split,
        source,
        (),
        len(items),
        fingerprint,
        read,
        categories=tuple(categories),
        category_groups=category_groups or {},
        sentences=sentences,
        together=together,
    )


def described_too(names: Sequence[str]) -> ClassTexts:
    """Return templates of names, and the same with a description: `a photo of a {name}, which has {description}.`"""
    texts = (f"{name.rstrip('.')}, which has {{description}}." for name in names)
    return ClassTexts(names=tuple(names), descriptions=tuple(texts))


def spaced(folder: str) -> str:
    """Write a folder's name as words."""
    return " ".join(folder.replace("_", " ").split())
