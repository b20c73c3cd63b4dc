"""Read the runs: their jobs, logs, alerts and pictures; promote and export their checkpoints."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from app.access.accounts import Person
from app.core.ground_links import GroundQuestion, QuestionError, save_question
from app.core.typed_descriptions import typed_descriptions
from app.jobs.control import NewJob
from app.jobs.run_logs import METRICS_LOG, WATCHED, Moment, RunLog, moments
from app.services import Services
from app.train.alerts import Alert, alerts
from app.train.form import CHOSEN_ELSEWHERE, values_of
from app.train.notes import RunNotes, read_notes, write_note, write_tags
from app.train.plan import CHECKPOINT, newest_version
from app.train.recipe import fine_tune_form
from app.train.run_jobs import DATA, DRY, KEEP, SOONER, TRAIN, folder_of, name_of, run_jobs
from db.engine import reading
from db.models import Job, now
from db.queries.job_queries import get_job, job_page, jobs_before
from grain.checkpoint import METRICS, CheckpointError, read_info
from grain.train.run_folder import RunHardware, read_hardware
from user_errors import UserError, sentence

FIRST_NAME = "run-1"
MOST_DOWNLOAD_BYTES, MOST_LOG_LINES = 32 * 2**20, 1_000_000
MOST_SEARCHED = 1000  # latest runs
RunOrder = Literal["newest", "name", "lowest loss", "best grounded"]


@dataclass(frozen=True)
class RunRow:
    """A run in the table. latest: the last row of its log. grounding: of its best checkpoint, held-out; nan without."""

    job: Job
    latest: Mapping[str, Any]
    notes: RunNotes = field(default_factory=RunNotes)
    grounding: float = math.nan


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint of a run that can be promoted: best or final. portable: it runs without torch as it is."""

    name: str
    folder: Path
    metrics: Mapping[str, float]
    portable: bool = False


@dataclass(frozen=True)
class RunView:
    """A run with its log, alerts, pictures and checkpoints. states: saved ones. tail: the end of its output.

    hardware: None before its first step. obstacle: why a queued one will never begin here.
    """

    job: Job
    folder: Path
    log: RunLog
    alerts: Sequence[Alert]
    moments: Sequence[Moment]
    kept: Sequence[KeptCheckpoint]
    states: Sequence[str]
    tail: str
    notes: RunNotes
    waits_for: Sequence[Job]
    hardware: RunHardware | None = None
    obstacle: str = ""

    @property
    def label(self) -> str:
        """Return its name among others."""
        return f"{name_of(self.job)} · {self.job.id}"


def runs(services: Services, limit: int, *, words: str = "", order: RunOrder = "newest") -> list[RunRow]:
    """Return runs in an order; note jobs whose process is dead.

    Args: words: that name, owner, state, tags or note of a run must hold, whatever their case; of the latest
          MOST_SEARCHED runs, as with another order.
    """
    services.jobs.reconcile()
    plain = not words.split() and order == "newest"
    jobs = [job for job in run_jobs(services, limit if plain else MOST_SEARCHED) if _holds(job, words.split())]
    place = ORDERS[order]
    first = sorted(jobs, key=lambda job: (place(services, job), -job.id))[:limit]
    return [_row(services, job) for job in first]


def _holds(job: Job, words: Sequence[str]) -> bool:
    if not words:
        return True
    notes = read_notes(folder_of(job))
    text = "\n".join((name_of(job), job.owner, job.state, *notes.tags, notes.note)).casefold()
    return all(word.casefold() in text for word in words)


def _row(services: Services, job: Job) -> RunRow:
    folder = folder_of(job)
    return RunRow(job, services.run_logs.latest(folder), read_notes(folder), services.run_logs.grounding(folder))


def _rising(value: object) -> float:
    """Return a number to sort by, what is none last."""
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else math.inf


ORDERS: Mapping[RunOrder, Callable[[Services, Job], Any]] = {
    "newest": lambda _, job: 0,
    "name": lambda _, job: name_of(job).casefold(),
    "lowest loss": lambda services, job: _rising(services.run_logs.latest(folder_of(job)).get("loss")),
    "best grounded": lambda services, job: _rising(-services.run_logs.grounding(folder_of(job))),
}
"""What runs are sorted by, those of one value newest first. Files are read where they have changed (RunLogs)."""


def side_jobs(services: Services, limit: int = 4) -> list[Job]:
    """Return the latest other jobs of this page: data, dry steps, exports."""
    with reading(services.engine) as session:
        jobs = [job for kind in (DATA, DRY, KEEP) for job in job_page(session, kind=kind, limit=limit)]
    return sorted(jobs, key=lambda job: -job.id)[:limit]


def view(services: Services, job_id: int, *, lines: int = 40) -> RunView:
    """Return all of one run. lines: of its output.

    Raises: UserError: there is none.
    """
    with reading(services.engine) as session:
        job = get_job(session, job_id=job_id)
        waits_for = jobs_before(session, job_id=job_id) if job and job.state == "queued" else ()
    if job is None or job.kind != TRAIN:
        raise UserError(f"There is no run {job_id}: choose one of the list.")
    folder = folder_of(job)
    log = services.run_logs.read(folder)
    return RunView(
        job=job,
        folder=folder,
        log=log,
        alerts=alerts(log, running=job.state == "running", silent_s=_silent_s(job, folder)),
        moments=moments(folder),
        kept=_kept_checkpoints(folder),
        states=sorted(each.name for each in (folder / "checkpoints").glob("step-*")),
        tail=services.jobs.log_tail(job.id, lines),
        notes=read_notes(folder),
        waits_for=waits_for,
        hardware=read_hardware(folder),
        obstacle=services.jobs.obstacle(job.device, job.width) if job.state == "queued" else "",
    )


def are_runs(services: Services, numbers: Sequence[str]) -> list[str]:
    """Return those of a link's words that are numbers of runs."""
    ids = [each for each in numbers if re.fullmatch("[0-9]{1,9}", each)]
    with reading(services.engine) as session:
        jobs = {each: get_job(session, job_id=int(each)) for each in ids}
    return [each for each, job in jobs.items() if job and job.kind == TRAIN]


def first_form(services: Services, dataset: str | None) -> dict[str, Any]:
    """Return the form that the page opens with: a fine-tune on the latest version of a data set, under a free name.

    Where there is no version, or nothing to learn from in it, all has its default.
    """
    data = newest_version(services, dataset)
    return {"name": _free_name(services, FIRST_NAME), "data": data} | fine_tune_form(services, data)


def form_of(services: Services, job_id: int) -> dict[str, Any]:
    """Return the form of a run under another name, for a run with changes.

    Raises: UserError: there is no such run.
    """
    job = view(services, job_id, lines=1).job
    asked = dict(job.config["asked"])
    return asked | {"name": _free_name(services, asked["name"]), "fields": values_of(job.config["train"])}


def promote(services: Services, job_id: int, which: str) -> str:
    """Make a run's checkpoint one that the Ground page uses at once; return its name there.

    Raises: UserError: there is none, or it is damaged.
    """
    kept = _kept_checkpoint(services, job_id, which)
    name = name_of(view(services, job_id, lines=1).job)
    try:
        services.registry.promote(kept.folder, name if which == "best" else f"{name}-{which}")
    except (CheckpointError, OSError) as error:
        raise UserError(sentence(error)) from error
    return services.registry.promoted()


def ground_link(services: Services, job_id: int, name: str, *, versus: str) -> str:
    """Return the address of Ground with a promoted checkpoint, on a picture that its run held out, if one was kept.

    Args: versus: the checkpoint beside it, "" for none.
    """
    seen = view(services, job_id, lines=1)
    picture = seen.moments[-1].pictures[0] if seen.moments and seen.moments[-1].pictures else None
    if picture is not None:
        file = seen.folder / WATCHED / Path(str(picture["file"])).name
        texts = typed_descriptions(str(region["text"]) for region in picture["regions"])
        question = GroundQuestion(
            str(file), texts, "", name, versus=versus, alpha=services.registry.default_alpha(name)
        )
        with suppress(QuestionError):
            return "/?" + urlencode({"q": save_question(services.settings, services.engine, question)})
    return "/?" + urlencode({"checkpoint": name} | ({"versus": versus} if versus else {}))


def start_checkpoint(services: Services, job_id: int) -> str:
    """Return the name of the checkpoint that a run started from; "" where it was none, or is gone."""
    kind, _, name = str(view(services, job_id, lines=1).job.config["asked"].get("start")).partition(":")
    return name if kind == CHECKPOINT and name in [each.name for each in services.registry.usable()] else ""


def write_words(services: Services, job_id: int, *, what: str, text: str) -> None:
    """Write the note of a run, or its tags.

    Raises: UserError: there is no such run, or the text is too long.
    """
    folder = view(services, job_id, lines=1).folder
    (write_tags if what == "tags" else write_note)(folder, text)


def file_of(services: Services, job_id: int, what: str) -> tuple[str, bytes]:
    """Return the name and the content of a run's log, or of its metrics a step.

    Raises: UserError: there is no such run or no file yet, or it is too large for a browser.
    """
    seen = view(services, job_id, lines=1)
    if what == "log":
        return f"{name_of(seen.job)}.log", services.jobs.log_tail(job_id, MOST_LOG_LINES).encode()
    file = seen.folder / METRICS_LOG
    try:
        size = file.stat().st_size
        content = file.read_bytes() if size <= MOST_DOWNLOAD_BYTES else b""
    except OSError as error:
        raise UserError("Nothing is logged yet: wait for the first step.") from error
    if not content:
        raise UserError(f"The metrics have {size / 2**20:,.0f} MB, too many for a browser: copy {file}.")
    return f"{name_of(seen.job)}.{METRICS_LOG}", content


def keep(services: Services, person: Person, job_id: int, *, which: str, push_to: str = "") -> int:
    """Queue an export: the checkpoint, its towers as open_clip reads them, a model card; return the id of the job.

    Args:   push_to: OWNER/NAME on the Hugging Face hub, private; empty: nothing leaves this machine.
    Raises: UserError: there is no such checkpoint, the name is none, or this person may not push.
    """
    kept = _exportable(services, job_id, which)
    if push_to and person.role != "admin":
        raise UserError("Only an admin pushes to the hub, in the operator's name: export it, and ask one.")
    if push_to and not re.fullmatch(r"[\w.-]{1,90}/[\w.-]{1,90}", push_to):
        raise UserError("The hub wants a name as OWNER/NAME: correct it.")
    out = services.settings.home / "exports" / f"{kept.folder.parent.name}-{which}"
    argv = ["-m", "grain.model.publish", f"--run={kept.folder.parent}", f"--which={which}", f"--out={out}"]
    argv += [f"--push-to={push_to}"] if push_to else []
    config = {"out": str(out), "push_to": push_to, "run": job_id}
    return _queue_export(services, person, config=config, argv=argv)


def keep_onnx(services: Services, person: Person, job_id: int, *, which: str) -> int:
    """Queue an export to ONNX, which runs without torch; return the id of the job.

    Raises: UserError: there is no such checkpoint.
    """
    kept = _exportable(services, job_id, which)
    out = services.settings.home / "exports" / f"{kept.folder.parent.name}-{which}-onnx"
    argv = ["-m", "grain.model.onnx_export", f"--checkpoint={kept.folder}", f"--out={out}"]
    return _queue_export(services, person, config={"out": str(out), "run": job_id}, argv=argv)


def _queue_export(services: Services, person: Person, *, config: Mapping[str, Any], argv: Sequence[str]) -> int:
    new = NewJob(kind=KEEP, owner=person.name, config=config, argv=argv, priority=SOONER, once=True)
    return services.jobs.submit(new)


def _kept_checkpoint(services: Services, job_id: int, which: str) -> KeptCheckpoint:
    found = [each for each in view(services, job_id, lines=1).kept if each.name == which]
    if not found:
        raise UserError(f"Run {job_id} has no checkpoint {which[:20]!r} yet: it is written at an evaluation.")
    return found[0]


def _exportable(services: Services, job_id: int, which: str) -> KeptCheckpoint:
    kept = _kept_checkpoint(services, job_id, which)
    if kept.portable:
        raise UserError(f"This checkpoint needs no export, it runs without torch as it is: copy {kept.folder}.")
    return kept


def _kept_checkpoints(folder: Path) -> list[KeptCheckpoint]:
    found = []
    for name in ("best", "final"):
        try:
            portable = read_info(folder / name).learned_regions
            metrics = json.loads((folder / name / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # not written yet
        numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}
        found.append(KeptCheckpoint(name, folder / name, numbers, portable))
    return found


def settings_difference(jobs: Sequence[Job]) -> dict[str, list[Any]]:
    """Return the settings in which some runs differ: name -> the value of each."""
    chosen = [key for key in CHOSEN_ELSEWHERE if key not in ("out", "name")]
    trained = [job.config["train"] for job in jobs]
    flat = [values_of(one) | {key: one.get(key) for key in chosen} for one in trained]
    names = dict.fromkeys(key for one in flat for key in one)
    rows = {name: [one.get(name) for one in flat] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def seconds_left(row: Mapping[str, Any], config: Mapping[str, Any]) -> float | None:
    """Return the seconds that a run will still take at its present pace; None while that is unknown."""
    pace, seen = row.get("images_per_second"), row.get("images")
    if not isinstance(pace, int | float) or not isinstance(seen, int) or pace <= 0:
        return None
    return max(0.0, (int(config["images"]) - seen) / pace)


def _free_name(services: Services, name: str) -> str:
    taken = {name_of(job) for job in run_jobs(services, 1000)}
    if name not in taken:
        return name
    base = re.sub(r"-\d+$", "", name)
    return next(f"{base}-{number}" for number in range(2, 10_000) if f"{base}-{number}" not in taken)


def _silent_s(job: Job, folder: Path) -> float:
    try:
        last = (folder / METRICS_LOG).stat().st_mtime
    except OSError:
        last = 0.0
    began = job.started_at.timestamp() if job.started_at else now().timestamp()
    return max(0.0, time.time() - max(last, began))
