"""Label Studio, the real one: projects from a template, pictures there, decisions back, and staying in step.

Every step may be done again, so that whatever fails is: nothing is lost and nothing is there twice. The truth is a poll
on `updated_at`; webhooks only say that one is due.
"""

from __future__ import annotations

import hmac
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import httpx
from label_studio_sdk.client import LabelStudio as Client
from label_studio_sdk.core.api_error import ApiError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from curation.label_studio import (
    MOST_SLOTS,
    OURS,
    SLOTS,
    LabelStudioError,
    Reading,
    Template,
    digest,
    from_results,
    labeling_config,
    slots_for,
    to_data,
    to_prediction,
)
from curation.pictures import write_atomic
from curation.records import PictureRecord
from db.engine import DatabaseError

Result = TypeVar("Result")

FOLDER = "label-studio"  # under GRAIN_HOME
ACCESS = "access.json"  # in that folder: where the server is and its token, for this user's eyes only
KEYS = ("url", "token", "secret")  # of that file, for us
FILES = "files"  # in that folder: what the server may hand out
URL_VARIABLE, TOKEN_VARIABLE = "GRAIN_LABEL_STUDIO_URL", "GRAIN_LABEL_STUDIO_TOKEN"
SECRET_HEADER = "X-Grain-Secret"
BACKEND_USER = "grain"
MARK = "GRAIN review: "  # begins the description of our projects; the template follows
TITLE_CHARACTERS = (3, 50)  # Label Studio's own bounds
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before a request is sent again
ATTEMPTS = 6  # of one step
TIMEOUT = 30.0  # seconds for one request
HEALTH_S = 2  # for asking whether it is up: a page must not wait
BATCH = 100  # tasks an import: its SQLite locks under larger ones
PAGE = 200  # tasks a page
OVERLAP = timedelta(seconds=10)  # asked for again: a task is stamped a little before it can be seen
MOST_REASON_CHARACTERS = 200  # of the server's own words
EVENTS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
ALL_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Access:
    """Where a server is and how to enter. secret: what it shows when it calls us."""

    url: str
    token: str = field(repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Project:
    """A project there. slots: descriptions a region that its form has room for."""

    id: int
    title: str
    template: Template
    slots: int = SLOTS


@dataclass(slots=True)
class Pushed:
    """What a push did, by content hash. refused: one sentence a picture."""

    added: int = 0
    changed: int = 0
    same: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    """Their tasks' ids."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person says of one picture; with an equal annotation and moment it is the same decision."""

    task: int
    annotation: int
    who: str
    updated_at: datetime
    """Of the annotation."""
    task_updated_at: datetime
    """Moves whenever anything about the picture does."""
    reading: Reading


@dataclass(frozen=True, slots=True)
class Pulled:
    """decisions: oldest first. problems: task -> one sentence why its annotation cannot be taken; it stays there.

    until: ask from here the next time.
    """

    decisions: tuple[Decision, ...]
    problems: Mapping[int, str]
    until: datetime


def read_access(home: Path) -> Access | None:
    """What the environment says, or the server that `make label-studio` started; None where there is neither.

    Raises: LabelStudioError: half of the environment, or a file that is not as it was written.
    """
    url, token = os.environ.get(URL_VARIABLE, ""), os.environ.get(TOKEN_VARIABLE, "")
    if bool(url) != bool(token):
        raise LabelStudioError(f"{URL_VARIABLE} and {TOKEN_VARIABLE} belong together: set both or neither.")
    if url:
        return Access(url, token, hmac.new(token.encode(), b"grain calls back", "sha256").hexdigest())
    kept = read_kept(home)
    return Access(*(kept[name] for name in KEYS)) if kept else None


def read_kept(home: Path) -> dict[str, str]:
    """What write_access kept; {} where it did not yet.

    Raises: LabelStudioError: the file is not as it was written.
    """
    file = home / FOLDER / ACCESS
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {**{str(name): str(value) for name, value in kept.items()}, **{name: str(kept[name]) for name in KEYS}}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LabelStudioError(f"{file} cannot be read: remove it and run make label-studio again.") from error


def write_access(home: Path, access: Access, **more: str) -> None:
    """Keep it where read_access finds it, for this user only. more: what only the server itself needs."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(stat.S_IRWXU)
    kept = {"url": access.url, "token": access.token, "secret": access.secret, **more}
    before = os.umask(0o077)
    try:
        write_atomic(folder / ACCESS, json.dumps(kept).encode())
    finally:
        os.umask(before)


def is_secret(given: str | None, secret: str) -> bool:
    """Whether a caller knows the secret; takes as long for a near miss as for nonsense. Nobody knows an empty one."""
    return bool(secret) and hmac.compare_digest((given or "").encode(), secret.encode())


class LabelStudio:
    """A Label Studio server. A busy or failing one is asked again, later and later.

    The token stands in no message, and no proxy of the environment sees it.
    """

    def __init__(
        self,
        access: Access,
        *,
        timeout: float = TIMEOUT,
        first_wait: float = FIRST_WAIT,
        attempts: int = ATTEMPTS,
        batch: int = BATCH,
    ) -> None:
        """timeout: seconds for one request. first_wait: seconds before the second of so many attempts.

        Raises: LabelStudioError: no http address, or one that holds a password.
        """
        try:
            address = httpx.URL(access.url)
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host or address.userinfo:
            raise LabelStudioError("Label Studio's address must look like http://127.0.0.1:8081, without a password.")
        self.url = access.url.rstrip("/")
        self._first_wait, self._attempts, self._batch = first_wait, attempts, batch
        self._http = httpx.Client(timeout=timeout, trust_env=False)
        self._client: Any = Client(  # type: ignore[no-untyped-call]
            base_url=self.url, api_key=access.token, httpx_client=self._http, max_retries=0
        )
        self._people: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"LabelStudio({self.url!r})"

    def health(self, within: int = HEALTH_S) -> str:
        """Nothing where it is up and lets us in, else one sentence. Asks once, for so many seconds at most."""
        try:
            self._client.users.whoami(request_options={"timeout_in_seconds": within})
        except (ApiError, httpx.HTTPError) as error:
            return str(self._sentence(error))
        return ""

    def ensure_project(
        self, title: str, template: Template, *, slots: int = SLOTS, pictures: Path | None = None
    ) -> Project:
        """The project of that title, made where there is none, with room for so many descriptions a region.

        Args:   pictures: folder of them that the server shall show, strictly below its document root.
        Raises: LabelStudioError: the title does not suit, is another project's, or the server does not answer.
        """
        least, most = TITLE_CHARACTERS
        if not least <= len(title) <= most:
            raise LabelStudioError(f"The project's title must have {least} to {most} characters, got {len(title)}.")
        project = self._patiently(lambda: self._project(title, template, slots))
        if pictures is not None:
            self._patiently(lambda: self._show(project, pictures))
        return project

    def projects(self) -> list[Project]:
        """Those there that GRAIN made.

        Raises: LabelStudioError: the server does not answer.
        """
        found = []
        for each in self._patiently(lambda: list(self._client.projects.list())):
            template = (each.description or "").removeprefix(MARK)
            if (each.description or "").startswith(MARK) and template in get_args(Template):
                room = (each.label_config or "").count('name="description_')
                found.append(Project(each.id, each.title, cast(Template, template), room))
        return found

    def push(
        self, project: Project, records: Iterable[PictureRecord], address: Callable[[PictureRecord], str]
    ) -> Pushed:
        """See that each picture has a task, as the record has it now; decisions there are not touched.

        Args:   records: taken as they are needed. address: where the editor finds a picture, as in
                /data/local-files/?d=pictures/1.jpg
        Raises: LabelStudioError: the server does not answer; what has arrived stays, and the next push does the rest.
        """
        there, pushed = self._there(project), Pushed()
        wanted: set[str] = set()
        new: dict[str, PictureRecord] = {}
        for record in records:
            wanted.add(record.sha256)
            old = there.get(record.sha256)
            if old is None:
                new[record.sha256] = record
            elif old.digest == digest(record):
                pushed.same += 1
            else:
                project = self._with_room(project, [record])
                self._change(project, old.id, record, address(record), pushed)
            if len(new) >= self._batch:
                project = self._add(project, new, address, pushed)
                new = {}
        self._add(project, new, address, pushed)
        if pushed.added:
            there = self._there(project)
        pushed.tasks = {sha256: there[sha256].id for sha256 in wanted if sha256 in there}
        return pushed

    def pull(self, project: Project, since: datetime | None = None) -> Pulled:
        """What people submitted since then, each annotation as it is now; some that came before come again.

        Raises: LabelStudioError: the server does not answer.
        """
        since = since or ALL_TIME
        newest = self._page(project, 1, size=1, query={"ordering": ["-tasks:updated_at"]})
        until = max([since, *(_moment(task["updated_at"]) - OVERLAP for task in newest)])
        decisions: dict[int, Decision] = {}
        problems: dict[int, str] = {}
        moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        conditions = [
            {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": moment},
            {"filter": "filter:tasks:total_annotations", "operator": "greater", "type": "Number", "value": 0},
        ]
        query = {"filters": {"conjunction": "and", "items": conditions}}
        for task in self._tasks(project, query, fields="all"):
            for annotation in task["annotations"]:
                if annotation.get("was_cancelled"):
                    continue
                try:
                    decision = self._decision(task, annotation, project.template)
                except LabelStudioError as error:
                    problems[task["id"]] = str(error)
                else:
                    decisions[decision.annotation] = decision
        ordered = sorted(decisions.values(), key=lambda decision: (decision.updated_at, decision.annotation))
        return Pulled(tuple(ordered), problems, until)

    def ensure_webhook(self, project: Project, url: str, secret: str) -> None:
        """See that Label Studio tells us at url when an annotation changes, and shows the secret.

        Raises: LabelStudioError: the server does not answer, or may not call that address.
        """
        wanted = {"url": url, "headers": {SECRET_HEADER: secret}, "actions": list(EVENTS), "send_payload": False}

        def step() -> None:
            hooks = [hook for hook in self._client.webhooks.list(project=str(project.id)) if hook.url == url]
            for hook in hooks[1:]:
                self._client.webhooks.delete(hook.id)
            if not hooks:
                self._client.webhooks.create(project=project.id, send_for_all_actions=False, **wanted)
            elif hooks[0].headers != wanted["headers"]:
                self._client.webhooks.delete(hooks[0].id)
                self._client.webhooks.create(project=project.id, send_for_all_actions=False, **wanted)

        self._patiently(step)

    def ensure_backend(self, project: Project, url: str, secret: str, title: str = "GRAIN annotators") -> None:
        """See that the project asks our annotators at url for predictions; they must be there already.

        Raises: LabelStudioError: the server does not answer, or cannot reach that address.
        """

        def step() -> None:
            if not [backend for backend in self._client.ml.list(project=project.id) if backend.url == url]:
                self._client.ml.create(
                    url=url,
                    project=project.id,
                    title=title,
                    auth_method="BASIC_AUTH",
                    basic_auth_user=BACKEND_USER,
                    basic_auth_pass=secret,
                )

        self._patiently(step)

    def task_url(self, project_id: int, task_id: int) -> str:
        """The page that shows a task."""
        return f"{self.url}/projects/{project_id}/data?task={task_id}"

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def _project(self, title: str, template: Template, slots: int) -> Project:
        """Find or make it, and give its form the room."""
        slots = max(slots, SLOTS)
        found = [each for each in self._client.projects.list() if each.title == title]
        ours = sorted((each for each in found if (each.description or "").startswith(MARK)), key=lambda each: each.id)
        if found and not ours:
            raise LabelStudioError(
                f"Label Studio has a project {title!r} that GRAIN did not make: choose another title."
            )
        if not ours:
            made = self._client.projects.create(
                title=title,
                description=MARK + template,
                label_config=labeling_config(template, slots),
                enable_empty_annotation=True,
                show_collab_predictions=True,
            )
            return Project(made.id, title, template, slots)
        there = (ours[0].description or "").removeprefix(MARK)
        if there != template or there not in get_args(Template):
            raise LabelStudioError(
                f"The project {title!r} is made for {there!r}, not {template!r}: choose another title."
            )
        room = (ours[0].label_config or "").count('name="description_')
        if room < slots:
            self._client.projects.update(ours[0].id, label_config=labeling_config(template, slots))
        return Project(ours[0].id, title, template, max(room, slots))

    def _show(self, project: Project, pictures: Path) -> None:
        storages = self._client.import_storage.local
        if str(pictures) not in [storage.path for storage in storages.list(project=project.id)]:
            storages.create(project=project.id, title="pictures", path=str(pictures), use_blob_urls=True)

    def _with_room(self, project: Project, records: Sequence[PictureRecord]) -> Project:
        """The project, its form grown where a region has more descriptions than there is room for."""
        slots = min(slots_for(records), MOST_SLOTS)
        if slots <= project.slots:
            return project
        return self._patiently(lambda: self._project(project.title, project.template, slots))

    def _add(
        self,
        project: Project,
        records: Mapping[str, PictureRecord],
        address: Callable[[PictureRecord], str],
        pushed: Pushed,
    ) -> Project:
        """Make tasks of pictures that have none; the project, whose form may have grown."""
        project = self._with_room(project, list(records.values()))
        tasks = {}
        for sha256, record in records.items():
            try:
                tasks[sha256] = _task(record, project, address(record), None)
            except LabelStudioError as error:
                pushed.refused[sha256] = str(error)
        if tasks:
            pushed.added += self._import(project, tasks, pushed)
        return project

    def _import(self, project: Project, tasks: dict[str, dict[str, Any]], pushed: Pushed) -> int:
        """Make tasks, none twice: where an answer was lost, what has arrived is looked up before the next try."""
        left, asked = dict(tasks), False

        def step() -> None:
            nonlocal asked
            if asked:
                for sha256 in self._there(project):
                    left.pop(sha256, None)
            asked = True
            if left:
                self._client.projects.import_tasks(project.id, request=list(left.values()))

        try:
            self._patiently(step)
        except _RefusedError as error:  # all or nothing: find the one
            if len(tasks) == 1:
                pushed.refused[next(iter(tasks))] = str(error)
                return 0
            halves = _parts(list(tasks), (len(tasks) + 1) // 2)
            return sum(self._import(project, {sha256: tasks[sha256] for sha256 in half}, pushed) for half in halves)
        return len(tasks)

    def _change(self, project: Project, task_id: int, record: PictureRecord, address: str, pushed: Pushed) -> None:
        """Bring a task up to date. Its data come last: until they are there, the next push does all of it again."""

        def step() -> None:
            there = self._client.tasks.get(str(task_id)).model_dump()
            task = _task(record, project, address, there["data"])
            [prediction] = task["predictions"]
            if known := [each["id"] for each in there["predictions"] or []]:
                # the first came with the task; later ones are of the project's annotators
                self._client.predictions.update(min(known), **{"score": None, **prediction})
            else:
                self._client.predictions.create(task=task_id, **prediction)
            self._client.tasks.update(str(task_id), data=task["data"])

        try:
            self._patiently(step)
        except _RefusedError as error:
            pushed.refused[record.sha256] = str(error)
        else:
            pushed.changed += 1

    def _there(self, project: Project) -> dict[str, _Task]:
        """The tasks there, by content hash. A second one of a picture, left by a lost answer, is removed."""
        there: dict[str, _Task] = {}
        for each in self._tasks(project, {}):
            mine = each["data"].get(OURS)
            if not isinstance(mine, dict) or "picture" not in mine:
                continue
            task = _Task(each["id"], str(mine.get("digest")), each["total_annotations"] or 0)
            first = there.setdefault(str(mine["picture"].get("sha256")), task)
            if first is task:
                continue
            kept, other = (task, first) if task.annotations > first.annotations else (first, task)
            there[str(mine["picture"].get("sha256"))] = kept
            if not other.annotations:
                self._patiently(partial(self._client.tasks.delete, str(other.id)))
        return there

    def _tasks(self, project: Project, query: Mapping[str, Any], **fields: Any) -> Iterator[dict[str, Any]]:
        """Tasks in the order of their ids: while pages are read, the set may grow before a place, never shrink."""
        seen: set[int] = set()
        number = 1
        while True:
            page = self._page(project, number, query={**query, "ordering": ["tasks:id"]}, **fields)
            for task in page:
                if task["id"] not in seen:
                    seen.add(task["id"])
                    yield task
            if len(page) < PAGE:
                return
            number += 1

    def _page(
        self, project: Project, number: int, *, query: Mapping[str, Any], size: int = PAGE, **fields: Any
    ) -> list[dict[str, Any]]:
        def step() -> list[dict[str, Any]]:
            try:
                pager = self._client.tasks.list(
                    project=project.id, page=number, page_size=size, query=json.dumps(query), **fields
                )
            except ApiError as error:
                if error.status_code == 404 and number > 1:  # the page before was the last, and full
                    return []
                raise
            return [task.model_dump() for task in pager.items or []]

        return self._patiently(step)

    def _decision(self, task: Mapping[str, Any], annotation: Mapping[str, Any], template: Template) -> Decision:
        who = self._who(annotation.get("updated_by") or annotation.get("completed_by"))
        reading = from_results(annotation["result"] or [], task["data"], template=template, who=who)
        moments = _moment(annotation["updated_at"]), _moment(task["updated_at"])
        return Decision(task["id"], annotation["id"], who, *moments, reading)

    def _who(self, person: Any) -> str:
        number = int(person["id"] if isinstance(person, Mapping) else person or 0)
        if number not in self._people:
            people = self._patiently(lambda: list(self._client.users.list()))
            self._people |= {each.id: each.email or each.username or str(each.id) for each in people}
        return self._people.get(number, str(number))

    def _patiently(self, step: Callable[[], Result]) -> Result:
        """Do a step that may be done again, again while that may help.

        Raises: LabelStudioError.
        """
        again = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_attempt(self._attempts), wait=self._wait, reraise=True
        )
        try:
            return again(step)
        except (ApiError, httpx.HTTPError) as error:
            raise self._sentence(error) from error

    def _wait(self, state: RetryCallState) -> float:
        """Seconds before the next try: longer each time and random, and no shorter than the server asks for."""
        error = state.outcome.exception() if state.outcome else None
        backoff = wait_random_exponential(multiplier=self._first_wait, max=LONGEST_WAIT)(state)
        headers = httpx.Headers(error.headers) if isinstance(error, ApiError) and error.headers else httpx.Headers()
        asked = headers.get("retry-after", "")
        return max(backoff, min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0)

    def _sentence(self, error: ApiError | httpx.HTTPError) -> LabelStudioError:
        """What went wrong, for a person; of the server's words only those about what we sent."""
        here = f"Label Studio at {self.url}"
        if isinstance(error, httpx.TimeoutException):
            return LabelStudioError(f"{here} did not answer in time: look at its log; what is left is done later.")
        if isinstance(error, httpx.HTTPError):
            return LabelStudioError(f"{here} cannot be reached: start it with make label-studio, or check its address.")
        code = error.status_code or 0
        if code in (401, 403):
            return LabelStudioError(
                f"{here} does not take the token ({code}): run make label-studio, or set its token."
            )
        if _may_pass(error):
            return LabelStudioError(
                f"{here} answers {code} again and again: look at its log; what is left is done later."
            )
        if code < 400:
            return LabelStudioError(f"{here} answers what Label Studio does not ({code}): check its address.")
        if code == 404:
            return LabelStudioError(f"{here} has no such project or task any more (404): push the pictures again.")
        body = error.body if isinstance(error.body, Mapping) else {}
        words = " ".join(str(body.get("validation_errors") or body.get("detail") or "").split())
        return _RefusedError(f"{here} refuses this ({code}): {words[:MOST_REASON_CHARACTERS]}")


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be known of a task that is there."""

    id: int
    digest: str
    annotations: int


class _RefusedError(LabelStudioError):
    """Label Studio, or its form, cannot take this one thing; others may pass."""


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status_code in (408, 429) or (error.status_code or 0) >= 500
    return isinstance(error, httpx.TransportError)


def _task(record: PictureRecord, project: Project, address: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Raises: _RefusedError: no form has room for it."""
    try:
        data = to_data(record, address, before)
    except LabelStudioError as error:
        raise _RefusedError(str(error)) from error
    prediction = to_prediction(record, template=project.template, push=data[OURS]["push"])
    return {"data": data, "predictions": [prediction]}


def _parts(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _moment(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


class Follower:
    """Polls in a thread of its own: soon after a hint, else every so often, and more rarely while it fails.

    problem: one sentence while the last poll failed, else "".
    """

    def __init__(self, poll: Callable[[], object], *, every: float = 30.0, longest: float = 300.0) -> None:
        """poll: may be called at any time, any number of times. every, longest: seconds between polls."""
        self.problem = ""
        self._poll, self._every, self._longest = poll, every, longest
        self._due, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="label-studio", daemon=True)

    def start(self) -> None:
        """Poll at once and from then on."""
        self._thread.start()

    def hint(self) -> None:
        """Something may have changed. Twice, late or never makes no difference but in time."""
        self._due.set()

    def stop(self) -> None:
        """End, after the poll that is under way."""
        self._ended.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._every
        while not self._ended.is_set():
            self._due.clear()
            try:
                self._poll()
                self.problem, pause = "", self._every
            except (LabelStudioError, DatabaseError) as error:
                self.problem, pause = str(error), min(2 * pause, self._longest)
            self._due.wait(pause)
