"""Load a detector with transformers, and choose its device and precision. torch is imported when one is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grain.hub.weights import LocalModel, missing_weights

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "fp32", "bf16")


def load_detector(found: LocalModel, model_class: Any, processor_class: Any) -> tuple[Any, Any]:
    """Load a detector and its processor, with the tokenizer that it was trained with.

    Raises: UserError: a file is missing, damaged, or of another model.
    """
    weights, processor = found.load(model_class, processor_class, dtype="float32")
    if len(processor.tokenizer) < weights.config.text_config.vocab_size:  # transformers made one up
        raise missing_weights(found.model, found.revision)
    return weights, processor


def device_of(device: str, *, precision: str) -> torch.device:
    """Return the device that a detector runs on.

    Args:   device: `cpu`, `cuda`, `cuda:1`, or `auto`: a GPU if there is one.
    Raises: ValueError: another precision than PRECISIONS.
    """
    import torch

    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    available = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(available if device == "auto" else device)
