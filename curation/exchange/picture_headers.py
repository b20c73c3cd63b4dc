"""Find the picture that an annotation file means, and read its size from its header alone.

YOLO's labels, FiftyOne's and FineHARD's files say nothing of a picture's size: it is the file's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from curation.files.records import shown
from picture_formats import FORMATS, ORIENTATION_TAG, SUFFIXES, register_heif
from user_errors import UserError

TURNED = (5, 6, 7, 8)  # EXIF's orientations that swap the sides


@dataclass(frozen=True)
class PictureHeader:
    """file_name: relative to the folder, with `/`. width, height: pixels, upright."""

    file_name: str
    width: int
    height: int


@dataclass
class PictureFolder:
    """The picture files below a folder, by their relative names without suffix, walked once."""

    root: Path
    _by_stem: dict[str, str] | None = field(default=None, repr=False)

    def header(self, stem: str) -> PictureHeader:
        """Return the header of the picture of a name without suffix, such as "train/0001".

        Raises: UserError: there is none, or it cannot be read.
        """
        name = self._stems().get(stem)
        if name is None:
            raise UserError(
                f"expected the picture {shown(stem)}.* below {self.root.name}, got none: put the pictures there"
            )
        return self.header_of(name)

    def header_of(self, name: str) -> PictureHeader:
        """Return the header of a picture by its relative name.

        Raises: UserError: it leaves the folder, is not there, or cannot be read.
        """
        path = self.root / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not path.is_file():
            raise UserError(f"expected the picture {shown(name)} below {self.root.name}, got none: put it there")
        register_heif()
        try:
            with Image.open(path, formats=(*FORMATS, "AVIF", "HEIF")) as image:
                width, height = image.size
                turned = image.getexif().get(ORIENTATION_TAG) in TURNED
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"expected a picture in {shown(name)}, got none that can be read: copy it again") from error
        return PictureHeader(name, *((height, width) if turned else (width, height)))

    def _stems(self) -> dict[str, str]:
        if self._by_stem is None:
            self._by_stem = {}
            for folder, _, names in os.walk(self.root):
                for name in sorted(names):
                    if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                        relative = (Path(folder) / name).relative_to(self.root).as_posix()
                        self._by_stem.setdefault(relative.rpartition(".")[0], relative)
        return self._by_stem
