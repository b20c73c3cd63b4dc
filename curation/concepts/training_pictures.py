"""Read the pictures to compare: of a data set, of a frozen version, of a folder of shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from PIL import Image as Pillow

from curation.concepts.compare import BATCH, ComparedPicture
from curation.concepts.status import dataset_id_of
from curation.files.archives import open_archive
from curation.files.decode import Limits, RefusedError
from curation.files.pictures import DecoderPool
from curation.ingest.ingest import THUMBNAIL_SIDE, thumbnail_path
from curation.versions.versions import dataset_of_version, open_version
from db.engine import Engine, reading
from db.models import Image
from db.queries.bulk import batches
from db.queries.data_set_queries import find_images, image_page
from grain.structures import SCHEMA_VERSION
from user_errors import UserError


def pictures_of(engine: Engine, home: Path, dataset: str, *, numbered: bool = False) -> Iterator[ComparedPicture]:
    """Yield a data set's pictures from their thumbnails.

    Args: numbered: with their ids, for the set that is checked.
    """
    after = 0
    with reading(engine) as session:
        dataset_id = dataset_id_of(session, dataset)
    while True:
        with reading(engine) as session:
            page = image_page(session, dataset_id=dataset_id, after=after, limit=BATCH)
        if not page:
            return
        yield from (_compared(image, home, numbered) for image in page)
        after = page[-1].id


def version_pictures(engine: Engine, home: Path, *, dataset: str, version: str) -> Iterator[ComparedPicture]:
    """Yield the pictures of a frozen version of a data set, from their thumbnails.

    Raises: UserError: as open_version.
    """
    state = open_version(engine, home, dataset=dataset, version=version)
    dataset_id = dataset_of_version(engine, sha256=state.sha256, dataset=dataset).id
    for some in batches(state, BATCH):
        with reading(engine) as session:
            found = find_images(session, dataset_id=dataset_id, sha256s=[record.sha256 for record in some])
        for record in some:
            image = found.get(record.sha256)
            yield _compared(image, home, False) if image else ComparedPicture(record.sha256, record.file_name)


def shard_pictures(folder: Path) -> Iterator[ComparedPicture]:
    """Yield the pictures of all shards that a folder's manifest names, without the split novel.

    Raises: UserError: no such folder, or a shard that cannot be read.
    """
    limits = Limits()
    with DecoderPool(limits, 1) as pool:
        for path in _shards(folder):
            try:
                yield from _shard(path, pool, limits)
            except (UserError, OSError) as error:
                raise UserError(f"{path.name} cannot be read as a shard ({error}): copy or write it again") from error


def count_in_shards(folder: Path) -> int:
    """Return how many pictures the shards of a folder's manifest hold, without the split novel; 0 where it says none.

    Raises: UserError: no such folder.
    """
    _shards(folder)
    splits = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["splits"]
    entries = [entry for split, each in splits.items() if split != "novel" for entry in each]
    return sum(int(entry.get("images") or 0) for entry in entries)


def _compared(image: Image, home: Path, numbered: bool) -> ComparedPicture:
    file = thumbnail_path(home, image.sha256)
    picture = None
    with suppress(OSError), Pillow.open(file) as opened:  # where it is missing or damaged the whole's hash is left
        picture = opened.convert("RGB")
    name = Path(image.member or image.location).name
    return ComparedPicture(image.sha256, name, image.phash, (), picture, image.id if numbered else 0)


def _shards(folder: Path) -> list[Path]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        schema, splits = manifest["schema_version"], manifest["splits"]
        names = [str(entry["file"]) for split, entries in splits.items() if split != "novel" for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"expected a folder of shards with its manifest.json, got {folder}: choose another") from error
    if schema != SCHEMA_VERSION:
        raise UserError(f"expected schema {SCHEMA_VERSION} in {folder / 'manifest.json'}, got {schema}: write it again")
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {missing[0]} and {len(missing) - 1} more shards: copy or write them again")
    return [folder / name for name in names]


def _shard(path: Path, pool: DecoderPool, limits: Limits) -> Iterator[ComparedPicture]:
    archive = open_archive(path, limits)
    waiting: dict[str, ComparedPicture] = {}
    try:
        for entry in archive.entries():
            key, _, kind = entry.name.partition(".")
            if entry.refusal:
                continue
            if kind in ("jpg", "jpeg", "png", "webp"):
                if key in waiting:
                    yield waiting.pop(key)
                waiting[key] = _from_shard(archive.read(entry), f"{entry.name} in {path.name}", pool)
            elif kind == "json" and key in waiting:
                yield _with_original(waiting.pop(key), archive.read(entry))
        yield from waiting.values()
    finally:
        archive.close()


def _from_shard(content: bytes, name: str, pool: DecoderPool) -> ComparedPicture:
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return ComparedPicture(sha256, name, image=pool.read(content, THUMBNAIL_SIDE).image)
    except RefusedError:
        return ComparedPicture(sha256, name)


def _with_original(one: ComparedPicture, sidecar: bytes) -> ComparedPicture:
    """Add the hash of the original file, which an export's JSON keeps when it encodes a picture again."""
    with suppress(ValueError, AttributeError, RecursionError):
        original = json.loads(sidecar).get("sha256")
        if isinstance(original, str) and original and original != one.sha256:
            return replace(one, others=(original,))
    return one
