"""Keep a data set and its Label Studio project in sync: pictures there, decisions back as edits of their annotators.

    python -m curation.label_studio.sync --dataset lids --template novel --follow

A decision names what its annotator was shown. Where somebody else changed the same thing since, that change stays and
the conflict is kept (curation/label_studio/conflicts.py) until a person chooses on the Curate page.
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curation.files.home import database_url, home_folder
from curation.label_studio.access import read_access
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import LabelStudioError, Template
from curation.label_studio.dataset_sync import Sync, pictures_folder
from curation.label_studio.follower import Follower
from curation.label_studio.projects import (
    Project,
    ensure_backend,
    ensure_project,
    ensure_webhook,
    free_title,
    list_projects,
    project_name,
)
from db.engine import Engine, open_engine, reading
from db.queries.data_set_queries import count_images, dataset_name, get_dataset
from db.queries.label_studio_queries import projects_of
from db.queries.review_queries import images_with_tag
from db.queries.version_queries import last_ids
from grain.command import run_command
from job_progress import report_progress


@dataclass(frozen=True)
class SyncConfig:
    """Choices of a push or a pull."""

    dataset: str
    """Name of the data set."""
    template: Template = "regions"
    """regions: judge boxes and their descriptions. novel: also say what product a picture shows."""
    title: str = ""
    """Of the project in Label Studio; "" for the data set's name."""
    do: Literal["both", "push", "pull"] = "both"
    """push: pictures there. pull: decisions back."""
    tag: str = ""
    """Push only pictures with a region of this tag, also those whose tasks were deleted there; "" for all others."""
    follow: bool = False
    """Go on until interrupted."""
    app: str = ""
    """Address of the running app, as http://127.0.0.1:7860, whose annotators Label Studio may then ask."""


def command_line(config: SyncConfig) -> list[str]:
    """Return the words that run it from a terminal, after the name of Python."""
    values = {"dataset": config.dataset, "template": config.template, "title": config.title, "do": config.do}
    words = [f"--{name}={value}" for name, value in (values | {"tag": config.tag, "app": config.app}).items() if value]
    return ["-m", "curation.label_studio.sync", *words, *["--follow"] * config.follow]


def connect_app(label_studio: LabelStudio, project: Project, *, app: str, secret: str) -> str:
    """Let a project ask the app's annotators and tell it of edits; return one sentence where it cannot, else "".

    Both can wait: pictures and decisions go without them.
    """
    try:
        ensure_webhook(label_studio, project, url=f"{app}/label-studio/webhook", secret=secret)
        ensure_backend(label_studio, project, url=f"{app}/label-studio", secret=secret)
    except LabelStudioError as error:
        return f"The app's annotators are not connected: {error}"
    return ""


def open_sync(config: SyncConfig, home: Path, engine: Engine) -> Sync:
    """Open the data set with its project, made where there is none and something is to be pushed.

    Raises: LabelStudioError: no server, no such data set, no project to pull from, or a title that does not suit or
            is that of another data set's project.
    """
    access = read_access(home)
    if access is None:
        raise LabelStudioError("There is no Label Studio: start it with make label-studio.")
    with reading(engine) as session:
        dataset = get_dataset(session, name=config.dataset)
    if dataset is None:
        raise LabelStudioError(f"There is no data set {config.dataset!r}: import it first.")
    pictures = pictures_folder(home)
    pictures.mkdir(parents=True, exist_ok=True)
    label_studio = LabelStudio(access)
    label_studio.check()
    title = config.title or _title(config, label_studio, engine, dataset_id=dataset.id)
    if config.do == "pull" and title not in [each.title for each in list_projects(label_studio)]:
        raise LabelStudioError(f"Label Studio has no project {title!r} to pull from: push the data set first.")
    project = ensure_project(label_studio, title, config.template, pictures=pictures)
    if config.do != "pull" and not project.made:
        _check_holder(engine, project_name(label_studio, project), title, dataset_id=dataset.id)
    app = config.app.rstrip("/")
    if config.app and (problem := connect_app(label_studio, project, app=app, secret=access.secret)):
        print(problem, file=sys.stderr)
    return Sync(engine, label_studio, project, dataset_id=dataset.id, home=home)


def _check_holder(engine: Engine, project: str, title: str, *, dataset_id: int) -> None:
    """Refuse a project of another data set: a picture of both has one task there, which can speak for one of them."""
    with reading(engine) as session:
        holders = [each.dataset_id for each in projects_of(session) if each.project == project]
        if holders and dataset_id not in holders:
            other = dataset_name(session, dataset_id=holders[0])
            raise LabelStudioError(f"The project {title!r} is that of the data set {other!r}: choose another title.")


def _title(config: SyncConfig, label_studio: LabelStudio, engine: Engine, *, dataset_id: int) -> str:
    """Return the title of the project that has the data set's pictures, whatever it was called then, or a free one."""
    with reading(engine) as session:
        known = projects_of(session)
    mine = {each.project for each in known if each.dataset_id == dataset_id}
    others = {each.project for each in known} - mine
    projects = [each for each in list_projects(label_studio) if each.template == config.template]
    titles = [each.title for each in projects if project_name(label_studio, each) in mine]
    if titles:
        return config.dataset if config.dataset in titles else titles[-1]
    usable = [each.title for each in projects if project_name(label_studio, each) not in others]
    return free_title(label_studio, config.dataset, config.template, usable=usable)


@dataclass
class SyncRounds:
    """One round after the other: pictures there where anything changed here, decisions back; each says what it did."""

    sync: Sync
    config: SyncConfig
    _pushed: tuple[int, ...] | None = None  # the newest of each thing here when the last push began

    def __call__(self) -> None:
        """Do a round.

        Raises: LabelStudioError: the server does not answer; the next round does all of it.
        """
        with reading(self.sync.engine) as session:
            newest = last_ids(session)
        if self.config.do != "pull" and newest != self._pushed:
            self._push()
            self._pushed = newest
        if self.config.do != "push":
            self._pull()

    def _push(self) -> None:
        with reading(self.sync.engine) as session:
            dataset_id, tag = self.sync.dataset_id, self.config.tag
            only = images_with_tag(session, dataset_id=dataset_id, tag=tag) if tag else None
            total = count_images(session, dataset_id=dataset_id) if only is None else len(only)
        if only is not None and not only:
            raise LabelStudioError(f"No region has the tag {tag!r}: tag some on the Curate page.")

        def on_progress(done: int) -> None:
            report_progress(done, total, "pictures to Label Studio")

        pushed = self.sync.push(only=only, on_progress=on_progress)
        if pushed.added or pushed.changed or not self.config.follow:
            counts = f"{pushed.added:,} new, {pushed.changed:,} changed, {pushed.same:,} as they were"
            if pushed.deleted:
                counts += f", {len(pushed.deleted):,} deleted there and not pushed again"
            print(f"pictures: {counts}", flush=True)
            report_progress(total, total, f"pictures: {counts}")
        for name, sentence in pushed.refused.items():
            print(f"{name[:12]}: {sentence}", file=sys.stderr)

    def _pull(self) -> None:
        pulled = self.sync.pull()
        if pulled.decisions or not self.config.follow:
            counts = f"{pulled.decisions:,} decisions, {pulled.edits:,} edits, {len(pulled.conflicts):,} conflicts"
            print(counts, flush=True)
            report_progress(1, 1, counts)
        for sentence in [*pulled.problems, *(conflict.sentence for conflict in pulled.conflicts)]:
            print(sentence, file=sys.stderr)
        if pulled.conflicts:
            print("Both versions stand under Label Studio on the Curate page: choose there.", file=sys.stderr)


def main(config: SyncConfig) -> None:
    """Run the command."""
    home = home_folder()
    engine = open_engine(database_url(home))
    rounds = SyncRounds(open_sync(config, home, engine), config)
    if not config.follow:
        rounds()
        return
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    follower = Follower(rounds)
    follower.start()
    ended.wait()
    follower.stop()


if __name__ == "__main__":
    run_command(main, SyncConfig, module="curation.label_studio.sync", description=__doc__)
