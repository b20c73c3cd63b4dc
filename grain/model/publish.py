"""Export a run's checkpoint:  python -m grain.model.publish --run runs/first --out exports/first

Writes the checkpoint (safetensors), its towers as open_clip reads them, and a model card filled from the run. Nothing
leaves this machine unless --push-to asks for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grain.checkpoint import CARD, CONFIG, MANIFEST, METRICS, CheckpointError, checkpoint_folder, read_config, verify
from grain.command import run_command
from grain.config import GrainConfig
from grain.data.tokenizer import tokenizer_of
from grain.model.pretrained import export_open_clip, from_pretrained, push_to_hub
from grain.model.towers import HERE, OPEN_CLIP_SAFE

OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", OPEN_CLIP_SAFE[0]


@dataclass(frozen=True)
class PublishConfig:
    """Export a run's checkpoint, and upload it when asked."""

    run: Path
    """The run's folder."""
    out: Path
    """Folder to write, whole or not at all."""
    which: Literal["best", "final"] = "best"
    """Which of its checkpoints."""
    push_to: str | None = None
    """OWNER/NAME on the Hugging Face hub; private there. Needs the network, and HF_TOKEN or a login."""


def publish(config: PublishConfig) -> Path:
    """Write the folder.

    Raises: CheckpointError: there is no such checkpoint, or it is damaged. DiskFullError: the disk is full.
    """
    checkpoint = config.run / config.which
    facts = read_config(checkpoint)
    verify(checkpoint)
    model, model_config = from_pretrained(checkpoint)
    with checkpoint_folder(config.out) as place:
        for file in sorted(checkpoint.iterdir()):
            if file.is_file() and file.name not in (MANIFEST, CARD):
                shutil.copyfile(file, place / file.name)
        export_open_clip(model, place / OPEN_CLIP_WEIGHTS)
        tokenizer_of(model_config).save(place)
        (place / OPEN_CLIP_CONFIG).write_text(json.dumps(open_clip_config(model_config), indent=1), encoding="utf-8")
        (place / CARD).write_text(card(config, facts, model_config), encoding="utf-8")
    return config.out


def open_clip_config(config: GrainConfig) -> dict[str, Any]:
    """Return the configuration of the towers without our decoder, for open_clip's `local-dir:` and `hf-hub:`."""
    tokenizer = {"hf_tokenizer_name": HERE, "tokenizer_kwargs": {"clean": "lower"}}  # the files beside it
    text = tokenizer | config.text_cfg  # one of its own says how it cleans
    model = {"embed_dim": config.embed_dim, "vision_cfg": config.vision_cfg, "text_cfg": text}
    model |= {"quick_gelu": config.quick_gelu, "custom_text": True}
    seen = {"mean": list(config.mean), "std": list(config.std), "interpolation": "bicubic", "resize_mode": "squash"}
    return {"model_cfg": model, "preprocess_cfg": seen}


def card(config: PublishConfig, facts: Mapping[str, Any], model: GrainConfig) -> str:
    """Write the model card from what the run recorded."""
    settings = _read(config.run / CONFIG)
    metrics = {k: v for k, v in _read(config.run / config.which / METRICS).items() if isinstance(v, int | float)}
    kind = "GRAIN" if model.decoder else "CLIP"
    lines = [
        "---",
        "library_name: grain",
        "license: mit",
        "tags: [clip, open_clip, zero-shot, grounding]",
        "---",
        f"# {facts['name']}",
        "",
        f"A {kind} model with {facts['parameters'] / 1e6:.1f} M parameters, {model.image_size} px.",
        f"Trained on: {facts['trained_on']}",
        "",
        "## Held-out numbers",
        "",
        "Measured by the run itself on pictures of the same source that it did not train on; no other data was tried.",
        "",
        *_table(("metric", "value"), {name: f"{value:.4g}" for name, value in metrics.items()}),
        "",
        "## How it was trained",
        "",
        *_table(("setting", "value"), {name: str(value) for name, value in _plain(settings).items()}),
        "",
        "## Use",
        "",
        "```python",
        "from grain import Predictor",
        "",
        f'predictor = Predictor.from_pretrained("{config.out.name}")',
        "```",
        "",
        *_towers_alone(model),
        "",
        "```python",
        "import open_clip",
        "",
        f'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{config.out.name}")',
        f'tokenizer = open_clip.get_tokenizer("local-dir:{config.out.name}")  # needs transformers',
        "```",
        "",
    ]
    return "\n".join(lines)


def _towers_alone(model: GrainConfig) -> list[str]:
    """Say what open_clip's image embedding of these towers is worth."""
    if model.decoder is None:
        return ["The same with open_clip:"]
    lines = ["The towers alone, without the decoder and so without regions:", ""]
    if model.decoder.add_pooled or model.decoder.queries == "proposals":
        return [
            *lines,
            "Their image embedding is one of two parts of this model's: the decoder's is added to it, and both were "
            "trained as a sum. Alone it is near this model's, but not the same: use Predictor for the numbers above.",
        ]
    return [
        *lines,
        "**Their image embedding was not trained:** this model's image embedding is its decoder's alone, and the "
        "towers' own projection is what it was at the start. Use open_clip for texts and tokens, Predictor for images.",
    ]


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings for people elsewhere: folders by their last name only."""
    flat = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    flat |= {f"losses.{key}": value for key, value in dict(settings.get("losses") or {}).items()}
    folders = {key: Path(str(flat[key])).name for key in ("data", "out", "init") if flat.get(key)}
    return {key: value for key, value in (flat | folders).items() if value is not None}


def _table(heads: tuple[str, str], rows: Mapping[str, str]) -> list[str]:
    body = [f"| {name} | {value.replace('|', ' ')} |" for name, value in rows.items()]
    return [f"| {heads[0]} | {heads[1]} |", "|---|---|", *body]


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file.name} of the run cannot be read: name a run's folder") from error


def main(config: PublishConfig) -> None:
    """Run the command line."""
    folder = publish(config)
    print(f"wrote {folder}")
    if config.push_to:
        print(f"pushed to {push_to_hub(folder, config.push_to)}")


if __name__ == "__main__":
    run_command(main, PublishConfig, module="grain.model.publish", description=__doc__)
