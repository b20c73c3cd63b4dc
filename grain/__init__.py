"""Provide GRAIN, a CLIP-like model that also learns where descriptions are in an image (arXiv 2412.04429).

`from grain import Predictor` is the one door to inference; it imports torch only when a checkpoint is loaded.
"""

from typing import TYPE_CHECKING, Any

import no_telemetry  # noqa: F401 - before any library is imported
from grain.structures import ClassScore, DescriptionScore, ImageFeatures, Prediction, Region

if TYPE_CHECKING:
    from grain.predict import Predictor

__all__ = ["ClassScore", "DescriptionScore", "ImageFeatures", "Prediction", "Predictor", "Region"]


def __getattr__(name: str) -> Any:
    """Import Predictor when it is first used: `python -m grain.predict` must not find its module imported already."""
    if name != "Predictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from grain.predict import Predictor

    return Predictor
