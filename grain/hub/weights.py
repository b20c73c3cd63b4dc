"""Find a published model's weights on this machine, and name exactly which they are; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError

from user_errors import UserError

CONFIG = "config.json"
MOST_CONFIG_BYTES, MOST_FILES = 2**20, 1_000
READ = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")  # never a pickle
SPREAD = "auto"  # a device_map of accelerate: layers on all GPUs, and what does not fit there in memory
DIGEST_LETTERS = 12  # of a folder's sha256, in its name
READ_AT_ONCE_BYTES = 2**28  # what is hashed within a second or so
MOST_DIGESTS = 64  # of folders, kept

FilesState = tuple[tuple[str, int, int, int], ...]  # of each file: path, size, time in ns, inode


class WeightsUnreadError(UserError):
    """Weights are being read for the first time, in the background: ask again in some seconds."""


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
        """Return `model@revision`: a hub snapshot's commit; of a plain folder its name and a digest of its files.

        Raises: UserError: a file cannot be read.
        """
        if self.hub:
            return f"{self.model}@{self.folder.name}"
        try:
            digest = _digests.get(_state_of(self.folder))
        except OSError as error:
            raise missing_weights(self.model, self.revision) from error
        return f"{self.folder.resolve().name}@{digest[:DIGEST_LETTERS]}"

    @property
    def kind(self) -> str:
        """Read the model_type of its config.

        Raises: UserError: there is no config.
        """
        try:
            return str(json.loads((self.folder / CONFIG).read_bytes()).get("model_type"))
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise missing_weights(self.model, self.revision) from error

    def load_processor(self, processor_class: Any) -> Any:
        """Load the processor with transformers. processor_class: with `from_pretrained`.

        Raises: UserError: a file is missing or damaged, or a package that only this processor needs.
        """
        try:
            return processor_class.from_pretrained(self.folder, local_files_only=True)
        except ImportError as error:
            words = " ".join(str(error).split())[:200]
            raise UserError(f"The processor of {self.model} needs a package that is not installed: {words}") from error
        except (OSError, ValueError) as error:
            raise missing_weights(self.model, self.revision) from error

    def load(self, model_class: Any, processor_class: Any, **options: Any) -> tuple[Any, Any]:
        """Load model and processor with transformers, and refuse what it would make up for a missing file.

        Args:   model_class, processor_class: with `from_pretrained`. options: of the model's.
        Raises: UserError: a file is missing, damaged, or of another model, or its layers cannot be spread as asked.
        """
        processor = self.load_processor(processor_class)
        try:
            model, loading = model_class.from_pretrained(
                self.folder,
                local_files_only=True,
                use_safetensors=True,  # a pickle can run code
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
                **options,
            )
        except (ImportError, OSError, ValueError, SafetensorError) as error:
            if options.get("device_map") == SPREAD and isinstance(error, ImportError | ValueError):
                words = " ".join(str(error).split())[:200]
                raise UserError(
                    f"{self.model} cannot be spread over devices (device_map {SPREAD}): {words} Choose one device, a "
                    "smaller model, or fewer bits."
                ) from error
            raise missing_weights(self.model, self.revision) from error
        if loading["missing_keys"] or loading["mismatched_keys"]:
            raise missing_weights(self.model, self.revision)
        return model, processor


def find_model(model: str | Path, revision: str = "main", *, files: Sequence[str] = READ) -> LocalModel:
    """Look for weights in a folder, or in the hub's cache.

    Args:   model: name on the Hugging Face hub, or a folder. revision: branch, tag or commit (of the hub).
            files: patterns of those that must be here; whatever else the hub has need not.
    Raises: UserError: they are not on this machine.
    """
    if Path(model).is_dir():
        _check_folder(Path(model))
        return LocalModel(str(model), revision, Path(model), hub=False)
    try:
        folder = snapshot_download(str(model), revision=revision, local_files_only=True, allow_patterns=list(files))
    except (OSError, HFValidationError) as error:
        raise missing_weights(model, revision) from error
    return LocalModel(str(model), revision, Path(folder), hub=True)


def check_weights_read(model: str | Path) -> None:
    """Check that a model can be named at once: a page asks first, and so never waits for gigabytes to be hashed.

    Raises: WeightsUnreadError: they are read in the background from now on. UserError: the folder is no model's.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    _check_folder(folder)
    state = _state_of(folder)
    size = sum(kept for _, kept, *_ in state)
    if size > READ_AT_ONCE_BYTES and not _digests.is_known(state):
        raise WeightsUnreadError(
            f"The weights in {folder.name} ({size / 1e9:.1f} GB) are being read for the first time: the plan follows "
            "as soon as that is done."
        )


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


def _state_of(folder: Path) -> FilesState:
    """Return what changes when a folder's content does."""
    files = ((file, file.stat()) for file in sorted(_files(folder)))
    return tuple((str(file), kept.st_size, kept.st_mtime_ns, kept.st_ino) for file, kept in files)


class Digests:
    """The digests of folders, each read once for as long as size, time and inode of its files stay.

    Nothing is read under a lock: a request for a folder that is known waits for nobody.
    """

    def __init__(self) -> None:
        """Start with none known."""
        self._lock = threading.Lock()
        self._known: dict[FilesState, str] = {}
        self._being_read: FilesState | None = None
        self._unreadable: set[FilesState] = set()

    def get(self, state: FilesState) -> str:
        """Return a folder's digest, reading its files if nobody has.

        Raises: OSError: one cannot be read.
        """
        with self._lock:
            if state in self._known:
                return self._known[state]
        digest = hashlib.sha256()
        for path, *_ in state:
            with Path(path).open("rb") as content:
                digest.update(f"{Path(path).name}\n".encode() + hashlib.file_digest(content, "sha256").digest())
        with self._lock:
            while len(self._known) >= MOST_DIGESTS:
                del self._known[next(iter(self._known))]
            self._known[state] = digest.hexdigest()
            return self._known[state]

    def is_known(self, state: FilesState) -> bool:
        """Return whether `get` answers at once; if not, see that the files are read in the background.

        One folder is read at a time: one that is still being copied is another one at every look.
        """
        with self._lock:
            if state in self._known:
                return True
            if state in self._unreadable:  # `get` tells why
                self._unreadable.remove(state)
                return True
            if self._being_read is None:
                self._being_read = state
                threading.Thread(target=self._read, args=(state,), name="weights", daemon=True).start()
            return False

    def _read(self, state: FilesState) -> None:
        try:
            self.get(state)
        except OSError:
            with self._lock:
                self._unreadable.add(state)
        finally:
            with self._lock:
                self._being_read = None


_digests = Digests()
