"""R@K both ways from the same embeddings: ours, CLIP_benchmark's and faiss."""

from __future__ import annotations

import time
from collections.abc import Callable

import faiss
import numpy as np
import torch
from clip_benchmark.metrics import zeroshot_retrieval
from numpy.typing import NDArray

from benchmarks.memory import extra_megabytes
from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from grain.evaluate.retrieval import ranks
from grain.structures import Array

SEED = 0
KS = (1, 5, 10)


PICTURES, CAPTIONS_EACH, WIDTH = 5_000, 5, 512
OTHERS_BATCH = 64  # pictures; what clip_benchmark takes by default
RETRIEVAL_ROUNDS = 3
SPEED_BAR, FAISS_BAR, MEMORY_BAR = 5.0, 1.1, 100.0
GALLERIES = (1_000, 5_000, 20_000)  # pictures; memory is read at each


def retrieval() -> Finding:
    """R@1, 5 and 10 both ways from the same embeddings."""
    images, texts, owner = embeddings(PICTURES)
    found: dict[str, dict[str, float]] = {}

    def keep(name: str, measure: Callable[..., dict[str, float]]) -> Callable[[], None]:
        def run() -> None:
            found[name] = measure(images, texts, owner)

        return run

    rounds = take_turns(
        {name: keep(name, way) for name, way in WAYS.items()},
        rounds=RETRIEVAL_ROUNDS,
        warm_up=0,
        clock=time.process_time,
    )
    slower, over_faiss = rounds.ratio("clip_benchmark", "grain"), rounds.ratio("grain", "faiss")
    memory = [_gallery_memory(count) for count in GALLERIES]
    extra = next(row["extra MB"] for row in memory if row["pictures"] == PICTURES)
    differs = max(abs(found[name][key] - value) for name in WAYS for key, value in found["grain"].items())
    detail = {
        "clip_benchmark over grain, with quartiles": slower,
        "grain over faiss, with quartiles": over_faiss,
        "extra MB": extra,
        "largest difference of any R@k": differs,
        **{f"{name}, processor s": rounds.median(name) for name in WAYS},
        "pictures": PICTURES,
        "captions": len(owner),
        "rounds": RETRIEVAL_ROUNDS,
        "R@k": [{"of": key, **{name: found[name][key] for name in WAYS}} for key in found["grain"]],
        "memory by gallery": memory,
    }
    holds = slower[0] >= SPEED_BAR and over_faiss[0] <= FAISS_BAR and extra <= MEMORY_BAR and differs < 1e-6
    return Finding(slower[0], holds, detail)


def embeddings(pictures: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Pictures [I, E], captions [T, E] not far from theirs, and the row of each caption's picture."""
    rng = np.random.default_rng(SEED)
    images = rng.normal(size=(pictures, WIDTH)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    owner = np.repeat(np.arange(pictures), CAPTIONS_EACH)
    noise = rng.normal(size=(len(owner), WIDTH)).astype(np.float32) / WIDTH**0.5
    texts = 0.12 * images[owner] + noise
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return images, texts, owner


def _ours(images: Array, texts: Array, owner: NDArray[np.int64]) -> dict[str, float]:
    found = ranks(images, texts, owner)
    to_text = {f"image_to_text_r{k}": float(found.caption_hits(k).mean()) for k in KS}
    return to_text | {f"text_to_image_r{k}": float(found.picture_hits(k).mean()) for k in KS}


def _faiss(images: Array, texts: Array, owner: NDArray[np.int64]) -> dict[str, float]:
    def nearest(gallery: Array, queries: Array) -> NDArray[np.int64]:
        index = faiss.IndexFlatIP(WIDTH)
        index.add(gallery)
        return np.asarray(index.search(queries, max(KS))[1])

    faiss.omp_set_num_threads(torch.get_num_threads())
    captions, pictures = owner[nearest(texts, images)], nearest(images, texts)
    own = np.arange(len(images))[:, None]
    to_text = {f"image_to_text_r{k}": float((captions[:, :k] == own).any(axis=1).mean()) for k in KS}
    return to_text | {f"text_to_image_r{k}": float((pictures[:, :k] == owner[:, None]).any(axis=1).mean()) for k in KS}


def _clip_benchmark(images: Array, texts: Array, owner: NDArray[np.int64]) -> dict[str, float]:
    """The lines of its `evaluate` behind the encoding."""
    scores = torch.from_numpy(texts) @ torch.from_numpy(images).t()
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), torch.from_numpy(owner)] = True

    def recall(over: torch.Tensor, pairs: torch.Tensor, k: int) -> float:
        found = zeroshot_retrieval.batchify(zeroshot_retrieval.recall_at_k, over, pairs, OTHERS_BATCH, "cpu", k=k)
        return float((found > 0).double().mean())

    to_text = {f"image_to_text_r{k}": recall(scores.T, positive.T, k) for k in KS}
    return to_text | {f"text_to_image_r{k}": recall(scores, positive, k) for k in KS}


WAYS = {"grain": _ours, "faiss": _faiss, "clip_benchmark": _clip_benchmark}


def _gallery_memory(pictures: int) -> dict[str, float]:
    images, texts, owner = embeddings(pictures)
    return {
        "pictures": pictures,
        "captions": len(owner),
        "extra MB": extra_megabytes(lambda: ranks(images, texts, owner)),
    }


BENCHMARKS = (
    Benchmark(
        "retrieval",
        f"R@1, 5, 10 both ways, {PICTURES:,} pictures, {PICTURES * CAPTIONS_EACH:,} captions, {WIDTH}-d: "
        "CLIP_benchmark's processor time over ours",
        f"≥ {SPEED_BAR:g} ×; ≤ {FAISS_BAR:g} × the time of faiss flat; ≤ {MEMORY_BAR:g} MB extra; R@K identical",
        "×",
        SEED,
        retrieval,
    ),
)
