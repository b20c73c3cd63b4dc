"""Models, batches and shards small enough to be made by each test, and processes that can be killed."""

from __future__ import annotations

import hashlib
import io
import json
import math
import multiprocessing
import os
import random
import signal
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from grain.boxes import pad_boxes
from grain.checkpoint import CheckpointInfo
from grain.config import ClassTexts, DecoderConfig, GrainConfig
from grain.model.model import GrainModel
from grain.structures import Batch, GrainOutput, ImageFeatures, Proposals, RegionRanking, RegionTargets
from grain.train.gradcache import LossOf
from grain.train.losses import Losses, grain_losses
from grain.train.train import Trainer, train
from grain.train_config import LossWeights, TrainConfig
from tests.support.waiting import PATIENCE_S

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "white": (240, 240, 240)}
THINGS = ("lid", "handle", "star", "stripe")

# A fork server imports the training once (its module: the package is empty), and torch with it; every process that a
# test starts, and perhaps kills, is then there in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["grain.train.train"])


def tiny_config(**decoder: Any) -> GrainConfig:
    """A GRAIN of some 60,000 parameters with every width different, so that a mixed-up one shows."""
    options = {"width": 24, "layers": 2, "heads": 2, "ffn": 40, "dropout": 0.0, "num_queries": 3} | decoder
    return GrainConfig(
        embed_dim=16,
        vision_cfg={"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "qk_norm": True},
        text_cfg={"context_length": 24, "vocab_size": 1000, "width": 28, "heads": 2, "layers": 2, "qk_norm": True},
        decoder=DecoderConfig(**options),
        class_texts=ClassTexts(names=("a {name}",), descriptions=("{description}",)),
    )


# Every switch of the decoder, whichever there are: none (the paper), each alone, all together.
SWITCHES = [field.name for field in fields(DecoderConfig) if isinstance(field.default, bool)]
VARIANTS: dict[str, dict[str, bool]] = (
    {"paper": {}} | {name: {name: True} for name in SWITCHES} | {"all": dict.fromkeys(SWITCHES, True)}
)


def tiny_model(config: GrainConfig, seed: int = 0) -> GrainModel:
    """Random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    return GrainModel(config)


def random_batch(
    config: GrainConfig, regions: Sequence[int], seed: int = 0, texts: int = 5, *, negatives: int = 0
) -> Batch:
    """A batch of len(regions) images with so many regions each; descriptions: `texts` random rows of token ids.

    Where the configuration asks for proposals, image i has 4 − i % 3 of them.
    """
    make = torch.Generator().manual_seed(seed)
    images, total = len(regions), sum(regions)
    corners = torch.rand(total, 2, 2, generator=make).sort(dim=1).values  # [R, low and high, x and y]
    vocabulary, texts = config.text_cfg["vocab_size"], texts if total else 0

    def table(rows: int) -> torch.Tensor:
        ids = torch.randint(1, vocabulary - 2, (rows, 6), generator=make)
        ids[:, 4] = vocabulary - 1  # the end of text: the largest id
        return ids

    return Batch(
        images=torch.randn(images, 3, config.image_size, config.image_size, generator=make),
        captions=table(images + negatives),
        descriptions=table(texts),
        description_ids=torch.arange(texts) * 1000 + 17,
        regions=RegionTargets(
            boxes_xyxy=corners.reshape(total, 4),
            image_index=torch.repeat_interleave(torch.arange(images), torch.tensor(regions)),
            text_index=torch.randint(0, max(texts, 1), (total,), generator=make),
        ),
        proposals=random_proposals([4 - i % 3 for i in range(images)], seed) if config.from_proposals else None,
    )


def random_proposals(counts: Sequence[int], seed: int = 0) -> Proposals:
    """So many boxes for each image."""
    make = np.random.default_rng(seed)
    return pad_boxes([np.sort(make.random((count, 2, 2)), axis=1).reshape(count, 4) for count in counts])


def loss_over(batch: Batch, weights: LossWeights | None = None) -> LossOf:
    """What training computes from a model's answer to a batch."""

    def loss_of(output: GrainOutput, embeds: list[torch.Tensor], scale: torch.Tensor) -> Losses:
        described = embeds[1] if len(embeds) > 1 else embeds[0][:0]
        return grain_losses(
            output,
            caption_embeds=embeds[0],
            description_embeds=described,
            targets=batch.regions,
            description_ids=batch.description_ids,
            logit_scale=scale,
            weights=weights or LossWeights(),
        )

    return loss_of


def losses_of(model: torch.nn.Module, batch: Batch, weights: LossWeights | None = None) -> Losses:
    """One pass and its losses, with the gradient still to come."""
    tables = [table for table in (batch.captions, batch.descriptions) if len(table)]
    return loss_over(batch, weights)(*model(batch.images, tables, batch.proposals))


def kept_bytes(model: torch.nn.Module, batch: Batch) -> int:
    """Distinct memory that a forward pass and its losses keep for the gradient, but for the weights themselves."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    found: dict[int, int] = {}
    alive = []

    def pack(saved: torch.Tensor) -> torch.Tensor:
        alive.append(saved)
        found[saved.untyped_storage()._cdata] = saved.untyped_storage().nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        losses_of(model, batch)
    return sum(size for place, size in found.items() if place not in weights)


def gradients(model: GrainModel) -> dict[str, torch.Tensor]:
    """The gradient of every trainable parameter, by name; each must have one."""
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert len(found) > 80 and [name for name, grad in found.items() if grad is None] == []
    return found  # type: ignore[return-value]


def furthest(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of two gradients, each measured by its parameter's largest entry, if that is over 1."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - grad).abs().max() / grad.abs().max().clamp(min=1)) for name, grad in theirs.items())


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A coloured rectangle on noise."""
    draw = random.Random(seed)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.paste(draw.choice(list(COLOURS.values())), (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    return image


def sample(
    key: str, seed: int, *, regions: int, class_name: str | None = None, proposals: int | None = None
) -> dict[str, bytes]:
    """One image of a shard: file name -> bytes. proposals: so many random boxes beside those of the regions."""
    draw = random.Random(seed)

    def region() -> dict[str, Any]:
        x, y = draw.uniform(0, 0.6), draw.uniform(0, 0.6)
        text = f"a {draw.choice(list(COLOURS))} {draw.choice(THINGS)}"
        box = [x, y, x + draw.uniform(0.1, 0.4), y + draw.uniform(0.1, 0.4)]
        return {"box": box, "text": text, "score": draw.random(), "part": "top"}

    image = picture(seed)
    facts: dict[str, Any] = {"schema_version": 1, "id": key, "width": image.width, "height": image.height}
    facts["caption"] = f"a {draw.choice(list(COLOURS))} thing, number {seed}"
    facts["regions"] = [region() for _ in range(regions)]
    if proposals is not None:
        surplus = random_proposals([proposals], seed).boxes_xyxy[0, :proposals].tolist()
        facts["proposals"] = surplus + [region["box"] for region in facts["regions"]]
    if class_name is not None:
        facts["class"] = class_name
    pixels = io.BytesIO()
    image.save(pixels, "JPEG")
    return {f"{key}.jpg": pixels.getvalue(), f"{key}.json": json.dumps(facts).encode()}


def write_shard(path: Path, samples: Sequence[dict[str, bytes]]) -> dict[str, Any]:
    """A tar of samples; returns its entry in the manifest."""
    with tarfile.open(path, "w") as shard:
        for name, content in (item for one in samples for item in one.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return {"file": path.name, "images": len(samples), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def write_data(
    folder: Path, *, train: int = 12, held_out: int = 6, novel: int = 4, shard: int = 5, proposals: int | None = None
) -> Path:
    """A data folder as curation writes it; images have 0 to 4 regions, unevenly. proposals: see sample."""
    folder.mkdir(parents=True)
    classes = {"zorbex": ["a red lid", "a blue star"], "quimble": ["a green handle"], "plain": []}
    splits: dict[str, list[dict[str, Any]]] = {}
    for offset, (split, images) in enumerate({"train": train, "held_out": held_out, "novel": novel}.items()):
        names = list(classes) if split == "novel" else [None]
        rows = [
            sample(
                f"{split}-{i:07d}",
                100 * offset + i,
                regions=(3 * i) % 5,
                class_name=names[i % len(names)],
                proposals=proposals,
            )
            for i in range(images)
        ]
        splits[split] = [
            write_shard(folder / f"{split}-{start // shard:06d}.tar", rows[start : start + shard])
            for start in range(0, images, shard)
        ]
    manifest = {"schema_version": 1, "source": "tests", "trained_on": "tiny pictures", "seed": 0, "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    return folder


class FakeEncoder:
    """Pictures and texts whose embeddings a test chooses by hand."""

    def __init__(
        self, texts: dict[str, list[float]], features: ImageFeatures, *, scale: float = 10.0, can_ground: bool = True
    ) -> None:
        self.info = CheckpointInfo("fake", "grain" if can_ground else "clip", "nothing", None, can_ground, "", 0)
        self.class_texts = ClassTexts(names=("{name}",), descriptions=("{description}",))
        self.logit_scale, self.precision = scale, "fp32"
        self.asked: list[str] = []
        self.seen: list[Image.Image] = []
        self._texts, self._features = texts, features

    def encode_images(self, images: Sequence[Image.Image], proposals: object = None) -> list[ImageFeatures]:
        self.seen += images
        return [self._features] * len(images)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        width = len(self._features.image_embed)
        return np.array([self._texts[text] for text in texts], np.float32).reshape(-1, width)

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: np.ndarray
    ) -> RegionRanking:
        return RegionRanking.by_cosine(features, embeds)


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def unit(*values: float) -> list[float]:
    """The same direction at length 1."""
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def start(target: Callable[..., None], *arguments: Any, log: Path) -> ForkServerProcess:
    """Run a module's function in a process of its own with one thread; what it prints goes to `log`."""
    process = PROCESSES.Process(target=_run, args=(target, arguments, log), daemon=True)
    process.start()
    return process


def finish(process: ForkServerProcess, seconds: float = PATIENCE_S) -> int | None:
    """Wait for the end; the exit code, None where it did not end in time."""
    process.join(seconds)
    return process.exitcode


def train_apart(config: TrainConfig, *, log: Path) -> None:
    """Train to the end in a process of its own: one with more threads, as other tests leave them, ends otherwise."""
    assert finish(start(train, config, log=log)) == 0, log.read_text()


def train_until_killed(config: TrainConfig, steps: int, *, log: Path) -> None:
    """Train in a process that the system kills once it has logged so many steps, in the middle of the next one."""
    process = start(_train_until_killed, config, steps, log=log)
    assert finish(process) == -signal.SIGKILL, log.read_text()


class _KilledTrainer(Trainer):
    def __init__(self, config: TrainConfig, steps: int) -> None:
        super().__init__(config)
        self.killed_after = steps

    def take_step(self, batch: Batch) -> dict[str, float]:
        numbers = super().take_step(batch)
        if self.step > self.killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return numbers


def _train_until_killed(config: TrainConfig, steps: int) -> None:
    _KilledTrainer(config, steps).run()


def _run(target: Callable[..., None], arguments: Sequence[Any], log: Path) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    target(*arguments)
