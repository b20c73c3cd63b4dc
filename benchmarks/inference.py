"""One picture through Predictor, ViT-B/16 with random weights: bf16 against fp32, and GRAIN against open_clip alone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from PIL import Image

from benchmarks.rows import AS_MEASURED, Benchmark, Finding
from benchmarks.timing import take_turns
from curation.sample.products import novel_classes
from curation.sample.scenes import render_scene
from grain.checkpoint import CheckpointInfo
from grain.config import GrainConfig, preset
from grain.hardware import multiplies_bf16
from grain.model.encode import TorchEncoder
from grain.model.model import GrainModel
from grain.predict import Predictor

SEED = 1001
PRESET = "vit-b-16"
ROUNDS = 15
PICTURES = 200  # half of them noise, half sample world
CLASSES = 100
SPEED_BAR, SAME_BAR = 2.0, 0.99
PRECISIONS = ("fp32", "bf16")


def predict_bf16() -> Finding:
    """Seconds for one picture in both precisions, and how often both name the same class."""
    predictors = _predictors()
    picture = _pictures()[0]
    rounds = take_turns({name: partial(each.features, picture) for name, each in predictors.items()}, rounds=ROUNDS)
    ratio = rounds.ratio("fp32", "bf16")
    same = same_top1(predictors["fp32"], predictors["bf16"])
    detail = {
        "ratio, with quartiles": ratio,
        **{f"{name}, ms": 1000 * rounds.median(name) for name in PRECISIONS},
        "same top-1, %": 100 * same,
        "pictures": f"{PICTURES // 2} noise, {PICTURES - PICTURES // 2} sample world",
        "classes": CLASSES,
        "rounds": ROUNDS,
    }
    fast_enough = ratio[0] >= SPEED_BAR or not multiplies_bf16("cpu")
    return Finding(ratio[0], fast_enough and same >= SAME_BAR, detail)


def same_top1(one: Predictor, other: Predictor) -> float:
    """Share of the pictures on which two predictors put the same class first."""
    classes = {name: list(found.descriptions) for name, found in novel_classes(SEED, CLASSES).items()}
    pictures = _pictures()
    first, second = (
        each.classify_features([each.features(picture) for picture in pictures], classes, alpha=1.0).argmax(axis=1)
        for each in (one, other)
    )
    return float((first == second).mean())


def predict_overhead() -> Finding:
    """From a picture to boxes and embeddings by Predictor, over open_clip's image encoder on a ready tensor."""
    picture = _pictures()[0]
    candidates: dict[str, Callable[[], object]] = {}
    for name, predictor in _predictors().items():
        candidates[f"grain {name}"] = partial(predictor.features, picture)
        candidates[f"open_clip {name}"] = open_clip_encoder(preset(PRESET), bf16=name == "bf16")
    rounds = take_turns(candidates, rounds=ROUNDS)
    ratios = {name: rounds.ratio(f"grain {name}", f"open_clip {name}") for name in PRECISIONS}
    detail = {
        **{f"ratio in {name}, with quartiles": ratio for name, ratio in ratios.items()},
        **{f"{name}, ms": 1000 * rounds.median(name) for name in candidates},
        "picture": "{} x {} px, decoding and resizing within GRAIN's time only".format(*picture.size),
        "rounds": ROUNDS,
    }
    return Finding(ratios["bf16" if multiplies_bf16("cpu") else "fp32"][0], None, detail)


def open_clip_encoder(config: GrainConfig, *, bf16: bool) -> Callable[[], object]:
    """The peer: open_clip's eager image encoder of the same shape on one picture that is already a tensor."""
    torch.manual_seed(SEED)
    model = CustomTextCLIP(config.embed_dim, CLIPVisionCfg(**config.vision_cfg), CLIPTextCfg(**config.text_cfg)).eval()
    pixels = torch.randn(1, 3, config.image_size, config.image_size)

    def encode() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            model.encode_image(pixels, normalize=True)

    return encode


def _predictors() -> dict[str, Predictor]:
    """The same random weights behind each precision, a copy each: an encoder may change how its own are stored."""
    torch.manual_seed(SEED)
    config = preset(PRESET)
    model = GrainModel(config)
    size = sum(parameter.numel() for parameter in model.parameters())
    info = CheckpointInfo(PRESET, config.kind, "random weights", None, True, "", size)
    return {name: Predictor(TorchEncoder(deepcopy(model), config, info, precision=name)) for name in PRECISIONS}


def _pictures() -> list[Image.Image]:
    noise = np.random.default_rng(SEED).integers(0, 256, (PICTURES // 2, 240, 320, 3), dtype=np.uint8)
    scenes = (render_scene("novel", seed=SEED, index=index).image for index in range(PICTURES - PICTURES // 2))
    return [*scenes, *(Image.fromarray(pixels) for pixels in noise)]


BENCHMARKS = (
    Benchmark(
        "predict_bf16",
        "one picture through `Predictor`, ViT-B/16 with random weights: fp32 over bf16",
        f"≥ {SPEED_BAR:g} × where the processor has bf16, ≥ {SAME_BAR:.0%} same top-1",
        "×",
        SEED,
        predict_bf16,
    ),
    Benchmark(
        "predict_overhead",
        "one picture, ViT-B/16: GRAIN's `Predictor` over open_clip's eager image encoder alone",
        AS_MEASURED,
        "×",
        SEED,
        predict_overhead,
    ),
)
