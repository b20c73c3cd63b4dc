"""Build the two encoders with open_clip: from scratch, from a published tag, or from a file; either can be locked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from safetensors import SafetensorError
from torch import Tensor, nn

from grain.checkpoint import PICKLES, WHOLE_MODELS
from grain.config import GrainConfig
from grain.model.attention import attention_over

OPEN_CLIP_TO_GRAIN = {
    "visual.proj": "vision.projection",
    "visual.": "vision.trunk.",
    "text.": "text.trunk.",
    "logit_scale": "logit_scale",
}
LOCAL_DIR = "local-dir:"  # before a folder in open_clip's names
OPEN_CLIP_SAFE = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")  # read before any pickle there
OPENAI = "openai"  # in the name of a file with OpenAI's weights, or of its folder


class VisionTower(nn.Module):
    """An image encoder that gives all its tokens and CLIP's own image embedding.

    forward: [B, 3, S, S] -> tokens [B, N, width] after the final LayerNorm (CLS first), pooled [B, E], no unit length.
    A trunk that has no tokens (a convolutional one) gives N = 0 and can carry the CLIP baseline only.
    """

    def __init__(self, trunk: Any) -> None:
        """trunk: open_clip's `visual`. CLIP's projection is taken out of it and kept as `projection`."""
        super().__init__()
        self.has_tokens = isinstance(trunk, open_clip.transformer.VisionTransformer) and trunk.attn_pool is None
        self.projection: nn.Parameter | None = None
        if self.has_tokens:
            self.projection, trunk.proj = trunk.proj, None
            trunk.output_tokens = True
        self.trunk: Any = trunk

    @property
    def width(self) -> int:
        """Count the channels of a token."""
        return int(self.trunk.ln_post.weight.shape[0])

    @property
    def grid(self) -> tuple[int, int]:
        """Count the rows and columns of patches."""
        rows, columns = self.trunk.grid_size
        return int(rows), int(columns)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        if self.projection is None:
            pooled = self.trunk(images)
            return pooled.new_zeros(len(pooled), 0, 1), pooled
        rows, columns = self.grid
        with attention_over(rows * columns + 1, images.device):
            pooled, patches = self.trunk(images)
        tokens = torch.cat([pooled.unsqueeze(1), patches], dim=1)
        return tokens, pooled @ self.projection.to(pooled.dtype)


class TextTower(nn.Module):
    """open_clip's text transformer on texts trimmed to any length.

    forward: [T, L] token ids, L up to the context -> [T, E], no unit length. Under causal attention with pooling at the
    end of text, trimmed and padded texts give the same embedding; a trunk of another kind gets the padded text.
    """

    def __init__(self, trunk: Any) -> None:
        """trunk: open_clip's `text`."""
        super().__init__()
        self.trunk: Any = trunk
        self.can_trim = (
            isinstance(trunk, open_clip.transformer.TextTransformer)
            and trunk.attn_mask is not None
            and trunk.cls_emb is None
            and trunk.pool_type == "argmax"
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        trunk = self.trunk
        length = tokens.shape[1]
        if len(tokens) == 0:  # attention refuses an empty batch
            nothing: Tensor = self(tokens.new_zeros(1, length))[:0]
            return nothing
        if not self.can_trim or length == trunk.context_length:
            padded = nn.functional.pad(tokens, (0, trunk.context_length - length), value=getattr(trunk, "pad_id", 0))
            padded_embeds: Tensor = trunk(padded)
            return padded_embeds
        # as open_clip's own forward, but that hands its whole causal mask to a shorter text, which torch refuses
        hidden = trunk.token_embedding(tokens) + trunk.positional_embedding[:length]
        with attention_over(length, tokens.device):
            hidden = trunk.transformer(hidden, attn_mask=trunk.attn_mask[:length, :length])
        rows = torch.arange(len(tokens), device=tokens.device)
        ends: Tensor = trunk.ln_final(hidden[rows, tokens.argmax(dim=-1)])  # [T, width]
        if trunk.text_projection is None:
            return ends
        linear = isinstance(trunk.text_projection, nn.Linear)
        embeds: Tensor = trunk.text_projection(ends) if linear else ends @ trunk.text_projection.to(ends.dtype)
        return embeds


def build_towers(config: GrainConfig) -> tuple[VisionTower, TextTower]:
    """Build both towers with random weights.

    Raises: ValueError: a text tower that is not open_clip's own.
    """
    if config.text_cfg.get("hf_model_name"):
        raise ValueError(f"the text tower {config.text_cfg['hf_model_name']} is not supported: use open_clip's own")
    vision_cfg = {**config.vision_cfg, "timm_model_pretrained": False}  # a configuration must not start a download
    clip = CustomTextCLIP(
        config.embed_dim,
        CLIPVisionCfg(**vision_cfg),
        CLIPTextCfg(**config.text_cfg),
        quick_gelu=config.quick_gelu,
    )
    return VisionTower(clip.visual), TextTower(clip.text)


def open_clip_towers(name: str, weights: str | None) -> tuple[GrainConfig, dict[str, Tensor]]:
    """Read a published open_clip model.

    Args:    name: an open_clip architecture (`ViT-B-16`), `hf-hub:owner/model`, or `local-dir:FOLDER`.
             weights: a tag, a .safetensors file, or None.
    Returns: its configuration without a decoder, and its weights under this project's names.
    Raises:  ValueError: no such architecture or weights, or the file or the folder's weights are not safetensors.
    """
    if weights is not None:
        _check_file(Path(weights))
    if name.startswith(LOCAL_DIR):
        _check_folder(Path(name.removeprefix(LOCAL_DIR)))
    has_own_weights = name.startswith(WHOLE_MODELS)
    if not has_own_weights and name not in open_clip.list_models():
        raise ValueError(f"open_clip has no architecture {name!r}: see open_clip.list_models()")
    try:
        published = open_clip.get_model_config(name)
        _check_tokenizer(name, published["text_cfg"])
        quick_gelu = needs_quick_gelu(name, weights)
        clip = open_clip.create_model(
            name,
            pretrained=weights,
            force_custom_text=True,
            force_quick_gelu=quick_gelu,
            require_pretrained=has_own_weights or weights is not None,
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).split(". ")[0][:200]
        raise ValueError(
            f"open_clip could not load {name} with {weights or 'its weights'} ({reason}): check the tag or the file;"
            " published weights need the network once"
        ) from error
    return _config_of(published, clip, quick_gelu=quick_gelu), to_grain_names(clip.state_dict())


def needs_quick_gelu(name: str, weights: str | None) -> bool:
    """Return whether a model was trained with the quick GELU: OpenAI's tags were, unlike their architectures.

    A file does not say so: one whose name, or whose folder's, holds `openai` is taken for OpenAI's.
    """
    of_tag = open_clip.get_pretrained_cfg(name, weights) if weights else {}
    of_file = (
        bool(weights) and OPENAI in "/".join(Path(str(weights)).parts[-2:]).lower() and Path(str(weights)).is_file()
    )
    return of_file or bool(open_clip.get_model_config(name).get("quick_gelu") or of_tag.get("quick_gelu"))


def _check_file(path: Path) -> None:
    if path.suffix == ".safetensors" and not path.is_file():
        raise ValueError(f"no file {path}: expected open_clip weights as .safetensors")
    if path.suffix in PICKLES or (path.is_file() and path.suffix != ".safetensors"):
        raise ValueError(f"{path.name} can be a pickle, which can run code: convert it to .safetensors first")


def has_safe_weights(folder: Path) -> bool:
    """Return whether open_clip reads safetensors of a folder, and no pickle beside them."""
    return any((folder / name).is_file() for name in OPEN_CLIP_SAFE)


def _check_folder(folder: Path) -> None:
    if not has_safe_weights(folder):
        raise ValueError(
            f"{folder}: expected {' or '.join(OPEN_CLIP_SAFE)}, got neither, and other weights can be a pickle, which "
            "can run code: convert them to .safetensors first"
        )


def _check_tokenizer(name: str, text_cfg: dict[str, Any]) -> None:
    if text_cfg.get("hf_tokenizer_name") or text_cfg.get("hf_model_name"):
        raise ValueError(f"{name} needs a tokenizer of its own: only models with CLIP's BPE vocabulary are supported")


def to_grain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename open_clip's parameters (CustomTextCLIP) to ours."""
    return {_renamed(key, OPEN_CLIP_TO_GRAIN) or key: value for key, value in state.items()}


def to_open_clip_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our parameters to open_clip's; the decoder's are left out."""
    names = {ours: theirs for theirs, ours in OPEN_CLIP_TO_GRAIN.items()}
    return {name: value for key, value in state.items() if (name := _renamed(key, names))}


def _renamed(key: str, names: Mapping[str, str]) -> str | None:
    """Return a parameter's other name; a name that ends with a dot renames all that begins with it."""
    found = (old for old in names if key == old or (old.endswith(".") and key.startswith(old)))
    old = next(found, None)
    return None if old is None else names[old] + key.removeprefix(old)


def _config_of(published: dict[str, Any], clip: Any, *, quick_gelu: bool) -> GrainConfig:
    preprocess = clip.visual.preprocess_cfg
    return GrainConfig(
        embed_dim=published["embed_dim"],
        vision_cfg=published["vision_cfg"],
        text_cfg=published["text_cfg"],
        decoder=None,
        quick_gelu=quick_gelu,
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
    )
