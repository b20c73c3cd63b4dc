"""Save and load checkpoint folders, import open_clip weights, and upload to the hub.

`python -m grain.model.pretrained --open-clip ViT-B-16 --weights FILE --out FOLDER` makes a checkpoint of any open_clip
model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from torch import Tensor

from grain.checkpoint import (
    CARD,
    CONFIG,
    COSINE_KINDS,
    METRICS,
    ONNX,
    TOKENIZER,
    UNFAMILIAR,
    WEIGHTS,
    CheckpointError,
    checkpoint_folder,
    read_config,
    read_info,
    verify,
)
from grain.command import run_command
from grain.config import DecoderConfig, GrainConfig
from grain.data.tokenizer import OwnTokenizer, tokenizer_of
from grain.model.model import GrainModel
from grain.model.towers import LOCAL_DIR, open_clip_towers, to_open_clip_names
from grain.structures import REGION_RULES, SCHEMA_VERSION, RegionRule


@dataclass(frozen=True)
class ModelCard:
    """The facts that a checkpoint states of itself.

    trained_on: one honest sentence. made_by: the command that makes it again. region_rule: how its regions score a
    class.
    """

    name: str
    trained_on: str
    twin: str | None = None
    made_by: str = ""
    region_rule: RegionRule = "best_region"


def save_pretrained(
    model: GrainModel,
    config: GrainConfig,
    folder: Path,
    *,
    card: ModelCard,
    metrics: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint folder, whole or not at all; dtype is how the weights are stored."""
    state = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with checkpoint_folder(folder) as place:
        save_file(state, place / WEIGHTS)
        if config.tokenizer:
            tokenizer_of(config).save(place)
        facts = {
            "schema_version": SCHEMA_VERSION,
            "kind": config.kind,
            "name": card.name,
            "trained_on": card.trained_on,
            "twin": card.twin,
            "parameters": parameters,
            "region_rule": card.region_rule,
            "model": config.to_json(),
        }
        (place / CONFIG).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        (place / CARD).write_text(_card_text(config, card, parameters=parameters, metrics=metrics), encoding="utf-8")
        if metrics is not None:
            (place / METRICS).write_text(json.dumps(metrics, indent=1), encoding="utf-8")


def from_pretrained(folder: Path) -> tuple[GrainModel, GrainConfig]:
    """Read and verify a checkpoint folder; weights come back as float32, the model in eval mode.

    Raises: CheckpointError: not a checkpoint of a GRAIN or a CLIP with its weights, damaged, a pickle, or weights that
            do not fit the configuration.
    """
    facts, info = read_config(folder), read_info(folder)
    if info.kind not in COSINE_KINDS or info.runtime == ONNX:
        got = f"one of kind {info.kind[:40]}" if info.kind not in COSINE_KINDS else "its export to ONNX"
        raise CheckpointError(f"{folder.name}: expected a checkpoint of a GRAIN or CLIP, got {got}: choose another")
    verify(folder)
    try:
        config = GrainConfig.from_json(facts["model"])
        if config.text_cfg.get("hf_tokenizer_name"):
            config = replace(config, tokenizer=(folder / TOKENIZER).read_text(encoding="utf-8"))
            OwnTokenizer(config)
        model = GrainModel(config)
        model.load_state_dict({key: value.float() for key, value in load_file(folder / WEIGHTS).items()})
    except Exception as error:  # whatever a foreign configuration makes the towers raise, the checkpoint cannot be used
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder.name}: weights and configuration do not fit: {reason}") from error
    return model.eval(), config


def from_open_clip(
    name: str, weights: str | None, decoder: DecoderConfig | None = None
) -> tuple[GrainModel, GrainConfig]:
    """Load a published open_clip model as the towers; a decoder, if configured, is untrained.

    Args:   name, weights: see open_clip_towers.
    Raises: ValueError: no such model, or a pickle.
    """
    clip_config, state = open_clip_towers(name, weights)
    config = GrainConfig(**{**vars(clip_config), "decoder": decoder})
    model = GrainModel(config)
    load_towers(model, state)
    return model, config


def load_towers(model: GrainModel, state: Mapping[str, Tensor]) -> None:
    """Fill the towers (and the scale) from weights under our names; the decoder keeps what it has.

    Raises: ValueError: a tower's weight is missing or one is left over.
    """
    missing, unexpected = model.load_state_dict(dict(state), strict=False)
    lost = [key for key in missing if key.startswith(("vision.", "text."))]
    if lost or unexpected:
        raise ValueError(f"the weights do not fit these towers: missing {lost[:3]}, left over {unexpected[:3]}")


def export_open_clip(model: GrainModel, path: Path) -> None:
    """Save the towers as open_clip names them (CustomTextCLIP), as one .safetensors file."""
    save_file({key: value.contiguous() for key, value in to_open_clip_names(model.state_dict()).items()}, path)


def state_sha256(model: GrainModel) -> str:
    """Return the hex digest of a model's weights, wherever they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def push_to_hub(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload a checkpoint folder to the Hugging Face hub; returns its address. Needs a login and the network."""
    verify(folder)
    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=repo_id, folder_path=folder))


def _card_text(config: GrainConfig, card: ModelCard, *, parameters: int, metrics: Mapping[str, Any] | None) -> str:
    rows = [f"| {key} | {value:.4g} |" for key, value in (metrics or {}).items() if isinstance(value, int | float)]
    table = ["", "| metric | value |", "|---|---|", *rows] if rows else []
    kind = "GRAIN" if config.decoder else "CLIP"
    lines = [
        "---",
        "library_name: grain",
        "license: mit",
        "tags: [clip, zero-shot, grounding]",
        "---",
        f"# {card.name}",
        "",
        f"A {kind} model with {parameters / 1e6:.1f} M parameters, {config.image_size} px.",
        f"Trained on: {card.trained_on}",
        *(["", f"Regions score a class by the {REGION_RULES[card.region_rule]}."] if config.decoder else []),
        *(["", f"Made by: `{card.made_by}`"] if card.made_by else []),
        "",
        UNFAMILIAR,
        *table,
        "",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class ImportConfig:
    """Make a checkpoint of open_clip weights: its CLIP scores work at once, its decoder is still to be trained."""

    open_clip: str
    """An open_clip architecture (ViT-B-16), hf-hub:owner/model, or local-dir:FOLDER."""
    out: Path
    """Folder to write; put it under $GRAIN_HOME/checkpoints to see it in the app."""
    weights: str | None = None
    """A published tag or a .safetensors file; not needed with hf-hub."""


def main(config: ImportConfig) -> None:
    """Run the command line."""
    model, model_config = from_open_clip(config.open_clip, config.weights)
    name = Path(config.open_clip).name if config.open_clip.startswith(LOCAL_DIR) else config.open_clip
    origin = f"open_clip {name} ({Path(config.weights).name if config.weights else 'as published'})"
    save_pretrained(
        model, model_config, config.out, card=ModelCard(config.out.name, f"whatever {origin} was trained on")
    )
    print(f"wrote {config.out}")


if __name__ == "__main__":
    run_command(main, ImportConfig, module="grain.model.pretrained")
