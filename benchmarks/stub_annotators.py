"""Annotators without weights, for measuring and testing what is around them; and a program that annotates."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from curation.annotate.annotate import annotate
from curation.annotate.describe import DescriberResult
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.sample_annotators import ROW
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from db.engine import open_engine
from grain.structures import Region

STUB_NAME = "stub@1"
GO = "go"


@dataclass
class StubDescriber:
    """Says the colour of the picture's middle. behave: what else happens with a picture."""

    behave: Callable[[Image.Image], DescriberResult | None] = lambda image: None
    asked: list[int] = field(default_factory=list)
    name: str = STUB_NAME

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        """See Describer."""
        results = [self.behave(image) or _described(image) for image in images]
        self.asked += [image.info[ROW].id for image in images]
        return results


@dataclass
class StubLocalizer:
    """Finds every description in the upper left quarter."""

    asked: list[int] = field(default_factory=list)
    name: str = STUB_NAME

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """More than 60 characters."""
        return tuple(text for text in texts if len(text) > 60)

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """See Localizer."""
        self.asked += [picture.info[ROW].id for picture in pictures]
        return [
            tuple(Region((0.0, 0.0, 0.5, 0.5), text, 0.9, row) for row, text in enumerate(texts))
            for texts in descriptions
        ]


def stubs(describer: StubDescriber, localizer: StubLocalizer) -> AnnotatorFactory:
    """The two, as a run wants them."""
    return AnnotatorFactory(lambda: describer, lambda: localizer)


def _described(image: Image.Image) -> DescriberResult:
    pixel = image.getpixel((image.width // 2, image.height // 2))
    colour = "#" + bytes(pixel).hex()  # type: ignore[arg-type]
    texts = (f"a {colour} sheet", "a corner")
    return DescriberResult(
        raw=("a sheet", "\n".join(texts)), subject="a sheet", descriptions=texts, answer_tokens=7, seconds=0.01
    )


def sheets_config(batch: int = 8) -> AnnotateConfig:
    """Settings for the data set "sheets"; the kinds only name the work."""
    return AnnotateConfig("sheets", DescriberChoice("photo"), LocalizerChoice("photo"), batch=batch, lease_seconds=30)


def main(url: str, worker: str, log: str, pause: str = "0", wait: str = "") -> None:
    """Annotate the data set "sheets".

    Args:   log: every picture that is described is noted there. pause: seconds that a model takes for a picture.
            wait: anything, to begin only when a file GO lies beside the log.
    """
    gc.freeze()  # as curation.annotate does
    engine = open_engine(url)
    Path(log).touch()
    while wait and not Path(log).with_name(GO).exists():
        time.sleep(0.001)

    def note(image: Image.Image) -> None:
        time.sleep(float(pause))
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{image.info[ROW].id}\n")

    annotate(engine, sheets_config(), stubs(StubDescriber(behave=note), StubLocalizer()), worker=worker)


if __name__ == "__main__":
    main(*sys.argv[1:])
