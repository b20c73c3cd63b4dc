"""Train GRAIN and two CLIPs alike on photographs, captions and phrases with boxes: the paper's experiment in small.

    python -m benchmarks.photo_experiment features
    python -m benchmarks.photo_experiment train --seeds 0 1 2
    python -m benchmarks.run regions_on_photographs --write

All arms read the same frozen features (`grain.dense`), the same captions in the same order, as many steps, and have the
same encoder and image query. No picture with one of NOVEL is trained on. GRAIN_BENCH_ENTITIES is as in
benchmarks.phrases; what is made lies in GRAIN_BENCH_DIR/photo_experiment and is resumed.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from atomic_files import atomic_file
from benchmarks.learning import bench_folder
from benchmarks.phrases import folder, upright_picture
from benchmarks.recognition_sets import SETS, RecognitionSet
from benchmarks.recognition_sets import folder as classes_folder
from grain.checkpoint import EMBEDDED
from grain.data.record import ShardRecord
from grain.dense.features import read_entities, words_of, write_shard
from grain.dense.losses import dense_losses, implied_texts
from grain.dense.model import DenseOutput, DenseRegions
from grain.dense.train import (
    BETAS,
    MOST_GRADIENT,
    WEIGHT_DECAY,
    DenseBatch,
    Phrases,
    Picture,
    make_batch,
    sentence_encoder,
)
from grain.hardware import multiplies_bf16
from grain.photo.networks import PhotoNetworks
from grain.preprocess import upright_rgb
from grain.structures import Array

Arm = Literal["grain", "clip", "clip-phrases", "grain-no-rd", "grain-no-box"]
ARMS: Mapping[Arm, str] = {
    "grain": "GRAIN",
    "clip": "CLIP on captions",
    "clip-phrases": "CLIP, phrases as captions too",
    "grain-no-rd": "GRAIN without L_rd",
    "grain-no-box": "GRAIN without L_box",
}
NOVEL = frozenset(
    "bird horse boat motorcycle truck canoe backpack vest sweater scarf skirt glove harness swimsuit sunglass leash"
    " tongue ear beard frisbee chair flower window surfboard guitar flag tent basketball snowboard bench table bed"
    " fountain bridge cliff river couch cellphone book rope".split()
)
"""Written down before anything was trained: things with 30 to 190 pictures, of which no other noun or verb is made."""
EPOCHS, BATCH, RATE, WARM_STEPS = 5, 64, 7e-4, 100
SHARD = 500  # pictures
CAPTIONS = 5


@dataclass(frozen=True)
class Features:
    """Read all pictures and texts once; about 5 GB, ten pictures a second."""


@dataclass(frozen=True)
class Train:
    """Train the arms that have not finished, one after the other."""

    seeds: tuple[int, ...] = (0,)
    """Of the first weights and of the order."""
    arms: tuple[Arm, ...] = ("grain", "clip-phrases", "clip")
    """Which models."""
    epochs: int = EPOCHS
    """How often each picture is seen."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture of the experiment. split: train, val or test, as published. captions: its five."""

    kept: Picture
    split: str
    captions: tuple[str, ...]

    @property
    def novel(self) -> frozenset[str]:
        """Which of NOVEL its captions name."""
        return frozenset(singular(word) for caption in self.captions for word in words_of(caption)) & NOVEL


class Step(NamedTuple):
    """What an arm sees at once. texts: one for each picture."""

    photographs: Sequence[Photograph]
    texts: Sequence[str]


def main(config: Features | Train) -> None:
    """Do what is asked; print what is done."""
    if isinstance(config, Features):
        keep_features()
        encode = Sentences()
        every = photographs()
        encode([text for each in every for text in each.captions])
        Phrases([each.kept for each in every], encode)
        encode.save()
        keep_set_features()
        novel = [each for each in every if each.novel]
        print(f"{len(every):,} pictures, {len(novel):,} with a novel noun, {len(trained_on(every)):,} to train on")
        return
    for seed in config.seeds:
        for arm in config.arms:
            train(arm, seed, epochs=config.epochs)


def place() -> Path:
    """Where features and weights lie."""
    return bench_folder() / "photo_experiment"


def weights_of(arm: Arm, seed: int) -> Path:
    """Return where a finished training's weights are."""
    return place() / "runs" / f"{arm}-{seed}.pt"


def keep_features() -> None:
    """Write tokens of SHARD pictures a file."""
    root, out = folder("GRAIN_BENCH_ENTITIES", "entities.jsonl"), place() / "features"
    out.mkdir(parents=True, exist_ok=True)
    look = PhotoNetworks(EMBEDDED / "photo-names")
    rows = _rows(root)
    for start in range(0, len(rows), SHARD):
        done = out / f"{start:05d}.jsonl"
        if not done.is_file():
            write_shard(done, [_record(root, row) for row in rows[start : start + SHARD]], look, mirrored=False)
        print(f"{min(start + SHARD, len(rows)):,} of {len(rows):,} pictures", flush=True)


class SetFeatures(NamedTuple):
    """A set for recognition. tokens: [N, 144, 2272]. sizes: [N, 2]. targets: [N] rows of classes, which have texts."""

    name: str
    tokens: Array
    sizes: NDArray[np.int64]
    targets: NDArray[np.int64]
    classes: Mapping[str, Sequence[str]]


def keep_set_features() -> None:
    """Write tokens of the sets for recognition that are there; none where GRAIN_BENCH_CLASSES is not set."""
    look = PhotoNetworks(EMBEDDED / "photo-names")
    for data in recognition_data():
        out = place() / "sets"
        out.mkdir(parents=True, exist_ok=True)
        drawn = data.drawn()
        if not (done := out / f"{data.name}.jsonl").is_file():
            records = [ShardRecord(name, upright_rgb(file), "", (), (), None) for name, file in drawn]
            write_shard(done, records, look, mirrored=False)
        print(f"{data.name}: {len(drawn)} pictures", flush=True)


def set_features() -> Iterator[SetFeatures]:
    """Open what keep_set_features wrote."""
    for data in recognition_data():
        file = place() / "sets" / f"{data.name}.jsonl"
        rows = {name: row for row, name in enumerate(data.classes)}
        keys = [json.loads(line)["key"] for line in file.read_text(encoding="utf-8").splitlines()]
        yield SetFeatures(
            data.name,
            np.load(file.with_suffix(".tokens.npy"), mmap_mode="r")[:, 0],
            np.load(file.with_suffix(".sizes.npy")),
            np.array([rows[key] for key in keys]),
            data.classes,
        )


def recognition_data() -> Iterator[RecognitionSet]:
    """Open the sets of benchmarks.recognition_sets that are there."""
    if os.environ.get("GRAIN_BENCH_CLASSES"):
        yield from (
            opener(classes_folder() / name) for name, opener in SETS.items() if (classes_folder() / name).is_dir()
        )


def photographs() -> list[Photograph]:
    """Open all pictures, in the order of the file."""
    root = folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    splits = {
        number: split
        for split in ("train", "val", "test")
        for number in (root / f"{split}.txt").read_text(encoding="utf-8").split()
    }
    texts = {row["image"]: tuple(caption["text"].lower() for caption in row["captions"]) for row in _rows(root)}
    found = []
    for file, entities in read_entities(place() / "features"):
        tokens, sizes = np.load(file.with_suffix(".tokens.npy"), mmap_mode="r"), np.load(file.with_suffix(".sizes.npy"))
        keys = [json.loads(line)["key"] for line in file.read_text(encoding="utf-8").splitlines()]
        for row, (key, own) in enumerate(zip(keys, entities, strict=True)):
            found.append(Photograph(Picture(tokens, sizes, row, own), splits[key.split("_")[0]], texts[key]))
    return found


def trained_on(every: Sequence[Photograph]) -> list[Photograph]:
    """Return the pictures of the training split that show nothing novel and have a phrase with a box."""
    return [each for each in every if each.split == "train" and not each.novel and each.kept.entities]


def singular(word: str) -> str:
    """Take the ending of the plural from a noun, by rule."""
    if word.startswith("scarves"):
        return "scarf"
    return re.sub(r"(?<=ch|sh|ss|.x)es$|(?<=[a-z]{2}[^s])s$", "", word.strip(".,"))


class Sentences:
    """Embed texts once: what was embedded before is kept in a file."""

    def __init__(self) -> None:
        """Read what is kept."""
        self._file = place() / "sentences.npz"
        self._known: dict[str, Any] = {}
        if self._file.is_file():
            kept = np.load(self._file)
            self._known = dict(zip(map(str, kept["texts"]), kept["embeds"], strict=True))
        self._encode: Any = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Embed texts, [T, 384] unit length."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._encode = self._encode or sentence_encoder(EMBEDDED / "photo-names")
            self._known |= dict(zip(new, self._encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def save(self) -> None:
        """Keep all that was embedded."""
        with atomic_file(self._file) as file, file.open("wb") as out:
            np.savez(out, texts=np.array(list(self._known)), embeds=np.stack(list(self._known.values())))


class ImageAndRegions(DenseRegions):
    """A query a token, and one image query that attends to all: the arms differ in what their losses reach."""

    def __init__(self, *, width: int = 256, embed: int = 384) -> None:
        """Random weights."""
        super().__init__(width=width, embed=embed)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.attention = nn.MultiheadAttention(width, 8, batch_first=True)
        self.image = nn.Linear(width, embed)
        self.caption_scale = nn.Parameter(torch.tensor(math.log(14.0)))

    def embed_image(self, states: Tensor, absent: Tensor) -> Tensor:
        """Embed pictures [B, N, width] as [B, E] unit length."""
        query = self.query.expand(len(states), -1, -1).to(states.dtype)
        read, _ = self.attention(query, states, states, key_padding_mask=absent, need_weights=False)
        return F.normalize(self.image(read[:, 0]).float(), dim=-1)

    def embed_patches(self, states: Tensor) -> Tensor:
        """Embed each token as if the image query saw it alone, [B, N, E] unit length."""
        width = states.shape[-1]
        weight, bias = self.attention.in_proj_weight[2 * width :], self.attention.in_proj_bias[2 * width :]
        return F.normalize(self.image(self.attention.out_proj(F.linear(states, weight, bias))).float(), dim=-1)


def steps_of(pictures: Sequence[Photograph], *, seed: int, epoch: int, with_phrases: bool) -> Iterator[Step]:
    """Give each picture once, the same to all arms. with_phrases: half of what is said is a phrase of the picture."""
    order, words = np.random.default_rng([seed, epoch]), np.random.default_rng([seed, epoch, 1])
    rows = order.permutation(len(pictures))
    for start in range(0, len(rows) - BATCH + 1, BATCH):
        chosen = [pictures[row] for row in rows[start : start + BATCH]]
        texts = []
        for each in chosen:
            phrases = [text for entity in each.kept.entities for text in entity.phrases]
            caption, phrase, turn = words.integers(CAPTIONS), words.integers(len(phrases)), words.random() < 0.5
            texts.append(phrases[phrase] if with_phrases and turn else each.captions[caption])
        yield Step(chosen, texts)


def caption_loss(model: ImageAndRegions, images: Tensor, texts: Tensor, step: Step) -> Tensor:
    """Return L_ic, both ways; a text that another picture's own texts imply is no negative for it."""
    logits = model.caption_scale.exp() * images @ texts.T
    owned = [
        [words_of(text) for text in (*each.captions, *(one for entity in each.kept.entities for one in entity.phrases))]
        for each in step.photographs
    ]
    words = [words_of(text) for text in step.texts]
    implied = torch.tensor([[any(word <= own for own in owns) for word in words] for owns in owned])
    logits = logits.masked_fill(implied & ~torch.eye(len(words), dtype=torch.bool), -1e4)
    target = torch.arange(len(words))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train(arm: Arm, seed: int, *, epochs: int) -> None:
    """Train one arm, or go on after its last whole epoch."""
    done = weights_of(arm, seed)
    if done.is_file():
        return
    pictures, encode = trained_on(photographs()), Sentences()
    phrases = Phrases([each.kept for each in pictures], encode)
    torch.manual_seed(seed)
    model = ImageAndRegions()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    steps, taken, first = epochs * (len(pictures) // BATCH), 0, 0
    state_file = done.with_suffix(".state")
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        taken, first = state["taken"], state["epoch"]
    for epoch in range(first, epochs):
        torch.manual_seed(1000 * seed + epoch)  # of dropout
        draw = np.random.default_rng([seed, epoch, 2])
        epoch_losses: list[float] = []
        for step in steps_of(pictures, seed=seed, epoch=epoch, with_phrases=arm == "clip-phrases"):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, (taken + 1) / WARM_STEPS) * (1 + math.cos(math.pi * taken / steps)) / 2
            losses = losses_of(arm, model, step, phrases=phrases, encode=encode, draw=draw)
            optimizer.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
            optimizer.step()
            taken += 1
            epoch_losses.append(float(losses[0].detach()))
        print(f"{arm}, seed {seed}, epoch {epoch + 1} of {epochs}: L_ic {np.mean(epoch_losses):.3f}", flush=True)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "taken": taken, "epoch": epoch + 1}
        _save(state, state_file)
    _save({"model": model.state_dict(), "steps": taken}, done)
    state_file.unlink()


def losses_of(
    arm: Arm, model: ImageAndRegions, step: Step, *, phrases: Phrases, encode: Sentences, draw: np.random.Generator
) -> Tensor:
    """Return L_ic, and for GRAIN the losses of its regions after it."""
    batch = make_batch([each.kept for each in step.photographs], phrases, draw)
    with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bf16("cpu")):
        cells = model.read(batch.tokens, batch.sizes)
        images = model.embed_image(cells.states, cells.absent)
        output = model.propose(cells) if arm.startswith("grain") else None
    texts = model.texts(torch.from_numpy(encode(step.texts)))
    own = caption_loss(model, images, texts, step)
    if output is None:
        return own[None]
    return torch.stack([own, *_region_losses(arm, model, output, batch=batch, phrases=phrases)])


def _region_losses(
    arm: Arm, model: DenseRegions, output: DenseOutput, *, batch: DenseBatch, phrases: Phrases
) -> list[Tensor]:
    losses = dense_losses(
        model,
        output,
        texts=model.texts(phrases.embeds[batch.texts]),
        targets=batch.targets,
        implied=implied_texts(phrases.words(batch.texts), batch.own),
    )
    box = losses.box * (arm != "grain-no-box")
    return [box, *((losses.grounding, losses.description) if arm != "grain-no-rd" else ())]


def _save(state: Mapping[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as out:
        torch.save(state, out)


def _rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "entities.jsonl").read_text(encoding="utf-8").splitlines()]


def _record(root: Path, row: Mapping[str, Any]) -> ShardRecord[Image.Image]:
    """Return a picture in about its own shape, and every phrase with each of its boxes."""
    size = np.array([row["w"], row["h"]] * 2)
    mentions = [phrase for caption in row["captions"] for phrase in caption["phrases"] if phrase["id"] in row["boxes"]]
    named = {(phrase["text"], phrase["id"]): None for phrase in mentions}
    pairs = [(text, tuple((np.array(box) / size).tolist())) for text, name in named for box in row["boxes"][name]]
    upright = upright_picture(root, row)
    return ShardRecord(
        row["image"], upright, "", tuple(box for _, box in pairs), tuple(text for text, _ in pairs), None
    )


if __name__ == "__main__":
    main(tyro.cli(Features | Train))  # type: ignore[arg-type]
