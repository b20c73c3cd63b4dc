"""Estimate what a training needs from its configuration, before dry steps measure it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from grain.config import GrainConfig, preset
from grain.train_config import TrainConfig

WEIGHT, GRADIENT, ADAM = 4, 4, 8  # bytes a parameter
KEPT_FLOATS = 17  # activations kept for the gradient, a layer, token and channel of width
CONTEXT_BYTES = 600e6  # libraries and buffers, before the first weight


@dataclass(frozen=True)
class Need:
    """Bytes but for the counts. memory: of one process. disk: saved states, best and final."""

    parameters: int
    trainable: int
    memory: float
    disk: float


def need(config: TrainConfig, *, processes: int = 1) -> Need | None:
    """Estimate what a run needs; None where the start is a checkpoint of another shape than the preset."""
    if config.init is not None and not config.init.startswith("open_clip:"):
        return None
    model = preset(config.preset)
    model = model.as_clip() if config.clip else model
    vision, text, decoder = parameters(model)
    towers = (vision * (not config.lock_image), text * (not config.lock_text))
    trainable = (_adapters(model, config) if config.adapter_rank else sum(towers)) + decoder
    whole = vision + text + decoder
    images = config.batch_size / processes / config.pieces
    width = 2 if config.precision == "bf16" else 4
    weights = whole * WEIGHT * (2 if config.average else 1)
    memory = weights + trainable * (GRADIENT + ADAM) + images * _activations(model, config) * width
    disk = (config.keep + 1) * (weights + trainable * ADAM) + 2 * whole * WEIGHT
    return Need(whole, trainable, memory + CONTEXT_BYTES, float(disk))


def parameters(config: GrainConfig) -> tuple[int, int, int]:
    """Count the parameters of the image tower, the text tower, and decoder and heads."""
    vision, text, decoder = config.vision_cfg, config.text_cfg, config.decoder
    width, patch = int(vision["width"]), int(vision["patch_size"])
    positions = 0 if vision.get("pos_embed_type") == "sin_cos_2d" else (config.image_size // patch) ** 2 + 1
    image = 3 * patch * patch * width + positions * width + width * config.embed_dim + _blocks(width, vision["layers"])
    words = int(text["vocab_size"]) + int(text["context_length"])
    texts = words * text["width"] + text["width"] * config.embed_dim + _blocks(text["width"], text["layers"])
    if decoder is None:
        return image, texts, 0
    d = decoder.width
    layer = 8 * d * d + 2 * d * decoder.ffn + 16 * d  # self- and cross-attention, feed-forward
    heads = 2 * d * d + 2 * d * config.embed_dim + width * d
    return image, texts, decoder.layers * layer + heads + (decoder.num_queries + 1) * d


def _adapters(model: GrainConfig, config: TrainConfig) -> int:
    """Count what low-rank adapters of the towers' blocks have: attention's two matrices, the feed-forward's two."""
    towers = ((model.vision_cfg, config.lock_image), (model.text_cfg, config.lock_text))
    return sum(
        config.adapter_rank * 16 * int(each["width"]) * int(each["layers"]) for each, locked in towers if not locked
    )


def _blocks(width: int, layers: int) -> int:
    return layers * (12 * width * width + 13 * width)


def _activations(model: GrainConfig, config: TrainConfig) -> float:
    """Numbers kept for one picture with its texts."""
    vision, text, decoder = model.vision_cfg, model.text_cfg, model.decoder
    tokens = (model.image_size // int(vision["patch_size"])) ** 2 + 1
    image = tokens * vision["width"] * vision["layers"] * (not config.lock_image)
    texts = 1 + (config.max_regions if decoder else 0)
    words = texts * text["context_length"] * text["width"] * text["layers"] * (not config.lock_text)
    queries = (tokens + decoder.num_queries) * decoder.width * decoder.layers if decoder else 0
    return float(KEPT_FLOATS * (image + words + queries))
