"""Vision-language models of every local describer's family with random weights, as folders like those of the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from benchmarks.random_llava import LINES, SPECIALS, speak_only, tokenizer_for, write_random_llava

TILE, PATCH = 28, 14  # pixels of a tile and of a patch of towers with tiles
GRIDS = [[TILE * down, TILE * across] for down, across in ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1))]
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8192,
    "initializer_range": 0.2,  # ten times the usual: random pictures then change random answers
}
TOWER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48}
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>")
IDEFICS_TOKENS = ("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
ROWS = tuple(f"<row_{down}_col_{across}>" for down in range(1, 7) for across in range(1, 7))
CHAT = (  # the words of Qwen's; {picture} stands for what a picture is
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{picture}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDEFICS_CHAT = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _llava(folder: Path, lines: tuple[str, ...]) -> Path:
    return write_random_llava(
        folder, tile=TILE, width=32, layers=2, vision_width=32, vision_layers=2, head_width=16, seed=0, lines=lines
    )


def _llava_onevision(folder: Path, lines: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    tokenizer = tokenizer_for(("<image>", "<video>", *QWEN_TOKENS), lines)
    images: dict[str, Any] = {"size": {"height": TILE, "width": TILE}}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(**images, image_grid_pinpoints=GRIDS),
        tokenizer,
        LlavaOnevisionVideoProcessor(**images),
        num_image_tokens=(TILE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=CHAT.replace("{picture}", "<image>\n"),
    )
    vision: dict[str, Any] = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": TILE,
        "patch_size": PATCH,
        "vision_use_head": False,
    }
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config={"model_type": "qwen2", **_text(tokenizer)},
        image_token_index=_id(tokenizer, "<image>"),
        video_token_index=_id(tokenizer, "<video>"),
        image_grid_pinpoints=GRIDS,
    )
    return _write(folder, LlavaOnevisionForConditionalGeneration(config), processor, lines)


def _qwen25(folder: Path, lines: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    tokenizer = tokenizer_for(QWEN_TOKENS, lines)
    sides: dict[str, Any] = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64}}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**sides), tokenizer, Qwen2VLVideoProcessor(**sides), chat_template=_qwen_chat()
    )
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
    }
    config = Qwen2_5_VLConfig(
        vision_config=vision | {"fullatt_block_indexes": [1]},
        text_config=_text(tokenizer) | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        **_qwen_ids(tokenizer),
    )
    return _write(folder, Qwen2_5_VLForConditionalGeneration(config), processor, lines)


def _qwen3(folder: Path, lines: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    tokenizer = tokenizer_for(QWEN_TOKENS, lines)
    sides: dict[str, Any] = {"size": {"shortest_edge": 64 * 64, "longest_edge": 32 * 32 * 64}, "patch_size": 16}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**sides, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        tokenizer,
        Qwen3VLVideoProcessor(**sides),
        chat_template=_qwen_chat(),
    )
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
    }
    rope: dict[str, Any] = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        vision_config=vision | {"deepstack_visual_indexes": [0], "num_position_embeddings": 64},
        text_config=_text(tokenizer) | {"head_dim": 16, "rope_parameters": rope},
        **_qwen_ids(tokenizer),
    )
    return _write(folder, Qwen3VLForConditionalGeneration(config), processor, lines)


def _idefics3(folder: Path, lines: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    tokenizer = tokenizer_for((*IDEFICS_TOKENS, *ROWS, "<|im_start|>"), lines)
    images = Idefics3ImageProcessor(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=1, chat_template=IDEFICS_CHAT)
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    padding: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id}
    config = Idefics3Config(
        vision_config=vision | {"image_size": TILE, "patch_size": PATCH},
        text_config={"model_type": "llama", **_text(tokenizer)},
        image_token_id=_id(tokenizer, "<image>"),
        scale_factor=2,
        **padding,
    )
    return _write(folder, Idefics3ForConditionalGeneration(config), processor, lines)


RANDOM_VLMS: Mapping[str, Callable[[Path, tuple[str, ...]], Path]] = {
    "llava": _llava,
    "llava-onevision": _llava_onevision,
    "qwen2.5-vl": _qwen25,
    "qwen3-vl": _qwen3,
    "smolvlm": _idefics3,
}
"""By the describer's kind."""


def write_random_vlm(kind: str, folder: Path, lines: tuple[str, ...] = LINES) -> Path:
    """Write a model of a describer's kind that says only these lines, each a token: which ones is random."""
    return RANDOM_VLMS[kind](folder, lines)


def _text(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {"vocab_size": len(tokenizer), **ids, **TEXT}


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {name: _id(tokenizer, token) for name, token in names.items()}


def _qwen_chat() -> str:
    return CHAT.replace("{picture}", "<|vision_start|><|image_pad|><|vision_end|>")


def _id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return int(str(tokenizer.convert_tokens_to_ids(token)))


def _write(folder: Path, model: Any, processor: Any, lines: tuple[str, ...]) -> Path:
    speak_only(model.eval(), processor.tokenizer, (*lines, SPECIALS["eos_token"]))
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
