"""Find an annotator's weights on this machine, and name exactly which they are; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError

from user_errors import UserError

CONFIG = "config.json"
MOST_CONFIG_BYTES, MOST_FILES = 2**20, 1_000
DIGEST_LETTERS = 12  # of a folder's sha256, in its name


def missing_weights(model: str | Path, revision: str) -> UserError:
    """Return the error for weights that are not here, or not whole; it names the command that fetches them."""
    at = "" if revision == "main" else f" --revision {revision}"
    fetch = f"fetch them once with `hf download {model}{at}` where the hub can be reached (with HF_HUB_OFFLINE unset)"
    remedy = "copy the whole folder again" if Path(model).is_dir() else f"{fetch}, or give a folder that holds them"
    return UserError(f"The weights of {model} are not complete on this machine: {remedy}.")


@dataclass(frozen=True)
class LocalModel:
    """Weights that were found. model, revision: as asked for. folder: where they lie. hub: in the hub's cache."""

    model: str
    revision: str
    folder: Path
    hub: bool

    @property
    def name(self) -> str:
        """Return `model@revision`: a hub snapshot's commit; of a plain folder its name and a digest of its files."""
        if self.hub:
            return f"{self.model}@{self.folder.name}"
        files = tuple((file, file.stat()) for file in sorted(_files(self.folder)))
        state = tuple((str(file), kept.st_size, kept.st_mtime_ns, kept.st_ino) for file, kept in files)
        return f"{self.folder.resolve().name}@{_digest_of(state)[:DIGEST_LETTERS]}"

    @property
    def kind(self) -> str:
        """Read the model_type of its config.

        Raises: UserError: there is no config.
        """
        try:
            return str(json.loads((self.folder / CONFIG).read_bytes()).get("model_type"))
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise missing_weights(self.model, self.revision) from error

    def load(self, model_class: Any, processor_class: Any, **options: Any) -> tuple[Any, Any]:
        """Load model and processor with transformers, and refuse what it would make up for a missing file.

        Args:   model_class, processor_class: with `from_pretrained`. options: of the model's.
        Raises: UserError: a file is missing, damaged, or of another model.
        """
        try:
            processor = processor_class.from_pretrained(self.folder, local_files_only=True)
            model, loading = model_class.from_pretrained(
                self.folder,
                local_files_only=True,
                use_safetensors=True,  # a pickle can run code
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
                **options,
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise missing_weights(self.model, self.revision) from error
        if loading["missing_keys"] or loading["mismatched_keys"]:
            raise missing_weights(self.model, self.revision)
        return model, processor


def find_model(model: str | Path, revision: str = "main") -> LocalModel:
    """Look for weights in a folder, or in the hub's cache.

    Args:   model: name on the Hugging Face hub, or a folder. revision: branch, tag or commit (of the hub).
    Raises: UserError: they are not on this machine.
    """
    if Path(model).is_dir():
        _check_folder(Path(model))
        return LocalModel(str(model), revision, Path(model), hub=False)
    try:
        folder = snapshot_download(str(model), revision=revision, local_files_only=True)
    except (OSError, HFValidationError) as error:
        raise missing_weights(model, revision) from error
    return LocalModel(str(model), revision, Path(folder), hub=True)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is no model's before anything in it is read.

    Raises: UserError: it has no plain config.json of a sensible size, or far more files than a model.
    """
    config = folder / CONFIG
    if not config.is_file() or config.stat().st_size > MOST_CONFIG_BYTES:
        raise UserError(f"Expected a model's folder with its {CONFIG}, got {folder}: copy the whole folder.")
    if next(islice(folder.iterdir(), MOST_FILES, None), None) is not None:
        raise UserError(
            f"Expected at most {MOST_FILES:,} files in a model's folder, got more in {folder}: give another."
        )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]  # no pipe, no device: reading one may never end


@lru_cache(maxsize=64)
def _digest_of(state: tuple[tuple[str, int, int, int], ...]) -> str:
    """Hash the content of files, once for as long as their size, time and inode stay. state: path first."""
    digest = hashlib.sha256()
    for path, *_ in state:
        with Path(path).open("rb") as content:
            digest.update(f"{Path(path).name}\n".encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
