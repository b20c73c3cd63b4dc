"""Let a checkpoint tell pictures that are far from what it has seen; see grain.familiarity.

python -m grain.fit_familiarity runs/mine/best --pictures data/world --fitted-on "my pictures"
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from grain.checkpoint import CARD, FAMILIAR, MANIFEST, UNFAMILIAR, checkpoint_folder, locate
from grain.command import run_command
from grain.familiarity import fit, gist_of
from grain.predict import Predictor
from grain.preprocess import upright_rgb
from picture_formats import SUFFIXES


@dataclass(frozen=True)
class FamiliarityConfig:
    """Let a checkpoint tell pictures that are far from what it has seen; writes it into the checkpoint's folder."""

    checkpoint: Path
    """A checkpoint folder, or an embedded one by name."""
    pictures: Path
    """A folder of pictures like those that it learned from, or a data folder with training pictures."""
    fitted_on: str
    """What they are, in words that end a sentence: "everyday photographs"."""
    centres: int = 64
    """Of the features; 1 with directions is Mahalanobis' distance."""
    directions: int = 0
    """So many, with the largest spread, count in units of their own spread; 0: features count as they are."""
    limit: int = 2000
    """At most so many pictures, drawn once for all."""


def main(config: FamiliarityConfig) -> None:
    """Fit, and write the folder again with the result in it."""
    folder = locate(config.checkpoint)
    predictor = Predictor.from_pretrained(folder)
    gists = [gist_of(predictor.features(image)) for image in _pictures(config.pictures, config.limit)]
    found = fit(
        np.stack(gists) if gists else np.zeros((0, 1), np.float32),
        centres=config.centres,
        directions=config.directions,
        fitted_on=config.fitted_on,
    )
    with checkpoint_folder(folder) as place:
        for file in folder.iterdir():
            if file.is_file() and file.name not in (MANIFEST, FAMILIAR):
                shutil.copyfile(file, place / file.name)
        found.save(place / FAMILIAR)
        if (card := place / CARD).is_file():
            sentence = f"It tells pictures that are far from {config.fitted_on}."
            card.write_text(card.read_text(encoding="utf-8").replace(UNFAMILIAR, sentence), encoding="utf-8")
    print(f"{folder.name}: fitted on {len(gists):,} pictures, {config.centres} centres, limit {found.limit:.1f}")


def _pictures(path: Path, limit: int) -> Iterator[Image.Image]:
    if (path / "manifest.json").is_file():
        from grain.data.loader import find_shards, read_records

        shards = find_shards(path, "train")
        rows = set(_drawn(range(shards.images), limit))
        yield from (record.image for row, record in enumerate(read_records(shards)) if row in rows)
        return
    yield from map(upright_rgb, drawn_files(path, limit))


def drawn_files(folder: Path, limit: int) -> list[Path]:
    """Return the picture files of a folder that a fit is made on: all, or as many as the limit, always the same."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return [files[row] for row in _drawn(range(len(files)), limit)]


def _drawn(rows: Sequence[int], limit: int) -> list[int]:
    return random.Random(0).sample(rows, min(limit, len(rows)))


if __name__ == "__main__":
    run_command(main, FamiliarityConfig, module="grain.fit_familiarity")
