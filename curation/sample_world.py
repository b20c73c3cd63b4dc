"""The built-in data set: rendered products of five parts, with captions, descriptions, exact boxes and novel classes.

A concept here is a combination: a body with a band, a top, a side part and an emblem, each of some kind and color.
A fixed set of pairs of kinds (body with top, side part with emblem) is never drawn for training; every novel class
holds one pair of each set, bears a made-up name and is described only by its parts.

    python -m curation.sample_world --out DIR --images N --seed S
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Literal, get_args

import tyro
from PIL import Image
from tqdm import tqdm

from curation.sample_render import (
    COLORS,
    KINDS,
    PICTURE_SIDES,
    SLOTS,
    Background,
    Box,
    Part,
    PlacedPart,
    assemble,
    draw_background,
    draw_clutter,
    draw_product,
    light_and_noise,
    part_box,
    to_pixels,
)
from curation.sample_sketch import draw_sketch

Rendering = Literal["painted", "sketch"]
SCHEMA_VERSION = 1
SOURCE = "sample world"
TRAINED_ON = (
    "rendered pictures of made-up products (bottles, boxes, bells and the like with lids, handles and emblems); "
    "it has never seen a photograph"
)
SPLITS = ("train", "held_out", "novel")
WORLD_SEED = 20260  # fixes which pairs are held out, whatever seed a data set has
HELD_OUT_PAIRS = 16  # of 80 in each grid: 20 %
ABSENT_SHARE = 0.1  # of train and held_out products lack a given part other than the body
LEAST_DIFFERENT_PARTS = 2  # between any two novel classes
MOST_CLASSES = 1000  # far fewer than there are made-up names and part pairs for
JPEG_QUALITY = 88
SHAKE = 0.1  # of a part's width or height: how far a side of its proposal may be off


class SampleWorldError(RuntimeError):
    """A data set that cannot be written, with one sentence saying why and what to do."""


# -------------------------------------------------------------------------------- held-out pairs


def _pairs(first: str, second: str) -> frozenset[tuple[str, str]]:
    rng = Random(f"{WORLD_SEED}/{first}/{second}")
    left, right = (rng.sample(KINDS[slot], len(KINDS[slot])) for slot in (first, second))
    # walking both cycles at once spreads the pairs evenly: no kind loses more than two partners
    return frozenset((left[i % len(left)], right[i % len(right)]) for i in range(HELD_OUT_PAIRS))


NOVEL_BODY_TOPS = _pairs("body", "top")
NOVEL_SIDE_EMBLEMS = _pairs("side", "emblem")


def holds_novel_pair(parts: dict[str, Part]) -> bool:
    """Whether a product (slot -> part) has a body-top or a side-emblem pair that training never shows."""
    kinds = {slot: part.kind for slot, part in parts.items()}
    body_top, side_emblem = (kinds["body"], kinds.get("top")), (kinds.get("side"), kinds.get("emblem"))
    return body_top in NOVEL_BODY_TOPS or side_emblem in NOVEL_SIDE_EMBLEMS


# -------------------------------------------------------------------------------- words


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' or phrase.startswith('hour') else 'a'} {phrase}"


def descriptions_of(part: Part, *, side: str | None = None) -> tuple[str, ...]:
    """The wordings of a part, the canonical one first; with side ("left", "right") one more that says where it is."""
    kind, color = part.kind, part.color
    if part.slot == "band":
        return (f"a band of {color} {kind}", f"{color} {kind} around it", f"a belt with {color} {kind}")
    plain = (_a(f"{color} {kind}"), f"{_a(kind)} in {color}")
    if part.slot == "body":
        return (*plain, f"{_a(kind)} painted {color}")
    if part.slot == "top":
        return (*plain, f"{_a(f'{color} {kind}')} on top")
    if part.slot == "emblem":
        return (*plain, f"{_a(f'{color} {kind}')} sign")
    if side is None:
        return plain
    return (*plain, f"{_a(f'{color} {kind}')} on the {side}")


CAPTIONS = (
    "{thing} {place}",
    "a photo of {thing} {place}",
    "a picture of {thing} {place}",
    "{thing} seen {place}",
    "{place}, {thing}",
    "image of {thing}, {place}",
)


def _caption(parts: dict[str, Part], side: str, places: tuple[str, ...], rng: Random, part_share: float) -> str:
    # every choice is drawn whatever the share is, so that data sets of other shares differ only in what is mentioned
    said = {slot: (rng.random() < part_share, rng.random()) for slot in SLOTS}
    thing = _a(parts["body"].kind)
    if said["body"][0]:
        wordings = descriptions_of(parts["body"])
        thing = wordings[int(said["body"][1] * len(wordings))]
    mentions = []
    for slot in rng.sample(SLOTS, len(SLOTS)):
        if slot != "body" and slot in parts and said[slot][0]:
            wordings = descriptions_of(parts[slot], side=side)
            mentions.append(wordings[int(said[slot][1] * len(wordings))])
    if mentions:
        thing += " with " + ", ".join(mentions[:-1]) + (" and " if len(mentions) > 1 else "") + mentions[-1]
    return rng.choice(CAPTIONS).format(thing=thing, place=rng.choice(places))


# -------------------------------------------------------------------------------- products and classes


@dataclass(frozen=True)
class NovelClass:
    """A made-up product: its name, its parts in the order of the slots, and a description of each."""

    name: str
    parts: tuple[Part, ...]

    @property
    def descriptions(self) -> tuple[str, ...]:
        """One canonical description a part."""
        return tuple(descriptions_of(part)[0] for part in self.parts)


def _colored(kinds: dict[str, str], rng: Random) -> dict[str, Part]:
    names = list(COLORS)
    body_color = rng.choice(names)
    others = [name for name in names if name != body_color]  # a part in the body's color could not be seen on it
    return {
        slot: Part(slot, kind, body_color if slot == "body" else rng.choice(others)) for slot, kind in kinds.items()
    }


def _draw_known_product(rng: Random) -> dict[str, Part]:
    while True:
        kinds = {slot: rng.choice(KINDS[slot]) for slot in SLOTS}
        present = {slot: kind for slot, kind in kinds.items() if slot == "body" or rng.random() >= ABSENT_SHARE}
        parts = _colored(present, rng)
        if not holds_novel_pair(parts):
            return parts


def _draw_novel_product(rng: Random) -> dict[str, Part]:
    body, top = rng.choice(sorted(NOVEL_BODY_TOPS))
    side, emblem = rng.choice(sorted(NOVEL_SIDE_EMBLEMS))
    band = rng.choice(KINDS["band"])
    return _colored({"body": body, "band": band, "top": top, "side": side, "emblem": emblem}, rng)


_ONSETS = ("b", "d", "f", "g", "j", "k", "l", "m", "n", "p", "r", "t", "v", "z", "dr", "kl", "kr", "pl", "tr", "gl")
_VOWELS = ("a", "e", "i", "o", "u")
_MIDDLES = ("zb", "vk", "jm", "zv", "bz", "fv", "pv", "zk", "kv", "dv", "vd", "jd")  # hardly in any English word
_ENDINGS = ("x", "n", "m", "p", "k", "l", "t", "")


def _made_up_name(rng: Random) -> str:
    return "".join(rng.choice(part) for part in (_ONSETS, _VOWELS, _MIDDLES, _VOWELS, _ENDINGS))


def _different_parts(one: tuple[Part, ...], other: tuple[Part, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def novel_classes(seed: int, count: int = 100) -> dict[str, NovelClass]:
    """Classes never seen in training: name -> class, drawn by seed, any two different in two parts or more.

    Raises:  ValueError: count is not between 1 and 1000.
    """
    return {one.name: one for one in _novel_classes(seed, count)}


@lru_cache(maxsize=8)
def _novel_classes(seed: int, count: int) -> tuple[NovelClass, ...]:
    if not 1 <= count <= MOST_CLASSES:
        raise ValueError(f"the number of novel classes must lie between 1 and {MOST_CLASSES}, got {count}")
    rng = Random(f"{seed}/classes")
    found: dict[str, NovelClass] = {}
    while len(found) < count:
        name = _made_up_name(rng)
        parts = tuple(_draw_novel_product(rng).values())
        far = all(_different_parts(parts, other.parts) >= LEAST_DIFFERENT_PARTS for other in found.values())
        if far and name not in found:
            found[name] = NovelClass(name, parts)
    return tuple(found.values())


# -------------------------------------------------------------------------------- scenes


@dataclass(frozen=True)
class SceneRegion:
    """A described part. box_xyxy: normalized to the picture; the whole part, also where another one covers it."""

    part: Part
    text: str
    box_xyxy: Box


@dataclass(frozen=True)
class Scene:
    """A picture with everything that is known about it. class_name: None outside the split novel."""

    image: Image.Image
    caption: str
    regions: tuple[SceneRegion, ...]
    class_name: str | None


def render_scene(
    split: str,
    *,
    seed: int,
    index: int,
    part_share: float = 0.3,
    classes: int = 100,
    rendering: Rendering = "painted",
) -> Scene:
    """Picture number index of a split; the same arguments give the same scene, alone or among others.

    Args:    split: train, held_out or novel. part_share: chance that the caption mentions a part. classes: novel ones;
             picture i of novel shows class i modulo classes. rendering: another one shows the same product with the
             same boxes and descriptions.
    Raises:  ValueError: no such split or rendering, or classes not between 1 and 1000.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if rendering not in get_args(Rendering):
        raise ValueError(f"rendering must be one of {', '.join(get_args(Rendering))}, got {rendering!r}")
    rng = Random(f"{seed}/{split}/{index}")
    novel = _novel_classes(seed, classes)[index % classes] if split == "novel" else None
    parts = {part.slot: part for part in novel.parts} if novel else _draw_known_product(rng)
    width, height = rng.randint(*PICTURE_SIDES), rng.randint(*PICTURE_SIDES)
    side = rng.choice(("left", "right"))
    placed = to_pixels(assemble(parts, rng, side=side), rng, width=width, height=height)
    drawn = draw_sketch((width, height), placed, rng) if rendering == "sketch" else _paint((width, height), placed, rng)
    boxes = {one.part.slot: part_box(one, width=width, height=height) for one in placed}
    words = Random(f"{seed}/{split}/{index}/words")  # a stream of its own: other words, same picture
    regions = tuple(
        SceneRegion(part, words.choice(descriptions_of(part, side=side)), boxes[slot]) for slot, part in parts.items()
    )
    caption = _caption(parts, side, drawn.places, words, part_share)
    return Scene(drawn.image, caption, regions, novel.name if novel else None)


def _paint(size: tuple[int, int], placed: list[PlacedPart], rng: Random) -> Background:
    background = draw_background(size, rng)
    draw_clutter(background.image, placed, rng)
    return Background(light_and_noise(draw_product(background.image, placed, rng), rng), background.places)


# -------------------------------------------------------------------------------- writing


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

    def counts(self) -> dict[str, int]:
        """Pictures in each split."""
        held_out = self.held_out_images
        if held_out is None:
            held_out = min(2000, max(200, self.images // 50))
        return {"train": self.images, "held_out": held_out, "novel": self.classes * self.novel_images_per_class}

    def options(self) -> dict[str, Any]:
        """What decides the bytes, besides the seed."""
        later = {"proposals": 0, "rendering": "painted"}  # older data sets do not have them: left out where not used
        told = {key: value for key, value in asdict(self).items() if key not in later or value != later[key]}
        told = {key: value for key, value in told.items() if key not in ("out", "seed", "workers")}
        return told | {"held_out_images": self.counts()["held_out"]}


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


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> str:
    """Let write fill a file that appears under path only when it is complete and on the disk.

    Returns: the sha256 of the file.
    Raises:  SampleWorldError: the disk is full; what stood under path before is untouched.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        digest = _sha256(partial)
        partial.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SampleWorldError(
                f"disk full while writing {path}: free some space (about 10 MB for 1000 pictures) or choose another "
                "--out, then run the same command again; the shards already written are complete"
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return digest


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _number(value: float) -> float:
    return round(value, 6)


def propose(scene: Scene, rng: Random, count: int) -> list[Box]:
    """What a detector might propose: every part, its sides moved by up to a tenth of the box, and boxes at random.

    Returns: count boxes xyxy, normalized, in random order.
    """
    boxes: list[Box] = []
    for x0, y0, x1, y1 in (region.box_xyxy for region in scene.regions[:count]):
        across, down = (x1 - x0) * SHAKE, (y1 - y0) * SHAKE
        left, right = (min(max(x + rng.uniform(-across, across), 0.0), 1.0) for x in (x0, x1))
        upper, lower = (min(max(y + rng.uniform(-down, down), 0.0), 1.0) for y in (y0, y1))
        boxes.append((left, upper, right, lower))
    while len(boxes) < count:
        width, height = rng.uniform(0.05, 0.6), rng.uniform(0.05, 0.6)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        boxes.append((x, y, x + width, y + height))
    rng.shuffle(boxes)
    return boxes


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


def _coco_annotation(number: int, image_id: int, scene: Scene, region: SceneRegion) -> dict[str, Any]:
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
    annotations: list[str] = []

    def write(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(task.first, task.last):
                scene = render_scene(
                    task.split,
                    seed=config.seed,
                    index=index,
                    part_share=config.part_share,
                    classes=config.classes,
                    rendering=config.rendering,
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
                    annotations.append(json.dumps(_coco_annotation(number, index, scene, region)))

    digest = write_whole(config.out / task.file, write)
    return _WrittenShard(task.file, task.last - task.first, digest, tuple(images), tuple(annotations))


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

    def write(file: BinaryIO) -> None:
        images: list[str] = []
        file.write((_coco_head(split) + ', "annotations": [').encode())
        for shard in _written(_tasks(config, split), config.workers):
            lead = ",\n" if images else "\n"
            file.write((lead + ",\n".join(shard.coco_annotations)).encode())
            images.extend(shard.coco_images)
            shards.append({"file": shard.file, "images": shard.images, "sha256": shard.sha256})
            advance(shard.images)
        file.write(('\n], "images": [\n' + ",\n".join(images) + "\n]}\n").encode())

    write_whole(config.out / f"coco_{split}.json", write)
    return shards


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


_SPLIT_NAMES = "|".join(SPLITS)
_OWN_FILE = re.compile(
    rf"(\.partial-)?(manifest\.json|classes\.json|coco_({_SPLIT_NAMES})\.json|({_SPLIT_NAMES})-\d{{6}}\.tar)"
)


def _existing_manifest(config: WorldConfig) -> dict[str, Any] | None:
    """The manifest of an earlier run of the same command, None where there is none.

    Raises:  SampleWorldError: the folder holds anything else.
    """
    foreign = sorted(entry.name for entry in config.out.iterdir() if not _OWN_FILE.fullmatch(entry.name))
    if foreign:
        raise SampleWorldError(
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
        raise SampleWorldError(
            f"{config.out} holds a data set made with other options (its manifest.json names them): "
            "choose another --out or delete that folder first"
        )
    return manifest


def _intact(folder: Path, manifest: dict[str, Any]) -> bool:
    shards = [shard for split in manifest["splits"].values() for shard in split]
    others = ["classes.json", *(f"coco_{split}.json" for split in SPLITS)]
    return all((folder / name).is_file() for name in others) and all(
        (folder / shard["file"]).is_file() and _sha256(folder / shard["file"]) == shard["sha256"] for shard in shards
    )


def write_world(config: WorldConfig) -> Path:
    """Write the data set; a complete earlier run of the same command is verified and kept, a damaged one written again.

    Returns: the folder. The manifest comes last: a folder with one is complete.
    Raises:  SampleWorldError: the folder holds something else, or the disk is full.
    """
    if config.out.exists() and not config.out.is_dir():
        raise SampleWorldError(f"--out must be a folder, but {config.out} is a file: choose another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    manifest = _existing_manifest(config)
    if manifest is not None and _intact(config.out, manifest):
        return config.out
    (config.out / "manifest.json").unlink(missing_ok=True)
    try:
        _write_files(config)
    finally:
        for partial in config.out.glob(".partial-*"):  # of a worker that was stopped, now or in a crash before
            partial.unlink()
    return config.out


def _write_files(config: WorldConfig) -> None:
    classes = novel_classes(config.seed, config.classes)
    _write_json(config.out / "classes.json", {name: list(one.descriptions) for name, one in classes.items()})
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
    """The command line: flags are the fields of WorldConfig."""
    try:
        folder = write_world(tyro.cli(WorldConfig))
    except (SampleWorldError, ValueError, OSError) as error:
        sys.exit(f"sample_world: {error}")
    print(f"sample world complete in {folder}")


if __name__ == "__main__":
    main()
