"""Tokenize texts with open_clip's BPE, or with the tokenizer that a published model brings along.

The BPE has the same merges for every model; a small model uses only the first ones.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from tokenizers import Tokenizer as TokenizerOfFile
from torch import Tensor

from grain.config import GrainConfig
from grain.portable.texts import CLEANING
from grain.portable.tokenizer_files import save_tokenizer, write_tokenizer

FULL_VOCABULARY = 49408
NOT_MERGES = 2 * 256 + 2  # bytes, bytes at a word's end, start and end of text
MAX_REMEMBERED = 20_000  # texts, some 5 MB; cleaning a text costs more than encoding it, and data sets repeat theirs
ID = np.uint16  # every vocabulary fits


class Tokenizer:
    """Texts -> token ids, trimmed to the longest text.

    Trimming is exact under causal attention with pooling at the end of text: later tokens never affect it.
    """

    def __init__(self, *, vocab_size: int = FULL_VOCABULARY, context_length: int = 77) -> None:
        """vocab_size: tokens in all, at least 515. context_length: tokens a text at most; longer ones are cut.

        Raises: ValueError: vocab_size is outside 515..49,408.
        """
        if not NOT_MERGES < vocab_size <= FULL_VOCABULARY:
            raise ValueError(f"vocab_size must lie in {NOT_MERGES + 1}..{FULL_VOCABULARY}, got {vocab_size}")
        self.context_length = context_length
        self._bpe = _bpe(vocab_size)
        self._known: dict[str, bytes] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, [T, L] int64 padded with zeros, L the longest text's length; [0, 1] for no texts."""
        rows = [np.frombuffer(self._ids(text), ID) for text in texts]
        table = np.zeros((len(rows), max(map(len, rows), default=1)), np.int64)
        for row, ids in zip(table, rows, strict=True):
            row[: len(ids)] = ids
        return torch.from_numpy(table)

    def save(self, folder: Path) -> None:
        """Write it as a file that needs neither torch nor open_clip, see grain.portable.tokenizer_files."""
        ranked = [pair for pair in sorted(self._bpe.bpe_ranks, key=self._bpe.bpe_ranks.__getitem__) if len(pair) == 2]
        write_tokenizer(folder, vocabulary=self._bpe.encoder, merges=ranked, context_length=self.context_length)

    def _ids(self, text: str) -> bytes:
        if (known := self._known.get(text)) is not None:
            return known
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        ids = [self._bpe.sot_token_id, *self._bpe.encode(text)][: self.context_length - 1]
        self._known[text] = np.array([*ids, self._bpe.eot_token_id], ID).tobytes()
        return self._known[text]


class OwnTokenizer:
    """Texts -> token ids of a model with another vocabulary (SigLIP), padded to the whole context as in training."""

    def __init__(self, config: GrainConfig) -> None:
        """config: of a model with a tokenizer of its own.

        Raises: ValueError: the tokenizer is none, or its texts are cleaned in a way that is not known here.
        """
        self.context_length = int(config.text_cfg["context_length"])
        kind = str(config.text_cfg["tokenizer_kwargs"]["clean"])
        if kind not in CLEANING:
            raise ValueError(f"expected texts cleaned by {', '.join(CLEANING)}, got {kind[:40]!r}")
        self._clean = CLEANING[kind]
        self._tokenizer = _own(config.tokenizer)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, [T, L] int64, L the whole context."""
        rows = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        return torch.tensor([row.ids for row in rows], dtype=torch.long).reshape(len(texts), self.context_length)

    def save(self, folder: Path) -> None:
        """Write it beside the weights, where from_pretrained finds it."""
        save_tokenizer(self._tokenizer, folder)


def tokenizer_of(config: GrainConfig) -> Tokenizer | OwnTokenizer:
    """Return a model's tokenizer."""
    if config.tokenizer:
        return OwnTokenizer(config)
    return Tokenizer(vocab_size=config.text_cfg["vocab_size"], context_length=config.text_cfg["context_length"])


def text_id(text: str) -> int:
    """Hash a text to 63 bits, equal on every process and machine: duplicate descriptions are one class."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@lru_cache(maxsize=2)
def _own(tokenizer: str) -> TokenizerOfFile:
    try:
        return TokenizerOfFile.from_str(tokenizer)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"its tokenizer cannot be read ({str(error)[:100]})") from error


@lru_cache(maxsize=4)
def _bpe(vocab_size: int) -> SimpleTokenizer:
    if vocab_size == FULL_VOCABULARY:
        return SimpleTokenizer()
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[: 1 + vocab_size - NOT_MERGES]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merges.txt.gz"
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write("\n".join(lines))
        return SimpleTokenizer(bpe_path=str(path))
