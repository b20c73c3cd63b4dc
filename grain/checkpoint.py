"""The folder that a checkpoint is: written whole or not at all, verified before it is believed. Needs no torch."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from grain.structures import SCHEMA_VERSION

CONFIG, WEIGHTS, METRICS = "config.json", "model.safetensors", "metrics.json"
MANIFEST, CARD = "manifest.json", "README.md"
PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
EMBEDDED = Path(__file__).parent / "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one sentence that says why and what to do."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a person should know of a checkpoint. twin: name of the CLIP trained on the same data for the same steps.

    from_proposals: whether its regions start from boxes that must come with each picture.
    """

    name: str
    kind: str
    trained_on: str
    twin: str | None
    can_ground: bool
    grounding_note: str
    parameters: int
    from_proposals: bool = False

    @property
    def origin(self) -> str:
        """Where it comes from, as the end of a sentence that begins with its name."""
        return f"is {self.trained_on}" if self.kind == "photo" else f"was trained on {self.trained_on}"

    def to_json(self) -> dict[str, Any]:
        """What goes along with every answer of the checkpoint."""
        return {
            "name": self.name,
            "trained_on": self.trained_on,
            "can_ground": self.can_ground,
            "grounding_note": self.grounding_note,
        }


def locate(folder: str | Path) -> Path:
    """A checkpoint folder as it was given, or the embedded one of that name (`sample`, `sample-clip`, `photo`)."""
    path = Path(folder)
    return EMBEDDED / path if not path.exists() and (EMBEDDED / path).is_dir() else path


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder, checked for its schema.

    Raises: CheckpointError.
    """
    if not folder.is_dir():
        if folder.suffix in PICKLES:
            raise CheckpointError(f"{folder.name} is a pickle, which can run code: expected a folder with {WEIGHTS}")
        raise CheckpointError(f"{folder.name} is no checkpoint folder: expected a folder with {CONFIG} and {WEIGHTS}")
    if not (folder / WEIGHTS).is_file():
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        got = f"got the pickle {pickles[0]}, which can run code" if pickles else "it is missing"
        raise CheckpointError(f"{folder.name}: expected {WEIGHTS}, {got}: save the weights as safetensors")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}: {CONFIG} cannot be read: copy the checkpoint again") from error
    if not isinstance(config, dict) or config.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(f"{folder.name}: {CONFIG} is not of schema {SCHEMA_VERSION}: save it with this version")
    return config


def read_info(folder: Path) -> CheckpointInfo:
    """What config.json says, without loading weights.

    Raises: CheckpointError.
    """
    config = read_config(folder)
    can_ground = config.get("kind") in ("grain", "photo")
    twin, parameters = config.get("twin"), config.get("parameters", 0)
    model = config.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(twin, str | None) or not isinstance(parameters, int):
        raise CheckpointError(f"{folder.name}: {CONFIG} has a twin or parameters of another kind: save it again")
    return CheckpointInfo(
        name=str(config.get("name", folder.name)),
        kind=str(config.get("kind")),
        trained_on=str(config.get("trained_on", "unknown data")),
        twin=twin,
        can_ground=can_ground,
        grounding_note="" if can_ground else "this checkpoint has no trained decoder",
        parameters=parameters,
        from_proposals=isinstance(decoder, dict) and decoder.get("queries") == "proposals",
    )


def verify(folder: Path) -> None:
    """Compare every file with the sha256 in the folder's manifest.

    Raises: CheckpointError: no manifest, or it does not name the weights; a file is missing, truncated or changed.
    """
    expected = _digests(folder)
    for name in (WEIGHTS, CONFIG):
        if name not in expected and (folder / name).exists():
            raise CheckpointError(f"{folder.name}: {MANIFEST} does not name {name}: copy the checkpoint again")
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            raise CheckpointError(f"{folder.name}: {name} does not match its sha256 in {MANIFEST}: copy it again")


def file_sha256(path: Path) -> str:
    """Hex digest, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Write a folder whole or not at all.

    Yields a temporary folder beside the target; on leaving it gets its sha256 manifest, is flushed to disk and takes
    the target's place. What stood there before stays until then.
    Raises: OSError: disk full and the like, with the old folder intact; one sentence that says what to do.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        digests = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps({"sha256": digests}, indent=1), encoding="utf-8")
        for path in [*temporary.iterdir(), temporary]:
            _flush(path)
        _replace(temporary, target)
    except (OSError, SafetensorError) as error:
        raise _while_writing(target.name, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a temporary path beside the target, whose place it takes on leaving.
    Raises: OSError: as atomic_folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    except (OSError, SafetensorError) as error:
        raise _while_writing(target.name, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def model_digest(folder: Path) -> str:
    """Hex digest of what decides a checkpoint's embeddings: its weights and its configuration, whatever it is called.

    Raises: CheckpointError: no manifest, or no configuration.
    """
    config = {key: value for key, value in read_config(folder).items() if key not in ("name", "trained_on", "twin")}
    weights = {name: digest for name, digest in _digests(folder).items() if not name.endswith((".json", ".md"))}
    return hashlib.sha256(json.dumps([weights, config], sort_keys=True).encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is missing or damaged: copy the checkpoint again") from error


def clean_partial(folder: Path) -> None:
    """Remove what a killed writer left in a folder of checkpoints; bring back a folder caught between two renames."""
    for path in folder.glob(".*.old"):
        target = folder / path.name.removeprefix(".").removesuffix(".old")
        if target.exists():
            shutil.rmtree(path)
        else:
            path.rename(target)
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path)


def _while_writing(name: str, error: OSError | SafetensorError) -> OSError:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT) or f"os error {errno.ENOSPC}" in str(error):  # safetensors has no errno
        return OSError(errno.ENOSPC, f"disk full while writing {name}: free some space and run the same command again")
    return OSError(code or errno.EIO, f"{name} could not be written ({error}): what was there before is unchanged")


def _replace(temporary: Path, target: Path) -> None:
    old = target.parent / f".{target.name}.old"
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    temporary.rename(target)
    _flush(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
