"""Average the weights of a training as it goes: what is evaluated and kept is steadier than the last step's."""

from __future__ import annotations

from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from grain.model.model import GrainModel

Weights: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class AveragedWeights:
    """An exponential moving average of a model's weights, in a copy of the model.

    Source: the decay grows with the steps as in TensorFlow's ExponentialMovingAverage, so that a short training is not
    averaged with its random start.
    """

    def __init__(self, model: GrainModel, decay: float) -> None:
        """Copy the model, on its device. decay: in [0, 1), reached after some steps."""
        self._decay = decay
        self._average = AveragedModel(model, multi_avg_fn=self._update)

    @property
    def model(self) -> GrainModel:
        """Return the model with the averaged weights."""
        return cast(GrainModel, self._average.module)

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self._average.to(device)

    def update(self, model: GrainModel) -> None:
        """Take a step's weights in; the first ones as they are."""
        self._average.update_parameters(model)

    def restart(self, model: GrainModel) -> None:
        """Begin again from a model."""
        self.model.load_state_dict(model.state_dict())
        self._average.n_averaged.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights and the number of steps in them."""
        return dict(self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self._average.load_state_dict(state)

    def _update(self, averaged: Weights, current: Weights, steps: Tensor | int) -> None:
        update = get_ema_multi_avg_fn(decay_at(int(steps), self._decay))  # type: ignore[no-untyped-call]
        update(averaged, current, steps)


def decay_at(steps: int, decay: float) -> float:
    """Return the decay after so many averaged steps: (1 + n) / (10 + n), at most `decay`."""
    return min(decay, (1 + steps) / (10 + steps))
