"""Which checkpoints there are and what they say of themselves (no torch), and loading one when it is needed."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL import Image

from grain.checkpoint import MANIFEST, PICKLES, CheckpointError, CheckpointInfo, atomic_folder, read_info, verify
from grain.structures import Array, ImageFeatures, Look

MOST_LOADED = 3  # models kept in memory
PROMOTED = ".promoted"  # names the checkpoint that people begin with


class Model(Protocol):
    """What the pages ask of a loaded checkpoint; `grain.Predictor` is one."""

    @property
    def info(self) -> CheckpointInfo:
        """What it is and what it was trained on."""

    def look(
        self,
        image: Image.Image,
        descriptions: Sequence[str],
        classes: Mapping[str, Sequence[str]],
        *,
        threshold: float = 0.0,
        alpha: float = 1.0,
    ) -> Look:
        """Boxes, matches, regions and class scores of one upright RGB picture."""

    def crop_scores(
        self, image: Image.Image, boxes_xyxy: Sequence[tuple[float, float, float, float]], texts: Sequence[str]
    ) -> Array:
        """[N] cosine of each box, cut out, with its text."""

    def batch_features(self, images: Sequence[Image.Image]) -> list[ImageFeatures]:
        """What it sees in several upright RGB pictures."""

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """[T, E] unit length."""


LoadModel = Callable[[Path], Model]


@dataclass(frozen=True)
class Checkpoint:
    """One folder. name: what people pick and links keep. problem: why it cannot be used, "" if it can."""

    name: str
    folder: Path
    info: CheckpointInfo | None
    problem: str = ""


class UnknownCheckpointError(ValueError):
    """No usable checkpoint of that name; the message is one sentence that says which there are, or what is wrong."""


@dataclass
class Registry:
    """The checkpoints under some folders. Safe to use from several threads."""

    roots: tuple[Path, ...]
    load_model: LoadModel
    _loaded: OrderedDict[str, Model] = field(default_factory=OrderedDict)
    _broken: dict[str, str] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All of them, usable or not, as they lie on disk now: embedded ones first."""
        found: dict[str, Checkpoint] = {}
        for folder in self._folders():
            name = folder.name if folder.name not in found else str(folder)
            found[name] = self._describe(name, folder)
        return tuple(found.values())

    def usable(self) -> tuple[Checkpoint, ...]:
        """Those that can be picked."""
        return tuple(each for each in self.checkpoints() if not each.problem)

    def find(self, name: str) -> Checkpoint:
        """The checkpoint of that name.

        Raises: UnknownCheckpointError.
        """
        checkpoints = {each.name: each for each in self.checkpoints()}
        if name not in checkpoints:
            names = ", ".join(each.name for each in checkpoints.values() if not each.problem)
            advice = f"choose one of {names}" if names else "train one first (python -m grain.train --help)"
            what = f"There is no checkpoint {name[:60]!r}" if name else "No checkpoint is chosen"
            raise UnknownCheckpointError(f"{what}: {advice}.")
        if problem := checkpoints[name].problem:
            raise UnknownCheckpointError(f"The checkpoint {name} cannot be used: {problem}.")
        return checkpoints[name]

    def load(self, name: str) -> Model:
        """The model behind a name; the last few stay in memory.

        Raises: UnknownCheckpointError: no such name, or its files are broken (it is then listed with the reason).
        """
        checkpoint = self.find(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(checkpoint)
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def promote(self, folder: Path, name: str) -> None:
        """Copy a checkpoint to the last root under a name, whole or not at all; it is then what Ground begins with.

        Raises: CheckpointError: it is damaged, or the name is an embedded one's. OSError: the disk is full; what was
                promoted before stays.
        """
        if any((root / name).exists() for root in self.roots[:-1]):
            raise CheckpointError(f"{name} is the name of an embedded checkpoint: give the run another one")
        verify(folder)
        target = self.roots[-1] / name
        with self._lock:
            with atomic_folder(target) as place:
                for file in folder.iterdir():
                    if file.is_file() and file.name != MANIFEST:
                        shutil.copyfile(file, place / file.name)
            self._loaded.pop(name, None)  # what had the name before
            self._broken.pop(name, None)
            (self.roots[-1] / PROMOTED).write_text(name, encoding="utf-8")

    def promoted(self) -> str:
        """The name of what was promoted last and can be used; empty where there is none."""
        try:
            return self.find((self.roots[-1] / PROMOTED).read_text(encoding="utf-8").strip()).name
        except (OSError, ValueError):
            return ""

    def _load(self, checkpoint: Checkpoint) -> Model:
        try:
            return self.load_model(checkpoint.folder)
        except CheckpointError as error:
            self._broken[checkpoint.name] = str(error)
            raise UnknownCheckpointError(f"The checkpoint {checkpoint.name} cannot be used: {error}.") from error

    def _folders(self) -> Iterator[Path]:
        for root in self.roots:
            for path in sorted(root.iterdir()) if root.is_dir() else ():
                if not path.name.startswith(".") and (path.is_dir() or path.suffix in PICKLES):
                    yield path

    def _describe(self, name: str, folder: Path) -> Checkpoint:
        if name == str(folder):
            return Checkpoint(name, folder, None, f"another checkpoint is called {folder.name}: rename the folder")
        try:
            return Checkpoint(name, folder, read_info(folder), self._broken.get(name, ""))
        except (CheckpointError, OSError) as error:
            return Checkpoint(name, folder, None, str(error))
