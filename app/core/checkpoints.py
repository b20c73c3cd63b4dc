"""List checkpoints with their metadata (without torch), and load one when it is needed."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL import Image

from atomic_files import write_atomically
from grain.checkpoint import (
    DEFAULT_ALPHA,
    MANIFEST,
    PICKLES,
    CheckpointError,
    CheckpointInfo,
    checkpoint_folder,
    read_info,
    verify,
)
from grain.structures import Array, ImageFeatures, Instances, Prediction
from user_errors import UserError

MOST_LOADED = 3  # models kept in memory
PROMOTED = ".promoted"  # names the checkpoint that people begin with


class Model(Protocol):
    """The surface of a loaded checkpoint that pages use; `grain.Predictor` is one."""

    @property
    def info(self) -> CheckpointInfo:
        """Return what it is and what it was trained on."""

    def predict(
        self,
        image: Image.Image,
        descriptions: Sequence[str],
        classes: Mapping[str, Sequence[str]],
        *,
        threshold: float = 0.0,
        instances: Instances = "best",
        alpha: float = 1.0,
    ) -> Prediction:
        """Return boxes, matches, regions and class scores of one upright RGB image."""

    def crop_scores(
        self, image: Image.Image, boxes_xyxy: Sequence[tuple[float, float, float, float]], texts: Sequence[str]
    ) -> Array:
        """Return the [N] cosines of each box, cut out, with its text."""

    def batch_features(self, images: Sequence[Image.Image]) -> list[ImageFeatures]:
        """Return the features of several upright RGB images."""

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Return text embeddings, [T, E], of unit length; those of texts asked before are kept."""

    def class_texts(self, classes: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the texts that scoring these classes embeds."""


LoadModel = Callable[[Path], Model]
Stamp = tuple[tuple[str, int, int, int], ...]
"""The files of a checkpoint as they were: name, inode, bytes, time of the last change."""


@dataclass(frozen=True)
class Checkpoint:
    """One folder. name: what people pick and links keep. problem: why it cannot be used, "" if it can."""

    name: str
    folder: Path
    info: CheckpointInfo | None
    problem: str = ""


@dataclass
class Registry:
    """The checkpoints under some folders. Safe to use from several threads."""

    roots: tuple[Path, ...]
    load_model: LoadModel
    _loaded: OrderedDict[str, tuple[Stamp, Model]] = field(default_factory=OrderedDict)
    _broken: dict[str, tuple[Stamp, str]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return all checkpoints on disk now, usable or not, embedded ones first."""
        found: dict[str, Checkpoint] = {}
        for folder in self._folders():
            name = folder.name if folder.name not in found else str(folder)
            found[name] = self._describe(name, folder)
        return tuple(found.values())

    def usable(self) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that can be chosen."""
        return tuple(each for each in self.checkpoints() if not each.problem)

    def default_alpha(self, name: str) -> float:
        """Return a checkpoint's own share of the whole picture in a class's score."""
        infos = (each.info for each in self.usable() if each.name == name)
        return next((info.alpha for info in infos if info), DEFAULT_ALPHA)

    def find(self, name: str) -> Checkpoint:
        """Return the checkpoint of that name.

        Raises: UserError.
        """
        checkpoints = {each.name: each for each in self.checkpoints()}
        if name not in checkpoints:
            names = ", ".join(each.name for each in checkpoints.values() if not each.problem)
            advice = f"choose one of {names}" if names else "train one first (python -m grain.train --help)"
            what = f"There is no checkpoint {name[:60]!r}" if name else "No checkpoint is chosen"
            raise UserError(f"{what}: {advice}.")
        if problem := checkpoints[name].problem:
            raise UserError(f"The checkpoint {name} cannot be used: {problem}.")
        return checkpoints[name]

    def load(self, name: str) -> Model:
        """Load the model of that name; the last few stay in memory until their files change.

        Raises: UserError: no such name, or its files are broken (it is then listed with the reason).
        """
        checkpoint = self.find(name)
        with self._lock:
            stamp = _stamp(checkpoint.folder)  # what changes while it is loaded is loaded again
            if name not in self._loaded or self._loaded[name][0] != stamp:
                self._loaded.pop(name, None)  # two at once might not fit
                self._loaded[name] = stamp, self._load(checkpoint, stamp)
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[name][1]

    def promote(self, folder: Path, name: str) -> None:
        """Copy a checkpoint to the last root under a name, whole or not at all; Ground then opens with it.

        Raises: CheckpointError: it is damaged, or the name is an embedded one's. DiskFullError: what was
                promoted before stays.
        """
        if any((root / name).exists() for root in self.roots[:-1]):
            raise CheckpointError(f"{name} is the name of an embedded checkpoint: give the run another one")
        verify(folder)
        target = self.roots[-1] / name
        with self._lock:
            with checkpoint_folder(target) as place:
                for file in folder.iterdir():
                    if file.is_file() and file.name != MANIFEST:
                        shutil.copyfile(file, place / file.name)
            write_atomically(self.roots[-1] / PROMOTED, name)

    def promoted(self) -> str:
        """Return the name of the checkpoint promoted last that is usable; "" if there is none."""
        try:
            return self.find((self.roots[-1] / PROMOTED).read_text(encoding="utf-8").strip()).name
        except (OSError, ValueError):
            return ""

    def _load(self, checkpoint: Checkpoint, stamp: Stamp) -> Model:
        try:
            return self.load_model(checkpoint.folder)
        except CheckpointError as error:
            self._broken[checkpoint.name] = stamp, str(error)
            raise UserError(f"The checkpoint {checkpoint.name} cannot be used: {error}.") from error

    def _folders(self) -> Iterator[Path]:
        for root in self.roots:
            for path in sorted(root.iterdir()) if root.is_dir() else ():
                if not path.name.startswith(".") and (path.is_dir() or path.suffix in PICKLES):
                    yield path

    def _describe(self, name: str, folder: Path) -> Checkpoint:
        if name == str(folder):
            return Checkpoint(name, folder, None, f"another checkpoint is called {folder.name}: rename the folder")
        try:
            broken = self._broken.get(name)
            problem = broken[1] if broken and broken[0] == _stamp(folder) else ""
            return Checkpoint(name, folder, read_info(folder), problem)
        except (CheckpointError, OSError) as error:
            return Checkpoint(name, folder, None, str(error))


def _stamp(folder: Path) -> Stamp:
    seen = sorted((file.name, file.lstat()) for file in folder.iterdir())
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in seen)
