"""List the published data sets of an evaluation and open them where they are on this machine; none is downloaded.

Each is looked for below one folder, in the layout of torchvision where that knows it; a missing one is a sentence that
says what to get and where to put it. CIFAR's own files are pickles: torchvision compares their MD5 with the published
ones before it reads them, and reads nothing else. The table itself needs neither torch nor torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from grain.data.authors_annotations import authors_file, authors_set
from grain.data.classification_sets import cub_unseen, eurosat, imagenet_v2, objectnet
from grain.data.data_sets import DataSet
from grain.data.detection_sets import boxed_file, boxed_set, is_boxed_file
from grain.data.layouts import open_path
from grain.data.published_entry import PublishedDataSet
from grain.data.published_grounding import GROUNDING_SETS
from grain.data.published_readers import captions_of, cub_200, imagenet_validation, torchvision_set
from grain.data.retrieval_sets import captioned_set, regions_in
from user_errors import UserError


def open_data_set(spec: str, root: Path) -> DataSet:
    """Open a data set by its name in PUBLISHED, looked for below root, or by its path, `#split` added or not.

    Raises: UserError: it is not there, or not whole; one sentence says what to do.
    """
    if spec in PUBLISHED:
        return open_published(spec, root)
    place, _, split = spec.partition("#")
    if "/" not in place and not Path(place).is_dir():
        return open_published(place, root)  # an unknown name is a mistyped name, not a missing path
    path = Path(place)
    if described := authors_file(path):
        return authors_set(described)
    if path.is_file() and is_boxed_file(path):
        return boxed_set(path, split=split)
    if regions := regions_in(path, split):
        return captioned_set(regions, split=split)
    boxes = boxed_file(path, split)
    return boxed_set(boxes, split=split) if boxes else open_path(path, split)


def open_published(name: str, root: Path) -> DataSet:
    """Open a data set of PUBLISHED below a folder.

    Raises: UserError: no such name; or it is not there, with what to download and where to put it.
    """
    if name not in PUBLISHED:
        raise UserError(f"no data set is called {name[:40]!r}: choose one of {', '.join(PUBLISHED)}, or give a path")
    one = PUBLISHED[name]
    place = root / one.place
    advice = f"get {one.get} and put it into {place}"
    if not one.is_below(root):
        raise UserError(f"{one.title} is not on this machine: {advice}")
    try:
        found = replace(one.open(root), name=name, split=one.split)
    except (RuntimeError, ValueError, OSError, KeyError) as error:  # whatever a half of it makes its reader raise
        reason = " ".join(str(error).split(". ")[0].rstrip(".").split())[:200]
        raise UserError(f"{one.title} in {place} is not whole ({reason}): {advice}") from error
    return replace(found, note=one.note(found))


PHOTO = "a photo of a {name}."
ALL: tuple[PublishedDataSet, ...] = (
    PublishedDataSet(
        "cifar10",
        "CIFAR-10",
        "cifar-10-batches-py",
        "test",
        "the unpacked CIFAR-10 python version",
        torchvision_set("CIFAR10", PHOTO, "a blurry photo of a {name}.", train=False),
        10,
        10_000,
    ),
    PublishedDataSet(
        "cifar100",
        "CIFAR-100",
        "cifar-100-python",
        "test",
        "the unpacked CIFAR-100 python version",
        torchvision_set("CIFAR100", PHOTO, "a blurry photo of a {name}.", train=False),
        100,
        10_000,
    ),
    PublishedDataSet(
        "sun397",
        "SUN397",
        "SUN397",
        "all",
        "the unpacked SUN397.tar.gz (folders a … z and ClassName.txt)",
        torchvision_set("SUN397", PHOTO, "a photo of the {name}."),
        397,
        108_754,
    ),
    PublishedDataSet(
        "stanford-cars",
        "Stanford Cars",
        "stanford_cars",
        "test",
        "cars_test, devkit and cars_test_annos_withlabels.mat",
        torchvision_set("StanfordCars", PHOTO, "a photo of my {name}.", split="test"),
        196,
        8041,
    ),
    PublishedDataSet(
        "dtd",
        "DTD",
        "dtd",
        "test",
        "the unpacked dtd-r1.0.1.tar.gz (a folder dtd with images and labels)",
        torchvision_set("DTD", "a photo of a {name} texture.", "a photo of a {name} pattern.", split="test"),
        47,
        1880,
    ),
    PublishedDataSet(
        "oxford-pets",
        "Oxford-IIIT Pets",
        "oxford-iiit-pet",
        "test",
        "the unpacked images.tar.gz and annotations.tar.gz",
        torchvision_set("OxfordIIITPet", "a photo of a {name}, a type of pet.", split="test"),
        37,
        3669,
    ),
    PublishedDataSet(
        "caltech101",
        "Caltech-101",
        "caltech101",
        "all",
        "the unpacked folders 101_ObjectCategories and Annotations",
        torchvision_set("Caltech101", PHOTO),
        101,
        8677,
    ),
    PublishedDataSet(
        "flowers102",
        "Flowers-102",
        "flowers-102",
        "test",
        "the unpacked folder jpg, imagelabels.mat and setid.mat",
        torchvision_set("Flowers102", "a photo of a {name}, a type of flower.", split="test"),
        102,
        6149,
    ),
    PublishedDataSet(
        "cub-200",
        "CUB-200-2011",
        "CUB_200_2011",
        "test",
        "the unpacked CUB_200_2011.tgz (images, images.txt, classes.txt, …)",
        cub_200,
        200,
        5794,
    ),
    PublishedDataSet(
        "places365",
        "Places365",
        "places365",
        "val",
        "categories_places365.txt, places365_val.txt and the folder val_256",
        torchvision_set("Places365", PHOTO, split="val", small=True),
        365,
        36_500,
    ),
    PublishedDataSet(
        "food101",
        "Food-101",
        "food-101",
        "test",
        "the unpacked food-101.tar.gz (images and meta)",
        torchvision_set("Food101", "a photo of {name}, a type of food.", split="test"),
        101,
        25_250,
    ),
    PublishedDataSet(
        "imagenet",
        "ImageNet",
        "imagenet",
        "val",
        "ILSVRC2012's validation pictures in a folder a class (val/n01440764/…)",
        imagenet_validation,
        1000,
        50_000,
    ),
    PublishedDataSet(
        "imagenet-v2",
        "ImageNetV2, matched frequency",
        "imagenetv2-matched-frequency-format-val",
        "matched-frequency",
        "the unpacked imagenetv2-matched-frequency.tar.gz (folders 0 … 999)",
        imagenet_v2,
        1000,
        10_000,
    ),
    PublishedDataSet(
        "objectnet",
        "ObjectNet, classes shared with ImageNet",
        "objectnet-1.0",
        "shared with ImageNet",
        "the unpacked objectnet-1.0.zip (images and mappings)",
        objectnet,
        113,
        18_574,
    ),
    PublishedDataSet(
        "eurosat",
        "EuroSAT",
        "eurosat",
        "all",
        "the unpacked EuroSAT.zip (2750/AnnualCrop …)",
        eurosat,
        10,
        27_000,
    ),
    PublishedDataSet(
        "cub-unseen",
        "CUB-200-2011, unseen classes",
        "CUB_200_2011",
        "test_unseen",
        "the unpacked CUB_200_2011.tgz, and xlsa17's data/CUB/testclasses.txt beside its classes.txt",
        cub_unseen,
        50,
        2967,
        "testclasses.txt",
    ),
    PublishedDataSet(
        "coco-captions",
        "COCO captions, Karpathy's test split",
        "coco",
        "test",
        "val2014 and Karpathy's dataset_coco.json",
        captions_of("coco", pictures=".", file="dataset_coco.json", split="test"),
        0,
        5000,
        "dataset_coco.json",
    ),
    PublishedDataSet(
        "coco-val2017",
        "COCO captions, val2017",
        "coco",
        "val2017",
        "val2017 and annotations/captions_val2017.json",
        captions_of("coco", pictures="val2017", file="annotations/captions_val2017.json", split="val2017"),
        0,
        5000,
        "annotations/captions_val2017.json",
    ),
    PublishedDataSet(
        "flickr30k",
        "Flickr30k",
        "flickr30k",
        "test",
        "the folder flickr30k-images and Karpathy's dataset_flickr30k.json",
        captions_of("flickr30k", pictures="flickr30k-images", file="dataset_flickr30k.json", split="test"),
        0,
        1000,
    ),
    *GROUNDING_SETS,
)
PUBLISHED: Mapping[str, PublishedDataSet] = {one.name: one for one in ALL}
