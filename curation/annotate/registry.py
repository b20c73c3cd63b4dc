"""List the annotators, a row each: what a page calls them, what names their work, and how they are made.

A recipe names what a stage does to any picture: equal recipes give equal results. It is known from the settings alone,
so that a page can say what is done already before a model is loaded. A new annotator is its class, in a file of its
own, what makes it in annotator_specs.py, and a row here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from curation.annotate import annotator_specs, model_facts
from curation.annotate.annotator_settings import DescriberSettings, LocalizerSettings, check_levers
from curation.annotate.annotator_specs import AnnotatorSpec
from curation.annotate.describe import Describer
from curation.annotate.localize import LocalizeConfig, Localizer
from curation.annotate.model_facts import ModelFacts

if TYPE_CHECKING:
    from curation.annotate.sample_annotators import SampleConfig
    from db.models import Stage

Row = TypeVar("Row")
KEY_VERSION = 1  # grows when equal settings begin to mean other work


@dataclass(frozen=True)
class DescriberRow:
    """A kind of describer.

    label: in plain words, for pages. spec: of settings, without loading anything; None where nothing is described.
    uses: fields of DescriberChoice that it reads, and "sample" if it reads SampleConfig. any_picture: it describes any
    picture that is uploaded. check: raises ValueError, a sentence that says what to do. facts: of its model.
    """

    kind: str
    label: str
    spec: Callable[[DescriberSettings, SampleConfig], AnnotatorSpec[Describer]] | None
    uses: frozenset[str] = frozenset()
    any_picture: bool = True
    check: Callable[[DescriberSettings], None] = lambda choice: None
    facts: ModelFacts = model_facts.STAND_IN


@dataclass(frozen=True)
class LocalizerRow:
    """A kind of localizer: see DescriberRow. All of them use boxes and keep, which are part of every recipe.

    scores: whether its boxes have scores; without, a threshold and `exclusive` change nothing.
    """

    kind: str
    label: str
    spec: Callable[[LocalizerSettings, SampleConfig], AnnotatorSpec[Localizer]]
    uses: frozenset[str] = frozenset()
    any_picture: bool = True
    scores: bool = True
    check: Callable[[LocalizerSettings], None] = lambda choice: None
    facts: ModelFacts = model_facts.STAND_IN


def label_choices(rows: Iterable[DescriberRow | LocalizerRow]) -> list[tuple[str, str]]:
    """Return (label, kind) of each row, as a page's list of choices takes them."""
    return [(row.label, row.kind) for row in rows]


def uses_of(rows: Mapping[str, DescriberRow | LocalizerRow], kind: str) -> frozenset[str]:
    """Return the settings that a kind uses; none where there is no such kind."""
    return rows[kind].uses if kind in rows else frozenset()


def facts_of(rows: Mapping[str, DescriberRow | LocalizerRow], kind: str) -> ModelFacts:
    """Return what is known of a kind's models; of none where there is no such kind."""
    return rows[kind].facts if kind in rows else ModelFacts()


def _check_server(choice: DescriberSettings | LocalizerSettings) -> None:
    if not choice.server:
        raise ValueError("a model behind a server needs its address: give one such as http://127.0.0.1:8000/v1")


def _check_named_server(choice: LocalizerSettings) -> None:
    _check_server(choice)
    if not choice.model.strip():
        raise ValueError("boxes from a server need its model's name: give it as the server calls it")


def _check_checkpoint(choice: LocalizerSettings) -> None:
    if not choice.model.strip():
        raise ValueError("boxes from a checkpoint of your own need its name: give it as Ground lists it")


def _check_vocabulary(choice: DescriberSettings) -> None:
    if not [name for name in choice.vocabulary if name.strip()]:
        raise ValueError("the vocabulary is empty: give the class names to look for")


_SAMPLE = frozenset({"sample"})
_WEIGHTS = frozenset({"model", "revision", "precision", "batch"})
_ATTENTION = _WEIGHTS | {"attention", "device_map"}
_SERVER = frozenset({"model", "revision", "server", "concurrency", "timeout_seconds", "patience_seconds"})
_NAMES = frozenset({"vocabulary"})
_ASKED = frozenset({"ask"})
_SIDE = frozenset({"picture_side"})
_BOXES = frozenset({"convention", "box_tokens", "picture_side"})
_FULL_SIZE = (annotator_specs.full_size_vlm, _ATTENTION | _ASKED | _SIDE)
_DESCRIBER_ROWS = (  # in the order of the pages
    DescriberRow("photo", "photo stand-in, offline", annotator_specs.photo_describer),
    DescriberRow(
        "sample",
        "sample truth, offline",
        annotator_specs.sample_describer,
        _SAMPLE,
        any_picture=False,
        facts=model_facts.SAMPLE,
    ),
    DescriberRow(
        "llava",
        "LLaVA on this machine",
        annotator_specs.llava,
        _ATTENTION | _ASKED,
        facts=model_facts.LLAVA_NEXT,
    ),
    DescriberRow(
        "llava-onevision",
        "LLaVA-OneVision on this machine",
        annotator_specs.llava,
        _ATTENTION | _ASKED,
        facts=model_facts.LLAVA_ONEVISION,
    ),
    DescriberRow("qwen2.5-vl", "Qwen2.5-VL on this machine", *_FULL_SIZE, facts=model_facts.QWEN25_VL),
    DescriberRow("qwen3-vl", "Qwen3-VL on this machine", *_FULL_SIZE, facts=model_facts.QWEN3_VL),
    DescriberRow(
        "smolvlm",
        "SmolVLM on this machine",
        annotator_specs.llava,
        _ATTENTION | _ASKED,
        facts=model_facts.SMOLVLM,
    ),
    DescriberRow(
        "server",
        "a server (vLLM, …)",
        annotator_specs.server_describer,
        _SERVER | _ASKED | _SIDE,
        check=_check_server,
        facts=replace(model_facts.SERVER, model=model_facts.LLAVA_NEXT.model),
    ),
    DescriberRow("vocabulary", "class names only", None, _NAMES, any_picture=False, check=_check_vocabulary),
)
_LOCALIZER_ROWS = (
    LocalizerRow("photo", "photo checkpoint, offline", annotator_specs.photo_localizer),
    LocalizerRow(
        "sample",
        "sample truth, offline",
        annotator_specs.sample_localizer,
        _SAMPLE,
        any_picture=False,
        facts=model_facts.SAMPLE,
    ),
    LocalizerRow(
        "checkpoint",
        "a checkpoint of your own, tuned from photo",
        annotator_specs.checkpoint_localizer,
        frozenset({"model"}),
        any_picture=False,  # Ground compares with checkpoints by itself
        check=_check_checkpoint,
        facts=model_facts.CHECKPOINT,
    ),
    LocalizerRow("owlv2", "OWLv2 on this machine", annotator_specs.owlv2, _WEIGHTS, facts=model_facts.OWLV2),
    LocalizerRow("owlvit", "OWL-ViT on this machine", annotator_specs.owlvit, _WEIGHTS, facts=model_facts.OWLVIT),
    LocalizerRow(
        "grounding-dino",
        "Grounding DINO on this machine",
        annotator_specs.grounding_dino,
        _WEIGHTS,
        facts=model_facts.GROUNDING_DINO,
    ),
    LocalizerRow(
        "mm-grounding-dino",
        "MM Grounding DINO (LLMDet) on this machine",
        annotator_specs.mm_grounding_dino,
        _WEIGHTS,
        facts=model_facts.MM_GROUNDING_DINO,
    ),
    LocalizerRow(
        "vlm",
        "boxes from a vision-language model on this machine",
        annotator_specs.vlm_localizer,
        _ATTENTION | _BOXES,
        scores=False,
        facts=replace(model_facts.QWEN3_VL, families=()),
    ),
    LocalizerRow(
        "vlm-server",
        "boxes from a server (vLLM, …)",
        annotator_specs.server_localizer,
        _SERVER | _BOXES,
        any_picture=False,
        scores=False,
        check=_check_named_server,
        facts=model_facts.SERVER,
    ),
)
DESCRIBERS = {row.kind: row for row in _DESCRIBER_ROWS}
LOCALIZERS = {row.kind: row for row in _LOCALIZER_ROWS}


def _kind_help(rows: Iterable[DescriberRow | LocalizerRow]) -> str:
    return ". ".join(f"{row.kind}: {row.label}" for row in rows) + "."


if TYPE_CHECKING:
    DescriberKind = str
    LocalizerKind = str
else:  # the choices and the help of the command line
    DescriberKind = Annotated[Literal[tuple(DESCRIBERS)], tyro.conf.arg(help=_kind_help(_DESCRIBER_ROWS))]
    LocalizerKind = Annotated[Literal[tuple(LOCALIZERS)], tyro.conf.arg(help=_kind_help(_LOCALIZER_ROWS))]


@dataclass(frozen=True)
class DescriberChoice(DescriberSettings):
    """The choice of a describer."""

    kind: DescriberKind = "llava"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        self.row.check(self)
        check_levers(self)
        if dashed := [name for name in self.vocabulary if name.startswith("-")]:
            raise ValueError(f"the class name {dashed[0]!r} begins with a dash: write it without")

    @property
    def row(self) -> DescriberRow:
        """Return the row of its kind.

        Raises: ValueError: there is no such kind.
        """
        return _row_of(DESCRIBERS, self.kind)

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the kind's models."""
        return self.row.facts


@dataclass(frozen=True)
class LocalizerChoice(LocalizerSettings):
    """The choice of a localizer."""

    kind: LocalizerKind = "owlv2"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _row_of(LOCALIZERS, self.kind).check(self)
        check_levers(self)
        if self.box_tokens < 1:
            raise ValueError(f"box_tokens must be at least 1, got {self.box_tokens}")

    @property
    def row(self) -> LocalizerRow:
        """Return the row of its kind."""
        return LOCALIZERS[self.kind]

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the kind's models."""
        return self.row.facts


def _row_of(rows: Mapping[str, Row], kind: str) -> Row:
    if kind not in rows:
        raise ValueError(f"expected one of {', '.join(rows)}, got {str(kind)[:20]!r}")
    return rows[kind]


@dataclass(frozen=True)
class StageWork:
    """The work of a stage. source: model@revision. recipe: 64 hex digits. needs: the recipe to be done before.

    former: the recipe under which earlier releases kept this very work; "" where it is the same (see works_in).
    """

    stage: Stage
    source: str
    recipe: str
    needs: str = ""
    former: str = ""

    def key(self, image_sha256: str) -> str:
        """Return the name of this work on one picture's content, in whatever data set it lies."""
        return digest_of({"image": image_sha256, "recipe": self.recipe})


def works_of(describer: DescriberChoice, localizer: LocalizerChoice, sample: SampleConfig) -> tuple[StageWork, ...]:
    """Return the stages in their order; a vocabulary needs no describing.

    Raises: UserError: weights are not on this machine; the message holds the command that fetches them.
    """
    described = _describing(describer, sample)
    first = () if described is None else (described,)
    spec = localizer.row.spec(localizer, sample)
    source = spec.source()
    needs = described.recipe if described else ""
    settings = {**spec.settings, "keep": asdict(localizer.keep), "descriptions": needs}
    if described is None:
        settings["vocabulary"] = list(describer.vocabulary)
    boxes, usual = localizer.boxes, LocalizeConfig()
    if not localizer.row.scores:  # what changes nothing counts as it is by default: most recipes stay what they were
        boxes = replace(boxes, threshold=usual.threshold, exclusive=usual.exclusive)
    recipe, former = (
        _recipe("localize", source, {**settings, "boxes": asdict(each)}) for each in (boxes, localizer.boxes)
    )
    return (*first, StageWork("localize", source, recipe, needs, former="" if former == recipe else former))


def make_describer(choice: DescriberChoice, sample: SampleConfig) -> Describer:
    """Load the describer that the settings name.

    Raises: UserError, ValueError: one sentence that says what to do.
    """
    if choice.row.spec is None:
        raise ValueError(f"a {choice.kind} describes nothing: its class names go to the localizer as they are")
    return choice.row.spec(choice, sample).load()


def make_localizer(choice: LocalizerChoice, sample: SampleConfig) -> Localizer:
    """Load the localizer that the settings name.

    Raises: UserError, ValueError: one sentence that says what to do.
    """
    return choice.row.spec(choice, sample).load()


def _describing(choice: DescriberChoice, sample: SampleConfig) -> StageWork | None:
    if choice.row.spec is None:
        return None
    spec = choice.row.spec(choice, sample)
    source = spec.source()
    return StageWork("describe", source, _recipe("describe", source, spec.settings))


def _recipe(stage: Stage, source: str, settings: Mapping[str, Any]) -> str:
    return digest_of({"version": KEY_VERSION, "stage": stage, "source": source, "settings": settings})


def digest_of(facts: Mapping[str, Any]) -> str:
    """Digest plain settings into 64 hex digits; equal settings have an equal digest."""
    return hashlib.sha256(json.dumps(_plain(facts), sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Write whole floats as integers, since 0 and 0.0 are the same setting."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
