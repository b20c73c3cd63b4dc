"""Read Flickr30k Entities: boxes in Annotations/ID.xml, and captions in Sentences/ID.txt whose phrases describe them.

A box is a region. Every distinct phrase that names one of its entities describes it, upper and lower case alike and in
its first spelling. Entities of a whole scene and entities without a box give no region. The first caption is the
picture's, further ones are its facts "caption 2" and so on. The entities' types are counted as left out.

Corners are pixels, counted from 1 and inclusive, as the authors' own reader takes them. They are normalized by the size
that the XML names, so a scaled copy of the picture keeps its regions.

Source: Plummer et al. 2015; BryanPlummer/flickr30k_entities, README.md and flickr30k_entities_utils.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from curation.exchange.formats import each_file, from_pixels_xyxy, located, read_bounded
from curation.exchange.longer_phrases import CaptionPhrase, longer_phrases
from curation.exchange.xml_files import parse_xml, whole_in
from curation.files.records import (
    Box,
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    picture_from,
    shown,
    with_captions,
)
from curation.files.text_files import decode_text
from db.queries.values import storable
from user_errors import UserError

SOURCE = "flickr30k-entities"
ANNOTATIONS, SENTENCES = "Annotations", "Sentences"
MOST_BYTES = 1_000_000  # of one file; the published ones have a few thousand
MARK = "[/EN#"
PHRASE = re.compile(r"\[/EN#([^\s/\[\]]+)(?:/[^\s/\[\]]*)*\s([^\[\]]*)\]")  # [/EN#ID/TYPE/TYPE the words]
NOT_VISUAL = "0"  # the id of every phrase that names nothing to be seen


@dataclass(frozen=True)
class _Captions:
    """texts: without their markup. phrases: an entity's id -> its distinct phrases, in the captions' order."""

    texts: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]


def read(
    folder: Path, left_out: Counter[str] | None = None, refused: list[str] | None = None, *, longer: bool = False
) -> Iterator[PictureRecord]:
    """Read the pictures of a folder that has, or whose one such subfolder has, Annotations and Sentences.

    Args:   left_out: content that cannot be imported is counted here, by kind. refused: takes one sentence for each
            picture whose files cannot be read; the others are read all the same. longer: also take what a caption
            says of its subject beyond the phrase itself (longer_phrases.py).
    Raises: UserError: no such folder.
    """
    root = _root(folder)
    yield from each_file(
        _stems(root),
        lambda stem, counts: _record(root, stem, counts, longer=longer),
        left_out=left_out,
        refused=refused,
    )


def _root(folder: Path) -> Path:
    """Return the folder that has both folders: this one, or the only one in it that does."""
    if _is_root(folder):
        return folder
    found = [path for path in sorted(folder.iterdir()) if _is_root(path)] if folder.is_dir() else []
    if len(found) != 1:
        got = f"{len(found)} such folders" if found else "none"
        raise UserError(f"expected a folder with {ANNOTATIONS} and {SENTENCES}, got {got} in {folder}: name theirs")
    return found[0]


def _is_root(path: Path) -> bool:
    return (path / ANNOTATIONS).is_dir() and (path / SENTENCES).is_dir()


def _stems(root: Path) -> list[str]:
    """Return the ids of the pictures that have either file; hidden files are other programs'."""
    files = [*(root / ANNOTATIONS).glob("[!.]*.xml"), *(root / SENTENCES).glob("[!.]*.txt")]
    if not files:
        raise UserError(f"expected {ANNOTATIONS}/*.xml and {SENTENCES}/*.txt in {root}, got none: unpack them there")
    return sorted({file.stem for file in files})


def _record(root: Path, stem: str, left_out: Counter[str], *, longer: bool) -> PictureRecord:
    """Return one picture; its name is that of Flickr30k, and stands for any with this stem."""
    annotation, sentences = f"{ANNOTATIONS}/{stem}.xml", f"{SENTENCES}/{stem}.txt"
    with located(storable(annotation)):
        tree = parse_xml(_read_text(root / annotation))
    with located(storable(sentences)):
        captions = _parse_captions(_read_text(root / sentences), longer=longer)
    with located(storable(annotation)):
        size = tree.find("size")
        sides = {side: whole_in(size, side) for side in ("width", "height")}
        caption, facts = with_captions("", {}, captions.texts)
        picture = {"file_name": f"{stem}.jpg", "caption": caption, "facts": facts, **sides}
        boxes = _boxes(tree, picture_from(picture, regions=()))
        return picture_from(picture, regions=_regions(boxes, captions.phrases, left_out))


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise UserError("expected a file, got none: add it, or remove the picture's other file")
    return decode_text(read_bounded(path, MOST_BYTES))


# ------------------------------------------------------------------------------------ captions


def _parse_captions(text: str, *, longer: bool) -> _Captions:
    """Read one caption a line; empty lines are skipped."""
    texts: list[str] = []
    phrases: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        for entity, words in PHRASE.findall(line):
            phrases.setdefault(entity, []).append(_single_spaced(words))
        caption = _single_spaced(PHRASE.sub(r"\2", line))
        if MARK in caption:
            got = shown(caption[caption.index(MARK) :])
            raise UserError(f"line {number}: expected phrases as {MARK}ID/TYPE the words], got {got}: correct it")
        texts += [caption] if caption else []
        if longer:
            for entity, words in longer_phrases(caption, _spans(line)):
                phrases[entity].append(words)
    if not texts:
        raise UserError("expected a caption a line, got none: get the file again")
    return _Captions(tuple(texts), {entity: _distinct(found) for entity, found in phrases.items()})


def _spans(line: str) -> list[CaptionPhrase]:
    """Return where the phrases of a line stand in its caption, which has neither markup nor double spaces."""
    found, before, start = [], "", 0
    for match in PHRASE.finditer(line):
        before = f"{before} {line[start : match.start()]}"
        first = len(_single_spaced(f"{before} x")) - 1
        before, start = f"{before} {match[2]}", match.end()
        found.append(CaptionPhrase(match[1], first, len(_single_spaced(before))))
    return found


def _single_spaced(text: str) -> str:
    return " ".join(text.split())


def _distinct(phrases: Sequence[str]) -> tuple[str, ...]:
    """Return each phrase once, upper and lower case alike, in its first spelling."""
    found: dict[str, str] = {}
    for phrase in phrases:
        if phrase:
            found.setdefault(phrase.casefold(), phrase)
    return tuple(found.values())


# ------------------------------------------------------------------------------------ boxes


def _boxes(tree: ElementTree.Element, picture: PictureRecord) -> dict[Box, list[str]]:
    """Return each box with the ids of its entities, but for those that are a whole scene."""
    scenes: set[str] = set()
    found: dict[Box, list[str]] = {}
    for number, item in enumerate(tree.findall("object"), start=1):
        with located(f"object {number}"):
            names = [_single_spaced(each.text or "") for each in item.findall("name")]
            if not all(names) or not names:
                raise UserError("expected the entity's id as <name>, got none: correct it")
            if item.find("scene") is not None and whole_in(item, "scene"):
                scenes.update(names)
            for box in item.findall("bndbox"):
                x1, y1, x2, y2 = (whole_in(box, corner) for corner in ("xmin", "ymin", "xmax", "ymax"))
                xyxy = from_pixels_xyxy([x1 - 1, y1 - 1, x2, y2], picture.width, picture.height)
                found.setdefault(xyxy, []).extend(names)
    return {box: [name for name in names if name not in scenes] for box, names in found.items()}


def _regions(
    boxes: Mapping[Box, Sequence[str]], phrases: Mapping[str, Sequence[str]], left_out: Counter[str]
) -> tuple[RegionRecord, ...]:
    """Return the boxes that a phrase names; what gives no region is counted."""
    visual = {entity: found for entity, found in phrases.items() if entity != NOT_VISUAL}
    regions = []
    for box, entities in boxes.items():
        texts = _distinct([text for entity in entities for text in visual.get(entity, ())])
        if texts:
            regions.append(RegionRecord(box, tuple(DescriptionRecord(text, source=SOURCE) for text in texts)))
        else:
            left_out["box without a phrase"] += 1
    boxed = {entity for entities in boxes.values() for entity in entities}
    left_out["phrase without a box"] += sum(len(found) for entity, found in phrases.items() if entity not in boxed)
    left_out["entity type"] += len(boxed & visual.keys())
    return tuple(regions)
