"""The paper's eleven data sets, ImageNet, and two of captions, where they lie on this machine. Nothing is fetched.

Each is looked for below one folder, in the layout of torchvision where that knows it; a missing one is a sentence that
says what to get and where to put it. CIFAR's own files are pickles: torchvision compares their MD5 with the published
ones before it reads them, and reads nothing else. The table itself needs neither torch nor torchvision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from grain.config import ClassTexts
from grain.data_sets import (
    DataSet,
    DataSetError,
    Item,
    described_too,
    fingerprint_of,
    image_folder,
    of_files,
    open_path,
    spaced,
)
from grain.retrieval_sets import annotations_in, captioned_set

Opener = Callable[[Path], DataSet]


@dataclass(frozen=True)
class Published:
    """A published data set. place: its folder below the root. get: what to download into it, in words.

    classes, pictures: of the whole split, 0 classes where it has captions.
    mark: a file of it below its folder, where another data set has the same folder.
    """

    name: str
    title: str
    place: str
    split: str
    get: str
    open: Opener
    classes: int
    pictures: int
    mark: str = ""

    def is_below(self, root: Path) -> bool:
        """Whether it lies there, whole or not."""
        return (root / self.place / self.mark).exists()


def open_data_set(spec: str, root: Path) -> DataSet:
    """By a name of PUBLISHED, looked for below root; or by a path, with `#split` behind it or without.

    Raises: DataSetError: it is not there, or not whole; one sentence says what to do.
    """
    if spec in PUBLISHED:
        return open_published(spec, root)
    place, _, split = spec.partition("#")
    if "/" not in place and not Path(place).is_dir():
        return open_published(place, root)  # a name that is not there is no path that is not there
    annotations = annotations_in(Path(place), split)
    return captioned_set(annotations, split=split) if annotations else open_path(Path(place), split)


def open_published(name: str, root: Path) -> DataSet:
    """A data set of PUBLISHED below a folder.

    Raises: DataSetError: no such name; or it is not there, with what to download and where to put it.
    """
    if name not in PUBLISHED:
        raise DataSetError(f"no data set is called {name[:40]!r}: choose one of {', '.join(PUBLISHED)}, or give a path")
    one = PUBLISHED[name]
    place = root / one.place
    advice = f"get {one.get} and put it into {place}"
    if not one.is_below(root):
        raise DataSetError(f"{one.title} is not on this machine: {advice}")
    try:
        found = replace(one.open(root), name=name, split=one.split)
    except (RuntimeError, ValueError, OSError, KeyError) as error:  # whatever a half of it makes its reader raise
        reason = " ".join(str(error).split(". ")[0].rstrip(".").split())[:200]
        raise DataSetError(f"{one.title} in {place} is not whole ({reason}): {advice}") from error
    return replace(found, note=_note(one, found))


def _note(one: Published, found: DataSet) -> str:
    """Whether what lies here is what others report on; "" where it is."""
    here, there = (len(found.class_names), found.total), (one.classes, one.pictures)
    if here == there:
        return ""
    said = [f"{classes:,} classes and {pictures:,} pictures" for classes, pictures in (here, there)]
    return f"It has {said[0]} here, {said[1]} as published: its numbers are not those of others."


def _vision(class_name: str, *templates: str, **options: Any) -> Opener:
    """A classification set of torchvision by its class there. options: of the class, besides the root."""

    def read(made: Any, labels: Sequence[int], start: int) -> Iterator[Item]:
        for row in range(start, len(labels)):
            yield Item(f"{row:06d}", partial(_picture, made, row), labels[row])

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
        raise DataSetError(f"picture {row} cannot be read ({error}): copy the data set again") from error
    return image


def _labels_of(made: Any) -> Sequence[int]:
    """torchvision keeps them under several names."""
    for name in ("targets", "_labels", "y"):
        if hasattr(made, name):
            found: Sequence[int] = getattr(made, name)
            return found
    return [label for _, label in (getattr(made, "_samples", None) or made.imgs)]


def _files_of(made: Any) -> list[Path]:
    """The files that its pictures, or CIFAR's batches, lie in."""
    if hasattr(made, "train_list"):
        return [Path(made.root) / made.base_folder / name for name, _ in made.test_list]
    for name in ("_image_files", "_images"):
        if hasattr(made, name):
            return [Path(file) for file in getattr(made, name)]
    if pairs := getattr(made, "_samples", None) or getattr(made, "imgs", None):
        return [Path(file) for file, _ in pairs]
    return sorted(Path(made.root, "101_ObjectCategories").glob("*/*"))


def _cub(root: Path) -> DataSet:
    """CUB-200-2011 as its authors pack it."""
    place = root / "CUB_200_2011"
    names = _table(place / "classes.txt")
    images, labels, train = (
        _table(place / file) for file in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
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


def _table(path: Path) -> dict[str, str]:
    """Lines `key value`."""
    return dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _imagenet(root: Path) -> DataSet:
    """The validation pictures in a folder a class; the folders' order is that of the published names."""
    from open_clip import IMAGENET_CLASSNAMES, SIMPLE_IMAGENET_TEMPLATES

    place = root / "imagenet" / "val"
    folders = sorted(path.name for path in place.iterdir() if path.is_dir())
    if len(folders) != len(IMAGENET_CLASSNAMES):
        raise DataSetError(f"expected {len(IMAGENET_CLASSNAMES):,} folders of classes, got {len(folders):,}")
    names = _unrepeated(IMAGENET_CLASSNAMES)
    templates = [template("{name}") for template in SIMPLE_IMAGENET_TEMPLATES]
    texts = ClassTexts(names=tuple(templates), descriptions=described_too(templates[:1]).descriptions)
    named = dict(zip(folders, names, strict=True))
    return image_folder(place, class_names=named, name="imagenet", split="val", templates=texts)


def _unrepeated(names: Sequence[str]) -> list[str]:
    """Names, of which none is there twice: two of ImageNet's are."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _captions(place: str, pictures: str, file: str, split: str) -> Opener:
    """Pictures with several captions. pictures: their folder, below place."""

    def opener(root: Path) -> DataSet:
        return captioned_set(root / place / file, split=split, pictures=root / place / pictures)

    return opener


PHOTO = "a photo of a {name}."
ALL: tuple[Published, ...] = (
    Published(
        "cifar10",
        "CIFAR-10",
        "cifar-10-batches-py",
        "test",
        "the unpacked CIFAR-10 python version",
        _vision("CIFAR10", PHOTO, "a blurry photo of a {name}.", train=False),
        10,
        10_000,
    ),
    Published(
        "cifar100",
        "CIFAR-100",
        "cifar-100-python",
        "test",
        "the unpacked CIFAR-100 python version",
        _vision("CIFAR100", PHOTO, "a blurry photo of a {name}.", train=False),
        100,
        10_000,
    ),
    Published(
        "sun397",
        "SUN397",
        "SUN397",
        "all",
        "the unpacked SUN397.tar.gz (folders a … z and ClassName.txt)",
        _vision("SUN397", PHOTO, "a photo of the {name}."),
        397,
        108_754,
    ),
    Published(
        "stanford-cars",
        "Stanford Cars",
        "stanford_cars",
        "test",
        "cars_test, devkit and cars_test_annos_withlabels.mat",
        _vision("StanfordCars", PHOTO, "a photo of my {name}.", split="test"),
        196,
        8041,
    ),
    Published(
        "dtd",
        "DTD",
        "dtd",
        "test",
        "the unpacked dtd-r1.0.1.tar.gz (a folder dtd with images and labels)",
        _vision("DTD", "a photo of a {name} texture.", "a photo of a {name} pattern.", split="test"),
        47,
        1880,
    ),
    Published(
        "oxford-pets",
        "Oxford-IIIT Pets",
        "oxford-iiit-pet",
        "test",
        "the unpacked images.tar.gz and annotations.tar.gz",
        _vision("OxfordIIITPet", "a photo of a {name}, a type of pet.", split="test"),
        37,
        3669,
    ),
    Published(
        "caltech101",
        "Caltech-101",
        "caltech101",
        "all",
        "the unpacked folders 101_ObjectCategories and Annotations",
        _vision("Caltech101", PHOTO),
        101,
        8677,
    ),
    Published(
        "flowers102",
        "Flowers-102",
        "flowers-102",
        "test",
        "the unpacked folder jpg, imagelabels.mat and setid.mat",
        _vision("Flowers102", "a photo of a {name}, a type of flower.", split="test"),
        102,
        6149,
    ),
    Published(
        "cub-200",
        "CUB-200-2011",
        "CUB_200_2011",
        "test",
        "the unpacked CUB_200_2011.tgz (images, images.txt, classes.txt, …)",
        _cub,
        200,
        5794,
    ),
    Published(
        "places365",
        "Places365",
        "places365",
        "val",
        "categories_places365.txt, places365_val.txt and the folder val_256",
        _vision("Places365", PHOTO, split="val", small=True),
        365,
        36_500,
    ),
    Published(
        "food101",
        "Food-101",
        "food-101",
        "test",
        "the unpacked food-101.tar.gz (images and meta)",
        _vision("Food101", "a photo of {name}, a type of food.", split="test"),
        101,
        25_250,
    ),
    Published(
        "imagenet",
        "ImageNet",
        "imagenet",
        "val",
        "ILSVRC2012's validation pictures in a folder a class (val/n01440764/…)",
        _imagenet,
        1000,
        50_000,
    ),
    Published(
        "coco-captions",
        "COCO captions, Karpathy's test split",
        "coco",
        "test",
        "val2014 and Karpathy's dataset_coco.json",
        _captions("coco", ".", "dataset_coco.json", "test"),
        0,
        5000,
        "dataset_coco.json",
    ),
    Published(
        "coco-val2017",
        "COCO captions, val2017",
        "coco",
        "val2017",
        "val2017 and annotations/captions_val2017.json",
        _captions("coco", "val2017", "annotations/captions_val2017.json", "val2017"),
        0,
        5000,
        "annotations/captions_val2017.json",
    ),
    Published(
        "flickr30k",
        "Flickr30k",
        "flickr30k",
        "test",
        "the folder flickr30k-images and Karpathy's dataset_flickr30k.json",
        _captions("flickr30k", "flickr30k-images", "dataset_flickr30k.json", "test"),
        0,
        1000,
    ),
)
PUBLISHED: Mapping[str, Published] = {one.name: one for one in ALL}
