"""Annotating: what the second question costs when the first one's key-value cache is kept."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.random_llava import write_random_llava
from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from curation.annotate.describe import DescribeConfig, LlavaDescriber

SEED = 0
ROUNDS = 5
BAR = 1.6
# LLaVA-NeXT's own tiles and grids, so its own number of picture tokens; the widths are those that one core can carry.
MODEL: dict[str, Any] = {
    "tile": 336,
    "width": 512,
    "layers": 2,
    "vision_width": 64,
    "vision_layers": 2,
    "head_width": 64,
}
SIZES = ((640, 480), (480, 640), (640, 640), (900, 300))  # pixels across and down
ANSWERS = DescribeConfig(caption=False, stage1_tokens=32, stage2_tokens=64)  # a sentence, and ten short phrases


def describe_cache() -> Finding:
    """Both questions about a batch of pictures: two separate calls over one call continued."""
    pictures = _pictures()
    kept, apart = _describers(len(pictures))
    rounds = take_turns(
        {"apart": partial(apart.describe, pictures), "kept": partial(kept.describe, pictures)},
        rounds=ROUNDS,
        clock=time.process_time,
    )
    ratio = rounds.ratio("apart", "kept")
    with_cache, without = kept.describe(pictures), apart.describe(pictures)
    same = [result.raw for result in with_cache] == [result.raw for result in without]
    detail = {
        "ratio, with quartiles": ratio,
        "two separate calls, processor s": rounds.median("apart"),
        "cache kept, processor s": rounds.median("kept"),
        "same text": "yes" if same else "no",
        "tokens read, two separate calls": sum(result.prompt_tokens for result in without),
        "tokens read, cache kept": sum(result.prompt_tokens for result in with_cache),
        "tokens answered": sum(result.answer_tokens for result in with_cache),
        "pictures": f"{len(pictures)} in one batch",
        "model": "random LLaVA-NeXT: tiles of {tile} px, Mistral {width} wide and {layers} deep".format(**MODEL),
        "rounds": ROUNDS,
    }
    return Finding(ratio[0], ratio[0] >= BAR and same, detail)


def _describers(batch_size: int) -> list[LlavaDescriber]:
    """One that keeps the cache and one that does not, over the same weights."""
    with TemporaryDirectory() as place:
        folder = write_random_llava(Path(place), **MODEL, seed=SEED)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
        processor = AutoProcessor.from_pretrained(folder)
    # A token that is never said: every answer then has its full length, and so its full cost on both sides.
    model.generation_config.eos_token_id = processor.tokenizer.pad_token_id
    return [
        LlavaDescriber(model, processor, name="random", config=ANSWERS, batch_size=batch_size, reuse_cache=reuse)
        for reuse in (True, False)
    ]


def _pictures() -> list[Image.Image]:
    make = np.random.default_rng(SEED)
    return [Image.fromarray(make.integers(0, 256, (down, across, 3), dtype=np.uint8)) for across, down in SIZES]


BENCHMARKS = (
    Benchmark(
        "describe_cache",
        "both questions about 4 pictures, random LLaVA-NeXT with its own number of picture tokens: "
        "two separate calls over the key-value cache kept",
        f"≥ {BAR:g} ×, same text",
        "×",
        SEED,
        describe_cache,
    ),
)
