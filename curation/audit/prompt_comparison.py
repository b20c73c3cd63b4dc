"""Put what two prompts said of the same pictures side by side: claims, rates with intervals, what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.annotate.prompts import PROMPTS
from curation.audit.independence import Independence
from curation.audit.measure import Rate, hallucination_rate
from db.engine import Session
from db.models import ClaimKind, Description, Image, StageResult
from db.queries.audit_queries import ClaimRow, audit_runs, claims_of
from db.queries.audit_sample_queries import next_to_judge, sample_judgements, sample_size
from db.queries.data_set_queries import get_dataset, image_page
from db.queries.stage_result_queries import descriptions_of, stage_results_of

Counts = NDArray[np.int64]
"""Unsupported claims, and all claims, of each picture: [N, 2]."""
MOST_PICTURES = 2_000  # of a comparison; a page shows it whole
DRAWS, SEED = 2_000, 0  # of the bootstrap over pictures
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Share:
    """A share, or a difference of two, with the 95 % interval of a bootstrap over pictures."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PromptResult:
    """The result of one prompt.

    questions: about the descriptions, without that for a caption. described, problems: pictures with a list, and
    without. seconds, tokens: a picture, of those that were described now. kinds: claims by kind. unsupported: the
    auditor's share of all claims; None where no source could decide. people: the hallucination rate by people's
    verdicts on the sample; None where nobody has judged. drawn, judged: claims of the sample.
    """

    prompts: str
    questions: int
    described: int
    problems: int
    descriptions: int
    seconds: float
    tokens: float
    kinds: Mapping[ClaimKind, int]
    unsupported: Share | None
    people: Rate | None
    drawn: int
    judged: int

    @property
    def claims(self) -> int:
        """Return the number of claims."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class TwiceDescribed:
    """A picture with what each prompt said of it: its descriptions, each with the claims in it; in PROMPTS' order."""

    image: Image
    texts: tuple[tuple[tuple[str, tuple[ClaimRow, ...]], ...], ...]


@dataclass(frozen=True)
class PromptComparison:
    """Two prompts on one sample.

    sample: name of its data set. results: in the order of PROMPTS. difference: of the auditor's shares, two-stage minus
    one-stage, on the pictures that both described; None where it could not decide. same: the describer asks no
    question, so that both are the same. doubts: sentences on sources that do not count.
    """

    sample: str
    pictures: int
    results: tuple[PromptResult, ...]
    difference: Share | None
    same: bool
    decided: bool
    doubts: tuple[str, ...]
    examples: tuple[TwiceDescribed, ...] = ()

    def lines(self) -> Iterator[str]:
        """Write it for a terminal."""
        yield f"{self.sample}: {self.pictures:,} pictures"
        for each in self.results:
            rate = "no rate" if each.unsupported is None else f"unsupported {share_words(each.unsupported)}"
            people = each.people and f"{each.people.value:.1%} of {each.people.claims} by people"
            yield (
                f"{each.prompts}: {each.described:,} described, {each.descriptions:,} descriptions, {each.claims:,} "
                f"claims, {rate}, {people or 'not judged by people yet'}"
            )
        if self.difference is not None:
            yield f"difference, two-stage minus one-stage: {share_words(self.difference, sign=True)}"
        yield from self.doubts


def share_words(share: Share, *, sign: bool = False) -> str:
    """Write a share, or a difference of shares in percentage points, with its interval."""
    if sign:
        value, low, high = (f"{100 * each:+.1f}" for each in (share.value, share.low, share.high))
        return f"{value} points [{low}, {high}]"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def audit_recipe(session: Session, *, dataset_id: int, described: str) -> str:
    """Return the recipe of the latest audit of some descriptions; "" where there is none."""
    runs = audit_runs(session, dataset_id=dataset_id)
    return next((run.recipes["audit"] for run in runs if run.config.get("described") == described), "")


def prompt_comparison(
    session: Session, *, sample: str, recipes: Mapping[str, str], examples: int = 0
) -> PromptComparison | None:
    """Compare the prompts once all pictures are described and audited with both; None before.

    Args:   sample: name of the sample's data set. recipes: of the descriptions, by the names of PROMPTS. examples:
            pictures that are returned with what was said of them.
    """
    found = get_dataset(session, name=sample)
    if found is None:
        return None
    audits = {
        prompts: audit_recipe(session, dataset_id=found.id, described=recipe) for prompts, recipe in recipes.items()
    }
    if not all(audits.values()):
        return None
    images = image_page(session, dataset_id=found.id, limit=MOST_PICTURES)
    ids = [image.id for image in images]
    read = {
        prompts: _Read(
            stage_results_of(session, image_ids=ids, recipe=recipes[prompts]),
            descriptions_of(session, image_ids=ids, recipe=recipes[prompts]),
            claims_of(session, image_ids=ids, recipe=audits[prompts]),
            stage_results_of(session, image_ids=ids, recipe=audits[prompts]),
        )
        for prompts in PROMPTS
    }
    if not all(each.is_complete(ids) for each in read.values()):
        return None
    noted = _independences(session, found.id, audits)
    decided = all(each.can_decide for each in noted)
    counts = {prompts: each.counts(ids) for prompts, each in read.items()}
    results = []
    for prompts, each in read.items():
        judged = sample_judgements(session, dataset_id=found.id, recipe=audits[prompts])
        results.append(
            each.result(
                prompts,
                unsupported=_share(counts[prompts]) if decided else None,
                people=hallucination_rate(judged),
                drawn=sample_size(session, dataset_id=found.id, recipe=audits[prompts]),
                judged=len(judged),
            )
        )
    both = [row for row, image_id in enumerate(ids) if all(each.is_described(image_id) for each in read.values())]
    first, second = (counts[prompts][both] for prompts in PROMPTS)
    return PromptComparison(
        found.name,
        len(ids),
        tuple(results),
        _difference(first, second) if decided else None,
        len(set(recipes.values())) == 1,
        decided,
        tuple(dict.fromkeys(sentence for each in noted for sentence in each.sentences())),
        tuple(
            TwiceDescribed(images[row], tuple(each.texts(ids[row]) for each in read.values()))
            for row in both[:examples]
        ),
    )


def _independences(session: Session, dataset_id: int, audits: Mapping[str, str]) -> list[Independence]:
    """Return what the runs of the audits could count on."""
    runs = [run for run in audit_runs(session, dataset_id=dataset_id) if run.recipes["audit"] in audits.values()]
    return [found for run in runs if (found := Independence.of_run(run.config)) is not None]


def next_claim(session: Session, *, sample: str, recipes: Mapping[str, str], who: str) -> ClaimRow | None:
    """Return a person's next claim to judge, of both prompts in turn; None where all are judged.

    Args: see prompt_comparison.
    """
    dataset = get_dataset(session, name=sample)
    if dataset is None:
        return None
    described = dict.fromkeys(recipes.values())
    audits = [audit_recipe(session, dataset_id=dataset.id, described=recipe) for recipe in described]
    found = [
        (position, row)
        for recipe in audits
        if recipe
        for position, row in [next_to_judge(session, dataset_id=dataset.id, recipe=recipe, who=who) or (-1, None)]
        if row is not None
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


@dataclass(frozen=True)
class _Read:
    """The rows of one prompt in the database, by picture."""

    described: Mapping[int, StageResult]
    descriptions: Mapping[int, Sequence[Description]]
    claims: Mapping[int, Sequence[ClaimRow]]
    audited: Mapping[int, StageResult]

    def is_complete(self, ids: Sequence[int]) -> bool:
        return all(each in self.described and (each in self.audited or not self.is_described(each)) for each in ids)

    def is_described(self, image_id: int) -> bool:
        return image_id in self.described and self.described[image_id].state == "done"

    def counts(self, ids: Sequence[int]) -> Counts:
        """Return the counts of some pictures."""
        rows = [
            (sum(row.claim.verdict == "unsupported" for row in self.claims[image_id]), len(self.claims[image_id]))
            for image_id in ids
        ]
        return np.array(rows, np.int64).reshape(-1, 2)

    def texts(self, image_id: int) -> tuple[tuple[str, tuple[ClaimRow, ...]], ...]:
        rows = self.claims[image_id]
        return tuple(
            (each.text, tuple(row for row in rows if row.claim.description_id == each.id))
            for each in self.descriptions[image_id]
        )

    def result(
        self, prompts: str, *, unsupported: Share | None, people: Rate | None, drawn: int, judged: int
    ) -> PromptResult:
        done = [each for each in self.described.values() if each.state == "done"]
        timed = [each for each in done if each.seconds > 0]
        return PromptResult(
            prompts,
            len([stage for stage in PROMPTS[prompts].questions if stage != "caption"]),
            len(done),
            len(self.described) - len(done),
            sum(map(len, self.descriptions.values())),
            sum(each.seconds for each in timed) / max(1, len(timed)),
            sum(each.tokens for each in timed) / max(1, len(timed)),
            dict(Counter(row.claim.kind for rows in self.claims.values() for row in rows)),
            unsupported,
            people,
            drawn,
            judged,
        )


def _share(counts: Counts) -> Share | None:
    """Return the share of unsupported claims; None where there is no claim."""
    if not counts[:, 1].sum():
        return None
    drawn = _drawn(counts)
    return _interval(counts[:, 0].sum() / counts[:, 1].sum(), drawn)


def _difference(first: Counts, second: Counts) -> Share | None:
    """Return the difference of two shares on the same pictures."""
    if not (first[:, 1].sum() and second[:, 1].sum()):
        return None
    value = first[:, 0].sum() / first[:, 1].sum() - second[:, 0].sum() / second[:, 1].sum()
    return _interval(value, _drawn(first) - _drawn(second))


def _drawn(counts: Counts) -> NDArray[np.float64]:
    """Return the share in every draw of pictures, [DRAWS]; the same pictures for the same number of them."""
    rows = np.random.default_rng(SEED).integers(0, len(counts), (DRAWS, len(counts)))
    sums = counts[rows].sum(axis=1)
    shares: NDArray[np.float64] = sums[:, 0] / np.maximum(1, sums[:, 1])
    return shares


def _interval(value: float, drawn: NDArray[np.float64]) -> Share:
    low, high = np.percentile(drawn, PERCENTILES)
    return Share(float(value), float(low), float(high))
