"""A sample world's training pictures as annotators that err tell of them: the same pictures, other descriptions.

The sample annotators are asked, as `curation.annotate` asks them, and their regions take the place of the true ones.
The captions stay as they are, and so does the held-out split.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from atomic_files import atomic_file, write_atomically
from curation.annotate.sample_annotators import ROW, SampleConfig, SampleDescriber, SampleLocalizer
from db.models import Image as Picture
from grain.checkpoint import file_sha256
from grain.structures import Region

MANIFEST = "manifest.json"
Sample = tuple[str, bytes, dict[str, Any]]  # key, JPEG, JSON
Keep = Callable[[Sequence[Image.Image], Sequence[Sequence[Region]]], list[tuple[Region, ...]]]
"""The pictures of a batch and what is said of each -> what stays of it."""
BATCH = 64  # pictures


def everything(images: Sequence[Image.Image], found: Sequence[Sequence[Region]]) -> list[tuple[Region, ...]]:
    """See Keep: nothing is left out."""
    return [tuple(regions) for regions in found]


def write_noisy(source: Path, out: Path, config: SampleConfig, keep: Keep = everything) -> Path:
    """Write `source` again under `out` with the annotators' regions, unless it is there whole; returns `out`."""
    if (out / MANIFEST).is_file():
        return out
    out.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    manifest["splits"] = {split: manifest["splits"][split] for split in ("train", "held_out")}
    for entry in manifest["splits"]["held_out"]:
        shutil.copyfile(source / entry["file"], out / entry["file"])
    for entry in manifest["splits"]["train"]:
        samples = noisy_samples(source / entry["file"], config, keep)
        with atomic_file(out / entry["file"]) as temporary, temporary.open("wb") as file:
            _write(samples, file)
        entry["sha256"] = file_sha256(out / entry["file"])
    manifest["told"] = {"wrong": config.wrong, "shifted": config.shifted, "seed": config.seed}
    text = json.dumps(manifest, indent=1) + "\n"
    write_atomically(out / MANIFEST, text)
    return out


def noisy_samples(shard: Path, config: SampleConfig, keep: Keep = everything) -> Iterator[Sample]:
    """The samples of a shard with what the annotators say."""
    describer, localizer = SampleDescriber(config), SampleLocalizer(config)
    with tarfile.open(shard) as tar:
        samples = list(samples_of(tar))
    for low in range(0, len(samples), BATCH):
        some = samples[low : low + BATCH]
        images = [picture_of(shard, key, jpeg) for key, jpeg, _ in some]
        texts = [found.descriptions for found in describer.describe(images)]
        kept = keep(images, localizer.localize(images, texts))
        for (key, jpeg, facts), regions in zip(some, kept, strict=True):
            written = [{"box": list(each.xyxy), "text": each.text, "score": each.score} for each in regions]
            yield key, jpeg, facts | {"regions": written}


def picture_of(shard: Path, key: str, jpeg: bytes) -> Image.Image:
    """A picture with its row, as the annotators are given it; its pixels are read when somebody asks for them."""
    image = Image.open(io.BytesIO(jpeg))
    digest = hashlib.sha256(jpeg).hexdigest()
    image.info[ROW] = Picture(
        dataset_id=0, sha256=digest, width=image.width, height=image.height, location=str(shard), member=f"{key}.jpg"
    )
    return image


def samples_of(tar: tarfile.TarFile) -> Iterator[Sample]:
    """The pictures of a shard of the sample world, in its order."""
    entries = {entry.name: entry for entry in tar if entry.isfile()}
    for name in entries:
        if name.endswith(".jpg"):
            key = name.removesuffix(".jpg")
            yield key, _content(tar, entries[name]), json.loads(_content(tar, entries[f"{key}.json"]))


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    assert file is not None, "a regular file of a shard that was written here"
    return file.read()


def _write(samples: Iterator[Sample], file: BinaryIO) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, jpeg, facts in samples:
            for name, content in ((f"{key}.jpg", jpeg), (f"{key}.json", json.dumps(facts).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
