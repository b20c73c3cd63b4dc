"""Encode pictures and texts with OWLv2 or OWL-ViT; boxes are normalized to the original picture.

torch and transformers are imported when a model is loaded: a page shows what there is before anything heavy is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from grain.hardware import uses_bf16
from grain.hub.detectors import device_of, load_detector
from grain.hub.weights import LocalModel
from grain.structures import Array

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

OWL_FAMILIES = ("owlv2", "owlvit")  # model_types
LONGEST_SIDE = 2  # times the model's input; a longer picture is reduced to it before it is padded


@dataclass(frozen=True)
class OwlPicture:
    """A picture as the network sees it: features [P, D] of its patches, boxes_xyxy [P, 4] normalized to the picture.

    image_embed: [E] unit length, the embedding of all of it.
    """

    features: Tensor
    boxes_xyxy: Array
    image_embed: Array


class OwlRegions(NamedTuple):
    """The regions of a picture's patches: embeds [P, E] unit length, objectness [P] in [0, 1] (ones for OWL-ViT).

    shift, scale: [P]; the logit of a text is (cosine + shift) · scale.
    """

    embeds: Array
    objectness: Array
    shift: Array
    scale: Array


class OwlNetwork:
    """OWLv2, whose pictures are padded to a square, or OWL-ViT, whose pictures are stretched to one."""

    def __init__(self, model: Any, processor: Any, *, name: str, device: str = "auto", precision: str = "auto") -> None:
        """Take what `load_owl` returns.

        With bf16 the image tower's matrices are converted in place; texts and heads stay float32.

        Args:   device: see device_of. precision: `fp32`, `bf16`, or `auto`: bf16 where the device multiplies it in
                hardware.
        Raises: ValueError: another precision.
        """
        import torch

        self.device = device_of(device, precision=precision)
        self.bf16 = uses_bf16(precision, self.device.type)
        self.name = name
        self.model, self._processor = model.to(self.device).eval(), processor
        self._family: str = model.config.model_type
        self._towers = getattr(model, self._family)
        for module in self._towers.vision_model.modules() if self.bf16 else ():
            if isinstance(module, torch.nn.Linear):
                module.to(torch.bfloat16)
        self._limit: int = model.config.text_config.max_position_embeddings
        self._side: int = model.config.vision_config.image_size

    @property
    def logit_scale(self) -> float:
        """Return what cosines of whole pictures are multiplied by before a softmax."""
        return float(self._towers.logit_scale.detach().exp())

    @property
    def width(self) -> int:
        """Return E, the length of an embedding."""
        return int(self.model.config.projection_dim)

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the texts of more tokens than the model reads (16, the marks of start and end among them)."""
        if not texts:
            return ()
        ids = self._processor.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        return tuple(text for text, row in zip(texts, ids, strict=True) if len(row) > self._limit)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode T texts, at least 1, into [T, E] of unit length; cut a text that is too long, and log it."""
        import torch

        for text in self.too_long(texts):
            log.warning("%s reads %d tokens; the rest of this description is cut: %r", self.name, self._limit, text)
        tokens = self._processor.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._limit, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode():
            embeds = self._towers.get_text_features(**tokens).pooler_output
            return torch.nn.functional.normalize(embeds, dim=-1)

    def encode_images(self, pictures: Sequence[Image.Image]) -> list[OwlPicture]:
        """Encode upright RGB pictures of any sizes, at least one, as one batch."""
        import torch

        from grain.boxes import cxcywh_to_xyxy

        small = [_reduced(picture, LONGEST_SIDE * self._side) for picture in pictures]
        # One by one: a batch would hold every padded picture at its full size.
        pixels = [self._processor.image_processor(images=each, return_tensors="pt")["pixel_values"] for each in small]
        with torch.inference_mode():
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                grid, seen = self.model.image_embedder(torch.cat(pixels).to(self.device))  # [B, h, w, D]
            features = grid.float().flatten(1, 2)  # [B, P, D]
            padded_xyxy = cxcywh_to_xyxy(self.model.box_predictor(features, grid)).cpu().numpy()  # [B, P, 4]
            pooled = self._towers.visual_projection(seen.pooler_output.float())
            image_embeds = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()  # [B, E]
        boxes = [self._unpadded(*one) for one in zip(padded_xyxy, [each.size for each in small], strict=True)]
        return [OwlPicture(*one) for one in zip(features, boxes, image_embeds, strict=True)]

    def scores(self, seen: OwlPicture, embeds: Tensor) -> Array:
        """Return the probability of each of T texts (embeds [T, E]) at each patch, [P, T]; texts do not compete."""
        import torch

        with torch.inference_mode():
            logits, _ = self.model.class_predictor(seen.features, embeds)
            scores: Array = logits.sigmoid().cpu().numpy()
        return scores

    def regions(self, seen: OwlPicture) -> OwlRegions:
        """Return what the class head and the objectness head say of each patch, whatever text is looked for."""
        import torch

        head = self.model.class_head
        with torch.inference_mode():
            embeds = torch.nn.functional.normalize(head.dense0(seen.features), dim=-1)
            objectness = torch.ones(len(embeds))
            if self._family == "owlv2":
                objectness = self.model.objectness_predictor(seen.features).sigmoid()
            scale = head.elu(head.logit_scale(seen.features)) + 1
            rows = (embeds, objectness, head.logit_shift(seen.features)[:, 0], scale[:, 0])
            return OwlRegions(*(each.float().cpu().numpy() for each in rows))

    def _unpadded(self, boxes_xyxy: Array, size: tuple[int, int]) -> Array:
        """Move boxes [N, 4] from what the model saw back to the picture, and clip them to it."""
        return unpad_square(boxes_xyxy, size) if self._family == "owlv2" else boxes_xyxy.clip(0, 1)


def owl_classes(family: str) -> tuple[Any, Any]:
    """Return transformers' classes of model and processor. family: one of OWL_FAMILIES."""
    import transformers

    name = {"owlv2": "Owlv2", "owlvit": "OwlViT"}[family]
    return getattr(transformers, f"{name}ForObjectDetection"), getattr(transformers, f"{name}Processor")


def load_owl(found: LocalModel) -> tuple[Any, Any]:
    """Load model and processor of one of OWL_FAMILIES from weights on this machine.

    Raises: UserError: a file is missing, damaged, or of another model.
    """
    return load_detector(found, *owl_classes(found.kind))


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


def _reduced(picture: Image.Image, side: int) -> Image.Image:
    """Reduce a picture to at most `side` pixels: a panorama padded to a square would not fit into memory."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(length * side / longest)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)
