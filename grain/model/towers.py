"""Build the two encoders with open_clip: from scratch, from a published tag, or from a file; either can be locked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
HERE = "."  # open_clip reads the tokenizer of a `local-dir:` from that folder, whatever the name
LOCAL_DIR = "local-dir:"  # before a folder in open_clip's names
OPEN_CLIP_SAFE = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")  # read before any pickle there
OPENAI = "openai"  # in the name of a file with OpenAI's weights, or of its folder


class VisionTower(nn.Module):
    """An image encoder that gives all its tokens and CLIP's own image embedding.

    forward: [B, 3, S, S] -> tokens [B, N, width] after the final LayerNorm, pooled [B, E], no unit length. The first
    token is of the whole image: CLS, or what a trunk without one (SigLIP) pools by attention, its image embedding.
    A trunk that has no tokens (a convolutional one) gives N = 0 and can carry the CLIP baseline only.
    """

    def __init__(self, trunk: Any) -> None:
        """trunk: open_clip's `visual`. CLIP's projection is taken out of it and kept as `projection`."""
        super().__init__()
        is_clip = isinstance(trunk, open_clip.transformer.VisionTransformer) and trunk.attn_pool is None
        self._pools_by_attention = _pools_by_attention(trunk)
        self.has_tokens = is_clip or self._pools_by_attention
        self.projection: nn.Parameter | None = None
        if is_clip:
            self.projection, trunk.proj = trunk.proj, None
            trunk.output_tokens = True
        self.trunk: Any = trunk

    @property
    def width(self) -> int:
        """Count the channels of a token."""
        return int(self.trunk.trunk.embed_dim if self._pools_by_attention else self.trunk.ln_post.weight.shape[0])

    @property
    def grid(self) -> tuple[int, int]:
        """Count the rows and columns of patches."""
        trunk = self.trunk.trunk.patch_embed if self._pools_by_attention else self.trunk
        rows, columns = trunk.grid_size
        return int(rows), int(columns)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        if not self.has_tokens:
            pooled = self.trunk(images)
            return pooled.new_zeros(len(pooled), 0, 1), pooled
        rows, columns = self.grid
        with attention_over(rows * columns + 1, images.device):
            if self.projection is None:
                patches = self.trunk.trunk.forward_features(images)
                pooled = self.trunk.trunk.forward_head(patches)
            else:
                pooled, patches = self.trunk(images)
        tokens = torch.cat([pooled.unsqueeze(1), patches], dim=1)
        return tokens, pooled if self.projection is None else pooled @ self.projection.to(pooled.dtype)


def _pools_by_attention(trunk: Any) -> bool:
    """Return whether a trunk is timm's transformer without CLS whose pooled patches are the image embedding: SigLIP."""
    if not isinstance(trunk, open_clip.timm_model.TimmModel) or len(trunk.head):
        return False
    inner = trunk.trunk
    pools = getattr(inner, "attn_pool", None) is not None and hasattr(inner.patch_embed, "grid_size")
    return pools and inner.num_prefix_tokens == 0 and isinstance(inner.head, nn.Identity)


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

    def lengths(self, tokens: Tensor) -> Tensor:
        """Count the tokens of each text that matter, [T]: the rest is padding behind the end of text."""
        if not self.can_trim:
            return tokens.new_full((len(tokens),), tokens.shape[1])
        return tokens.argmax(dim=1) + 1  # the end of text has the largest id

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
        tokenizer = _own_tokenizer(name, published["text_cfg"])
        quick_gelu = needs_quick_gelu(name, weights)
        clip = open_clip.create_model(
            name,
            pretrained=weights,
            force_custom_text=True,
            force_quick_gelu=quick_gelu,
            require_pretrained=has_own_weights or weights is not None,
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise ValueError(
            f"open_clip could not load {name} with {weights or 'its weights'} ({reason}): check the tag or the file;"
            " published weights need the network once"
        ) from error
    config = _config_of(published, clip, quick_gelu=quick_gelu)
    if weights is not None and Path(weights).is_file():
        config = replace(config, **shared_normalization(name))
    if tokenizer:
        clean = {"clean": "whitespace"} | config.text_cfg.get("tokenizer_kwargs", {})  # open_clip's default
        text = {**config.text_cfg, "hf_tokenizer_name": HERE, "tokenizer_kwargs": clean}
        config = replace(config, tokenizer=tokenizer, text_cfg=text)
    state = clip.state_dict()
    state.pop("logit_bias", None)  # of the sigmoid loss: one number added to every score decides nothing here
    return config, to_grain_names(state)


def shared_normalization(name: str) -> dict[str, Any]:
    """Return mean and std of the pixels where all published weights of an architecture share them, else nothing.

    A file of weights does not say them: SigLIP's differ from CLIP's.
    """
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    known = {(tuple(tag["mean"]), tuple(tag["std"])) for tag in tags if "mean" in tag and "std" in tag}
    if len(known) != 1:
        return {}
    [(mean, std)] = known
    return {"mean": mean, "std": std}


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


def _own_tokenizer(name: str, text_cfg: dict[str, Any]) -> str:
    """Return a published model's own tokenizer as JSON, cutting and padding to its context; "" where it has CLIP's.

    Raises: ValueError: a text tower that is not open_clip's own, or a tokenizer used in a way that is not known here.
            OSError: the tokenizer's files are not there, and cannot be fetched.
    """
    if text_cfg.get("hf_model_name"):
        raise ValueError(f"the text tower of {name} is not supported: use a model with open_clip's own")
    if not text_cfg.get("hf_tokenizer_name"):
        return ""
    if set(text_cfg.get("tokenizer_kwargs", {})) - {"clean"} or text_cfg.get("tokenizer_mode"):
        raise ValueError(f"{name} uses its tokenizer in a way that is not supported: choose another model")
    theirs = open_clip.get_tokenizer(name).tokenizer
    tokenizer, context = theirs.backend_tokenizer, int(text_cfg["context_length"])
    tokenizer.enable_truncation(context)
    tokenizer.enable_padding(length=context, pad_id=theirs.pad_token_id, pad_token=theirs.pad_token)
    return str(tokenizer.to_str())


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
