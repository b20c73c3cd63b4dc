"""Make a checkpoint of a published model: OWLv2 or OWL-ViT, or a CLIP as open_clip publishes it.

`python -m grain.hub.import_model owlv2 --out FOLDER` takes weights that are on this machine; `--fetch` downloads
them first, through the hub's own library, which resumes an interrupted download and checks what it got.
"""

from __future__ import annotations

import io
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from tqdm.auto import tqdm

from grain.checkpoint import CARD, CONFIG, WEIGHTS, checkpoint_folder
from grain.command import run_command
from grain.hub.owl import OWL_FAMILIES, load_owl
from grain.hub.published_models import DEFAULT_REVISION, OFFLINE, PUBLISHED_MODELS, ImportModelConfig, is_offline
from grain.hub.weights import LocalModel, find_model
from grain.model.pretrained import ModelCard, from_open_clip, save_pretrained
from grain.model.publish import OPEN_CLIP_CONFIG
from grain.model.towers import OPEN_CLIP_SAFE, has_safe_weights
from grain.structures import SCHEMA_VERSION
from job_progress import report_progress
from user_errors import UserError

OPEN_CLIP_FILES = (OPEN_CLIP_CONFIG, *OPEN_CLIP_SAFE)
TEXT_FILES = (".json", ".txt")
PROCESSOR_FILES = (
    *("preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
)


def import_model(config: ImportModelConfig) -> None:
    """Write the checkpoint, whole or not at all.

    Raises: UserError: the weights are not here, or cannot be fetched; or the model is of another kind.
    """
    known = PUBLISHED_MODELS.get(config.model)
    model = known.repository if known else config.model
    revision = config.revision or (known.revision if known else DEFAULT_REVISION)
    found = fetch(model, revision) if config.fetch and not Path(model).is_dir() else _find(model, revision)
    trained_on = f"whatever {found.name if found.hub else found.folder.name} was trained on"
    if (found.folder / OPEN_CLIP_CONFIG).is_file():
        _save_clip(found, config.out, trained_on=trained_on)
    elif found.kind in OWL_FAMILIES:
        _save_owl(found, config.out, trained_on=trained_on)
    else:
        raise UserError(
            f"Expected a model of {' or '.join(OWL_FAMILIES)}, or one with {OPEN_CLIP_CONFIG}, got {model} of "
            f"{found.kind[:40]}: choose one of {', '.join(PUBLISHED_MODELS)}, or another of these kinds."
        )


def _find(model: str, revision: str) -> LocalModel:
    """Look for a model that is here; of open_clip's, its other copies need not be."""
    with suppress(UserError):
        return find_model(model, revision)
    return find_model(model, revision, files=OPEN_CLIP_FILES)


def fetch(model: str, revision: str) -> LocalModel:
    """Download what a checkpoint is made of into the hub's cache, never a pickle, and report how far it is.

    Raises: UserError: the hub cannot be reached, or has no such model with safetensors.
    """
    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True)
        files = _needed({file.rfilename: file.size or 0 for file in info.siblings or ()})
    except (OSError, HFValidationError, HfHubHTTPError) as error:
        raise _unreachable(model, error) from error
    if not any(name.endswith(".safetensors") for name in files):
        raise _only_pickles(model)
    licence = getattr(info.card_data, "license", None) or "no licence that its card names"
    size = sum(files.values())
    print(f"{model}: {size / 1e6:,.0f} MB, {licence}", flush=True)
    try:
        folder = snapshot_download(model, revision=revision, allow_patterns=list(files), tqdm_class=_bar(model, size))
    except (OSError, HfHubHTTPError) as error:
        raise _unreachable(model, error) from error
    return LocalModel(model, revision, Path(folder), hub=True)


def _needed(sizes: dict[str, int]) -> dict[str, int]:
    """Choose among a model's files (name -> bytes): of an open_clip model only what open_clip reads."""
    texts = {name: size for name, size in sizes.items() if name.endswith(TEXT_FILES) and "/" not in name}
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors") and "/" not in name}
    if OPEN_CLIP_CONFIG in texts:
        weights = {name: size for name, size in weights.items() if name in OPEN_CLIP_SAFE}
    return texts | weights


def _only_pickles(model: str) -> UserError:
    return UserError(f"{model} has no weights as .safetensors, and a pickle can run code: choose another model.")


def _unreachable(model: str, error: Exception) -> UserError:
    if is_offline():
        return UserError(f"{model} cannot be fetched while {OFFLINE} is set: unset it, and start the app again.")
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{model} cannot be fetched from the hub: {reason}. Try again when it can be reached.")


def _bar(model: str, size: int) -> Any:
    """Return a progress bar that tells the job how many bytes have come, and draws nothing."""
    come = 0

    class ReportingBar(tqdm):  # type: ignore[misc] # it has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> Any:
            nonlocal come
            if self.unit == "B":
                come += int(n or 0)
                report_progress(min(come, size), size, f"fetching {model}")
            return super().update(n)

    return ReportingBar


def _save_clip(found: LocalModel, out: Path, *, trained_on: str) -> None:
    """Write a CLIP of open_clip, which would read a pickle where no safe file of its own is there.

    Raises: UserError: there is none, or its configuration is none of open_clip's.
    """
    if not has_safe_weights(found.folder):
        raise _only_pickles(found.model)
    try:
        clip, config = from_open_clip(f"local-dir:{found.folder}", None)
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{found.model}: {OPEN_CLIP_CONFIG} cannot be read: copy the whole model again.") from error
    save_pretrained(clip, config, out, card=ModelCard(out.name, trained_on))


def _save_owl(found: LocalModel, out: Path, *, trained_on: str) -> None:
    model, _ = load_owl(found)  # refuses what is not whole
    facts = {
        "schema_version": SCHEMA_VERSION,
        "kind": found.kind,
        "name": out.name,
        "trained_on": trained_on,
        "twin": None,
        "parameters": sum(each.numel() for each in model.parameters()),
        "model": model.config.to_dict(),
    }
    with checkpoint_folder(out) as place:
        shutil.copyfile(_weights(found.folder), place / WEIGHTS)
        for name in PROCESSOR_FILES:
            if (found.folder / name).is_file():
                shutil.copyfile(found.folder / name, place / name)
        (place / CONFIG).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        (place / CARD).write_text(_card(out.name, trained_on), encoding="utf-8")


def _weights(folder: Path) -> Path:
    """Return the one file of weights.

    Raises: UserError: there are several, or none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise UserError(f"Expected one .safetensors in {folder.name}, got {len(files)}: choose a model in one file.")
    return files[0]


def _card(name: str, trained_on: str) -> str:
    return f"""# {name}

An open-vocabulary detector as a checkpoint. Trained on: {trained_on}; its licence is that model's.
Its scores are the detector's own, moved so that 0.3 is a confidence of one half; they are not calibrated.
"""


def main(config: ImportModelConfig) -> None:
    """Run the command line."""
    import_model(config)
    report_progress(1, 1, f"{config.out.name} is ready")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    run_command(main, ImportModelConfig, module="grain.hub.import_model")
