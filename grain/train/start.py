"""Set a training up: the model before its first step, and the learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from grain.checkpoint import locate, read_info
from grain.config import DecoderConfig, GrainConfig, Queries, preset
from grain.model.adapters import add_adapters
from grain.model.model import GrainModel
from grain.model.pretrained import from_open_clip, from_pretrained, load_towers
from grain.train_config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step: linear from 1e-6 over the warm-up, then cosine to the final rate."""
    warm = min(config.warmup_images // config.batch_size, config.steps)
    if step < warm:
        return 1e-6 + (config.learning_rate - 1e-6) * (step + 1) / warm
    progress = (step - warm) / max(config.steps - warm, 1)
    low, high = config.final_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def starts_from_regions(config: TrainConfig) -> bool:
    """Return whether the start is a `photo` checkpoint, whose regions alone are trained (grain.train.region_trainer).

    Raises: CheckpointError: it is a folder without a checkpoint.
    """
    if config.init is None or config.init.startswith("open_clip:"):
        return False
    return read_info(locate(config.init)).learned_regions


def initial_model(config: TrainConfig) -> tuple[GrainModel, GrainConfig]:
    """Build the model before the first step.

    Raises: ValueError, CheckpointError: preset or init cannot be used.
    """
    torch.manual_seed(config.seed)
    preset_config = preset(config.preset)
    if preset_config.decoder is not None:
        preset_config = replace(
            preset_config, decoder=None if config.clip else replace(preset_config.decoder, queries=config.queries)
        )
    if config.init is None:
        model, model_config = GrainModel(preset_config), preset_config
    elif config.init.startswith("open_clip:"):
        _, name, *rest = config.init.split(":", 2)
        weights, decoder = rest[0] if rest else None, _new_decoder(preset_config, config)
        model, model_config = from_open_clip(name, weights, decoder)
        _keep_pooled(model)
    else:
        preset_config = replace(preset_config, decoder=_new_decoder(preset_config, config))
        model, model_config = _from_checkpoint(locate(config.init), preset_config)
    model.lock(image=config.lock_image, text=config.lock_text)
    if config.adapter_rank:
        add_adapters(model, config.adapter_rank)
    return model, model_config


def _from_checkpoint(folder: Path, preset_config: GrainConfig) -> tuple[GrainModel, GrainConfig]:
    start, start_config = from_pretrained(folder)
    if _queries(start_config) == _queries(preset_config):
        return start.train(), start_config
    model_config = replace(start_config, decoder=preset_config.decoder)
    model = GrainModel(model_config)
    load_towers(model, {k: v for k, v in start.state_dict().items() if not k.startswith(("decoder.", "heads."))})
    _keep_pooled(model)
    return model, model_config


def _new_decoder(preset_config: GrainConfig, config: TrainConfig) -> DecoderConfig | None:
    """Return the decoder that is put on given towers, which adds to their own image embedding unless told otherwise.

    Untrained regions are not added to it.
    """
    decoder = preset_config.decoder
    if decoder is None or not config.add_pooled:
        return decoder
    return replace(decoder, add_pooled=True, add_regions=False)


def _keep_pooled(model: GrainModel) -> None:
    """Start a new decoder's part of the image embedding at zero, where it is added to CLIP's own."""
    if model.heads is not None and model.add_pooled:
        torch.nn.init.zeros_(model.heads.image_projection)


def _queries(config: GrainConfig) -> Queries | None:
    return config.decoder.queries if config.decoder else None
