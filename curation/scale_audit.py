"""python -m curation.scale_audit: what curation.audit does, over Ray Data, on the shards that curation.scale wrote.

The claims lie beside each picture with verdict and evidence, the very rows of curation.audit and under its recipe; a
policy lets what training reads do without what is not supported. Run again, it goes on, as curation.scale does.

The vocabulary that absent things are taken from is that of the first descriptions of all shards; the stand-ins of the
sample world have no place here: what is true of its pictures does not lie beside annotated ones.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from curation.annotators import digest_of
from curation.archives import ArchiveError, open_archive
from curation.audit import DESCRIPTIONS_READ, Auditor, SourceChoice, auditor_of, source_of, vocabulary_of
from curation.claims import Claim
from curation.cluster import (
    ClusterConfig,
    Make,
    Opened,
    PoolConfig,
    Progress,
    Stage,
    StageActor,
    at_a_terminal,
    connect,
    must_fit,
    through,
)
from curation.combine import Judge, Judged
from curation.decode import Limits, RefusedError
from curation.judges import Basis
from curation.policy import Policy, Told, description_under
from curation.records import DescriptionRecord
from curation.shard_files import MANIFEST, Item, Made, ScaleError, Summary, finish, is_done, packed, write_shard

if TYPE_CHECKING:
    from curation.shard_files import Table


@dataclass(frozen=True)
class ScaleAuditConfig(ClusterConfig):
    """Judge every claim of annotated shards; run again, it goes on where it was."""

    annotated: Path
    """A folder that curation.scale wrote."""
    out: Path
    """Folder to write; new, empty, or of an earlier run with the same settings."""
    sources: SourceChoice = field(default_factory=SourceChoice)
    judge: str = ""
    """A judge as JSON; left out: the one that comes along."""
    policy: Policy = "keep"
    """What training reads of descriptions with an unsupported claim. keep: all of them, the claims beside them."""
    auditing: PoolConfig = field(default_factory=PoolConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        super().__post_init__()
        if "sample" in (self.sources.detector, self.sources.asked):
            raise ValueError("the stand-ins of the sample world need what lies beside its own pictures: choose others")


def scale_audit(config: ScaleAuditConfig, *, report: Callable[[Progress], None] = lambda progress: None) -> Summary:
    """Audit what is not done yet, on the cluster that `connect` has joined. Stopped anywhere, it can go on.

    Raises: ScaleError: no annotated shards, another recipe in the folder, too small a cluster, or the run cannot go on.
            JudgeError, MissingModelError, CheckpointError: something cannot be read or is not on this machine.
    """
    config = replace(config, out=config.out.expanduser().absolute(), annotated=config.annotated.expanduser().absolute())
    manifest = manifest_of(config.annotated)
    judge = Judge.load(Path(config.judge)) if config.judge else Judge.load()
    work = Basis(source_of(config.sources), manifest["recipes"]["describe"]).work(judge)
    recipe = digest_of({"audit": work.recipe, "policy": config.policy})
    shards = [(config.annotated / each["file"], split) for split, some in manifest["splits"].items() for each in some]
    if config.out == config.annotated:
        raise ScaleError(f"The shards lie in {config.out}, where the new ones would go: choose another --out.")
    made = {shard: Made(recipe, split) for shard, split in shards}
    todo = [shard for shard in made if not is_done(config.out, made[shard], shard, redo_failed=config.redo_failed)]
    if todo:
        if not config.address:  # a cluster of others' may grow
            must_fit([config.auditing], "--auditing")
        (config.out / MANIFEST).unlink(missing_ok=True)  # a folder with one is complete
        said = (text for shard in made for _, beside in samples_of(shard) for text in beside.get("descriptions", ()))
        things = vocabulary_of(islice(said, DESCRIPTIONS_READ))
        through(
            [Stage(AuditActor, (config, judge, things), config.auditing)],
            todo,
            read=read_annotated,
            write=partial(write_audited, config, made),
            batch=config.batch,
            report=report,
        )
    facts = {
        **manifest,
        "source": "curation.scale_audit",
        "recipes": manifest["recipes"] | {"audit": work.recipe},
        "sources": manifest["sources"] | {"audit": work.source},
        "policy": config.policy,
    }
    return finish(config.out, facts, skipped=len(made) - len(todo))


def manifest_of(folder: Path) -> dict[str, Any]:
    """What curation.scale says of its shards.

    Raises: ScaleError: it has not come to its end there, or somebody else wrote them.
    """
    try:
        manifest = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        manifest = {}
    if not manifest.get("recipes", {}).get("describe"):
        raise ScaleError(
            f"{folder} holds no described shards, or not all of them yet: give a folder that curation.scale finished."
        )
    return manifest


def samples_of(shard: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each picture and what lies beside it; the picture is passed over.

    Raises: ScaleError: it cannot be read.
    """
    for name, beside, _ in _samples(shard, pictures=False):
        yield name, beside


def _samples(shard: Path, *, pictures: bool) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """The samples as curation.scale writes them: a JPEG, and its JSON behind it."""
    try:
        archive = open_archive(shard, Limits())
        name, content = "", b""
        for entry in archive.entries():
            if entry.refusal:
                raise ScaleError(f"{shard}, {entry.name}: {entry.refusal}")
            if not entry.name.endswith(".json"):
                name, content = entry.name, archive.read(entry) if pictures else b""
                continue
            yield name, dict(json.loads(archive.read(entry))), content
        archive.close()
    except (ArchiveError, RefusedError, OSError, ValueError) as error:
        raise ScaleError(f"{shard} cannot be read as a shard of curation.scale: {error}") from error


def read_annotated(table: Table) -> Iterator[Table]:
    """Shards -> their pictures with what lies beside them, and after them a last item."""
    for shard in table["shard"].to_pylist():
        number = -1
        for number, (name, beside, content) in enumerate(_samples(Path(shard), pictures=True)):
            digest = hashlib.sha256(content).hexdigest()
            item = Item(shard, number, member=name, sha256=digest, caption=beside.get("caption", ""), beside=beside)
            yield packed([(item, content)])
        yield packed([(Item(shard, number + 1, last=True), b"")])


class AuditActor(StageActor):
    """Audits."""

    stage = "audit"

    def __init__(self, config: ScaleAuditConfig, judge: Judge, things: tuple[str, ...]) -> None:
        """things: the vocabulary that absent things are taken from."""
        super().__init__(config.auditing, config.attempts)
        self._sources, self._judge, self._things = config.sources, judge, things

    def make(self) -> Make:
        """See StageActor."""
        auditor = auditor_of(self._sources, self._judge, self._things)
        return lambda opened: _audit(auditor, opened)


def _audit(auditor: Auditor, opened: Sequence[Opened]) -> Iterator[Item]:
    texts = [item.beside.get("descriptions", ()) for item, _ in opened]
    found = auditor.audit([picture for _, picture in opened], texts)
    for (item, _), said, judged in zip(opened, texts, found, strict=True):
        rows = (rows_of(text, some) for text, some in zip(said, judged, strict=True))
        yield replace(item, claims=list(chain.from_iterable(rows)))


def rows_of(text: str, judged: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    """The claims of one description as they lie beside its picture; names as in db.models.AuditedClaim."""
    for position, one in enumerate(judged):
        yield {
            "text": text,
            "position": position,
            "owner": one.claim.owner,
            "kind": one.claim.kind,
            "span_start": one.claim.start,
            "span_end": one.claim.end,
            "words": one.claim.words(text),
            "verdict": one.verdict,
            "probability": one.probability,
            "evidence": [each.to_json() for each in one.evidence],
        }


def write_audited(config: ScaleAuditConfig, made: Mapping[Path, Made], shard: Path, items: Sequence[Item]) -> None:
    """See curation.shard_files.write_shard."""
    write_shard(config.out, made[shard], partial(audited_json, config.policy), shard, items)


def audited_json(policy: Policy, key: str, item: Item) -> dict[str, Any]:
    """What lay beside a picture, with its claims, and its regions as the policy wants them."""
    told: dict[str, list[Told]] = {}
    for row in item.claims:
        claim = Claim(row["kind"], row["span_start"], row["span_end"], row["owner"])
        told.setdefault(row["text"], []).append(Told(claim, row["verdict"], row["probability"]))
    regions = []
    for region in item.beside.get("regions", ()):
        one = DescriptionRecord(region["text"], score=region["score"])
        kept = description_under(one, told.get(one.text, ()), policy)
        if kept is not None:
            regions.append({**region, "text": kept.text, "score": kept.score})
    return {**item.beside, "id": key, "regions": regions, "claims": list(item.claims)}


def main(config: ScaleAuditConfig) -> None:
    """The command line."""
    manifest_of(config.annotated)  # a slip is said before a cluster is started
    connect(config.address)
    at_a_terminal(partial(scale_audit, config))


if __name__ == "__main__":
    try:
        main(tyro.cli(ScaleAuditConfig, description=__doc__))
    except (ScaleError, ValueError, OSError) as error:
        sys.exit(f"curation.scale_audit: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.scale_audit: stopped: the same command goes on")
