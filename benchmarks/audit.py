"""The audit on pictures of the sample world that nobody trained on or fitted on: what it finds, drops, costs and saves.

`python -m benchmarks.audit` fits the judge that `curation.audit` uses by default and writes it.
"""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.audited import AuditedDescription, Dropped, audited_descriptions, fitted
from benchmarks.evaluation import REGIONS, Numbers, described, lead, scores_of
from benchmarks.learning import (
    AUDIT_IMAGES,
    AUDIT_SEEDS,
    EVALUATION_SEEDS,
    FIT_SEED,
    POLICIES,
    SEEDS,
    SHORT_IMAGES,
    TRAININGS,
    WRONG_SHARES,
    audit_shard,
    train,
    truth_name,
)
from benchmarks.plot import Line, draw
from benchmarks.rows import ROOT, Benchmark, Finding
from curation.annotate.registry import StageWork
from curation.annotate.sample_annotators import SampleConfig
from curation.audit.audit import DescriptionRun, new_claim
from curation.audit.claim_judge import FILE, SOURCES, Judge, JudgedClaim
from curation.audit.claims import split_claims
from curation.audit.evidence import Evidence, WitnessKind
from curation.audit.judges import rejudge
from curation.audit.measure import Rate, Stratum, curve, stratified, wilson
from db.engine import open_engine, transaction
from db.models import ClaimKind, Verdict
from db.queries.audit_sample_queries import shares_of
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from db.queries.lease_queries import lease_images
from db.queries.run_queries import start_run
from db.queries.stage_result_queries import NewStageResult, descriptions_of, save_stage_result
from grain.checkpoint import EMBEDDED

WRONG = 0.2
PRECISION_BAR, RECALL_BAR, REGAINED_BAR = 0.9, 0.7, 50.0
RESAMPLES = 2000
COVERAGE_BAR, AUDITS, SAMPLE = (93.0, 97.0), 200, 400
CLAIMS, CLAIMS_BAR, FLAT_MB = 100_000, 60.0, 100.0
KINDS: tuple[ClaimKind, ...] = ("object", "attribute", "part", "relation", "count", "text")
MIXTURES: dict[str, tuple[WitnessKind, ...]] = {
    "all three": SOURCES,
    "GRAIN alone": ("likeness",),
    "the stand-ins alone": ("detector", "asked"),
    "the detector's stand-in alone": ("detector",),
    "the asked stand-in alone": ("asked",),
}
NAME = "sample world, 1,000 pictures of seed 2001, 20 % wrong; GRAIN sample, sample-detector@1, sample-asked@1"
RECALLS = tuple(each / 10 for each in range(1, 11))
CURVE_PLOT = "images/audit_curve.svg"


@lru_cache(maxsize=4)
def _noisy_descriptions(seed: int, checkpoint: Path) -> tuple[AuditedDescription, ...]:
    config = SampleConfig(wrong=WRONG, seed=seed)
    return tuple(audited_descriptions(audit_shard(seed), config, pictures=AUDIT_IMAGES, checkpoint=checkpoint))


def _measured(checkpoint: Path) -> list[AuditedDescription]:
    return [each for seed in AUDIT_SEEDS for each in _noisy_descriptions(seed, checkpoint)]


def precision_and_recall() -> Finding:
    """The auditor against the truth, by kind of claim and by source."""
    checkpoint = EMBEDDED / "sample"
    measured = _measured(checkpoint)
    judges = {label: fitted(_noisy_descriptions(FIT_SEED, checkpoint), some, label) for label, some in MIXTURES.items()}
    judged = {label: [each.judged(judges[label], some) for each in measured] for label, some in MIXTURES.items()}
    kinds = [_row(kind, measured, judged["all three"], kind) for kind in KINDS]
    by_mixture = [_row(label, measured, found, None) for label, found in judged.items()]
    _draw_curve(measured, judged)
    precision, recall = by_mixture[0]["precision"], by_mixture[0]["recall"]
    detail = {
        "pictures": f"{len(AUDIT_SEEDS) * AUDIT_IMAGES} of seeds {', '.join(map(str, AUDIT_SEEDS))}",
        "judge": NAME,
        "intervals": "95 %, Wilson; recall counts what the auditor could not tell as not found",
        "plot": CURVE_PLOT,
        "sources": by_mixture,
        "kinds, all three sources": kinds,
        "stand-ins": _stand_ins(measured),
    }
    holds = precision[0] >= PRECISION_BAR and recall[0] >= RECALL_BAR
    return Finding(precision[0], holds, detail)


def _row(
    label: str, measured: Sequence[AuditedDescription], judged: Sequence[Sequence[JudgedClaim]], kind: ClaimKind | None
) -> dict[str, Any]:
    pairs = [
        (one.verdict, true)
        for each, some in zip(measured, judged, strict=True)
        for one, true in zip(some, each.truth, strict=True)
        if kind in (None, one.claim.kind)
    ]
    wrong = [verdict for verdict, true in pairs if not true]
    found = [true for verdict, true in pairs if verdict == "unsupported"]
    return {
        "what": label,
        "claims": len(pairs),
        "unsupported": len(wrong),
        "precision": _share(sum(not true for true in found), len(found)),
        "recall": _share(wrong.count("unsupported"), len(wrong)),
        "cannot tell": _share(sum(verdict == "cannot tell" for verdict, _ in pairs), len(pairs)),
    }


def _share(hits: int, looked: int) -> list[float] | None:
    return [hits / looked, *wilson(hits, looked)] if looked else None


def _stand_ins(measured: Sequence[AuditedDescription]) -> list[dict[str, Any]]:
    """How often each source alone prefers the claim to what stands against it, true claims and false ones."""
    rows = []
    for source in SOURCES:
        right: dict[bool, list[bool]] = {True: [], False: []}
        for each in measured:
            for (_, evidence), true in zip(each.claims, each.truth, strict=True):
                for one in evidence:
                    if one.source == source and one.score is not None and one.counter is not None:
                        right[true].append(one.score > one.counter)
        rows.append(
            {
                "source": source,
                "prefers a true claim": _share(sum(right[True]), len(right[True])),
                "prefers a false claim": _share(sum(right[False]), len(right[False])),
            }
        )
    return rows


def _draw_curve(measured: Sequence[AuditedDescription], judged: dict[str, list[tuple[JudgedClaim, ...]]]) -> None:
    lines = []
    for label in list(MIXTURES)[:3]:
        scored = [
            (one.probability, not true, 1.0)
            for each, some in zip(measured, judged[label], strict=True)
            for one, true in zip(some, each.truth, strict=True)
            if one.probability is not None
        ]
        points, wrong = curve(scored), sum(hit for _, hit, _ in scored)
        reached = [least for least in RECALLS if points[-1].recall >= least]
        chosen = [next(each for each in points if each.recall >= least) for least in reached]
        found = [wilson(each.precision * (n := wrong * each.recall / each.precision), n) for each in chosen]
        estimates = tuple((each.precision, *interval) for each, interval in zip(chosen, found, strict=True))
        lines.append(Line(label, RECALLS[: len(chosen)], estimates))
    draw(
        ROOT / "docs" / CURVE_PLOT,
        lines,
        title="9 in 10 unsupported claims are found at a precision of "
        + ", ".join(f"{line.estimates[RECALLS.index(0.9)][0]:.2f}" for line in lines if line.x[-1] >= 0.9),
        x_label="recall of unsupported claims",
        y_label="precision",
    )


# ------------------------------------------------------------------------------------------------ what it costs


def training() -> Finding:
    """GRAIN trained on wrong descriptions, as they are and by each policy of the audit's, and on true ones."""
    rows = [
        {"wrong descriptions": label, "seed": seed, **described(scores_of(train(name)))}
        for label, seed, name in _runs()
    ]
    regained = {policy: _regained(policy) for policy in POLICIES}
    detail = {
        "images": f"{SHORT_IMAGES:,} seen by each; the filter hears the stand-ins alone",
        "evaluation seeds": ", ".join(map(str, EVALUATION_SEEDS)),
        "intervals": "95 % bootstrap over novel classes; regained: lost and back resampled together",
        "regained %, by policy, all seeds together": [
            {"policy": policy, "regained": share} for policy, (_, share) in regained.items()
        ],
        "models": rows,
        "novel classes by regions": [row for table, _ in regained.values() for row in table],
    }
    share = regained[POLICIES[0]][1]
    return Finding(share[0], share[0] >= REGAINED_BAR, detail)


def _runs() -> list[tuple[str, int, str]]:
    """What was wrong, the seed, and the training's name; of the fewer errors those that were trained."""
    runs = [("none", seed, truth_name(seed)) for seed in SEEDS]
    for share in WRONG_SHARES:
        kinds = {"": "wrong"} | {f", {policy}": policy for policy in POLICIES}
        runs += [
            (f"{float(share):.0%}{label}", seed, f"{kind}-{share}-seed-{seed}")
            for label, kind in kinds.items()
            for seed in SEEDS
        ]
    return [run for run in runs if run[1] == SEEDS[0] or "20%" not in run[0] or TRAININGS[run[2]].final.is_dir()]


def _regained(policy: Dropped) -> tuple[list[dict[str, Any]], list[float]]:
    """Where 40 % were wrong: a row a seed, and the share of what was lost that came back, over all seeds.

    Lost is measured against the mean of the trainings on true descriptions, class by class.
    """
    truth = np.mean([scores_of(train(truth_name(seed))).hits[REGIONS] for seed in SEEDS], axis=0)
    pairs = [
        [scores_of(train(f"{kind}-0.4-seed-{seed}")).hits[REGIONS] for kind in ("wrong", policy)] for seed in SEEDS
    ]
    rows = [
        {"policy": policy, "seed": seed, "lost, points": lead(truth, one), "regained, points": lead(other, one)}
        for seed, (one, other) in zip(SEEDS, pairs, strict=True)
    ]
    one, other = np.mean(pairs, axis=0)
    return rows, _ratio(other - one, truth - one)


def _ratio(back: Numbers, lost: Numbers) -> list[float]:
    """Mean of one over mean of the other in percent, with its 95 % percentile bootstrap interval over classes."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(back), (RESAMPLES, len(back)))
    ratios = 100 * back[rows].mean(axis=1) / lost[rows].mean(axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return [float(100 * back.mean() / lost.mean()), float(low), float(high)]


# ------------------------------------------------------------------------------------------------ intervals


def coverage() -> Finding:
    """Simulated audits with the strata and rates of the measured one: how often the interval holds the truth."""
    strata, rates = _strata()
    inside, widths = 0, []
    for number in range(AUDITS):
        rate, truth = _simulated(random.Random(f"coverage/{number}"), strata, rates)
        inside += rate.low <= truth <= rate.high
        widths.append(rate.high - rate.low)
    share = 100 * inside / AUDITS
    detail = {
        "audits": AUDITS,
        "claims judged in each": sum(shares_of(strata, SAMPLE).values()),
        "claims": sum(strata.values()),
        "strata": len(strata),
        "hallucination rate %": 100 * sum(strata[key] * rates[key] for key in strata) / sum(strata.values()),
        "mean width, points": 100 * sum(widths) / len(widths),
    }
    return Finding(share, COVERAGE_BAR[0] <= share <= COVERAGE_BAR[1], detail)


def _strata() -> tuple[dict[tuple[ClaimKind, Verdict], int], dict[tuple[ClaimKind, Verdict], float]]:
    """Of the measured audit by the default judge: size and share of unsupported of each kind and verdict."""
    judge, found = Judge.load(), dict[tuple[ClaimKind, Verdict], list[bool]]()
    for each in _measured(EMBEDDED / "sample"):
        for one, true in zip(each.judged(judge, SOURCES), each.truth, strict=True):
            found.setdefault((one.claim.kind, one.verdict), []).append(not true)
    return {key: len(some) for key, some in found.items()}, {key: sum(v) / len(v) for key, v in found.items()}


def _simulated(
    chance: random.Random,
    strata: dict[tuple[ClaimKind, Verdict], int],
    rates: dict[tuple[ClaimKind, Verdict], float],
) -> tuple[Rate, float]:
    looked, drawn, wrong = shares_of(strata, SAMPLE), [], 0
    for key, size in strata.items():
        hits = sum(chance.random() < rates[key] for _ in range(size))
        wrong += hits
        sample = chance.sample(range(size), looked[key])
        drawn.append(Stratum(size, looked[key], sum(each < hits for each in sample)))
    rate = stratified(drawn)
    assert rate is not None, "claims were looked at"
    return rate, wrong / sum(strata.values())


# ------------------------------------------------------------------------------------------------ time


def speed() -> Finding:
    """Claims split, judged on outputs that are there and written, then judged again: seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/grain.sqlite")
        begun, worked, after_tenth = time.perf_counter(), time.process_time(), 0.0
        recipes = ("d" * 64, "a" * 64)
        for written in _audited(engine, recipes):
            if not after_tenth and written >= CLAIMS / 10:
                after_tenth = _memory_mb()
        first = time.perf_counter() - begun
        worked, grown = time.process_time() - worked, _memory_mb() - after_tenth
        begun = time.perf_counter()
        into = StageWork("audit", "m", "b" * 64)
        changes = rejudge(engine, dataset_id=1, recipe=recipes[1], judge=Judge.load(), into=into)
        again = time.perf_counter() - begun
        engine.dispose()
    detail = {
        "claims": changes.total(),
        "split, judged and written, s": first,
        "of these on the processor, s": worked,
        "judged anew by another judge, s": again,
        "memory after a tenth, MB more at the end": grown,
        "database": "SQLite, 64 pictures a transaction",
    }
    return Finding(first, first <= CLAIMS_BAR and grown <= FLAT_MB, detail)


def _audited(engine: Any, recipes: tuple[str, str], batch: int = 64) -> Iterator[int]:
    """Write pictures with five descriptions each and their audit; yields how many claims there are."""
    described, audited = recipes
    judge, texts = (
        Judge.load(),
        ("a red lid on top", "a blue bottle", "a band of green dots", "a fin in pink", "a star"),
    )
    pictures = CLAIMS // sum(len(split_claims(text)) for text in texts) + 1
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name="claims").id
        images = (NewImage(sha256=f"{n:064x}", width=9, height=9, location=f"{n}.jpg") for n in range(pictures))
        add_images(session, dataset_id=dataset_id, images=images)
        run_id = start_run(session, dataset_id=dataset_id, config={}, recipes={"audit": audited}).id
    after = claims = 0
    while True:
        with transaction(engine) as session:
            for recipe, stage in ((described, "describe"), (audited, "audit")):
                claim = lease_images(
                    session,
                    dataset_id=dataset_id,
                    recipe=recipe,
                    worker="w",
                    count=batch,
                    lease_seconds=60,
                    after=after,
                )
                ids = [image.id for image in claim.images]
                stored = descriptions_of(session, image_ids=ids, recipe=described)
                for image_id in ids:
                    judged = [
                        new_claim(
                            each,
                            one.id,
                            one.text,
                            position=place,
                            run=DescriptionRun(described, "m", "p", 2),
                            subject="it",
                        )
                        for one in stored[image_id]
                        for place, each in enumerate(judge.description(_cached(one.text, image_id)))
                    ]
                    claims += len(judged)
                    result = NewStageResult(
                        dataset_id,
                        image_id,
                        f"{image_id:064x}",
                        recipe,
                        stage,  # type: ignore[arg-type]
                        "m",
                        "done",
                        run_id=run_id,
                        descriptions=texts if stage == "describe" else (),
                        claims=tuple(judged),
                    )
                    save_stage_result(session, result=result, token=claim.token)
        if not ids:
            return
        after = ids[-1]
        yield claims


def _cached(text: str, image_id: int) -> list[tuple[Any, tuple[Evidence, ...]]]:
    """Outputs of models as they would have been kept."""
    chance = random.Random(image_id)
    found: list[tuple[Any, tuple[Evidence, ...]]] = []
    for claim in split_claims(text):
        one, two, three = (chance.random() for _ in range(3))
        found.append(
            (
                claim,
                (
                    Evidence("detector", 4 * one - 2, "another", 4 * two - 2, -1.0),
                    Evidence("likeness", 5 * one, "another", 5 * two, 1.0),
                    Evidence("asked", three, "", two),
                ),
            )
        )
    return found


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


BENCHMARKS = (
    Benchmark(
        "audit",
        f"held-out sample-world pictures, {WRONG:.0%} of their descriptions wrong: precision of the auditor's "
        '"unsupported"',
        f"≥ {PRECISION_BAR} at recall ≥ {RECALL_BAR}",
        "precision",
        AUDIT_SEEDS[0],
        precision_and_recall,
    ),
    Benchmark(
        "audit_training",
        "GRAIN trained where 40 % of the descriptions are wrong: what the audit's filter regains of the novel-class "
        "accuracy that was lost",
        f"≥ {REGAINED_BAR:g} %",
        "%",
        EVALUATION_SEEDS[0],
        training,
    ),
    Benchmark(
        "audit_coverage",
        f"{AUDITS} simulated audits of {SAMPLE} judged claims: the 95 % interval holds the true hallucination rate",
        f"{COVERAGE_BAR[0]:g} to {COVERAGE_BAR[1]:g} %",
        "%",
        0,
        coverage,
    ),
    Benchmark(
        "audit_claims",
        f"an audit of {CLAIMS:,} claims with model outputs at hand",
        f"≤ {CLAIMS_BAR:g} s, memory grows by ≤ {FLAT_MB:g} MB after its first tenth",
        "s",
        0,
        speed,
    ),
)


def main() -> None:
    """Fit the default judge."""
    judge = fitted(_noisy_descriptions(FIT_SEED, EMBEDDED / "sample"), SOURCES, NAME)
    FILE.write_text(json.dumps(judge.to_json(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
