"""Encode photographs and texts without torch: public ONNX networks put together, nothing trained.

NanoDet proposes regions and knows COCO's 80 names; EfficientNet-Lite2 sees ImageNet's 1000; MiniLM-L6 embeds names and
descriptions alike. A picture or region is embedded as the weighted mean of the names it looks like.
Source: ConSE (Norouzi et al. 2014), here also over the cells of the feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from grain.checkpoint import WEIGHTS, CheckpointError, CheckpointInfo, read_config, read_info, verify
from grain.config import ClassTexts
from grain.photo.networks import PhotoNetworks, PhotoView
from grain.photo.phrases import (
    Phrase,
    colour_map,
    colour_table,
    least_shares,
    parse_phrase,
    preload_inflector,
)
from grain.photo.places import MOST_COUNTED, choose_rows, counted_confidence, position_scores
from grain.photo.text_encoder import TextEncoder
from grain.photo.tiles import encode_in_tiles
from grain.photo.word_lists import COLOURS
from grain.structures import MIN_PRESENCE, Array, ImageFeatures, RegionRanking

SHARPEN = 1.5  # exponent of the detector's scores, which weigh its names
MIN_SIDE = 1e-3  # of the picture: a thinner region is pooled as if it were so wide
GIST_FLOOR = 0.01  # added to features before their logarithm: smaller ones are all as good as none
TOP = 10  # class names that an embedding is made of
PRESENCE_WEIGHTS = (16.27, 1.02, -7.47)  # of presence_evidence; `python -m benchmarks.photographs` fits them
PRESENCE_BIAS = -3.39
POSITION_MARGIN = 4.0  # logits below the best region: a position word chooses among those
TIE_MARGIN = 2.0  # logits below the best region: so near, only place and size decide
POSITION_WEIGHT = 8.0  # logits that a whole side of the picture outweighs
SIZE_WEIGHT = 0.3  # logits that a region e times as large has ahead: people name the large ones
POSITION_RANK = 1000.0  # above every logit
GRAPH_ERRORS = (ort_state.Fail, ort_state.InvalidGraph, ort_state.InvalidProtobuf, ort_state.RuntimeException)
PALE = -2.0  # logits: a region that loses more for its colours is not what a description means
MIN_COLOUR = 0.15  # share of a region's pixels that makes it red enough to be called red
MIN_WORN = 0.005  # share of a region's pixels that can be a red collar on it
DOUBT = 0.5  # factor of a region's confidence where it lacks the colours asked for


class PhotoEncoder:
    """Implements grain.predict.Encoder for the `photo-names` checkpoint."""

    def __init__(self, folder: Path, info: CheckpointInfo, *, names: PhotoNames, weights: dict[str, Array]) -> None:
        """Use load."""
        self.info = info
        self._names = names
        self._head, self._bias = weights["head.weight"].T, weights["head.bias"]  # [1280, 1000], [1000]
        self._imagenet, self._coco = weights["imagenet.embeds"], weights["coco.embeds"]  # [1000, E], [80, E]
        self.known_embeds = np.concatenate([self._coco, self._imagenet])  # [1080, E]
        self.look = PhotoNetworks(folder)
        self._text = TextEncoder.load(folder / "text.onnx", names.sentence_package)

    @classmethod
    def load(cls, folder: Path) -> PhotoEncoder:
        """Load a checkpoint folder.

        Raises: CheckpointError: a file is missing or changed, or the sentence encoder's package is not installed.
        """
        Thread(target=preload_inflector, daemon=True).start()
        verify(folder)
        try:
            weights = {name: value.astype(np.float32) for name, value in load_file(folder / WEIGHTS).items()}
            return cls(folder, read_info(folder), names=PhotoNames.of(read_config(folder)), weights=weights)
        except (KeyError, TypeError, SafetensorError, *GRAPH_ERRORS) as error:
            what = f"{folder.name} does not fit this version ({error})"
            raise CheckpointError(f"{what}: copy the checkpoint again") from error

    @property
    def precision(self) -> str:
        """Return numpy's precision."""
        return "fp32"

    @property
    def class_texts(self) -> ClassTexts:
        """Return templates of the name itself, which a sentence encoder understands."""
        return ClassTexts(names=("a {name}",), descriptions=("a {name}, {description}",))

    @property
    def logit_scale(self) -> float:
        """Return the scale that was fitted on photographs with one known object (docs/decisions.md)."""
        return 20.0

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode upright RGB pictures of any sizes, one after the other.

        Raises: ValueError: proposals are given.
        """
        if proposals is not None:
            raise ValueError("the photo checkpoint proposes its own regions: leave the proposals out")
        return [encode_in_tiles(lambda tile: self.encode_view(self.look(tile)), image) for image in images]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts without their position and colour words, [T, E] unit length."""
        return self._text([self._phrase(text).core for text in texts])

    def nearest_names(self, embeds: Array) -> list[tuple[str, float]]:
        """Return the class name nearest to each picture or region ([N, E]), and its cosine."""
        likeness = embeds @ self.known_embeds.T
        names = (*self._names.coco, *self._names.imagenet)
        return [
            (names[row], float(cosines[row])) for row, cosines in zip(likeness.argmax(axis=1), likeness, strict=True)
        ]

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank the regions for each description, and estimate whether it is in the picture at all.

        Args: image: upright RGB. embeds: [D, E] of the descriptions.
        """
        regions, texts = len(features.boxes_xyxy), len(descriptions)
        if not regions or not texts:
            return RegionRanking(np.zeros((regions, texts), np.float32), np.zeros(texts, np.float32))
        plain = self.name_logits(features, embeds)
        colour = self.colour_penalties(image, features.boxes_xyxy, descriptions)
        logits = plain + colour
        ranking = self.rank_places(features.boxes_xyxy, logits, descriptions)
        confidence: Array = 1 / (1 + np.exp(-logits))
        ranked = RegionRanking(ranking, at_best(confidence, ranking), confidence)
        lacks = self.lacks_worn(image, features.boxes_xyxy, descriptions)
        explained = self.explain(ranked, plain, colour, lacks=lacks, descriptions=descriptions)
        placed = self.place(features.boxes_xyxy, explained, descriptions)
        return self.count(features.boxes_xyxy, placed, descriptions)

    def explain(
        self,
        ranked: RegionRanking,
        plain: Array,
        colour: Array,
        *,
        lacks: NDArray[np.bool_],
        descriptions: Sequence[str],
    ) -> RegionRanking:
        """Say why descriptions are not found; what denies something, or names nothing, is never claimed.

        Args: plain: [Q, D], how well the regions fit whatever their colours. colour: [Q, D] of colour_penalties. lacks:
              [Q, D] of lacks_worn, where confidence is doubted.
        """
        assert ranked.confidence is not None and ranked.presence is not None
        presence = ranked.presence.copy()
        reasons, confidence = [], ranked.confidence * np.where(lacks, np.float32(DOUBT), np.float32(1))
        for column, phrase in enumerate(map(self._phrase, descriptions)):
            if phrase.denied:
                confidence[:, column] = 0
                reasons.append(f"nothing here can see “{phrase.denied}”")
            elif not phrase.named:
                confidence[:, column], presence[column] = 0, MIN_PRESENCE
                reasons.append("it names no thing; say what, as in “the second dog from the left”")
            elif phrase.colours and colour[plain[:, column].argmax(), column] < PALE:
                reasons.append(f"too little {' and '.join(phrase.colours)} where {phrase.core} seems to be")
            elif lacks[plain[:, column].argmax(), column]:
                reasons.append(f"too little {' or '.join(phrase.worn)} on {phrase.core} here")
            else:
                reasons.append("")
        return replace(ranked, presence=presence, confidence=confidence, reasons=tuple(reasons))

    def name_logits(self, features: ImageFeatures, embeds: Array) -> Array:
        """Return how likely each region shows what each text says, by names alone: [Q, D] logits."""
        evidence = presence_evidence(features, embeds, self.known_embeds)
        logits: Array = (evidence @ np.array(PRESENCE_WEIGHTS, np.float32) + PRESENCE_BIAS).astype(np.float32)
        return logits

    def colour_penalties(self, image: Image.Image, boxes_xyxy: Array, descriptions: Sequence[str]) -> Array:
        """Return what regions lose whose pixels lack the colours of a description, [Q, D] logits of at most 0."""
        penalties = np.zeros((len(boxes_xyxy), len(descriptions)), np.float32)
        phrases = list(map(self._phrase, descriptions))
        if any(phrase.colours for phrase in phrases):
            table = colour_table(image, boxes_xyxy)
            for column, phrase in enumerate(phrases):
                if phrase.colours:
                    penalties[:, column] = _colour_penalty(table, phrase)
        return penalties

    def lacks_worn(self, image: Image.Image, boxes_xyxy: Array, descriptions: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which regions have next to nothing of the colours that a description says is on them, [Q, D]."""
        lacks = np.zeros((len(boxes_xyxy), len(descriptions)), bool)
        worn = [self._phrase(text).worn for text in descriptions]
        if any(worn):
            names = colour_map(image)
            for column in np.flatnonzero([bool(colours) for colours in worn]):
                lacks[:, column] = least_shares(names, boxes_xyxy, worn[column]) < MIN_WORN
        return lacks

    def rank_places(self, boxes_xyxy: Array, logits: Array, descriptions: Sequence[str]) -> Array:
        """Return logits [Q, D]; of the regions near the best one, a description's position words choose the first."""
        columns = (_rank(boxes_xyxy, logits[:, column], self._phrase(text)) for column, text in enumerate(descriptions))
        return np.stack(list(columns), axis=1)

    def place(
        self, boxes_xyxy: Array, ranked: RegionRanking, descriptions: Sequence[str], *, among_things: bool = False
    ) -> RegionRanking:
        """Leave to descriptions with a place the regions that they mean: "the dog on the left" is one of the dogs.

        Args: among_things: see choose_rows; for a confidence that tells things from parts and neighbours.
        """
        assert ranked.confidence is not None
        ranking, confidence, reasons = ranked.ranking.copy(), ranked.confidence.copy(), list(ranked.reasons)
        for column, phrase in enumerate(map(self._phrase, descriptions)):
            if not phrase.positions:
                continue
            rows = choose_rows(
                boxes_xyxy,
                confidence[:, column],
                best=int(ranking[:, column].argmax()),
                positions=phrase.positions,
                order=phrase.order,
                several=phrase.several,
                among_things=among_things,
            )
            confidence[np.setdiff1d(np.arange(len(boxes_xyxy)), rows), column] = 0
            if rows:
                ranking[rows[0], column] = ranking[:, column].max() + 1
            elif not reasons[column]:
                reasons[column] = f"fewer than {phrase.order} of them are surely here"
        return replace(ranked, ranking=ranking, confidence=confidence, reasons=tuple(reasons))

    def count(self, boxes_xyxy: Array, ranked: RegionRanking, descriptions: Sequence[str]) -> RegionRanking:
        """Leave to descriptions with a number as many things as they say (see counted_confidence)."""
        if not ranked.ranking.size:
            return ranked
        assert ranked.confidence is not None
        confidence, numbers = ranked.confidence.copy(), (self._phrase(text).count for text in descriptions)
        counts = tuple(number if number <= MOST_COUNTED else 0 for number in numbers)
        for column, count in enumerate(counts):
            best = int(ranked.ranking[:, column].argmax())
            confidence[:, column] = counted_confidence(boxes_xyxy, confidence[:, column], best=best, count=count)
        return replace(ranked, confidence=confidence, counts=counts)

    def embed_whole(self, texts: Sequence[str]) -> Array:
        """Embed texts with all of their words, in lower case, [T, E] unit length."""
        return self._text([" ".join(text.lower().split()) for text in texts])

    def encode_view(self, view: PhotoView) -> ImageFeatures:
        """Embed a picture and its proposals by the names that they look like."""
        pooled = view.features.mean(axis=(1, 2))
        image_embed = self._name_mean(pooled[None])[0]
        confidence = view.scores.max(axis=1)
        by_detector = _unit(np.power(view.scores, SHARPEN, dtype=np.float32) @ self._coco)
        by_classifier = self.embed_boxes(view, view.boxes_xyxy)
        trust = confidence[:, None]
        regions = _unit((0.6 + 1.4 * trust) * by_detector + (0.9 - 0.8 * trust) * by_classifier)
        gist = np.log(pooled.clip(0) + GIST_FLOOR)
        return ImageFeatures(image_embed, regions, view.boxes_xyxy, confidence, gist=gist)

    def embed_boxes(self, view: PhotoView, boxes_xyxy: Array) -> Array:
        """Embed any boxes [Q, 4] of a picture by the ImageNet names that they look like, [Q, E] unit length."""
        return self._name_mean(pool_regions(view.features, boxes_xyxy))

    def _name_mean(self, features: Array) -> Array:
        """Average the likeliest ImageNet names, weighted by probability: [N, 1280] -> [N, E] unit length."""
        logits = features @ self._head + self._bias
        top = np.argpartition(-logits, TOP, axis=1)[:, :TOP]
        best = np.take_along_axis(logits, top, axis=1)
        weights = np.exp(best - best.max(axis=1, keepdims=True))
        return _unit(np.einsum("nk,nke->ne", weights, self._imagenet[top]))

    def _phrase(self, text: str) -> Phrase:
        return parse_phrase(text, self._names.known)


@dataclass(frozen=True)
class PhotoNames:
    """The part of the checkpoint's config beside its info."""

    coco: tuple[str, ...]
    imagenet: tuple[str, ...]
    sentence_package: str

    @classmethod
    def of(cls, config: dict[str, Any]) -> PhotoNames:
        """Read the names from config.json.

        Raises: KeyError, TypeError: a field is missing or of another kind.
        """
        photo = config["photo"]
        return cls(tuple(photo["coco_names"]), tuple(photo["imagenet_names"]), str(photo["sentence_package"]))

    @cached_property
    def known(self) -> frozenset[str]:
        """Return all names in lower case."""
        return frozenset(name.lower() for name in (*self.coco, *self.imagenet))


def at_best(values: Array, ranking: Array) -> Array:
    """Return of each description the values [Q, D, …] of its best region, [D, …]."""
    best: Array = values[ranking.argmax(axis=0), np.arange(ranking.shape[1])]
    return best


def presence_evidence(features: ImageFeatures, embeds: Array, known_embeds: Array) -> Array:
    """Compute the evidence that each region shows what each text says.

    Args:    embeds: [D, E] of the texts. known_embeds: [K, E] of the names that a region can look like.
    Returns: [Q, D, 3]: cosine; log of the region's objectness; the best cosine that any known name has with the text: a
             long or strange text never comes as near to a region as a plain name does.
    """
    cosines = features.region_embeds @ embeds.T
    objectness = np.broadcast_to(np.log(features.objectness)[:, None], cosines.shape)
    within_reach = np.broadcast_to((known_embeds @ embeds.T).max(axis=0), cosines.shape)
    return np.stack([cosines, objectness, within_reach], axis=-1)


def pool_regions(features: Array, boxes_xyxy: Array) -> Array:
    """Average a feature map over each box, cells weighted by how much of them it covers.

    Args:    features: [C, h, w]. boxes_xyxy: [Q, 4] normalized; one without area takes the cell that it lies in.
    Returns: [Q, C].
    """
    channels, height, width = features.shape

    def cover(low: Array, high: Array, cells: int) -> Array:
        edges, low = np.arange(cells), np.minimum(low, 1 - MIN_SIDE)
        high = np.maximum(high, low + MIN_SIDE)
        overlap = np.minimum(high[:, None] * cells, edges + 1) - np.maximum(low[:, None] * cells, edges)
        covered: Array = overlap.clip(0, 1)
        return covered

    across = cover(boxes_xyxy[:, 0], boxes_xyxy[:, 2], width)
    down = cover(boxes_xyxy[:, 1], boxes_xyxy[:, 3], height)
    weights = (down[:, :, None] * across[:, None, :]).reshape(len(boxes_xyxy), -1)
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights @ features.reshape(channels, -1).T).astype(np.float32)


def _rank(boxes_xyxy: Array, logits: Array, phrase: Phrase) -> Array:
    """Return logits [Q]; of regions within the margin, position words choose the first."""
    if not phrase.positions:
        return logits
    below = logits - logits.max()
    area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1).clip(1e-6)
    place = POSITION_WEIGHT * position_scores(boxes_xyxy, phrase.positions) + SIZE_WEIGHT * np.log(area)
    return np.where(below >= -POSITION_MARGIN, POSITION_RANK + place + below.clip(max=-TIE_MARGIN), logits)


def _colour_penalty(table: Array, phrase: Phrase) -> Array:
    """Return logits [Q]: 0 where enough of a region has the colours asked for, down to -6 where nothing has.

    table: [Q, 11] of colour_table.
    """
    share = table[:, [COLOURS.index(colour) for colour in phrase.colours]].sum(axis=1)
    penalty: Array = (3 * np.log((share + 0.023) / (MIN_COLOUR + 0.023))).clip(None, 0).astype(np.float32)
    return penalty


def _unit(rows: Array) -> Array:
    unit: Array = (rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32)
    return unit
