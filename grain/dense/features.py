"""Read pictures once through the networks that stay as they are, and keep their tokens for training.

    python -m grain.dense.features --data data/flickr30k --out data/flickr30k-features

Each shard becomes four files; a command that was stopped goes on with the first shard that lacks its last file. A shard
whose content, networks or mirroring are not those of its files is read again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from atomic_files import write_atomically
from grain.checkpoint import EMBEDDED, file_sha256, model_digest
from grain.command import run_command
from grain.data.loader import Shards, find_shards, read_records
from grain.data.record import Box, ShardRecord
from grain.photo.networks import PhotoNetworks
from grain.photo.tokens import MOST_TOKENS, TOKEN_PARTS

TOKENS, SIZES, SOURCE = ".tokens.npy", ".sizes.npy", ".source.json"  # beside NAME.jsonl, which is written last
ARTICLES = frozenset(("a", "an", "the", "of", "his", "her", "their", "its", "some"))


@dataclass(frozen=True)
class FeaturesConfig:
    """Keep the tokens of all pictures of a split, as they are and mirrored."""

    data: Path
    """A data folder with manifest.json, as `python -m curation.exchange.export --format shards` writes it."""
    out: Path
    """A folder; about 1.3 MB a picture."""
    split: str = "train"
    """Which pictures."""
    checkpoint: Path = EMBEDDED / "photo-names"
    """Whose networks read them."""
    mirrored: bool = True
    """Keep them mirrored, too: without, half of the time and room, and a training sees no mirrored picture."""


class Entity(NamedTuple):
    """An object that some phrases of a picture mean: its boxes, normalized xyxy, and every phrase for it."""

    boxes: tuple[Box, ...]
    phrases: tuple[str, ...]


def main(config: FeaturesConfig) -> None:
    """Write the files of each shard; print how many pictures there are."""
    shards = find_shards(config.data, config.split)
    with tqdm(total=shards.images, unit="picture") as bar:
        look, model = PhotoNetworks(config.checkpoint), model_digest(config.checkpoint)
        write_shards(shards, config.out, look, model=model, mirrored=config.mirrored, after_each=bar.update)
    print(f"{shards.images:,} pictures")


def write_shards(
    shards: Shards, out: Path, look: PhotoNetworks, *, model: str, mirrored: bool, after_each: Callable[[], object]
) -> None:
    """Write the files of each shard that are not there, or were made of something else, and remove those of others.

    Args: model: digest of what `look` is. after_each: called after each picture, there or not.
    """
    out.mkdir(parents=True, exist_ok=True)
    _remove_others(out, shards)
    for path, count, sha256 in zip(shards.paths, shards.counts, shards.sha256s, strict=True):
        done = out / f"{path.stem}.jsonl"
        source = {"shard": sha256 or file_sha256(path), "model": model, "mirrored": mirrored}
        if done.is_file() and _source_of(done) == source:
            for _ in range(count):
                after_each()
        else:
            done.unlink(missing_ok=True)
            write_atomically(done.with_suffix(SOURCE), json.dumps(source))
            records = list(read_records(Shards((path,), (count,), shards.trained_on, (sha256,))))
            write_shard(done, records, look, mirrored=mirrored, after_each=after_each)


def _source_of(done: Path) -> Any:
    """Return what a shard's files were made of; None where nobody knows."""
    try:
        return json.loads(done.with_suffix(SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _remove_others(out: Path, shards: Shards) -> None:
    """Remove the files of shards that the split no longer has; shards are named SPLIT-NUMBER."""
    names = {path.stem for path in shards.paths}
    splits = {name.rpartition("-")[0] for name in names}
    for done in out.glob("*.jsonl"):
        if done.stem not in names and done.stem.rpartition("-")[0] in splits:
            for suffix in (".jsonl", TOKENS, SIZES, SOURCE):  # the one that says that they are whole goes first
                done.with_suffix(suffix).unlink(missing_ok=True)


def write_shard(
    done: Path,
    records: Sequence[ShardRecord[Image.Image]],
    look: PhotoNetworks,
    *,
    mirrored: bool = True,
    after_each: Callable[[], object] = lambda: None,
) -> None:
    """Write NAME.tokens.npy [N, 2, 144, 2272] float16, NAME.sizes.npy [N, 2] and, last, NAME.jsonl.

    The second of each two rows of tokens is the mirrored picture's; [N, 1, …] without. sizes: rows and columns of
    tokens. after_each: called after each picture.
    """
    turns = [lambda image: image, ImageOps.mirror][: 1 + mirrored]
    shape = (len(records), len(turns), MOST_TOKENS, sum(TOKEN_PARTS))
    tokens = np.lib.format.open_memmap(done.with_suffix(TOKENS), "w+", np.float16, shape)  # type: ignore[no-untyped-call]
    sizes = np.zeros((len(records), 2), np.int64)
    for row, record in enumerate(records):
        for turn, turned in enumerate(turns):
            cells = look(turned(record.image)).tokens()
            sizes[row] = cells.shape[:2]
            tokens[row, turn, : cells.shape[0] * cells.shape[1]] = cells.reshape(-1, cells.shape[2])
        after_each()
    tokens.flush()
    np.save(done.with_suffix(SIZES), sizes)
    lines = (json.dumps({"key": record.key, "entities": entities_of(record)}) for record in records)
    write_atomically(done, "".join(f"{line}\n" for line in lines))


def entities_of(record: ShardRecord[Image.Image]) -> list[Entity]:
    """Gather phrases that mean the same boxes; a phrase with several boxes means them all."""
    boxes: dict[str, list[Box]] = {}
    for box, text in zip(record.boxes_xyxy, record.texts, strict=True):
        phrase = " ".join(text.lower().split())
        if phrase and box not in boxes.setdefault(phrase, []):
            boxes[phrase].append(box)
    phrases: dict[tuple[Box, ...], list[str]] = {}
    for phrase, own in boxes.items():
        phrases.setdefault(tuple(sorted(own)), []).append(phrase)
    return [Entity(own, tuple(texts)) for own, texts in phrases.items()]


def words_of(phrase: str) -> frozenset[str]:
    """Return the words of a phrase that say something."""
    return frozenset(phrase.lower().split()) - ARTICLES


def read_entities(folder: Path) -> Iterator[tuple[Path, list[list[Entity]]]]:
    """Read what `main` wrote: each shard's file NAME.jsonl and the entities of its pictures.

    Raises: ValueError: there is none.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ValueError(f"{folder} holds no features: run python -m grain.dense.features first")
    for file in files:
        rows = [json.loads(line)["entities"] for line in file.read_text(encoding="utf-8").splitlines()]
        yield file, [[Entity(tuple(map(tuple, boxes)), tuple(texts)) for boxes, texts in row] for row in rows]


if __name__ == "__main__":
    run_command(main, FeaturesConfig, module="grain.dense.features")
