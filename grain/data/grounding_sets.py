"""Open data sets of sentences and their boxes as they are published: RefCOCO, RefCOCO+, RefCOCOg, Flickr30k Entities.

A sentence is right where the box chosen for it has an IoU of 0.5 or more with its own. Source: Yu et al. 2016 and
lichengunc/refer; Plummer et al. 2015 and BryanPlummer/flickr30k_entities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from grain.data.annotations_json import below, box_from_xywh, laid_out_as, read_json
from grain.data.data_sets import DataSet, EvaluationItem, GroundedSentence, of_items, open_picture
from grain.data.plain_pickle import read_plain_pickle
from user_errors import UserError

if TYPE_CHECKING:
    from grain.data.record import Box

REFER = "the layout of lichengunc/refer (refs(unc).p or refs(umd).p, and instances.json)"
ENTITIES = "Flickr30k Entities' Annotations/*.xml and Sentences/*.txt"
PHRASE = re.compile(r"\[/EN#(\d+)/\S+ ([^\[\]]+)\]")  # [/EN#ID/TYPE words]
NOT_VISUAL = "0"
MOST_BYTES = 1_000_000  # of a file of one picture


def refer_set(name: str, *, split: str, by: str) -> Callable[[Path], DataSet]:
    """Return the opener of RefCOCO, RefCOCO+ or RefCOCOg. by: who split it: unc or umd."""

    def opener(root: Path) -> DataSet:
        refs_file, boxes_file = root / name / f"refs({by}).p", root / name / "instances.json"
        refs, instances = read_plain_pickle(refs_file), read_json(boxes_file, REFER)
        with laid_out_as(name, REFER):
            items, files = _referred(refs, instances, pictures=_train2014(root), split=split)
        return of_items(
            items,
            [*files, refs_file, boxes_file],
            name=name,
            split=split,
            source=f"{name}, split by {by.upper()}",
            sentences=sum(len(item.sentences) for item in items),
        )

    return opener


def _train2014(root: Path) -> Path:
    """Return the folder of COCO's pictures: lichengunc/refer's, or COCO's own."""
    theirs = root / "images" / "mscoco" / "images" / "train2014"
    return theirs if theirs.is_dir() else root / "coco" / "train2014"


def _referred(refs: Any, instances: Any, *, pictures: Path, split: str) -> tuple[list[EvaluationItem], list[Path]]:
    images = {image["id"]: image for image in instances["images"]}
    boxes = {each["id"]: each["bbox"] for each in instances["annotations"]}
    found: dict[int, list[GroundedSentence]] = {}
    for ref in refs:
        if split in ref["split"].split(","):
            image = images[ref["image_id"]]
            box = box_from_xywh(boxes[ref["ann_id"]], image["width"], image["height"])
            sentences = (GroundedSentence(plain_sentence(each["sent"]), (box,)) for each in ref["sentences"])
            found.setdefault(ref["image_id"], []).extend(sentences)
    files = [below(pictures, images[key]["file_name"]) for key in found]
    items = [
        EvaluationItem(file.stem, partial(open_picture, file, str(file)), sentences=tuple(sentences))
        for file, sentences in zip(files, found.values(), strict=True)
    ]
    return items, files


def plain_sentence(text: str) -> str:
    """Return a sentence with single spaces.

    Raises: ValueError: it is no text, or empty.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a sentence must be a text, got {text!r}")
    return " ".join(text.split())


def entities_set(*, split: str, merged: bool = False) -> Callable[[Path], DataSet]:
    """Return the opener of Flickr30k Entities: every phrase of every caption that has a box is a sentence.

    Args: merged: a phrase's boxes count as the one around them all; otherwise any of them is right.
    """

    def opener(root: Path) -> DataSet:
        place, pictures = root / "flickr30k_entities", root / "flickr30k" / "flickr30k-images"
        list_file = place / f"{split}.txt"
        stems = [line.strip() for line in list_file.read_text(encoding="utf-8").splitlines() if line.strip()]
        items, files = [], [list_file]
        for stem in stems:
            if not re.fullmatch(r"\d+", stem):
                raise UserError(f"{list_file.name} must list pictures by number, got {stem[:40]!r}: get it again")
            truth = [place / "Annotations" / f"{stem}.xml", place / "Sentences" / f"{stem}.txt"]
            with laid_out_as(f"picture {stem}", ENTITIES):
                sentences = _phrases(truth[1], _entity_boxes(truth[0], merged=merged))
            file = pictures / f"{stem}.jpg"
            items.append(EvaluationItem(stem, partial(open_picture, file, str(file)), sentences=sentences))
            files += [file, *truth]
        return of_items(
            items,
            files,
            name="flickr30k-entities",
            split=split,
            source="Flickr30k Entities, " + ("boxes of a phrase merged" if merged else "any box of a phrase"),
            sentences=sum(len(item.sentences) for item in items),
        )

    return opener


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path.name} has more than {MOST_BYTES:,} bytes")
    return content.decode("utf-8")


def _entity_boxes(path: Path, *, merged: bool) -> Mapping[str, tuple[Box, ...]]:
    """Return the boxes of each entity. Definitions are refused before the parser sees them: they may grow."""
    text = _text_of(path)
    if any(mark in text for mark in ("\0", "<!DOCTYPE", "<!ENTITY")):
        raise ValueError(f"{path.name} has definitions or a NUL, which no published file has")
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path.name} is no XML ({error})") from error
    width, height = (float(tree.findtext(f"size/{side}", "")) for side in ("width", "height"))
    found: dict[str, list[Box]] = {}
    for item in tree.iter("object"):
        for box in item.iter("bndbox"):
            x0, y0, x1, y1 = (float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            corners = box_from_xywh([x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1], width, height)  # counted from 1
            for name in item.iter("name"):
                found.setdefault((name.text or "").strip(), []).append(corners)
    return {name: (_around(boxes),) if merged else tuple(boxes) for name, boxes in found.items()}


def _around(boxes: Sequence[Box]) -> Box:
    lows, highs = [box[:2] for box in boxes], [box[2:] for box in boxes]
    (x0, y0), (x1, y1) = map(min, zip(*lows, strict=True)), map(max, zip(*highs, strict=True))
    return x0, y0, x1, y1


def _phrases(path: Path, boxes: Mapping[str, tuple[Box, ...]]) -> tuple[GroundedSentence, ...]:
    return tuple(
        GroundedSentence(" ".join(words.split()), boxes[entity])
        for entity, words in PHRASE.findall(_text_of(path))
        if entity != NOT_VISUAL and entity in boxes
    )
