"""Audit the shards that curation.scale wrote: curation.audit over Ray Data, by python -m curation.scale.scale_audit.

The claims lie beside each picture with verdict and evidence, the very rows of curation.audit and under its recipe; a
policy lets what training reads do without what is not supported. Run again, it goes on, as curation.scale does.

The vocabulary that absent things are taken from is that of the first descriptions of all shards; the stand-ins of the
sample world have no place here: what is true of its pictures does not lie beside annotated ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.annotate.registry import digest_of
from curation.audit.audit import DESCRIPTIONS_READ
from curation.audit.claim_judge import Judge, JudgedClaim
from curation.audit.claims import Claim
from curation.audit.judges import Basis
from curation.audit.policy import Policy, PolicyVerdict, apply_to_description
from curation.audit.sources import Auditor, SourceChoice, absent_things, auditor_of, source_of
from curation.files.archives import open_archive
from curation.files.import_limits import picture_limits
from curation.files.records import DescriptionRecord
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
    MANIFEST,
    ScaleSummary,
    ShardItem,
    ShardRecipe,
    finish,
    is_done,
    open_folder,
    packed,
    write_shard,
)
from grain.command import run_command
from user_errors import UserError

if TYPE_CHECKING:
    from curation.scale.shard_files import Table


@dataclass(frozen=True)
class ScaleAuditConfig(ClusterConfig):
    """Judge every claim of annotated shards; run again, it resumes."""

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
        if "sample" in (self.sources.detector, self.sources.vqa):
            raise ValueError("the stand-ins of the sample world need what lies beside its own pictures: choose others")


def scale_audit(
    config: ScaleAuditConfig, *, report: Callable[[ClusterProgress], None] = lambda progress: None
) -> ScaleSummary:
    """Audit what is not done yet, on the cluster that `connect` has joined. Stopped anywhere, it can go on.

    Raises: UserError: no annotated shards, another recipe in the folder, too small a cluster, or the run cannot go on.
            UserError, UserError, CheckpointError: something cannot be read or is not on this machine.
    """
    config = replace(config, out=config.out.expanduser().absolute(), annotated=config.annotated.expanduser().absolute())
    manifest = manifest_of(config.annotated)
    describer = str(manifest.get("sources", {}).get("describe", ""))
    judge = Judge.load(Path(config.judge)) if config.judge else config.sources.shipped_judge()
    work = Basis(source_of(config.sources, describer), manifest["recipes"]["describe"]).work(judge)
    recipe = digest_of({"audit": work.recipe, "policy": config.policy})
    shards = [(config.annotated / each["file"], split) for split, some in manifest["splits"].items() for each in some]
    if config.out == config.annotated:
        raise UserError(f"The shards lie in {config.out}, where the new ones would go: choose another --out.")
    made = {shard: ShardRecipe(recipe, split) for shard, split in shards}
    todo = [shard for shard in made if not is_done(config.out, made[shard], shard, redo_failed=config.redo_failed)]
    if todo:
        if not config.address:  # a cluster of others' may grow
            must_fit([config.auditing], "--auditing")
        open_folder(config.out)
        descriptions = (
            text for shard in made for _, beside in samples_of(shard) for text in beside.get("descriptions", ())
        )
        things = absent_things(config.sources, islice(descriptions, DESCRIPTIONS_READ))
        through(
            [ClusterStage(AuditActor, (config, judge, DescribedShards(things, describer)), config.auditing)],
            todo,
            read=read_annotated,
            write=partial(write_audited, config=config, made=made),
            batch=config.batch,
            report=report,
        )
    facts = {
        **manifest,
        "source": "curation.scale.scale_audit",
        "recipes": manifest["recipes"] | {"audit": work.recipe},
        "sources": manifest["sources"] | {"audit": work.source},
        "policy": config.policy,
    }
    return finish(config.out, facts, skipped=len(made) - len(todo))


def manifest_of(folder: Path) -> dict[str, Any]:
    """Read what curation.scale says of its shards.

    Raises: UserError: it has not come to its end there, or somebody else wrote them.
    """
    try:
        manifest = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        manifest = {}
    if not manifest.get("recipes", {}).get("describe"):
        raise UserError(
            f"{folder} holds no described shards, or not all of them yet: give a folder that curation.scale finished."
        )
    return manifest


def samples_of(shard: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each picture and what lies beside it; pass over the picture.

    Raises: UserError: it cannot be read.
    """
    for name, beside, _ in _samples(shard, pictures=False):
        yield name, beside


def _samples(shard: Path, *, pictures: bool) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Yield samples as curation.scale writes them: a JPEG, and its JSON behind it."""
    try:
        archive = open_archive(shard, picture_limits())
        name, content = "", b""
        for entry in archive.entries():
            if entry.refusal:
                raise UserError(f"{shard}, {entry.name}: {entry.refusal}")
            if not entry.name.endswith(".json"):
                name, content = entry.name, archive.read(entry) if pictures else b""
                continue
            yield name, dict(json.loads(archive.read(entry))), content
        archive.close()
    except (OSError, ValueError) as error:
        raise UserError(f"{shard} cannot be read as a shard of curation.scale: {error}") from error


def read_annotated(table: Table) -> Iterator[Table]:
    """Read shards: yield their pictures with what lies beside them, and after them a last item."""
    for shard in table["shard"].to_pylist():
        number = -1
        for number, (name, beside, content) in enumerate(_samples(Path(shard), pictures=True)):
            digest = hashlib.sha256(content).hexdigest()
            item = ShardItem(
                shard, number, member=name, sha256=digest, caption=beside.get("caption", ""), beside=beside
            )
            yield packed([(item, content)])
        yield packed([(ShardItem(shard, number + 1, last=True), b"")])


@dataclass(frozen=True)
class DescribedShards:
    """The descriptions of all shards. things: absent ones are taken from them. describer: `model@revision`."""

    things: tuple[str, ...]
    describer: str


class AuditActor(StageActor):
    """Audits."""

    stage = "audit"

    def __init__(self, config: ScaleAuditConfig, judge: Judge, described: DescribedShards) -> None:
        """described: what is known of the descriptions."""
        super().__init__(config.auditing, config.attempts)
        self._sources, self._judge, self._described = config.sources, judge, described

    def make(self) -> Make:
        """Load the auditor."""
        auditor = auditor_of(self._sources, self._judge, self._described.things, describer=self._described.describer)
        return lambda opened: _audit(auditor, opened)


def _audit(auditor: Auditor, opened: Sequence[Opened]) -> Iterator[ShardItem]:
    texts = [item.beside.get("descriptions", ()) for item, _ in opened]
    found = auditor.audit([picture for _, picture in opened], texts)
    for (item, _), descriptions, judged in zip(opened, texts, found, strict=True):
        rows = (rows_of(text, some) for text, some in zip(descriptions, judged, strict=True))
        yield replace(item, claims=list(chain.from_iterable(rows)))


def rows_of(text: str, judged: Sequence[JudgedClaim]) -> Iterator[dict[str, Any]]:
    """Yield the claims of one description as they lie beside its picture; names as in db.models.AuditedClaim."""
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


def write_audited(
    shard: Path, items: Sequence[ShardItem], *, config: ScaleAuditConfig, made: Mapping[Path, ShardRecipe]
) -> None:
    """Write what came of a shard, as curation.scale.shard_files.write_shard does."""
    write_shard(shard, items, out=config.out, made=made[shard], beside=partial(audited_json, config.policy))


def audited_json(policy: Policy, key: str, item: ShardItem) -> dict[str, Any]:
    """Make the JSON beside a picture: what lay there, its claims, and its regions as the policy wants them."""
    verdicts: dict[str, list[PolicyVerdict]] = {}
    for row in item.claims:
        claim = Claim(row["kind"], row["span_start"], row["span_end"], row["owner"])
        verdicts.setdefault(row["text"], []).append(PolicyVerdict(claim, row["verdict"], row["probability"]))
    regions = []
    for region in item.beside.get("regions", ()):
        one = DescriptionRecord(region["text"], score=region["score"])
        kept = apply_to_description(one, verdicts.get(one.text, ()), policy)
        if kept is not None:
            regions.append({**region, "text": kept.text, "score": kept.score})
    return {**item.beside, "id": key, "regions": regions, "claims": list(item.claims)}


def main(config: ScaleAuditConfig) -> None:
    """Run the command."""
    manifest_of(config.annotated)  # a slip is said before a cluster is started
    connect(config.address)
    at_a_terminal(partial(scale_audit, config))


if __name__ == "__main__":
    run_command(main, ScaleAuditConfig, module="curation.scale.scale_audit", description=__doc__)
