"""Write the model card of the `photo-names` checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grain.photo.graphs import RoundingEffect
from grain.photo.sources import SENTENCE_PACKAGE, SOURCES

TRAINED_ON = (
    "an offline stand-in made of networks that learned from ImageNet (EfficientNet-Lite2), COCO (NanoDet) and pairs of "
    "sentences (MiniLM-L6); not CLIP, not a trained GRAIN"
)


def rounding_note(rounding: Sequence[RoundingEffect]) -> str:
    """Describe what float16 changed, a line a graph; for no graph, that nothing was rounded."""
    if not rounding:
        return "Weights are stored as float32: nothing is rounded that the packages do not round."
    rows = [
        f"- {row.graph}: {row.typical:.2%} of the output's spread (root mean square), at most {row.largest:.1%}"
        for row in rounding
    ]
    stored = "Weight tables are stored as float16, as NanoDet's package has them, and used as float32."
    return "\n".join([f"{stored} On random input that changed:\n", *rows])


def card(parameters: int, stored: str, rounding: Sequence[RoundingEffect]) -> str:
    """Write the model card."""
    sources = "\n".join(
        f"| {row.package} | {row.holds} | {row.licence} | `{Path(row.file).name}` `{row.sha256}` |" for row in SOURCES
    )
    return f"""---
library_name: grain
license: apache-2.0
tags: [zero-shot, grounding, onnx]
---
# photo-names

An offline stand-in for photographs, put together from public networks; nothing in it was trained here.
It is neither CLIP nor a trained GRAIN. {parameters / 1e6:.1f} M parameters; those of the sentence encoder lie in their
own package (`pip install {SENTENCE_PACKAGE}`).

Made by: `make photo`

- `detector.onnx`, NanoDet: `pixels` [1, 3, 416, 416], letterboxed BGR, (0 … 255 - [103.53, 116.28, 123.675]) /
  [57.375, 57.12, 58.395] -> `scores_S` [1, cells, 80], `distances_S` [1, cells, 44] for the strides S 8, 16, 32,
  `neck_16` [1, 128, 26, 26] the feature map before the heads of stride 16
- `image.onnx`, EfficientNet-Lite2: `pixels` [N, 3, H, W], RGB, (0 … 255 - 127) / 128 -> `features` [N, 1280, h, w],
  `fine` [N, 120, 2 h, 2 w] of its 15th block
- `text.onnx`, MiniLM-L6 with mean pooling: `ids`, `mask` [N, L] -> `embeds` [N, 384] unit length; its weights have
  the names that the package gives them
- `nms.onnx`, non-maximum suppression: `boxes`, `scores`, `max_output`, `iou`, `least_score` -> `chosen` [K, 3]
- `model.safetensors`, {stored}: the classifier's head; for each COCO class the embedding of "a NAME"; for each ImageNet
  class the mean of those of "a NAME" and "a NAME, DEFINITION", with WordNet's definition, at unit length
- `config.json`: COCO's 80 and ImageNet's 1000 names in the networks' order

## Sources

A file is used only if its sha256 is this one; the pickle is read as tensors or not at all.

| package | holds | licence | file and sha256 |
|---|---|---|---|
{sources}

WordNet 3.0 is copyright 2006 by Princeton University; its definitions are embedded here, not copied. The networks
learned from ImageNet-1k, COCO train2017 and public collections of sentence pairs. The licences of the weights say
nothing of those pictures and texts, which have terms of their own and are not in this folder.

## Rounding

{rounding_note(rounding)}

## Limits

- A box is found only where the detector proposes one, and it learned COCO's 80 kinds of object.
- What it sees, it can only say in the names of COCO's 80 and ImageNet's 1000 classes. Anything else gets the nearest of
  them: a person's trade, or a dish or species that is not among them, is named wrongly.
- A picture or region is a weighted mean of names: it holds no relation, number, action or writing. Position and colour
  words are read by rules of the program, outside these networks.
- The program's few calibration numbers were fitted on photographs of VOC2007, whose kinds of object COCO has too: what
  is measured there says little of other pictures. docs/benchmarks.md has the numbers.
- Nothing here was checked for fairness. English only. Not for decisions about people.
"""
