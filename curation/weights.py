"""Where an annotator's weights lie on this machine, and exactly which they are. Nothing is ever downloaded here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError

DIGEST_LETTERS = 12  # of a folder's sha256, in its name


class MissingModelError(ValueError):
    """The weights are not here, or not whole; the message is one sentence with the command that fetches them."""

    def __init__(self, model: str | Path, revision: str = "main") -> None:
        at = "" if revision == "main" else f" --revision {revision}"
        fetch = (
            f"fetch them once with `hf download {model}{at}` where the hub can be reached (with HF_HUB_OFFLINE unset)"
        )
        remedy = "copy the whole folder again" if Path(model).is_dir() else f"{fetch}, or give a folder that holds them"
        super().__init__(f"The weights of {model} are not complete on this machine: {remedy}.")


@dataclass(frozen=True)
class LocalModel:
    """Weights that were found. model, revision: as asked for. folder: where they lie. hub: in the hub's cache."""

    model: str
    revision: str
    folder: Path
    hub: bool

    @property
    def name(self) -> str:
        """`model@revision`: a hub snapshot's commit; of a plain folder its name and a digest of its files."""
        if self.hub:
            return f"{self.model}@{self.folder.name}"
        digest = hashlib.sha256()
        for file in sorted(path for path in self.folder.iterdir() if path.is_file()):
            with file.open("rb") as content:
                digest.update(f"{file.name}\n".encode() + hashlib.file_digest(content, "sha256").digest())
        return f"{self.folder.resolve().name}@{digest.hexdigest()[:DIGEST_LETTERS]}"

    @property
    def kind(self) -> str:
        """The model_type of its config.

        Raises: MissingModelError: there is no config.
        """
        try:
            return str(json.loads((self.folder / "config.json").read_bytes()).get("model_type"))
        except (OSError, ValueError, AttributeError) as error:
            raise MissingModelError(self.model, self.revision) from error

    def load(self, model_class: Any, processor_class: Any, **options: Any) -> tuple[Any, Any]:
        """Model and processor of transformers; what it would make up where a file is missing is refused.

        Args:   model_class, processor_class: with `from_pretrained`. options: of the model's.
        Raises: MissingModelError: a file is missing, damaged, or of another model.
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
            raise MissingModelError(self.model, self.revision) from error
        if loading["missing_keys"] or loading["mismatched_keys"]:
            raise MissingModelError(self.model, self.revision)
        return model, processor


def find_model(model: str | Path, revision: str = "main") -> LocalModel:
    """Look for weights in a folder, or in the hub's cache.

    Args:   model: name on the Hugging Face hub, or a folder. revision: branch, tag or commit (of the hub).
    Raises: MissingModelError: they are not on this machine.
    """
    if Path(model).is_dir():
        return LocalModel(str(model), revision, Path(model), hub=False)
    try:
        folder = snapshot_download(str(model), revision=revision, local_files_only=True)
    except (OSError, HFValidationError) as error:
        raise MissingModelError(model, revision) from error
    return LocalModel(str(model), revision, Path(folder), hub=True)
