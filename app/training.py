"""What the Train page asks before a run: a form checked, what it will need, and a job made of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from app.accounts import Person
from app.estimate import need
from app.jobs.control import Jobs
from app.jobs.devices import CPU, GPU
from app.looking import sentence
from app.registry import UnknownCheckpointError
from app.services import Services
from app.train_form import FieldError, config_from
from curation.export import ExportConfig
from curation.export import command_line as export_command
from db.engine import DatabaseError, reading
from db.job_queries import job_page
from db.models import Job, JobState
from db.queries import list_datasets
from db.version_queries import list_versions
from grain.structures import SCHEMA_VERSION
from grain.train_config import TrainConfig, command_words

TRAIN, DATA, DRY, KEEP = "train", "data", "preflight", "keep"  # kinds of jobs
ALL_KINDS = (TRAIN, DATA, DRY, KEEP)
WORLD, VERSION, SCRATCH, CHECKPOINT, OPEN_CLIP = "world", "version", "scratch", "checkpoint", "open_clip"
WORLDS = (2_000, 20_000)  # pictures that the page offers to draw
HELD_OUT = 0.05  # share of a version's pictures that is evaluated on
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
SOONER = 10  # priority of what somebody waits for at the page
LIVING: tuple[JobState, ...] = ("queued", "running")
GB = 2**30
FINE_TUNE_RATE = 5e-4  # a start that knows something wants less
MANY_EPOCHS = 200
MOST_OF_A_NODE = 16  # GPUs
Where = Literal["cpu", "gpu", "ray", "slurm"]


class TrainingError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Asked:
    """What a person chose. data, start: as `data_choices` and `start_choices` name them. fields: of TrainConfig."""

    name: str
    data: str
    start: str
    open_clip: str
    where: str
    processes: int
    priority: int
    caption: str
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Asked:
        """From the browser's form.

        Raises: TrainingError: it is none.
        """
        try:
            own = {name: str(values.get(name) or "").strip() for name in ("name", "data", "start", "open_clip")}
            return cls(
                **own,
                where=str(values.get("where") or CPU),
                processes=int(1 if values.get("processes") in (None, "") else values["processes"]),
                priority=int(values.get("priority") or 0),
                caption=str(values.get("caption") or "picture"),
                fields=dict(values.get("fields") or {}),
            )
        except (TypeError, ValueError) as error:
            raise TrainingError("The form came damaged: reload the page.") from error


@dataclass(frozen=True)
class Planned:
    """A training as it would run. prepare: the words that make its data first; none when these are there."""

    asked: Asked
    config: TrainConfig
    prepare: tuple[str, ...]
    argv: tuple[str, ...]

    @property
    def command(self) -> str:
        """What runs, to be copied into a terminal."""
        lines = [shlex.join(["python", *words]) for words in (self.prepare, self.argv[1:]) if words]
        return " && \\\n".join(lines)

    def snapshot(self) -> dict[str, Any]:
        """What the job keeps: the settings that run, and what the form said."""
        asked = {name: value for name, value in vars(self.asked).items() if name != "fields"}
        return {"train": json.loads(json.dumps(asdict(self.config), default=str)), "asked": asked}


@dataclass(frozen=True)
class Check:
    """One line of the preflight. state: ok, warn, bad (it cannot be queued) or open (not known yet)."""

    name: str
    state: Literal["ok", "warn", "bad", "open"]
    found: str


def data_choices(services: Services) -> list[tuple[str, str]]:
    """Sample worlds, and all frozen versions: what a person reads, and the key."""
    there = [int(folder.name) for folder in _worlds(services).glob("*") if folder.name.isdigit()]
    found = [
        (f"sample world, {count:,} pictures{'' if count in there else ' (drawn first)'}", f"{WORLD}:{count}")
        for count in sorted({*there, *WORLDS})
    ]
    with reading(services.engine) as session:
        for dataset in list_datasets(session):
            for version in list_versions(session, dataset_id=dataset.id):
                label = f"{dataset.name} · {version.name} ({version.pictures:,} pictures, {version.regions:,} regions)"
                found.append((label, f"{VERSION}:{version.sha256}"))
    return found


def start_choices(services: Services) -> list[tuple[str, str]]:
    """Scratch, the checkpoints that training can go on from, and open_clip's weights."""
    usable = [each.name for each in services.registry.usable() if each.info and each.info.kind in ("grain", "clip")]
    checkpoints = [(f"checkpoint {name}", f"{CHECKPOINT}:{name}") for name in usable]
    return [("scratch", SCRATCH), *checkpoints, ("open_clip weights", OPEN_CLIP)]


def where_choices(services: Services) -> list[tuple[str, str]]:
    """Where jobs may run here."""
    words = {CPU: "this machine, processors", GPU: "this machine, GPUs", "ray": "Ray cluster", "slurm": "Slurm"}
    return [(words.get(device, device), device) for device in services.jobs.slots]


def plan(services: Services, asked: Asked) -> Planned:
    """The very training that a form asks for.

    Raises: TrainingError: one of its fields cannot be used.
    """
    if not NAME.fullmatch(asked.name):
        raise TrainingError("The run needs a name of letters, digits, dots, dashes and underlines: write one.")
    if asked.where not in services.jobs.slots:
        raise TrainingError(f"There is no place {asked.where[:40]!r} to run on: choose one of the list.")
    least, most = _gpus(services, asked.where)
    if not least <= asked.processes <= most:
        raise TrainingError(f"{asked.processes} GPUs cannot be had at {asked.where}: take {least} to {most}.")
    folder, prepare = _data(services, asked)
    out = run_folder(services, asked.name)
    try:
        config = config_from(asked.fields, data=folder, out=out, init=_init(services, asked), name=asked.name)
    except FieldError as error:
        raise TrainingError(str(error)) from error
    return Planned(asked, config, prepare, _argv(asked, config, "grain.train"))


def run_folder(services: Services, name: str) -> Path:
    """Where a run of that name lies."""
    return services.settings.home / "runs" / name


def _gpus(services: Services, where: str) -> tuple[int, int]:
    """How few and how many a run may have there."""
    return {CPU: (0, 1), GPU: (1, services.jobs.slots.get(GPU, 0))}.get(where, (0, MOST_OF_A_NODE))


def _argv(asked: Asked, config: TrainConfig, module: str) -> tuple[str, ...]:
    """`accelerate launch` with everything said, so that no configuration file of somebody's changes it."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", f"--num_processes={max(1, asked.processes)}"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    launch += ["--cpu"] if asked.where == CPU or not asked.processes else ["--multi_gpu"] * (asked.processes > 1)
    return (*launch, "-m", module, *command_words(config))


def _data(services: Services, asked: Asked) -> tuple[Path, tuple[str, ...]]:
    kind, _, key = asked.data.partition(":")
    if kind == WORLD and key.isdigit() and 0 < int(key) <= 10_000_000:
        folder = _worlds(services) / str(int(key))
        words = ["-m", "curation.sample_world", f"--out={folder}", f"--images={int(key)}"]
    elif kind == VERSION and re.fullmatch(r"[0-9a-f]{64}", key) and asked.caption in ("picture", "descriptions"):
        folder = services.settings.home / "shards" / f"{key[:16]}-{asked.caption}"
        caption: Any = asked.caption
        wanted = ExportConfig("shards", folder, version=key, caption=caption, held_out=HELD_OUT)
        words = export_command(wanted)
    else:
        raise TrainingError("Choose the data: a frozen version, or the sample world.")
    return folder, () if (folder / "manifest.json").is_file() else tuple(words)


def _worlds(services: Services) -> Path:
    return services.settings.home / "worlds"


def _init(services: Services, asked: Asked) -> str | None:
    kind, _, name = asked.start.partition(":")
    if kind == SCRATCH:
        return None
    if kind == OPEN_CLIP:
        if not re.fullmatch(r"[\w./:-]{1,300}", asked.open_clip):
            raise TrainingError("Name the open_clip weights as ARCHITECTURE:TAG-OR-FILE, as in ViT-B-16:openai.")
        return f"open_clip:{asked.open_clip}"
    try:
        return str(services.registry.find(name).folder)
    except UnknownCheckpointError as error:
        raise TrainingError(str(error)) from error


def preflight(services: Services, planned: Planned) -> list[Check]:
    """All that can be said before the training: data, disk, memory, time, and what is likely a mistake."""
    report = _report(services, planned)
    return [
        _name_check(services, planned.config),
        *_data_checks(planned),
        _disk_check(planned),
        _memory_check(planned, report),
        _time_check(planned, report),
        *_warnings(planned.config),
    ]


def measure(services: Services, person: Person, asked: Asked) -> int:
    """Queue dry steps, ahead of other work; the id of the job.

    Raises: TrainingError: one of the fields cannot be used.
    """
    planned = plan(services, asked)
    before = _prepare(services, person, planned)
    argv = _argv(asked, replace(planned.config, name=""), "grain.preflight")
    return _enqueue(services.jobs, DRY, person, planned, argv, priority=SOONER, after=before)


def queue(services: Services, person: Person, asked: Asked) -> int:
    """Queue the training, and before it what makes its data; the id of its job.

    Raises: TrainingError: it cannot run; the first reason.
    """
    planned = plan(services, asked)
    bad = [check for check in preflight(services, planned) if check.state == "bad"]
    if bad:
        raise TrainingError(bad[0].found)
    with _taken(planned.config):
        before = _prepare(services, person, planned)
        return _enqueue(services.jobs, TRAIN, person, planned, planned.argv, priority=asked.priority, after=before)


@contextmanager
def _taken(config: TrainConfig) -> Iterator[None]:
    """Make the run's folder, which only one of several that queue the same name at a time can; gone if queuing fails.

    Raises: TrainingError: it is there already, or cannot be made.
    """
    try:
        config.out.mkdir(parents=True)
    except FileExistsError as error:
        raise TrainingError(_taken_already(config)) from error
    except OSError as error:
        raise TrainingError(sentence(error)) from error
    try:
        yield
    except BaseException:
        config.out.rmdir()
        raise


def _taken_already(config: TrainConfig) -> str:
    return f"There is a run {config.name} already: choose another name, or resume that one."


def _prepare(services: Services, person: Person, planned: Planned) -> int | None:
    """The job that makes the data, where it is needed: one that is under way already serves."""
    if not planned.prepare:
        return None
    folder = str(planned.config.data)
    with reading(services.engine) as session:
        for job in job_page(session, kind=DATA, states=LIVING, limit=100):
            if job.config.get("out") == folder:
                return job.id
    argv = [sys.executable, *planned.prepare]
    try:
        return services.jobs.enqueue(
            kind=DATA, owner=person.name, config={"out": folder}, argv=argv, priority=planned.asked.priority
        )
    except (ValueError, DatabaseError) as error:
        raise TrainingError(sentence(error)) from error


def _enqueue(
    jobs: Jobs,
    kind: str,
    person: Person,
    planned: Planned,
    argv: Sequence[str],
    *,
    priority: int,
    after: int | None,
) -> int:
    where = planned.asked.where
    try:
        return jobs.enqueue(
            kind=kind,
            owner=person.name,
            config=planned.snapshot(),
            argv=argv,
            device=where,
            priority=priority,
            backend="local" if where in (CPU, GPU) else where,
            width=planned.asked.processes if where == GPU else 1,
            after=after,
        )
    except (ValueError, DatabaseError) as error:
        raise TrainingError(sentence(error)) from error


def _report(services: Services, planned: Planned) -> dict[str, Any] | Job | None:
    """What dry steps of the same settings measured; the job while it has not; None when there was none."""
    wanted = _comparable(planned.snapshot())
    with reading(services.engine) as session:
        jobs = [job for job in job_page(session, kind=DRY, limit=30) if _comparable(job.config) == wanted]
    if not jobs:
        return None
    if jobs[0].state != "done":
        return jobs[0]
    for line in reversed(services.jobs.log_tail(jobs[0].id, 50).splitlines()):
        if line.startswith('{"device"'):
            return dict(json.loads(line))
    return None


def _comparable(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    asked = dict(snapshot.get("asked") or {})
    train = {k: v for k, v in dict(snapshot.get("train") or {}).items() if k not in ("out", "name", "twin", "images")}
    return {"train": train, "where": asked.get("where"), "processes": asked.get("processes")}


def _name_check(services: Services, config: TrainConfig) -> Check:
    if config.out.exists() or any(job.config["train"]["out"] == str(config.out) for job in run_jobs(services, 1000)):
        return Check("name", "bad", _taken_already(config))
    return Check("name", "ok", f"{config.out}")


def _data_checks(planned: Planned) -> list[Check]:
    config = planned.config
    if planned.prepare:
        return [Check("data", "open", "Not there yet: a job makes it first, and the training waits for that.")]
    try:
        manifest = json.loads((config.data / "manifest.json").read_text(encoding="utf-8"))
        schema, splits = manifest["schema_version"], manifest["splits"]
        counts = {name: sum(int(entry["images"]) for entry in entries) for name, entries in splits.items()}
        missing = [e["file"] for rows in splits.values() for e in rows if not (config.data / str(e["file"])).is_file()]
    except (OSError, ValueError, LookupError, TypeError):
        return [Check("data", "bad", f"{config.data} has no readable manifest: remove the folder and queue again.")]
    if schema != SCHEMA_VERSION:
        return [Check("data", "bad", f"The shards have schema {schema}, not {SCHEMA_VERSION}: write them again.")]
    if missing:
        return [Check("data", "bad", f"{len(missing)} shards are missing, first {missing[0]}: write the data again.")]
    train, held_out = counts.get("train", 0), counts.get("held_out", 0)
    if train < config.batch_size:
        return [Check("data", "bad", f"{train:,} pictures are fewer than a batch of {config.batch_size}: take less.")]
    if not held_out:
        return [Check("data", "bad", "No picture is held out to evaluate on: freeze a version with more pictures.")]
    epochs = config.images / train
    found = f"schema {schema}, {train:,} pictures to train on, {held_out:,} held out; {epochs:,.1f} epochs"
    if epochs > MANY_EPOCHS:
        return [Check("data", "warn", f"{found}: each picture is seen very often, take fewer images or more data.")]
    return [Check("data", "ok", found)]


def _disk_check(planned: Planned) -> Check:
    home = next(folder for folder in (planned.config.out, *planned.config.out.parents) if folder.exists())
    free, wanted = shutil.disk_usage(home).free, need(planned.config)
    if wanted is None:
        return Check("disk", "ok" if free > 5 * GB else "warn", f"{free / GB:,.0f} GB are free")
    found = f"{wanted.disk / GB:,.1f} GB for checkpoints, {free / GB:,.0f} GB are free"
    if wanted.disk > free:
        return Check("disk", "bad", f"{found}: free some, or keep fewer states.")
    return Check("disk", "ok" if free > 2 * wanted.disk else "warn", found)


def _memory_check(planned: Planned, report: dict[str, Any] | Job | None) -> Check:
    wanted = need(planned.config, processes=max(1, planned.asked.processes))
    guess = f"about {wanted.memory / GB:,.1f} GB by estimate" if wanted else ""
    if isinstance(report, dict):
        used, total = report["memory_bytes"] / GB, report["memory_total_bytes"] / GB
        found = f"{used:,.1f} of {total:,.0f} GB measured on {report['device']} in dry steps" + (
            f", {guess}" if guess else ""
        )
        return Check("memory", "ok" if used < 0.9 * total else "warn", found)
    if isinstance(report, Job):
        if report.state in LIVING:
            return Check("memory", "open", f"{guess or 'unknown'}; dry steps are {report.state} (job {report.id})")
        said = report.exit_reason.removeprefix("memory: ")
        memory = report.exit_reason.startswith("memory")
        advice = "take a smaller batch, or more pieces" if memory else "see what it said below"
        return Check("memory", "bad" if memory else "warn", f"Dry steps {report.state}: {said}: {advice}.")
    return Check("memory", "open", f"{guess or 'unknown'}: measure it with dry steps")


def _time_check(planned: Planned, report: dict[str, Any] | Job | None) -> Check:
    steps = planned.config.steps
    if not isinstance(report, dict):
        return Check("time", "open", f"{steps:,} steps; how long they take is known after dry steps")
    step, evaluation = report["seconds_per_step"], report.get("evaluation_seconds", 0.0)  # older ones lack it
    evaluations = planned.config.evaluations
    seconds = step * steps + evaluation * evaluations
    found = (
        f"{steps:,} steps of {step:.2f} s with their loading, {evaluations:,} evaluation{'s' * (evaluations > 1)} of "
    )
    found += f"{evaluation:.0f} s: {duration(seconds)} in all, but for saving states"
    return Check("time", "ok" if seconds < 7 * 86_400 else "warn", found)


def _warnings(config: TrainConfig) -> list[Check]:
    found = []
    if config.init and config.learning_rate >= FINE_TUNE_RATE:
        found.append("a start that knows something wants a smaller learning rate, 1e-5 to 1e-4: this may undo it")
    if config.lock_image and config.lock_text and config.clip:
        found.append("both towers are locked and there is no decoder, so that nothing learns: unlock one")
    if (config.lock_image or config.lock_text) and config.init is None:
        found.append("a locked tower that starts from scratch stays random: start from weights, or unlock it")
    if config.warmup_images > config.images / 2:
        found.append("the warm-up is longer than half the run: shorten it")
    if config.evaluate_images > config.images:
        found.append("it is evaluated at its end only: lower evaluate_images to watch it")
    if config.checkpoint_images > config.images / 2:
        found.append("a kill loses more than half of it: lower checkpoint_images")
    return [Check("settings", "warn", said) for said in found]


def name_of(job: Job) -> str:
    """A run's name."""
    return str(job.config["train"]["name"])


def duration(seconds: float) -> str:
    """In words, roughly."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def run_jobs(services: Services, limit: int) -> Sequence[Job]:
    """The latest runs' jobs, newest first."""
    with reading(services.engine) as session:
        return job_page(session, kind=TRAIN, limit=limit)
