"""Run stages over shards with Ray Data: join or start a cluster, make actors, stream from shards to shards.

The shards and the models lie where every machine of the cluster sees them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as Pictures
from tqdm import tqdm

from curation.annotate.describe import DescriberError
from curation.annotate.sample_annotators import ROW
from curation.annotate.stage_run import try_together
from curation.files.decode import RefusedError
from curation.files.pictures import DecoderPool
from curation.scale.shard_files import ScaleSummary, ShardItem, packed, unpacked
from db.models import Image
from job_progress import report_progress
from user_errors import UserError

if TYPE_CHECKING:
    from curation.scale.shard_files import Table

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # at 0 Ray listens on 127.0.0.1, as it does on macOS anyway
BLOCK_BYTES = 8 * 2**20  # of pictures that go to an actor at once: small, so that few shards keep many actors busy
READERS = 4  # shards that are read at once
WRITERS = 4  # shards that are written at once
Opened = tuple[ShardItem, Pictures.Image]
Make = Callable[[Sequence[Opened]], Iterable[ShardItem]]
"""Files with their upright RGB pictures -> the files a stage further."""


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


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Settings of every stage that goes through shards."""

    address: str = ""
    """Of a Ray cluster: auto for the one of this machine; left out, one is started here and ended with the run."""
    batch: int = 16
    """Pictures of one call of a model."""
    attempts: int = 2
    """Tries of a picture that fails."""
    redo_failed: bool = False
    """Do shards again in which a picture failed, as when a server was away."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch < 1 or self.attempts < 1:
            raise ValueError("batch and attempts must be above 0")


@dataclass(frozen=True)
class ClusterProgress:
    """shards: finished in this run, of total. pictures: through all stages. rate: of them, a second."""

    shards: int
    total: int
    pictures: int
    rate: float


class StageActor:
    """A stage in a process of its own, which loads its model with the first picture. What it does, a subclass says."""

    stage: str
    last = True  # whether nothing behind it needs the pictures

    def __init__(self, pool: PoolConfig, attempts: int) -> None:
        """attempts: tries of a picture that fails."""
        self._attempts = attempts
        self._decoders = DecoderPool(processes=max(1, round(pool.cpus)))
        self._threads = ThreadPoolExecutor(self._decoders.processes)
        self._made: Make | None = None

    def make(self) -> Make:
        """Load the model of this stage."""
        raise NotImplementedError

    def __call__(self, table: Table) -> Table:
        """Bring the items of a batch that are under way a stage further; content goes along until the last stage."""
        pairs = unpacked(table)
        try:
            after = {(item.shard, item.number): item for item in self._further(pairs)}
        except Exception as error:  # a sentence of ours, or what no other picture would go through either
            return packed([(replace(pairs[0][0], stop=self._why_it_ends(error)), b"")])
        items = [(after.get((item.shard, item.number), item), content) for item, content in pairs]
        return packed([(item, b"" if self.last or not item.under_way else content) for item, content in items])

    def _why_it_ends(self, error: Exception) -> str:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
            return f"Out of memory in the stage {self.stage}: lower --batch, or give its actors more room."
        return str(error) if isinstance(error, DescriberError | ValueError | OSError) else f"{error!r}"

    def _further(self, pairs: Sequence[tuple[ShardItem, bytes]]) -> Iterator[ShardItem]:
        opened: list[Opened] = []
        for item, picture in self._threads.map(self._open, [pair for pair in pairs if pair[0].under_way]):
            if isinstance(picture, str):
                yield replace(item, stage="read", state="refused", reason=picture)
            else:
                opened.append((item, picture))
        if opened:
            yield from self._tried(opened)

    def _tried(self, opened: Sequence[Opened]) -> list[ShardItem]:
        """Work on each picture until it is done or was tried as often as the settings say."""
        make = self._made = self._made or self.make()

        def failed(pair: Opened, reason: str) -> ShardItem:
            return replace(pair[0], stage=self.stage, state="failed", reason=reason)

        results = try_together(make, opened, failed)
        for _ in range(self._attempts - 1):
            again = [row for row, item in enumerate(results) if item.state == "failed"]
            for row, item in zip(again, try_together(make, [opened[row] for row in again], failed), strict=True):
                results[row] = item
        return results

    def _open(self, pair: tuple[ShardItem, bytes]) -> tuple[ShardItem, Pictures.Image | str]:
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


@dataclass(frozen=True)
class ClusterStage:
    """A stage on its way to the actors. settings: what its actor is made with."""

    actor: type[StageActor]
    settings: tuple[Any, ...]
    pool: PoolConfig


def connect(address: str = "", *, cpus: int | None = None) -> None:
    """Join a Ray cluster, or start one that only this machine reaches and that ends with this process.

    Args:   cpus: of one that is started here; None for all. Does nothing where a cluster was joined before.
    Raises: UserError: Ray is not installed, or no cluster is there.
    """
    if not address:
        os.environ.setdefault(LOOPBACK_ONLY, "0")  # read when ray is imported
    ray = _ray()
    if ray.is_initialized():
        return
    options: dict[str, Any] = {} if address else {"num_cpus": cpus, "include_dashboard": False}
    if not address:
        # The API server asks the network which cloud this is, dashboard or not; nothing here asks it for anything.
        ray._private.services.start_api_server = lambda *_, **__: (None, None)
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if not address:
            raise UserError(f"Ray does not start on this machine: {_sentence(error)}") from error
        raise UserError(
            f"No Ray cluster at {address!r} lets us in: start one with `ray start --head`, or see to its address and "
            "token."
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed: run `pip install -r requirements-scale.txt`.") from error
    return ray


def must_fit(pools: Sequence[PoolConfig], flags: str) -> None:
    """Check that there is room for all actors, which would else wait for ever.

    Args:   flags: of the pools.
    Raises: UserError.
    """
    there = _ray().cluster_resources()
    cpus, gpus = (sum(pool.actors * getattr(pool, name) for pool in pools) for name in ("cpus", "gpus"))
    if cpus > there.get("CPU", 0) or gpus > there.get("GPU", 0):
        raise UserError(
            f"The actors ask for {cpus:g} cores and {gpus:g} GPUs, and there are {there.get('CPU', 0):g} and "
            f"{there.get('GPU', 0):g}: lower actors, cpus or gpus of {flags}."
        )


def through(
    stages: Sequence[ClusterStage],
    shards: Sequence[Path],
    *,
    read: Callable[[Table], Iterator[Table]],
    write: Callable[[Path, Sequence[ShardItem]], None],
    batch: int,
    report: Callable[[ClusterProgress], None],
) -> None:
    """Bring all files of shards through all stages; write a shard when the last of its files is there.

    Args:   read: names of shards -> their files, and after them a last item. write: on some machine of the cluster.
    Raises: UserError: the run cannot go on.
    """
    ray, began = _ray(), time.perf_counter()
    writer = ray.remote(num_cpus=0)(_write)
    come: defaultdict[str, list[ShardItem]] = defaultdict(list)
    expected: dict[str, int] = {}
    writing: list[Any] = []
    pictures = shards_out = 0
    try:
        for items in _worked_on(stages, shards, read=read, batch=batch):
            for item in items:
                if item.stop:
                    raise UserError(item.stop)
                if item.last:
                    expected[item.shard] = item.number
                else:
                    come[item.shard].append(item)
                if expected.get(item.shard) == len(come[item.shard]):
                    writing.append(writer.remote(write, Path(item.shard), come.pop(item.shard)))
                pictures += not item.last
            while len(writing) > WRITERS:
                done, writing = ray.wait(writing)
                ray.get(done)
                shards_out += len(done)
            report(ClusterProgress(shards_out, len(shards), pictures, pictures / (time.perf_counter() - began)))
        while writing:
            done, writing = ray.wait(writing)
            ray.get(done)
            shards_out += len(done)
            report(ClusterProgress(shards_out, len(shards), pictures, pictures / (time.perf_counter() - began)))
    except ray.exceptions.RayError as error:
        raise UserError(_sentence(error)) from error


def _write(write: Callable[[Path, Sequence[ShardItem]], None], shard: Path, items: Sequence[ShardItem]) -> None:
    write(shard, items)


def _worked_on(
    stages: Sequence[ClusterStage],
    shards: Sequence[Path],
    *,
    read: Callable[[Table], Iterator[Table]],
    batch: int,
) -> Iterator[list[ShardItem]]:
    """Yield the files of all shards, as they come through all stages."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    context.target_max_block_size = BLOCK_BYTES
    with ray.data.DataContext.current(context):
        names = [{"shard": str(shard)} for shard in shards]
        rows: ray.data.Dataset = ray.data.from_items(names, override_num_blocks=len(shards))
        rows = rows.map_batches(
            read,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,  # so that it runs beside the actors on any machine
            compute=ray.data.TaskPoolStrategy(size=min(READERS, len(shards))),
        )
        for stage in stages:
            pool = stage.pool
            rows = rows.map_batches(
                stage.actor,
                fn_constructor_args=stage.settings,
                batch_size=batch,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=pool.actors),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
            )
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield [item for item, _ in unpacked(table)]


def _sentence(error: BaseException) -> str:
    """Return what lies at the bottom of an exception of Ray's: its last line that says something."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__


def at_a_terminal(run: Callable[..., ScaleSummary]) -> None:
    """Run with a bar for people who watch and progress for the job's page; print the summary as JSON."""
    bar = tqdm(unit="picture", dynamic_ncols=True)

    def report(progress: ClusterProgress) -> None:
        bar.set_description_str(f"{progress.shards:,} of {progress.total:,} shards")
        bar.update(progress.pictures - bar.n)
        message = f"{progress.pictures:,} pictures, {progress.rate:.1f} pictures/s"
        report_progress(progress.shards, progress.total, message)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    summary = run(report=report)
    bar.close()
    print(json.dumps(asdict(summary), indent=1))
