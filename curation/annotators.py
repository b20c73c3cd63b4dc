"""Which annotators there are, what names their work, and how each is made. Nothing heavy is imported for a plan.

A recipe names what a stage does to any picture: equal recipes give equal results. It is known from the settings alone,
so that a page can say what is done already before a model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from curation.describe import DEFAULT_MODEL, DescribeConfig, Describer, LlavaDescriber
from curation.filters import FilterConfig
from curation.localize import OWLV2, REVISIONS, LocalizeConfig, Localizer, Owlv2Localizer
from curation.photo_annotators import PhotoDescriber, PhotoLocalizer
from curation.sample_annotators import SampleConfig, SampleDescriber, SampleLocalizer
from curation.served import JPEG_QUALITY, PICTURE_SIDE, OpenAIDescriber, check_address
from curation.weights import find_model
from db.models import Stage

DescriberKind = Literal["llava", "server", "photo", "sample", "vocabulary"]
LocalizerKind = Literal["owlv2", "photo", "sample"]
KEY_VERSION = 1  # grows when equal settings begin to mean other work


@dataclass(frozen=True)
class DescriberChoice:
    """What writes the descriptions."""

    kind: DescriberKind = "llava"
    """llava: a model on this machine. server: one that speaks OpenAI's schema. photo, sample: stand-ins that work
    offline, for photographs and for the sample world. vocabulary: the same class names for every picture."""
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
    vocabulary: tuple[str, ...] = ()
    """The class names, for vocabulary."""
    ask: DescribeConfig = field(default_factory=DescribeConfig)
    """What is asked of llava and server."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.kind == "server" and not self.server:
            raise ValueError("a describer behind a server needs its address: give one such as http://127.0.0.1:8000/v1")
        if self.server:
            check_address(self.server)
        if self.kind == "vocabulary" and not [name for name in self.vocabulary if name.strip()]:
            raise ValueError("the vocabulary is empty: give the class names to look for")
        if dashed := [name for name in self.vocabulary if name.startswith("-")]:
            raise ValueError(f"the class name {dashed[0]!r} begins with a dash: write it without")


@dataclass(frozen=True)
class LocalizerChoice:
    """What finds the boxes."""

    kind: LocalizerKind = "owlv2"
    """owlv2: a model on this machine. photo, sample: stand-ins that work offline."""
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


@dataclass(frozen=True)
class Work:
    """What a stage does. source: model@revision. recipe: 64 hex digits. needs: the recipe that must be done before."""

    stage: Stage
    source: str
    recipe: str
    needs: str = ""

    def key(self, image_sha256: str) -> str:
        """Names this work on one picture's content, in whatever data set it lies."""
        return digest_of({"image": image_sha256, "recipe": self.recipe})


def works_of(describer: DescriberChoice, localizer: LocalizerChoice, sample: SampleConfig) -> tuple[Work, ...]:
    """The stages in their order; a vocabulary needs no describing.

    Raises: MissingModelError: weights are not on this machine; the message holds the command that fetches them.
    """
    described = _describing(describer, sample)
    first = () if described is None else (described,)
    source = _localizer_source(localizer)
    settings: dict[str, Any] = {"boxes": asdict(localizer.boxes), "keep": asdict(localizer.keep)}
    if localizer.kind == "owlv2":
        settings["precision"] = localizer.precision
    if localizer.kind == "sample":
        settings["sample"] = asdict(sample)
    if described is None:
        settings["vocabulary"] = list(describer.vocabulary)
    needs = described.recipe if described else ""
    recipe = _recipe("localize", source, {**settings, "descriptions": needs})
    return (*first, Work("localize", source, recipe, needs))


def make_describer(choice: DescriberChoice, sample: SampleConfig) -> Describer:
    """Load it.

    Raises: MissingModelError, ValueError: one sentence that says what to do.
    """
    if choice.kind == "llava":
        return LlavaDescriber.from_pretrained(
            choice.model, revision=choice.revision, config=choice.ask, precision=choice.precision
        )
    if choice.kind == "server":
        return OpenAIDescriber(
            choice.model,
            base_url=choice.server,
            revision=_served_revision(choice),
            config=choice.ask,
            concurrency=choice.concurrency,
        )
    if choice.kind == "photo":
        return PhotoDescriber()
    if choice.kind == "sample":
        return SampleDescriber(sample)
    raise ValueError("a vocabulary describes nothing: its class names go to the localizer as they are")


def make_localizer(choice: LocalizerChoice, sample: SampleConfig) -> Localizer:
    """Load it.

    Raises: MissingModelError, ValueError: one sentence that says what to do.
    """
    if choice.kind == "owlv2":
        return Owlv2Localizer.from_pretrained(
            choice.model, revision=choice.revision or None, config=choice.boxes, precision=choice.precision
        )
    if choice.kind == "photo":
        return PhotoLocalizer(choice.boxes)
    return SampleLocalizer(sample)


def _describing(choice: DescriberChoice, sample: SampleConfig) -> Work | None:
    if choice.kind == "vocabulary":
        return None
    settings: dict[str, Any] = {}
    if choice.kind in ("llava", "server"):
        settings = {"prompts": choice.ask.words.version, "tokens": choice.ask.most_tokens}
    if choice.kind == "llava":
        source, settings["precision"] = find_model(choice.model, choice.revision).name, choice.precision
    elif choice.kind == "server":
        source = f"{choice.model}@{_served_revision(choice)}"
        settings |= {"picture_side": PICTURE_SIDE, "jpeg_quality": JPEG_QUALITY}
    elif choice.kind == "photo":
        source = PhotoDescriber.name
    else:
        source, settings = SampleDescriber.name, asdict(sample)
    return Work("describe", source, _recipe("describe", source, settings))


def _served_revision(choice: DescriberChoice) -> str:
    return "served" if choice.revision == "main" else choice.revision


def _localizer_source(choice: LocalizerChoice) -> str:
    if choice.kind == "owlv2":
        return find_model(choice.model, choice.revision or REVISIONS.get(choice.model, "main")).name
    return PhotoLocalizer.name if choice.kind == "photo" else SampleLocalizer.name


def _recipe(stage: Stage, source: str, settings: Mapping[str, Any]) -> str:
    return digest_of({"version": KEY_VERSION, "stage": stage, "source": source, "settings": settings})


def digest_of(facts: Mapping[str, Any]) -> str:
    """64 hex digits of plain settings: equal ones have an equal digest."""
    return hashlib.sha256(json.dumps(_plain(facts), sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """0 and 0.0 are the same setting."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
