"""Export a checkpoint to ONNX, so that it runs without torch.

`python -m grain.model.onnx_export --checkpoint runs/first/best --out exports/first-onnx`

The folder is a checkpoint like any other, for Predictor and every page, but needs neither torch nor open_clip: two
graphs (pictures with their regions; texts) and a tokenizer.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from grain.boxes import cxcywh_to_xyxy
from grain.checkpoint import (
    CARD,
    CONFIG,
    IMAGE_GRAPH,
    METRICS,
    ONNX,
    TEXT_GRAPH,
    CheckpointError,
    checkpoint_folder,
    locate,
    read_config,
)  # fmt: skip
from grain.command import run_command
from grain.data.tokenizer import tokenizer_of
from grain.model.model import GrainModel
from grain.model.pretrained import from_pretrained

OPSET = 17
OUTPUTS = ("image_embeds", "region_embeds", "boxes_xyxy")
TRACED = 2  # pictures and texts of the pass that is traced; the graphs take any number


@dataclass(frozen=True)
class OnnxExportConfig:
    """Write a checkpoint's graphs."""

    checkpoint: Path
    """Its folder, or the name of an embedded one."""
    out: Path
    """Folder to write, whole or not at all."""


class ImageGraph(nn.Module):
    """images [N, 3, S, S] -> image_embeds [N, E], and of a GRAIN region_embeds [N, Q, E], boxes_xyxy [N, Q, 4]."""

    def __init__(self, model: GrainModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encode images as grain.model.encode does."""
        output = self.model.encode_image(images)
        if self.model.decoder is None:
            return (output.image_embeds,)
        return output.image_embeds, output.region_embeds, cxcywh_to_xyxy(output.boxes_cxcywh[-1]).clamp(0, 1)


class TextGraph(nn.Module):
    """tokens [T, L], L the whole context -> embeds [T, E]."""

    def __init__(self, model: GrainModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed texts."""
        return self.model.encode_text(tokens)


def export_onnx(config: OnnxExportConfig) -> Path:
    """Write the folder.

    Raises: CheckpointError: there is no such checkpoint, or it is damaged or needs proposals.
    """
    checkpoint = locate(config.checkpoint)
    facts = read_config(checkpoint)
    model, model_config = from_pretrained(checkpoint)
    if model.from_proposals:
        raise CheckpointError(f"{checkpoint.name} starts its regions from proposals, which has no ONNX form here")
    size = model_config.image_size
    outputs = OUTPUTS if model.decoder else OUTPUTS[:1]
    tokenizer = tokenizer_of(model_config)
    with checkpoint_folder(config.out) as place:
        _export(ImageGraph(model), torch.zeros(TRACED, 3, size, size), place / IMAGE_GRAPH, names=("images", *outputs))
        tokens = tokenizer(["a", "a b"])
        tokens = nn.functional.pad(tokens, (0, tokenizer.context_length - tokens.shape[1]))
        _export(TextGraph(model), tokens, place / TEXT_GRAPH, names=("tokens", "embeds"))
        tokenizer.save(place)
        known = facts | {"runtime": ONNX, "logit_scale": model.logit_scale.item()}
        (place / CONFIG).write_text(json.dumps(known, indent=1), encoding="utf-8")
        for name in (CARD, METRICS):
            if (checkpoint / name).is_file():
                (place / name).write_bytes((checkpoint / name).read_bytes())
    return config.out


def _export(module: nn.Module, example: Tensor, file: Path, *, names: tuple[str, ...]) -> None:
    """Trace a module. names: of its input, then of its outputs; the first axis of each is free."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operation has no ONNX form
    try:
        _trace(module, example, file, names=names)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _trace(module: nn.Module, example: Tensor, file: Path, *, names: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer's age, and of shapes that are fixed on purpose
        torch.onnx.export(
            module.eval(),
            (example,),
            file,
            input_names=[*names[:1]],
            output_names=[*names[1:]],
            dynamic_axes={name: {0: "n"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )


def main(config: OnnxExportConfig) -> None:
    """Run the command line."""
    print(f"wrote {export_onnx(config)}")


if __name__ == "__main__":
    run_command(main, OnnxExportConfig, module="grain.model.onnx_export", description=__doc__)
