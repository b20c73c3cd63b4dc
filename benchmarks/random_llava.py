"""A LLaVA-NeXT with random weights of any size, as a folder like those of the hub: the very code path, no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from curation.annotate.prompts import PROMPTS

PATCH = 14  # pixels
TILES = ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1))  # LLaVA-NeXT's grids, in tiles down and across
LINES = (
    "- a red round lid\n",
    "- a blue star on the front\n",
    "- two short handles\n",
    "- a striped green band\n",
    "- a white wooden base\n",
    "- small black dots\n",
)
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
IMAGE = "<image>"
TEMPLATE = (  # the words of llava-v1.6-mistral's
    "{% for message in messages %}{% if message['role'] == 'user' %}[INST] "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %} [/INST]"
    "{% else %} {{ message['content'][0]['text'] }}</s>{% endif %}{% endfor %}"
)


def write_random_llava(
    folder: Path,
    *,
    tile: int,
    width: int,
    layers: int,
    vision_width: int,
    vision_layers: int,
    head_width: int,
    seed: int,
    lines: Sequence[str] = LINES,
) -> Path:
    """Write a model that speaks only lines of a list: which ones depends on its random weights and on the picture.

    Args: tile: pixels along a side of one tile. width, layers: of the language model; vision_…: of CLIP's tower.
    """
    torch.manual_seed(seed)
    tokenizer = tokenizer_for([IMAGE], lines)
    processor = _processor(tokenizer, tile)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=vision_width,
            intermediate_size=4 * vision_width,
            num_hidden_layers=vision_layers,
            num_attention_heads=vision_width // head_width,
            image_size=tile,
            patch_size=PATCH,
        ),
        text_config=MistralConfig(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            hidden_size=width,
            intermediate_size=7 * width // 2,
            num_hidden_layers=layers,
            num_attention_heads=width // head_width,
            num_key_value_heads=max(1, width // head_width // 4),  # as many queries a key as Mistral's
            max_position_embeddings=8192,
            sliding_window=None,
            initializer_range=0.2,  # ten times the usual: random pictures then change random answers
        ),
        image_token_index=int(str(tokenizer.convert_tokens_to_ids(IMAGE))),
        image_grid_pinpoints=[[tile * down, tile * across] for down, across in TILES],
    )
    model = LlavaNextForConditionalGeneration(config).eval()
    speak_only(model, tokenizer, [*lines, SPECIALS["eos_token"]])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def tokenizer_for(marks: Sequence[str], lines: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the words of our own questions, special tokens, and one token for each line that is said.

    The merges are made here: the tokenizers' own trainer gives others each time where pairs are equally frequent.
    """
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    questions = [question for prompts in PROMPTS.values() for question in (prompts.stage1, prompts.stage2)]
    merges: dict[tuple[str, str], None] = {}
    for word in (piece for question in questions for piece, _ in split.pre_tokenize_str(question)):
        for end in range(1, len(word)):
            merges[word[:end], word[end]] = None
    tokens = dict.fromkeys([*SPECIALS.values(), *sorted(split.alphabet()), *(start + end for start, end in merges)])
    bpe = Tokenizer(models.BPE({token: row for row, token in enumerate(tokens)}, list(merges)))
    bpe.pre_tokenizer = split
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **SPECIALS)
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    tokenizer.add_tokens(list(lines))
    return tokenizer


def _processor(tokenizer: PreTrainedTokenizerFast, tile: int) -> LlavaNextProcessor:
    images = LlavaNextImageProcessor(
        size={"shortest_edge": tile},
        crop_size={"height": tile, "width": tile},
        image_grid_pinpoints=[[tile * down, tile * across] for down, across in TILES],
    )
    return LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token
        chat_template=TEMPLATE,
    )


@torch.no_grad()
def speak_only(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> None:
    """Silence all tokens but some: of several random logits the largest is above the others' zeros."""
    spoken = tokenizer.convert_tokens_to_ids(list(tokens))
    head = model.lm_head.weight
    rows = head[spoken].clone()
    head.zero_()
    head[spoken] = rows
