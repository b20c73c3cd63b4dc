"""Open data sets of captions that differ in little: Winoground's pairs, and SugarCrepe's wrong captions.

Source: Thrush et al. 2022 and facebook/winoground; Hsieh et al. 2023 and RAIVNLab/sugar-crepe.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from grain.data.annotations_json import below, laid_out_as, read_json
from grain.data.data_sets import CaptionContrast, DataSet, EvaluationItem, of_items, open_picture
from user_errors import UserError

WINOGROUND = "Winoground's examples.jsonl (id, image_0, image_1, caption_0, caption_1)"
SUGAR_CREPE = "SugarCrepe's JSON (filename, caption, negative_caption)"
MOST_BYTES = 64 * 2**20
PICTURE_ENDING = ".png"


def winoground(root: Path) -> DataSet:
    """Open Winoground: two pictures an example, one after the other, each with its own caption and the other's."""
    place = root / "winoground"
    file = place / "examples.jsonl"
    if file.stat().st_size > MOST_BYTES:
        raise UserError(f"{file.name} has more than {MOST_BYTES // 2**20} MB: expected {WINOGROUND}")
    items, files = [], [file]
    with laid_out_as(file.name, WINOGROUND):
        for line in filter(None, map(str.strip, file.read_text(encoding="utf-8").splitlines())):
            example = json.loads(line)
            captions = [_caption(example[f"caption_{row}"]) for row in (0, 1)]
            for row in (0, 1):
                picture = below(place / "images", example[f"image_{row}"] + PICTURE_ENDING)
                contrast = CaptionContrast(str(example["id"]), captions[row], captions[1 - row])
                items.append(_item(picture, contrast))
                files.append(picture)
    source = f"Winoground, {len(items) // 2:,} examples of two pictures"
    return of_items(items, files, name="winoground", split="test", source=source, sentences=len(items), together=2)


def sugar_crepe(kind: str) -> Callable[[Path], DataSet]:
    """Return the opener of one of SugarCrepe's parts: pictures of COCO, their captions, and wrong ones."""

    def opener(root: Path) -> DataSet:
        file, items = root / "sugar-crepe" / f"{kind}.json", []
        files = [file]
        data = read_json(file, SUGAR_CREPE)
        with laid_out_as(file.name, SUGAR_CREPE):
            for key, example in data.items():
                picture = below(root / "coco" / "val2017", example["filename"])
                contrast = CaptionContrast(key, _caption(example["caption"]), _caption(example["negative_caption"]))
                items.append(_item(picture, contrast))
                files.append(picture)
        name = f"sugarcrepe-{kind}"
        return of_items(items, files, name=name, split="val2017", source=f"SugarCrepe, {kind}", sentences=len(items))

    return opener


def _item(picture: Path, contrast: CaptionContrast) -> EvaluationItem:
    return EvaluationItem(
        f"{contrast.example}-{picture.stem}", partial(open_picture, picture, str(picture)), contrast=contrast
    )


def _caption(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a caption must be a text, got {text!r}")
    return " ".join(text.split())
