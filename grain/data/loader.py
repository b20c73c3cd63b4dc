"""Read shards as training batches. The order of images depends on the seed alone, so a step is a data position."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from grain.boxes import pad_boxes
from grain.config import GrainConfig
from grain.data.augment import UNCHANGED, Augmentation
from grain.data.jpeg import image_levels, image_tensor, network_input
from grain.data.record import Box, Pixels, ShardRecord
from grain.data.shards import ExactlyOnce, Mixed, Resampled, SampleOrder, SampleReader, index_shard, read_entry, seed_of
from grain.data.tokenizer import OwnTokenizer, Tokenizer, text_id, tokenizer_of
from grain.hard_negatives import hard_negative
from grain.sentences import join_phrases
from grain.structures import SCHEMA_VERSION, Batch, RegionTargets
from grain.train_config import CaptionSource, RegionChoice, Sampling


@dataclass(frozen=True)
class Shards:
    """The part of a data folder that one split names.

    counts: images of each shard. sha256s: of each shard as the manifest has it; "" where it has none.
    """

    paths: tuple[Path, ...]
    counts: tuple[int, ...]
    trained_on: str
    sha256s: tuple[str, ...]

    @property
    def images(self) -> int:
        """Count the images in all."""
        return sum(self.counts)


def find_shards(folder: Path, split: str) -> Shards:
    """Read manifest.json of a data folder.

    Raises: ValueError: no manifest, another schema, no such split, or a shard is missing; one sentence each.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no manifest.json: expected a data folder as curation writes it")
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        schema, splits, trained_on = (manifest[key] for key in ("schema_version", "splits", "trained_on"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a manifest ({error}): write the data again") from error
    if schema != SCHEMA_VERSION:
        raise ValueError(f"{path} has schema {schema}, expected {SCHEMA_VERSION}: write the data again")
    if split not in splits:
        raise ValueError(f"{path} has no split {split!r}: it has {', '.join(splits)}")
    if outside := [entry["file"] for entry in splits[split] if Path(entry["file"]).name != entry["file"]]:
        raise ValueError(f"{path} names {outside[0]!r}, expected a file beside it: write the data again")
    paths = tuple(folder / entry["file"] for entry in splits[split])
    missing = [shard.name for shard in paths if not os.path.isfile(shard)]  # noqa: PTH113 - in half the time of Path.is_file
    if missing:
        raise ValueError(f"{folder} lacks {missing[0]} and {len(missing) - 1} more shards: copy or write them again")
    counts = tuple(int(entry["images"]) for entry in splits[split])
    return Shards(paths, counts, trained_on, tuple(str(entry.get("sha256", "")) for entry in splits[split]))


@dataclass(frozen=True)
class MixedShards:
    """Several splits that are trained on together. weights: how often a picture of each is seen, relative to others."""

    parts: tuple[Shards, ...]
    weights: tuple[float, ...] = (1.0,)

    @property
    def images(self) -> int:
        """Count the images in all."""
        return sum(part.images for part in self.parts)

    @property
    def trained_on(self) -> str:
        """Return what they are, in words."""
        return "; ".join(dict.fromkeys(part.trained_on for part in self.parts))

    def order(self, *, sampling: Sampling, seed: int, batch: int) -> SampleOrder:
        """Return the order in which they are read; of one part that of the part itself."""

        def own(part: Shards, *, batch: int) -> SampleOrder:
            return (
                Resampled(part.counts, seed=seed)
                if sampling == "resampled"
                else ExactlyOnce(part.counts, seed=seed, batch=batch)
            )

        if len(self.parts) == 1:
            return own(self.parts[0], batch=batch)
        firsts = accumulate((len(part.paths) for part in self.parts[:-1]), initial=0)
        shares = [part.images * weight for part, weight in zip(self.parts, self.weights, strict=True)]
        return Mixed([own(part, batch=1) for part in self.parts], list(firsts), shares=shares, seed=seed)


def find_mixed(folder: Path, mix: Sequence[tuple[Path, float]]) -> MixedShards:
    """Find the training splits of a data folder and of those that are mixed in.

    Raises: ValueError: as of find_shards; one of several has no pictures.
    """
    parts = tuple(find_shards(each, "train") for each in (folder, *(other for other, _ in mix)))
    if mix and (empty := [part for part in parts if not part.images]):
        raise ValueError(f"the split train of {empty[0].trained_on} has no pictures: leave it out")
    return MixedShards(parts, (1.0, *(weight for _, weight in mix)))


def read_records(shards: Shards, *, limit: int | None = None) -> Iterator[ShardRecord[Image.Image]]:
    """Read the records of a split in the order of its shards."""
    for sample in islice(read_samples(shards.paths), limit):
        yield decode(sample, picture)


def read_samples(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Read shards in order: file's ending -> bytes, and `__key__` and `__url__`."""
    for path in paths:
        for entry in index_shard(path):
            yield read_entry(path, entry)


def picture(content: bytes) -> Image.Image:
    """Decode a picture file's bytes."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def decode(sample: dict[str, Any], read: Callable[[bytes], Pixels]) -> ShardRecord[Pixels]:
    """Decode a WebDataset sample; boxes are clipped to the image, those without area are left out.

    Args:   read: bytes of the picture -> what the record holds of it.
    Raises: ValueError: the picture or its JSON cannot be read; names the sample and its shard.
    """
    key = sample["__key__"]
    try:
        facts = json.loads(sample["json"])
        caption, class_name, written = facts["caption"], facts.get("class"), str(facts.get("written_caption", ""))
        image = read(sample["jpg"])
        regions = sorted(facts["regions"], key=lambda region: -region["score"])
        kept = [(box, region["text"]) for region in regions if (box := _clipped(region["box"])) is not None]
        further = tuple(text for text in facts.get("captions", ()) if isinstance(text, str) and text)
        proposed = facts.get("proposals")
        if proposed is not None:
            proposed = tuple(box for row in proposed if (box := _clipped(row)) is not None)
    except (KeyError, TypeError, ValueError, OSError) as error:
        shard = sample["__url__"]
        raise ValueError(f"sample {key} of {shard} cannot be read ({error}): write the shard again") from error
    boxes, texts = zip(*kept, strict=True) if kept else ((), ())
    return ShardRecord(key, image, caption, tuple(boxes), tuple(texts), class_name, written, proposed, further)


def proposals_of(records: Sequence[ShardRecord[Any]]) -> list[tuple[Box, ...]]:
    """Return the proposals of each record, for a model whose region queries start from them.

    Raises: ValueError: a shard proposes nothing.
    """
    for record in records:
        if record.proposals is None:
            raise ValueError(f"sample {record.key} has no proposals: write the data again with them")
    return [record.proposals or () for record in records]


def collate(
    records: Sequence[ShardRecord[Tensor]],
    captions: list[str],
    *,
    config: GrainConfig,
    tokenizer: Tokenizer | OwnTokenizer,
    max_regions: int,
    with_regions: bool = True,
) -> Batch:
    """Make a batch of records. Each distinct description is encoded once; the best regions of an image are kept.

    captions: one of each record, then texts that are true of none.
    Raises: ValueError: the configuration needs proposals that a record lacks.
    """
    boxes: list[Box] = []
    image_index: list[int] = []
    texts: list[str] = []
    for row, record in enumerate(records if with_regions else []):
        boxes += record.boxes_xyxy[:max_regions]
        texts += record.texts[:max_regions]
        image_index += [row] * len(record.texts[:max_regions])
    unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return Batch(
        images=torch.stack([record.image for record in records]),
        captions=tokenizer(captions),
        descriptions=tokenizer(list(unique)),
        description_ids=torch.tensor([text_id(text) for text in unique], dtype=torch.long),
        regions=RegionTargets(
            boxes_xyxy=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            image_index=torch.tensor(image_index, dtype=torch.long),
            text_index=torch.tensor([unique[text] for text in texts], dtype=torch.long),
        ),
        proposals=pad_boxes(proposals_of(records)) if config.from_proposals else None,
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device."""
    return batch.mapped(lambda tensor: tensor.to(device, non_blocking=True))


class TrainingStream(IterableDataset[Batch]):
    """The batches of one process from a given step on.

    The global batch of a step is the same however many processes share it: each reads its own rows of it. Only hard
    negatives differ, because they are made of the rows of one process.
    """

    def __init__(
        self,
        shards: MixedShards,
        config: GrainConfig,
        *,
        global_batch: int,
        seed: int,
        first_step: int = 0,
        last_step: int,
        rank: int = 0,
        processes: int = 1,
        max_regions: int = 5,
        regions: RegionChoice = "best",
        caption_source: CaptionSource = "caption",
        hard_negatives: bool = False,
        with_regions: bool = True,
        sampling: Sampling = "exactly_once",
        augmentation: Augmentation = UNCHANGED,
    ) -> None:
        """first_step, last_step: half-open range of global steps. Other arguments as in TrainConfig.

        Raises: ValueError: the batch does not divide by the processes, or the split is smaller than one batch.
        """
        if global_batch % processes:
            raise ValueError(f"batch_size ({global_batch}) must be a multiple of the {processes} processes")
        if shards.images < global_batch:
            raise ValueError(f"the data has {shards.images} images, fewer than one batch of {global_batch}: use less")
        self.config, self.global_batch, self.seed = config, global_batch, seed
        self.reader = SampleReader(
            [path for part in shards.parts for path in part.paths],
            [count for part in shards.parts for count in part.counts],
            shards.order(sampling=sampling, seed=seed, batch=global_batch),
        )
        self.first_step, self.last_step = first_step, last_step
        self.rows = range(rank * global_batch // processes, (rank + 1) * global_batch // processes)
        self.max_regions, self.caption_source, self.with_regions = max_regions, caption_source, with_regions
        self.regions, self.augmentation, self.hard_negatives = regions, augmentation, hard_negatives
        self.tokenizer = tokenizer_of(config)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches in order; of several workers each makes every n-th, and the loader restores the order."""
        worker = get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.first_step + first, self.last_step, workers):
            records, captions, turns = [], [], []
            for row in self.rows:
                sample, turn = self.reader.read(step * self.global_batch + row)
                records.append(self._record(sample, turn))
                captions.append(self._caption(records[-1], turn))
                turns.append(turn)
            yield collate(
                records,
                [*captions, *(self._negatives(records, turns) if self.hard_negatives else ())],
                config=self.config,
                tokenizer=self.tokenizer,
                max_regions=self.max_regions,
                with_regions=self.with_regions,
            )

    def _record(self, sample: dict[str, Any], turn: int) -> ShardRecord[Tensor]:
        """Return a sample as this turn shows it: its regions, its image as the image tower reads it."""
        config = self.config
        shaped = partial(network_input, size=config.image_size, mean=config.mean, std=config.std)
        if not self.augmentation.changes:
            read = partial(image_tensor, size=config.image_size, mean=config.mean, std=config.std)
            return self._chosen(decode(sample, read), turn)
        record = self._chosen(decode(sample, image_levels), turn)
        record = self.augmentation.apply(record, seed_of(self.seed, turn, record.key, "augment"))
        return replace(record, image=shaped(record.image))

    def _chosen(self, record: ShardRecord[Tensor], turn: int) -> ShardRecord[Tensor]:
        """Return a record with the regions of this turn; they keep their order."""
        count = len(record.texts)
        if self.regions == "best" or count <= self.max_regions:
            return record
        draw = random.Random(seed_of(self.seed, turn, record.key, "regions"))
        rows = sorted(draw.sample(range(count), self.max_regions))
        boxes, texts = tuple(record.boxes_xyxy[row] for row in rows), tuple(record.texts[row] for row in rows)
        return replace(record, boxes_xyxy=boxes, texts=texts)

    def _caption(self, record: ShardRecord[Tensor], turn: int) -> str:
        """Return the caption of this turn: one of its own, or what the source draws beside that."""
        mine = [text for text in (record.caption, *record.captions) if text]
        own = mine[0] if mine else record.caption
        if len(mine) > 1:
            own = random.Random(seed_of(self.seed, turn, record.key, "caption")).choice(mine)
        others: Mapping[CaptionSource, tuple[str, ...]] = {
            "either": (record.written_caption,),
            "with_descriptions": record.texts[: self.max_regions],
            "with_sentence": (join_phrases(record.texts[: self.max_regions]),),
        }
        there = (own, *others.get(self.caption_source, ()))
        choices = [text for text in there if text] or [own]
        return choices[0] if len(choices) == 1 else random.Random(seed_of(self.seed, turn, record.key)).choice(choices)

    def _negatives(self, records: Sequence[ShardRecord[Tensor]], turns: Sequence[int]) -> Iterator[str]:
        """Yield a hard negative of each picture that allows one; what is exchanged comes from this process's rows."""
        described = [record.texts[: self.max_regions] for record in records]
        everything = tuple(dict.fromkeys(text for texts in described for text in texts))
        for record, turn, own in zip(records, turns, described, strict=True):
            draw = random.Random(seed_of(self.seed, turn, record.key, "negative"))
            if text := hard_negative(own, everything, draw):
                yield text


@dataclass(frozen=True)
class _LoadError:
    """An error that a loader worker sends for a batch: torch would make its own one a traceback of two processes."""

    sentence: str


class _StreamWithErrors(IterableDataset[Batch | _LoadError]):
    """A stream whose errors arrive as what they say."""

    def __init__(self, stream: TrainingStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Batch | _LoadError]:
        try:
            yield from self.stream
        except (ValueError, OSError) as error:
            yield _LoadError(str(error))


def loader(stream: TrainingStream, workers: int, *, pinned: bool = False) -> Iterator[Batch]:
    """Read a stream in worker processes (0: in this one).

    Args:   pinned: put batches where a GPU can fetch them while it works on the one before.
    Raises: ValueError: a sample cannot be read; one sentence, wherever it was read.
    """
    batches = DataLoader(
        _StreamWithErrors(stream),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pinned,
    )
    for batch in batches:
        if isinstance(batch, _LoadError):
            raise ValueError(batch.sentence)
        yield batch


def _clipped(box: list[float]) -> Box | None:
    x0, y0, x1, y1 = (min(max(float(value), 0.0), 1.0) for value in box)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
