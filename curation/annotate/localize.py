"""Find where descriptions lie in pictures, with OWLv2 or OWL-ViT; boxes are normalized to the original picture.

torch and transformers are imported when a model is loaded: a page shows these settings before anything heavy is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curation.annotate import model_facts
from grain.hub.weights import LocalModel, find_model, missing_weights
from grain.structures import Array, Region
from grain.time_limit import check_time

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)

OWLV2 = model_facts.OWLV2.model
REVISIONS = {OWLV2: "cfd3195ba4ea9592eec887ded089f4c08eff231d"}  # of other models: `main`
PRECISIONS = ("auto", "fp32", "bf16")
TEXTS_AT_ONCE = 256
MOST_REMEMBERED = 20_000  # text embeddings
LONGEST_SIDE = 2  # times the model's input; a longer picture is reduced to it before it is padded


class Localizer(Protocol):
    """What finds descriptions in pictures."""

    @property
    def name(self) -> str:
        """Return `model@revision`, the source that its regions are marked with."""

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the descriptions that it cannot read whole."""

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """Find the regions of each picture.

        Args:    pictures: upright RGB. descriptions: of each picture; a picture may have none.
        Returns: of each picture its regions: index the row of the description, score a probability in [0, 1].
        """


@dataclass(frozen=True)
class LocalizeConfig:
    """Which boxes a localizer reports."""

    threshold: float = 0.3
    """Least score of a box, a probability in [0, 1]."""
    nms_iou: float = 0.5
    """A box that overlaps a better one of the same description by more than this is dropped; 1 keeps all."""
    most_of_text: int = 5
    """Most boxes of one description, the best first."""
    exclusive: bool = False
    """A box belongs only to the description that fits it best, as class names do; else several may share one."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name in ("threshold", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.most_of_text < 1:
            raise ValueError(f"most_of_text must be at least 1, got {self.most_of_text}")


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as OWLv2 sees it: features [P, D] of its patches, boxes_xyxy [P, 4] normalized to the picture."""

    features: Tensor
    boxes_xyxy: Array


class Owlv2Localizer:
    """OWLv2 behind the Localizer protocol: a picture is encoded once, a text once for all pictures."""

    facts = model_facts.OWLV2
    family = "owlv2"

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        config: LocalizeConfig | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 8,
    ) -> None:
        """See from_pretrained. model, processor: transformers' Owlv2ForObjectDetection and Owlv2Processor.

        With bf16 the image tower's matrices are converted in place; texts and heads stay float32.
        Raises: ValueError: another precision, or no picture in a batch.
        """
        import torch

        self.device = device_of(device, precision=precision, batch_size=batch_size)
        self.bf16 = precision == "bf16" or (precision == "auto" and multiplies_bf16(self.device.type))
        self.name, self.config, self.batch_size = name, config or LocalizeConfig(), batch_size
        self._model, self._processor = model.to(self.device).eval(), processor
        self._towers = getattr(model, self.family)
        for module in self._towers.vision_model.modules() if self.bf16 else ():
            if isinstance(module, torch.nn.Linear):
                module.to(torch.bfloat16)
        self._limit: int = model.config.text_config.max_position_embeddings
        self._side: int = model.config.vision_config.image_size
        self._texts: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "",
        *,
        revision: str | None = None,
        config: LocalizeConfig | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 8,
    ) -> Self:
        """Load weights that are on this machine; nothing is downloaded.

        Args:   model: a name on the hub, or a folder; "": the default. revision: of the hub; OWLv2 base's is pinned.
                device: `auto`, `cpu`, `cuda`, `cuda:1`. batch_size: pictures at once.
                precision: `fp32`, `bf16`, or `auto`: bf16 where the device multiplies it in hardware.
        Raises: UserError: the weights are not here, or not whole; the message holds the command that fetches
                them; or they are of another family. ValueError: see __init__.
        """
        model = model or cls.facts.model
        revision = revision or REVISIONS.get(str(model), "main")
        found = model_facts.check_family(find_model(model, revision), cls.facts)
        weights, processor = load_detector(found, *cls._classes())
        return cls(
            weights,
            processor,
            name=found.name,
            config=config,
            device=device,
            precision=precision,
            batch_size=batch_size,
        )

    @classmethod
    def _classes(cls) -> tuple[Any, Any]:
        """Return transformers' classes of model and processor."""
        from transformers import Owlv2ForObjectDetection, Owlv2Processor

        return Owlv2ForObjectDetection, Owlv2Processor

    @staticmethod
    def _unpadded(boxes_xyxy: Array, size: tuple[int, int]) -> Array:
        """Move boxes [N, 4] from what the model saw back to the picture."""
        return unpad_square(boxes_xyxy, size)

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the texts of more tokens than the model reads (16, the marks of start and end among them)."""
        if not texts:
            return ()
        ids = self._processor.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        return tuple(text for text, row in zip(texts, ids, strict=True) if len(row) > self._limit)

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """Find regions by description, the best box of each first; cut a text that is too long, and log it.

        Args:   pictures: upright RGB, of any sizes. descriptions: of each picture; any number, also none.
        Raises: ValueError: not as many lists of descriptions as pictures; a blank one; a picture that is not RGB.
        """
        check_asked(pictures, descriptions)
        embeds = self.embed_texts([text for texts in descriptions for text in texts])
        found: list[tuple[Region, ...]] = [()] * len(pictures)
        asked = [row for row, texts in enumerate(descriptions) if texts]
        for start in range(0, len(asked), self.batch_size):
            rows = asked[start : start + self.batch_size]
            for row, seen in zip(rows, self.encode_images([pictures[row] for row in rows]), strict=True):
                scores = self._scores(seen, [embeds[text] for text in descriptions[row]])
                found[row] = choose(seen.boxes_xyxy, scores, texts=descriptions[row], config=self.config)
        return found

    def detect(self, pictures: Sequence[Image.Image], vocabulary: Sequence[str]) -> list[tuple[Region, ...]]:
        """Find one vocabulary, such as class names, in all pictures; `exclusive` gives a box one name only."""
        return self.localize(pictures, [vocabulary] * len(pictures))

    def embed_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return text -> [E], encoding only the texts that no earlier picture had."""
        known = {text: self._texts[text] for text in texts if text in self._texts}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), TEXTS_AT_ONCE):
            check_time()
            some = new[start : start + TEXTS_AT_ONCE]
            known |= dict(zip(some, self.encode_texts(some), strict=True))
        if len(self._texts) + len(new) > MOST_REMEMBERED:
            self._texts = {}
        self._texts |= {text: known[text] for text in new[:MOST_REMEMBERED]}
        return known

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode T texts, at least 1, into [T, E] of unit length."""
        import torch

        for text in self.too_long(texts):
            log.warning("%s reads %d tokens; the rest of this description is cut: %r", self.name, self._limit, text)
        tokens = self._processor.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._limit, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode():
            embeds = self._towers.get_text_features(**tokens).pooler_output
            return torch.nn.functional.normalize(embeds, dim=-1)

    def encode_images(self, pictures: Sequence[Image.Image]) -> list[EncodedPicture]:
        """Encode upright RGB pictures of any sizes, at least one, as one batch."""
        import torch

        from grain.boxes import cxcywh_to_xyxy

        small = [_reduced(picture, LONGEST_SIDE * self._side) for picture in pictures]
        # One by one: a batch would hold every padded picture at its full size.
        pixels = [self._processor.image_processor(images=each, return_tensors="pt")["pixel_values"] for each in small]
        with torch.inference_mode():
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                grid, _ = self._model.image_embedder(torch.cat(pixels).to(self.device))  # [B, h, w, D]
            features = grid.float().flatten(1, 2)  # [B, P, D]
            padded_xyxy = cxcywh_to_xyxy(self._model.box_predictor(features, grid)).cpu().numpy()  # [B, P, 4]
        boxes = [self._unpadded(*one) for one in zip(padded_xyxy, [each.size for each in small], strict=True)]
        return [EncodedPicture(*one) for one in zip(features, boxes, strict=True)]

    def _scores(self, seen: EncodedPicture, embeds: Sequence[Tensor]) -> Array:
        """Return the probability of each text at each patch, [P, T]; it does not depend on the other texts."""
        import torch

        with torch.inference_mode():
            logits, _ = self._model.class_predictor(seen.features, torch.stack(list(embeds)))
            scores: Array = logits.sigmoid().cpu().numpy()
        return scores


class OwlVitLocalizer(Owlv2Localizer):
    """OWL-ViT behind the Localizer protocol: its pictures are stretched to a square, not padded."""

    facts = model_facts.OWLVIT
    family = "owlvit"

    @classmethod
    def _classes(cls) -> tuple[Any, Any]:
        """Return transformers' classes of model and processor."""
        from transformers import OwlViTForObjectDetection, OwlViTProcessor

        return OwlViTForObjectDetection, OwlViTProcessor

    @staticmethod
    def _unpadded(boxes_xyxy: Array, size: tuple[int, int]) -> Array:
        """Return boxes [N, 4] clipped to the picture: they are normalized to it already."""
        return boxes_xyxy.clip(0, 1)


def device_of(device: str, *, precision: str, batch_size: int) -> torch.device:
    """Return the device that a detector runs on.

    Args:   device: `auto`: a GPU if there is one.
    Raises: ValueError: another precision, or no picture in a batch.
    """
    import torch

    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    available = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(available if device == "auto" else device)


def load_detector(found: LocalModel, model_class: Any, processor_class: Any) -> tuple[Any, Any]:
    """Load a detector and its processor, with the tokenizer that it was trained with.

    Raises: UserError: a file is missing, damaged, or of another model.
    """
    weights, processor = found.load(model_class, processor_class, dtype="float32")
    if len(processor.tokenizer) < weights.config.text_config.vocab_size:  # transformers made one up
        raise missing_weights(found.model, found.revision)
    return weights, processor


def unpad_square(boxes_xyxy: Array, size: tuple[int, int]) -> Array:
    """Move boxes from a picture padded to a square, on the right or at the bottom, back to the picture.

    Args:    boxes_xyxy: [N, 4], normalized to the square. size: width and height of the picture in pixels.
    Returns: [N, 4] normalized to the picture, clipped to [0, 1]; a box in the padding alone has no area left.
    Raises:  ValueError: the picture has no area.
    """
    width, height = size
    if min(size) < 1:
        raise ValueError(f"the picture must be at least 1 × 1 pixel, got {width} × {height}")
    stretch = np.array([max(size) / width, max(size) / height] * 2, np.float32)
    return (boxes_xyxy * stretch).clip(0, 1)


def choose(boxes_xyxy: Array, scores: Array, *, texts: Sequence[str], config: LocalizeConfig) -> tuple[Region, ...]:
    """Choose the boxes to report, by text, best first.

    Args: boxes_xyxy: [P, 4] normalized to the picture; those without area are left out. scores: [P, T] in [0, 1].
    """
    has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1, keepdims=True)  # [P, 1]
    passing = (scores >= config.threshold) & has_area  # [P, T]
    if config.exclusive:
        passing &= np.equal(np.arange(len(texts)), scores.argmax(axis=1)[:, None])
    regions: list[Region] = []
    for column in np.flatnonzero(passing.any(axis=0)).tolist():
        rows = np.flatnonzero(passing[:, column])
        apart = rows[best_apart(boxes_xyxy[rows], scores[rows, column], iou=config.nms_iou)]
        for row in apart[: config.most_of_text]:
            x0, y0, x1, y1 = boxes_xyxy[row].tolist()
            regions.append(Region((x0, y0, x1, y1), texts[column], float(scores[row, column]), column))
    return tuple(regions)


def best_apart(boxes_xyxy: Array, scores: Array, *, iou: float) -> NDArray[np.int64]:
    """Keep the best boxes (non-maximum suppression): each kept one drops those that overlap it by more than iou.

    Args:    boxes_xyxy: [N, 4]. scores: [N]. iou: in [0, 1].
    Returns: rows of the kept boxes, best first; equal scores stay in order.
    """
    import torch
    from torchvision.ops import nms

    rows: NDArray[np.int64] = nms(torch.from_numpy(boxes_xyxy), torch.from_numpy(scores), iou).numpy()
    return rows


def check_asked(pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]) -> None:
    """Refuse what no localizer can be asked.

    Raises: ValueError: not as many lists of descriptions as pictures; a blank one; a picture that is not RGB.
    """
    if len(pictures) != len(descriptions):
        raise ValueError(f"expected descriptions for {len(pictures)} pictures, got {len(descriptions)} lists of them")
    for texts in descriptions:
        if isinstance(texts, str):
            raise ValueError("descriptions must be a list of texts for each picture, got a single text: write [text]")
        if not all(map(str.strip, texts)):
            raise ValueError("a description is blank: leave it out")
    for picture in pictures:
        if picture.mode != "RGB":
            raise ValueError(f"pictures must be upright RGB, got mode {picture.mode}: convert them first")


def _reduced(picture: Image.Image, side: int) -> Image.Image:
    """Reduce a picture to at most `side` pixels: a panorama padded to a square would not fit into memory."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(length * side / longest)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def multiplies_bf16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 in hardware."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())
