"""Open the models of an evaluation: checkpoint folders, embedded ones, open_clip models, and CLIP twins."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from numpy.typing import ArrayLike
from PIL import Image

from grain.checkpoint import COSINE_KINDS, CheckpointInfo, file_sha256, locate, model_digest, read_info
from grain.config import ClassTexts
from grain.data.data_sets import EvaluationItem
from grain.evaluate.experiments import NO_BOXES
from grain.evaluate.features import must_be_finite
from grain.evaluate.text_cache import TextCache
from grain.photo.tiles import TILING
from grain.predict import Encoder, Predictor, load_encoder
from grain.structures import Array, ImageFeatures, RegionRanking

OPEN_CLIP = "open_clip:"  # before a name, and `=` before its weights


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to evaluate. spec: as the command names it. digest: of what decides its embeddings.

    texts: the cache of its text embeddings. encoder: the model without that cache.
    """

    spec: str
    predictor: Predictor
    class_texts: ClassTexts
    logit_scale: float
    digest: str
    texts: TextCache
    encoder: Encoder

    def rank(self, item: EvaluationItem, features: ImageFeatures, texts: Sequence[str]) -> RegionRanking:
        """Rank a picture's regions for each text, as Predictor does; some kinds look at the picture again.

        Raises: UserError: it cannot be read any more.
        """
        embeds = self.texts(texts)
        if self.info.kind in COSINE_KINDS:
            return RegionRanking.by_cosine(features, embeds)
        return self.encoder.rank_regions(item.open(), features, descriptions=texts, embeds=embeds)

    @property
    def info(self) -> CheckpointInfo:
        """Return what the checkpoint is and what it was trained on."""
        return self.predictor.info

    @property
    def features_digest(self) -> str:
        """Return the digest of what decides its features of pictures, and of how it sees long ones where in parts."""
        if self.info.kind != "photo":
            return self.digest
        return hashlib.sha256(f"{TILING} {self.digest}".encode()).hexdigest()


class CachedTexts:
    """An encoder whose texts come from a cache; see grain.predict.Encoder."""

    def __init__(self, encoder: Encoder, texts: TextCache) -> None:
        """texts: the encoder's own."""
        self.info, self._encoder, self.encode_texts = encoder.info, encoder, texts

    @property
    def precision(self) -> str:
        """See Encoder."""
        return self._encoder.precision

    @property
    def class_texts(self) -> ClassTexts:
        """See Encoder."""
        return self._encoder.class_texts

    @property
    def logit_scale(self) -> float:
        """See Encoder."""
        return self._encoder.logit_scale

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """See Encoder."""
        return self._encoder.encode_images(images, proposals)

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """See Encoder."""
        return self._encoder.rank_regions(image, features, descriptions=descriptions, embeds=embeds)


def open_model(spec: str, cache: Path, *, precision: str = "auto") -> EvaluatedModel:
    """Load a model.

    Args:   spec: a checkpoint folder; an embedded one by name; either with `no-boxes:` before it, for its box head
            switched off; or `open_clip:ViT-B-16=WEIGHTS`, WEIGHTS a .safetensors file or a published tag. cache: folder
            of text embeddings.
    Raises: ValueError: it cannot be used; one sentence says why.
    """
    if spec.startswith(OPEN_CLIP):
        encoder, digest = _open_clip(spec, precision)
    elif spec.startswith(NO_BOXES):
        encoder, digest = _without_boxes(locate(spec.removeprefix(NO_BOXES)), precision)
    else:
        folder = locate(spec)
        encoder, digest = load_encoder(folder, precision=precision), model_digest(folder)
    if encoder.precision != "fp32":  # what was kept under the plain digest is fp32's
        digest = hashlib.sha256(f"{encoder.precision} {digest}".encode()).hexdigest()
    texts = TextCache(cache / "texts", digest, partial(_finite_texts, encoder))
    cached = CachedTexts(encoder, texts)
    return EvaluatedModel(spec, Predictor(cached), encoder.class_texts, encoder.logit_scale, digest, texts, encoder)


def _finite_texts(encoder: Encoder, texts: Sequence[str]) -> Array:
    """Embed texts.

    Raises: CheckpointError: an embedding is not finite.
    """
    embeds = encoder.encode_texts(texts)
    must_be_finite(encoder.info.name, "texts", embeds)
    return embeds


def twin_of(spec: str) -> str | None:
    """Return the folder of the CLIP twin that a checkpoint names beside it; None without a name or a folder.

    Raises: CheckpointError: there is no such checkpoint.
    """
    if spec.startswith(OPEN_CLIP):
        return None
    folder = locate(spec.removeprefix(NO_BOXES))
    twin = read_info(folder).twin
    beside = folder.parent / Path(twin).name if twin else None
    if beside is None or not beside.is_dir():
        return None
    return beside.name if locate(beside.name) == beside else str(beside)


def _without_boxes(folder: Path, precision: str) -> tuple[Encoder, str]:
    from grain.model.encode import TorchEncoder  # torch: not before a model needs it

    info = read_info(folder)
    if info.kind != "grain":
        raise ValueError(f"{info.name} has no box head to switch off: choose a GRAIN checkpoint")
    encoder = TorchEncoder.load(folder, precision=precision, with_boxes=False)
    return encoder, hashlib.sha256(f"{NO_BOXES}{model_digest(folder)}".encode()).hexdigest()


def _open_clip(spec: str, precision: str) -> tuple[Encoder, str]:
    from grain.model.encode import TorchEncoder  # torch: not before a model needs it
    from grain.model.pretrained import from_open_clip, state_sha256

    name, _, weights = spec.removeprefix(OPEN_CLIP).partition("=")
    model, config = from_open_clip(name, weights or None)
    file = Path(weights)
    content = file_sha256(file) if weights and file.is_file() else state_sha256(model)
    digest = hashlib.sha256(f"{name} {content}".encode()).hexdigest()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    title = f"open_clip {name}" + (f" {file.name}" if weights else "")
    info = CheckpointInfo(
        name=title,
        kind="clip",
        trained_on=f"whatever {title} was trained on",
        twin=None,
        can_ground=False,
        grounding_note="an open_clip model has no trained decoder",
        parameters=parameters,
    )
    return TorchEncoder(model.eval(), config, info, precision=precision), digest
