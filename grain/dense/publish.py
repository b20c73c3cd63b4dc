"""Write a `photo` checkpoint from trained weights: learned regions over the networks of `photo-names`.

    python -m grain.dense.publish --weights runs/dense/regions.safetensors --trained-on "my own model" --out runs/mine

The graphs are those of the embedded `photo`, which serve any weights. `--graphs export` writes them again and needs the
packages of requirements-photo.txt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

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
    """A checkpoint whose name, card and `trained_on` are taken over, and its fusion where none is given."""
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
    weights = load_file(config.weights)
    known = read_config(config.like) if config.like else {}
    fusion = json.loads(config.fusion.read_text(encoding="utf-8")) if config.fusion else asdict(Fusion())
    card = config.card or (config.like / CARD if config.like else None)
    facts = {"name": config.name, "trained_on": config.trained_on, "base": config.base, "fusion": fusion}
    kept = ("name", "trained_on", *SCORING, *(() if config.fusion else ("fusion",)))
    facts |= {key: known[key] for key in kept if key in known}
    with checkpoint_folder(config.out) as place:
        if config.graphs == "export":
            from grain.dense.graphs import write_region_graphs  # its packages are those of `make photo`

            write_region_graphs(place)
        write_checkpoint(
            place, weights, facts, card=card.read_text(encoding="utf-8") if card else _card(config, weights)
        )
    print(f"wrote {config.out}: {sum(path.stat().st_size for path in config.out.iterdir()) / 1e6:.1f} MB")


def write_checkpoint(place: Path, weights: Mapping[str, Tensor], facts: Mapping[str, Any], *, card: str) -> None:
    """Write the files of a checkpoint with learned regions; graphs that are not there yet are those of `photo`.

    Args: facts: of config.json; `base` names the embedded checkpoint whose networks it stands on.
    """
    base = EMBEDDED / str(facts["base"])
    for graph in GRAPHS:
        if not (place / graph).exists():
            shutil.copyfile(EMBEDDED / "photo" / graph, place / graph)
    shutil.copyfile(base / FAMILIAR, place / FAMILIAR)  # of the networks, which stay as they are
    save_file(
        {name: value.half() if value.ndim > 1 else value.float() for name, value in weights.items()}, place / WEIGHTS
    )
    own = {
        "schema_version": SCHEMA_VERSION,
        "kind": "photo",
        "twin": None,
        "parameters": sum(value.numel() for value in weights.values()) + read_info(base).parameters,
        "base_digest": model_digest(base),
    }
    (place / CONFIG).write_text(json.dumps(own | dict(facts), indent=1, ensure_ascii=False), encoding="utf-8")
    (place / CARD).write_text(card, encoding="utf-8")


def _card(config: DensePublishConfig, weights: Mapping[str, Tensor]) -> str:
    parameters = sum(value.numel() for value in weights.values())
    return (
        f"# {config.name}\n\nRegions that learned phrases, over the networks of `{config.base}`, with "
        f"{parameters / 1e6:.1f} M parameters of their own. It is {config.trained_on}.\n"
    )


if __name__ == "__main__":
    run_command(main, DensePublishConfig, module="grain.dense.publish")
