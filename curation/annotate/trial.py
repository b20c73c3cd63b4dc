"""Try the annotators on one picture, step by step, without keeping anything."""

from __future__ import annotations

import time
from dataclasses import dataclass

from PIL import Image

from curation.annotate.annotate_stage import find_regions
from curation.annotate.describe import DescriberResult
from curation.annotate.filters import FilterResult
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from grain.structures import Region


@dataclass(frozen=True)
class PictureTrial:
    """The results of the annotators on one picture, step by step.

    texts, regions: None where it did not get so far. seconds: of each stage, without the time to load its model.
    """

    described: DescriberResult | None
    texts: FilterResult[str] | None
    regions: FilterResult[Region] | None
    seconds: dict[str, float]


def try_picture(config: AnnotateConfig, annotators: AnnotatorFactory, image: Image.Image) -> PictureTrial:
    """Run all stages on one picture, and keep nothing.

    Raises: UserError, DescriberError, ValueError: one sentence that says what to do.
    """
    described, seconds, texts = None, {}, tuple(config.describer.vocabulary)
    if config.describer.row.spec is not None:
        describer = annotators.describer()  # loaded before the clock starts: only the first picture waits for that
        began = time.perf_counter()
        described = describer.describe([image])[0]
        seconds["describe"] = time.perf_counter() - began
        if described.problem:
            return PictureTrial(described, None, None, seconds)
        texts = described.descriptions
    localizer = annotators.localizer()
    began = time.perf_counter()
    [(kept, regions)] = find_regions(localizer, config.localizer.keep, pictures=[image], texts=[texts])
    seconds["localize"] = time.perf_counter() - began
    return PictureTrial(described, kept, regions, seconds)
