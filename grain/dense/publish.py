"""Write a `photo` checkpoint from trained weights: learned regions over the networks of `photo-names`.

    python -m grain.dense.publish --weights runs/dense/regions.safetensors --trained-on "my own model" --out runs/mine

The graphs are those of the embedded `photo`, which serve any weights. `--graphs export` writes them again and needs the
packages of requirements-photo.txt.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from safetensors.torch import load_file, save_file

from grain.checkpoint import (
    CARD,
    CONFIG,
    EMBEDDED,
    FAMILIAR,
    SCORING,
    WEIGHTS,
    checkpoint_folder,
    model_digest,
    read_config,
    read_info,
)
from grain.command import run_command
from grain.photo.learned import Fusion
from grain.structures import SCHEMA_VERSION

GRAPHS = ("regions.onnx", "adapter.onnx")


@dataclass(frozen=True)
class DensePublishConfig:
    """Write a checkpoint folder from the weights of a training."""

    weights: Path
    """What `python -m grain.dense.train` wrote, or a checkpoint's own table."""
    out: Path
    """The checkpoint's folder, replaced whole."""
    trained_on: str = "a GRAIN with a query a token"
    """What it is and learned from, in words that end a sentence "NAME is …"."""
    name: str = "photo"
    """What people call it."""
    like: Path | None = None
    """A checkpoint whose name, card, fusion and `trained_on` are taken over."""
    base: str = "photo-names"
    """The embedded checkpoint whose networks it stands on."""
    card: Path | None = None
    """A model card (Markdown) to keep with it; without one, a few lines say what it is."""
    fusion: Path | None = None
    """What `python -m grain.dense.calibrate` wrote; without it, phrases decide alone."""
    graphs: Literal["embedded", "export"] = "embedded"
    """Where its graphs come from."""


def main(config: DensePublishConfig) -> None:
    """Write the folder; print its size."""
    weights = {
        name: value.half() if value.ndim > 1 else value.float() for name, value in load_file(config.weights).items()
    }
    base = EMBEDDED / config.base
    parameters = sum(value.numel() for value in weights.values())
    with checkpoint_folder(config.out) as place:
        if config.graphs == "export":
            from grain.dense.graphs import write_region_graphs  # its packages are those of `make photo`

            write_region_graphs(place)
        else:
            for graph in GRAPHS:
                shutil.copyfile(EMBEDDED / "photo" / graph, place / graph)
        shutil.copyfile(base / FAMILIAR, place / FAMILIAR)  # of the networks, which stay as they are
        save_file(weights, place / WEIGHTS)
        known = read_config(config.like) if config.like else {}
        fusion = json.loads(config.fusion.read_text(encoding="utf-8")) if config.fusion else asdict(Fusion())
        facts = {
            "schema_version": SCHEMA_VERSION,
            "kind": "photo",
            "name": known.get("name", config.name),
            "trained_on": known.get("trained_on", config.trained_on),
            "twin": None,
            "parameters": parameters + read_info(base).parameters,
            "base": config.base,
            "base_digest": model_digest(base),
            "fusion": known.get("fusion", fusion),
            **{key: known[key] for key in SCORING if key in known},
        }
        (place / CONFIG).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        card = config.card or (config.like / CARD if config.like else None)
        (place / CARD).write_text(
            card.read_text(encoding="utf-8") if card else _card(config, parameters), encoding="utf-8"
        )
    print(f"wrote {config.out}: {sum(path.stat().st_size for path in config.out.iterdir()) / 1e6:.1f} MB")


def _card(config: DensePublishConfig, parameters: int) -> str:
    return (
        f"# {config.name}\n\nRegions that learned phrases, over the networks of `{config.base}`, with "
        f"{parameters / 1e6:.1f} M parameters of their own. It is {config.trained_on}.\n"
    )


if __name__ == "__main__":
    run_command(main, DensePublishConfig, module="grain.dense.publish")
