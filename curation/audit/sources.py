"""Choose sources of evidence, leave out those that wrote the descriptions, and load the others into an auditor."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from PIL import Image as Pictures

from curation.annotate.describe import DEFAULT_MODEL, LlavaDescriber
from curation.annotate.localize import OWLV2, REVISIONS, LocalizeConfig, Localizer, Owlv2Localizer
from curation.annotate.openai_describer import OpenAIDescriber
from curation.annotate.photo_annotators import PhotoLocalizer
from curation.annotate.servers import check_address
from curation.audit.claim_judge import PHOTO_FILE, Judge, JudgedClaim
from curation.audit.claims import split_claims
from curation.audit.evidence import (
    DetectorWitness,
    LikenessWitness,
    Measurer,
    VqaModel,
    Witness,
    WitnessKind,
    gather,
)
from curation.audit.independence import JOINED, NOBODY, Independence, is_independent
from curation.audit.measured import BoxMeasurer
from curation.audit.photo_instances import PhotoInstances
from curation.audit.sample_truth import SampleDetector, SampleVqaModel
from db.queries.values import check_known
from grain.checkpoint import locate, read_info
from grain.hub.weights import find_model
from grain.predict import Predictor
from user_errors import UserError

MOST_THINGS = 64  # in the vocabulary from which absent things are drawn
WEAK_BOXES = LocalizeConfig(threshold=0.01, most_of_text=20)  # counterfactuals and counts are made of weak boxes
RARE_THINGS = tuple(
    "zebra giraffe elephant bear toaster kite surfboard skateboard snowboard pizza donut scissors toothbrush suitcase "
    "banana broccoli toilet refrigerator airplane train sheep umbrella clock carrot frisbee microwave".split()
)
BY_DETECTOR: tuple[WitnessKind, ...] = ("detector", "counted", "placed")
DetectorKind = Literal["owlv2", "photo", "sample", "none"]
VqaKind = Literal["llava", "server", "sample", "none"]


@dataclass(frozen=True)
class SourceChoice:
    """The sources of evidence; one that wrote the descriptions does not count."""

    detector: DetectorKind = "owlv2"
    """owlv2: a model on this machine. photo, sample: stand-ins that work offline. none: no detector."""
    detector_model: str = OWLV2
    """Of owlv2: a name on the hub, or a folder."""
    checkpoint: str = "photo"
    """GRAIN's: a folder, or a bundled one by its name; empty: none."""
    vqa: VqaKind = "none"
    """A model that answers questions. llava: on this machine. server: by OpenAI's schema. sample: a stand-in."""
    vqa_model: str = DEFAULT_MODEL
    """For llava and server; another one than wrote the descriptions."""
    server: str = ""
    """Address of the server, as in http://127.0.0.1:8000/v1."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        check_known(self.detector, get_args(DetectorKind), "the detector")
        check_known(self.vqa, get_args(VqaKind), "the asked model")
        if self.vqa == "server" and not self.server:
            raise UserError("a model behind a server needs its address: give one such as http://127.0.0.1:8000/v1")
        if self.server:
            check_address(self.server)
        if self.detector == "none" and not self.checkpoint and self.vqa == "none":
            raise UserError("an audit needs a source of evidence: choose a detector, a checkpoint or a VQA model")

    @property
    def of_sample_world(self) -> bool:
        """Return whether all of them know the sample world alone."""
        return of_sample_world(self.detector, self.checkpoint, self.vqa)

    def shipped_judge(self) -> Judge:
        """Load the judge that GRAIN ships for them (see shipped_judge)."""
        return shipped_judge(detector=self.detector, checkpoint=self.checkpoint, vqa=self.vqa)


@dataclass(frozen=True)
class Auditor:
    """Evidence sources, judge and vocabulary together."""

    witnesses: tuple[Witness, ...]
    vqa: VqaModel | None
    judge: Judge
    vocabulary: tuple[str, ...]
    measurer: Measurer | None = None

    def audit(
        self, images: Sequence[Pictures.Image], texts: Sequence[Sequence[str]]
    ) -> list[list[tuple[JudgedClaim, ...]]]:
        """Return the judged claims of each description of each upright RGB picture, without storing them."""
        found = gather(
            images,
            texts,
            witnesses=self.witnesses,
            vqa=self.vqa,
            vocabulary=self.vocabulary,
            measurer=self.measurer,
        )
        return [[self.judge.description(claims) for claims in each] for each in found]


def of_sample_world(*kinds: str) -> bool:
    """Return whether sources of these kinds know the sample world alone."""
    return set(kinds) <= {"sample", "none", ""}


def absent_things(sources: SourceChoice, texts: Iterable[str]) -> tuple[str, ...]:
    """Return what objects are measured against: the other things of the sample world, of photographs rare ones.

    What other descriptions of photographs name is often there too, or is the same thing in another word.
    """
    return vocabulary_of(texts) if sources.of_sample_world else RARE_THINGS


def vocabulary_of(texts: Iterable[str], most: int = MOST_THINGS) -> tuple[str, ...]:
    """Return the objects and parts named most often; those that no text of a picture names count as absent there."""
    count = Counter(
        claim.words(text).lower()
        for text in texts
        for claim in split_claims(text)
        if claim.kind in ("object", "part") and not claim.denied
    )
    return tuple(word for word, _ in sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def source_of(sources: SourceChoice, describer: str) -> str:
    """Return the names of the sources that are independent of the describer, each with its revision.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    return JOINED.join(_independent(sources, describer).values()) or NOBODY


def named_sources(sources: SourceChoice) -> dict[WitnessKind, str]:
    """Return kind -> name of all sources that were chosen.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    names: dict[WitnessKind, str] = {
        "detector": _detector_name(sources),
        "likeness": _checkpoint_name(sources.checkpoint),
        "asked": _vqa_name(sources),
    }
    return {kind: name for kind, name in names.items() if name}


def independence_of(sources: SourceChoice, describer: str, judge: Judge) -> Independence:
    """Return what an audit of a describer's sentences counts on.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    names = named_sources(sources)
    left_out = tuple(name for name in names.values() if not is_independent(name, describer))
    unheard = tuple(name for kind, name in names.items() if name not in left_out and kind not in judge.sources)
    return Independence(describer, source_of(sources, describer), left_out, unheard, judge.decides)


def _independent(sources: SourceChoice, describer: str) -> dict[WitnessKind, str]:
    return {kind: name for kind, name in named_sources(sources).items() if is_independent(name, describer)}


def shipped_judge(*, detector: str, checkpoint: str, vqa: str = "none") -> Judge:
    """Load the judge that was fitted on these sources; where none was, one whose probabilities only order claims.

    Args: each as in SourceChoice, or another annotator's kind.
    """
    chosen = dict.fromkeys(BY_DETECTOR, detector) | {"likeness": checkpoint, "asked": vqa}
    if of_photo := [kind for kind, name in chosen.items() if name == "photo"]:
        return Judge.load(PHOTO_FILE).hearing(of_photo)
    return Judge.load() if of_sample_world(*chosen.values()) else replace(Judge.load(), decides=False)


def auditor_of(sources: SourceChoice, judge: Judge, vocabulary: tuple[str, ...], *, describer: str) -> Auditor:
    """Load the sources that are independent of the describer into an auditor.

    Raises: UserError, CheckpointError, ValueError: one sentence that says what to do.
    """
    names = _independent(sources, describer)
    witnesses: list[Witness] = []
    measurer: Measurer | None = None
    predictor = Predictor.from_pretrained(sources.checkpoint) if "likeness" in names else None
    if "detector" in names:
        localizer = _localizer(sources, predictor)
        witnesses.append(DetectorWitness(localizer))
        measurer = measurer_of(localizer, sources.detector)
    if predictor is not None:
        witnesses.append(LikenessWitness(predictor, names["likeness"]))
    vqa = _vqa_model(sources) if "asked" in names else None
    return Auditor(tuple(witnesses), vqa, judge, vocabulary, measurer)


def measurer_of(localizer: Localizer, kind: str) -> Measurer | None:
    """Return what counts and places a detector's boxes; None for the sample world's, whose boxes are whole pictures.

    Args: kind: of the detector, as in SourceChoice.
    """
    if kind == "sample":
        return None
    return BoxMeasurer(localizer, PhotoInstances(localizer) if kind == "photo" else None)


def _localizer(sources: SourceChoice, predictor: Predictor | None) -> Localizer:
    """Load the detector. predictor: of the checkpoint; photo's is the detector's too, and sees each picture once."""
    if sources.detector == "owlv2":
        return Owlv2Localizer.from_pretrained(sources.detector_model, config=WEAK_BOXES)
    shared = predictor if sources.checkpoint == "photo" else None
    return PhotoLocalizer(WEAK_BOXES, shared) if sources.detector == "photo" else SampleDetector()


def _vqa_model(sources: SourceChoice) -> VqaModel:
    if sources.vqa == "llava":
        return LlavaDescriber.from_pretrained(sources.vqa_model)
    if sources.vqa == "server":
        return OpenAIDescriber(sources.vqa_model, base_url=sources.server)
    return SampleVqaModel()


def _detector_name(sources: SourceChoice) -> str:
    if sources.detector == "owlv2":
        return find_model(sources.detector_model, REVISIONS.get(sources.detector_model, "main")).name
    names = {"photo": PhotoLocalizer.name, "sample": SampleDetector.name, "none": ""}
    return names[sources.detector]


def _checkpoint_name(checkpoint: str) -> str:
    """Return a checkpoint's name with a digest of its files, so that another training is another source."""
    if not checkpoint:
        return ""
    folder = locate(checkpoint)
    files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return f"{read_info(folder).name}@{digest[:12]}"


def _vqa_name(sources: SourceChoice) -> str:
    if sources.vqa == "llava":
        return find_model(sources.vqa_model, "main").name
    return {"server": f"{sources.vqa_model}@served", "sample": SampleVqaModel.name, "none": ""}[sources.vqa]
