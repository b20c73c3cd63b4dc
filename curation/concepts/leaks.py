"""Find pictures of a data set that are in training data: equal contents, similar looks, near embeddings.

`python -m curation.concepts.leaks --dataset NAME --against TRAINING` compares with another data set, with a frozen
version of it (`--version`), with a folder of shards (`--shards`) or with the data set itself (`--itself`), saves each
suspect with its match for people to decide on, and prints a JSON object. Run again, it compares all and keeps people's
decisions.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atomic_files import write_atomically
from curation.concepts.compare import ITSELF, ORDER, ComparedPicture, Embed, LeakSettings, compare
from curation.concepts.status import dataset_id_of
from curation.concepts.training_pictures import count_in_shards, pictures_of, shard_pictures, version_pictures
from curation.files.home import database_url, home_folder
from curation.ingest.ingest import THUMBNAIL_QUALITY, thumbnail_path
from curation.versions.versions import open_version
from db.engine import Engine, Session, open_engine, reading, retrying
from db.queries.concept_queries import NewSuspect, save_leak_check
from db.queries.data_set_queries import count_images
from grain.command import flags_of, run_command
from job_progress import report_progress
from user_errors import UserError


@dataclass(frozen=True)
class LeakResult:
    """The result of a comparison.

    compared: training pictures. skipped: those of them without a readable picture.
    """

    against: str
    checked: int
    compared: int
    skipped: int
    suspects: tuple[NewSuspect, ...]

    def counts(self) -> dict[str, int]:
        """Count the pairs by the strongest of their likenesses."""
        return {how: sum(one.how == how for one in self.suspects) for how in ORDER}


def embed_with(checkpoint: str) -> Embed | None:
    """Return a function that embeds with a checkpoint; None where none is named.

    Raises: ValueError: it cannot be used.
    """
    if not checkpoint:
        return None
    from grain.predict import Predictor

    predictor = Predictor.from_pretrained(checkpoint)
    if predictor.info.from_proposals:
        raise ValueError(f"expected a checkpoint that needs no proposals, got {checkpoint}: choose another")
    return lambda images: np.stack([found.image_embed for found in predictor.batch_features(images)])


@dataclass(frozen=True)
class LeaksConfig:
    """Compare a data set with training data; prints one JSON object."""

    dataset: str
    """The data set that must not be in the training data."""
    against: str = ""
    """Another data set."""
    version: str = ""
    """A frozen version: its name within --against, or its sha256."""
    shards: Path | None = None
    """A folder of shards with its manifest.json."""
    itself: bool = False
    """The data set's own pictures: near-duplicates within it, by content and look."""
    settings: LeakSettings = field(default_factory=LeakSettings)
    home: Path | None = None
    """Folder of database, versions and thumbnails; by default GRAIN_HOME."""

    def __post_init__(self) -> None:
        """Refuse settings that name nothing to compare with, or two things.

        Raises: ValueError.
        """
        named = [bool(self.against or self.version), self.shards is not None, self.itself]
        if sum(named) != 1:
            raise ValueError(
                f"expected one thing to compare with, got {sum(named)}: give a data set, a folder of shards or --itself"
            )
        if self.against == self.dataset:
            raise ValueError(f"expected other data than {self.dataset!r} to compare with: name them, or give --itself")

    def words(self) -> str:
        """Return what it is compared with, for people and as the check's name."""
        if self.itself:
            return ITSELF
        if self.shards is not None:
            return f"the shards in {self.shards.expanduser().absolute()}"
        if self.version:
            return f"version {self.version}" + f" of {self.against}" * bool(self.against)
        return f"the data set {self.against}"


def command_line(config: LeaksConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    shards = config.shards.expanduser().absolute() if config.shards else None
    return ["-m", "curation.concepts.leaks", *flags_of(replace(config, shards=shards))]


def check(
    engine: Engine,
    home: Path,
    config: LeaksConfig,
    *,
    embed: Embed | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> LeakResult:
    """Compare, and save the suspects.

    Args:   on_progress: hears how many pictures are looked at, of both sides together, and of how many.
    Raises: UserError: no such data set, nothing in it, shards that cannot be read, or as open_version.
    """
    with reading(engine) as session:
        dataset_id = dataset_id_of(session, config.dataset)
    ours = list(pictures_of(engine, home, config.dataset, numbered=True))
    if not ours:
        raise UserError(f"The data set {config.dataset} has no pictures yet: import some first.")
    if config.itself:
        theirs, embed = pictures_of(engine, home, config.dataset, numbered=True), None
    elif config.shards is not None:
        theirs = shard_pictures(config.shards.expanduser())
    elif config.version:
        theirs = version_pictures(engine, home, dataset=config.against, version=config.version)
    else:
        theirs = pictures_of(engine, home, config.against)

    def keep(match: ComparedPicture) -> None:
        file = thumbnail_path(home, match.sha256)
        if match.image is not None and not file.exists():
            buffer = io.BytesIO()
            match.image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
            write_atomically(file, buffer.getvalue(), sync="content")

    total = len(ours) + _count_theirs(engine, home, config, ours=len(ours))
    suspects, compared, skipped = compare(
        ours, theirs, config.settings, embed=embed, on_progress=lambda done: on_progress(done, total), keep=keep
    )
    result = LeakResult(config.words(), len(ours), compared, skipped, tuple(suspects))
    settings: dict[str, Any] = asdict(config.settings) | ({} if embed else {"checkpoint": ""})

    def write(session: Session) -> None:
        save_leak_check(
            session,
            dataset_id=dataset_id,
            against=result.against,
            settings=settings,
            compared=compared,
            skipped=skipped,
            checked=len(ours),
            checked_to=max(one.id for one in ours),
            suspects=suspects,
        )

    retrying(engine, write)
    return result


def _count_theirs(engine: Engine, home: Path, config: LeaksConfig, *, ours: int) -> int:
    """Return how many training pictures there are."""
    if config.itself:
        return ours
    if config.shards is not None:
        return count_in_shards(config.shards.expanduser())
    if config.version:
        return open_version(engine, home, dataset=config.against, version=config.version).pictures
    with reading(engine) as session:
        return count_images(session, dataset_id=dataset_id_of(session, config.against))


def minutes_left(done: int, total: int, seconds: float) -> str:
    """Return how long the rest takes at the pace so far, in words; "" while nobody can say."""
    if not 0 < done < total:
        return ""
    left = seconds * (total - done) / done
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"


def main(config: LeaksConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:
            began = time.monotonic()

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                left = minutes_left(done, total, time.monotonic() - began)
                report_progress(done, total, f"{done:,} of {total:,} pictures looked at{left}")

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
    run_command(main, LeaksConfig, module="curation.concepts.leaks", stopped="stopped: nothing was saved; run it again")
