"""GRAIN: a CLIP-like model that also learns where descriptions live in a picture (arXiv 2412.04429).

`from grain import Predictor` is the one door to inference; it imports torch only when a checkpoint is loaded.
"""

from typing import TYPE_CHECKING, Any

from grain.structures import ClassScore, DescriptionScore, ImageFeatures, Look, Region

if TYPE_CHECKING:
    from grain.predict import Predictor

__all__ = ["ClassScore", "DescriptionScore", "ImageFeatures", "Look", "Predictor", "Region"]


def __getattr__(name: str) -> Any:
    """Predictor, once it is asked for: `python -m grain.predict` must not find its own module imported already."""
    if name != "Predictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from grain.predict import Predictor

    return Predictor
