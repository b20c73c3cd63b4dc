"""Check a planned training before it runs: its name, data, disk, memory and time, and settings that look wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.services import Services
from app.train.data_checks import PreflightCheck, data_checks, train_count
from app.train.plan import CHECKPOINT, TrainPlan
from app.train.run_jobs import DRY, name_taken, run_jobs
from app.ui.html import duration
from db.engine import reading
from db.models import Job
from db.queries.job_queries import IN_PROGRESS, job_page
from grain.train_config import TrainConfig
from user_errors import sentence

if TYPE_CHECKING:
    from grain.train.cost import MemoryCost

GB = 2**30
FINE_TUNE_RATE = 5e-4  # pretrained weights need a lower rate
LONG_RUN_S = 7 * 86_400.0
LIBRARIES_BYTES = 600e6  # what CUDA's libraries hold before the first weight
TOKENS_BYTES = 660_000  # of a picture as its regions are trained on, see grain.dense.features
ReportRow = Mapping[str, Any]  # what grain/train/preflight.py prints of its dry steps


def check_plan(services: Services, plan: TrainPlan) -> list[PreflightCheck]:
    """Return all that is known of a training before it runs, and what is likely a mistake."""
    report = _report(services, plan)
    return [
        _name_check(services, plan.config),
        *data_checks(services, plan),
        *_start_check(services, plan),
        *_resource_checks(services, plan, report),
        _time_check(plan, report),
        *_warnings(plan.config),
    ]


def _report(services: Services, plan: TrainPlan) -> ReportRow | Job | None:
    """Return what dry steps of the same settings measured; their job before its end; None when there is none."""
    settings = _comparable(plan.snapshot())
    with reading(services.engine) as session:
        jobs = [job for job in job_page(session, kind=DRY, limit=30) if _comparable(job.config) == settings]
    if not jobs:
        return None
    if jobs[0].state != "done":
        return jobs[0]
    for line in reversed(services.jobs.log_tail(jobs[0].id, 50).splitlines()):
        if line.startswith('{"device"'):
            return dict(json.loads(line))
    return None


def _comparable(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that memory and time depend on."""
    asked = dict(snapshot.get("asked") or {})
    train = {k: v for k, v in dict(snapshot.get("train") or {}).items() if k not in ("out", "name", "twin", "images")}
    return {"train": train, "where": asked.get("where"), "processes": asked.get("processes")}


def _name_check(services: Services, config: TrainConfig) -> PreflightCheck:
    if config.out.exists() or any(job.config["train"]["out"] == str(config.out) for job in run_jobs(services, 1000)):
        return PreflightCheck("name", "bad", name_taken(config.name))
    return PreflightCheck("name", "ok", f"{config.out}")


def _start_check(services: Services, plan: TrainPlan) -> list[PreflightCheck]:
    """Say what a checkpoint to start from was trained on: of other pictures it knows little."""
    kind, _, name = plan.request.start.partition(":")
    info = services.registry.find(name).info if kind == CHECKPOINT else None
    return [PreflightCheck("start", "ok", f"{info.name} {info.origin}")] if info else []


def _resource_checks(services: Services, plan: TrainPlan, report: ReportRow | Job | None) -> list[PreflightCheck]:
    """Check disk and memory, whose need is unknown where the start is a checkpoint of another shape than the preset."""
    from grain.train.cost import memory_of  # with torch, which the first page does not wait for

    config, needed = plan.config, None
    if config.init is None or config.init.startswith("open_clip:"):
        try:
            needed = memory_of(config, processes=max(1, plan.request.processes))
        except ValueError as error:  # the training would refuse it too
            return [_disk_check(plan, 0), PreflightCheck("memory", "bad", sentence(error))]
    disk = needed.disk_bytes if needed else 0
    if plan.regions_only:
        disk = (train_count(services, plan.data[0]) or 0) * TOKENS_BYTES * (2 if config.flip else 1)
    return [_disk_check(plan, disk), _memory_check(needed, report)]


def _disk_check(plan: TrainPlan, needed: int) -> PreflightCheck:
    home = next(folder for folder in (plan.config.out, *plan.config.out.parents) if folder.exists())
    free = shutil.disk_usage(home).free
    if not needed:
        return PreflightCheck("disk", "ok" if free > 5 * GB else "warn", f"{free / GB:,.0f} GB are free")
    what, advice = "checkpoints", "keep fewer states"
    if plan.regions_only:
        what, advice = "what is read of the pictures, until it ends", "take fewer pictures"
    found = f"{needed / GB:,.1f} GB for {what}, {free / GB:,.0f} GB are free"
    if needed > free:
        return PreflightCheck("disk", "bad", f"{found}: free some, or {advice}.")
    return PreflightCheck("disk", "ok" if free > 2 * needed else "warn", found)


def _memory_check(needed: MemoryCost | None, report: ReportRow | Job | None) -> PreflightCheck:
    estimate = f"about {(needed.bytes + LIBRARIES_BYTES) / GB:,.1f} GB by estimate" if needed else ""
    if report is None:
        return PreflightCheck("memory", "open", f"{estimate or 'unknown'}: measure it with dry steps")
    if not isinstance(report, Job):
        used, total = report["memory_bytes"] / GB, report["memory_total_bytes"] / GB
        found = f"{used:,.1f} of {total:,.0f} GB measured on {report['device']} in dry steps"
        found += f", {estimate}" if estimate else ""
        return PreflightCheck("memory", "ok" if used < 0.9 * total else "warn", found)
    if report.state in IN_PROGRESS:
        found = f"{estimate or 'unknown'}; dry steps are {report.state} (job {report.id})"
        return PreflightCheck("memory", "open", found)
    reason = report.exit_reason.removeprefix("memory: ")
    out_of_memory = report.exit_reason.startswith("memory")
    advice = "take a smaller batch, or more pieces" if out_of_memory else "see its message below"
    return PreflightCheck(
        "memory", "bad" if out_of_memory else "warn", f"Dry steps {report.state}: {reason}: {advice}."
    )


def _time_check(plan: TrainPlan, report: ReportRow | Job | None) -> PreflightCheck:
    steps, evaluations = plan.config.steps, plan.config.evaluations
    if report is None or isinstance(report, Job):
        return PreflightCheck("time", "open", f"{steps:,} steps; how long they take is known after dry steps")
    step, evaluation = report["seconds_per_step"], report.get("evaluation_seconds", 0.0)  # older ones lack it
    reading = report.get("reading_seconds", 0.0)
    seconds = reading + step * steps + evaluation * evaluations
    first = f"{duration(reading)} to read the pictures, " if reading else ""
    found = (
        f"{first}{steps:,} steps of {step:.2f} s with their loading, {evaluations:,} evaluation"
        f"{'s' * (evaluations > 1)} of {evaluation:.0f} s: {duration(seconds)} in all, but for saving states"
    )
    return PreflightCheck("time", "ok" if seconds < LONG_RUN_S else "warn", found)


def _warnings(config: TrainConfig) -> list[PreflightCheck]:
    found = []
    if config.init and config.learning_rate >= FINE_TUNE_RATE:
        found.append("pretrained weights need a lower learning rate, 1e-5 to 1e-4: this one may undo them")
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
    return [PreflightCheck("settings", "warn", sentence) for sentence in found]
