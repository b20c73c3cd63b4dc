"""Write the tokenizer of a checkpoint without torch, as every library of tokenizers reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from grain.checkpoint import TOKENIZER

TOKENIZER_CONFIG = "tokenizer_config.json"
START, END = "<start_of_text>", "<end_of_text>"
PIECES = r"(?i)<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # open_clip's


def write_tokenizer(
    folder: Path, *, vocabulary: Mapping[str, int], merges: list[tuple[str, str]], context_length: int
) -> None:
    """Write CLIP's byte pairs with a vocabulary of any size: start, at most so many tokens, end, zeros behind.

    Source: the pieces, bytes and merges of open_clip's SimpleTokenizer, by test.
    """
    tokenizer = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=merges, end_of_word_suffix="</w>"))
    white = Regex(r"\s+")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(white, " "), normalizers.Strip(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in (START, END)])
    ends = [(each, vocabulary[each]) for each in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token=next(t for t, i in vocabulary.items() if not i))
    save_tokenizer(tokenizer, folder, bos_token=START, eos_token=END)


def save_tokenizer(tokenizer: Tokenizer, folder: Path, **facts: str) -> None:
    """Write a tokenizer that cuts and pads, as transformers finds it too. facts: the names of its marks."""
    tokenizer.save(str(folder / TOKENIZER))
    padding = tokenizer.padding or {}
    known = facts | {"model_max_length": padding["length"], "pad_token": padding["pad_token"]}
    known["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(known, indent=1), encoding="utf-8")
