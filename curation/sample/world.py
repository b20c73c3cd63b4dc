"""Write the built-in data set: rendered products of five parts, with captions, exact boxes and novel classes.

A concept here is a combination: a body with a band, a top, a side part and an emblem, each of some kind and color.
A fixed set of pairs of kinds (body with top, side part with emblem) is never drawn for training; every novel class
holds one pair of each set, bears a made-up name and is described only by its parts.

    python -m curation.sample.world --out DIR --images N --seed S
"""

from __future__ import annotations

import io
import json
import multiprocessing
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import tyro
from tqdm import tqdm

from atomic_files import atomic_file, clean_leftovers, is_temporary, write_atomically
from curation.sample.families import class_texts
from curation.sample.products import MOST_CLASSES
from curation.sample.render import Box
from curation.sample.scenes import (
    SPLITS,
    Edition,
    Rendering,
    Scene,
    SceneRegion,
    check_edition,
    classes_of,
    propose,
    render_scene,
)
from curation.sample.shapes import KINDS, SLOTS
from grain.checkpoint import file_sha256
from user_errors import UserError

SCHEMA_VERSION = 1

SOURCE = "sample world"


TRAINED_ON = (
    "rendered pictures of made-up products (bottles, boxes, bells and the like with lids, handles and emblems); "
    "it has never seen a photograph"
)

JPEG_QUALITY = 88

CLASSES = "classes.json"


@dataclass(frozen=True)
class WorldConfig:
    """Write the sample world as WebDataset shards with a manifest, class descriptions and COCO ground truth."""

    out: Path
    """Folder to write; new, empty, or an earlier run of the same command."""
    images: int = 100_000
    """Training pictures; 0 for an evaluation-only set."""
    seed: int = 0
    """Another seed: other pictures, other novel classes, the same held-out pairs."""
    part_share: float = 0.3
    """Chance, for each part, that a caption mentions it."""
    held_out_images: int | None = None
    """Held-out pictures; left out: a fiftieth of the training pictures, between 200 and 2000."""
    classes: int = 100
    """Novel classes."""
    novel_images_per_class: int = 10
    """Pictures of each novel class."""
    shard_images: int = 1000
    """Pictures in a shard."""
    proposals: int = 0
    """Boxes proposed for each picture, under `proposals` in its JSON: its parts' own, shaken as a detector's are, and
    the rest at random. 0: no such key."""
    rendering: Rendering = "painted"
    """sketch: the same products in coloured pencil on paper, a look that no
    embedded checkpoint was trained on."""
    edition: Edition = 1
    """1: a product alone before a plain place. 2: beside others, partly hidden, in busy places and uneven light; some
    phrases are never trained on, and novel classes differ in one thing."""
    workers: int = 1
    """Processes that draw; the bytes do not depend on it."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.part_share <= 1.0:
            raise ValueError(f"part_share must lie between 0 and 1, got {self.part_share}")
        least = {
            "images": 0,
            "held_out_images": 0,
            "novel_images_per_class": 0,
            "classes": 1,
            "shard_images": 1,
            "proposals": 0,
            "workers": 1,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        if self.classes > MOST_CLASSES:
            raise ValueError(f"classes must be at most {MOST_CLASSES}, got {self.classes}")
        check_edition(self.edition, self.rendering)

    def counts(self) -> dict[str, int]:
        """Count the pictures in each split."""
        held_out = self.held_out_images
        if held_out is None:
            held_out = min(2000, max(200, self.images // 50))
        return {"train": self.images, "held_out": held_out, "novel": self.classes * self.novel_images_per_class}

    def class_files(self) -> dict[str, dict[str, list[str]]]:
        """Return what describes the novel classes: file name -> class -> descriptions."""
        classes = classes_of(self.edition, self.seed, self.classes)
        if self.edition == 1:
            return {CLASSES: {one.name: list(one.descriptions) for one in classes}}
        ways = class_texts(classes)
        return {CLASSES if way == "phrases" else f"classes_{way}.json": texts for way, texts in ways.items()}

    def options(self) -> dict[str, Any]:
        """Return the settings that decide the bytes, besides the seed."""
        later = {
            "proposals": 0,
            "rendering": "painted",
            "edition": 1,
        }  # older data sets do not have them: left out where not used
        settings = {key: value for key, value in asdict(self).items() if key not in later or value != later[key]}
        settings = {key: value for key, value in settings.items() if key not in ("out", "seed", "workers")}
        return settings | {"held_out_images": self.counts()["held_out"]}


@dataclass(frozen=True)
class _ShardTask:
    config: WorldConfig
    split: str
    number: int
    first: int
    last: int  # exclusive

    @property
    def file(self) -> str:
        return f"{self.split}-{self.number:06d}.tar"


@dataclass(frozen=True)
class _WrittenShard:
    file: str
    images: int
    sha256: str
    coco_images: tuple[str, ...]  # JSON objects, ready to be joined
    coco_annotations: tuple[str, ...]


def _tasks(config: WorldConfig, split: str) -> list[_ShardTask]:
    count, step = config.counts()[split], config.shard_images
    return [_ShardTask(config, split, i // step, i, min(i + step, count)) for i in range(0, count, step)]


def _number(value: float) -> float:
    return round(value, 6)


def _sample_json(key: str, scene: Scene, proposals: list[Box]) -> dict[str, Any]:
    width, height = scene.image.size
    regions = [
        {"box": [_number(v) for v in region.box_xyxy], "text": region.text, "score": 1.0, "part": region.part.slot}
        for region in scene.regions
    ]
    sample = {
        "schema_version": SCHEMA_VERSION,
        "id": key,
        "width": width,
        "height": height,
        "caption": scene.caption,
        "regions": regions,
    }
    if proposals:
        sample["proposals"] = [[_number(v) for v in box] for box in proposals]
    return sample if scene.class_name is None else sample | {"class": scene.class_name}


_CATEGORIES = {kind: i for i, kind in enumerate((kind for kinds in KINDS.values() for kind in kinds), start=1)}


def _coco_annotation(number: int, image_id: int, *, scene: Scene, region: SceneRegion) -> dict[str, Any]:
    width, height = scene.image.size
    x0, y0, x1, y1 = region.box_xyxy
    box = [round(v, 2) for v in (x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height)]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": _CATEGORIES[region.part.kind],
        "bbox": box,
        "area": round(box[2] * box[3], 2),
        "iscrowd": 0,
        "description": region.text,
    }


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # its time, owner and group are zero: the same pictures give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _write_shard(task: _ShardTask) -> _WrittenShard:
    config = task.config
    images: list[str] = []
    regions: list[str] = []

    file = config.out / task.file
    with atomic_file(file) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(task.first, task.last):
            scene = render_scene(
                task.split,
                seed=config.seed,
                index=index,
                part_share=config.part_share,
                classes=config.classes,
                rendering=config.rendering,
                edition=config.edition,
            )
            key = f"{task.split}-{index:07d}"
            proposed = propose(scene, Random(f"{config.seed}/{task.split}/{index}/proposals"), config.proposals)
            jpeg = io.BytesIO()
            scene.image.save(jpeg, "JPEG", quality=JPEG_QUALITY)
            _add(tar, f"{key}.jpg", jpeg.getvalue())
            _add(tar, f"{key}.json", json.dumps(_sample_json(key, scene, proposed)).encode())
            width, height = scene.image.size
            images.append(json.dumps({"id": index, "file_name": f"{key}.jpg", "width": width, "height": height}))
            for slot, region in enumerate(scene.regions):
                number = index * len(SLOTS) + slot + 1
                regions.append(json.dumps(_coco_annotation(number, index, scene=scene, region=region)))
    return _WrittenShard(task.file, task.last - task.first, file_sha256(file), tuple(images), tuple(regions))


def _written(tasks: list[_ShardTask], workers: int) -> Iterator[_WrittenShard]:
    if workers == 1 or len(tasks) < 2:
        yield from map(_write_shard, tasks)
        return
    # spawned, not forked: the caller may hold threads
    with multiprocessing.get_context("spawn").Pool(min(workers, len(tasks))) as pool:
        yield from pool.imap(_write_shard, tasks)


def _coco_head(split: str) -> str:
    categories = [
        {"id": _CATEGORIES[kind], "name": kind, "supercategory": slot}
        for slot, kinds in KINDS.items()
        for kind in kinds
    ]
    return f'{{"info": {{"description": "{SOURCE}, {split}"}}, "categories": {json.dumps(categories)}'


def _write_split(config: WorldConfig, split: str, advance: Callable[[int], object]) -> list[dict[str, Any]]:
    """Write a split's shards and its COCO file, whose annotations go to the disk as the shards come.

    Returns: the split's list for the manifest.
    """
    shards: list[dict[str, Any]] = []
    images: list[str] = []
    with atomic_file(config.out / f"coco_{split}.json") as temporary, temporary.open("wb") as file:
        file.write((_coco_head(split) + ', "annotations": [').encode())
        for shard in _written(_tasks(config, split), config.workers):
            lead = ",\n" if images else "\n"
            file.write((lead + ",\n".join(shard.coco_annotations)).encode())
            images.extend(shard.coco_images)
            shards.append({"file": shard.file, "images": shard.images, "sha256": shard.sha256})
            advance(shard.images)
        file.write(('\n], "images": [\n' + ",\n".join(images) + "\n]}\n").encode())

    return shards


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")


_SPLIT_NAMES = "|".join(SPLITS)

_OWN_FILE = re.compile(
    rf"(manifest\.json|classes(_\w+)?\.json|coco_({_SPLIT_NAMES})\.json|({_SPLIT_NAMES})-\d{{6}}\.tar)"
)


def _existing_manifest(config: WorldConfig) -> dict[str, Any] | None:
    """Return the manifest of an earlier run of the same command, None where there is none.

    Raises:  UserError: the folder holds anything else.
    """
    names = sorted(entry.name for entry in config.out.iterdir())
    foreign = [name for name in names if not (is_temporary(name) or _OWN_FILE.fullmatch(name))]
    if foreign:
        raise UserError(
            f"{config.out} must be new, empty or an earlier sample world, "
            f"but holds {foreign[0]!r}: choose another --out"
        )
    path = config.out / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        same = (manifest["source"], manifest["seed"], manifest["options"]) == (SOURCE, config.seed, config.options())
    except (ValueError, KeyError, TypeError):
        return None
    if not same:
        raise UserError(
            f"{config.out} holds a data set made with other options (its manifest.json names them): "
            "choose another --out or delete that folder first"
        )
    return manifest


def _intact(config: WorldConfig, manifest: dict[str, Any]) -> bool:
    folder = config.out
    shards = [shard for split in manifest["splits"].values() for shard in split]
    others = [*config.class_files(), *(f"coco_{split}.json" for split in SPLITS)]
    digests = {folder / shard["file"]: shard["sha256"] for shard in shards}
    return all((folder / name).is_file() for name in others) and all(
        file.is_file() and file_sha256(file) == digest for file, digest in digests.items()
    )


def write_world(config: WorldConfig) -> Path:
    """Write the data set; a complete earlier run of the same command is verified and kept, a damaged one written again.

    Returns: the folder. The manifest comes last: a folder with one is complete.
    Raises:  UserError: the folder holds something else, or the disk is full.
    """
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"--out must be a folder, but {config.out} is a file: choose another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    manifest = _existing_manifest(config)
    if manifest is not None and _intact(config, manifest):
        return config.out
    (config.out / "manifest.json").unlink(missing_ok=True)
    try:
        _write_files(config)
    finally:
        clean_leftovers(config.out)  # of a worker that was stopped, now or in a crash before
    return config.out


def _write_files(config: WorldConfig) -> None:
    for name, texts in config.class_files().items():
        _write_json(config.out / name, texts)
    with tqdm(total=sum(config.counts().values()), unit="img", desc=SOURCE) as bar:
        splits = {split: _write_split(config, split, bar.update) for split in SPLITS}
    _remove_stale(config.out, splits)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "source": SOURCE,
        "trained_on": TRAINED_ON,
        "seed": config.seed,
        "options": config.options(),
        "splits": splits,
    }
    _write_json(config.out / "manifest.json", manifest)


def _remove_stale(folder: Path, splits: dict[str, list[dict[str, Any]]]) -> None:
    """Remove shards that an unfinished, longer run left: a reader that goes by file names would take them in."""
    planned = {shard["file"] for shards in splits.values() for shard in shards}
    for path in folder.glob("*.tar"):
        if path.name not in planned:
            path.unlink()


def main() -> None:
    """Run from the command line: flags are the fields of WorldConfig."""
    try:
        folder = write_world(tyro.cli(WorldConfig))
    except (ValueError, OSError) as error:
        sys.exit(f"sample_world: {error}")
    print(f"sample world complete in {folder}")


if __name__ == "__main__":
    main()
