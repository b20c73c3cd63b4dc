"""Class texts to class embeddings: ours, CLIP_benchmark's loop, open_clip's builder; and how it grows."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
import torch
from clip_benchmark.metrics import zeroshot_classification
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

from benchmarks.evaluation import GRAIN
from benchmarks.memory import extra_megabytes
from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from curation.sample.colors import COLORS
from curation.sample.products import novel_classes
from curation.sample.shapes import KINDS, Part
from curation.sample.words import descriptions_of
from grain.checkpoint import CheckpointInfo
from grain.config import ClassTexts, GrainConfig, preset
from grain.evaluate.text_cache import TextCache
from grain.model.encode import TorchEncoder
from grain.model.model import GrainModel
from grain.model.towers import to_open_clip_names
from grain.structures import Array
from grain.zero_shot import Classes, EmbedTexts, class_prompts

SEED = 0
MAX_TEXTS = 4096  # embedded in one go where only their means are kept
CLASSES, DESCRIPTIONS = 1_000, 20
TEMPLATE = "a photo of a {name}, which has {description}."
CLASSIFIER_ROUNDS = 2
LOOP_BAR, BUILDER_BAR, WARM_BAR, SAME_WEIGHTS = 4.0, 3.0, 500.0, 1e-5
FULL_TOWER_CLASSES = 10  # with ViT-B/16's text tower, which is sixty times as much work


def class_embeddings(classes: Classes, templates: ClassTexts, embed_texts: EmbedTexts) -> Array:
    """[C, E] the class_embeds of build_class_bank alone, in memory that does not grow with the descriptions.

    Raises: ValueError: no classes.
    """
    if not classes:
        raise ValueError("no classes: write at least one as `name: description; description`")
    means: list[Array] = []
    texts: list[str] = []
    sizes: list[int] = []  # texts of each class since the last pass
    for name, descriptions in classes.items():
        mine = [text for group in class_prompts(name, descriptions, templates) for text in group]
        texts += mine
        sizes.append(len(mine))
        if len(texts) >= MAX_TEXTS:
            means.append(_class_means(embed_texts(texts), sizes))
            texts, sizes = [], []
    if texts:
        means.append(_class_means(embed_texts(texts), sizes))
    return np.concatenate(means)


def _class_means(embeds: Array, sizes: Sequence[int]) -> Array:
    starts = np.cumsum([0, *sizes[:-1]])
    sums = np.add.reduceat(embeds, starts)
    means: Array = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return means


def classifier() -> Finding:
    """Class texts to class embeddings, cold and from the cache on disk."""
    small = compare(small_tower(), class_texts(CLASSES), CLASSIFIER_ROUNDS)
    full = compare(preset("vit-b-16").as_clip(), class_texts(FULL_TOWER_CLASSES), 1)
    holds = (
        small["clip_benchmark over grain"][0] >= LOOP_BAR
        and small["open_clip over grain"][0] >= BUILDER_BAR
        and small["clip_benchmark over grain warm"][0] >= WARM_BAR
        and small["largest difference of weights"] <= SAME_WEIGHTS
    )
    columns = ["tower", "classes", *small]
    detail = {
        "texts": f"{DESCRIPTIONS} descriptions a class, filled into {TEMPLATE!r}; about 20 tokens of 77",
        "precision": "float32",
        "towers": [
            dict(zip(columns, ["128 wide, 3 layers", CLASSES, *small.values()], strict=True)),
            dict(zip(columns, ["ViT-B/16's", FULL_TOWER_CLASSES, *full.values()], strict=True)),
        ],
    }
    return Finding(small["clip_benchmark over grain"][0], holds, detail)


def small_tower() -> GrainConfig:
    """A text tower that two cores can show 20,000 padded texts in a minute; CLIP's own vocabulary and context."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
    return replace(preset("sample").as_clip(), text_cfg=text)


def class_texts(count: int) -> dict[str, list[str]]:
    """Made-up classes, each with its descriptions."""
    rng = Random(SEED)
    parts = [Part(slot, kind, color) for slot, kinds in KINDS.items() for kind in kinds for color in COLORS]
    names = novel_classes(SEED, count)
    return {name: [descriptions_of(part)[0] for part in rng.sample(parts, DESCRIPTIONS)] for name in names}


def compare(config: GrainConfig, classes: dict[str, list[str]], rounds: int) -> dict[str, Any]:
    """Every way on the same tower and texts: ratios, the difference of what comes out, seconds."""
    torch.manual_seed(SEED)
    model = GrainModel(config).eval()
    theirs = _as_open_clip(model, config)
    info = CheckpointInfo("random", "clip", "", None, False, "", 0)
    encoder = TorchEncoder(model, config, info, precision="fp32")
    templates = ClassTexts(descriptions=(TEMPLATE,))
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    filled = {name: [TEMPLATE.format(name=name, description=d) for d in rows] for name, rows in classes.items()}
    weights: dict[str, Array] = {}

    def loop() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            found = zeroshot_classification.zero_shot_classifier(
                theirs, tokenizer, list(filled), filled, "cpu", amp=False
            )
        weights["clip_benchmark"] = found.T.numpy()

    def builder() -> None:
        fill = [lambda name, row=row: filled[name][row] for row in range(DESCRIPTIONS)]
        weights["open_clip"] = open_clip.build_zero_shot_classifier(theirs, tokenizer, list(filled), fill).T.numpy()

    def ours() -> None:
        weights["grain"] = class_embeddings(classes, templates, encoder.encode_texts)

    with tempfile.TemporaryDirectory() as folder:
        class_embeddings(classes, templates, TextCache(Path(folder), "model", encoder.encode_texts))

        def warm() -> None:
            cache = TextCache(Path(folder), "model", encoder.encode_texts)  # as another process would open it
            weights["grain warm"] = class_embeddings(classes, templates, cache)
            if cache.encoded:
                raise RuntimeError(f"{cache.encoded} texts were encoded again")

        taken = take_turns(
            {"clip_benchmark": loop, "open_clip": builder, "grain": ours, "grain warm": warm},
            rounds=rounds,
            warm_up=0,
            clock=time.process_time,
        )
    return {
        "clip_benchmark over grain": taken.ratio("clip_benchmark", "grain"),
        "open_clip over grain": taken.ratio("open_clip", "grain"),
        "clip_benchmark over grain warm": taken.ratio("clip_benchmark", "grain warm"),
        "largest difference of weights": float(
            max(np.abs(found - weights["clip_benchmark"]).max() for found in weights.values())
        ),
        **{f"{name}, processor s": taken.median(name) for name in taken.seconds},
    }


def _as_open_clip(model: GrainModel, config: GrainConfig) -> Any:
    clip = CustomTextCLIP(config.embed_dim, CLIPVisionCfg(**config.vision_cfg), CLIPTextCfg(**config.text_cfg))
    clip.load_state_dict(to_open_clip_names(model.state_dict()))
    return clip.eval()


SIZES = (100, 1_000, 10_000, 100_000)  # texts
FLAT_BAR = 16.0  # MB; keeping 100,000 embeddings would take 73
SCALE_CLASSES = 50  # their number stays, so that what comes out stays as large


def classifier_scale() -> Finding:
    """Time and memory of class embeddings against the number of texts, with the embedded model's tower."""
    encoder = TorchEncoder.load(GRAIN)
    rows = [_scale_row(size, encoder) for size in SIZES]
    texts, seconds = ([row[key] for row in rows] for key in ("texts", "processor s"))
    slope = float(np.polyfit(np.log(texts), np.log(seconds), 1)[0])
    grown = rows[-1]["extra MB"] - rows[-2]["extra MB"]
    return Finding(slope, slope <= 1.0 and grown <= FLAT_BAR, {"MB more for the last tenfold": grown, "sizes": rows})


def _scale_row(size: int, encoder: TorchEncoder) -> dict[str, float]:
    seconds: list[float] = []

    def work(classes: dict[str, list[str]]) -> None:
        began = time.process_time()
        class_embeddings(classes, ClassTexts(descriptions=(TEMPLATE,)), encoder.encode_texts)
        seconds.append(time.process_time() - began)

    for color in ("red", "green"):  # other texts: none of them is remembered
        classes = {f"class {row}": _long_list(row, size // SCALE_CLASSES, color) for row in range(SCALE_CLASSES)}
        extra = extra_megabytes(lambda classes=classes: work(classes))  # type: ignore[misc]
    return {"texts": size, "extra MB": extra, "processor s": min(seconds)}


def _long_list(row: int, count: int, color: str) -> list[str]:
    """Descriptions that are all different, about as long as people's, and as many tokens whatever their number."""
    return [f"a {color} handle number {row * count + number:06d} and a blue lid" for number in range(count)]


BENCHMARKS = (
    Benchmark(
        "classifier",
        f"classifier of {CLASSES:,} classes × {DESCRIPTIONS} descriptions, same tower and texts: CLIP_benchmark's loop "
        "over ours",
        f"≥ {LOOP_BAR:g} ×; open_clip's builder ≥ {BUILDER_BAR:g} ×; from the cache ≥ {WARM_BAR:g} ×; weights equal "
        f"within {SAME_WEIGHTS:g}",
        "×",
        SEED,
        classifier,
    ),
    Benchmark(
        "classifier_scale",
        f"the same against the number of texts, {SIZES[0]:,} to {SIZES[-1]:,}: slope of log time over log texts",
        f"≤ 1.0; at most {FLAT_BAR:g} MB more for the last tenfold",
        "",
        SEED,
        classifier_scale,
    ),
)
