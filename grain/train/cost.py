"""Estimate what a training needs before it runs:  python -m grain.train.cost --config FILE --processes 16

Nothing is guessed of the model: it runs forward and backward on tensors that have shapes and no memory, and what it
keeps for its gradient and multiplies is counted. Lengths of texts and the speed of hardware are assumed: flags.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from grain.command import run_command
from grain.config import GrainConfig, preset
from grain.config_file import read_fields
from grain.model.adapters import add_adapters
from grain.model.blocks import blocks_of
from grain.model.model import GrainModel
from grain.structures import Proposals
from grain.train.contrast import MAX_LOGITS
from grain.train_config import TrainConfig

GIB = 2**30
LOGIT_TABLES = 3  # of MAX_LOGITS float32 numbers, that a loss has at a time
PROPOSALS = 20  # boxes an image, where regions start from proposals


@dataclass(frozen=True)
class TextLengths:
    """Lengths and number of a batch's texts."""

    caption_tokens: int = 32
    """Longest caption of a batch."""
    description_tokens: int = 12
    """Longest description of a batch."""
    descriptions: float = 5.0
    """Different descriptions an image."""


@dataclass(frozen=True)
class MemoryCost:
    """Memory and disk of one training. Bytes are one process's, but for `disk_bytes`."""

    parameters: int
    trained: int
    weights_bytes: int
    """Weights, their average, gradients, AdamW's two moments; with several processes the buffers of gradients."""
    activation_bytes: int
    """What a piece keeps for its gradient, and the weights in 16 bits."""
    batch_bytes: int
    """Pictures, embeddings, and what exists of the logits at a time."""
    disk_bytes: int
    """Saved states, with the one that is being written, and best/ and final/."""

    @property
    def bytes(self) -> int:
        """Return the memory of one process in all."""
        return self.weights_bytes + self.activation_bytes + self.batch_bytes


@dataclass(frozen=True)
class Cost(MemoryCost):
    """Memory, disk and work of one training."""

    flops_an_image: float
    """Forward and backward, as multiplications and additions; recompute and pieces each add a forward pass."""
    images: int

    def device_hours(self, *, flops_a_second: float, share: float) -> float:
        """Return the hours of one device for the whole run. share: of its peak that a training reaches."""
        return self.images * self.flops_an_image / (flops_a_second * share) / 3600


def memory_of(
    config: TrainConfig, *, processes: int = 1, model: GrainConfig | None = None, texts: TextLengths = TextLengths()
) -> MemoryCost:
    """Estimate the memory and the disk of a run. What one model and one image keep is counted once a process.

    Args:   processes: that share a batch. model: instead of the preset's, where a run starts from another one.
    Raises: ValueError: no such preset, or the batch does not divide.
    """
    if config.batch_size % processes:
        raise ValueError(f"batch_size ({config.batch_size}) must be a multiple of the {processes} processes")
    local = config.batch_size // processes
    piece = -(-local // config.pieces)
    shape = _shape(config, model)
    kept = _count(_start(config, shape), texts, recompute=config.recompute, bf16=config.precision in ("auto", "bf16"))
    stored = 4 * kept.parameters
    weights = stored * (2 if config.average else 1)
    embeds = 4 * shape.embed_dim * (2 + texts.descriptions + 5) * 4  # image, caption, descriptions, regions; 4 copies
    return MemoryCost(
        parameters=kept.parameters,
        trained=kept.trained,
        weights_bytes=weights + (12 + 4 * (processes > 1)) * kept.trained,
        activation_bytes=kept.one_image + (piece - 1) * (kept.two_images - kept.one_image),
        batch_bytes=int(
            local * 4 * 3 * shape.image_size**2
            + config.batch_size * embeds
            + LOGIT_TABLES * 4 * min(MAX_LOGITS, int((config.batch_size * max(texts.descriptions, 1)) ** 2))
        ),
        disk_bytes=(config.keep + 1) * (weights + 8 * kept.trained) + 2 * stored,
    )


def cost_of(
    config: TrainConfig, *, processes: int = 1, model: GrainConfig | None = None, texts: TextLengths = TextLengths()
) -> Cost:
    """Estimate the memory and the work of a run; arguments and errors are those of `memory_of`."""
    memory = memory_of(config, processes=processes, model=model, texts=texts)
    with FakeTensorMode():
        forward, backward = _flops(_start(config, _shape(config, model)), texts)
    again = forward * (config.recompute + (config.pieces > 1))
    return Cost(**vars(memory), flops_an_image=float(forward + backward + again), images=config.images)


@dataclass(frozen=True)
class _Start:
    """A model before its first step, as a key. shape: JSON of a GrainConfig."""

    shape: str
    lock_image: bool
    lock_text: bool
    adapter_rank: int

    def build(self) -> tuple[GrainModel, GrainConfig]:
        shape = GrainConfig.from_json(json.loads(self.shape))
        model = GrainModel(shape)
        model.lock(image=self.lock_image, text=self.lock_text)
        if self.adapter_rank:
            add_adapters(model, self.adapter_rank)
        return model, shape


def _start(config: TrainConfig, shape: GrainConfig) -> _Start:
    return _Start(json.dumps(shape.to_json()), config.lock_image, config.lock_text, config.adapter_rank)


@dataclass(frozen=True)
class _Kept:
    """Parameters, and bytes that a pass over one and over two images keeps."""

    parameters: int
    trained: int
    one_image: int
    two_images: int


@lru_cache(maxsize=64)  # a form asks again at every change
def _count(start: _Start, texts: TextLengths, *, recompute: bool, bf16: bool) -> _Kept:
    with FakeTensorMode():
        model, shape = start.build()
        one, two = (_kept(model, shape, texts, images=n, recompute=recompute, bf16=bf16) for n in (1, 2))
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return _Kept(sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns), one, two)


def _shape(config: TrainConfig, model: GrainConfig | None) -> GrainConfig:
    shape = model or preset(config.preset)
    if shape.decoder is None or config.clip:
        return shape.as_clip()
    return replace(shape, decoder=replace(shape.decoder, queries=config.queries))


def _run(model: GrainModel, shape: GrainConfig, texts: TextLengths, *, images: int) -> Tensor:
    """Run a forward pass and sum its outputs."""

    def table(rows: int, tokens: int) -> Tensor:
        return torch.ones(rows, min(tokens, shape.text_cfg["context_length"]), dtype=torch.long)

    tables = [table(images, texts.caption_tokens)]
    if shape.decoder is not None:
        tables.append(table(max(round(images * texts.descriptions), 1), texts.description_tokens))
    proposals = None
    if shape.from_proposals:
        proposals = Proposals(torch.rand(images, PROPOSALS, 4), torch.ones(images, PROPOSALS, dtype=torch.bool))
    pixels = torch.randn(images, 3, shape.image_size, shape.image_size)
    output, embeds, scale = model(pixels, tables, proposals)
    kinds = (output.image_embeds, output.region_embeds, output.boxes_cxcywh, *embeds)
    result: Tensor = torch.stack([each.float().sum() for each in kinds]).sum() + scale
    return result


def _flops(start: _Start, texts: TextLengths) -> tuple[int, int]:
    """Count operations of one image: forward, backward."""
    model, shape = start.build()
    with sdpa_kernel(SDPBackend.MATH):  # the counter knows no fused attention of a CPU
        with FlopCounterMode(display=False) as forward:
            loss = _run(model, shape, texts, images=1)
        with FlopCounterMode(display=False) as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    return forward.get_total_flops(), backward.get_total_flops()


def _kept(
    model: GrainModel, shape: GrainConfig, texts: TextLengths, *, images: int, recompute: bool, bf16: bool
) -> int:
    """Count the bytes kept for the gradient after a forward pass over so many images."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    blocks: list[tuple[int, int]] = []  # of each block: what goes in, what is kept within
    recounted = _recounted(model, weights, blocks) if recompute else nullcontext()
    with recounted, _counting(weights) as outside, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        _run(model, shape, texts, images=images)
    within = max((inside for _, inside in blocks), default=0)
    return sum(outside.values()) + sum(entering for entering, _ in blocks) + within


@contextmanager
def _counting(weights: set[int]) -> Iterator[dict[int, int]]:
    """Map storage -> bytes of all that is saved for a gradient, but for the weights themselves."""
    found: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no storage's place is given to another one

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage._cdata not in weights:
            found[storage._cdata] = storage.nbytes()
            alive.append(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        yield found


@contextmanager
def _recounted(model: GrainModel, weights: set[int], blocks: list[tuple[int, int]]) -> Iterator[None]:
    """Count each block's own share into `blocks` and not into the count around it, while this lasts."""

    def counted(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any, **options: Any) -> Any:
            with _counting(weights) as inside:
                result = forward(*inputs, **options)
            if torch.is_tensor(result) and result.requires_grad:
                blocks.append((inputs[0].untyped_storage().nbytes(), sum(inside.values())))
            return result

        return run

    all_blocks: list[nn.Module] = list(blocks_of(model))
    for block in all_blocks:
        block.forward = counted(block.forward)
    try:
        yield
    finally:
        for block in all_blocks:
            del block.forward


@dataclass(frozen=True)
class CostConfig:
    """Print what a training needs."""

    config: Path
    """YAML file of a training."""
    processes: int = 1
    """GPUs."""
    pflops: float = 0.312
    """10¹⁵ operations a second that a device does at most; an A100 does 0.312 in bf16."""
    share: float = 0.35
    """Of that peak that a training reaches."""
    texts: TextLengths = TextLengths()


def main(config: CostConfig) -> None:
    """Run the command line."""
    file = read_fields(config.config, TrainConfig)
    run = TrainConfig(**({"data": Path(), "out": Path()} | file))
    cost = cost_of(run, processes=config.processes, texts=config.texts)
    hours = cost.device_hours(flops_a_second=config.pflops * 1e15, share=config.share)
    print(f"parameters     {cost.parameters / 1e6:.1f} million, {cost.trained / 1e6:.1f} million of them trained")
    print(f"memory a GPU   {cost.bytes / GIB:.1f} GiB: weights {cost.weights_bytes / GIB:.1f},")
    print(f"               activations {cost.activation_bytes / GIB:.1f}, batch {cost.batch_bytes / GIB:.1f}")
    print(f"an image       {cost.flops_an_image / 1e9:.0f} GFLOP")
    print(f"the run        {cost.images / 1e6:.1f} million images: {hours:,.1f} GPU hours")


if __name__ == "__main__":
    run_command(main, CostConfig, module="grain.train.cost")
