"""Refuse training steps that would harm the model: NaN, Inf and loss spikes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

SMOOTHING = 0.98  # of the running loss
SPIKE = 10.0  # times the running loss
WARM = 20  # steps before a spike can be distinguished from a start


class StepVerdict(Enum):
    """The verdict on a step."""

    TAKE = "take"
    SKIP = "skip"
    ROLL_BACK = "roll back"


@dataclass
class LossGuard:
    """Watches the loss and the gradient norm; its numbers are part of a checkpoint."""

    patience: int
    """Bad steps in a row before a roll-back."""
    running: float = math.nan
    taken: int = 0
    skipped: int = 0
    in_a_row: int = 0

    def judge(self, loss: float, gradient_norm: float) -> StepVerdict:
        """Decide what to do with a step, and remember it."""
        finite = math.isfinite(loss) and math.isfinite(gradient_norm)
        spike = finite and self.taken >= WARM and loss > SPIKE * self.running
        if finite and not spike:
            self.running = loss if math.isnan(self.running) else SMOOTHING * self.running + (1 - SMOOTHING) * loss
            self.taken += 1
            self.in_a_row = 0
            return StepVerdict.TAKE
        self.skipped += 1
        self.in_a_row += 1
        return StepVerdict.ROLL_BACK if self.in_a_row >= self.patience else StepVerdict.SKIP


def not_finite(step: int) -> str:
    """Return the sentence for a run whose model gives numbers that are not finite at its end."""
    return (
        f"the model at step {step} gives numbers that are not finite, so final/ is not written: lower learning_rate and"
        " choose another --out"
    )


def stopped(step: int, steps: int, *, saved: bool) -> str:
    """Return the sentence for a run that ends because it was asked to."""
    return f"asked to stop: {'saved' if saved else 'nothing to save in a bad stretch,'} at step {step} of {steps}"
