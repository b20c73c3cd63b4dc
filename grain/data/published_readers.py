"""Read published data sets in the layouts that they are distributed in: torchvision, CUB, ImageNet, captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from grain.config import ClassTexts
from grain.data.data_sets import DataSet, EvaluationItem, described_too, fingerprint_of, of_files, spaced
from grain.data.layouts import image_folder
from grain.data.published_entry import Opener
from grain.data.retrieval_sets import captioned_set
from user_errors import UserError


def torchvision_set(class_name: str, *templates: str, **options: Any) -> Opener:
    """Return the opener of a classification set of torchvision. options: of its class, besides the root."""

    def read(made: Any, labels: Sequence[int], start: int) -> Iterator[EvaluationItem]:
        for row in range(start, len(labels)):
            yield EvaluationItem(f"{row:06d}", partial(_picture, made, row), labels[row])

    def opener(root: Path) -> DataSet:
        from torchvision import datasets

        made = getattr(datasets, class_name)(
            root / class_name.lower() if class_name == "Places365" else root, **options
        )
        names = getattr(made, "classes", None) or made.categories
        files = _files_of(made)
        labels = [int(label) for label in _labels_of(made)]
        class_names = tuple(spaced(name.replace("/", " ")) for name in names)
        print_of = fingerprint_of(files, class_name, tuple(labels))
        return DataSet(
            name=class_name,
            split="",
            source="torchvision",
            class_names=class_names,
            total=len(labels),
            fingerprint=print_of,
            read=partial(read, made, labels),
            templates=described_too(templates),
        )

    return opener


def _picture(made: Any, row: int) -> Image.Image:
    try:
        image: Image.Image = made[row][0].convert("RGB")
    except OSError as error:
        raise UserError(f"picture {row} cannot be read ({error}): copy the data set again") from error
    return image


def _labels_of(made: Any) -> Sequence[int]:
    """Return the labels, which torchvision keeps under several names."""
    for name in ("targets", "_labels", "y"):
        if hasattr(made, name):
            found: Sequence[int] = getattr(made, name)
            return found
    return [label for _, label in (getattr(made, "_samples", None) or made.imgs)]


def _files_of(made: Any) -> list[Path]:
    """Return the files that hold its pictures, or CIFAR's batches."""
    if hasattr(made, "train_list"):
        return [Path(made.root) / made.base_folder / name for name, _ in made.test_list]
    for name in ("_image_files", "_images"):
        if hasattr(made, name):
            return [Path(file) for file in getattr(made, name)]
    if pairs := getattr(made, "_samples", None) or getattr(made, "imgs", None):
        return [Path(file) for file, _ in pairs]
    return sorted(Path(made.root, "101_ObjectCategories").glob("*/*"))


def cub_200(root: Path) -> DataSet:
    """Open CUB-200-2011 as its authors pack it."""
    place = root / "CUB_200_2011"
    names = key_value_lines(place / "classes.txt")
    images, labels, train = (
        key_value_lines(place / file) for file in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    test = [key for key in images if train[key] == "0"]
    return of_files(
        [place / "images" / images[key] for key in test],
        [int(labels[key]) - 1 for key in test],
        class_names=tuple(spaced(name.partition(".")[2]) for name in names.values()),
        name="cub-200",
        split="test",
        source="CUB_200_2011's own lists",
        templates=described_too(["a photo of a {name}, a type of bird."]),
    )


def key_value_lines(path: Path) -> dict[str, str]:
    """Read a file of lines `key value`."""
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def imagenet_validation(root: Path) -> DataSet:
    """Open the validation pictures in a folder a class; the folders are in the order of the published names."""
    place, names = root / "imagenet" / "val", imagenet_names()
    folders = sorted(path.name for path in place.iterdir() if path.is_dir())
    if len(folders) != len(names):
        raise UserError(f"expected {len(names):,} folders of classes, got {len(folders):,}")
    named = dict(zip(folders, names, strict=True))
    return image_folder(place, class_names=named, name="imagenet", split="val", templates=imagenet_texts())


def imagenet_names() -> list[str]:
    """Return the 1,000 names that CLIP's authors ask by, unique."""
    from open_clip import IMAGENET_CLASSNAMES

    return _unrepeated(IMAGENET_CLASSNAMES)


def imagenet_texts() -> ClassTexts:
    """Return the short list of ImageNet's templates by CLIP's authors."""
    from open_clip import SIMPLE_IMAGENET_TEMPLATES

    templates = [template("{name}") for template in SIMPLE_IMAGENET_TEMPLATES]
    return ClassTexts(names=tuple(templates), descriptions=described_too(templates[:1]).descriptions)


def _unrepeated(names: Sequence[str]) -> list[str]:
    """Make names unique by numbering them: two of ImageNet's are repeated."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def captions_of(place: str, *, pictures: str, file: str, split: str) -> Opener:
    """Open pictures with several captions. pictures: their folder, below place."""

    def opener(root: Path) -> DataSet:
        return captioned_set(root / place / file, split=split, pictures=root / place / pictures)

    return opener
