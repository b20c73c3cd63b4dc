"""Data sets to evaluate on, behind one interface: pictures with a class, captions or described regions; never fetched.

Here are those that lie at a path: a data folder as curation writes it, an ImageFolder, or WebDataset shards in
CLIP_benchmark's layout. Shards need torch, and import it when they are opened: what there is can be listed without.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from grain.config import ClassTexts

if TYPE_CHECKING:
    from grain.data import Box, Record

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
CLASS_NAMES, TEMPLATES, CLASSES = "classnames.txt", "zeroshot_classification_templates.txt", "classes.json"
MARK = "{c}"  # where CLIP_benchmark's templates hold the name
NO_LABEL = -1


class DataSetError(ValueError):
    """A data set cannot be evaluated on; one sentence says what is missing and what to do."""


@dataclass(frozen=True)
class Item:
    """One picture and what is true of it. label: row of the class, NO_LABEL without one. open: decodes the picture.

    boxes_xyxy, texts: described regions, a text a box. proposals: see grain.data.Record.
    """

    key: str
    open: Callable[[], Image.Image]
    label: int = NO_LABEL
    captions: tuple[str, ...] = ()
    boxes_xyxy: tuple[Box, ...] = ()
    texts: tuple[str, ...] = ()
    proposals: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class DataSet:
    """Pictures in an order that never changes.

    name: what results call it. source: what lies there, in words. fingerprint: another one where a file is another.
    templates: the published ones; None leaves the choice to the model. classes: descriptions that came with it.
    read: the items from a position on, undecoded. note: what readers of its numbers should know.
    """

    name: str
    split: str
    source: str
    class_names: tuple[str, ...]
    total: int
    fingerprint: str
    read: Callable[[int], Iterator[Item]]
    templates: ClassTexts | None = None
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    note: str = ""


def fingerprint_of(files: Sequence[Path], *facts: object) -> str:
    """A digest of which files there are, their sizes and times; and of anything else that decides the items."""
    digest = hashlib.sha256(repr(facts).encode())
    for path in files:
        found = path.stat()
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def open_picture(source: Path | bytes, name: str) -> Image.Image:
    """A file, or what was in one, as an upright RGB picture. name: of the file, for the error.

    Raises: DataSetError: it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataSetError(f"{name} cannot be read as a picture ({error}): copy it again or take it away") from error


def open_path(path: Path, split: str = "") -> DataSet:
    """What lies at a path, by its layout.

    Args:   split: of a data folder or of shards in CLIP_benchmark's layout; "" takes novel, or test.
    Raises: DataSetError: nothing is there, or nothing that is known.
    """
    if not path.is_dir():
        raise DataSetError(
            f"there is no folder {path}: give a data folder, an ImageFolder (a folder a class), or WebDataset shards"
        )
    if (path / "manifest.json").is_file():
        return data_folder(path, split or "novel")
    if (path / CLASS_NAMES).is_file() or list(_shards(path, split or "test")):
        return web_data_set(path, split or "test")
    return image_folder(path / split if split else path)


def data_folder(path: Path, split: str) -> DataSet:
    """Shards with a manifest, as curation writes them; class names from classes.json, else from the pictures.

    Raises: DataSetError.
    """
    from grain.data import find_shards, read_samples

    try:
        shards = find_shards(path, split)
        classes = _known_classes(path, shards.paths)
    except ValueError as error:
        raise DataSetError(str(error)) from error
    if not shards.images:
        raise DataSetError(f"the split {split} of {path} has no pictures: write the data again with some")
    rows = {name: row for row, name in enumerate(classes)}

    def read(start: int) -> Iterator[Item]:
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
    """A folder of pictures for each class; or classes within it at any depth that hold pictures themselves.

    Args:   class_names: folder's name -> class; by default the folder's own name with spaces.
    Raises: DataSetError: no pictures.
    """
    files = sorted(file for file in path.glob("*/*") if file.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise DataSetError(f"{path} has no pictures in folders: expected an ImageFolder, as in CLASS/picture.jpg")
    folders = list(class_names or sorted({file.parent.name for file in files}))
    named = class_names or {folder: spaced(folder) for folder in folders}
    rows = {folder: row for row, folder in enumerate(folders)}
    strange = sorted({file.parent.name for file in files} - rows.keys())
    if strange:
        raise DataSetError(f"{path} has a folder {strange[0]!r} that is no class of {name or 'it'}: take it away")
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
    """Pictures in files of their own. labels: NO_LABEL where there are no classes. captions: of each picture.

    Raises: DataSetError: two classes of one name, or a file that is not there.
    """
    if len(set(class_names)) != len(class_names):
        twice = next(each for each in class_names if class_names.count(each) > 1)
        raise DataSetError(f"two classes of {name} are called {twice!r}: rename one, or results would mix them up")
    try:
        fingerprint = fingerprint_of(files, split, class_names, tuple(labels))
    except OSError as error:
        raise DataSetError(f"{name} lacks {error.filename}: copy the data set again, whole") from error

    def read(start: int) -> Iterator[Item]:
        for row in range(start, len(files)):
            said = captions[row] if captions else ()
            file = files[row]
            yield Item(file.stem, partial(open_picture, file, str(file)), labels[row], said)

    return DataSet(name, split, source, class_names, len(files), fingerprint, read, templates)


def web_data_set(path: Path, split: str) -> DataSet:
    """WebDataset shards in CLIP_benchmark's layout: SPLIT/0.tar …, classnames.txt, templates; .cls or .txt a picture.

    Raises: DataSetError.
    """
    from grain.data import read_samples

    shards = list(_shards(path, split))
    if not shards:
        raise DataSetError(f"{path} has no shards of the split {split!r}: expected {split}/0.tar, {split}/1.tar, …")
    class_names = tuple(_lines(path / CLASS_NAMES))
    templates = tuple(_template(line) for line in _lines(path / TEMPLATES))
    total = sum(map(_pictures_in, shards))
    if not total:
        raise DataSetError(f"the shards of {path}/{split} hold no pictures: copy them again")

    def read(start: int) -> Iterator[Item]:
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


def described_too(names: Sequence[str]) -> ClassTexts:
    """Templates of names, and the same with a description behind: `a photo of a {name}, which has {description}.`"""
    texts = (f"{name.rstrip('.')}, which has {{description}}." for name in names)
    return ClassTexts(names=tuple(names), descriptions=tuple(texts))


def spaced(folder: str) -> str:
    """A folder's name as words."""
    return " ".join(folder.replace("_", " ").split())


def _known_classes(path: Path, shards: Sequence[Path]) -> dict[str, list[str]]:
    """Class -> descriptions: of classes.json; else the classes that the pictures name, without descriptions."""
    from grain.data import read_samples

    file = path / CLASSES
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(isinstance(rows, list) for rows in found.values()):
            raise ValueError(f'{file} is no {{"class": ["description", …]}}: write the data again')
        return found
    named = (json.loads(sample["json"]).get("class") for sample in read_samples(shards))
    return {name: [] for name in sorted({str(name) for name in named if name})}


def _of_sample(sample: dict[str, Any], rows: Mapping[str, int]) -> Item:
    facts = json.loads(sample["json"])
    name = facts.get("class")
    if name is not None and name not in rows:
        raise DataSetError(f"the class {name!r} of a picture is not in {CLASSES}: write the data again")
    regions = [(region["box"], region["text"]) for region in facts["regions"]]
    proposals = facts.get("proposals")
    return Item(
        key=sample["__key__"],
        open=lambda: _decoded(sample).image,
        label=NO_LABEL if name is None else rows[name],
        captions=(facts["caption"],) if facts["caption"] else (),
        boxes_xyxy=tuple((x0, y0, x1, y1) for (x0, y0, x1, y1), _ in regions),
        texts=tuple(text for _, text in regions),
        proposals=None if proposals is None else tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in proposals),
    )


def _decoded(sample: dict[str, Any]) -> Record[Image.Image]:
    from grain.data import decode, picture

    try:
        return decode(sample, picture)
    except ValueError as error:
        raise DataSetError(str(error)) from error


def _of_web_sample(sample: dict[str, Any], class_names: Sequence[str]) -> Item:
    key = sample["__key__"]
    label, captions = NO_LABEL, ()
    if "cls" in sample:
        text = sample["cls"].decode("ascii", "replace").strip()
        label = int(text) if text.isdigit() else NO_LABEL
        if not 0 <= label < len(class_names):
            raise DataSetError(f"sample {key} has the class {text[:40]!r}: expected a row of {CLASS_NAMES}, from 0")
    if "txt" in sample:
        lines = sample["txt"].decode("utf-8", "replace").splitlines()
        captions = tuple(line.strip() for line in lines if line.strip())
    content = next((sample[end[1:]] for end in IMAGE_ENDINGS if end[1:] in sample), None)
    if content is None:
        raise DataSetError(f"sample {key} of {sample['__url__']} has no picture: write the shard again")
    return Item(key, partial(open_picture, content, f"sample {key}"), label, captions)


def _template(line: str) -> str:
    """One of CLIP_benchmark's, as one of ours; other braces stay what they are."""
    plain = line.replace("{", "{{").replace("}", "}}")
    return plain.replace(f"{{{MARK}}}", "{name}")


def _shards(path: Path, split: str) -> list[Path]:
    def number(file: Path) -> tuple[int, str]:
        return (int(file.stem) if file.stem.isdigit() else 0, file.name)

    return sorted((path / split).glob("*.tar"), key=number)


def _pictures_in(shard: Path) -> int:
    try:
        with tarfile.open(shard) as tar:
            return sum(os.path.splitext(entry.name)[1].lower() in IMAGE_ENDINGS for entry in tar)
    except (tarfile.TarError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise DataSetError(f"{shard} cannot be read ({reason}): copy the shard again") from error


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
