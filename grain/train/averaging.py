"""Average the weights of a training as it goes: what is evaluated and kept is steadier than the last step's."""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Model = TypeVar("Model", bound=nn.Module)
Weights: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class AveragedWeights(Generic[Model]):
    """An exponential moving average of a model's weights, in a copy of the model.

    Source: the decay grows with the steps as in TensorFlow's ExponentialMovingAverage, so that a short training is not
    averaged with its random start.
    """

    def __init__(self, model: Model, decay: float) -> None:
        """Copy the model, on its device. decay: in [0, 1), reached after some steps."""
        self._decay = decay
        self._average = AveragedModel(model, multi_avg_fn=self._update)

    @property
    def model(self) -> Model:
        """Return the model with the averaged weights."""
        return cast(Model, self._average.module)

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self._average.to(device)

    def update(self, model: Model) -> None:
        """Take a step's weights in; the first ones as they are."""
        self._average.update_parameters(model)

    def restart(self, model: Model) -> None:
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
