"""Make the annotators that settings name: what names their work, how they are loaded, what changes their results.

What an annotator needs is imported when it is asked for, so that a page may import the rows of the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PIL import Image

from curation.annotate.describe import Describer, LlavaDescriber, load_processor, preview_local
from curation.annotate.localize import REVISIONS, Localizer, Owlv2Localizer, OwlVitLocalizer
from curation.annotate.messages import PreviewedRequest
from curation.annotate.model_facts import ModelFacts, check_family
from curation.annotate.picture_sizes import reduce_picture
from curation.annotate.vlm_boxes import convention_of, question_version
from grain.checkpoint import CheckpointError, locate, model_digest, read_info
from grain.hub.weights import LocalModel, find_model

if TYPE_CHECKING:
    from curation.annotate.annotator_settings import DescriberSettings, LocalizerSettings
    from curation.annotate.sample_annotators import SampleConfig

Annotator = TypeVar("Annotator")
QWEN_STEP = 28  # pixels to multiples of which Qwen2.5-VL resizes a picture, and in whose pixels it answers


@dataclass(frozen=True)
class AnnotatorSpec(Generic[Annotator]):
    """An annotator that settings can name.

    source: gives model@revision. load: makes it. settings: those that change a result. preview: gives the requests
    about a picture before they are sent; None where no question is asked.
    """

    source: Callable[[], str]
    load: Callable[[], Annotator]
    settings: Mapping[str, Any] = field(default_factory=dict)
    preview: Callable[[Image.Image], list[PreviewedRequest]] | None = None


def photo_describer(choice: DescriberSettings, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    """Specify the stand-in for photographs."""
    from curation.annotate.photo_annotators import PhotoDescriber

    return AnnotatorSpec(lambda: PhotoDescriber.name, PhotoDescriber)


def sample_describer(choice: DescriberSettings, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    """Specify the stand-in that knows the sample world."""
    from curation.annotate.sample_annotators import SampleDescriber

    return AnnotatorSpec(lambda: SampleDescriber.name, lambda: SampleDescriber(sample), asdict(sample))


def llava(choice: DescriberSettings, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    """Specify LLaVA-NeXT, or any other image-text-to-text model: pictures go to its processor as they are."""
    return _local(choice, picture_side=0)


def full_size_vlm(choice: DescriberSettings, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    """Specify a model that would take pictures at their full size: they are reduced before."""
    return _local(choice, picture_side=choice.picture_side)


def server_describer(choice: DescriberSettings, sample: SampleConfig) -> AnnotatorSpec[Describer]:
    """Specify a model behind a server."""
    from curation.annotate.openai_describer import JPEG_QUALITY, OpenAIDescriber

    revision = "served" if choice.revision == "main" else choice.revision

    def load() -> OpenAIDescriber:
        return OpenAIDescriber(
            choice.model_name,
            base_url=choice.server,
            revision=revision,
            config=choice.ask,
            concurrency=choice.concurrency,
            timeout=choice.timeout_seconds,
            patience=choice.patience_seconds,
            picture_side=choice.picture_side,
        )

    return AnnotatorSpec(
        lambda: f"{choice.model_name}@{revision}",
        load,
        {**_asked(choice), "picture_side": choice.picture_side, "jpeg_quality": JPEG_QUALITY},
        lambda image: load().preview(image),
    )


def photo_localizer(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify the checkpoint for photographs."""
    from curation.annotate.photo_annotators import PhotoLocalizer

    return AnnotatorSpec(lambda: PhotoLocalizer.name, lambda: PhotoLocalizer(choice.boxes))


def checkpoint_localizer(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify a checkpoint that a person tuned from `photo`.

    Raises: CheckpointError: there is none, or it is of another kind.
    """
    from curation.annotate.photo_annotators import PhotoLocalizer
    from grain.predict import Predictor

    folder = locate(choice.model)
    info = read_info(folder)
    if not info.learned_regions:
        raise CheckpointError(f"expected a checkpoint that was tuned from photo, got {info.name}: choose another")

    def load() -> Localizer:
        return PhotoLocalizer(choice.boxes, Predictor.from_pretrained(folder))

    return AnnotatorSpec(lambda: f"{PhotoLocalizer.name}:{info.name}@{model_digest(folder)[:12]}", load)


def sample_localizer(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify the stand-in that knows the sample world."""
    from curation.annotate.sample_annotators import SampleLocalizer

    return AnnotatorSpec(lambda: SampleLocalizer.name, lambda: SampleLocalizer(sample), {"sample": asdict(sample)})


def owlv2(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify OWLv2."""
    return _detector(choice, Owlv2Localizer)


def owlvit(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify OWL-ViT."""
    return _detector(choice, OwlVitLocalizer)


def grounding_dino(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify Grounding DINO."""
    from curation.annotate.grounding_dino import GroundingDinoLocalizer

    return _detector(choice, GroundingDinoLocalizer)


def mm_grounding_dino(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify MM Grounding DINO or LLMDet."""
    from curation.annotate.grounding_dino import MMGroundingDinoLocalizer

    return _detector(choice, MMGroundingDinoLocalizer)


def vlm_localizer(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify a vision-language model on this machine that is asked for boxes.

    Raises: UserError: its weights are not here, or how it writes boxes is not known.
    """
    from curation.annotate.vlm_localizer import VlmLocalizer

    found = find_model(choice.model_name, choice.revision or "main")
    convention = convention_of(choice.convention, family=found.kind)

    def load() -> Localizer:
        describer = LlavaDescriber.from_pretrained(
            choice.model_name,
            revision=choice.revision or "main",
            precision=choice.precision,
            attention=choice.attention,
            device_map=choice.device_map,
            batch_size=choice.batch,
            picture_side=choice.picture_side,
        )
        return VlmLocalizer(describer, convention, config=choice.boxes, most_tokens=choice.box_tokens)

    settings = {"convention": convention, "precision": choice.precision, **_boxes_asked(choice)}
    return AnnotatorSpec(lambda: found.name, load, settings)


def server_localizer(choice: LocalizerSettings, sample: SampleConfig) -> AnnotatorSpec[Localizer]:
    """Specify a vision-language model behind a server that is asked for boxes.

    Raises: UserError: how it writes boxes is not known.
    """
    from curation.annotate.openai_describer import JPEG_QUALITY, OpenAIDescriber
    from curation.annotate.vlm_localizer import VlmLocalizer

    revision, name = choice.revision or "served", choice.model_name
    convention = convention_of(choice.convention, name=name)
    step = QWEN_STEP if convention == "resized" else 0  # so that what is sent is what it makes of it

    def load() -> Localizer:
        server = OpenAIDescriber(
            name,
            base_url=choice.server,
            revision=revision,
            concurrency=choice.concurrency,
            timeout=choice.timeout_seconds,
            patience=choice.patience_seconds,
            picture_side=choice.picture_side,
            picture_step=step,
        )
        return VlmLocalizer(server, convention, config=choice.boxes, most_tokens=choice.box_tokens)

    settings = {"convention": convention, "jpeg_quality": JPEG_QUALITY, **_boxes_asked(choice)}
    return AnnotatorSpec(lambda: f"{name}@{revision}", load, settings)


def _local(choice: DescriberSettings, *, picture_side: int) -> AnnotatorSpec[Describer]:
    settings = {**_asked(choice), "precision": choice.precision}

    def preview(image: Image.Image) -> list[PreviewedRequest]:
        found = _weights(choice.model_name, choice.revision, choice.facts)
        seen = reduce_picture(image, picture_side) if picture_side else image
        return preview_local(load_processor(found), choice.ask, seen, name=found.name)

    return AnnotatorSpec(
        lambda: _weights(choice.model_name, choice.revision, choice.facts).name,
        lambda: LlavaDescriber.from_pretrained(
            choice.model_name,
            revision=choice.revision,
            config=choice.ask,
            precision=choice.precision,
            attention=choice.attention,
            device_map=choice.device_map,
            batch_size=choice.batch,
            picture_side=picture_side,
        ),
        settings | ({"picture_side": picture_side} if picture_side else {}),
        preview,
    )


def _detector(choice: LocalizerSettings, localizer: Any) -> AnnotatorSpec[Localizer]:
    """Specify a detector of transformers by its class, which has `facts` and `from_pretrained`."""
    revision = choice.revision or REVISIONS.get(choice.model_name, "main")
    return AnnotatorSpec(
        lambda: _weights(choice.model_name, revision, localizer.facts).name,
        lambda: localizer.from_pretrained(
            choice.model_name,
            revision=revision,
            config=choice.boxes,
            precision=choice.precision,
            batch_size=choice.batch,
        ),
        {"precision": choice.precision},
    )


def _weights(model: str, revision: str, facts: ModelFacts) -> LocalModel:
    return check_family(find_model(model, revision), facts)


def _asked(choice: DescriberSettings) -> dict[str, Any]:
    return {"prompts": choice.ask.words.version, "tokens": choice.ask.most_tokens}


def _boxes_asked(choice: LocalizerSettings) -> dict[str, Any]:
    return {"question": question_version(), "tokens": choice.box_tokens, "picture_side": choice.picture_side}
