"""Which pictures of a data set lie in training data already: equal contents, equal looks, near embeddings.

`python -m curation.leaks --dataset NAME --against TRAINING` compares with another data set, with a frozen version of
it (`--version`), with a folder of shards (`--shards`) or with the data set itself (`--itself`), keeps each suspect
beside its match for people to decide on, and prints a JSON object. Run again, it compares anew; what was decided stays.

Looks are perceptual hashes of the whole picture and of nine tenths of it at five places, of both sides, so that one
that was scaled, saved again or cropped a little is found. Harder crops are for the embeddings.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image as Pillow
from tqdm import tqdm

from curation.archives import ArchiveError, open_archive
from curation.decode import Limits, RefusedError
from curation.home import database_url, home_folder, report_progress
from curation.ingest import THUMBNAIL_QUALITY, THUMBNAIL_SIDE, perceptual_hash, thumbnail_path
from curation.pictures import DecoderPool, write_atomic
from curation.versions import VersionError, open_version
from db.concept_queries import NewSuspect, save_leak_check
from db.engine import DatabaseError, Engine, Session, open_engine, reading, retrying
from db.models import Image, Likeness
from db.queries import batches, find_images, get_dataset, image_page
from grain.structures import SCHEMA_VERSION, Array

CUT = 0.9  # of each side, that the cut-outs keep
PLACES = ((0.5, 0.5), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))  # of the rest, left and above
BATCH = 128  # training pictures compared at once
MOST_MATCHES = 5  # of one picture with one set of training data: the strongest
ORDER: tuple[Likeness, ...] = ("content", "look", "embedding")  # from the strongest on
ITSELF = "the data set itself"
Hashes = NDArray[np.uint64]
Embed = Callable[[Sequence[Pillow.Image]], Array]
"""Upright RGB pictures -> [N, E], unit length."""


class LeakError(ValueError):
    """Nothing can be compared; one sentence."""


@dataclass(frozen=True)
class Compared:
    """One picture to compare.

    sha256: of its file, under which its thumbnail lies. others: contents it is known under besides. image: reduced;
    None where it cannot be had, and then only contents and the hash of the whole are compared.
    """

    sha256: str
    name: str
    phash: str = ""
    others: tuple[str, ...] = ()
    image: Pillow.Image | None = None
    id: int = 0


@dataclass(frozen=True)
class LeakSettings:
    """What counts as alike."""

    distance: int = 8
    """Bits of 64 that two looks may differ by."""
    nearest: float = 0.9
    """Least cosine of two embeddings."""
    checkpoint: str = ""
    """Whose embeddings: an embedded checkpoint's name, or a folder; none: they are not compared."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises: ValueError.
        """
        if not 0 <= self.distance <= 20:
            raise ValueError(f"expected a distance from 0 to 20 bits, got {self.distance}: beyond, everything is alike")
        if not 0 < self.nearest <= 1:
            raise ValueError(f"expected a least cosine above 0 and up to 1, got {self.nearest}: correct it")


@dataclass(frozen=True)
class LeakResult:
    """What a comparison came to. compared: training pictures; skipped: those of them without a readable picture."""

    against: str
    checked: int
    compared: int
    skipped: int
    suspects: tuple[NewSuspect, ...]

    def counts(self) -> dict[str, int]:
        """Pairs, by the strongest of their likenesses."""
        return {how: sum(one.how == how for one in self.suspects) for how in ORDER}


# ------------------------------------------------------------------------------------ looks, pure


def looks(image: Pillow.Image) -> Hashes:
    """[6]: perceptual hashes of the whole and of nine tenths of it at five places."""
    wide, high = image.width * CUT, image.height * CUT
    hashes = [perceptual_hash(image)]
    for x, y in PLACES:
        left, top = (image.width - wide) * x, (image.height - high) * y
        hashes.append(perceptual_hash(image.crop((round(left), round(top), round(left + wide), round(top + high)))))
    return np.array([int(one, 16) for one in hashes], dtype=np.uint64)


def look_distances(ours: Hashes, theirs: Hashes) -> NDArray[np.int64]:
    """Bits between pictures: the fewest between the whole of one and the whole or a cut-out of the other.

    Args:    ours: [N, K], theirs: [M, K] of `looks`, the whole first.
    Returns: [N, M].
    """
    with_theirs = np.bitwise_count(ours[:, None, :1] ^ theirs[None, :, :])
    with_ours = np.bitwise_count(ours[:, None, :] ^ theirs[None, :, :1])
    found: NDArray[np.int64] = np.minimum(with_theirs.min(axis=2), with_ours.min(axis=2)).astype(np.int64)
    return found


def compare(
    ours: Sequence[Compared],
    theirs: Iterable[Compared],
    settings: LeakSettings,
    *,
    embed: Embed | None = None,
    on_progress: Callable[[int], object] = lambda done: None,
    keep: Callable[[Compared], object] = lambda match: None,
) -> tuple[list[NewSuspect], int, int]:
    """Each of ours against all of theirs.

    Args:    theirs: gone through once, a batch at a time. embed: None leaves embeddings out. keep: told every match,
             while its picture is at hand.
    Returns: suspects by picture, the strongest MOST_MATCHES of each; how many theirs are; how many had no picture.
    """
    work = _Comparison(ours, settings, embed, keep)
    compared = skipped = 0
    for batch in batches(theirs, BATCH):
        work.take(batch)
        compared += len(batch)
        skipped += sum(one.image is None for one in batch)
        on_progress(compared)
    return work.suspects(), compared, skipped


class _Comparison:
    """One comparison under way."""

    def __init__(
        self,
        ours: Sequence[Compared],
        settings: LeakSettings,
        embed: Embed | None,
        keep: Callable[[Compared], object],
    ) -> None:
        self.ours, self.settings, self.embed, self.keep = ours, settings, embed, keep
        self.by_content = {content: row for row, one in enumerate(ours) for content in (one.sha256, *one.others)}
        self.hashes, self.hashed = _hashes(ours)
        self.embeds, self.embedded = self._embeds(ours)
        self.found: dict[int, list[NewSuspect]] = {}

    def take(self, batch: Sequence[Compared]) -> None:
        """Compare some of theirs."""
        hashes, hashed = _hashes(batch)
        bits = look_distances(self.hashes, hashes)
        bits[~self.hashed] = bits[:, ~hashed] = 65
        cosines = np.full(bits.shape, -1.0)
        if self.embed is not None:
            embeds, embedded = self._embeds(batch)
            cosines[np.ix_(self.embedded, embedded)] = self.embeds @ embeds.T
        near = (bits <= self.settings.distance) | (cosines >= self.settings.nearest)
        for column, match in enumerate(batch):
            same = {self.by_content[content] for content in (match.sha256, *match.others) if content in self.by_content}
            for row in sorted({*np.flatnonzero(near[:, column]).tolist(), *same}):
                if not _is_itself(self.ours[row], match):
                    self._note(row, match, row in same, int(bits[row, column]), float(cosines[row, column]))

    def suspects(self) -> list[NewSuspect]:
        """By picture."""
        return [one for row in sorted(self.found) for one in self.found[row]]

    def _note(self, row: int, match: Compared, same: bool, bits: int, cosine: float) -> None:
        how: Likeness = "content" if same else "look" if bits <= self.settings.distance else "embedding"
        value = {"content": 0.0, "look": float(bits), "embedding": cosine}[how]
        mine = [*self.found.get(row, []), NewSuspect(self.ours[row].id, how, value, match.sha256, match.name)]
        mine.sort(key=lambda one: (ORDER.index(one.how), -one.value if one.how == "embedding" else one.value))
        self.found[row] = mine[:MOST_MATCHES]
        if any(one.match_sha256 == match.sha256 for one in self.found[row]):
            self.keep(match)

    def _embeds(self, pictures: Sequence[Compared]) -> tuple[Array, NDArray[np.bool_]]:
        """[M, E] of those that have a picture, and which do: [N]."""
        images = [one.image for one in pictures if one.image is not None]
        there = np.array([one.image is not None for one in pictures], dtype=bool)
        if self.embed is None or not images:
            return np.zeros((0, 1), np.float32), np.zeros(len(pictures), bool)
        parts = [self.embed(some) for some in batches(images, 32)]
        return np.concatenate(parts), there


def _hashes(pictures: Sequence[Compared]) -> tuple[Hashes, NDArray[np.bool_]]:
    """[N, 6] looks, the whole's in place of cut-outs that cannot be made; and which have any: [N]."""
    rows = [
        looks(one.image)
        if one.image is not None
        else np.full(1 + len(PLACES), int(one.phash or "0", 16), dtype=np.uint64)
        for one in pictures
    ]
    known = np.array([one.image is not None or bool(one.phash) for one in pictures], dtype=bool)
    return np.array(rows, dtype=np.uint64).reshape(len(pictures), 1 + len(PLACES)), known


def _is_itself(one: Compared, match: Compared) -> bool:
    """Of a data set with itself, each pair comes twice: the later picture is the suspect."""
    return match.id != 0 and match.id >= one.id


# ------------------------------------------------------------------------------------ where pictures come from


def pictures_of(engine: Engine, home: Path, dataset: str, *, numbered: bool = False) -> Iterator[Compared]:
    """A data set's pictures, by their thumbnails. numbered: with their ids, for the set that is checked."""
    dataset_id, after = _dataset_id(engine, dataset), 0
    while True:
        with reading(engine) as session:
            page = image_page(session, dataset_id=dataset_id, after=after, limit=BATCH)
        if not page:
            return
        yield from (_compared(image, home, numbered) for image in page)
        after = page[-1].id


def version_pictures(engine: Engine, home: Path, dataset: str, version: str) -> Iterator[Compared]:
    """The pictures of a frozen version of a data set, by their thumbnails.

    Raises: VersionError: as open_version.
    """
    state = open_version(engine, home, dataset=dataset, version=version)
    dataset_id = _dataset_id(engine, state.head.dataset)
    for some in batches(state, BATCH):
        with reading(engine) as session:
            found = find_images(session, dataset_id=dataset_id, sha256s=[record.sha256 for record in some])
        for record in some:
            image = found.get(record.sha256)
            yield _compared(image, home, False) if image else Compared(record.sha256, record.file_name)


def shard_pictures(folder: Path) -> Iterator[Compared]:
    """The pictures of all shards that a folder's manifest names, but for the split novel.

    Raises: LeakError: no such folder, or a shard that cannot be read.
    """
    limits = Limits()
    with DecoderPool(limits, 1) as pool:
        for path in _shards(folder):
            try:
                yield from _shard(path, pool, limits)
            except (ArchiveError, OSError) as error:
                raise LeakError(f"{path.name} cannot be read as a shard ({error}): copy or write it again") from error


def embed_with(checkpoint: str) -> Embed | None:
    """The embeddings of a checkpoint; None where none is named.

    Raises: ValueError: it cannot be used.
    """
    if not checkpoint:
        return None
    from grain.predict import Predictor

    predictor = Predictor.from_pretrained(checkpoint)
    if predictor.info.from_proposals:
        raise ValueError(f"expected a checkpoint that needs no proposals, got {checkpoint}: choose another")
    return lambda images: np.stack([found.image_embed for found in predictor.batch_features(images)])


def _compared(image: Image, home: Path, numbered: bool) -> Compared:
    file = thumbnail_path(home, image.sha256)
    picture = None
    with suppress(OSError), Pillow.open(file) as opened:  # where it is missing or damaged the whole's hash is left
        picture = opened.convert("RGB")
    name = Path(image.member or image.location).name
    return Compared(image.sha256, name, image.phash, (), picture, image.id if numbered else 0)


def _shards(folder: Path) -> list[Path]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        schema, splits = manifest["schema_version"], manifest["splits"]
        names = [str(entry["file"]) for split, entries in splits.items() if split != "novel" for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LeakError(f"expected a folder of shards with its manifest.json, got {folder}: choose another") from error
    if schema != SCHEMA_VERSION:
        raise LeakError(f"expected schema {SCHEMA_VERSION} in {folder / 'manifest.json'}, got {schema}: write it again")
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise LeakError(f"{folder} lacks {missing[0]} and {len(missing) - 1} more shards: copy or write them again")
    return [folder / name for name in names]


def _shard(path: Path, pool: DecoderPool, limits: Limits) -> Iterator[Compared]:
    archive = open_archive(path, limits)
    waiting: dict[str, Compared] = {}
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


def _from_shard(content: bytes, name: str, pool: DecoderPool) -> Compared:
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return Compared(sha256, name, image=pool.read(content, THUMBNAIL_SIDE).image)
    except RefusedError:
        return Compared(sha256, name)


def _with_original(one: Compared, sidecar: bytes) -> Compared:
    """An export's JSON says which file a picture was before it was encoded anew."""
    with suppress(ValueError, AttributeError, RecursionError):
        original = json.loads(sidecar).get("sha256")
        if isinstance(original, str) and original and original != one.sha256:
            return replace(one, others=(original,))
    return one


def _dataset_id(engine: Engine, name: str) -> int:
    with reading(engine) as session:
        found = get_dataset(session, name=name)
    if found is None:
        raise LeakError(f"expected the name of a data set, got {name!r}, which none has: correct it")
    return found.id


# ------------------------------------------------------------------------------------ a whole check


@dataclass(frozen=True)
class LeaksConfig:
    """Compare a data set with training data; prints one JSON object."""

    dataset: str
    """The data set that must not lie in the training data."""
    against: str = ""
    """Another data set."""
    version: str = ""
    """A frozen version: its name within --against, or its sha256."""
    shards: Path | None = None
    """A folder of shards with its manifest.json."""
    itself: bool = False
    """The data set's own pictures: near-duplicates within it, by content and look."""
    settings: LeakSettings = LeakSettings()
    home: Path | None = None
    """Where database, versions and thumbnails lie; by default GRAIN_HOME."""

    def __post_init__(self) -> None:
        """Refuse what names nothing, or two things.

        Raises: ValueError.
        """
        named = [bool(self.against or self.version), self.shards is not None, self.itself]
        if sum(named) != 1:
            raise ValueError(
                f"expected one thing to compare with, got {sum(named)}: give a data set, a folder of shards or --itself"
            )
        if self.against == self.dataset:
            raise ValueError(f"expected other data than {self.dataset!r} to compare with: name them, or say --itself")

    def words(self) -> str:
        """What it is compared with, for people and as the check's name."""
        if self.itself:
            return ITSELF
        if self.shards is not None:
            return f"the shards in {self.shards.expanduser().absolute()}"
        if self.version:
            return f"version {self.version}" + f" of {self.against}" * bool(self.against)
        return f"the data set {self.against}"


def command_line(config: LeaksConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    flags = {"dataset": config.dataset, "against": config.against, "version": config.version}
    words = [f"--{name}={value}" for name, value in flags.items() if value]
    words += [f"--shards={config.shards.expanduser().absolute()}"] if config.shards else []
    words += ["--itself"] if config.itself else []
    words += [f"--settings.{name}={value}" for name, value in asdict(config.settings).items() if value != ""]
    return ["-m", "curation.leaks", *words, *([f"--home={config.home}"] if config.home else [])]


def check(
    engine: Engine,
    home: Path,
    config: LeaksConfig,
    *,
    embed: Embed | None = None,
    on_progress: Callable[[int], object] = lambda done: None,
) -> LeakResult:
    """Compare, and keep what was found.

    Raises: LeakError: no such data set, nothing in it, or shards that cannot be read. VersionError: as open_version.
    """
    dataset_id = _dataset_id(engine, config.dataset)
    ours = list(pictures_of(engine, home, config.dataset, numbered=True))
    if not ours:
        raise LeakError(f"The data set {config.dataset} has no pictures yet: import some first.")
    if config.itself:
        theirs, embed = pictures_of(engine, home, config.dataset, numbered=True), None
    elif config.shards is not None:
        theirs = shard_pictures(config.shards.expanduser())
    elif config.version:
        theirs = version_pictures(engine, home, config.against, config.version)
    else:
        theirs = pictures_of(engine, home, config.against)

    def keep(match: Compared) -> None:
        file = thumbnail_path(home, match.sha256)
        if match.image is not None and not file.exists():
            buffer = io.BytesIO()
            match.image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
            write_atomic(file, buffer.getvalue(), lasting=False)

    suspects, compared, skipped = compare(
        ours, theirs, config.settings, embed=embed, on_progress=on_progress, keep=keep
    )
    result = LeakResult(config.words(), len(ours), compared, skipped, tuple(suspects))
    said: dict[str, Any] = asdict(config.settings) | ({} if embed else {"checkpoint": ""})

    def write(session: Session) -> None:
        save_leak_check(
            session,
            dataset_id=dataset_id,
            against=result.against,
            settings=said,
            compared=compared,
            skipped=skipped,
            checked=len(ours),
            checked_to=max(one.id for one in ours),
            suspects=suspects,
        )

    retrying(engine, write)
    return result


def main(config: LeaksConfig) -> None:
    """The command line."""
    home = config.home.expanduser().absolute() if config.home else home_folder()
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:

            def show(done: int) -> None:
                bar.update(done - bar.n)
                report_progress(done, 0, f"{done:,} training pictures compared")

            embed = None if config.itself else embed_with(config.settings.checkpoint)
            result = check(engine, home, config, embed=embed, on_progress=show)
    finally:
        engine.dispose()
    report_progress(
        result.compared, result.compared, f"{len(result.suspects):,} suspects in {result.compared:,} pictures"
    )
    answer = {"dataset": config.dataset, "against": result.against, "checked": result.checked}
    answer |= {"compared": result.compared, "skipped": result.skipped, "suspects": result.counts()}
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    try:
        main(tyro.cli(LeaksConfig))
    except (ValueError, OSError, VersionError, DatabaseError) as error:
        sys.exit(f"curation.leaks: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.leaks: stopped: nothing was kept; run it again")
