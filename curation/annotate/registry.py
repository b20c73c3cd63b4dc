"""List the annotators, a row each: what a page calls them, what names their work, and how they are made.

A recipe names what a stage does to any picture: equal recipes give equal results. It is known from the settings alone,
so that a page can say what is done already before a model is loaded. A new annotator is its class, in a file of its
own, and a row here; what it needs is imported when its row is asked, so that a page may import the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import tyro

from curation.annotate.describe import DEFAULT_MODEL, DescribeConfig, Describer, LlavaDescriber
from curation.annotate.filters import FilterConfig
from curation.annotate.localize import OWLV2, REVISIONS, LocalizeConfig, Localizer, Owlv2Localizer
from curation.annotate.weights import find_model

if TYPE_CHECKING:
    from curation.annotate.sample_annotators import SampleConfig
    from db.models import Stage

Annotator = TypeVar("Annotator")
Row = TypeVar("Row")
KEY_VERSION = 1  # grows when equal settings begin to mean other work


@dataclass(frozen=True)
class AnnotatorSpec(Generic[Annotator]):
    """What settings name. source: gives model@revision. load: makes it. settings: those that change a result."""

    source: Callable[[], str]
    load: Callable[[], Annotator]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DescriberRow:
    """A kind of describer.

    label: in plain words, for pages. spec: of settings, without loading anything; None where nothing is described.
    uses: fields of DescriberChoice that it reads, and "sample" if it reads SampleConfig. any_picture: it describes any
    picture that is uploaded. check: raises ValueError, a sentence that says what to do.
    """

    kind: str
    label: str
    spec: Callable[[DescriberChoice, SampleConfig], AnnotatorSpec[Describer]] | None
    uses: frozenset[str] = frozenset()
    any_picture: bool = True
    check: Callable[[DescriberChoice], None] = lambda choice: None


@dataclass(frozen=True)
class LocalizerRow:
    """A kind of localizer: see DescriberRow. All of them use boxes and keep, which are part of every recipe."""

    kind: str
    label: str
    spec: Callable[[LocalizerChoice, SampleConfig], AnnotatorSpec[Localizer]]
    uses: frozenset[str] = frozenset()
    any_picture: bool = True


def label_choices(rows: Iterable[DescriberRow | LocalizerRow]) -> list[tuple[str, str]]:
    """Return (label, kind) of each row, as a page's list of choices takes them."""
    return [(row.label, row.kind) for row in rows]


def uses_of(rows: Mapping[str, DescriberRow | LocalizerRow], kind: str) -> frozenset[str]:
    """Return the settings that a kind uses; none where there is no such kind."""
    return rows[kind].uses if kind in rows else frozenset()


def _photo_describer(choice: DescriberChoice, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    from curation.annotate.photo_annotators import PhotoDescriber

    return AnnotatorSpec(lambda: PhotoDescriber.name, PhotoDescriber)


def _sample_describer(choice: DescriberChoice, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    from curation.annotate.sample_annotators import SampleDescriber

    return AnnotatorSpec(lambda: SampleDescriber.name, lambda: SampleDescriber(sample), asdict(sample))


def _llava(choice: DescriberChoice, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    return AnnotatorSpec(
        lambda: find_model(choice.model, choice.revision).name,
        lambda: LlavaDescriber.from_pretrained(
            choice.model, revision=choice.revision, config=choice.ask, precision=choice.precision
        ),
        {**_asked(choice), "precision": choice.precision},
    )


def _server(choice: DescriberChoice, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    from curation.annotate.openai_describer import JPEG_QUALITY, PICTURE_SIDE, OpenAIDescriber

    revision = "served" if choice.revision == "main" else choice.revision
    return AnnotatorSpec(
        lambda: f"{choice.model}@{revision}",
        lambda: OpenAIDescriber(
            choice.model,
            base_url=choice.server,
            revision=revision,
            config=choice.ask,
            concurrency=choice.concurrency,
            timeout=choice.timeout_seconds,
            patience=choice.patience_seconds,
        ),
        {**_asked(choice), "picture_side": PICTURE_SIDE, "jpeg_quality": JPEG_QUALITY},
    )


def _asked(choice: DescriberChoice) -> dict[str, Any]:
    return {"prompts": choice.ask.words.version, "tokens": choice.ask.most_tokens}


def _check_server(choice: DescriberChoice) -> None:
    if not choice.server:
        raise ValueError("a describer behind a server needs its address: give one such as http://127.0.0.1:8000/v1")


def _check_vocabulary(choice: DescriberChoice) -> None:
    if not [name for name in choice.vocabulary if name.strip()]:
        raise ValueError("the vocabulary is empty: give the class names to look for")


def _photo_localizer(choice: LocalizerChoice, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    from curation.annotate.photo_annotators import PhotoLocalizer

    return AnnotatorSpec(lambda: PhotoLocalizer.name, lambda: PhotoLocalizer(choice.boxes))


def _sample_localizer(choice: LocalizerChoice, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    from curation.annotate.sample_annotators import SampleLocalizer

    return AnnotatorSpec(lambda: SampleLocalizer.name, lambda: SampleLocalizer(sample), {"sample": asdict(sample)})


def _owlv2(choice: LocalizerChoice, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    return AnnotatorSpec(
        lambda: find_model(choice.model, choice.revision or REVISIONS.get(choice.model, "main")).name,
        lambda: Owlv2Localizer.from_pretrained(
            choice.model, revision=choice.revision or None, config=choice.boxes, precision=choice.precision
        ),
        {"precision": choice.precision},
    )


_SAMPLE = frozenset({"sample"})
_WEIGHTS = frozenset({"model", "revision", "precision"})
_SERVED = frozenset({"model", "revision", "server", "concurrency", "timeout_seconds", "patience_seconds"})
_NAMES = frozenset({"vocabulary"})
_ASKED = frozenset({"ask"})
_DESCRIBER_ROWS = (  # in the order of the pages
    DescriberRow("photo", "photo stand-in, offline", _photo_describer),
    DescriberRow("sample", "sample truth, offline", _sample_describer, _SAMPLE, any_picture=False),
    DescriberRow("llava", "LLaVA on this machine", _llava, _WEIGHTS | _ASKED),
    DescriberRow("server", "a server (vLLM, …)", _server, _SERVED | _ASKED, check=_check_server),
    DescriberRow("vocabulary", "class names only", None, _NAMES, any_picture=False, check=_check_vocabulary),
)
_LOCALIZER_ROWS = (
    LocalizerRow("photo", "photo checkpoint, offline", _photo_localizer),
    LocalizerRow("sample", "sample truth, offline", _sample_localizer, _SAMPLE, any_picture=False),
    LocalizerRow("owlv2", "OWLv2 on this machine", _owlv2, _WEIGHTS),
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
class DescriberChoice:
    """What writes the descriptions."""

    kind: DescriberKind = "llava"
    model: str = DEFAULT_MODEL
    """Of llava and server: a name on the hub, or a folder; as the server calls it."""
    revision: str = "main"
    """Of the model; of a server, what it has loaded."""
    precision: Literal["auto", "fp32", "bf16", "4bit"] = "auto"
    """Of llava."""
    server: str = ""
    """Address of the server, as in http://127.0.0.1:8000/v1."""
    concurrency: int = 8
    """Requests to the server at once."""
    timeout_seconds: float = 120.0
    """For one request to the server."""
    patience_seconds: float = 1800.0
    """In which a server that answers nothing may come back, before the run stops."""
    vocabulary: tuple[str, ...] = ()
    """The class names, for vocabulary."""
    ask: DescribeConfig = field(default_factory=DescribeConfig)
    """What is asked of llava and server."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        self.row.check(self)
        if self.timeout_seconds <= 0 or self.patience_seconds < 0:
            raise ValueError("timeout_seconds must be above 0, and patience_seconds 0 or more")
        if self.server:
            from curation.annotate.servers import check_address

            check_address(self.server)
        if dashed := [name for name in self.vocabulary if name.startswith("-")]:
            raise ValueError(f"the class name {dashed[0]!r} begins with a dash: write it without")

    @property
    def row(self) -> DescriberRow:
        """Return the row of its kind.

        Raises: ValueError: there is no such kind.
        """
        return _row_of(DESCRIBERS, self.kind)


@dataclass(frozen=True)
class LocalizerChoice:
    """What finds the boxes."""

    kind: LocalizerKind = "owlv2"
    model: str = OWLV2
    """Of owlv2: a name on the hub, or a folder."""
    revision: str = ""
    """Of the model; empty: the pinned one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of owlv2."""
    boxes: LocalizeConfig = field(default_factory=LocalizeConfig)
    """Which boxes are reported."""
    keep: FilterConfig = field(default_factory=FilterConfig)
    """Which descriptions and boxes are worth keeping."""

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        _row_of(LOCALIZERS, self.kind)

    @property
    def row(self) -> LocalizerRow:
        """Return the row of its kind."""
        return LOCALIZERS[self.kind]


def _row_of(rows: Mapping[str, Row], kind: str) -> Row:
    if kind not in rows:
        raise ValueError(f"expected one of {', '.join(rows)}, got {str(kind)[:20]!r}")
    return rows[kind]


@dataclass(frozen=True)
class StageWork:
    """What a stage does. source: model@revision. recipe: 64 hex digits. needs: the recipe that must be done before."""

    stage: Stage
    source: str
    recipe: str
    needs: str = ""

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
    settings = {**spec.settings, "boxes": asdict(localizer.boxes), "keep": asdict(localizer.keep)}
    if described is None:
        settings["vocabulary"] = list(describer.vocabulary)
    needs = described.recipe if described else ""
    recipe = _recipe("localize", source, {**settings, "descriptions": needs})
    return (*first, StageWork("localize", source, recipe, needs))


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
