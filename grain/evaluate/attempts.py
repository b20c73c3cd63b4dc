"""Try each model on each data set on its own: what fails is kept with its reason, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from user_errors import DiskFullError, sentence

MOST_CHARACTERS = 400  # of a reason


@dataclass(frozen=True)
class FailedPair:
    """A model and a data set, as the results and the command call them, that could not be evaluated together."""

    model: str
    data_set: str
    reason: str


@dataclass
class Attempts:
    """The pairs that failed so far. first_error: the first of their errors."""

    failures: list[FailedPair] = field(default_factory=list)
    first_error: Exception | None = None

    @contextmanager
    def of(self, pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
        """Run a block on which pairs of model and data set depend; what it raises is the reason of each.

        Raises: DiskFullError: nothing after it could be kept either.
        """
        try:
            yield
        except DiskFullError:
            raise
        except Exception as error:  # a model or a file may raise anything, and the other pairs must not end by it
            self.first_error = self.first_error or error
            known = {(each.model, each.data_set) for each in self.failures}
            new = [pair for pair in pairs if pair not in known]
            self.failures += [FailedPair(model, data_set, reason_of(error)) for model, data_set in new]

    def must_leave(self, succeeded: Sequence[object]) -> None:
        """Raise the first error where nothing succeeded."""
        if not succeeded and self.first_error:
            raise self.first_error


def reason_of(error: Exception) -> str:
    """Return why something failed in a sentence; what no code foresaw begins with its type."""
    text = " ".join(str(error).split())
    foreseen = isinstance(error, (ValueError, OSError))
    return sentence((text if foreseen and text else f"{type(error).__name__}: {text}")[:MOST_CHARACTERS])
