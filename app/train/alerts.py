"""Find the paper's failure signatures and the usual ones in a run's log: numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.jobs.run_logs import HELD_OUT, Rows, RunLog, Values

Kind = Literal[
    "boxes miss",
    "boxes collapsed",
    "captions",
    "L_ic at chance",
    "no progress",
    "overfitting",
    "no gain",
    "broken steps",
    "stall",
]

LEAST_EVALUATIONS = 3  # before a trend is believed
LEAST_STEPS = 60  # before a loss counts as not falling
THIRD = 3  # the first and the last third of a run are compared
FALLS = 0.02  # share of itself that a loss must lose from the first to the last third
MISSES = 0.05  # how far grounding may fall below its best before boxes miss
COLLAPSED = 0.01  # spread of a query's box over pictures, in shares of the picture (detr#125, #179, #451)
GAP = 0.15  # how far the lead of training over held-out boxes may grow
GAP_FALL = 0.02  # while held-out grounding falls from its best by this
CHANCE = 0.97  # of ln(batch): a loss that guesses
EQUAL = 0.5  # share of a batch's captions that another one equals, from which on captions are at fault
SKIPPED = 0.01  # share of the steps that may be skipped
STALL_STEPS = 20  # a run that logs nothing for the time of so many steps
STALL_S = 120.0  # and at least so long


@dataclass(frozen=True)
class Alert:
    """A sign of trouble. kind: a word for it. found: what the log shows. advice: what to do."""

    kind: Kind
    found: str
    advice: str


def alerts(log: RunLog, *, running: bool = False, silent_s: float = 0.0) -> list[Alert]:
    """Return all that is wrong with a run.

    Args:   running: it is not over. silent_s: seconds since it last wrote to its log.
    """
    checks: tuple[Callable[[RunLog], Alert | None], ...] = (
        broken_steps,
        boxes_miss,
        boxes_collapsed,
        captions_or_chance,
        lambda log: not_falling(
            log, "box", name="L_box", advice="check that boxes and pictures belong together, raise losses.box"
        ),
        lambda log: not_falling(
            log,
            "region_description",
            name="L_rd",
            advice="check that descriptions tell regions apart, raise the batch size",
        ),
        overfitting,
        lambda log: no_gain(log, running=running),
    )
    found = [alert for check in checks if (alert := check(log)) is not None]
    stalled = stall(log, silent_s) if running else None
    return [stalled, *found] if stalled else found


def boxes_miss(log: RunLog) -> Alert | None:
    """Find grounding that falls while L_ic falls: the picture is learned at the cost of its regions."""
    grounding, step = _held_out(log, "grounding_acc50")
    if len(grounding) < LEAST_EVALUATIONS or grounding.max() - grounding[-1] < MISSES:
        return None
    best = int(grounding.argmax())
    caption = log.steps.get("image_caption")
    before = _around(log.steps, caption, step[best])
    after = _around(log.steps, caption, step[-1])
    if not after < before:
        return None
    return Alert(
        "boxes miss",
        f"grounding fell from {grounding[best]:.2f} at step {step[best]:,.0f} to {grounding[-1]:.2f} "
        f"while L_ic fell from {before:.2f} to {after:.2f}",
        "promote the best checkpoint, and raise losses.box or lower the learning rate in the next run",
    )


def boxes_collapsed(log: RunLog) -> Alert | None:
    """Find a query whose box hardly varies over pictures: it has learned the mean box."""
    spread, step = _finite(log.evaluations.get("box_spread_least"), log.evaluations.step)
    if len(spread) < 2 or spread[-1] >= COLLAPSED or spread[-2] >= COLLAPSED:  # untrained boxes vary little, too
        return None
    return Alert(
        "boxes collapsed",
        f"the box of a region query varies by {100 * spread[-1]:.2f} % of the picture over all held-out pictures, "
        f"since step {step[int(np.argmax(spread < COLLAPSED))]:,.0f} or before",
        "train longer; or in the next run raise losses.box, start from a checkpoint that grounds, or set queries to "
        "proposals where the data have them",
    )


def captions_or_chance(log: RunLog) -> Alert | None:
    """Find captions that tell no picture apart; and L_ic no better than guessing, whatever the reason."""
    values, _ = _finite(log.steps.get("image_caption"), log.steps.step)
    distinct, _ = _finite(log.steps.get("captions_distinct"), log.steps.step)
    if len(distinct) >= THIRD and distinct.mean() < EQUAL and values.any():
        return Alert(
            "captions",
            f"{1 - distinct.mean():.0%} of a batch's captions are empty or equal another one, so that L_ic can hardly "
            "tell pictures apart",
            "choose other captions in the next run (a describer's, or composed from the descriptions), or set "
            "losses.image_caption to 0",
        )
    guess = guessing(log)
    if log.last_step < LEAST_STEPS or len(values) < THIRD or not values.any() or math.isnan(guess):
        return None
    last = float(values[-(len(values) // THIRD) :].mean())
    if last < CHANCE * guess:
        return None
    return Alert(
        "L_ic at chance",
        f"L_ic is {last:.2f} in the last third, and guessing among the images of a batch gives {guess:.2f}",
        "check that captions and pictures belong together; raise learning_rate, or lower it from pretrained weights",
    )


def guessing(log: RunLog) -> float:
    """Return what L_ic is for a model that guesses: ln of the images of a batch; nan where that is unknown."""
    images = log.steps.get("images")
    batch = images[-1] / log.steps.step[-1] if len(images) and log.steps.step[-1] else math.nan
    return math.log(batch) if batch > 1 else math.nan


def not_falling(log: RunLog, column: str, *, name: str, advice: str) -> Alert | None:
    """Find a loss that is no smaller in the last third of a run than in the first."""
    values, _ = _finite(log.steps.get(column), log.steps.step)
    if log.last_step < LEAST_STEPS or len(values) < THIRD or not values.any():  # all zero: switched off, or no decoder
        return None
    part = len(values) // THIRD
    first, last = float(values[:part].mean()), float(values[-part:].mean())
    if last < first * (1 - FALLS):
        return None
    return Alert("no progress", f"{name} was {first:.3f} in the first third and is {last:.3f} in the last", advice)


def overfitting(log: RunLog) -> Alert | None:
    """Find boxes that fit training pictures ever better and held-out ones worse: regions are learned by heart."""
    held_out, step = _held_out(log, "grounding_miou")
    if len(held_out) < LEAST_EVALUATIONS:
        return None
    trained = np.array([_around(log.steps, log.steps.get("box_iou"), each) for each in step])
    gap = trained - held_out
    if not np.isfinite(gap).any():  # regions alone: how training boxes fit is not logged
        return None
    if not (gap[-1] - np.nanmin(gap) > GAP and held_out.max() - held_out[-1] > GAP_FALL):
        return None
    return Alert(
        "overfitting",
        f"boxes of training pictures lead those of held-out ones by {gap[-1]:.2f} IoU, at best it was "
        f"{np.nanmin(gap):.2f}, and held-out boxes fell from {held_out.max():.2f} to {held_out[-1]:.2f}",
        "promote the best checkpoint; more or better reviewed pictures help, fewer images seen too",
    )


def no_gain(log: RunLog, *, running: bool) -> Alert | None:
    """Find a training whose best evaluation, by the mean of its held-out numbers, is that of its start."""
    held_out = [values for name, values in log.evaluations.columns.items() if name.startswith(HELD_OUT)]
    if not held_out:
        return None
    score, step = _finite(np.mean(held_out, axis=0), log.evaluations.step)
    if len(score) < (LEAST_EVALUATIONS if running else 2) or step[0] > 0 or score.argmax() > 0:
        return None
    grounding = 100 * log.evaluations.get(HELD_OUT + "grounding_acc50")
    return Alert(
        "no gain",
        f"no evaluation was better than the start, which grounds {grounding[0]:.1f} % of held-out descriptions; the "
        f"last one grounds {grounding[-1]:.1f} %",
        "the best checkpoint is the start itself; more pictures or a lower learning rate may help, and review: the "
        "start's own descriptions teach it nothing",
    )


def broken_steps(log: RunLog) -> Alert | None:
    """Find steps that the guard skipped: their loss was NaN, Inf or a spike."""
    if not len(log.steps):
        return None
    losses, steps = log.steps.get("loss"), log.last_step
    skipped = max(float(np.nan_to_num(log.steps.get("skipped")[-1])), float((~np.isfinite(losses)).sum()))
    if skipped <= SKIPPED * max(steps, 1):
        return None
    return Alert(
        "broken steps",
        f"{skipped:,.0f} of {steps:,} steps were skipped, their loss being NaN, Inf or a spike",
        "lower the learning rate or lengthen the warm-up; in bf16 try precision no",
    )


def stall(log: RunLog, silent_s: float) -> Alert | None:
    """Find a run that has logged nothing for much longer than its steps take."""
    rates, images = log.steps.get("images_per_second"), log.steps.get("images")
    usual = _step_seconds(rates, images, log.steps.step) if len(log.steps) else math.nan
    patience = max(STALL_S, STALL_STEPS * usual) if math.isfinite(usual) else 5 * STALL_S  # it starts, compiles, warms
    if silent_s < patience:
        return None
    return Alert(
        "stall",
        f"nothing was logged for {silent_s / 60:.0f} min"
        + (f", a step takes {usual:.1f} s" if math.isfinite(usual) else ""),
        "read the log; if it hangs, cancel it and resume: it continues from its last state",
    )


def _step_seconds(rates: Values, images: Values, step: Values) -> float:
    finite, _ = _finite(rates, step)
    batch = images[-1] / step[-1] if len(images) and step[-1] else math.nan
    return float(batch / np.median(finite)) if len(finite) and np.median(finite) > 0 else math.nan


def _held_out(log: RunLog, name: str) -> tuple[Values, Values]:
    return _finite(log.evaluations.get(HELD_OUT + name), log.evaluations.step)


def _finite(values: Values, step: Values) -> tuple[Values, Values]:
    kept = np.isfinite(values)
    return values[kept], step[kept]


def _around(rows: Rows, values: Values, step: float) -> float:
    """Return the mean over the tenth of the run that ends at a step; nan where it has no number."""
    span = max(1.0, (rows.step[-1] if len(rows) else 0) / 10)
    near = (rows.step <= step) & (rows.step > step - span) & np.isfinite(values)
    return float(values[near].mean()) if near.any() else math.nan
