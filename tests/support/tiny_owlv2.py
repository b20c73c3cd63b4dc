"""An OWLv2 small enough to be made anew: random weights, the real code, a tokenizer made of a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

SIDE = 64  # pixels of the model's input
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
    torch.manual_seed(seed)
    model = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=24)).eval()
    _calibrate(model)
    images = Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return model, Owlv2Processor(image_processor=images, tokenizer=tokenizer)


def _calibrate(model: Owlv2ForObjectDetection) -> None:
    """Scores that depend on text and patch, sigmoid(6 cosine), and boxes of about two patches that overlap."""
    with torch.no_grad():
        for layer in (model.class_head.logit_shift, model.class_head.logit_scale):
            layer.weight.zero_()
        model.class_head.logit_shift.bias.zero_()
        model.class_head.logit_scale.bias.fill_(5.0)  # OWLv2 adds one
        for layer in (model.box_head.dense0, model.box_head.dense1, model.box_head.dense2):
            layer.weight.normal_(std=layer.in_features**-0.5)
        model.box_head.dense2.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))


def write_tiny_owlv2(folder: Path, seed: int = 0) -> Path:
    """The same as a folder that `from_pretrained` reads."""
    model, processor = tiny_owlv2(seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
