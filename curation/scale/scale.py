"""Annotate data sets that outgrow one machine: curation.annotate over Ray Data, by python -m curation.scale.

WebDataset shards in, WebDataset shards with a manifest.json out, ready for grain.train. The stages are those of
curation.annotate and give the very same regions; there is no database, and equal pictures are not looked for.

Every shard is written whole or not at all, with what failed in it under errors/ and what made it under records/. Run
again, the command skips the shards that are done. A folder holds the work of one recipe: another one is refused, so
that no finished shard is overwritten by a slip.

The shards and the models lie where every machine of the cluster sees them. A describer behind vLLM is a server
(`--describer.kind server`), which any number of actors share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.annotate.annotate_stage import find_regions, state_of
from curation.annotate.describe import Describer
from curation.annotate.localize import Localizer, UnreadableAnswerError
from curation.annotate.registry import (
    DescriberChoice,
    LocalizerChoice,
    StageWork,
    make_describer,
    make_localizer,
    works_of,
)
from curation.annotate.sample_annotators import SampleConfig
from curation.files.sources import open_source
from curation.scale.cluster import (
    ClusterConfig,
    ClusterProgress,
    ClusterStage,
    Make,
    Opened,
    PoolConfig,
    StageActor,
    at_a_terminal,
    connect,
    must_fit,
    through,
)
from curation.scale.shard_files import (
    ScaleSummary,
    ShardItem,
    ShardRecipe,
    find_shards,
    finish,
    is_done,
    open_folder,
    packed,
    write_shard,
)
from grain.command import run_command
from grain.structures import SCHEMA_VERSION
from user_errors import UserError

if TYPE_CHECKING:
    from curation.scale.shard_files import Table


@dataclass(frozen=True)
class ScaleConfig(ClusterConfig):
    """Describe and localize every picture of WebDataset shards; run again, it resumes."""

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
    split: str = "train"
    """Under which the manifest lists these shards."""
    trained_on: str = ""
    """What a model of these pictures will have seen, for its card; left out, the shards are named."""

    def works(self) -> tuple[StageWork, ...]:
        """Return the stages in their order.

        Raises: UserError: weights are not on this machine.
        """
        return works_of(self.describer, self.localizer, self.sample)

    def pool(self, work: StageWork) -> PoolConfig:
        """Return the actors of a stage."""
        return self.describing if work.stage == "describe" else self.localizing


def scale(config: ScaleConfig, *, report: Callable[[ClusterProgress], None] = lambda progress: None) -> ScaleSummary:
    """Annotate what is not done yet, on the cluster that `connect` has joined. Stopped anywhere, it can go on.

    Raises: UserError: no shards, another recipe in the folder, too small a cluster, or no picture can be described.
            UserError: weights are not on this machine.
    """
    config = replace(config, out=config.out.expanduser().absolute())  # other machines have another working folder
    works, shards = config.works(), find_shards(config.shards, config.out)
    made = ShardRecipe(works[-1].recipe, config.split)
    todo = [shard for shard in shards if not is_done(config.out, made, shard, redo_failed=config.redo_failed)]
    if todo:
        if not config.address:  # a cluster of others' may grow
            must_fit([config.pool(work) for work in works], "--describing and --localizing")
        open_folder(config.out)
        stages = [ClusterStage(ACTORS[work.stage], (config, work), config.pool(work)) for work in works]
        write = partial(write_shard, out=config.out, made=made, beside=sample_json)
        through(stages, todo, read=read_shards, write=write, batch=config.batch, report=report)
    folders, by = sorted({shard.parent.name for shard in shards}), " and ".join(work.source for work in works)
    facts = {
        "source": "curation.scale",
        "trained_on": config.trained_on or f"pictures of {', '.join(folders)}, described and boxed by {by}",
        "recipes": {work.stage: work.recipe for work in works},
        "sources": {work.stage: work.source for work in works},
    }
    return finish(config.out, facts, skipped=len(shards) - len(todo))


def read_shards(table: Table) -> Iterator[Table]:
    """Read shards: yield their files as an import sees them (curation.files.sources), and after them a last item."""
    for shard in table["shard"].to_pylist():
        number = -1
        try:
            source = open_source(Path(shard))
            if source.kind != "archive":
                raise UserError(f"expected a WebDataset shard, got a {source.kind}: let curation.ingest read it")
            for number, found in enumerate(source.files):
                content = found.content or b""
                further = tuple(dict.fromkeys(found.captions))[1:]
                item = ShardItem(shard, number, member=found.member, caption=found.caption, captions=further)
                if found.refusal:
                    item = replace(item, stage="read", state="refused", reason=found.refusal)
                yield packed([(replace(item, sha256=hashlib.sha256(content).hexdigest()), content)])
        except UserError as error:
            number += 1
            yield packed([(ShardItem(shard, number, stage="read", state="refused", reason=str(error)), b"")])
        yield packed([(ShardItem(shard, number + 1, last=True), b"")])


class DescribeActor(StageActor):
    """Describes."""

    stage, last = "describe", False

    def __init__(self, config: ScaleConfig, work: StageWork) -> None:
        """See ScaleConfig and Work."""
        super().__init__(config.pool(work), config.attempts)
        self._config = config

    def make(self) -> Make:
        """Load the describer."""
        describer = make_describer(self._config.describer, self._config.sample)
        return lambda opened: _describe(describer, opened)


class LocalizeActor(StageActor):
    """Finds where the descriptions hold."""

    stage = "localize"

    def __init__(self, config: ScaleConfig, work: StageWork) -> None:
        """See ScaleConfig and Work."""
        super().__init__(config.pool(work), config.attempts)
        self._config, self._work = config, work

    def make(self) -> Make:
        """Load the localizer."""
        localizer = make_localizer(self._config.localizer, self._config.sample)
        return lambda opened: self._localize(localizer, opened)

    def _localize(self, localizer: Localizer, opened: Sequence[Opened]) -> Iterator[ShardItem]:
        texts = [
            list(dict.fromkeys(item.descriptions if self._work.needs else self._config.describer.vocabulary))
            for item, _ in opened
        ]
        try:
            found = find_regions(
                localizer, self._config.localizer.keep, pictures=[picture for _, picture in opened], texts=texts
            )
        except UnreadableAnswerError as error:
            if len(opened) > 1:
                raise  # they are tried again one by one, with the answers that they carry
            yield replace(opened[0][0], stage=self.stage, state="quarantined", reason=str(error))
            return
        for (item, _), (_, regions) in zip(opened, found, strict=True):
            yield replace(
                item,
                regions=[
                    {"box": list(each.xyxy), "text": each.text, "score": each.score, "source": localizer.name}
                    for each in regions.kept
                ],
            )


ACTORS: dict[str, type[StageActor]] = {"describe": DescribeActor, "localize": LocalizeActor}


def _describe(describer: Describer, opened: Sequence[Opened]) -> Iterator[ShardItem]:
    answers = describer.describe([picture for _, picture in opened])
    for (item, _), answer in zip(opened, answers, strict=True):
        yield replace(
            item,
            subject=answer.subject,
            descriptions=answer.descriptions,
            raw=answer.raw,
            caption=item.caption or answer.caption,
            written_caption=answer.caption,
            stage="describe" if answer.problem else "",
            state=state_of(answer) if answer.problem else "",
            reason=answer.problem,
        )


def sample_json(key: str, item: ShardItem) -> dict[str, Any]:
    """Make the JSON that lies beside a picture, as grain.data.loader reads it."""
    names = ("width", "height", "caption", "written_caption", "regions", "subject", "descriptions", "sha256", "member")
    captions = {"captions": [*item.captions]} if item.captions else {}
    return {"schema_version": SCHEMA_VERSION, "id": key} | {name: getattr(item, name) for name in names} | captions


def main(config: ScaleConfig) -> None:
    """Run the command."""
    find_shards(config.shards, config.out)  # a slip is said before a cluster is started
    connect(config.address)
    at_a_terminal(partial(scale, config))


def command() -> None:
    """Run `python -m curation.scale`."""
    run_command(main, ScaleConfig, module="curation.scale", description=__doc__)
