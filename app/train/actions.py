"""Queue what the Train page's form describes: a training, or dry steps that measure it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from app.access.accounts import Person
from app.jobs.control import NewJob
from app.jobs.devices import CPU, GPU
from app.services import Services
from app.train.plan import TrainPlan, TrainRequest, launch_words, plan_run
from app.train.preflight import check_plan
from app.train.run_jobs import DATA, DRY, SOONER, TRAIN, name_taken
from grain.train_config import TrainConfig
from user_errors import UserError, sentence


def measure(services: Services, person: Person, request: TrainRequest) -> int:
    """Queue dry steps, ahead of other work; return the id of the job, or of one that measures the same already.

    Raises: UserError: one of the fields cannot be used.
    """
    plan = plan_run(services, request, person.role)
    argv = launch_words(request, replace(plan.config, name=""), "grain.train.preflight")
    after = _prepare(services, person, plan)
    new = _new_job(DRY, person, plan, argv=argv, priority=SOONER, after=after)
    return services.jobs.submit(replace(new, once=True))


def queue(services: Services, person: Person, request: TrainRequest) -> int:
    """Queue the training, and before it what makes its data; return the id of its job.

    Raises: UserError: it cannot run; the first reason.
    """
    plan = plan_run(services, request, person.role)
    bad = [check for check in check_plan(services, plan) if check.state == "bad"]
    if bad:
        raise UserError(bad[0].found)
    with reserved_folder(plan.config):
        after = _prepare(services, person, plan)
        new = _new_job(TRAIN, person, plan, argv=plan.argv, priority=request.priority, after=after)
        return services.jobs.submit(new)


@contextmanager
def reserved_folder(config: TrainConfig) -> Iterator[None]:
    """Make the run's folder, which only one of several people who queue the same name can; remove it on failure.

    Raises: UserError: it is there already, or cannot be made.
    """
    try:
        config.out.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(name_taken(config.name)) from error
    except OSError as error:
        raise UserError(sentence(error)) from error
    try:
        yield
    except BaseException:
        config.out.rmdir()
        raise


def _prepare(services: Services, person: Person, plan: TrainPlan) -> list[int]:
    """Return the jobs that make the data that are missing; those are queued that are not under way."""
    priority = plan.request.priority
    jobs = [
        NewJob(
            kind=DATA,
            owner=person.name,
            config={"out": str(each.folder)},
            argv=each.words,
            priority=priority,
            once=True,
        )
        for each in plan.missing
    ]
    return [services.jobs.submit(job) for job in jobs]


def _new_job(
    kind: str, person: Person, plan: TrainPlan, *, argv: Sequence[str], priority: int, after: Sequence[int]
) -> NewJob:
    where = plan.request.where
    return NewJob(
        kind=kind,
        owner=person.name,
        config=plan.snapshot(),
        argv=argv,
        device=where,
        priority=priority,
        backend="local" if where in (CPU, GPU) else where,
        width=plan.request.processes if where == GPU else 1,
        after=after,
    )
