"""Open captioned pictures of COCO and Flickr30k: an annotation file -> files with their captions -> a data set.

Read are COCO's `captions_*.json`, Karpathy's `dataset_coco.json` and `dataset_flickr30k.json` with their splits, and
Flickr30k's `results_*.token` or the `results.csv` that circulates as well; their pictures are beside them, or in a
folder there. Nothing is downloaded, no picture is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grain.data.data_sets import NO_LABEL, DataSet, of_files
from user_errors import UserError

PATTERNS = ("dataset_*.json", "captions_*.json", "annotations/captions_*.json", "results*.token", "results.csv")
TEST = "test"  # the split of Karpathy's files that is reported on
EXPECTED = "COCO's captions_*.json, Karpathy's dataset_*.json, or Flickr30k's *.token or *.csv"


@dataclass(frozen=True)
class CaptionedSet:
    """files: paths below the picture folder. captions: at least one each, in the file's order."""

    files: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]

    @property
    def texts(self) -> list[str]:
        """Return all captions end to end, [T]."""
        return [text for own in self.captions for text in own]

    @property
    def picture_of(self) -> list[int]:
        """Return the row of each caption's picture, [T]."""
        return [row for row, own in enumerate(self.captions) for _ in own]


def read_captions(path: Path, *, split: str = TEST) -> CaptionedSet:
    """Read an annotation file; its layout is recognised by its content.

    Args:   split: of Karpathy's files only, which hold all of them.
    Raises: ValueError: missing, broken, another layout, or no captions; one sentence says what to do.
    """
    if not path.is_file():
        raise ValueError(f"no annotation file {path}: put {EXPECTED} there")
    try:
        text = path.read_text(encoding="utf-8")
        pairs = _json_pairs(json.loads(text), split) if path.suffix == ".json" else _line_pairs(text, path.suffix)
        found = _grouped(pairs)
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path.name} cannot be read ({type(error).__name__}: {str(error)[:80]}): expected {EXPECTED}"
        ) from error
    if not found.files:
        of_split = f" of the split {split!r}" if path.suffix == ".json" else ""
        raise ValueError(f"{path.name} holds no captions{of_split}: expected {EXPECTED}")
    return found


def regions_in(path: Path, split: str = "") -> Path | None:
    """Find the annotation file that a path is or holds; None where it is another data set.

    Args:   split: chooses between several of COCO's, as val2017 does.
    Raises: UserError: it holds several.
    """
    if path.is_file():
        return path
    found = [file for pattern in PATTERNS for file in sorted(path.glob(pattern))]
    named = [file for file in found if split and split in file.stem] or found
    if len(named) > 1:
        files = ", ".join(str(file.relative_to(path)) for file in named)
        raise UserError(f"{path} has several files of captions ({files}): give the path of one of them")
    return named[0] if named else None


def captioned_set(file: Path, *, split: str = "", pictures: Path | None = None, name: str = "") -> DataSet:
    """Open pictures with one caption or several each, for image–text retrieval in both directions.

    Args:   file: annotations. split: of Karpathy's files; "" takes test. pictures: their folder; None looks beside the
            file, in the folders there, and in those one level up.
    Raises: UserError: the file cannot be read, or pictures are missing; one sentence says where to put them.
    """
    try:
        found = read_captions(file, split=split or TEST)
    except ValueError as error:
        raise UserError(str(error)) from error
    folder = pictures or _folder_of(file, found.files[0])
    if missing := missing_pictures(found, folder):
        count = f"{len(missing):,} of {len(found.files):,} pictures of {file.name}"
        raise UserError(
            f"{count} are not in {folder}, {missing[0]} for one: put them there, or into a folder beside it"
        )
    return of_files(
        [folder / name for name in found.files],
        [NO_LABEL] * len(found.files),
        class_names=(),
        name=name or file.stem,
        split=split or (TEST if file.name.startswith("dataset_") else "all"),
        source=f"{file.name}, {len(found.texts):,} captions",
        captions=found.captions,
    )


def missing_pictures(found: CaptionedSet, folder: Path) -> list[str]:
    """List the files that are not in the picture folder."""
    return [name for name in found.files if not (folder / name).is_file()]


def _folder_of(file: Path, first: str) -> Path:
    """Find the folder of the first picture; the annotation file's own where there is none."""
    beside = [file.parent, *(path for path in sorted(file.parent.iterdir()) if path.is_dir())]
    above = [path for path in sorted(file.parent.parent.iterdir()) if path.is_dir()] if file.parent.name else []
    return next((folder for folder in (*beside, *above) if (folder / first).is_file()), file.parent)


def _grouped(pairs: Iterable[tuple[str, str]]) -> CaptionedSet:
    captions: dict[str, list[str]] = {}
    for file, text in pairs:
        if not isinstance(text, str):
            raise TypeError(f"a caption must be a text, got {text!r}")
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise TypeError(f"a picture must lie below the folder, got {file!r}")
        if text.strip():
            captions.setdefault(file, []).append(text.strip())
    return CaptionedSet(tuple(captions), tuple(tuple(texts) for texts in captions.values()))


def _json_pairs(data: Any, split: str) -> Iterable[tuple[str, str]]:
    if "annotations" in data:  # COCO
        files = {image["id"]: image["file_name"] for image in data["images"]}
        rows = {number: place for place, number in enumerate(files)}
        ordered = sorted(data["annotations"], key=lambda region: rows[region["image_id"]])
        return ((files[region["image_id"]], region["caption"]) for region in ordered)
    return (
        (str(Path(image.get("filepath", ""), image["filename"])), sentence["raw"])
        for image in data["images"]
        if image["split"] == split
        for sentence in image["sentences"]
    )


def _line_pairs(text: str, suffix: str) -> Iterable[tuple[str, str]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        # 1000092795.jpg#0<TAB>caption, or image_name| comment_number| comment, where the first line says so
        parts = line.split("\t", 1) if suffix == ".token" else line.split("|", 2)
        if len(parts) != (2 if suffix == ".token" else 3):
            raise TypeError(f"a line must hold a file and a caption, got {line[:40]!r}")
        file = parts[0].rsplit("#", 1)[0] if suffix == ".token" else parts[0].strip()
        if file != "image_name":
            yield file, parts[-1]
