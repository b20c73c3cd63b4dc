"""One training step, ViT-B/16: GRAIN's against open_clip's own, and trimmed texts against padded ones."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip_train.train import train_one_epoch
from PIL import Image
from torch.nn import functional as F

from benchmarks.learning import World, write
from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from grain.config import GrainConfig, preset
from grain.data.loader import collate, find_shards, read_records
from grain.data.record import ShardRecord
from grain.data.tokenizer import Tokenizer
from grain.model.model import GrainModel, parameter_groups
from grain.preprocess import image_to_array
from grain.structures import Batch
from grain.train.losses import Losses, grain_losses
from grain.train.start import initial_model
from grain.train.train import Trainer
from grain.train_config import LossWeights, TrainConfig

SEED = 0
PRESET = "vit-b-16"
BATCH = 16  # images: what two cores do in seconds
ROUNDS = 7
CONTEXT = preset(PRESET).text_cfg["context_length"]  # tokens
REGIONS = 5  # descriptions an image
STEP_BAR, TRIM_BAR, SAME_LOSS = 1.0, 1.5, 1e-5
WORLD = World("step", ("--images", "64", "--seed", "3", "--held-out-images", "1", "--classes", "1"))


def train_step() -> Finding:
    """Whole steps on the same pictures and captions: forward, loss, backward, update."""
    records = _records()
    with _trainer() as trainer:
        batch = _batch(records, trainer.model_config, with_regions=False)
        theirs = open_clip_step(trainer.model_config, batch, [record.caption for record in records])
        rounds = take_turns({"open_clip": theirs, "grain": partial(_take, trainer, batch)}, rounds=ROUNDS)
    ratio = rounds.ratio("open_clip", "grain")
    detail = {
        "ratio, with quartiles": ratio,
        "open_clip, s": rounds.median("open_clip"),
        "grain, s": rounds.median("grain"),
        "batch": BATCH,
        "rounds": ROUNDS,
        "caption tokens": f"grain {batch.captions.shape[1]} (trimmed), open_clip {CONTEXT} (as its tokenizer gives)",
        "precision": "bf16 autocast",
        "gradient clipping": "grain yes, open_clip no (its default)",
    }
    return Finding(ratio[0], ratio[0] >= STEP_BAR, detail)


def open_clip_step(config: GrainConfig, batch: Batch, captions: list[str]) -> Callable[[], None]:
    """The peer: open_clip's own training loop over one batch; its model (same towers), its loss, its tokenizer."""
    torch.manual_seed(SEED)
    model = CustomTextCLIP(
        config.embed_dim, CLIPVisionCfg(**config.vision_cfg), CLIPTextCfg(**config.text_cfg), output_dict=True
    )
    optimiser = torch.optim.AdamW(parameter_groups(model, 0.2), lr=1e-6, betas=(0.9, 0.98), eps=1e-6)
    texts = open_clip.tokenize(captions, context_length=CONTEXT)
    data = {"train": SimpleNamespace(set_epoch=lambda epoch: None, dataloader=_OneBatch([(batch.images, texts)]))}
    arguments = Namespace(
        device="cpu",
        precision="amp_bf16",
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        grad_clip_norm=None,
        horovod=False,
        log_every_n_steps=1000,
        batch_size=BATCH,
        world_size=1,
        rank=0,
        wandb=False,
    )
    loss = open_clip.ClipLoss()
    return partial(train_one_epoch, model, data, loss, 0, optimiser, None, None, None, arguments)


class _OneBatch(list[tuple[torch.Tensor, torch.Tensor]]):
    """What open_clip's loop asks of a loader."""

    num_batches, num_samples = 1, BATCH


def trimmed_text() -> Finding:
    """The same step on the same batch, its texts as they are or padded to the whole context."""
    records = _records()
    model, config = initial_model(TrainConfig(Path(), Path(), preset=PRESET, seed=SEED))
    short = _batch(records, config, with_regions=True)
    long = padded(short, CONTEXT)
    difference = abs(float(losses_of(model, short).total) - float(losses_of(model, long).total))
    del model
    with _trainer() as trainer:
        candidates = {"padded": partial(_take, trainer, long), "trimmed": partial(_take, trainer, short)}
        rounds = take_turns(candidates, rounds=ROUNDS)
    ratio = rounds.ratio("padded", "trimmed")
    detail = {
        "ratio, with quartiles": ratio,
        "padded, s": rounds.median("padded"),
        "trimmed, s": rounds.median("trimmed"),
        "difference of losses (float32)": difference,
        "batch": BATCH,
        "rounds": ROUNDS,
        "descriptions": f"{REGIONS} an image, {len(short.descriptions)} different ones",
        "tokens": f"captions {short.captions.shape[1]}, descriptions {short.descriptions.shape[1]}, padded {CONTEXT}",
        "precision": "bf16 autocast",
    }
    return Finding(ratio[0], ratio[0] >= TRIM_BAR and difference <= SAME_LOSS, detail)


def padded(batch: Batch, length: int) -> Batch:
    """The batch with every text as long as the context."""
    captions, descriptions = (
        F.pad(table, (0, length - table.shape[1])) for table in (batch.captions, batch.descriptions)
    )
    return replace(batch, captions=captions, descriptions=descriptions)


@torch.no_grad()
def losses_of(model: GrainModel, batch: Batch) -> Losses:
    """The losses of one batch in float32; the same dropout every time."""
    torch.manual_seed(SEED)
    output, (captions, descriptions), scale = model(batch.images, [batch.captions, batch.descriptions])
    return grain_losses(
        output,
        caption_embeds=captions,
        description_embeds=descriptions,
        targets=batch.regions,
        description_ids=batch.description_ids,
        logit_scale=scale,
        weights=LossWeights(),
    )


def _records() -> list[ShardRecord[Image.Image]]:
    """Pictures of the sample world that have all their parts."""
    found = [record for record in read_records(find_shards(write(WORLD), "train")) if len(record.texts) >= REGIONS]
    return found[:BATCH]


def _batch(records: list[ShardRecord[Image.Image]], config: GrainConfig, *, with_regions: bool) -> Batch:
    tokenizer = Tokenizer(vocab_size=config.text_cfg["vocab_size"], context_length=config.text_cfg["context_length"])
    captions = [record.caption for record in records]
    ready: list[Any] = [replace(record, image=_pixels(record.image, config)) for record in records]  # type: ignore[arg-type]
    return collate(ready, captions, config=config, tokenizer=tokenizer, max_regions=REGIONS, with_regions=with_regions)


def _pixels(picture: Image.Image, config: GrainConfig) -> torch.Tensor:
    return torch.from_numpy(image_to_array(picture, size=config.image_size, mean=config.mean, std=config.std))


@contextmanager
def _trainer() -> Iterator[Trainer]:
    """The product's own trainer, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Trainer(TrainConfig(WORLD.folder, Path(folder), preset=PRESET, batch_size=BATCH, seed=SEED))


def _take(trainer: Trainer, batch: Batch) -> None:
    """One step of the trainer; its warm-up and schedule run on, so the rate stays tiny.

    Raises: ValueError: the guard skipped the update, so that the step would be timed without it.
    """
    trainer.take_step(batch)
    if trainer.guard.skipped:
        raise ValueError("the loss guard skipped a step: the time of a whole step cannot be taken")


BENCHMARKS = (
    Benchmark(
        "train_step",
        "training step without descriptions, ViT-B/16: open_clip's own step (texts padded to 77) over GRAIN's",
        f"≥ {STEP_BAR:.1f} ×",
        "×",
        SEED,
        train_step,
    ),
    Benchmark(
        "trimmed_text",
        "GRAIN's training step with 5 descriptions an image, ViT-B/16: texts padded to 77 over trimmed",
        f"≥ {TRIM_BAR:g} ×, losses equal within {SAME_LOSS:g}",
        "×",
        SEED,
        trimmed_text,
    ),
)
