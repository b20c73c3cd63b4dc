"""Open further classification sets as they are published: ImageNetV2, EuroSAT, CUB's unseen classes, ObjectNet.

Source: Recht et al. 2019; Helber et al. 2019; Xian et al. 2018 (xlsa17, its proposed split) for CUB; Barbu et al. 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps

from grain.data.annotations_json import laid_out_as, read_json
from grain.data.data_sets import DataSet, EvaluationItem, described_too, of_files, spaced
from grain.data.layouts import IMAGE_ENDINGS, image_folder
from grain.data.published_readers import imagenet_names, imagenet_texts, key_value_lines
from user_errors import UserError

IMAGENET_V2 = "imagenetv2-matched-frequency-format-val"
OBJECTNET_BORDER = 2  # pixels of red around each picture, which its authors ask to cut off
EUROSAT = {  # folder -> the names that CLIP's authors ask by
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road",
    "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments",
    "River": "river",
    "SeaLake": "lake or sea",
}


def imagenet_v2(root: Path) -> DataSet:
    """Open ImageNetV2, matched frequency: a folder a class, called by the class's number."""
    named = {str(row): name for row, name in enumerate(imagenet_names())}
    return image_folder(
        root / IMAGENET_V2, class_names=named, name="imagenet-v2", split="matched-frequency", templates=imagenet_texts()
    )


def eurosat(root: Path) -> DataSet:
    """Open EuroSAT in RGB: all of its pictures, as torchvision and CLIP_benchmark lay them out."""
    templates = described_too(["a centered satellite photo of {name}."])
    return image_folder(
        root / "eurosat" / "2750", class_names=EUROSAT, name="eurosat", split="all", templates=templates
    )


def cub_unseen(root: Path) -> DataSet:
    """Open all pictures of the 50 classes that the proposed split of zero-shot learning keeps unseen."""
    place = root / "CUB_200_2011"
    lines = (place / "testclasses.txt").read_text(encoding="utf-8").split()
    folders = {folder: row for row, folder in enumerate(lines)}
    known = set(key_value_lines(place / "classes.txt").values())
    if strange := [folder for folder in folders if folder not in known]:
        raise UserError(
            f"testclasses.txt names {strange[0][:40]!r}, which is none of CUB's classes: get it from xlsa17"
        )
    files = [file for file in key_value_lines(place / "images.txt").values() if file.partition("/")[0] in folders]
    return of_files(
        [place / "images" / file for file in files],
        [folders[file.partition("/")[0]] for file in files],
        class_names=tuple(spaced(folder.partition(".")[2]) for folder in folders),
        name="cub-unseen",
        split="test_unseen",
        source="CUB_200_2011's pictures of xlsa17's unseen classes",
        templates=described_too(["a photo of a {name}, a type of bird."]),
    )


def objectnet(root: Path) -> DataSet:
    """Open the classes that ObjectNet shares with ImageNet, each known by the names of all of its ImageNet classes."""
    place = root / "objectnet-1.0"
    expected = "ObjectNet's mappings (folder_to_objectnet_label.json, objectnet_to_imagenet_1k.json)"
    label_of = read_json(place / "mappings" / "folder_to_objectnet_label.json", expected)
    shared = read_json(place / "mappings" / "objectnet_to_imagenet_1k.json", expected)
    with laid_out_as("mappings", expected):
        folders = {folder: label for folder, label in sorted(label_of.items()) if label in shared}
        members = {label: _first_names(shared[label]) for label in folders.values()}
    files = [file for folder in folders for file in sorted((place / "images" / folder).glob("*"))]
    files = [file for file in files if file.suffix.lower() in IMAGE_ENDINGS]
    found = _of_folders(files, list(folders), members)
    return replace(found, read=lambda start: map(_without_border, found.read(start)))


def _of_folders(files: Sequence[Path], folders: Sequence[str], members: Mapping[str, tuple[str, ...]]) -> DataSet:
    if not files:
        raise UserError("images has no pictures of the classes that ImageNet has too: unpack them there")
    rows = {folder: row for row, folder in enumerate(folders)}
    found = of_files(
        files,
        [rows[file.parent.name] for file in files],
        class_names=tuple(members),
        name="objectnet",
        split="shared with ImageNet",
        source="ObjectNet, a class by the names of its ImageNet classes",
        templates=imagenet_texts(),
    )
    return replace(found, members=members)


def _first_names(listed: str) -> tuple[str, ...]:
    """Return the first name of each ImageNet class of a list, as in `barber chair; rocking chair, rocker`."""
    return tuple(each.split(", ")[0].strip() for each in listed.split("; "))


def _without_border(item: EvaluationItem) -> EvaluationItem:
    return replace(item, open=partial(_open_cropped, item))


def _open_cropped(item: EvaluationItem) -> Image.Image:
    return ImageOps.crop(item.open(), OBJECTNET_BORDER)
