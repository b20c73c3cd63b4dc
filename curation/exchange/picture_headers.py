"""Find the picture that an annotation file means, and read its size from its header alone.

YOLO's labels, FiftyOne's and FineHARD's files say nothing of a picture's size: it is the file's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from curation.exchange.formats import located
from curation.files.file_spelling import FileSpelling, by_fold, fold_name
from curation.files.records import PictureRecord, shown
from picture_formats import FORMATS, ORIENTATION_TAG, SUFFIXES, register_heif
from user_errors import UserError

TURNED = (5, 6, 7, 8)  # EXIF's orientations that swap the sides


class NoPictureError(UserError):
    """A picture that an annotation file names is not there, or cannot be read."""


@dataclass(frozen=True)
class PictureHeader:
    """file_name: relative to the folder, with `/`. width, height: pixels, upright."""

    file_name: str
    width: int
    height: int


@dataclass
class PictureFolder:
    """The picture files below a folder, by their relative names without suffix, walked once.

    Where none is spelled as a name is, letter case is ignored, as it is where pictures come from.
    """

    root: Path
    _by_stem: dict[str, str] = field(default_factory=dict, repr=False)
    _by_fold: dict[str, list[str]] | None = field(default=None, repr=False)
    _spelling: FileSpelling = field(default_factory=FileSpelling, repr=False)

    def header(self, stem: str) -> PictureHeader:
        """Return the header of the picture of a name without suffix, such as "train/0001".

        Raises: UserError: there is none, or several but for letter case, or it cannot be read.
        """
        alike = self._alike().get(fold_name(stem.replace("\\", "/")), [])
        fitting = [stem] if stem in alike else alike
        if not fitting:
            raise NoPictureError(
                f"expected the picture {shown(stem)}.* below {self.root.name}, got none: put the pictures there"
            )
        if len(fitting) > 1:
            raise NoPictureError(
                f"expected one picture {shown(stem)}.* below {self.root.name}, got several that differ from it in "
                "letter case only: correct the name"
            )
        return self.header_of(self._by_stem[fitting[0]])

    def header_of(self, name: str) -> PictureHeader:
        """Return the header of a picture by its relative name.

        Raises: UserError: it leaves the folder, is not there, or cannot be read.
        """
        name = self._spelling.spell(self.root, name)
        path = self.root / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not path.is_file():
            raise NoPictureError(f"expected the picture {shown(name)} below {self.root.name}, got none: put it there")
        register_heif()
        try:
            with Image.open(path, formats=(*FORMATS, "AVIF", "HEIF")) as image:
                width, height = image.size
                turned = image.getexif().get(ORIENTATION_TAG) in TURNED
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise NoPictureError(
                f"expected a picture in {shown(name)}, got none that can be read: copy it again"
            ) from error
        return PictureHeader(name, *((height, width) if turned else (width, height)))

    def _alike(self) -> dict[str, list[str]]:
        """Return the names without suffix by how they are compared."""
        if self._by_fold is None:
            for folder, _, names in os.walk(self.root):
                for name in sorted(names):
                    if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                        relative = (Path(folder) / name).relative_to(self.root).as_posix()
                        self._by_stem.setdefault(relative.rpartition(".")[0], relative)
            self._by_fold = by_fold(self._by_stem)
        return self._by_fold


def each_there(
    items: Iterable[tuple[str, Any]], read_one: Callable[[Any], PictureRecord], *, refused: list[str] | None
) -> Iterator[PictureRecord]:
    """Read the pictures of one file; one that is not there is passed over.

    Args:   items: the place of each in the file, and what the file tells of it. refused: takes a sentence for each that
            is not there.
    Raises: UserError: names the place of one that is malformed.
    """
    for place, item in items:
        with located(place):
            try:
                record = read_one(item)
            except NoPictureError as error:
                if refused is not None:
                    refused.append(f"{place}: {error}")
                continue
        yield record
