"""app/label_studio/backend.py: our annotators and webhooks, for those who know the secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from app.label_studio.backend import MOST_BODY_BYTES, MOST_TASKS, ml_backend
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.access import BACKEND_USER, SECRET_HEADER
from curation.label_studio.apply_decisions import PullSummary
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import LabelStudioError, from_results, labeling_config, to_data, to_results
from curation.label_studio.dataset_sync import Sync
from curation.label_studio.follower import Follower
from curation.label_studio.projects import Project, ensure_backend, ensure_webhook
from curation.label_studio.push import push_pictures
from tests.support.label_studio_server import (
    Running,
    address,
    annotated,
    call,
    counts,
    judged,
    label_studio,
    label_studio_server,
    make_sync,
    picture,
    project,
    records_in,
    served,
    statuses,
    submit,
)
from tests.support.waiting import PATIENCE_S, until

__all__ = ["label_studio", "label_studio_server", "make_sync", "project"]  # fixtures

SHA = "ab" * 32
FOUND = PictureRecord(
    SHA,
    64,
    48,
    "1.png",
    regions=(RegionRecord((0.1, 0.2, 0.3, 0.4), (DescriptionRecord("a lid", score=0.9, source="owlv2@abc"),)),),
    id=7,
)
ROUTES = [("GET", "/health"), ("GET", "/versions"), ("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook")]


class Asked:
    """What the backend asked of us."""

    def __init__(self) -> None:
        self.pictures: list[str] = []
        self.hints = 0

    def annotate(self, sha256: str) -> PictureRecord | None:
        self.pictures.append(sha256)
        return FOUND if sha256 == SHA else None

    def hint(self) -> None:
        self.hints += 1


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def backend(asked: Asked) -> TestClient:
    served = ml_backend(asked.annotate, secret="the secret", version="owlv2@abc", hint=asked.hint)
    return TestClient(served, headers={SECRET_HEADER: "the secret"})


def predict(backend: TestClient, *data: Any) -> Any:
    tasks = [{"id": number, "data": each} for number, each in enumerate(data)]
    return backend.post("/predict", json={"tasks": tasks, "label_config": labeling_config("novel")})


def test_it_is_up_and_says_its_version(backend: TestClient) -> None:
    assert backend.get("/health").json()["status"] == "UP"
    assert backend.post("/setup", json={"access_token": "x"}).json() == {"model_version": "owlv2@abc"}
    assert backend.get("/versions").json() == {"versions": ["owlv2@abc"]}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_forged_is_refused_everywhere(backend: TestClient, asked: Asked, method: str, path: str) -> None:
    for headers in (
        {SECRET_HEADER: "the Secret"},
        {SECRET_HEADER: ""},
        {SECRET_HEADER.encode(): "ÿ".encode("latin-1")},
    ):
        assert backend.request(method, path, headers=headers).status_code == 401
    del backend.headers[SECRET_HEADER]
    for authorization in ("", "Basic", "Basic !!", "Basic ABCD", "Basic ÿ", "Bearer the secret"):
        assert (
            backend.request(method, path, headers={b"Authorization": authorization.encode("latin-1")}).status_code
            == 401
        )
    assert backend.request(method, path, auth=(BACKEND_USER, "guess")).status_code == 401
    assert backend.request(method, path, auth=("root", "the secret")).status_code == 401
    assert backend.request(method, path, auth=(BACKEND_USER, "the secret")).status_code in (200, 422)
    assert asked.pictures == []


def test_nobody_enters_where_there_is_no_secret(asked: Asked) -> None:
    open_door = TestClient(ml_backend(asked.annotate, secret="", version="", hint=asked.hint))
    assert open_door.post("/webhook", headers={SECRET_HEADER: ""}).status_code == 401 and asked.hints == 0


def test_a_webhook_is_a_hint_whatever_it_says(backend: TestClient, asked: Asked) -> None:
    for content in (b"", b"{}", b"not json", b'{"action": "ANNOTATION_CREATED", "task": {"id": 1}}'):
        assert backend.post("/webhook", content=content).status_code == 200
    assert asked.hints == 4


def test_a_picture_of_ours_gets_a_prediction_that_becomes_new_regions(backend: TestClient, asked: Asked) -> None:
    data = to_data(FOUND, "/1.png")
    answer = predict(backend, data).json()
    [prediction] = answer["results"]
    assert (prediction["score"], prediction["model_version"]) == (0.9, "owlv2@abc")
    reading = from_results(prediction["result"], data, template="novel", who="ann")
    assert reading.annotated.regions == FOUND.regions and asked.pictures == [SHA]


def test_nothing_is_fetched_for_a_task_of_other_people(backend: TestClient, asked: Asked) -> None:
    theirs = [
        {"image": "http://169.254.169.254/"},
        {"image": "/etc/passwd"},
        None,
        {"grain": {"picture": {"sha256": 5}}},
    ]
    results = predict(backend, *theirs).json()["results"]
    assert [result["result"] for result in results] == [[]] * 4 and asked.pictures == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"tasks": 5}', b"x", b'{"tasks": [' + b"1," * MOST_TASKS + b"1]}"])
def test_what_is_no_request_is_refused_in_one_sentence(backend: TestClient, content: bytes) -> None:
    answer = backend.post("/predict", content=content)
    assert answer.status_code == 422
    assert answer.json() == {"detail": f"Expected a list of at most {MOST_TASKS} tasks."}


def test_a_body_without_end_is_cut(backend: TestClient) -> None:
    assert backend.post("/predict", content=b" " * (MOST_BODY_BYTES + 1)).status_code == 422


def test_a_picture_that_cannot_be_read_is_said(asked: Asked) -> None:
    def refuse(_: str) -> None:
        raise ValueError("This picture's file is gone.")

    backend = TestClient(ml_backend(refuse, secret="s", version="v", hint=asked.hint), headers={SECRET_HEADER: "s"})
    answer = predict(backend, to_data(FOUND, ""))
    assert (answer.status_code, answer.json()) == (422, {"detail": "This picture's file is gone."})


def hint(ours: str, secret: str, action: str) -> int:
    """The status of a webhook's request."""
    body, headers = {"action": action}, {SECRET_HEADER: secret}
    return httpx.post(f"{ours}/webhook", headers=headers, json=body, timeout=PATIENCE_S).status_code


@pytest.mark.slow
def test_webhooks_twice_reordered_missing_or_forged_end_in_the_same_state(
    label_studio_server: Running, label_studio: LabelStudio, project: Project, make_sync: Callable[[str], Sync]
) -> None:
    told, often, once = make_sync("told"), make_sync("often"), make_sync("once")
    tasks = told.push().tasks
    assert counts(often.push()) == counts(once.push()) == (0, 0, 3)
    polls: list[PullSummary] = []
    follower = Follower(lambda: polls.append(told.pull()), every=600.0)
    with served(ml_backend(lambda _: None, secret="the secret", version="v", hint=follower.hint)) as ours:
        ensure_webhook(label_studio, project, url=f"{ours}/webhook", secret="the secret")
        follower.start()
        until(lambda: len(polls) == 1)
        for secret in ("", "guess", label_studio_server.access.token):
            assert hint(ours, secret, "TASKS_DELETED") == 401
        assert len(polls) == 1
        first, second, third = records_in(told)
        annotation = submit(label_studio_server, tasks[first.sha256], first, judged(first, "accepted", "open"))
        often.pull()
        thought_again = {"result": annotated(first, judged(first, "rejected", "reviewed"))}
        call(label_studio_server, "PATCH", f"/api/annotations/{annotation}/", json=thought_again)
        often.pull()
        submit(label_studio_server, tasks[third.sha256], third, replace(third, review="empty", regions=()))
        submit(label_studio_server, tasks[second.sha256], second, judged(second, "accepted", "reviewed"))
        for action in ("ANNOTATION_UPDATED", "ANNOTATION_CREATED", "ANNOTATION_CREATED"):  # again, and out of order
            assert hint(ours, "the secret", action) == 200
            often.pull()
        once.pull()
        expected = [("reviewed", ["rejected"]), ("reviewed", ["accepted"]), ("empty", [])]
        until(lambda: statuses(told) == expected)
        follower.stop()
    assert statuses(often) == statuses(once) == expected and follower.problem == ""


@pytest.mark.slow
def test_label_studio_asks_our_annotators_with_the_secret(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    asked: list[str] = []

    def annotate(sha256: str) -> PictureRecord | None:
        asked.append(sha256)
        said = (DescriptionRecord("found here", score=0.75, source="owlv2@new"),)
        return picture(70, regions=(RegionRecord((0.0, 0.0, 1.0, 1.0), said),))

    tasks = push_pictures(label_studio, project, [picture(70)], address=address).tasks
    with served(ml_backend(annotate, secret="the secret", version="owlv2@new", hint=lambda: None)) as ours:
        with pytest.raises(LabelStudioError, match=r"^Label Studio at .* refuses this \(400\)"):
            ensure_backend(label_studio, project, url=ours, secret="guess")
        for _ in range(2):
            ensure_backend(label_studio, project, url=ours, secret="the secret")
        params = {"id": "retrieve_tasks_predictions", "project": project.id}
        chosen = {"selectedItems": {"all": True, "excluded": []}}
        call(label_studio_server, "POST", "/api/dm/actions", params=params, json=chosen)
    assert asked == [picture(70).sha256]
    there = call(label_studio_server, "GET", "/api/predictions/", params={"task": tasks[picture(70).sha256]})
    [prediction] = [each for each in there if each["model_version"] == "owlv2@new"]
    assert prediction["score"] == 0.75 and prediction["result"][1]["value"]["text"] == ["found here"]


def test_annotators_are_shown_what_was_pushed_from_any_source(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    by_hand = replace(picture(72).regions[0].descriptions[0], source="human:ada")
    records = [
        picture(71),
        picture(72, regions=(RegionRecord((0.0, 0.0, 0.5, 0.5), (by_hand,)),)),
        picture(73, regions=()),
    ]
    with served(ml_backend(lambda _: None, secret="the secret", version="v", hint=lambda: None)) as ours:
        ensure_backend(label_studio, project, url=ours, secret="the secret")
        tasks = push_pictures(label_studio, project, records, address=address).tasks
        shown = {}
        for _ in records:
            task = call(label_studio_server, "GET", f"/api/projects/{project.id}/next/")
            shown[task["id"]] = [each["result"] for each in task["predictions"]]
            call(label_studio_server, "POST", f"/api/tasks/{task['id']}/annotations/", json={"result": []})
    assert shown == {tasks[each.sha256]: [to_results(each, template="regions", push=1)] for each in records}
