"""The templates of the Train page, with hostile text."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.jobs.resources import ClusterResources
from app.jobs.run_logs import Moment, Rows, RunLog
from app.train import panels
from app.train.alerts import Alert
from app.train.data_checks import PreflightCheck
from app.train.notes import RunNotes
from app.train.plan import PlannedData, TrainPlan, TrainRequest
from app.train.runs import KeptCheckpoint, RunRow, RunView
from db.models import Job
from grain.train.run_folder import RunHardware
from grain.train_config import TrainConfig
from tests.support.hostile import HOSTILE

TRAIN = {"name": HOSTILE, "images": 8, "batch_size": 4, "out": HOSTILE, "data": HOSTILE}
CHOICES = [(HOSTILE, HOSTILE)]
GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAACADs=")


def job(number: int = 1, **facts: Any) -> Job:
    own = {"kind": "train", "owner": HOSTILE, "config": {"train": TRAIN | {"seed": number}, "out": HOSTILE}, "argv": []}
    return Job(id=number, exit_reason=HOSTILE, message=HOSTILE, **(own | {"state": "failed"} | facts))


def view(number: int, folder: Path) -> RunView:
    rows = Rows(np.array([1.0]), {"images": np.array([4.0]), "images_per_second": np.array([2.0])})
    region = {"text": HOSTILE, "box": [0, 0, 1, 1], "truth": [0, 0, 1, 1]}
    picture = {"file": "a.jpg", "width": 2, "height": 1, "regions": [region]}
    return RunView(
        job=job(number),
        folder=folder,
        log=RunLog(rows, rows),
        alerts=[Alert("stall", HOSTILE, HOSTILE)],
        moments=[Moment(1, (picture,))],
        kept=[KeptCheckpoint("best", folder, {"grounding_acc50": 0.5})],
        states=[HOSTILE],
        tail=HOSTILE,
        notes=RunNotes(HOSTILE, (HOSTILE,)),
        waits_for=[job(3, state=HOSTILE, kind=HOSTILE)],
        hardware=RunHardware(HOSTILE, HOSTILE),
        obstacle=HOSTILE,
    )


def form() -> str:
    """The form but for its own tag: no hostile text may make one."""
    values = dict.fromkeys(
        ("name", "data", "caption", "start", "open_clip", "where", "mix_weight", "zero_shot_folder"), HOSTILE
    )
    fields = {"twin": HOSTILE, "preset": HOSTILE, "images": HOSTILE}
    found = panels.form_panel(values | {"fields": fields}, data=CHOICES, starts=CHOICES, places=CHOICES)
    assert found.count("<form ") == 1
    return str(found).replace("<form ", "<div ").replace("</form>", "</div>")


def plan() -> str:
    request = TrainRequest.read({"name": HOSTILE})
    config = TrainConfig(Path("data"), Path("out"), name=HOSTILE)
    checks = [PreflightCheck(HOSTILE, "ok", HOSTILE)]
    return panels.plan_panel(
        TrainPlan(
            request,
            config,
            (PlannedData(Path(HOSTILE), None, (HOSTILE,)),),
            (HOSTILE,),
            ClusterResources(partition=HOSTILE),
        ),
        checks,
    )


def runs() -> str:
    return panels.runs_panel(
        [RunRow(job(), {"loss": HOSTILE}, RunNotes(HOSTILE, (HOSTILE,))), RunRow(job(2), {})], [1], more=True
    )


def pictures() -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "watched").mkdir()
        (Path(folder) / "watched" / "a.jpg").write_bytes(GIF)
        found = panels.pictures_panel([view(1, Path(folder))])
    assert "<svg" in found and json.dumps(HOSTILE) not in found
    return found


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "train/templates/form.html": (form,),
    "train/templates/plan.html": (plan,),
    "train/templates/runs.html": (runs,),
    "train/templates/parts.html": (runs,),
    "train/templates/side_jobs.html": (lambda: panels.side_panel([job(kind="keep"), job(kind="keep", state="done")]),),
    "train/templates/watched.html": (lambda: panels.watch_panel([view(1, Path()), view(2, Path())]),),
    "train/templates/promoted.html": (lambda: panels.promoted_panel(HOSTILE, HOSTILE + "2", "/?" + HOSTILE),),
    "train/templates/pictures.html": (pictures,),
    "train/templates/log.html": (lambda: panels.log_panel([view(1, Path())]),),
}
