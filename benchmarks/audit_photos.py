"""The audit on photographs: sentences that are known to hold or not, fitted on half of them and told on others.

GRAIN_BENCH_PHOTOS names boxed photographs (benchmarks/photographs.py): objects, counts, places and relations, with
swaps. GRAIN_BENCH_ENTITIES names photographs whose colours people wrote (benchmarks/phrases.py), with val.txt beside
test.txt. `python -m benchmarks.audit_photos` fits the judge of photographs that `curation.audit` uses, and writes it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from benchmarks.photographs import Flags, photographs, photographs_folder
from benchmarks.phrases import COLOURS, captioned
from benchmarks.rows import Benchmark, Finding
from curation.annotate.photo_annotators import PhotoDescriber, PhotoLocalizer
from curation.audit.claim_judge import PHOTO_FILE, Judge, JudgeExample, fit
from curation.audit.claims import Claim
from curation.audit.evidence import DetectorWitness, Evidence, LikenessWitness, Witness, gather, noun_phrase
from curation.audit.known_sentences import KnownSentence, known_sentences
from curation.audit.measured import BoxMeasurer
from curation.audit.photo_instances import PhotoInstances
from curation.audit.sources import RARE_THINGS, WEAK_BOXES
from curation.exchange import coco
from curation.exchange.export_selection import split_of
from db.models import ClaimKind, Verdict
from grain.predict import Predictor
from grain.structures import Array

SEED = 0
FIT, DECIDES, SEEN = "fit", "tell", "seen"  # seen: the checkpoint learned from it, the judge did not
HELD_OUT = 0.15  # share of the boxed photographs that the checkpoint did not learn from, by their content
TARGET = 0.94  # precision of both verdicts on the half that is fitted on
PRECISION_BAR, RECALL_BAR, CALIBRATION_BAR = 90.0, 70.0, 5.0
BINS, RESAMPLES = 10, 1000
KINDS: tuple[ClaimKind, ...] = ("object", "count", "relation", "attribute")
PERSON_TYPE = "people"  # whose colour nobody is asked
NAME = "sentences about photographs of COCO and VOC2007 and colours of Flickr30k Entities; the photo checkpoint"
OURS = "the judge"
BASELINES = ("whole picture", "whole picture and noun phrases", "detector alone", "object presence")


@dataclass(frozen=True, eq=False)
class KnownClaim:
    """A claim that is known to hold or not, with its evidence. claims: of its sentence, it is the row-th of them.

    picture: one of a group that intervals are over. weight: true and false claims of a kind weigh the same.
    baselines: what simpler measures make of it, higher is likelier true.
    """

    half: str
    source: str
    picture: str
    sentence: KnownSentence
    claims: tuple[tuple[Claim, tuple[Evidence, ...]], ...]
    row: int
    baselines: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """Three swaps stand beside each object."""
        return 1 / 3 if self.sentence.kind == "object" and not self.sentence.holds else 1.0

    def example(self) -> JudgeExample:
        """For the fit."""
        claim, evidence = self.claims[self.row]
        owner = None if claim.owner == self.row else self.claims[claim.owner]
        thing = None if owner is None else (owner[0].kind, owner[1])
        return JudgeExample(claim.kind, evidence, self.sentence.holds, thing and True, thing, self.weight)


@dataclass(frozen=True)
class Asked:
    """A picture and its sentences."""

    half: str
    source: str
    name: str
    open: Callable[[], Image.Image]
    sentences: Sequence[KnownSentence]


def boxed_pictures() -> Iterator[Asked]:
    """Boxed photographs; those that decide nothing learned from, but the weights of the checkpoint's two halves."""
    with (photographs_folder() / "instances.json").open("rb") as file:
        records = coco.read(file)
    both = dict(zip((each.id for each in photographs(None)), records, strict=True))
    for source in ("VOC2007", "COCO train2017"):
        mine = photographs(source)
        sentences = defaultdict(list)
        for sentence in known_sentences([both[each.id] for each in mine], seed=SEED):
            sentences[sentence.file_name].append(sentence)
        for each in mine:
            digest, record = hashlib.sha256(each.path.read_bytes()).hexdigest(), both[each.id]
            half = FIT if each.id % 2 else DECIDES if split_of(digest, HELD_OUT) == "held_out" else SEEN
            yield Asked(half, source, record.file_name, each.open, sentences[record.file_name])


def coloured_pictures() -> Iterator[Asked]:
    """Photographs with phrases in which people name one colour, and the same phrases with another."""
    for half, split in ((FIT, "val.txt"), (DECIDES, "test.txt")):
        for number, picture in enumerate(captioned(split)):
            name, chance = f"{split}/{number}", random.Random(f"{SEED}/{split}/{number}")
            sentences = []
            for text in dict.fromkeys(text.lower() for text, kinds, _ in picture.mentions if PERSON_TYPE not in kinds):
                colours = [word for word in COLOURS if re.search(rf"\b{word}\b", text)]
                if len(colours) == 1:
                    other = chance.choice([word for word in COLOURS if word != colours[0]])
                    swapped = re.sub(rf"\b{colours[0]}\b", other, text)
                    sentences.append(KnownSentence(name, text, True, "attribute"))
                    sentences.append(KnownSentence(name, swapped, False, "attribute", "colour"))
            yield Asked(half, "Flickr30k Entities", name, picture.image.copy, sentences)


@cache
def known_claims() -> tuple[KnownClaim, ...]:
    """All claims with their evidence."""
    predictor = Predictor.from_pretrained("photo")
    localizer = PhotoLocalizer(WEAK_BOXES, predictor)
    witnesses: list[Witness] = [DetectorWitness(localizer), LikenessWitness(predictor, "photo")]
    measurer, namer, found = BoxMeasurer(localizer, PhotoInstances(localizer)), PhotoDescriber(), []
    for asked in tqdm([*boxed_pictures(), *coloured_pictures()], unit="photo"):
        if not asked.sentences:
            continue
        image = asked.open()
        texts = list(dict.fromkeys(each.text for each in asked.sentences))
        [gathered] = gather([image], [texts], witnesses=witnesses, vqa=None, vocabulary=RARE_THINGS, measurer=measurer)
        claims_by_text = dict(zip(texts, gathered, strict=True))
        measured = baselines(predictor, namer, image, claims_by_text)
        for sentence in asked.sentences:
            claims = tuple(claims_by_text[sentence.text])
            rows = [row for row, (claim, _) in enumerate(claims) if claim.kind == sentence.kind]
            if rows:
                detected = [one.score or 0.0 for one in claims[rows[0]][1] if one.source == "detector"]
                scores = measured[sentence.text] | {"detector alone": detected[0] if detected else 0.0}
                found.append(KnownClaim(asked.half, asked.source, asked.name, sentence, claims, rows[0], scores))
    return tuple(found)


def baselines(
    predictor: Predictor, namer: PhotoDescriber, image: Image.Image, claims_by_text: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """What simpler measures make of each sentence of a picture."""
    image_embed = predictor.features(image).image_embed
    names = set(chain.from_iterable(name.split() for name in namer.names(image)))
    scores = {}
    for text, claims in claims_by_text.items():
        nouns = [claim.words(text).lower() for claim, _ in claims if claim.kind in ("object", "part")]
        likeness = predictor.embed_texts([text, *map(noun_phrase, nouns)]) @ image_embed
        scores[text] = {
            "whole picture": float(likeness[0]),
            "whole picture and noun phrases": float(likeness[0] + likeness[1:].mean()) if nouns else float(likeness[0]),
            "object presence": float(np.mean([noun.split()[-1] in names for noun in nouns])) if nouns else 0.0,
        }
    return scores


@cache
def judge() -> Judge:
    """The judge of photographs."""
    examples = [each.example() for each in known_claims() if each.half == FIT]
    return fit(examples, name=NAME, precision=TARGET, supported_precision=TARGET, any_kind=False)


@dataclass(frozen=True)
class JudgedHalf:
    """Claims of the half that decides, with the judge's answers."""

    known: tuple[KnownClaim, ...]
    probabilities: tuple[float | None, ...]
    verdicts: tuple[Verdict, ...]

    def only(self, chosen: Sequence[bool]) -> JudgedHalf:
        """Some of them."""
        rows = [row for row, keep in enumerate(chosen) if keep]
        fields = (self.known, self.probabilities, self.verdicts)
        return JudgedHalf(*(tuple(values[row] for row in rows) for values in fields))  # type: ignore[arg-type]

    @property
    def truth(self) -> Flags:
        """Whether each holds."""
        return np.array([each.sentence.holds for each in self.known], bool)

    @property
    def weights(self) -> Array:
        """Of each."""
        return np.array([each.weight for each in self.known], np.float32)

    def share(self, hit: Flags, among: Flags) -> list[float] | None:
        """A weighted share in percent with its 95 % interval over pictures, which are drawn whole."""
        groups = np.unique([each.picture for each in self.known], return_inverse=True)[1]
        if not among.any():
            return None
        hits, all_of = (np.bincount(groups, self.weights * mask.astype(float)) for mask in (among & hit, among))
        rows = np.random.default_rng(SEED).integers(0, len(hits), (RESAMPLES, len(hits)))
        drawn = hits[rows].sum(axis=1) / np.maximum(all_of[rows].sum(axis=1), 1e-9)
        return [float(100 * each) for each in (hits.sum() / all_of.sum(), *np.quantile(drawn, (0.025, 0.975)))]

    def row(self) -> dict[str, Any]:
        """Precision and recall of both verdicts."""
        verdicts = np.array(self.verdicts)
        return {
            "claims": len(self.known),
            "unsupported: precision %": self.share(~self.truth, verdicts == "unsupported"),
            "recall %": self.share(verdicts == "unsupported", ~self.truth),
            "supported: precision %": self.share(self.truth, verdicts == "supported"),
            "of true ones %": self.share(verdicts == "supported", self.truth),
            "cannot tell %": self.share(verdicts == "cannot tell", np.ones(len(verdicts), bool)),
        }

    def found(self) -> dict[str, Any]:
        """Recall alone: of some swaps, precision would be for other odds."""
        verdicts = np.array(self.verdicts)
        row = dict.fromkeys(self.row(), None)
        return row | {
            "claims": int((~self.truth).sum()),
            "recall %": self.share(verdicts == "unsupported", ~self.truth),
        }

    def calibration_error(self) -> float | None:
        """The mean distance of predicted and observed over ten bins, in percent."""
        pairs = [
            (p, true, weight)
            for p, true, weight in zip(self.probabilities, self.truth, self.weights, strict=True)
            if p is not None
        ]
        if not pairs:
            return None
        p, true, weight = np.array(pairs, float).T
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        off = [abs(np.sum(weight[bins == row] * (p - true)[bins == row])) for row in range(BINS)]
        return float(100 * np.sum(off) / weight.sum())


@cache
def judged_half(half: str = DECIDES) -> JudgedHalf:
    """All claims of a half, by default the one that decides."""
    mine, chosen = [each for each in known_claims() if each.half == half], judge()
    judged = [chosen.description(each.claims)[each.row] for each in mine]
    return JudgedHalf(tuple(mine), tuple(each.probability for each in judged), tuple(each.verdict for each in judged))


def of_kind(kind: str, source: str | None = None, *, swap: str | None = None, half: str = DECIDES) -> JudgedHalf:
    """Claims of a kind, perhaps of one source or with one swap beside the true ones."""
    return judged_half(half).only(
        [
            each.sentence.kind == kind
            and source in (None, each.source)
            and (swap is None or each.sentence.swap in ("", swap))
            for each in judged_half(half).known
        ]
    )


def measured() -> Finding:
    """The shipped judge of photographs: verdicts by kind, source and swap; its probability; simpler measures."""
    verdicts, calibration, measures = verdict_rows(), calibration_rows(), measure_rows()
    overall = [row for row in verdicts if row["which"] == "all"]
    precisions = [row[f"{verdict}: precision %"] for row in overall for verdict in ("unsupported", "supported")]
    least, recall = min(each[0] for each in precisions if each), overall[0]["recall %"][0]
    error = judged_half().calibration_error() or 0.0
    leads = [
        row["AUC %"] - other["AUC %"]
        for row in measures
        for other in measures
        if row["measure"] == OURS and other["kind"] == row["kind"] and other["measure"] != OURS
    ]
    detail = {
        "judge": NAME,
        "odds": "a true claim for each false one",
        "calibration error of all, points": error,
        "least lead in AUC over a simpler measure, points": min(leads),
        "a model that is asked": "not run: its weights are not here",
        "verdicts": verdicts,
        "the probability": calibration,
        "simpler measures beside it": measures,
    }
    holds = least >= PRECISION_BAR and recall >= RECALL_BAR and error <= CALIBRATION_BAR and min(leads) > 0
    return Finding(least, holds, detail)


def verdict_rows() -> list[dict[str, Any]]:
    """Precision and recall by kind, then by source, and recall by swap."""
    table: list[dict[str, Any]] = []
    for kind in KINDS:
        sources = sorted({each.source for each in of_kind(kind).known})
        swaps = sorted({each.sentence.swap for each in of_kind(kind).known} - {""})
        table.append({"kind": kind, "which": "all", **of_kind(kind).row()})
        table += [{"kind": kind, "which": source, **of_kind(kind, source).row()} for source in sources]
        if (seen := of_kind(kind, half=SEEN)).known:
            table.append({"kind": kind, "which": "photographs that the checkpoint learned from", **seen.row()})
        if len(swaps) > 1:
            table += [{"kind": kind, "which": f"swap: {swap}", **of_kind(kind, swap=swap).found()} for swap in swaps]
    return table


def calibration_rows() -> list[dict[str, Any]]:
    """Predicted against observed, by kind."""
    return [
        {
            "kind": kind,
            "claims": len(of_kind(kind).known),
            "calibration error, points": of_kind(kind).calibration_error(),
        }
        for kind in KINDS
    ]


def measure_rows() -> list[dict[str, Any]]:
    """The judge's probability beside simpler measures: how well each tells true claims from false ones."""
    table: list[dict[str, Any]] = []
    for kind in KINDS:
        mine = of_kind(kind)
        scores = {OURS: [0.5 if p is None else p for p in mine.probabilities]}
        scores |= {name: [each.baselines[name] for each in mine.known] for name in BASELINES}
        table += [
            {
                "kind": kind,
                "measure": name,
                "AUC %": 100 * float(roc_auc_score(mine.truth, values, sample_weight=mine.weights)),
                "unsupported found at 90 % precision, %": most_found(mine, values),
            }
            for name, values in scores.items()
        ]
    return table


def most_found(mine: JudgedHalf, scores: Sequence[float]) -> float:
    """The most false claims in percent that lie below a threshold, nine in ten below it being false."""
    order = np.argsort(scores, kind="stable")
    wrong, weights = (~mine.truth[order]) * mine.weights[order], mine.weights[order]
    found, looked = wrong.cumsum(), weights.cumsum()
    ends = np.append(np.diff(np.array(scores)[order]) > 0, True)
    holds = ends & (found / looked >= PRECISION_BAR / 100)
    return float(100 * found[holds].max(initial=0.0) / wrong.sum())


BENCHMARKS = (
    Benchmark(
        "audit_photos",
        "other photographs than the judge was fitted on, true claims and false twins: least precision of a verdict",
        f"≥ {PRECISION_BAR:g} %, objects found ≥ {RECALL_BAR:g} %, calibration error ≤ {CALIBRATION_BAR:g} points, "
        "ahead of four simpler measures",
        "%",
        SEED,
        measured,
    ),
)


if __name__ == "__main__":
    PHOTO_FILE.write_text(json.dumps(judge().to_json(), indent=1) + "\n", encoding="utf-8")
    print(f"{PHOTO_FILE}: fitted on {sum(each.half == FIT for each in known_claims()):,} claims")
