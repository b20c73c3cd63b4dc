"""Label Studio and the app: the panel with the real server, a failing one and none; what Label Studio may ask of us."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from playwright.sync_api import Browser
from starlette.requests import Request

import app
from app.access.accounts import PERSON_KEY, Person
from app.core.settings import Settings
from app.label_studio import actions as label_studio_actions
from app.label_studio.actions import NotTaken, annotator_of, connection, queue_sync, task_links, waiting_conflicts
from app.label_studio.page import LabelStudioPanel
from app.label_studio.panels import connection_panel, links_panel, not_taken_panel
from app.services import Services
from curation.label_studio.access import ACCESS, FOLDER, SECRET_HEADER, Access, write_access
from curation.label_studio.apply_decisions import apply_decisions
from curation.label_studio.convert import LabelStudioError, from_results, to_data
from curation.label_studio.dataset_sync import Sync
from curation.label_studio.decisions import Decision
from curation.label_studio.projects import ensure_project, list_projects
from curation.label_studio.sync import SyncConfig, SyncRounds, command_line, open_sync
from curation.versions.state import state_of
from db.engine import reading, transaction
from db.models import Image, LabelLeftover
from db.queries.curate_queries import edit_region
from db.queries.data_set_queries import get_image
from db.queries.dataset_removal_queries import rename_dataset
from db.queries.edit_values import RegionChange
from db.queries.region_queries import regions_of
from db.queries.review_queries import add_tag
from tests.support.fake_app import fake_services, free_port, running
from tests.support.fake_predictor import fake_predictor
from tests.support.label_studio_server import (
    Running,
    annotated,
    call,
    client,
    database,
    judged,
    label_studio_server,
    proxy,
    records_in,
    submit,
    tasks_in,
)
from tests.support.waiting import PATIENCE_S, until
from user_errors import UserError

__all__ = ["label_studio_server"]  # fixture


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """The data set "three"; no Label Studio is known."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAIN_HOME", str(tmp_path / "home"))
    services = fake_services(tmp_path)
    services.settings.home.mkdir()
    database(services.settings.home, tmp_path)[0].dispose()
    yield services
    services.engine.dispose()


def first_status(services: Services) -> str:
    with reading(services.engine) as session:
        return regions_of(session, image_ids=[1])[1][0].status


def change_lid(services: Services, region_id: int, text: str) -> None:
    """By bob, who saw the first version."""
    with transaction(services.engine) as session:
        change = RegionChange(text=text)
        edit_region(session, region_id=region_id, expected_version=1, who="bob", change=change)


def lid_changed_on_both_sides(services: Services) -> None:
    """The first lid: an annotator rejects what bob has renamed since."""
    [shown, *_] = state_of(services.engine, 1, statuses=("pending",))
    change_lid(services, 1, "<b>bob's</b>")
    said = from_results(
        annotated(shown, judged(shown, "rejected", "open")),
        to_data(shown, "/1.jpg"),
        template="regions",
        who="ann",
    )
    at = datetime(2026, 11, 25, tzinfo=UTC)
    with transaction(services.engine) as session:
        apply_decisions(
            session, [Decision(5, 7, "ann", at, at, said)], project="http://there/projects/1", template="regions"
        )


def press(panel: LabelStudioPanel, **ask: Any) -> str:
    request = Request({"type": "http", PERSON_KEY: Person("dan", "curator")})
    return panel.choose("three", gr.Request(request), gr.EventData(None, {"ask": ask}))


@pytest.fixture
def neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label_studio_server: Running) -> Iterator[Services]:
    """The data set "three" in the home that the server shares with the app: it shows what lies there."""
    home = label_studio_server.home
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAIN_HOME", str(home))
    database(home, tmp_path)[0].dispose()
    settings = Settings(home=home, port=free_port())
    services = Services(settings, load_model=fake_predictor, embedded=tmp_path)
    yield services
    services.engine.dispose()


@pytest.mark.slow
def test_pictures_go_there_as_a_job_and_a_decision_comes_back_by_a_webhook(
    neighbours: Services, label_studio_server: Running
) -> None:
    services = neighbours
    there = client(label_studio_server.access)
    with running(services):
        job = queue_sync(services, "three", template="regions", do="push", owner="ana")
        until(lambda: (found := services.jobs.get(job)) is not None and found.state == "done", "the job is done")
        found = connection(services, "three", int(PATIENCE_S))
        [project] = found.projects
        assert (found.problem, project.pushed, project.decided) == ("", 3, 0)
        assert "3 pushed, 0 decided" in connection_panel(found)
        [link] = task_links(services, 1)
        task = int(link.rpartition("=")[2])
        assert link == f"{there.url}/projects/{project.project.rpartition('/')[2]}/data?task={task}"
        assert f"task {task}" in links_panel([link])
        [ours] = [each for each in list_projects(there) if project.project.endswith(f"/{each.id}")]
        sync = Sync(services.engine, there, ours, dataset_id=1, home=services.settings.home)
        shown, other, _ = records_in(sync)
        change_lid(services, 2, "a lid that bob saw")
        other_task = int(task_links(services, 2)[0].rpartition("=")[2])
        submit(label_studio_server, other_task, other, judged(other, "rejected", "reviewed"))
        submit(label_studio_server, task, shown, judged(shown, "accepted", "reviewed"))
        until(lambda: first_status(services) == "accepted", "a decision arrives")
        until(lambda: bool(waiting_conflicts(services, "three")), "a conflict arrives")
        [conflict] = waiting_conflicts(services, "three")
        assert (conflict.present["text"], conflict.wanted["text"]) == ("a lid that bob saw", "a green lid")
        assert (conflict.by, conflict.wanted["status"], conflict.image.id) == ("bob", "rejected", 2)
        assert connection(services, "three", int(PATIENCE_S)).projects[0].decided == 2
    there.close()


def test_the_panel_shows_both_versions_and_takes_the_choice(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = LabelStudioPanel(services)
    assert panel.show("three")[2] == "" and panel.show(None)[2] == ""
    lid_changed_on_both_sides(services)
    _, shown, left = panel.refresh("three", "", "", "old")
    assert left == ""
    for words in ("region 1", "here · bob", "Label Studio · ann", "&lt;b&gt;bob", "a red lid", "rejected", "keep ours"):
        assert words in shown
    assert "<b>bob" not in shown
    assert panel.refresh("three", "", shown, "")[1] == gr.skip(), "as it was"
    [conflict] = waiting_conflicts(services, "three")
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda sentence, **_: said.append(sentence))
    ask = {"conflict": conflict.row.id, "version": conflict.version}
    assert press(panel, **ask) == shown and press(panel, **ask | {"version": 1}, take="ours") == shown
    assert press(panel, **ask, take="theirs") == ""
    assert "incomplete" in said[0] and "changed by bob meanwhile" in said[1] and len(said) == 2
    with reading(services.engine) as session:
        row = regions_of(session, image_ids=[1])[1][0]
    assert (row.text, row.status, row.version) == ("a red lid", "rejected", 3)


def test_who_follows_pushes_what_changed_here_and_nothing_else(
    services: Services, label_studio_server: Running
) -> None:
    there = client(label_studio_server.access)
    home = services.settings.home
    (home / FOLDER).mkdir(exist_ok=True)
    project = ensure_project(there, f"Followed {home.parent.name[-8:]}", "regions")
    sync = Sync(services.engine, there, project, dataset_id=1, home=home)
    follow = SyncRounds(sync, SyncConfig("three", follow=True))
    for expected in (3, 3):
        follow()
        assert tasks_in(label_studio_server, project) == expected
    with proxy(label_studio_server.access.url) as between:
        quiet = client(Access(between.url, label_studio_server.access.token))
        follow.sync.label_studio = quiet
        follow()
        assert {method for method, _ in between.requests} == {"GET"}, "nothing changed, so nothing is pushed"
        between.requests.clear()
        change = RegionChange(text="another lid")
        with transaction(services.engine) as session:
            edit_region(session, region_id=1, expected_version=1, who="ana", change=change)
        follow()
        assert ("PATCH", "/api/tasks") in {(method, path[:10]) for method, path in between.requests}
        quiet.close()
    there.close()


def test_a_renamed_data_set_keeps_its_project(services: Services, label_studio_server: Running) -> None:
    engine, home = services.engine, label_studio_server.home
    config = SyncConfig("three", do="push", title="Before it was renamed")
    sync = open_sync(config, home, engine)
    SyncRounds(sync, config)()
    with transaction(engine) as session:
        rename_dataset(session, dataset_id=1, name="four")
    assert open_sync(SyncConfig("four"), home, engine).project == sync.project
    assert open_sync(SyncConfig("four", template="novel"), home, engine).project.title == "four"


def test_a_pull_from_a_project_that_was_deleted_there_says_so_and_makes_none(
    services: Services, label_studio_server: Running
) -> None:
    engine, home = services.engine, label_studio_server.home
    push, pull = (SyncConfig("three", do=do, title="To be deleted") for do in ("push", "pull"))  # type: ignore[arg-type]
    first = open_sync(push, home, engine)
    SyncRounds(first, push)()
    assert open_sync(pull, home, engine).project == first.project
    call(label_studio_server, "DELETE", f"/api/projects/{first.project.id}/")
    with pytest.raises(LabelStudioError, match="no project 'To be deleted' to pull from: push the data set first"):
        open_sync(pull, home, engine)
    again = open_sync(push, home, engine)
    SyncRounds(again, push)()
    assert again.project != first.project and tasks_in(label_studio_server, again.project) == 3


@pytest.mark.parametrize("fault", [500, 429, "slow", 404])
def test_a_failing_server_costs_a_sentence_and_no_page(
    services: Services, label_studio_server: Running, fault: int | str
) -> None:
    with proxy(label_studio_server.access.url) as between:
        write_access(services.settings.home, Access(between.url, label_studio_server.access.token, "s"))
        between.faults = [fault]
        found = connection(services, "three")
        assert f" at {between.url} " in found.problem and len(between.requests) == 1
        assert "not connected" in connection_panel(found) and 'role="alert"' in connection_panel(found)
        assert connection(services, "three", int(PATIENCE_S)).problem == "", "and then it is well again"


def test_without_a_server_it_says_what_to_do(services: Services) -> None:
    assert "make label-studio" in connection(services, "three").problem
    assert "make label-studio" in connection_panel(connection(services, ""))
    write_access(services.settings.home, Access("http://127.0.0.1:9", "token", "s"))
    assert "cannot be reached" in connection(services, "three").problem
    (services.settings.home / FOLDER / ACCESS).write_text("{")
    assert "remove it and run make label-studio" in connection(services, "three").problem
    assert "is not in Label Studio" in links_panel(task_links(services, 1))


@pytest.mark.parametrize(
    ("dataset", "template", "do", "sentence"),
    [
        ("", "regions", "push", "no data set yet"),
        ("three", "zip", "push", "Expected a template"),
        ("three", "regions", "both", "Expected a template"),
        ("three", "regions", "push", "make label-studio"),
    ],
)
def test_what_cannot_be_pushed_is_said(services: Services, dataset: str, template: str, do: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        queue_sync(services, dataset, template=template, do=do, owner="ana")


def test_a_push_offers_the_tags_that_there_are_with_their_counts(services: Services) -> None:
    panel = LabelStudioPanel(services)
    for dataset in (None, "three"):
        empty = panel.offer_tags(dataset, "gone")
        assert (empty["choices"], empty["value"]) == ([("all pictures", "")], "")
        assert empty["info"] == "No tags yet: select regions in the gallery above, and tag them."
    with transaction(services.engine) as session:
        add_tag(session, dataset_id=1, ids=[1, 2], tag="odd", action="a")
        add_tag(session, dataset_id=1, ids=[2], tag="round", action="b")
    for chosen, kept in (("odd", "odd"), ("gone", ""), (None, "")):
        offered = panel.offer_tags("three", chosen)
        assert offered["choices"] == [("all pictures", ""), ("odd · 2 regions", "odd"), ("round · 1 region", "round")]
        assert (offered["value"], offered["info"]) == (kept, "")
    with pytest.raises(UserError, match="No region has the tag 'gone' any more: choose another one, or all"):
        queue_sync(services, "three", template="regions", do="push", owner="ana", tag="gone")


def test_label_studio_reaches_the_app_with_its_secret_alone(services: Services) -> None:
    home = services.settings.home
    with running(services) as address:
        url = f"{address.rstrip('/')}/label-studio"
        assert address.rstrip("/") == label_studio_actions.address(services)
        for headers in ({}, {SECRET_HEADER: ""}, {SECRET_HEADER: "guess"}):
            for method, path in (("GET", "health"), ("POST", "predict"), ("POST", "webhook"), ("GET", "nowhere")):
                answer = httpx.request(method, f"{url}/{path}", headers=headers, timeout=PATIENCE_S)
                assert answer.status_code == (404 if path == "nowhere" else 401)
        write_access(home, Access("http://127.0.0.1:9", "token", "the secret"))
        right = {SECRET_HEADER: "the secret"}
        assert httpx.get(f"{url}/health", headers=right, timeout=PATIENCE_S).json()["status"] == "UP", (
            "known while it runs"
        )
        assert httpx.post(f"{url}/webhook", headers=right, timeout=PATIENCE_S).status_code == 200
        foreign = {**right, "origin": "http://evil.example"}
        assert httpx.post(f"{url}/webhook", headers=foreign, timeout=PATIENCE_S).status_code == 403
    assert stat.S_IMODE((home / FOLDER / ACCESS).stat().st_mode) == 0o600
    with reading(services.engine) as session:
        assert get_image(session, image_id=1) is not None


def test_the_backend_annotates_our_pictures_and_nobody_elses(services: Services) -> None:
    with reading(services.engine) as session:
        image = get_image(session, image_id=1)
    assert image is not None
    annotate = annotator_of(services)
    record = annotate(image.sha256)
    assert record is not None and (record.id, record.width, record.height) == (1, 64, 48)
    assert annotate("ab" * 32) is None
    Path(image.location).unlink()
    assert annotate(image.sha256) is None, "a picture that is gone has no prediction"


def test_the_command_carries_no_secret(services: Services) -> None:
    write_access(services.settings.home, Access("http://127.0.0.1:9", "the token", "the secret"))
    words = command_line(SyncConfig("--do=pull", do="push", app=label_studio_actions.address(services)))
    assert "--dataset=--do=pull" in words and not any("the secret" in word or "the token" in word for word in words)


def test_the_picture_of_what_was_not_taken_is_a_thumbnail_of_its_shape(browser: Browser) -> None:
    style = (Path(app.__file__).parent / "ui" / "style.css").read_text(encoding="utf-8")
    image = Image(id=1, dataset_id=1, sha256="ab", location="1.jpg", width=400, height=300)
    row = LabelLeftover(
        dataset_id=1,
        image_id=1,
        project="http://there/projects/1",
        task_id=1,
        remote_id=1,
        who="ann",
        reasons=["turned"],
    )
    shown = not_taken_panel(NotTaken([(row, image)], 1), Path("nowhere"))
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    for width in (1400, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.set_content(f"<style>{style}</style><div id=not-taken>{shown}</div>")
        box = page.locator(".not-taken .thumb").bounding_box()
        assert box is not None and box["width"] == 150
        assert box["width"] / box["height"] == pytest.approx(4 / 3, abs=0.1)
    page.close()
