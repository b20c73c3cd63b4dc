"""Write questions with known answers for boxed pictures: `python -m curation.exchange.known_sentences_file BOXES OUT`.

BOXES is a COCO file whose boxes name every thing of its classes. OUT gets POPE's files, a question a line, for any
model that answers yes or no (pope_random.json, pope_popular.json, pope_adversarial.json), and sentences.jsonl: true and
false sentences about objects, counts, places, relations, and colours where the pictures are given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from atomic_files import write_atomically
from curation.audit.known_sentences import ColourShares, KnownSentence, Swap, known_sentences
from curation.exchange import coco
from curation.files.records import Box, PictureRecord
from grain.command import run_command
from grain.photo.phrases import colour_shares
from grain.preprocess import upright_rgb
from user_errors import UserError

POPE_FILES: dict[Swap, str] = {"random": "random", "frequent": "popular", "co-occurring": "adversarial"}
SENTENCES = "sentences.jsonl"


@dataclass(frozen=True)
class KnownSentencesConfig:
    """Write POPE's questions and known sentences of a COCO file."""

    boxes: Annotated[Path, tyro.conf.Positional]
    """A COCO file whose boxes name every thing of its classes."""
    out: Annotated[Path, tyro.conf.Positional]
    """A folder, new or empty."""
    pictures: Path | None = None
    """The folder of its pictures; left out: no sentence names a colour."""
    seed: int = 0
    """Of the swaps."""


def write_known_sentences(config: KnownSentencesConfig) -> Counter[str]:
    """Write the files, and return how many sentences of each kind they hold.

    Raises: UserError: no such file or picture, another format, or a folder that holds something.
    """
    if config.out.exists() and any(config.out.iterdir()):
        raise UserError(f"expected a new or empty folder, got {config.out}: choose another")
    try:
        with config.boxes.open("rb") as file:
            records = coco.read(file)
    except OSError as error:
        raise UserError(f"{config.boxes} cannot be read ({error.strerror}): give a COCO file") from error
    colours = None if config.pictures is None else pixel_colours(config.pictures)
    sentences = list(known_sentences(records, seed=config.seed, colours=colours))
    if not sentences:
        raise UserError(f"{config.boxes} has no boxes: nothing is known of its pictures")
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomically(config.out / SENTENCES, "".join(json.dumps(asdict(each)) + "\n" for each in sentences))
    for swap, name in POPE_FILES.items():
        write_atomically(config.out / f"pope_{name}.json", "".join(pope_lines(sentences, swap)))
    return Counter(each.kind for each in sentences)


def pope_lines(sentences: Sequence[KnownSentence], swap: Swap) -> Iterable[str]:
    """Yield POPE's lines: each object that is there, then its swap; question_id, image, text and label."""
    objects = [each for each in sentences if each.kind == "object" and each.swap in ("", swap)]
    for number, each in enumerate(objects, start=1):
        label = "yes" if each.holds else "no"
        text = f"Is there {each.text} in the image?"
        yield json.dumps({"question_id": number, "image": each.file_name, "text": text, "label": label}) + "\n"


def pixel_colours(folder: Path) -> ColourShares:
    """Return what measures the colours of boxes in a folder's pictures.

    Raises: UserError, when it measures: a picture is missing or cannot be read.
    """

    @lru_cache(maxsize=1)
    def picture(file_name: str) -> Image.Image:
        try:
            return upright_rgb(folder / file_name)
        except (OSError, ValueError) as error:
            where = folder / file_name
            raise UserError(f"{where} cannot be read ({error}): give the folder of the pictures") from error

    def shares(record: PictureRecord, box: Box) -> dict[str, float]:
        return colour_shares(picture(record.file_name), np.array(box, np.float32))

    return shares


def main(config: KnownSentencesConfig) -> None:
    """Run the command line."""
    counts = write_known_sentences(config)
    print(json.dumps({"out": str(config.out), **dict(sorted(counts.items()))}))


if __name__ == "__main__":
    run_command(main, KnownSentencesConfig, module="curation.exchange.known_sentences_file", description=__doc__)
