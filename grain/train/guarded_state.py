"""Keep the state of a run from harm: judge its steps, save it while it is sound, and go back to what was saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grain.train.averaging import AveragedWeights
from grain.train.guard import LossGuard, StepVerdict
from grain.train.resume import load_state, save_state
from grain.train_config import TrainConfig

MAX_ROLL_BACKS = 3


class GuardedState:
    """Weights, their average, optimiser and guard of a run: steps that would harm them are left out."""

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        average: AveragedWeights[Any] | None,
        first_weights: Callable[[], Mapping[str, Tensor]],
        say: Callable[[str], object] = print,
    ) -> None:
        """optimiser: torch's own. first_weights: reads those that the run began with. say: prints a sentence."""
        self._config, self._folder = config, config.out / "checkpoints"
        self._model, self._optimiser, self._average = model, optimiser, average
        self._first_weights, self._say = first_weights, say
        self._roll_backs = 0
        self.guard = LossGuard(patience=config.patience)

    def take(self, update: Callable[[], object], *, loss: float, gradient_norm: float, step: int) -> None:
        """Update the weights by the gradients that are there, unless the guard forbids; the gradients are gone then.

        Args:   update: takes the optimiser's step. step: steps before this one.
        Raises: ValueError: the loss broke again and again.
        """
        verdict = self.guard.judge(loss, gradient_norm)
        if verdict is StepVerdict.TAKE:
            update()
            if self._average:
                self._average.update(self._model)
        self._optimiser.zero_grad(set_to_none=True)
        if verdict is StepVerdict.ROLL_BACK:
            self._roll_back(step)

    @property
    def is_sound(self) -> bool:
        """Return whether it is worth saving: its weights are finite, and it is in no bad stretch, to return to."""
        return self.guard.in_a_row == 0 and self.is_finite

    @property
    def is_finite(self) -> bool:
        """Return whether all weights are numbers."""
        return all(bool(torch.isfinite(weight).all()) for weight in self._model.parameters())

    def save(self, step: int) -> None:
        """Write it, in one process.

        Raises: DiskFullError: as save_state.
        """
        save_state(
            self._folder,
            step,
            model=self._model,
            optimiser=self._optimiser,
            guard=self.guard,
            keep=self._config.keep,
            average=self._average,
        )

    def resume(self) -> int:
        """Go on from the newest saved state that is whole; return its step, 0 where there is none.

        Raises: CheckpointError: as load_state.
        """
        found = load_state(self._folder, self._model, self._optimiser, average=self._average)
        if found is None:
            return 0
        step, self.guard, refused = found
        for sentence in refused:
            self._say(sentence)
        self._say(f"resuming from step {step} of {self._config.steps}")
        return step

    def _roll_back(self, step: int) -> None:
        """Restore the last saved weights; the data continue, so that a bad stretch is passed over."""
        patience = self._config.patience
        self._roll_backs += 1
        if self._roll_backs > MAX_ROLL_BACKS:
            raise ValueError(
                f"the loss broke {self._roll_backs} times, {patience} steps in a row each, the last time at step"
                f" {step}: look at the data around there, or lower learning_rate and choose another --out"
            )
        skipped = self.guard.skipped
        found = load_state(self._folder, self._model, self._optimiser, average=self._average)
        if found is None:
            self._model.load_state_dict(self._first_weights())
            self._optimiser.state.clear()
            if self._average:
                self._average.restart(self._model)
            self.guard = LossGuard(patience=patience)
        else:
            self.guard = found[1]
        self.guard.skipped, self.guard.in_a_row = skipped, 0
        self._say(f"step {step}: {patience} bad steps in a row, rolled back")
