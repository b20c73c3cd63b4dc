"""The sync against the real Label Studio server: projects, pushes, decisions and data sets, whatever fails between."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from app.label_studio.server import USER
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.access import (
    FILES,
    FOLDER,
    SECRET_HEADER,
    Access,
    read_kept,
)
from curation.label_studio.apply_decisions import PullSummary
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import MODEL_VERSION, LabelStudioError, to_results
from curation.label_studio.dataset_sync import Sync
from curation.label_studio.decisions import read_decisions
from curation.label_studio.follower import Follower
from curation.label_studio.projects import Project, ensure_project, ensure_webhook
from curation.label_studio.push import push_pictures
from db.engine import reading, transaction
from db.queries.curate_queries import add_region_by_hand, delete_region, edit_image
from db.queries.data_set_queries import get_image
from db.queries.edit_values import ImageChange
from db.queries.history_queries import history_page
from db.queries.label_studio_queries import leftovers_of, projects_of, tasks_of_image
from tests.support.label_studio_server import (
    SHORT,
    Running,
    address,
    annotated,
    call,
    client,
    counts,
    free_port,
    judged,
    label_studio,
    label_studio_server,
    make_sync,
    picture,
    project,
    proxy,
    records_in,
    statuses,
    submit,
    tasks_in,
)
from tests.support.waiting import PATIENCE_S, until

__all__ = ["label_studio", "label_studio_server", "make_sync", "project"]  # fixtures


def accepted(record: PictureRecord) -> PictureRecord:
    """The record with its first description accepted and its second rejected."""
    [region] = record.regions
    first, second = region.descriptions
    said = (replace(first, status="accepted"), replace(second, status="rejected"))
    return replace(record, review="reviewed", regions=(replace(region, descriptions=said),))


def test_a_project_is_made_once_and_is_found_by_its_title(label_studio: LabelStudio) -> None:
    first = ensure_project(label_studio, "Köpfe & Töpfe", "novel")
    assert ensure_project(label_studio, "Köpfe & Töpfe", "novel") == first
    with pytest.raises(LabelStudioError, match="is made for 'novel', not 'regions': choose another title"):
        ensure_project(label_studio, "Köpfe & Töpfe", "regions")
    with pytest.raises(LabelStudioError, match="title must have 3 to 50 characters, got 2"):
        ensure_project(label_studio, "ab", "regions")


def test_a_project_of_other_people_is_left_alone(label_studio_server: Running, label_studio: LabelStudio) -> None:
    call(label_studio_server, "POST", "/api/projects/", json={"title": "Theirs", "label_config": "<View/>"})
    with pytest.raises(LabelStudioError, match="has a project 'Theirs' that GRAIN did not make"):
        ensure_project(label_studio, "Theirs", "regions")


@pytest.mark.slow
def test_thirty_pictures_go_there_and_thirty_decisions_come_back_and_again_nothing_changes(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    records = [picture(number) for number in range(1, 31)]
    first = push_pictures(label_studio, project, records, address=address, batch=12)
    assert counts(first) == (30, 0, 0) and len(first.tasks) == 30
    assert counts(again := push_pictures(label_studio, project, records, address=address, batch=12)) == (0, 0, 30)
    assert again.tasks == first.tasks and tasks_in(label_studio_server, project) == 30
    for record in records:
        submit(label_studio_server, first.tasks[record.sha256], record, accepted(record))
    pulled = read_decisions(label_studio, project)
    assert [decision.reading.seen for decision in pulled.decisions] == records
    who = "grain@localhost.localdomain"
    for decision, record in zip(pulled.decisions, records, strict=True):
        [region] = accepted(record).regions
        said = tuple(replace(each, editor=who) for each in region.descriptions)
        assert decision.reading.annotated == replace(accepted(record), regions=(replace(region, descriptions=said),))
        assert (decision.who, decision.task) == (who, first.tasks[record.sha256])
    assert read_decisions(label_studio, project) == pulled and pulled.unread == ()
    assert counts(push_pictures(label_studio, project, records, address=address, batch=12)) == (0, 0, 30)


def test_a_poll_brings_what_changed_since_the_last_one(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    assert read_decisions(label_studio, project).decisions == ()
    tasks = push_pictures(label_studio, project, [picture(1), picture(2)], address=address).tasks
    annotation = submit(label_studio_server, tasks[picture(1).sha256], picture(1))
    first = read_decisions(label_studio, project)
    assert [decision.annotation for decision in first.decisions] == [annotation]
    assert read_decisions(label_studio, project, datetime(2100, 1, 1, tzinfo=UTC)).decisions == ()
    path = f"/api/annotations/{annotation}/"
    call(label_studio_server, "PATCH", path, json={"result": annotated(picture(1), accepted(picture(1)))})
    [second] = read_decisions(label_studio, project, first.until).decisions
    assert second.annotation == annotation and second.updated_at > first.decisions[0].updated_at
    assert second.reading.annotated.review == "reviewed"


def test_a_changed_picture_changes_its_task_and_no_decision(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    record = picture(3)
    tasks = push_pictures(label_studio, project, [record], address=address).tasks
    submit(label_studio_server, tasks[record.sha256], record, accepted(record))
    before = read_decisions(label_studio, project).decisions[0]
    said = replace(record.regions[0].descriptions[0], text="newer", version=2)
    newer = replace(record, regions=(replace(record.regions[0], descriptions=(said,) * 6),))
    assert counts(push_pictures(label_studio, project, [newer], address=address)) == (0, 1, 0)
    assert counts(push_pictures(label_studio, project, [newer], address=address)) == (0, 0, 1)
    [prediction] = call(label_studio_server, "GET", "/api/predictions/", params={"task": tasks[record.sha256]})
    assert prediction["model_version"] == MODEL_VERSION and 0 <= prediction["score"] <= 1
    texts = [r["value"]["text"] for r in prediction["result"] if r["from_name"].startswith("description")]
    assert texts == [["newer"]] * 6
    form = call(label_studio_server, "GET", f"/api/projects/{project.id}/")["label_config"]
    assert 'name="verdict_6"' in form
    [after] = read_decisions(label_studio, project).decisions
    assert after.reading.annotated == before.reading.annotated
    assert after.reading.seen.regions == before.reading.seen.regions


def test_reviewed_and_empty_is_not_the_same_as_not_reviewed(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    record = picture(4, regions=())
    tasks = push_pictures(label_studio, project, [record, picture(5)], address=address).tasks
    submit(label_studio_server, tasks[record.sha256], record, replace(record, review="empty"))
    [decision] = read_decisions(label_studio, project).decisions
    assert (decision.reading.annotated.review, decision.reading.seen.review) == ("empty", "open")


def test_a_rotated_box_is_a_problem_of_its_picture_alone_and_a_skipped_task_is_no_decision(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    tasks = push_pictures(label_studio, project, [picture(n) for n in (6, 7, 8)], address=address).tasks
    six, seven, eight = (tasks[picture(n).sha256] for n in (6, 7, 8))
    turned = to_results(picture(6), template="regions", push=1)
    turned[0]["value"]["rotation"] = 12.5
    call(label_studio_server, "POST", f"/api/tasks/{six}/annotations/", json={"result": turned})
    submit(label_studio_server, seven, picture(7))
    call(label_studio_server, "POST", f"/api/tasks/{eight}/annotations/", json={"result": [], "was_cancelled": True})
    pulled = read_decisions(label_studio, project)
    assert [decision.task for decision in pulled.decisions] == [six, seven] and pulled.unread == ()
    assert [decision.reading.left for decision in pulled.decisions] == [
        (f"A box is rotated: draw it upright. (“{picture(6).regions[0].descriptions[0].text}”)",),
        (),
    ]


def test_the_editor_can_show_the_pictures(label_studio_server: Running, label_studio: LabelStudio) -> None:
    folder = label_studio_server.home / FOLDER / FILES / "pictures"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 48), "red").save(folder / "9.png")
    for _ in range(2):
        project = ensure_project(label_studio, "With pictures", "regions", pictures=folder)
    storages = call(label_studio_server, "GET", "/api/storages/localfiles/", params={"project": project.id})
    assert [storage["path"] for storage in storages] == [str(folder)]
    push_pictures(label_studio, project, [picture(9)], address=address)
    headers = {"Authorization": f"Token {label_studio_server.access.token}"}
    shown = httpx.get(label_studio_server.access.url + address(picture(9)), headers=headers, timeout=PATIENCE_S)
    assert shown.status_code == 200 and shown.content == (folder / "9.png").read_bytes()
    assert httpx.get(label_studio_server.access.url + address(picture(9)), timeout=PATIENCE_S).status_code in (
        302,
        401,
        403,
    )


def test_a_picture_that_cannot_be_shown_holds_up_no_other(label_studio: LabelStudio, project: Project) -> None:
    crowd = tuple(DescriptionRecord(str(n)) for n in range(40))
    crowded = picture(10, regions=(RegionRecord((0, 0, 1, 1), crowd),))
    pushed = push_pictures(label_studio, project, [picture(11), crowded, picture(12)], address=address)
    assert counts(pushed) == (2, 0, 0)
    assert list(pushed.refused.values()) == ["10.png has a region with 40 descriptions: Label Studio can show 32."]


@pytest.mark.slow
@pytest.mark.parametrize("faults", [[500], [429, 429], [502, 503, 504], ["slow"], ["lost"], [500, "lost"]])
def test_a_push_through_faults_loses_nothing_and_makes_nothing_twice(
    label_studio_server: Running, project: Project, faults: list[int | str]
) -> None:
    records = [picture(number) for number in range(20, 26)]
    with proxy(label_studio_server.access.url) as between:
        there = client(
            replace(label_studio_server.access, url=between.url), timeout=SHORT if "slow" in faults else PATIENCE_S
        )
        between.faults, between.only = list(faults), "POST"
        pushed = push_pictures(there, project, records, address=address)
        assert between.faults == [] and pushed.refused == {} and len(pushed.tasks) == 6
        between.faults, between.only = list(faults), "GET"
        assert counts(push_pictures(there, project, records, address=address)) == (0, 0, 6)
        assert between.faults == []
        there.close()
    assert tasks_in(label_studio_server, project) == 6


def test_a_second_task_of_a_picture_is_removed_and_never_the_annotated_one(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    record = picture(30)
    [task] = push_pictures(label_studio, project, [record], address=address).tasks.values()
    data = call(label_studio_server, "GET", f"/api/tasks/{task}/")["data"]
    late = call(label_studio_server, "POST", "/api/tasks/", json={"project": project.id, "data": data})["id"]
    submit(label_studio_server, late, record, accepted(record))
    assert push_pictures(label_studio, project, [record], address=address).tasks == {record.sha256: late}
    assert tasks_in(label_studio_server, project) == 1 and len(read_decisions(label_studio, project).decisions) == 1


def test_what_could_not_go_while_it_was_down_goes_later(label_studio_server: Running, project: Project) -> None:
    down = client(replace(label_studio_server.access, url=f"http://127.0.0.1:{free_port()}"), attempts=2)
    assert "cannot be reached: start it with make label-studio" in down.health()
    for ask in (
        lambda: push_pictures(down, project, [picture(40)], address=address),
        lambda: read_decisions(down, project),
    ):
        with pytest.raises(
            LabelStudioError, match=r"^Label Studio at http://127.0.0.1:\d+ cannot be reached: start it"
        ):
            ask()
    up = client(label_studio_server.access)
    assert up.health(int(PATIENCE_S)) == ""
    assert counts(push_pictures(up, project, [picture(40)], address=address)) == (1, 0, 0)


def test_a_server_that_keeps_failing_is_given_up_with_a_sentence(
    label_studio_server: Running, project: Project
) -> None:
    with proxy(label_studio_server.access.url) as between:
        there = client(replace(label_studio_server.access, url=between.url), attempts=3)
        between.faults = [429] * 3
        with pytest.raises(
            LabelStudioError, match="answers 429 again and again: look at its log; what is left is done"
        ):
            read_decisions(there, project)
        assert between.faults == []
        there.close()


def test_a_wrong_token_is_said_and_stands_in_no_message(
    label_studio_server: Running, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = client(replace(label_studio_server.access, token="f" * 40))
    assert "does not take the token (401)" in wrong.health(int(PATIENCE_S))
    with pytest.raises(LabelStudioError, match="does not take the token") as refused:
        push_pictures(wrong, project, [picture(50)], address=address)
    right = client(label_studio_server.access)
    push_pictures(right, project, [picture(50)], address=address)
    said = " ".join([caplog.text, str(refused.value), repr(right), repr(label_studio_server.access)])
    log = (label_studio_server.home / FOLDER / "server.log").read_text()
    for secret in ("f" * 40, label_studio_server.access.token, label_studio_server.access.secret):
        assert secret not in said and secret not in log
        assert secret not in " ".join(psutil.Process(label_studio_server.pid).cmdline())


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1", "", "http://", "http://me:word@127.0.0.1:8081", "http://127.0.0.1:x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(LabelStudioError, match=r"must look like http://127\.0\.0\.1:8081, without a password"):
        LabelStudio(Access(url, "t"))


def test_label_studio_tells_us_when_somebody_submits(
    label_studio_server: Running, label_studio: LabelStudio, project: Project
) -> None:
    with proxy("http://127.0.0.1:1") as ours:  # its handler only notes who came
        ours.faults = [200] * 9
        ensure_webhook(label_studio, project, url=f"{ours.url}/old", secret="old secret")
        for _ in range(2):
            ensure_webhook(label_studio, project, url=f"{ours.url}/hint", secret="the secret")
        ensure_webhook(label_studio, project, url=f"{ours.url}/old", secret="new secret")
        hooks = call(label_studio_server, "GET", "/api/webhooks/", params={"project": project.id})
        assert sorted((hook["url"], hook["headers"][SECRET_HEADER]) for hook in hooks) == [
            (f"{ours.url}/hint", "the secret"),
            (f"{ours.url}/old", "new secret"),
        ]
        [task] = push_pictures(label_studio, project, [picture(60)], address=address).tasks.values()
        submit(label_studio_server, task, picture(60))
        until(lambda: ("POST", "/hint") in ours.requests)


@pytest.mark.slow
def test_a_data_set_goes_there_and_decisions_come_back_as_edits_and_again_nothing_changes(
    label_studio_server: Running, make_sync: Callable[[str], Sync]
) -> None:
    sync = make_sync("one")
    pushed = sync.push()
    assert counts(pushed) == (3, 0, 0) and pushed.refused == {}
    assert counts(sync.push()) == (0, 0, 3)
    for record, status in zip(records_in(sync)[:2], ("accepted", "rejected"), strict=True):
        submit(label_studio_server, pushed.tasks[record.sha256], record, judged(record, status, "reviewed"))
    pulled = sync.pull()
    assert (pulled.decisions, pulled.edits, pulled.conflicts, pulled.problems) == (2, 4, [], [])
    assert statuses(sync) == [("reviewed", ["accepted"]), ("reviewed", ["rejected"]), ("open", ["pending"])]
    assert sync.pull() == PullSummary()
    assert counts(sync.push()) == (0, 2, 1) and counts(sync.push()) == (0, 0, 3)
    assert sync.pull().edits == 0
    with reading(sync.engine) as session:
        [edit, *_] = history_page(session, image_id=records_in(sync)[0].id)
    assert edit.who == "grain@localhost.localdomain" and edit.reason.startswith("Label Studio annotation ")


@pytest.mark.slow
def test_what_a_picture_got_after_its_annotation_began_stays_round_after_round(
    label_studio_server: Running, make_sync: Callable[[str], Sync]
) -> None:
    """A picture without regions goes there. Ann draws one there, Ben one here; later he changes what she decided."""
    sync = make_sync("one")
    image_id = records_in(sync)[0].id
    with transaction(sync.engine) as session:
        delete_region(session, region_id=1, expected_version=1, who="ben")
    bare = records_in(sync)[0]
    task = sync.push().tasks[bare.sha256]
    drawn = RegionRecord((0.5, 0.5, 1.0, 1.0), (DescriptionRecord("a spoon"),))
    results = to_results(replace(bare, regions=(drawn,), review="reviewed"), template="regions")
    results = [{name: part for name, part in each.items() if name != "meta"} for each in results]
    call(label_studio_server, "POST", f"/api/tasks/{task}/annotations/", json={"result": results, "lead_time": 60})
    with transaction(sync.engine) as session:
        add_region_by_hand(session, image_id=image_id, who="ben", xyxy=(0.0, 0.0, 0.5, 0.5), text="a pot")
    assert counts(sync.push())[:2] == (0, 1) and sync.pull().decisions == 1
    there = [one.text for region in records_in(sync)[0].regions for one in region.descriptions]
    assert (there, statuses(sync)[0]) == (["a pot", "a spoon"], ("reviewed", ["accepted", "accepted"]))
    for round_number in range(2):
        with transaction(sync.engine) as session:
            image = get_image(session, image_id=image_id)
            assert image is not None
            change = ImageChange(review="open", caption=f"{round_number}")
            edit_image(session, image_id=image_id, expected_version=image.version, who="ben", change=change)
        assert counts(sync.push())[:2] == (0, 1)
        assert sync.pull() == PullSummary()
        assert statuses(sync)[0] == ("open", ["accepted", "accepted"])


def test_a_picture_that_is_gone_is_said_and_the_others_go(make_sync: Callable[[str], Sync], tmp_path: Path) -> None:
    sync = make_sync("one")
    (tmp_path / "green.png").unlink()
    pushed = sync.push()
    assert counts(pushed) == (2, 0, 0)
    assert [sentence.split(":")[0] for sentence in pushed.refused.values()] == [
        "This picture is no longer where it was imported from"
    ]


def test_a_task_that_was_deleted_there_comes_again_only_where_it_is_named(
    label_studio_server: Running, make_sync: Callable[[str], Sync]
) -> None:
    sync = make_sync("deleted")
    first = sync.push()
    [record, *_] = records_in(sync)
    call(label_studio_server, "DELETE", f"/api/tasks/{first.tasks[record.sha256]}/")
    again = sync.push()
    assert (again.added, again.deleted) == (0, {record.sha256: first.tasks[record.sha256]})
    with reading(sync.engine) as session:
        [count] = [each for each in projects_of(session) if each.project == sync.name]
        assert (count.pushed, count.deleted) == (len(first.tasks) - 1, 1)
        assert sync.name not in [task.project for task in tasks_of_image(session, image_id=record.id)], "a dead link"
    named = sync.push(only={record.id})
    assert (named.added, named.same, named.deleted) == (1, 0, {})
    with reading(sync.engine) as session:
        [count] = [each for each in projects_of(session) if each.project == sync.name]
        assert (count.pushed, count.deleted) == (len(first.tasks), 0)
    assert sync.push().added == 0 and tasks_in(label_studio_server, sync.project) == len(first.tasks)


def test_what_could_not_be_taken_goes_with_its_annotation_or_task(
    label_studio_server: Running, make_sync: Callable[[str], Sync]
) -> None:
    sync = make_sync("left")
    tasks = sync.push().tasks
    made = {}
    for record in records_in(sync):
        turned = to_results(record, template="regions", push=1)
        turned[0]["value"]["rotation"] = 30
        path = f"/api/tasks/{tasks[record.sha256]}/annotations/"
        made[tasks[record.sha256]] = call(label_studio_server, "POST", path, json={"result": turned})["id"]
    sync.pull()
    first, second, third = sorted(made)
    call(label_studio_server, "DELETE", f"/api/annotations/{made[first]}/")
    call(label_studio_server, "DELETE", f"/api/tasks/{second}/")
    sync.pull()
    with reading(sync.engine) as session:
        assert [each.task_id for each, _ in leftovers_of(session, dataset_id=sync.dataset_id)] == [third]


@pytest.mark.slow
def test_what_people_decided_while_the_server_failed_is_taken_later(
    label_studio_server: Running, make_sync: Callable[[str], Sync]
) -> None:
    sync = make_sync("one")
    tasks = sync.push().tasks
    with proxy(label_studio_server.access.url) as between:
        sync.label_studio = client(replace(label_studio_server.access, url=between.url), attempts=2, timeout=SHORT)
        follower = Follower(sync.pull, every=0.05, longest=0.1)
        between.faults = [500, 502, 429, 429, 503, "lost", "lost", "slow"]
        [first, *_] = records_in(sync)
        submit(label_studio_server, tasks[first.sha256], first, judged(first, "accepted", "reviewed"))
        follower.start()
        until(lambda: statuses(sync)[0] == ("reviewed", ["accepted"]) and follower.problem == "")
        follower.stop()
        sync.label_studio.close()
        assert between.faults == []


LISTED = "(words) => [...document.querySelectorAll('input, textarea')].some((field) => field.value === words)"


def selects(page: Page, canvas: Locator) -> bool:
    """Click into the region; whether it is selected by that. Until the picture is drawn there is nothing to select."""
    box = canvas.bounding_box()
    if box is None:
        return False
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    try:
        page.get_by_text("Description 2").wait_for(timeout=1000)
    except TimeoutError:
        return False
    return True


@pytest.mark.slow
def test_a_person_in_the_editor_judges_writes_and_submits_and_the_rest_comes_back_as_it_went(
    label_studio_server: Running, label_studio: LabelStudio, browser: Browser
) -> None:
    folder = label_studio_server.home / FOLDER / FILES / "pictures"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (640, 480), "red").save(folder / "80.png")
    project = ensure_project(label_studio, "In a browser", "novel", pictures=folder)
    shown = picture(80, width=640, height=480, facts={"class": "lid", "found at": "the shelf"})
    [task] = push_pictures(label_studio, project, [shown], address=address).tasks.values()
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.goto(f"{label_studio_server.access.url}/user/login/")
    page.fill("input[name=email]", USER)
    page.fill("input[name=password]", read_kept(label_studio_server.home)["password"])
    page.click("button[type=submit]")
    page.wait_for_url("**/")
    page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task}")
    marked = page.get_by_text("everything is marked")
    expect(marked).to_be_visible()
    canvas = page.locator("[class*=image-element] canvas").first
    expect(canvas).to_be_visible()
    words = shown.regions[0].descriptions[0].text
    until(lambda: page.evaluate(LISTED, words))  # before any region is chosen
    until(lambda: selects(page, canvas))
    page.get_by_text(re.compile("^wrong")).nth(1).click()
    page.locator("[name=description_3]").fill("with a knob")
    page.locator("[name=description_3]").press("Enter")
    page.locator("[name=fact_brand]").fill("Acme")
    page.locator("[name=fact_brand]").press("Enter")
    marked.click()
    page.get_by_role("button", name="Submit").click()
    until(lambda: bool(read_decisions(label_studio, project).decisions))
    page.close()
    [decision] = read_decisions(label_studio, project).decisions
    first, second = shown.regions[0].descriptions
    third = DescriptionRecord("with a knob", source=f"human:{USER}", editor=USER)
    said = (first, replace(second, status="rejected", editor=USER), third)
    assert decision.reading.seen == shown
    assert decision.reading.annotated == replace(
        shown,
        review="reviewed",
        facts={**shown.facts, "brand": "Acme"},
        regions=(replace(shown.regions[0], descriptions=said),),
    )
