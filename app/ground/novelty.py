"""Say on the Ground page that a picture is far from what a checkpoint has seen."""

from __future__ import annotations

from collections.abc import Sequence

from app.ground.actions import CheckpointResult


def stage_note(results: Sequence[CheckpointResult]) -> str:
    """Return what stands beside the picture: what the checkpoint cannot do, and to which one the picture is strange.

    Args: results: of the checkpoint, and of the one compared with, if any.
    """
    cannot = results[0].info.grounding_note
    strange = [each.checkpoint.name for each in results if each.prediction.far]
    sentences = [f"{cannot.capitalize()}."] if cannot else []
    if strange:
        names = " and ".join(strange)
        sentences.append(
            f"This picture is far from what {names} {'has' if len(strange) == 1 else 'have'} seen: do not trust what "
            "is found or named here without looking."
        )
    return " ".join(sentences)
