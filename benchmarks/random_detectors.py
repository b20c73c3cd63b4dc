"""Detectors small enough to be made for each run: random weights, the real code, tokenizers made of a few lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    OwlViTProcessor,
)

SIDE = 64  # pixels of the model's input
DINO_SIDE = 80  # of the shorter side: its coarsest feature map then has more than one cell
GRID = 4  # patches along a side
MOST_TOKENS = 16  # of a text, as in the real one
LINES = (
    "a red round lid",
    "a blue handle on the left side",
    "a green painted star",
    "a white stripe around the middle of the jar",
    "the black cat sleeps near a yellow bottle",
)


def tiny_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with the words of LINES as tokens; as in CLIP, "!" pads and the end of text has the highest id.

    The merges are made here: the tokenizers' own trainer gives others each time where pairs are equally frequent.
    """
    merges: dict[tuple[str, str], None] = {}
    for word in " ".join(LINES).split():
        start, *rest = [*word[:-1], word[-1] + "</w>"]
        for letter in rest:
            merges[start, letter] = None
            start += letter
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: row for row, word in enumerate(dict.fromkeys(words))}
    return CLIPTokenizer(vocab=vocabulary, merges=list[Any](merges), pad_token="!", model_max_length=MOST_TOKENS)


def tiny_owlv2(seed: int = 0) -> tuple[Owlv2ForObjectDetection, Owlv2Processor]:
    """Random weights that depend on the seed alone, every width different, so that a mixed-up one shows."""
    tokenizer = tiny_tokenizer()
    text, vision = _owl_towers(tokenizer)
    torch.manual_seed(seed)
    model = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=24)).eval()
    _calibrate(model)
    images = Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return model, Owlv2Processor(image_processor=images, tokenizer=tokenizer)


def tiny_owlvit(seed: int = 0) -> tuple[OwlViTForObjectDetection, OwlViTProcessor]:
    """See tiny_owlv2."""
    tokenizer = tiny_tokenizer()
    text, vision = _owl_towers(tokenizer)
    torch.manual_seed(seed)
    model = OwlViTForObjectDetection(OwlViTConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    _calibrate(model)
    sides = {"height": SIDE, "width": SIDE}
    images = OwlViTImageProcessor(size=sides, crop_size=sides)
    return model, OwlViTProcessor(image_processor=images, tokenizer=tokenizer)


def tiny_dino(kind: str, seed: int = 0) -> tuple[Any, GroundingDinoProcessor]:
    """A Grounding DINO, or an MM Grounding DINO: a small Swin, a BERT of two layers, a few queries."""
    tokenizer = bert_tokenizer()
    config_class, model_class = _DINOS[kind]
    torch.manual_seed(seed)
    config = config_class(
        backbone_config={
            "model_type": "swin",
            "image_size": SIDE,
            "embed_dim": 12,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 3, 4],
            "window_size": 2,
            "out_indices": [2, 3, 4],
            "drop_path_rate": 0.0,
        },
        text_config={
            "model_type": "bert",
            "vocab_size": len(tokenizer),
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "pad_token_id": tokenizer.pad_token_id,
        },
        num_queries=12,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        d_model=32,
        max_text_len=64,
    )
    model = model_class(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("layers.2.weight") and "bbox_embed" in name:  # else every box is its reference point's
                weights.normal_(std=0.3)
    images = GroundingDinoImageProcessor(size={"shortest_edge": DINO_SIDE, "longest_edge": 2 * DINO_SIDE})
    return model, GroundingDinoProcessor(images, tokenizer)


def bert_tokenizer() -> BertTokenizer:
    """BERT's tokenizer with the words of LINES; what Grounding DINO knows by its number is where BERT has it."""
    words = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    spoken = dict.fromkeys(" ".join(LINES).split())
    letters = [*ascii_lowercase, *digits, ",", *(f"##{letter}" for letter in ascii_lowercase + digits)]
    taken = {*words.values()}
    free = (number for number in range(1, 2000) if number not in taken)
    words |= {word: next(free) for word in dict.fromkeys([*letters, *spoken]) if word not in words}
    rest = {number: word for word, number in words.items()}
    table = {rest.get(number, f"[unused{number}]"): number for number in range(max(rest) + 1)}
    return BertTokenizer(vocab=table, do_lower_case=True, model_max_length=64)


_DINOS: dict[str, tuple[Any, Any]] = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}
RANDOM_DETECTORS: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    "owlv2": lambda: tiny_owlv2(),
    "owlvit": lambda: tiny_owlvit(),
    **{kind: lambda kind=kind: tiny_dino(kind) for kind in _DINOS},  # type: ignore[misc]
}
"""By the localizer's kind: model and processor."""


def write_random_detector(kind: str, folder: Path) -> Path:
    """Write a detector of a localizer's kind as a folder that `from_pretrained` reads."""
    model, processor = RANDOM_DETECTORS[kind]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _owl_towers(tokenizer: CLIPTokenizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the text tower and of the vision tower."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": MOST_TOKENS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": SIDE // GRID,
    }
    return text, vision


def _calibrate(model: Owlv2ForObjectDetection | OwlViTForObjectDetection) -> None:
    """Scores that depend on text and patch, sigmoid(6 cosine), and boxes of about two patches that overlap."""
    with torch.no_grad():
        for layer in (model.class_head.logit_shift, model.class_head.logit_scale):
            layer.weight.zero_()
        model.class_head.logit_shift.bias.zero_()
        model.class_head.logit_scale.bias.fill_(5.0)  # OWLv2 adds one
        for layer in (model.box_head.dense0, model.box_head.dense1, model.box_head.dense2):
            layer.weight.normal_(std=layer.in_features**-0.5)
        model.box_head.dense2.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))
