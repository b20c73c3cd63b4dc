"""Estimate what a training needs before it runs:  python -m grain.train.cost --config FILE --processes 16

Nothing is guessed of the model: it runs forward and backward on tensors that have shapes and no memory, and what it
keeps for its gradient and multiplies is counted. Lengths of texts and the speed of hardware are assumed: flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
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
    """What a batch's texts are like."""

    caption_tokens: int = 32
    """Longest caption of a batch."""
    description_tokens: int = 12
    """Longest description of a batch."""
    descriptions: float = 5.0
    """Different descriptions an image."""


@dataclass(frozen=True)
class Cost:
    """Of one training. Bytes are one process's."""

    parameters: int
    trained: int
    weights_bytes: int
    """Weights, their average, gradients, AdamW's two moments; with several processes the buffers of gradients."""
    activation_bytes: int
    """What a piece keeps for its gradient, and the weights in 16 bits."""
    batch_bytes: int
    """Pictures, embeddings, and what exists of the logits at a time."""
    flops_an_image: float
    """Forward and backward, as multiplications and additions; recompute and pieces each add a forward pass."""
    images: int

    @property
    def bytes(self) -> int:
        """Return the memory of one process in all."""
        return self.weights_bytes + self.activation_bytes + self.batch_bytes

    def device_hours(self, *, flops_a_second: float, share: float) -> float:
        """Hours of one device for the whole run. share: of its peak that a training reaches."""
        return self.images * self.flops_an_image / (flops_a_second * share) / 3600


def cost_of(
    config: TrainConfig, *, processes: int = 1, model: GrainConfig | None = None, texts: TextLengths = TextLengths()
) -> Cost:
    """Estimate the memory and the work of a run.

    Args:   processes: that share a batch. model: instead of the preset's, where a run starts from another one.
    Raises: ValueError: no such preset, or the batch does not divide.
    """
    shape = _shape(config, model)
    if config.batch_size % processes:
        raise ValueError(f"batch_size ({config.batch_size}) must be a multiple of the {processes} processes")
    local = config.batch_size // processes
    piece = -(-local // config.pieces)
    with FakeTensorMode():
        built = GrainModel(shape)
        built.lock(image=config.lock_image, text=config.lock_text)
        if config.adapter_rank:
            add_adapters(built, config.adapter_rank)
        one, two = (_kept(built, shape, texts, images=n, config=config) for n in (1, 2))
        forward, backward = _flops(built, shape, texts)
    total = sum(p.numel() for p in built.parameters())
    trained = sum(p.numel() for p in built.parameters() if p.requires_grad)
    again = forward * (config.recompute + (config.pieces > 1))
    embeds = 4 * shape.embed_dim * (2 + texts.descriptions + 5) * 4  # image, caption, descriptions, regions; 4 copies
    return Cost(
        parameters=total,
        trained=trained,
        weights_bytes=4 * total * (2 if config.average else 1) + (12 + 4 * (processes > 1)) * trained,
        activation_bytes=one + (piece - 1) * (two - one),
        batch_bytes=int(
            local * 4 * 3 * shape.image_size**2
            + config.batch_size * embeds
            + LOGIT_TABLES * 4 * min(MAX_LOGITS, int((config.batch_size * max(texts.descriptions, 1)) ** 2))
        ),
        flops_an_image=float(forward + backward + again),
        images=config.images,
    )


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


def _flops(model: GrainModel, shape: GrainConfig, texts: TextLengths) -> tuple[int, int]:
    """Count operations of one image: forward, backward."""
    with sdpa_kernel(SDPBackend.MATH):  # the counter knows no fused attention of a CPU
        with FlopCounterMode(display=False) as forward:
            loss = _run(model, shape, texts, images=1)
        with FlopCounterMode(display=False) as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    return forward.get_total_flops(), backward.get_total_flops()


def _kept(model: GrainModel, shape: GrainConfig, texts: TextLengths, *, images: int, config: TrainConfig) -> int:
    """Count the bytes kept for the gradient after a forward pass over so many images."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    blocks: list[tuple[int, int]] = []  # of each block: what goes in, what is kept within
    with _recounted(model, weights, blocks) if config.recompute else nullcontext(), _counting(weights) as outside:
        casts = torch.autocast("cpu", torch.bfloat16) if config.precision == "bf16" else nullcontext()
        with casts:
            _run(model, shape, texts, images=images)
    within = max((inside for _, inside in blocks), default=0)
    return sum(outside.values()) + sum(entering for entering, _ in blocks) + within


@contextmanager
def _counting(weights: set[int]) -> Iterator[dict[int, int]]:
    """Storage -> bytes of all that is saved for a gradient, but for the weights themselves."""
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
    """While this lasts each block's own count goes into `blocks` and not into the count around it."""

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
