"""Open boxed data sets for detection by descriptions: COCO's form, LVIS, and the subsets of ODinW.

A category is asked for by its name. LVIS looks for a category in some pictures only and does not box all of some; that
is kept. Source: Lin et al. 2014; Gupta et al. 2019 and lvis-dataset/lvis-api; Li et al. 2022 for ODinW.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grain.data.annotations_json import below, box_from_xywh, laid_out_as, read_json
from grain.data.data_sets import DataSet, EvaluationItem, PictureObjects, of_items, open_picture, spaced
from user_errors import UserError

if TYPE_CHECKING:
    from grain.data.record import Box

PATTERNS = (
    "annotations_without_background.json",
    "_annotations.coco.json",
    "instances_*.json",
    "annotations/instances_*.json",
    "lvis_v1_*.json",
)
BOX = b'"bbox"'
COCO = "COCO's form (images, annotations with bbox, categories)"
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}  # as LVIS calls them


def is_boxed_file(path: Path) -> bool:
    """Return whether a file is called as a file of boxes is, or holds boxes under another name, as our exports do."""
    named = any(path.match(pattern.rpartition("/")[2]) for pattern in PATTERNS)
    return named or (path.suffix == ".json" and BOX in path.read_bytes())  # a caption's quotes are written \"


def boxed_file(path: Path, split: str = "") -> Path | None:
    """Find the file of boxes in a folder, or in its folder of a split; None where there is none.

    Raises: UserError: there are several.
    """
    folder = path / split if split and (path / split).is_dir() else path
    found = [file for pattern in PATTERNS for file in sorted(folder.glob(pattern))]
    named = [file for file in found if split and split in file.stem] or found
    if len(named) > 1:
        files = ", ".join(str(file.relative_to(path)) for file in named)
        raise UserError(f"{path} has several files of boxes ({files}): give the path of one of them")
    return named[0] if named else None


def pictures_beside(file: Path) -> Path:
    """Return the folder of a file's pictures: its own; for COCO's annotations/instances_X.json the folder X above."""
    above = file.parent.parent / file.stem.removeprefix("instances_")
    return above if file.stem.startswith("instances_") and above.is_dir() else file.parent


def detection_set(*, file: str, pictures: str, name: str, split: str) -> Callable[[Path], DataSet]:
    """Return the opener of a published data set. file, pictures: below the root."""

    def opener(root: Path) -> DataSet:
        return boxed_set(root / file, pictures=root / pictures, name=name, split=split)

    return opener


def boxed_set(file: Path, *, pictures: Path | None = None, name: str = "", split: str = "") -> DataSet:
    """Open a data set of boxes with categories.

    Args:   pictures: their folder; by default where it is beside the file, see pictures_beside.
    Raises: UserError: it cannot be read, or a picture is missing.
    """
    data = read_json(file, COCO)
    title = name or f"{file.parent.parent.name}/{file.parent.name}"
    with laid_out_as(file.name, COCO):
        categories = sorted(data["categories"], key=lambda category: int(category["id"]))
        rows = {category["id"]: row for row, category in enumerate(categories)}
        items, files = _items(data, rows, pictures or pictures_beside(file))
        groups = _by_frequency(categories)
        names = [_description(category["name"]) for category in categories]
    return of_items(
        items,
        [*files, file],
        name=title,
        split=split or "all",
        source=f"{file.name}, {len(names):,} categories",
        categories=names,
        category_groups=groups,
    )


def _items(data: Any, rows: Mapping[int, int], pictures: Path) -> tuple[list[EvaluationItem], list[Path]]:
    of_picture: dict[int, list[Any]] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        of_picture[annotation["image_id"]].append(annotation)
    items, files = [], []
    for image in data["images"]:
        file = below(pictures, _file_name(image))
        objects = _objects(image, of_picture[image["id"]], rows)
        items.append(EvaluationItem(file.stem, partial(open_picture, file, str(file)), objects=objects))
        files.append(file)
    return items, files


def _file_name(image: Mapping[str, Any]) -> str:
    """Return the picture's file: LVIS names it by COCO's address, as in …/val2017/000000397133.jpg."""
    if "file_name" in image:
        return str(image["file_name"])
    return "/".join(str(image["coco_url"]).split("/")[-2:])


def _objects(
    image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], rows: Mapping[int, int]
) -> PictureObjects:
    boxes: list[Box] = [box_from_xywh(each["bbox"], image["width"], image["height"]) for each in annotations]
    shown = [rows[each["category_id"]] for each in annotations]
    absent = image.get("neg_category_ids")  # LVIS's: looked for and not there
    asked = range(len(rows)) if absent is None else sorted({*shown, *(rows[each] for each in absent)})
    return PictureObjects(
        boxes_xyxy=tuple(boxes),
        categories=tuple(shown),
        crowds=tuple(bool(each.get("iscrowd", 0)) for each in annotations),
        asked=tuple(asked),
        incomplete=tuple(rows[each] for each in image.get("not_exhaustive_category_ids", ())),
    )


def _by_frequency(categories: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for row, category in enumerate(categories):
        if category.get("frequency") in FREQUENCIES:
            found.setdefault(FREQUENCIES[category["frequency"]], []).append(row)
    return {name: tuple(found[name]) for name in FREQUENCIES.values() if name in found}


def _description(name: str) -> str:
    """Write a category's name as words: LVIS writes `bow_(weapon)`."""
    return spaced(name.replace("(", "").replace(")", ""))
