"""Open the data set at a path: a data folder of curation, an ImageFolder, or CLIP_benchmark's WebDataset shards.

Shards need torch, and import it when they are opened: data sets can be listed without it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from PIL import Image

from grain.class_texts import few_names, matching_names
from grain.config import ClassTexts
from picture_formats import SUFFIXES
from user_errors import UserError

if TYPE_CHECKING:
    from grain.data.record import Box, ShardRecord
from grain.data.data_sets import (
    NO_LABEL,
    DataSet,
    EvaluationItem,
    GroundedSentence,
    described_too,
    fingerprint_of,
    of_files,
    open_picture,
    spaced,
)

IMAGE_ENDINGS = (*SUFFIXES, ".ppm")
CLASS_NAMES, TEMPLATES, CLASSES = "classnames.txt", "zeroshot_classification_templates.txt", "classes.json"
MARK = "{c}"  # where CLIP_benchmark's templates hold the name


def open_path(path: Path, split: str = "") -> DataSet:
    """Open a data set by the layout of its folder.

    Args:   split: of a data folder or of shards in CLIP_benchmark's layout; "" takes novel, or test. Of an ImageFolder,
            whose classes.json, where it has one, holds descriptions of its classes, the folder of it.
    Raises: UserError: nothing is there, or its layout is unknown.
    """
    if not path.is_dir():
        raise UserError(
            f"there is no folder {path}: give a data folder, an ImageFolder (a folder a class), or WebDataset shards"
        )
    if (path / "manifest.json").is_file():
        return data_folder(path, split or "novel")
    if (path / CLASS_NAMES).is_file() or list(_shards(path, split or "test")):
        return web_data_set(path, split or "test")
    found = image_folder(path / split, name=path.name, split=split) if split else image_folder(path)
    found = replace(found, note=_left_out(path / split, found.class_names))
    return _described(found, _read_classes(path / CLASSES)) if (path / CLASSES).is_file() else found


def data_folder(path: Path, split: str) -> DataSet:
    """Open shards with a manifest, as curation writes them; class names from classes.json, else from the pictures.

    Raises: UserError.
    """
    from grain.data.loader import find_shards, read_samples

    try:
        shards = find_shards(path, split)
        classes = _known_classes(path, shards.paths)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not shards.images:
        raise UserError(f"the split {split} of {path} has no pictures: write the data again with some")
    rows = {name: row for row, name in enumerate(classes)}

    def read(start: int) -> Iterator[EvaluationItem]:
        for sample in islice(read_samples(shards.paths), start, None):
            yield _of_sample(sample, rows)

    return DataSet(
        name=path.name,
        split=split,
        source=f"data folder, {shards.trained_on}",
        class_names=tuple(classes),
        total=shards.images,
        fingerprint=fingerprint_of(shards.paths, split, tuple(classes)),
        read=read,
        classes={name: rows for name, rows in classes.items() if rows},
    )


def image_folder(
    path: Path,
    *,
    class_names: Mapping[str, str] | None = None,
    name: str = "",
    split: str = "all",
    templates: ClassTexts | None = None,
) -> DataSet:
    """Open a folder that has a folder of pictures for each class.

    Args:   class_names: folder's name -> class; by default the folder's own name with spaces.
    Raises: UserError: no pictures.
    """
    files = _own_pictures(path, "*/*")
    if not files:
        deeper = _own_pictures(path, "*/*/*")
        advice = f"; if {path}#{deeper[0].relative_to(path).parts[0]} is one, name that" if deeper else ""
        raise UserError(f"{path} has no pictures in folders: expected an ImageFolder, as in CLASS/picture.jpg{advice}")
    folders = list(class_names or sorted({file.parent.name for file in files}))
    named = class_names or {folder: spaced(folder) for folder in folders}
    rows = {folder: row for row, folder in enumerate(folders)}
    strange = sorted({file.parent.name for file in files} - rows.keys())
    if strange:
        raise UserError(f"{path} has a folder {strange[0]!r} that is no class of {name or 'it'}: take it away")
    labels = [rows[file.parent.name] for file in files]
    return of_files(
        files,
        labels,
        class_names=tuple(named[folder] for folder in folders),
        name=name or path.name,
        split=split,
        source=f"ImageFolder of {len(folders):,} classes",
        templates=templates,
    )


def _own_pictures(path: Path, pattern: str) -> list[Path]:
    """List the pictures of a folder, sorted, without those that other programs leave in hidden files and folders."""
    files = (file for file in path.glob(pattern) if file.suffix.lower() in IMAGE_ENDINGS)
    return sorted(file for file in files if not _is_hidden(file.relative_to(path)))


def _is_hidden(place: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in place.parts)


def _left_out(path: Path, class_names: Sequence[str]) -> str:
    """Tell of what is no part of an ImageFolder and may have been meant to be; "" for nothing."""
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not _is_hidden(each.relative_to(path)))
    empty = [each.name for each in folders if spaced(each.name) not in class_names]
    deeper = [str(file.relative_to(path)) for file in _own_pictures(path, "*/*/**/*")]
    sentences = [f"Folders without a picture are no classes here: {few_names(empty)}."] if empty else []
    if deeper:
        sentences.append(f"Pictures deeper than CLASS/picture are left out ({len(deeper):,}): {few_names(deeper)}.")
    return " ".join(sentences)


def web_data_set(path: Path, split: str) -> DataSet:
    """Open WebDataset shards of CLIP_benchmark: SPLIT/0.tar …, classnames.txt, templates; .cls or .txt a picture.

    Raises: UserError.
    """
    from grain.data.loader import read_samples

    shards = list(_shards(path, split))
    if not shards:
        raise UserError(f"{path} has no shards of the split {split!r}: expected {split}/0.tar, {split}/1.tar, …")
    class_names = tuple(_lines(path / CLASS_NAMES))
    templates = tuple(_template(line) for line in _lines(path / TEMPLATES))
    total = sum(map(_pictures_in, shards))
    if not total:
        raise UserError(f"the shards of {path}/{split} hold no pictures: copy them again")

    def read(start: int) -> Iterator[EvaluationItem]:
        for sample in islice(read_samples(shards), start, None):
            yield _of_web_sample(sample, class_names)

    return DataSet(
        name=path.name,
        split=split,
        source=f"WebDataset of {len(shards):,} shards",
        class_names=class_names,
        total=total,
        fingerprint=fingerprint_of(shards, class_names),
        read=read,
        templates=described_too(templates) if templates else None,
    )


def _known_classes(path: Path, shards: Sequence[Path]) -> dict[str, list[str]]:
    """Map class -> descriptions: of classes.json; else the classes that the pictures name, without descriptions."""
    from grain.data.loader import read_samples

    file = path / CLASSES
    if file.is_file():
        return _read_classes(file)
    named = (json.loads(sample["json"]).get("class") for sample in read_samples(shards))
    return {name: [] for name in sorted({str(name) for name in named if name})}


def _described(found: DataSet, classes: Mapping[str, list[str]]) -> DataSet:
    """Return a data set with the descriptions of a class list, and its classes spelled as there."""
    spelled = matching_names(found.class_names, tuple(classes))
    names = tuple(spelled.get(name, name) for name in found.class_names)
    return replace(found, class_names=names, classes=classes)


def _read_classes(file: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(rows, list) for rows in found.values()):
        raise UserError(f'{file} is no {{"class": ["description", …]}}: correct it, or take it away')
    return found


def _of_sample(sample: dict[str, Any], rows: Mapping[str, int]) -> EvaluationItem:
    facts = json.loads(sample["json"])
    name = facts.get("class")
    if name is not None and name not in rows:
        raise UserError(f"the class {name!r} of a picture is not in {CLASSES}: write the data again")
    proposals = facts.get("proposals")
    return EvaluationItem(
        key=sample["__key__"],
        open=lambda: _decoded(sample).image,
        label=NO_LABEL if name is None else rows[name],
        captions=tuple(filter(None, (facts["caption"], *facts.get("captions", ())))),
        sentences=_sentences(facts["regions"]),
        proposals=None if proposals is None else tuple(map(_box, proposals)),
    )


def _sentences(regions: Sequence[Mapping[str, Any]]) -> tuple[GroundedSentence, ...]:
    """Return each description once, with all boxes that have it: several people, and any of them is "person"."""
    boxes: dict[str, list[Box]] = {}
    for each in regions:
        boxes.setdefault(each["text"], []).append(_box(each["box"]))
    return tuple(GroundedSentence(text, tuple(found)) for text, found in boxes.items())


def _box(corners: Sequence[float]) -> Box:
    x0, y0, x1, y1 = corners
    return x0, y0, x1, y1


def _decoded(sample: dict[str, Any]) -> ShardRecord[Image.Image]:
    from grain.data.loader import decode, picture

    try:
        return decode(sample, picture)
    except ValueError as error:
        raise UserError(str(error)) from error


def _of_web_sample(sample: dict[str, Any], class_names: Sequence[str]) -> EvaluationItem:
    key = sample["__key__"]
    label, captions = NO_LABEL, ()
    if "cls" in sample:
        text = sample["cls"].decode("ascii", "replace").strip()
        label = int(text) if text.isdigit() else NO_LABEL
        if not 0 <= label < len(class_names):
            raise UserError(f"sample {key} has the class {text[:40]!r}: expected a row of {CLASS_NAMES}, from 0")
    if "txt" in sample:
        lines = sample["txt"].decode("utf-8", "replace").splitlines()
        captions = tuple(line.strip() for line in lines if line.strip())
    content = next((sample[end[1:]] for end in IMAGE_ENDINGS if end[1:] in sample), None)
    if content is None:
        raise UserError(f"sample {key} of {sample['__url__']} has no picture: write the shard again")
    return EvaluationItem(key, partial(open_picture, content, f"sample {key}"), label, captions)


def _template(line: str) -> str:
    """Convert one of CLIP_benchmark's templates to ours; other braces are kept."""
    plain = line.replace("{", "{{").replace("}", "}}")
    return plain.replace(f"{{{MARK}}}", "{name}")


def _shards(path: Path, split: str) -> list[Path]:
    def number(file: Path) -> tuple[int, str]:
        return (int(file.stem) if file.stem.isdigit() else 0, file.name)

    return sorted((path / split).glob("*.tar"), key=number)


def _pictures_in(shard: Path) -> int:
    try:
        with tarfile.open(shard) as tar:
            return sum(PurePosixPath(entry.name).suffix.lower() in IMAGE_ENDINGS for entry in tar)
    except (tarfile.TarError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise UserError(f"{shard} cannot be read ({reason}): copy the shard again") from error


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
