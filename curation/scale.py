"""python -m curation.scale: what curation.annotate does, over Ray Data, for data sets that outgrow one machine.

WebDataset shards in, WebDataset shards with a manifest.json out, ready for grain.train. The stages are those of
curation.annotate and give the very same regions; there is no database, and equal pictures are not looked for.

Every shard is written whole or not at all, with what failed in it under errors/ and what made it under records/. Run
again, the command skips the shards that are done. A folder holds the work of one recipe: another one is refused, so
that no finished shard is overwritten by a slip.

The shards and the models lie where every machine of the cluster sees them. A describer behind vLLM is a server
(`--describer.kind server`), which any number of actors share.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import logging
import os
import re
import signal
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import tyro
from PIL import Image as Pictures
from tqdm import tqdm

from curation.annotate import find_regions, state_of, try_together
from curation.annotators import DescriberChoice, LocalizerChoice, Work, make_describer, make_localizer, works_of
from curation.archives import open_archive
from curation.decode import Limits, RefusedError
from curation.describe import Describer, DescriberError
from curation.home import report_progress
from curation.localize import Localizer
from curation.pictures import DecoderPool
from curation.sample_annotators import ROW, SampleConfig
from curation.sample_world import SampleWorldError, write_whole
from curation.sources import SourceError, open_source
from db.models import Image
from grain.structures import SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # at 0 Ray listens on 127.0.0.1, as it does on macOS anyway
MANIFEST, RECORDS, ERRORS = "manifest.json", "records", "errors"  # in the folder that is written
SHARD_SUFFIX = re.compile(r"\.(tar|tar\.gz|tgz|zip)$")
BLOCK_BYTES = 8 * 2**20  # of pictures that go to an actor at once: small, so that few shards keep many actors busy
READERS = 4  # shards that are read at once
WRITERS = 4  # shards that are written at once
JPEG_MAGIC, EXIF = b"\xff\xd8\xff", b"Exif\0\0"
JPEG_QUALITY = 95  # of pictures that came in another form, or turned


class ScaleError(RuntimeError):
    """The run cannot go on; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class PoolConfig:
    """The actors of one stage; each holds its model."""

    actors: int = 1
    """How many."""
    gpus: float = 0.0
    """GPUs of each; at 0 its model sees none. A share, such as 0.5, lets two have one."""
    cpus: float = 1.0
    """Cores of each, for the pictures' decoding too."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.actors < 1 or self.gpus < 0 or self.cpus <= 0:
            raise ValueError("a stage needs one actor or more, cpus above 0 and gpus of 0 or more")


@dataclass(frozen=True)
class ScaleConfig:
    """Describe and localize every picture of WebDataset shards; run again, it goes on where it was."""

    shards: str
    """A folder of .tar files, or a pattern such as 'DIR/*.tar'."""
    out: Path
    """Folder to write; new, empty, or of an earlier run with the same settings."""
    describer: DescriberChoice = field(default_factory=DescriberChoice)
    localizer: LocalizerChoice = field(default_factory=LocalizerChoice)
    sample: SampleConfig = field(default_factory=SampleConfig)
    """How the sample world's annotators err."""
    describing: PoolConfig = field(default_factory=PoolConfig)
    localizing: PoolConfig = field(default_factory=PoolConfig)
    address: str = ""
    """Of a Ray cluster: auto for the one of this machine; left out, one is started here and ended with the run."""
    split: str = "train"
    """Under which the manifest lists these shards."""
    trained_on: str = ""
    """What a model of these pictures will have seen, for its card; left out, the shards are named."""
    batch: int = 16
    """Pictures of one call of a model."""
    attempts: int = 2
    """Tries of a picture that fails."""
    redo_failed: bool = False
    """Do shards anew in which a picture failed, as when a server was away."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch < 1 or self.attempts < 1:
            raise ValueError("batch and attempts must be above 0")

    def works(self) -> tuple[Work, ...]:
        """The stages in their order.

        Raises: MissingModelError: weights are not on this machine.
        """
        return works_of(self.describer, self.localizer, self.sample)

    def pool(self, work: Work) -> PoolConfig:
        """The actors of a stage."""
        return self.describing if work.stage == "describe" else self.localizing


@dataclass(frozen=True)
class Progress:
    """shards: finished in this run, of total. pictures: through all stages. rate: of them, a second."""

    shards: int
    total: int
    pictures: int
    rate: float


@dataclass(frozen=True)
class Summary:
    """What lies in the folder after a run. skipped: shards that were done before. failed: state -> files."""

    shards: int
    skipped: int
    images: int
    without_caption: int
    failed: dict[str, int]


@dataclass(frozen=True)
class Item:
    """A file of a shard on its way. number: its place; of the last item, which is no file, how many there are.

    stage, state, reason: where it failed, how, and why. width, height: upright. stop: why the whole run has to end.
    regions: as they are written.
    """

    shard: str
    number: int
    last: bool = False
    stop: str = ""
    member: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    caption: str = ""
    subject: str = ""
    descriptions: Sequence[str] = ()
    raw: Sequence[str] = ()
    regions: Sequence[dict[str, Any]] = ()
    stage: str = ""
    state: str = ""
    reason: str = ""

    @property
    def under_way(self) -> bool:
        """Whether there is a picture to work on."""
        return not (self.last or self.stop or self.reason)


def scale(config: ScaleConfig, *, report: Callable[[Progress], None] = lambda progress: None) -> Summary:
    """Annotate what is not done yet, on the cluster that `connect` has joined. Stopped anywhere, it can go on.

    Raises: ScaleError: no shards, another recipe in the folder, too small a cluster, or no picture can be described.
            MissingModelError: weights are not on this machine.
    """
    config = replace(config, out=config.out.expanduser().absolute())  # other machines have another working folder
    works, shards = config.works(), find_shards(config.shards, config.out)
    todo = [shard for shard in shards if not _is_done(config, works, shard)]
    if todo:
        _must_fit(config, works)
        (config.out / MANIFEST).unlink(missing_ok=True)  # a folder with one is complete
        _annotate(config, works, todo, report)
    return _finish(config, works, shards, skipped=len(shards) - len(todo))


def find_shards(pattern: str, out: Path) -> list[Path]:
    """The shards to read, in the order of their names.

    Raises: ScaleError: none, two of one name, or they lie where the new ones go.
    """
    folder = Path(pattern).expanduser()
    names = folder.glob("*.tar") if folder.is_dir() else map(Path, glob.glob(str(folder), recursive=True))
    shards = sorted(path.absolute() for path in names if path.is_file())
    if not shards:
        raise ScaleError(
            f"There are no shards at {pattern!r}: give a folder of .tar files, or a pattern such as 'DIR/*.tar'."
        )
    [(name, times)] = Counter(map(_name, shards)).most_common(1)
    if times > 1:
        raise ScaleError(f"{times} shards are called {name}: annotate their folders one by one, each to its own --out.")
    if any(shard.parent.resolve() == out.resolve() for shard in shards):
        raise ScaleError(f"The shards lie in {out}, where the new ones would go: choose another --out.")
    return shards


def connect(address: str = "", *, cpus: int | None = None) -> None:
    """Join a Ray cluster, or start one that only this machine reaches and that ends with this process.

    Args:   cpus: of one that is started here; None for all. Does nothing where a cluster was joined before.
    Raises: ScaleError: Ray is not installed, or no cluster is there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:
        os.environ.setdefault(LOOPBACK_ONLY, "0")  # read when ray is imported
    ray = _ray()
    if ray.is_initialized():
        return
    options: dict[str, Any] = {} if address else {"num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if not address:
            raise ScaleError(f"Ray does not start on this machine: {_sentence(error)}") from error
        raise ScaleError(
            f"No Ray cluster at {address!r} lets us in: start one with `ray start --head`, or see to its address and "
            "token."
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ScaleError("Ray is not installed: run `pip install -r requirements-scale.txt`.") from error
    return ray


def _must_fit(config: ScaleConfig, works: Sequence[Work]) -> None:
    """Actors for which there is no room would wait for ever; a cluster of others' may grow."""
    if config.address:
        return
    pools, there = [config.pool(work) for work in works], _ray().cluster_resources()
    cpus, gpus = (sum(pool.actors * getattr(pool, name) for pool in pools) for name in ("cpus", "gpus"))
    if cpus > there.get("CPU", 0) or gpus > there.get("GPU", 0):
        raise ScaleError(
            f"The actors ask for {cpus:g} cores and {gpus:g} GPUs, and there are {there.get('CPU', 0):g} and "
            f"{there.get('GPU', 0):g}: lower actors, cpus or gpus of --describing and --localizing."
        )


# -------------------------------------------------------------------------------- the run


def _annotate(
    config: ScaleConfig, works: Sequence[Work], shards: Sequence[Path], report: Callable[[Progress], None]
) -> None:
    """Items come in any order; a shard is written when its last one is there."""
    ray, began = _ray(), time.perf_counter()
    write = ray.remote(num_cpus=0)(write_shard)
    come: defaultdict[str, list[Item]] = defaultdict(list)
    expected: dict[str, int] = {}
    writing: list[Any] = []
    pictures = shards_out = 0
    try:
        for items in _worked_on(config, works, shards):
            for item in items:
                if item.stop:
                    raise ScaleError(item.stop)
                if item.last:
                    expected[item.shard] = item.number
                else:
                    come[item.shard].append(item)
                if expected.get(item.shard) == len(come[item.shard]):
                    writing.append(write.remote(config, works[-1], Path(item.shard), come.pop(item.shard)))
                pictures += not item.last
            while len(writing) > WRITERS:
                done, writing = ray.wait(writing)
                ray.get(done)
                shards_out += len(done)
            report(Progress(shards_out, len(shards), pictures, pictures / (time.perf_counter() - began)))
        while writing:
            done, writing = ray.wait(writing)
            ray.get(done)
            shards_out += len(done)
            report(Progress(shards_out, len(shards), pictures, pictures / (time.perf_counter() - began)))
    except ray.exceptions.RayError as error:
        raise ScaleError(_sentence(error)) from error


def _worked_on(config: ScaleConfig, works: Sequence[Work], shards: Sequence[Path]) -> Iterator[list[Item]]:
    """The files of all shards, through all stages."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    context.target_max_block_size = BLOCK_BYTES
    with ray.data.DataContext.current(context):
        names = [{"shard": str(shard)} for shard in shards]
        rows: ray.data.Dataset = ray.data.from_items(names, override_num_blocks=len(shards))
        rows = rows.map_batches(
            read_shards,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,  # so that it runs beside the actors on any machine
            compute=ray.data.TaskPoolStrategy(size=min(READERS, len(shards))),
        )
        for work in works:
            pool = config.pool(work)
            rows = rows.map_batches(
                StageActor,
                fn_constructor_args=(config, work),
                batch_size=config.batch,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=pool.actors),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
            )
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield [item for item, _ in _unpacked(table)]


def read_shards(table: pa.Table) -> Iterator[pa.Table]:
    """Shards -> their files as the import of pictures sees them (curation.sources), and after them a last item."""
    for shard in table["shard"].to_pylist():
        number = -1
        try:
            source = open_source(Path(shard))
            if source.kind != "archive":
                raise SourceError(f"expected a WebDataset shard, got a {source.kind}: let curation.ingest read it")
            for number, found in enumerate(source.files):
                content = found.content or b""
                item = Item(shard, number, member=found.member, caption=found.caption)
                if found.refusal:
                    item = replace(item, stage="read", state="refused", reason=found.refusal)
                yield _packed([(replace(item, sha256=hashlib.sha256(content).hexdigest()), content)])
        except SourceError as error:
            number += 1
            yield _packed([(Item(shard, number, stage="read", state="refused", reason=str(error)), b"")])
        yield _packed([(Item(shard, number + 1, last=True), b"")])


class StageActor:
    """One stage in a process of its own, which loads its model with the first picture."""

    def __init__(self, config: ScaleConfig, work: Work) -> None:
        """See ScaleConfig and Work."""
        self._config, self._work = config, work
        self._decoders = DecoderPool(processes=max(1, round(config.pool(work).cpus)))
        self._threads = ThreadPoolExecutor(self._decoders.processes)
        self._make: _Make | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """A batch of items, those under way a stage further; content goes along until the last stage."""
        pairs = _unpacked(table)
        try:
            after = {(item.shard, item.number): item for item in self._further(pairs)}
        except Exception as error:  # a sentence of ours, or what no other picture would go through either
            return _packed([(replace(pairs[0][0], stop=self._why_it_ends(error)), b"")])
        keep = self._work.stage == "describe"
        items = [(after.get((item.shard, item.number), item), content) for item, content in pairs]
        return _packed([(item, content if keep and item.under_way else b"") for item, content in items])

    def _why_it_ends(self, error: Exception) -> str:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
            return f"Out of memory in the stage {self._work.stage}: lower --batch, or give its actors more room."
        return str(error) if isinstance(error, DescriberError | ValueError | OSError) else f"{error!r}"

    def _further(self, pairs: Sequence[tuple[Item, bytes]]) -> Iterator[Item]:
        opened: list[tuple[Item, Pictures.Image]] = []
        for item, picture in self._threads.map(self._open, [pair for pair in pairs if pair[0].under_way]):
            if isinstance(picture, str):
                yield replace(item, stage="read", state="refused", reason=picture)
            else:
                opened.append((item, picture))
        if opened:
            yield from self._tried(opened)

    def _tried(self, opened: Sequence[tuple[Item, Pictures.Image]]) -> list[Item]:
        """Each picture done, or tried as often as the settings say."""
        make = self._make = self._make or self._annotator()

        def failed(pair: tuple[Item, Pictures.Image], reason: str) -> Item:
            return replace(pair[0], stage=self._work.stage, state="failed", reason=reason)

        results = try_together(make, opened, failed)
        for _ in range(self._config.attempts - 1):
            again = [row for row, item in enumerate(results) if item.state == "failed"]
            for row, item in zip(again, try_together(make, [opened[row] for row in again], failed), strict=True):
                results[row] = item
        return results

    def _open(self, pair: tuple[Item, bytes]) -> tuple[Item, Pictures.Image | str]:
        item, content = pair
        try:
            picture = self._decoders.read(content)
        except RefusedError as error:
            return item, str(error)
        item = replace(item, width=picture.width, height=picture.height)
        picture.image.info[ROW] = Image(
            dataset_id=0,
            sha256=item.sha256,
            width=item.width,
            height=item.height,
            location=item.shard,
            member=item.member,
        )
        return item, picture.image

    def _annotator(self) -> _Make:
        """Loads the model of this stage."""
        config = self._config
        if self._work.stage == "describe":
            describer = make_describer(config.describer, config.sample)
            return lambda opened: _describe(describer, opened)
        localizer = make_localizer(config.localizer, config.sample)
        return lambda opened: self._localize(localizer, opened)

    def _localize(self, localizer: Localizer, opened: Sequence[tuple[Item, Pictures.Image]]) -> Iterator[Item]:
        said = [
            list(dict.fromkeys(item.descriptions if self._work.needs else self._config.describer.vocabulary))
            for item, _ in opened
        ]
        found = find_regions(localizer, self._config.localizer.keep, [picture for _, picture in opened], said)
        for (item, _), (_, regions) in zip(opened, found, strict=True):
            yield replace(
                item,
                regions=[
                    {"box": list(each.xyxy), "text": each.text, "score": each.score, "source": localizer.name}
                    for each in regions.kept
                ],
            )


_Make = Callable[[Sequence[tuple[Item, Pictures.Image]]], Iterable[Item]]


def _describe(describer: Describer, opened: Sequence[tuple[Item, Pictures.Image]]) -> Iterator[Item]:
    answers = describer.describe([picture for _, picture in opened])
    for (item, _), said in zip(opened, answers, strict=True):
        yield replace(
            item,
            subject=said.subject,
            descriptions=said.descriptions,
            raw=said.raw,
            caption=item.caption or said.caption,
            stage="describe" if said.problem else "",
            state=state_of(said) if said.problem else "",
            reason=said.problem,
        )


def _packed(pairs: Sequence[tuple[Item, bytes]]) -> pa.Table:
    """Items travel as JSON beside their bytes: numbers come out as they went in."""
    import pyarrow as pa

    facts = pa.array([json.dumps(asdict(item)) for item, _ in pairs], pa.large_string())
    return pa.table({"item": facts, "content": pa.array([content for _, content in pairs], pa.large_binary())})


def _unpacked(table: pa.Table) -> list[tuple[Item, bytes]]:
    rows = zip(table["item"].to_pylist(), table["content"].to_pylist(), strict=True)
    return [(Item(**json.loads(facts)), content) for facts, content in rows]


def _sentence(error: BaseException) -> str:
    """What lies at the bottom of an exception of Ray's: its last line that says something."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__


# -------------------------------------------------------------------------------- what is written


@dataclass(frozen=True)
class Record:
    """What made a shard, and what it came to. size, changed: of the shard that was read."""

    recipe: str
    split: str
    size: int
    changed: int
    file: str
    bytes: int
    images: int
    sha256: str
    without_caption: int
    failed: dict[str, int]


def write_shard(config: ScaleConfig, work: Work, shard: Path, items: Sequence[Item]) -> None:
    """Write what came of a shard: the errors, the pictures, and when all of it lies there, the record.

    Args:   work: the last stage. items: all files of the shard, in any order.
    Raises: ScaleError: the disk is full.
    """
    items = sorted(items, key=lambda item: item.number)
    good = [item for item in items if not item.reason]
    bad = [
        {"shard": item.shard, **{name: getattr(item, name) for name in ("member", "stage", "state", "reason", "raw")}}
        for item in items
        if item.reason
    ]
    name, seen = _name(shard), shard.stat()
    for folder in (ERRORS, RECORDS):
        (config.out / folder).mkdir(parents=True, exist_ok=True)
    target = config.out / f"{name}.tar"
    try:
        lines = "".join(json.dumps(each) + "\n" for each in bad).encode()
        write_whole(config.out / ERRORS / f"{name}.jsonl", lambda file: file.write(lines))
        digest = write_whole(target, lambda file: _write_tar(file, shard, good))
        record = Record(
            recipe=work.recipe,
            split=config.split,
            size=seen.st_size,
            changed=seen.st_mtime_ns,
            file=target.name,
            bytes=target.stat().st_size,
            images=len(good),
            sha256=digest,
            without_caption=sum(not item.caption for item in good),
            failed=dict(Counter(str(each["state"]) for each in bad)),
        )
        _write_json(config.out / RECORDS / f"{name}.json", asdict(record))
    except SampleWorldError as error:
        raise ScaleError(str(error)) from error


def _write_tar(file: BinaryIO, shard: Path, items: Sequence[Item]) -> None:
    """The pictures, each with its JSON, as grain.data reads them: JPEG, upright."""
    taken: set[str] = set()
    with (
        DecoderPool(processes=1) as decoders,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for item, content in _contents(shard, items):
            key = _key(item, taken)
            _add(tar, f"{key}.jpg", _as_jpeg(content, decoders))
            _add(tar, f"{key}.json", json.dumps(_sample_json(key, item)).encode())


def _contents(shard: Path, items: Sequence[Item]) -> Iterator[tuple[Item, bytes]]:
    """The bytes of these pictures, read again: they are not carried through the cluster a second time.

    Raises: ScaleError: they are no longer those that were worked on.
    """
    wanted = {item.member: item for item in items}
    if not wanted:
        return
    archive = open_archive(shard, Limits())
    try:
        for entry in archive.entries():
            item = None if entry.refusal else wanted.pop(entry.name, None)
            if item is not None:
                content = archive.read(entry)
                if hashlib.sha256(content).hexdigest() != item.sha256:
                    break
                yield item, content
            if not wanted:  # what lies behind may be damaged
                return
    finally:
        archive.close()
    raise ScaleError(f"{shard} has changed while it was worked on: run the same command again.")


def _as_jpeg(content: bytes, decoders: DecoderPool) -> bytes:
    """The very bytes where they are a JPEG that nothing turns; else the upright picture, saved anew."""
    if content.startswith(JPEG_MAGIC) and EXIF not in content:
        return content
    buffer = io.BytesIO()
    decoders.read(content).image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _key(item: Item, taken: set[str]) -> str:
    """A sample's name: the picture's, without dots, since WebDataset ends a key at the first one."""
    key = os.path.splitext(item.member)[0].replace(".", "_").strip("/")
    while key in taken:
        key += "_"
    taken.add(key)
    return key


def _sample_json(key: str, item: Item) -> dict[str, Any]:
    names = ("width", "height", "caption", "regions", "subject", "descriptions", "sha256", "member")
    return {"schema_version": SCHEMA_VERSION, "id": key} | {name: getattr(item, name) for name in names}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # its time, owner and group are zero: the same pictures give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


def _name(shard: Path) -> str:
    return SHARD_SUFFIX.sub("", shard.name)


def _is_done(config: ScaleConfig, works: Sequence[Work], shard: Path) -> bool:
    """Whether a shard was finished from the very file, and still lies there.

    Raises: ScaleError: another recipe made it.
    """
    record = _read_record(config.out, _name(shard))
    if record is None:
        return False
    if record.recipe != works[-1].recipe:
        raise ScaleError(
            f"{config.out} holds shards that other settings made ({record.file} is one): choose another --out, "
            "or delete that folder first."
        )
    seen = shard.stat()
    same = (record.size, record.changed, record.split) == (seen.st_size, seen.st_mtime_ns, config.split)
    return same and not (config.redo_failed and record.failed.get("failed"))


def _read_record(out: Path, name: str) -> Record | None:
    """None where there is none that holds, or the shard is gone or cut."""
    try:
        record = Record(**json.loads((out / RECORDS / f"{name}.json").read_text(encoding="utf-8")))
        whole = (out / record.file).stat().st_size == record.bytes
    except (OSError, ValueError, TypeError):
        return None
    return record if whole else None


def _finish(config: ScaleConfig, works: Sequence[Work], shards: Sequence[Path], *, skipped: int) -> Summary:
    """Write the manifest of all that lies in the folder; a run may have added another split to it."""
    names = sorted(path.stem for path in (config.out / RECORDS).glob("*.json"))
    records = [record for name in names if (record := _read_record(config.out, name))]
    splits: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        splits[record.split].append({"file": record.file, "images": record.images, "sha256": record.sha256})
    folders, by = sorted({shard.parent.name for shard in shards}), " and ".join(work.source for work in works)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "source": "curation.scale",
        "trained_on": config.trained_on or f"pictures of {', '.join(folders)}, described and boxed by {by}",
        "recipes": {work.stage: work.recipe for work in works},
        "sources": {work.stage: work.source for work in works},
        "splits": splits,
    }
    _write_json(config.out / MANIFEST, manifest)
    failed: Counter[str] = sum((Counter(record.failed) for record in records), Counter())
    images, without = (sum(getattr(record, name) for record in records) for name in ("images", "without_caption"))
    return Summary(len(records), skipped, images, without, dict(failed))


def main(config: ScaleConfig) -> None:
    """The command line."""
    find_shards(config.shards, config.out)  # a slip is said before a cluster is started
    connect(config.address)
    bar = tqdm(unit="picture", dynamic_ncols=True)

    def report(progress: Progress) -> None:
        bar.set_description_str(f"{progress.shards:,} of {progress.total:,} shards")
        bar.update(progress.pictures - bar.n)
        message = f"{progress.pictures:,} pictures, {progress.rate:.1f} pictures/s"
        report_progress(progress.shards, progress.total, message)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    summary = scale(config, report=report)
    bar.close()
    print(json.dumps(asdict(summary), indent=1))


if __name__ == "__main__":
    try:
        main(tyro.cli(ScaleConfig, description=__doc__))
    except (ScaleError, ValueError, OSError) as error:
        sys.exit(f"curation.scale: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.scale: stopped: the same command goes on")
