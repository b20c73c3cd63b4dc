"""Train a query a token on kept features.

    python -m grain.dense.train --features data/flickr30k-features --out runs/dense

Resumes where it stopped: after each epoch the folder holds all that the next one needs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from atomic_files import atomic_file
from grain.checkpoint import EMBEDDED, file_sha256, read_config
from grain.command import run_command
from grain.dense.changed_words import change_word, last_words, strange_word
from grain.dense.features import SIZES, TOKENS, Entity, read_entities, words_of
from grain.dense.losses import Target, dense_losses, implied_texts
from grain.dense.model import DenseRegions
from grain.hardware import uses_bf16
from grain.photo.text_encoder import TextEncoder
from grain.run_settings import another_run, changed_settings, plain_settings
from grain.sentences import mirror_words
from user_errors import UserError

STATE, WEIGHTS = "state.pt", "regions.safetensors"
BETAS, WEIGHT_DECAY, MOST_GRADIENT = (0.9, 0.98), 0.05, 1.0
DRAWN = 3  # phrases of an entity that a step sees
BARE = 0.25  # share of them that lose their article: people type "dog" as well as "a dog"
CHANGED = 0.3  # share of them that are asked with another word, too
STRANGE, STRANGE_WORDS = 8, 1_000  # words that nobody has: asked in each step, and in all
PRINT_EVERY = 50  # steps


@dataclass(frozen=True)
class DenseConfig:
    """Train boxes and embeddings of every token."""

    features: tuple[Path, ...]
    """Folders that `python -m grain.dense.features` wrote."""
    out: Path
    """The run's folder."""
    checkpoint: Path = EMBEDDED / "photo-names"
    """Whose sentence encoder reads the phrases."""
    epochs: int = 10
    """How often each picture is seen."""
    batch_size: int = 32
    """Pictures a step."""
    rate: float = 5e-4
    """Highest learning rate; it rises over `warm_steps` and falls as a cosine."""
    warm_steps: int = 200
    """Steps until the highest rate."""
    average: float = 0.998
    """Share of the kept weights in each step's running mean, which is the result."""
    seed: int = 0
    """Of the first weights and of the order."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """Compute products in bfloat16 or in float32; auto: in bfloat16 where the processor multiplies it faster."""
    start: Path | None = None
    """Weights to begin from: the regions.safetensors of another run."""


class Picture(NamedTuple):
    """The place of a picture's tokens, and what its phrases mean."""

    tokens: Any
    sizes: Any
    row: int
    entities: Sequence[Entity]


class Phrases:
    """The phrases of a training, as sentence embeddings and as words."""

    def __init__(self, pictures: Sequence[Picture], encode: Any, *, seed: int | None = None) -> None:
        """encode: texts -> [T, E]. seed: of words that are changed and made up; None for none of either."""
        texts = {text for picture in pictures for entity in picture.entities for text in entity.phrases}
        texts |= {mirror_words(text) for text in texts}
        self._changed: dict[str, str] = {}
        self.strange: list[str] = []
        if seed is not None:
            order, nouns = np.random.default_rng(seed), last_words(sorted(texts))
            drawn = [text for text in sorted(texts) if order.random() < CHANGED]
            self._changed = {text: change_word(text, nouns, order) for text in drawn}
            self.strange = [strange_word(order) for _ in range(STRANGE_WORDS)]
        texts |= {without_article(text) for text in texts} | set(self._changed.values()) | set(self.strange)
        self._names = sorted(texts)
        self._rows = {text: row for row, text in enumerate(self._names)}
        self.embeds = torch.from_numpy(encode(self._names))

    def changed(self, text: str) -> str | None:
        """Return a phrase with another word in it, for some."""
        return self._changed.get(text)

    def row(self, text: str) -> int:
        """Return where a phrase stands among `embeds`."""
        return self._rows[text]

    def words(self, rows: Sequence[int]) -> Tensor:
        """Return which words each phrase has, [T, W] of 0 and 1."""
        each = [words_of(self._names[row]) for row in rows]
        columns = {word: place for place, word in enumerate(sorted(frozenset().union(*each)))}
        found = torch.zeros(len(rows), len(columns))
        for row, words in enumerate(each):
            found[row, [columns[word] for word in words]] = 1
        return found


class DenseBatch(NamedTuple):
    """tokens: [B, N, 2272]. sizes: [B, 2]. texts: rows of all phrases. own: [B, T], the pictures' own phrases."""

    tokens: Tensor
    sizes: Tensor
    texts: list[int]
    targets: list[Target]
    own: Tensor

    def to(self, device: torch.device) -> DenseBatch:
        """Return it on a device."""
        targets = [replace(target, boxes_xyxy=target.boxes_xyxy.to(device)) for target in self.targets]
        return self._replace(tokens=self.tokens.to(device), sizes=self.sizes.to(device), targets=targets)


def main(config: DenseConfig) -> None:
    """Train, a line every 50 steps; write regions.safetensors.

    Raises: ValueError: a folder holds no features. UserError: the folder holds a run with other settings.
    """
    pictures = read_pictures(config.features)
    phrases = Phrases(pictures, sentence_encoder(config.checkpoint), seed=config.seed)
    run = Run(config, steps_an_epoch=max(1, len(pictures) // config.batch_size))
    print(f"{len(pictures):,} pictures, {len(phrases.embeds):,} phrases, {run.steps:,} steps")
    while run.epoch < config.epochs:
        order = np.random.default_rng([config.seed, run.epoch])
        for batch in batches(pictures, phrases, order, size=config.batch_size):
            run.step(batch, phrases)
        run.epoch += 1
        run.save()


class Run:
    """A training with all that it needs to go on."""

    def __init__(self, config: DenseConfig, *, steps_an_epoch: int) -> None:
        """Begin, or go on where the folder's run stopped.

        Raises: UserError: that run has other settings.
        """
        torch.manual_seed(config.seed)
        self.config, self.steps = config, config.epochs * steps_an_epoch
        self.settings = settings_of(config)
        self.bf16 = uses_bf16(config.precision, "cpu")
        self.model, self.mean = DenseRegions(), DenseRegions()
        if config.start:
            self.model.load_state_dict(load_file(config.start))
        self.mean.load_state_dict(self.model.state_dict())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), config.rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
        self.taken = self.epoch = 0
        if (state := config.out / STATE).is_file():
            self._restore(torch.load(state, weights_only=True))

    def step(self, batch: DenseBatch, phrases: Phrases) -> None:
        """Take one step."""
        turn = min(1.0, (self.taken + 1) / self.config.warm_steps)
        fall = (1 + math.cos(math.pi * self.taken / self.steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * turn * fall
        numbers = dense_gradients(self.model, batch, phrases=phrases, bf16=self.bf16)
        if math.isfinite(numbers["gradient_norm"]):
            self.optimizer.step()
        self.taken += 1
        keep = min(self.config.average, self.taken / (self.taken + 10))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        if self.taken % PRINT_EVERY == 0:
            line = " ".join(f"{name} {numbers[name]:.3f}" for name in ("box", "grounding", "description", "presence"))
            print(f"step {self.taken:,} of {self.steps:,}: {line}", flush=True)

    def save(self) -> None:
        """Write the state and the running mean of the weights."""
        self.config.out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(), "mean": self.mean.state_dict(), "optimizer": self.optimizer.state_dict(),
            "taken": self.taken, "epoch": self.epoch, "steps": self.steps, "generator": torch.get_rng_state(),
            "settings": self.settings,
        }  # fmt: skip
        with atomic_file(self.config.out / STATE) as place:
            torch.save(state, place)
        with atomic_file(self.config.out / WEIGHTS) as place:
            save_file(self.mean.state_dict(), place)

    def _restore(self, state: dict[str, Any]) -> None:
        kept = state.get("settings", self.settings)  # older runs kept none
        if changed := changed_settings(kept, self.settings, places=("features", "checkpoint"), may_change=("out",)):
            raise UserError(another_run(self.config.out, changed))
        if state["steps"] != self.steps:
            raise UserError(
                f"expected the run of {self.steps:,} steps in {self.config.out}, got one of {state['steps']:,}: "
                "take the same features, epochs and batch size, or another folder"
            )
        self.model.load_state_dict(state["model"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.taken, self.epoch = state["taken"], state["epoch"]
        torch.set_rng_state(state["generator"])


def settings_of(config: DenseConfig) -> dict[str, Any]:
    """Return the settings that a run keeps; of the weights that it starts from their digest."""
    return plain_settings(config) | {"start": file_sha256(config.start) if config.start else None}


def dense_gradients(
    model: DenseRegions, batch: DenseBatch, *, phrases: Phrases, bf16: bool, most_gradient: float = MOST_GRADIENT
) -> dict[str, float]:
    """Compute the gradients of a batch, in place of those that are there.

    Returns: each loss under its name, their sum as `loss`, and `gradient_norm` before clipping.
    """
    with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=bf16):
        output = model(batch.tokens, batch.sizes)
    losses = dense_losses(
        model,
        output,
        texts=model.texts(phrases.embeds[batch.texts].to(batch.tokens.device)),
        targets=batch.targets,
        implied=implied_texts(phrases.words(batch.texts), batch.own).to(batch.tokens.device),
    )
    model.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), most_gradient))
    return {"loss": float(losses.total.detach()), **losses.numbers(), "gradient_norm": norm}


def sentence_encoder(checkpoint: Path) -> TextEncoder:
    """Load the sentence encoder of a `photo-names` checkpoint.

    Raises: CheckpointError: its package is not installed.
    """
    return TextEncoder.load(checkpoint / "text.onnx", read_config(checkpoint)["photo"]["sentence_package"])


def read_pictures(folders: Sequence[Path]) -> list[Picture]:
    """Open the kept tokens of all pictures that have a phrase with a box.

    Raises: ValueError: a folder holds no features.
    """
    pictures = []
    for folder in folders:
        for file, rows in read_entities(folder):
            tokens = np.load(file.with_suffix(TOKENS), mmap_mode="r")
            sizes = np.load(file.with_suffix(SIZES))
            pictures += [Picture(tokens, sizes, row, entities) for row, entities in enumerate(rows) if entities]
    return pictures


def batches(
    pictures: Sequence[Picture], phrases: Phrases, order: np.random.Generator, *, size: int
) -> Iterator[DenseBatch]:
    """Give each picture once in an order of its own, mirrored or not; the last few that fill no batch are left out."""
    rows = order.permutation(len(pictures))
    for start in range(0, max(1, len(rows) - size + 1), size):
        chosen = [pictures[row] for row in rows[start : start + size]]
        yield make_batch(chosen, phrases, order)


def make_batch(pictures: Sequence[Picture], phrases: Phrases, order: np.random.Generator | None = None) -> DenseBatch:
    """Read pictures as tokens and targets.

    Args: order: draws which are mirrored and a few phrases of each entity; without it, none and all.
    """
    turns = np.array([picture.tokens.shape[1] for picture in pictures])  # one: kept without its mirrored tokens
    mirrored = order.integers(0, 2, len(pictures)) % turns if order else np.zeros(len(pictures), np.int64)
    sizes = torch.from_numpy(np.stack([picture.sizes[picture.row] for picture in pictures]))
    most = int(sizes.prod(dim=1).max())
    tokens = np.stack([each.tokens[each.row, turn, :most] for each, turn in zip(pictures, mirrored, strict=True)])
    columns: dict[int, int] = {}
    targets, own = [], []
    for number, (picture, turn) in enumerate(zip(pictures, mirrored, strict=True)):
        for boxes, texts in picture.entities:
            own_texts = [mirror_words(text) if turn else text for text in texts]
            chosen = draw_phrases(own_texts, order) if order else own_texts
            known = list({phrases.row(text): None for text in (*own_texts, *chosen)})
            drawn = [columns.setdefault(phrases.row(text), len(columns)) for text in chosen]
            changed = (phrases.changed(text) for text in chosen) if order else ()
            for other in filter(None, changed):  # of no entity, unless it happens to be the phrase of one
                columns.setdefault(phrases.row(other), len(columns))
            corners = torch.tensor(boxes, dtype=torch.float32)
            corners = mirror_boxes(corners) if turn else corners
            targets.append((number, corners, drawn, known))
            own += [(number, row) for row in known]
    if order and phrases.strange:
        for row in order.integers(len(phrases.strange), size=STRANGE):
            columns.setdefault(phrases.row(phrases.strange[row]), len(columns))
    table = torch.zeros(len(pictures), len(columns), dtype=torch.bool)
    for number, row in own:
        if row in columns:
            table[number, columns[row]] = True
    complete = [
        Target(number, corners, drawn, [columns[row] for row in known if row in columns])
        for number, corners, drawn, known in targets
    ]
    return DenseBatch(torch.from_numpy(tokens), sizes, list(columns), complete, table)


def draw_phrases(texts: Sequence[str], order: np.random.Generator) -> list[str]:
    """Draw a few phrases of an entity, some without their article."""
    drawn = [texts[row] for row in order.permutation(len(texts))[:DRAWN]]
    return [without_article(text) if order.random() < BARE else text for text in drawn]


def without_article(phrase: str) -> str:
    """Take the article from the front of a phrase."""
    return re.sub(r"^(a|an|the) (?=.)", "", phrase)


def mirror_boxes(boxes_xyxy: Tensor) -> Tensor:
    """Mirror normalized boxes [M, 4], left to right."""
    left, top, right, bottom = boxes_xyxy.unbind(dim=-1)
    return torch.stack([1 - right, top, 1 - left, bottom], dim=-1)


if __name__ == "__main__":
    run_command(main, DenseConfig, module="grain.dense.train")
