"""Tell which sources of evidence are independent of the model that wrote the descriptions. Pure.

A model that is asked about its own sentences agrees with them: its evidence does not count. A name is `model@revision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

NOBODY = "no independent source"
JOINED = " + "  # between the names of several sources
PHOTO_NETWORKS = "the networks of photo"
MADE_OF = dict.fromkeys(("photo", "photo-names", "photo-describer", "photo-localizer"), PHOTO_NETWORKS)


def made_of(source: str) -> str:
    """Return what a source is made of: the bundled photo models share their networks, others are their own model.

    A model keeps its name in another revision, folder or server: "llava-hf/llava-1.5-7b-hf@main" is "llava-1.5-7b-hf".
    """
    model = source.partition("@")[0].rstrip("/").rpartition("/")[2].lower()
    return MADE_OF.get(model, model)


def is_independent(source: str, describer: str) -> bool:
    """Return whether a source is not made of what the describer is made of."""
    return made_of(source) != made_of(describer)


@dataclass(frozen=True)
class Independence:
    """The independence of an audit: who wrote the descriptions, and who judged them.

    counted: the names of the sources that are independent of the describer, or NOBODY. left_out: those that are not.
    unheard: of counted, those that the judge was not fitted on. decides: it was fitted on any.
    """

    describer: str
    counted: str
    left_out: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    decides: bool = True

    def run_settings(self) -> dict[str, Any]:
        """Return the entry for a run's settings by which a page finds it again."""
        return {"independence": asdict(self)}

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> Independence | None:
        """Return what a run's settings say; None where it is of an earlier version."""
        noted = dict(config.get("independence", {}))
        left_out, unheard = (tuple(noted.pop(key, ())) for key in ("left_out", "unheard"))
        return cls(**noted, left_out=left_out, unheard=unheard) if noted else None

    @property
    def can_decide(self) -> bool:
        """Return whether any claim could get a verdict."""
        return self.decides and self.counted not in (NOBODY, JOINED.join(self.unheard))

    def sentences(self) -> tuple[str, ...]:
        """Say what does not count, and what to do."""
        if self.counted == NOBODY:
            return (
                f"No source is independent of {self.describer}, which wrote the descriptions, so nothing is judged. "
                "Audit with a detector, a checkpoint or a VQA model of another origin, or judge a sample yourself.",
            )
        left_out = tuple(
            f"{name} does not count: it is made of the same networks as {self.describer}, which wrote the descriptions."
            for name in self.left_out
        )
        unheard = tuple(
            f"{name} is shown and does not count: the judge was not fitted on it. Judge a sample and fit one."
            for name in self.unheard
        )
        unfitted = "No judge was fitted on these sources: its probabilities put the claims in order and decide none. "
        return left_out + unheard + (() if self.decides else (unfitted + "Judge a sample and fit one.",))
