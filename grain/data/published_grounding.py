"""List the published data sets of sentences with boxes, of objects by description, and of captions told apart."""

from __future__ import annotations

from grain.data.contrast_sets import sugar_crepe, winoground
from grain.data.detection_sets import detection_set
from grain.data.grounding_sets import entities_set, refer_set
from grain.data.published_entry import PublishedDataSet

REFER_FILES = "its refs({by}).p and instances.json, and COCO's train2014 as coco/train2014 beside it"
REFER_SPLITS = (  # name, title, split, who split it, pictures and expressions as published
    ("refcoco", "RefCOCO", "val", "unc", 1500, 10_834),
    ("refcoco", "RefCOCO", "testA", "unc", 750, 5657),
    ("refcoco", "RefCOCO", "testB", "unc", 750, 5095),
    ("refcoco+", "RefCOCO+", "val", "unc", 1500, 10_758),
    ("refcoco+", "RefCOCO+", "testA", "unc", 750, 5726),
    ("refcoco+", "RefCOCO+", "testB", "unc", 750, 4889),
    ("refcocog", "RefCOCOg", "val", "umd", 1300, 4896),
    ("refcocog", "RefCOCOg", "test", "umd", 2600, 9602),
)
SUGAR_CREPE_PARTS = {
    "add_att": 692,
    "add_obj": 2062,
    "replace_att": 788,
    "replace_obj": 1652,
    "replace_rel": 1406,
    "swap_att": 666,
    "swap_obj": 245,
}
LVIS_FILES = "lvis_v1_{split}.json, and COCO's train2017 and val2017 as coco/train2017 and coco/val2017 beside it"


def _refer(name: str, title: str, split: str, *, by: str, pictures: int, sentences: int) -> PublishedDataSet:
    return PublishedDataSet(
        f"{name}-{split.lower()}",
        f"{title} {split}",
        name,
        split,
        REFER_FILES.format(by=by),
        refer_set(name, split=split, by=by),
        0,
        pictures,
        sentences=sentences,
    )


def _lvis(name: str, title: str, split: str, *, pictures: int) -> PublishedDataSet:
    file = f"lvis_v1_{split}.json"
    opener = detection_set(file=f"lvis/{file}", pictures="coco", name=name, split=split)
    return PublishedDataSet(name, title, "lvis", split, LVIS_FILES.format(split=split), opener, 0, pictures, file)


def _entities(name: str, title: str, *, merged: bool) -> PublishedDataSet:
    return PublishedDataSet(
        name,
        title,
        "flickr30k_entities",
        "test",
        "Annotations, Sentences and test.txt, and the pictures as flickr30k/flickr30k-images beside it",
        entities_set(split="test", merged=merged),
        0,
        1000,
        sentences=14_481,
    )


GROUNDING_SETS: tuple[PublishedDataSet, ...] = (
    *(_refer(*row[:3], by=row[3], pictures=row[4], sentences=row[5]) for row in REFER_SPLITS),
    _entities("flickr30k-entities", "Flickr30k Entities, any box of a phrase", merged=False),
    _entities("flickr30k-entities-merged", "Flickr30k Entities, boxes of a phrase merged", merged=True),
    PublishedDataSet(
        "coco-detection",
        "COCO detection by names, val2017",
        "coco",
        "val2017",
        "val2017 and annotations/instances_val2017.json",
        detection_set(
            file="coco/annotations/instances_val2017.json",
            pictures="coco/val2017",
            name="coco-detection",
            split="val2017",
        ),
        0,
        5000,
        "annotations/instances_val2017.json",
    ),
    _lvis("lvis-val", "LVIS v1, detection by names", "val", pictures=19_809),
    _lvis("lvis-minival", "LVIS v1 minival, detection by names", "minival", pictures=4809),
    PublishedDataSet(
        "winoground",
        "Winoground",
        "winoground",
        "test",
        "examples.jsonl and the unpacked images.zip (images/ex_0_img_0.png)",
        winoground,
        0,
        800,
        sentences=800,
    ),
    *(
        PublishedDataSet(
            f"sugarcrepe-{part.replace('_', '-')}",
            f"SugarCrepe, {part}",
            "sugar-crepe",
            "val2017",
            f"{part}.json, and COCO's val2017 as coco/val2017 beside it",
            sugar_crepe(part),
            0,
            count,
            f"{part}.json",
            count,
        )
        for part, count in SUGAR_CREPE_PARTS.items()
    ),
)
