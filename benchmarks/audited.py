"""Claims of sample-world pictures with the truth beside them: what judges are fitted on, measured on, and filter by."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from PIL import Image

from benchmarks.noisy_annotations import BATCH, Keep, picture_of, samples_of
from curation.annotate.sample_annotators import SampleConfig, SampleDescriber, truth_of
from curation.audit.claim_judge import Judge, JudgedClaim, JudgeExample, fit, threshold_below
from curation.audit.claims import Claim, split_claims
from curation.audit.evidence import DetectorWitness, Evidence, LikenessWitness, VqaModel, Witness, WitnessKind, gather
from curation.audit.policy import without_claims
from curation.audit.sample_truth import SampleDetector, SampleVqaModel, holds, parts_of
from curation.audit.sources import vocabulary_of
from grain.predict import Predictor
from grain.structures import Region

ClaimsWithEvidence = tuple[tuple[Claim, tuple[Evidence, ...]], ...]
Dropped = Literal["drop-claim", "drop-description"]  # what the filter takes out: of the policies of an export
FILTER_PRECISION = 0.8  # of what the filter drops, on the claims it is fitted on


@dataclass(frozen=True)
class AuditedDescription:
    """One description of one picture with its evidence, and which of its claims hold."""

    text: str
    claims: ClaimsWithEvidence
    truth: tuple[bool, ...]

    @property
    def wrong(self) -> bool:
        """Whether any claim does not hold."""
        return not all(self.truth)

    def examples(self, sources: Sequence[WitnessKind]) -> Iterator[JudgeExample]:
        """Its claims with the evidence of some sources."""
        filtered = [
            (claim.kind, tuple(each for each in evidence if each.source in sources)) for claim, evidence in self.claims
        ]
        for row, ((claim, _), true) in enumerate(zip(self.claims, self.truth, strict=True)):
            thing = None if claim.owner == row else filtered[claim.owner]
            yield JudgeExample(*filtered[row], true, self.truth[claim.owner], thing)

    def judged(self, judge: Judge, sources: Sequence[WitnessKind]) -> tuple[JudgedClaim, ...]:
        """What a judge makes of it who hears some sources only."""
        return judge.description(
            [(claim, tuple(each for each in evidence if each.source in sources)) for claim, evidence in self.claims]
        )


def stand_ins() -> tuple[list[Witness], VqaModel]:
    """The detector and the model that is asked, for pictures of the sample world."""
    return [DetectorWitness(SampleDetector())], SampleVqaModel()


def audited_descriptions(
    shard: Path, config: SampleConfig, *, pictures: int | None, checkpoint: str | Path | None
) -> list[AuditedDescription]:
    """What erring annotators say of a shard's pictures, with all evidence.

    Args: checkpoint: GRAIN's, as one more witness; None: none.
    """
    witnesses, vqa = stand_ins()
    if checkpoint is not None:
        witnesses.append(LikenessWitness(Predictor.from_pretrained(checkpoint), str(checkpoint)))
    with tarfile.open(shard) as tar:
        images = [picture_of(shard, key, jpeg) for key, jpeg, _ in islice(samples_of(tar), pictures)]
    texts = [result.descriptions for result in SampleDescriber(config).describe(images)]
    things = vocabulary_of(text for each in texts for text in each)
    found = []
    for low in range(0, len(images), BATCH):
        some, descriptions = images[low : low + BATCH], texts[low : low + BATCH]
        evidence = gather(some, descriptions, witnesses=witnesses, vqa=vqa, vocabulary=things)
        for image, mine, each in zip(some, descriptions, evidence, strict=True):
            parts = parts_of(truth_of(image)["regions"])
            for text, claims in zip(mine, each, strict=True):
                split = split_claims(text)
                truth = tuple(holds(text, split, claim, parts=parts) for claim in split)
                found.append(AuditedDescription(text, tuple(claims), truth))
    return found


def fitted(described: Sequence[AuditedDescription], sources: Sequence[WitnessKind], name: str) -> Judge:
    """A judge of some sources."""
    return fit([example for each in described for example in each.examples(sources)], name=name)


def least(judged: Sequence[JudgedClaim]) -> float:
    """The probability that a description is wholly supported, by its worst claim; 1 where nothing is known."""
    return min((each.probability for each in judged if each.probability is not None), default=1.0)


FILTER_SOURCES: tuple[WitnessKind, ...] = ("detector", "asked")


@lru_cache(maxsize=4)
def filter_judge(shard: Path, config: SampleConfig, pictures: int, policy: Dropped) -> tuple[Judge, float]:
    """The judge of the training's filter and its threshold, fitted on pictures that are not trained on."""
    described = audited_descriptions(shard, config, pictures=pictures, checkpoint=None)
    judge = fitted(described, FILTER_SOURCES, "the stand-ins of the sample world")
    judged = [each.judged(judge, FILTER_SOURCES) for each in described]
    if policy == "drop-description":
        scored = [(least(some), each.wrong) for each, some in zip(described, judged, strict=True)]
    else:
        scored = [
            (one.probability, not true)
            for each, some in zip(described, judged, strict=True)
            for one, true in zip(some, each.truth, strict=True)
            if one.probability is not None
        ]
    return judge, threshold_below(scored, FILTER_PRECISION)


def audit_filter(judge: Judge, threshold: float, things: Sequence[str], policy: Dropped) -> Keep:
    """What takes out the claims at or below a threshold, or the descriptions that make them."""
    witnesses, vqa = stand_ins()

    def left_of(region: Region, judged: Sequence[JudgedClaim]) -> Iterator[Region]:
        dropped = [one.claim for one in judged if one.probability is not None and one.probability <= threshold]
        if not dropped:
            yield region
        elif policy == "drop-claim" and (text := without_claims(region.text, [one.claim for one in judged], dropped)):
            yield replace(region, text=text)

    def keep(images: Sequence[Image.Image], found_regions: Sequence[Sequence[Region]]) -> list[tuple[Region, ...]]:
        texts = [[region.text for region in regions] for regions in found_regions]
        found = gather(images, texts, witnesses=witnesses, vqa=vqa, vocabulary=things)
        return [
            tuple(
                left
                for region, claims in zip(regions, each, strict=True)
                for left in left_of(region, judge.description(claims))
            )
            for regions, each in zip(found_regions, found, strict=True)
        ]

    return keep
