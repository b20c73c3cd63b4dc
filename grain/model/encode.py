"""Encode pictures and texts with a torch checkpoint, for the Predictor: numpy embeddings out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import nn

from grain.boxes import cxcywh_to_xyxy, pad_boxes
from grain.checkpoint import CheckpointInfo, read_info
from grain.config import ClassTexts, GrainConfig
from grain.data.tokenizer import tokenizer_of
from grain.hardware import multiplies_bf16
from grain.model.model import GrainModel
from grain.model.pretrained import from_pretrained
from grain.preprocess import image_to_array
from grain.structures import Array, ImageFeatures, RegionRanking
from grain.time_limit import check_time

PRECISIONS = ("auto", "fp32", "bf16")
MAX_TEXTS = {"cpu": 64, "cuda": 128}  # of one pass: more than that and a processor's cache no longer holds it
WHOLE_CXCYWH = (0.5, 0.5, 1.0, 1.0)
SMALL_MODEL = 20_000_000  # parameters; below that bf16 gains nothing on a CPU


class TorchEncoder:
    """Implements grain.predict.Encoder with a GrainModel."""

    def __init__(
        self,
        model: GrainModel,
        config: GrainConfig,
        info: CheckpointInfo,
        *,
        precision: str = "auto",
        with_boxes: bool = True,
    ) -> None:
        """Move the model to the device.

        Args:
            precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies it and the model is large.
                With bf16 the image tower's matrices are converted in place; the rest is little work and stays float32.
            with_boxes: False leaves the box head out; the box of every region is then the whole picture.
        Raises: ValueError: another precision.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.info = info
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.config, self._with_boxes = config, with_boxes
        self.bf16 = precision == "bf16" or (precision == "auto" and self._gains_from_bf16(info.parameters))
        self.model = model.to(self.device).eval()
        if self.bf16:
            _matrices_to_bf16(self.model.vision)
        self.tokenizer = tokenizer_of(config)

    @classmethod
    def load(cls, folder: Path, *, precision: str = "auto", with_boxes: bool = True) -> TorchEncoder:
        """Load a checkpoint folder.

        Raises: CheckpointError.
        """
        model, config = from_pretrained(folder)
        return cls(model, config, read_info(folder), precision=precision, with_boxes=with_boxes)

    @property
    def precision(self) -> str:
        """Return what `auto` was resolved to."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def class_texts(self) -> ClassTexts:
        """Return the templates that this checkpoint's class texts use."""
        return self.config.class_texts

    @property
    def logit_scale(self) -> float:
        """Return what cosines are multiplied by before a softmax."""
        return math.exp(self.model.logit_scale.item())

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode upright RGB pictures of any sizes as one batch; regions keep the number and order of proposals.

        Raises: ValueError: proposals are missing or not boxes, or the model takes none.
        """
        if not images:
            return []
        size, mean, std = self.config.image_size, self.config.mean, self.config.std
        pixels = np.stack([image_to_array(image, size=size, mean=mean, std=std) for image in images])
        padded = None if proposals is None else pad_boxes(proposals, self.device)
        with torch.inference_mode():
            with self._autocast():
                tokens, pooled = self.model.vision(torch.from_numpy(pixels).to(self.device))
            output = self.model.decode(tokens.float(), pooled.float(), padded, with_boxes=self._with_boxes)
        layers = output.boxes_cxcywh
        whole_picture = layers.new_tensor(WHOLE_CXCYWH).expand(*output.region_embeds.shape[:2], 4)
        corners = cxcywh_to_xyxy(layers[-1] if len(layers) else whole_picture).clamp(0, 1).float().cpu().numpy()
        image_embeds, regions = output.image_embeds.cpu().numpy(), output.region_embeds.cpu().numpy()
        masks = np.ones(corners.shape[:2], bool) if padded is None else padded.mask.cpu().numpy()
        return [
            ImageFeatures(image, embeds[mask], boxes[mask], np.ones(mask.sum(), np.float32))
            for image, embeds, boxes, mask in zip(image_embeds, regions, corners, masks, strict=True)
        ]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, E] unit length. Texts of like length share a pass, so that little is padded.

        Raises: OutOfTimeError: see grain.time_limit.
        """
        tokens = self.tokenizer(texts)  # [T, L]
        lengths = self.model.text.lengths(tokens)
        rows = lengths.argsort(stable=True)
        embeds, most = torch.empty(len(texts), self.config.embed_dim), MAX_TEXTS[self.device.type]
        with torch.inference_mode():
            for first in range(0, len(texts), most):
                check_time()
                some = rows[first : first + most]
                trimmed = tokens[some, : int(lengths[some].max())]
                embeds[some] = self.model.encode_text(trimmed.to(self.device)).float().cpu()
        return embeds.numpy()

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank the regions by cosine; the model has no measure of presence."""
        return RegionRanking.by_cosine(features, embeds)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def _gains_from_bf16(self, parameters: int) -> bool:
        return (self.device.type == "cuda" or parameters > SMALL_MODEL) and multiplies_bf16(self.device.type)


def _matrices_to_bf16(model: nn.Module) -> None:
    """Convert in place what autocast would convert again for every picture; the numbers stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.MultiheadAttention):
            module.to(torch.bfloat16)
