"""Ground with OWLv2 or OWL-ViT as a checkpoint: regions ranked by the detector's own scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from safetensors.torch import load_file

from grain.checkpoint import WEIGHTS, CheckpointError, CheckpointInfo, read_config, read_info, verify
from grain.config import ClassTexts
from grain.hub.owl import OwlNetwork, owl_classes
from grain.recent_features import RecentFeatures
from grain.structures import Array, ImageFeatures, RegionRanking
from grain.time_limit import check_time

USUAL_SCORE = 0.3  # from which the paper (arXiv 2412.04429) takes a box of OWLv2; shown as a confidence of one half
MAX_TEXTS = 256  # of one pass
MOST_RECENT = 8  # pictures remembered, some megabytes each


class OwlEncoder:
    """Implements grain.predict.Encoder with OWLv2 or OWL-ViT.

    The hints of its features are, of each region, the shift and the scale of its logits.
    """

    def __init__(self, network: OwlNetwork, info: CheckpointInfo) -> None:
        """Use load, or give a network that is loaded."""
        self.info, self.network = info, network
        self._recent = RecentFeatures(self._features, most=MOST_RECENT)

    @classmethod
    def load(cls, folder: Path, *, precision: str = "auto") -> OwlEncoder:
        """Load a checkpoint folder that `python -m grain.hub.import_model` made.

        Raises: CheckpointError: it is damaged, or its weights do not fit its configuration.
        """
        info, config = read_info(folder), read_config(folder)
        verify(folder)
        model_class, processor_class = owl_classes(info.kind)
        try:
            model = model_class(model_class.config_class(**config["model"]))
            model.load_state_dict({key: value.float() for key, value in load_file(folder / WEIGHTS).items()})
            processor = processor_class.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever a foreign configuration makes transformers raise, it cannot be used
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{folder.name}: weights and configuration do not fit: {reason}") from error
        return cls(OwlNetwork(model, processor, name=info.name, precision=precision), info)

    @property
    def precision(self) -> str:
        """Return what `auto` was resolved to."""
        return "bf16" if self.network.bf16 else "fp32"

    @property
    def class_texts(self) -> ClassTexts:
        """Return templates that are short: the model reads 16 tokens."""
        return ClassTexts(descriptions=("{name}: {description}",))

    @property
    def logit_scale(self) -> float:
        """Return what cosines are multiplied by before a softmax."""
        return self.network.logit_scale

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode upright RGB pictures of any sizes, one after the other: a few thousand regions each.

        Raises: ValueError: proposals are given.
        """
        self.info.refuse_proposals(proposals)
        return [self._recent(image) for image in images]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, E] unit length. The model reads 16 tokens; of a longer text the rest is cut, and logged.

        Raises: OutOfTimeError: see grain.time_limit.
        """
        if not texts:
            return np.zeros((0, self.network.width), np.float32)
        embeds = []
        for first in range(0, len(texts), MAX_TEXTS):
            check_time()
            embeds.append(self.network.encode_texts(texts[first : first + MAX_TEXTS]).float().cpu().numpy())
        return np.concatenate(embeds)

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank the regions by the detector's scores, moved so that USUAL_SCORE is a confidence of one half.

        They are no calibrated probabilities; a description is present as surely as its best region is meant.
        """
        regions, texts = len(features.boxes_xyxy), len(descriptions)
        if not regions or not texts:
            return RegionRanking(np.zeros((regions, texts), np.float32), np.zeros(texts, np.float32))
        assert features.hints is not None
        shift, scale = features.hints[:, :1], features.hints[:, 1:]
        logits = (features.region_embeds @ embeds.T + shift) * scale - np.log(USUAL_SCORE / (1 - USUAL_SCORE))
        confidence = (0.5 + 0.5 * np.tanh(logits / 2)).astype(np.float32)  # the logistic function, without overflow
        return RegionRanking(confidence, confidence.max(axis=0), confidence)

    def _features(self, image: Image.Image) -> ImageFeatures:
        [seen] = self.network.encode_images([image])
        has_area = (seen.boxes_xyxy[:, 2:] > seen.boxes_xyxy[:, :2]).all(axis=1)  # not in the padding alone
        regions = self.network.regions(seen)
        hints = np.stack([regions.shift, regions.scale], axis=1)
        return ImageFeatures(seen.image_embed, regions.embeds, seen.boxes_xyxy, regions.objectness, hints).take(
            np.flatnonzero(has_area)
        )
