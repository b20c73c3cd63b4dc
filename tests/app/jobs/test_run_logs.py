"""Logs read as they grow, thinned out, and the alerts that hand-made logs must raise, or not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from app.jobs.run_logs import POINTS, Rows, RunLog, RunLogs, moments
from app.train.alerts import STALL_S, Alert, alerts
from app.train.curves import PANELS, curves
from app.train.form import form_fields

STEPS = 300


def rows_of(numbers: Mapping[str, ArrayLike], steps: ArrayLike) -> Rows:
    return Rows(np.array(steps, float), {name: np.array(values, float) for name, values in numbers.items()})


def healthy(**changes: Callable[[np.ndarray], np.ndarray]) -> RunLog:
    """A run as it should be, some of its columns replaced by functions of progress from 0 to 1."""
    progress = np.linspace(0, 1, STEPS)
    steps: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "loss": lambda t: 6 - 3 * t,
        "image_caption": lambda t: 3 - 2 * t,
        "box": lambda t: 2 - t,
        "region_description": lambda t: 3 - t,
        "box_iou": lambda t: 0.2 + 0.4 * t,
        "captions_distinct": lambda t: 0 * t + 1,
        "images": lambda t: 8 * (1 + (STEPS - 1) * t),
        "images_per_second": lambda t: 0 * t + 16,
        "skipped": lambda t: 0 * t,
    }
    held_out: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "held_out_grounding_acc50": lambda t: 0.1 + 0.5 * t,
        "held_out_grounding_miou": lambda t: 0.2 + 0.3 * t,
        "box_spread_least": lambda t: 0.05 + 0.1 * t,
    }
    at = np.linspace(0.2, 1, 5)
    return RunLog(
        rows_of({k: (changes.get(k) or f)(progress) for k, f in steps.items()}, 1 + np.arange(STEPS)),
        rows_of({k: (changes.get(k) or f)(at) for k, f in held_out.items()}, at * STEPS),
    )


def from_start(*grounding: float) -> RunLog:
    """Regions trained alone, which are evaluated before the first step, too, and log no box of training."""
    steps = np.linspace(0, STEPS, len(grounding))
    held_out = {f"held_out_grounding_{name}": grounding for name in ("acc50", "miou")}
    return RunLog(healthy(box_iou=lambda t: t * math.nan).steps, rows_of(held_out, steps))


def kinds(found: Sequence[Alert]) -> list[str]:
    return [alert.kind for alert in found]


def test_a_healthy_run_raises_nothing() -> None:
    assert alerts(healthy(), running=True, silent_s=5.0) == []


SICK: dict[str, tuple[RunLog, str]] = {
    "grounding falls while L_ic falls": (
        healthy(held_out_grounding_acc50=lambda t: 0.6 - 0.5 * t),
        "boxes miss",
    ),
    "a query's box hardly varies": (healthy(box_spread_least=lambda t: 0.005 + 0 * t), "boxes collapsed"),
    "captions are empty": (
        healthy(captions_distinct=lambda t: 0 * t, image_caption=lambda t: 0 * t + math.log(8)),
        "captions",
    ),
    "L_ic falls to ln(batch) and stays": (
        healthy(image_caption=lambda t: math.log(8) + np.exp(-9 * t)),
        "L_ic at chance",
    ),
    "L_box stays": (healthy(box=lambda t: 2 + 0 * t), "no progress"),
    "L_rd rises": (healthy(region_description=lambda t: 3 + t), "no progress"),
    "training boxes leave the held-out ones behind": (
        healthy(box_iou=lambda t: 0.3 + 0.5 * t, held_out_grounding_miou=lambda t: 0.4 - 0.1 * t),
        "overfitting",
    ),
    "the start is never surpassed": (from_start(1.0, 0.8, 0.9), "no gain"),
    "steps are skipped": (healthy(skipped=lambda t: np.floor(30 * t)), "broken steps"),
    "the loss is NaN": (healthy(loss=lambda t: np.where(t > 0.9, np.nan, 3.0)), "broken steps"),
}


@pytest.mark.parametrize("case", SICK)
def test_each_failure_raises_its_own_alert_and_no_other(case: str) -> None:
    log, kind = SICK[case]
    [alert] = alerts(log)
    assert alert.kind == kind
    assert alert.found and alert.advice


def test_advice_names_settings_that_a_training_has() -> None:
    fields = {each.name for each in form_fields()}
    named = {
        word
        for log, _ in SICK.values()
        for each in alerts(log)
        for word in re.findall(r"[a-z]+[._][a-z_]+", each.advice)
    }
    assert "losses.box" in named and named <= fields


def test_alerts_say_their_numbers() -> None:
    [miss] = alerts(SICK["grounding falls while L_ic falls"][0])
    assert miss.found == "grounding fell from 0.50 at step 60 to 0.10 while L_ic fell from 2.70 to 1.10"
    [box] = alerts(SICK["L_box stays"][0])
    assert box.found == "L_box was 2.000 in the first third and is 2.000 in the last"


@pytest.mark.parametrize(
    "log",
    [
        healthy(
            held_out_grounding_acc50=lambda t: 0.6 - 0.5 * t, image_caption=lambda t: 3 + t
        ),  # all of it falls apart
        healthy(box_spread_least=lambda t: np.where(t > 0.9, 0.005, 0.1)),  # once is no collapse
        healthy(box=lambda t: 0 * t, region_description=lambda t: 0 * t),  # switched off, or the CLIP baseline
        healthy(box_iou=lambda t: 0.3 + 0.5 * t),  # both get better, at different paces
        healthy(captions_distinct=lambda t: 0 * t, image_caption=lambda t: 0 * t),  # without L_ic
        from_start(0.5, 0.4, 0.6, 0.55),
        from_start(0.5),
        RunLog(rows_of({}, []), rows_of({}, [])),
    ],
)
def test_what_only_looks_like_it_raises_nothing(log: RunLog) -> None:
    trends = {"boxes miss", "boxes collapsed", "no progress", "overfitting", "captions", "no gain"}
    assert not trends & set(kinds(alerts(log)))


def test_a_gain_may_still_come_after_the_first_evaluation() -> None:
    assert kinds(alerts(from_start(0.5, 0.4), running=True, silent_s=1.0)) == []
    assert kinds(alerts(from_start(0.5, 0.4))) == ["no gain"]


def test_a_stall_is_measured_by_the_steps_and_only_of_a_running_run() -> None:
    quick, slow = healthy(), healthy(images_per_second=lambda t: 0 * t + 0.2)  # half a second, forty seconds a step
    assert kinds(alerts(quick, running=True, silent_s=STALL_S + 1)) == ["stall"]
    assert alerts(quick, running=False, silent_s=1e6) == []
    assert alerts(slow, running=True, silent_s=700.0) == []
    assert kinds(alerts(slow, running=True, silent_s=900.0)) == ["stall"]
    empty = RunLog(rows_of({}, []), rows_of({}, []))
    assert alerts(empty, running=True, silent_s=STALL_S + 1) == []  # it still starts
    assert kinds(alerts(empty, running=True, silent_s=3600.0)) == ["stall"]


def write(folder: Path, rows: Sequence[Mapping[str, Any]], *, end: str = "\n") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n".join(json.dumps(row) for row in rows) + end)


def test_a_log_is_read_on_where_it_ended_and_anew_when_it_was_written_anew(tmp_path: Path) -> None:
    logs, run = RunLogs(), tmp_path / "run"
    assert len(logs.read(run).steps) == 0 and logs.latest(run) == {}
    write(run, [{"step": 1, "loss": 3.0}, {"step": 1, "held_out_x": 0.5}, {"step": 2, "loss": math.nan, "new": 7}])
    first = logs.read(run)
    assert first.steps.step.tolist() == [1, 2] and first.evaluations.get("held_out_x").tolist() == [0.5]
    assert math.isnan(first.steps.get("loss")[1]) and math.isnan(first.steps.get("new")[0])
    write(run, [{"step": 3, "loss": 1.0}], end="")  # half written
    assert logs.read(run).last_step == 2
    write(run, [], end="\n")
    assert logs.read(run).last_step == 3 and logs.latest(run)["loss"] == 1.0
    trimmed = run / "trimmed"
    trimmed.write_text('{"step": 1, "loss": 9.0}\nnonsense\n[1]\n{"step": "x", "loss": 1}\n{"step": 2, "loss": 8.0}\n')
    trimmed.replace(run / "metrics.jsonl")
    assert logs.read(run).steps.get("loss").tolist() == [9.0, 8.0]


def test_thinning_keeps_means_ends_and_what_is_missing() -> None:
    values = np.arange(4000.0)
    values[:10] = np.nan
    thin = rows_of({"loss": values, "nothing": np.full(4000, np.nan)}, 1 + np.arange(4000)).thinned()
    assert len(thin) == POINTS and thin.step[-1] == 4000
    assert math.isnan(thin.get("loss")[0]) and thin.get("loss")[1] == pytest.approx(14.5)
    assert np.isnan(thin.get("nothing")).all()
    few = rows_of({"loss": [1.0]}, [1])
    assert few.thinned() is few


def test_of_many_evaluations_the_first_and_the_last_pictures_are_shown(tmp_path: Path) -> None:
    assert moments(tmp_path) == []
    (tmp_path / "watched").mkdir()
    for step in range(1, 30):
        said = {"schema_version": 1, "step": step, "pictures": [{"file": "0.jpg"}]}
        (tmp_path / "watched" / f"step-{step:08d}.json").write_text(json.dumps(said) if step != 29 else "{")
    steps = [moment.step for moment in moments(tmp_path)]
    assert steps[0] == 1 and len(steps) == 5 and steps == sorted(steps)


def level(box: float) -> RunLog:
    return healthy(box=lambda t: box + 0 * t)


def test_curves_state_what_they_find_and_lie_over_each_other() -> None:
    box = next(panel for panel in PANELS if panel.name == "L_box")
    figure = curves(box, [("a & b", healthy()), ("c", healthy(box=lambda t: 1 + 0 * t))])
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["a &amp; b", "c"]
    assert figure.layout.title.text == "L_box 1.05 (a\xa0&amp;\xa0b), 1 (c)"
    many = curves(box, [(name, level(end)) for end, name in enumerate("abcd", 1)])
    assert many is not None and many.layout.title.text == "L_box 1 (a) to 4 (d), 4 runs"
    alone = curves(box, [("a", healthy())])
    assert alone is not None and alone.layout.title.text == "L_box fell from 1.95 to 1.05"
    assert figure.layout.xaxis.title.text == "step" and figure.layout.yaxis.title.text
    [guess] = [panel for panel in PANELS if panel.name == "L_ic"]
    guessed = curves(guess, [("a", SICK["L_ic falls to ln(batch) and stays"][0])])
    assert guessed is not None
    title = guessed.layout.title.text
    assert title == "L_ic 2.08 is no better than guessing<br>(ln batch 2.08)"
    assert curves(box, []) is None, "no plot without a number"
    clip = healthy(box=lambda t: 0 * t)
    assert curves(box, [("clip", clip)]) is None, "it has no decoder"
    beside = curves(box, [("clip", clip), ("a", healthy())])
    assert beside is not None and beside.layout.title.text == "L_box fell from 1.95 to 1.05 (a)"
    assert [trace.name for trace in beside.data] == ["a"]
