"""The Data page: what it asks of the data's side, and a person in a real Chromium who freezes, compares and exports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlmodel import select

from app.core.settings import Settings
from app.data import actions as data_actions
from app.data import panels as data_panels
from app.data import upkeep_actions, upkeep_panels
from app.data.page import DataPage, DatasetOutputs
from app.data.upkeep_actions import UpkeepQuestion
from app.services import Services
from curation.exchange.export import export
from curation.files.records import Status
from curation.review.undo import UndoConfig
from curation.review.undo import command_line as undo_command
from curation.versions.freeze import FreezeConfig, command_line, warning
from curation.versions.versions import freeze
from db.engine import reading, transaction
from db.models import RegionRow
from db.queries.curate_queries import edit_region
from db.queries.data_set_queries import get_image, image_page
from db.queries.edit_values import RegionChange
from db.queries.region_index_queries import SourceCount
from db.queries.review_queries import add_tag
from db.queries.version_queries import count_reviews, last_ids
from db.queries.wide_act_queries import BroughtCount
from tests.support.browser_fixtures import fits, job_of, opened, settled
from tests.support.curated import all_regions, curated
from tests.support.fake_app import environment_in, fake_services, running
from tests.support.still_services import StillServices
from user_errors import UserError

JOB = 180_000  # milliseconds that a job may take on a busy machine


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The data set "lids" with the versions "first" and "second"."""
    folder = tmp_path_factory.mktemp("data-page")
    with environment_in(folder):
        services = fake_services(folder)
        dataset_id = curated(services.engine, folder / "pictures")
        home = services.settings.home
        freeze(services.engine, home, dataset="lids", name="first", who="ana", note="<b>before</b>")
        lid = next(row for row in all_regions(services.engine, dataset_id) if row.text.startswith("a lid 4"))
        change = RegionChange(text="<i>a kettle</i>")
        with transaction(services.engine) as session:
            edit_region(session, region_id=lid.id, expected_version=1, who="bo", change=change)
        freeze(services.engine, home, dataset="lids", name="second", who="bo")
        yield services


def test_a_data_set_is_told_in_numbers(services: Services) -> None:
    found = data_actions.overview(services, "lids")
    assert (found.pictures, found.reviews) == (8, {"empty": 1, "open": 1, "reviewed": 6})
    said = data_panels.overview_panel(found)
    assert "reviewed, nothing to mark" in said and ">8</th>" in said
    with transaction(services.engine) as session:
        assert count_reviews(session, dataset_id=99) == {}
        assert last_ids(session)[1:3] == (20, 8)


def test_the_trash_does_not_count_among_the_descriptions() -> None:
    counts = [SourceCount("ana", "accepted", 5), SourceCount("ana", "deleted", 7)]
    told = data_panels.overview_panel(data_actions.DatasetOverview(1, {"open": 1}, counts))
    assert ">5</th>" in told and ">12</th>" not in told and "in the trash, not counted" in told


def test_a_second_version_is_compared_with_the_first_and_not_the_first_with_itself(tmp_path: Path) -> None:
    services = fake_services(tmp_path)
    curated(services.engine, tmp_path / "pictures")
    statuses: dict[str, tuple[Status, ...]] = {"one": ("accepted",), "two": ("accepted", "pending")}

    def chosen(before: str | None, after: str | None) -> list[Any]:
        shown = DatasetOutputs(*DataPage(services).show("lids", before, after, [], ""))
        given = [field._constructor_args[0] for field in (shown.before, shown.after)]
        return [fields.get("value", "kept") for fields in given]

    for name, asked, answer in (("one", (None, None), ["kept", "one"]), ("two", (None, "one"), ["one", "two"])):
        home = services.settings.home
        freeze(services.engine, home, dataset="lids", name=name, who="ana", statuses=statuses[name])
        assert chosen(*asked) == answer
    assert chosen("two", "one") == ["kept", "kept"], "a person chose both"


def test_a_version_without_a_region_is_warned_of_before_it_is_frozen(services: Services) -> None:
    page = DataPage(services)
    assert "8 pictures and 12 descriptions" in page.holds("lids", ["accepted"])
    assert "8 pictures and 20 descriptions" in page.holds("lids", ["accepted", "pending", "rejected"])
    one = data_actions.DatasetOverview(1, {}, [SourceCount("ana", "accepted", 1)])
    assert "1 picture and 1 description." in data_panels.holds_panel(one, ["accepted"])
    none = page.holds("lids", [])
    assert "no region, so that training learns no regions" in none
    assert "12 accepted and 2 pending and 6 rejected" in none
    version = freeze(services.engine, services.settings.home, dataset="lids", name="none", who="ana", statuses=())
    assert version.regions == 0 and "no description is accepted" in warning(version, ["accepted"])
    with transaction(services.engine) as session:
        session.delete(session.merge(version))


def test_a_difference_says_how_many_what_and_by_whom(services: Services) -> None:
    found = data_actions.difference(services, "lids", before="first", after="second")
    assert (found.kinds, found.people) == ({("changed", "description"): 1}, {"bo": 1})
    said = data_panels.difference_panel(found, services.settings.home)
    assert "1 description changed" in said and "&lt;i&gt;a kettle&lt;/i&gt;" in said and "<i>a" not in said
    assert "counts as added or removed" not in said
    fewer = replace(found, holds=(("pending", "accepted"), ("accepted",)))
    told = data_panels.difference_panel(fewer, services.settings.home)
    assert "first holds accepted and pending descriptions, second accepted ones:" in told
    last = data_panels.difference_panel(replace(found, start=24, pictures=25), services.settings.home)
    assert "25 to 25 of 25 pictures" in last
    assert re.findall(r"start&#34;: (\d+)", last) == ["12"], "back by a whole page"
    backwards = data_actions.difference(services, "lids", before="second", after="second")
    assert "are the same" in data_panels.difference_panel(backwards, services.settings.home)
    with pytest.raises(UserError, match="Choose two versions"):
        data_actions.difference(services, "lids", before="first", after="")
    with pytest.raises(UserError, match="which none has"):
        data_actions.difference(services, "lids", before="first", after="third")


@pytest.mark.parametrize(("version", "texts"), [("", 12), ("first", 12)])
def test_losses_are_listed_before_anything_is_written(services: Services, version: str, texts: int) -> None:
    config = data_actions.export_config(
        services, "lids", version, format="odvg", statuses=["accepted"], unreviewed=False
    )
    found = data_actions.export_losses(services, config)
    assert (found.pictures, found.complete) == (7, True) and f"verdicts: {texts} descriptions" in " ".join(
        found.sentences
    )
    assert "Lost in this format, counted on 7 pictures" in data_panels.losses_panel(found)
    assert "counted on 1 picture:" in data_panels.losses_panel(replace(found, pictures=1))
    plain = data_actions.export_config(
        services, "lids", version, format="coco", statuses=["accepted"], unreviewed=False
    )
    assert "Nothing is lost" in data_panels.losses_panel(data_actions.export_losses(services, plain))
    assert not config.out.exists() and config.out.is_relative_to(services.settings.home / "exports")
    other = data_actions.export_config(
        services, "lids", "first!" if version else "now", format="odvg", statuses=["accepted"], unreviewed=False
    )
    assert other.out != config.out, "names that differ in signs only"


def test_what_a_filter_leaves_out_is_told_before_anything_is_written(services: Services) -> None:
    def share(version: str, *statuses: str, unreviewed: bool = False) -> list[str]:
        config = data_actions.export_config(
            services, "lids", version, format="coco", statuses=statuses, unreviewed=unreviewed
        )
        return list(data_actions.export_losses(services, config).share)

    assert share("", "accepted") == [
        "12 of 20 descriptions: the others are left out by their verdict (2 pending, 6 rejected).",
        "7 of 8 pictures: 1 has no such description and is not reviewed.",
    ]
    assert share("", "pending", "accepted", "rejected", unreviewed=True) == [
        "20 of 20 descriptions.",
        "8 of 8 pictures.",
    ]
    held = share("first", "accepted")
    assert held[:2] == ["12 of 12 descriptions.", "The version holds no pending or rejected descriptions."]
    heard: list[str] = []
    config = data_actions.export_config(services, "lids", "", format="coco", statuses=["pending"], unreviewed=False)
    answer = export(
        services.engine,
        services.settings.home,
        replace(config, out=services.settings.home / "elsewhere"),
        on_share=lambda each: heard.extend(each.sentences()),
    )
    assert heard == answer["filter"] and heard[0].startswith("2 of 20 descriptions: the others")


def test_a_restore_and_an_undo_are_asked_first_and_queued_as_jobs(services: Services) -> None:
    asked = upkeep_actions.question(services, "lids", {"do": "restore", "of": "first"})
    said = upkeep_panels.question_panel(asked)
    assert "1 description on 1 picture change." in said and "can be undone" in said
    nothing = upkeep_panels.question_panel(upkeep_actions.question(services, "lids", {"do": "restore", "of": "second"}))
    assert "Nothing would change" in nothing
    changed = UpkeepQuestion("Undo import 3", {"do": "import", "of": 3}, BroughtCount(changes=2))
    said = upkeep_panels.question_panel(changed)
    assert "It changed 2 regions and pictures" in said and "Nothing would change" not in said, "it can be undone"
    for ask, sentence in (({"do": "run", "of": 9}, "number of a run"), ({"do": "act", "of": "x"}, "reload the page")):
        with pytest.raises(UserError, match=sentence):
            upkeep_actions.question(services, "lids", ask)
    assert "--import-number=3" in undo_command(UndoConfig(import_number=3, who="ana"))


def test_verdicts_that_a_version_does_not_hold_are_said_before_an_export_is_queued(services: Services) -> None:
    config = data_actions.export_config(
        services, "lids", "first", format="coco", statuses=["pending", "rejected"], unreviewed=True
    )
    for work in (data_actions.export_losses, lambda services, config: data_actions.export(services, config, "ana")):
        with pytest.raises(UserError, match="first holds accepted only, got pending and rejected: "):
            work(services, config)


def test_what_is_pressed_twice_is_queued_once_unless_the_data_set_may_change_between(tmp_path: Path) -> None:
    services = StillServices(Settings(home=tmp_path / "home"))
    curated(services.engine, tmp_path / "pictures")
    freeze(services.engine, services.settings.home, dataset="lids", name="made", who="ana")
    config = FreezeConfig("lids", "next", who="ana")
    assert data_actions.freeze(services, config) == data_actions.freeze(services, config)
    assert data_actions.freeze(services, replace(config, name="another")) != data_actions.freeze(services, config)
    for version, jobs in (("made", 1), ("", 2)):
        of = data_actions.export_config(
            services, "lids", version, format="coco", statuses=["accepted"], unreviewed=False
        )
        assert len({data_actions.export(services, of, "ana") for _ in range(2)}) == jobs, version


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (lambda s: data_actions.freeze_config("lids", " ", "", statuses=["accepted"], who="ana"), "needs a name"),
        (lambda s: data_actions.freeze_config("", "x", "", statuses=["accepted"], who="ana"), "no data set yet"),
        (lambda s: data_actions.freeze_config("lids", "x", "", statuses=["deleted"], who="ana"), "one verdict or more"),
        (lambda s: data_actions.freeze(s, FreezeConfig("lids", "first", who="ana")), "versions never change"),
        (
            lambda s: data_actions.export_config(s, "lids", "", format="zip", statuses=["accepted"], unreviewed=False),
            "Expected the format shards",
        ),
        (
            lambda s: data_actions.export_config(s, "lids", "", format="coco", statuses=[], unreviewed=False),
            "Expected one verdict or more",
        ),
        (lambda s: data_actions.import_config("lids", "/no/such/file", "coco", who="ana"), "Expected a file or folder"),
        (lambda s: data_actions.import_config("lids", "", "coco", who="ana"), "Expected a file or folder"),
        (
            lambda s: data_actions.import_config("lids", "/", "zip", who="ana"),
            "label-studio, entities, entities-longer, got 'zip'",
        ),
        (lambda s: data_actions.overview(s, "lid"), "no data set 'lid'"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    services: Services, work: Callable[[Services], Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        work(services)


def test_a_version_that_a_flag_could_be_hidden_in_stays_text() -> None:
    words = command_line(FreezeConfig("lids", "--note=x\n$(id)", note="-rf", who="ana"))
    assert "--name=--note=x\n$(id)" in words and "--note=-rf" in words


def test_a_look_before_the_data_set_is_chosen_takes_nothing_away(services: Services, tmp_path: Path) -> None:
    """The list of jobs is there before the data set is, and asks for it."""
    assert DataPage(services).show(None, None, None, [], "") == [gr.skip()] * len(DatasetOutputs._fields)
    assert "No data set yet" in DataPage(fake_services(tmp_path)).show(None, None, None, [], "")[0]


@pytest.fixture(scope="module")
def address(services: Services) -> Iterator[str]:
    """Of the app in this process, which has one port."""
    with running(services) as address:
        yield address


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with opened(visitor, f"{address}data?dataset=lids", "#overview table") as page:
        yield page


@pytest.mark.slow
def test_a_link_to_no_data_set_says_so_and_shows_another(address: str, visitor: BrowserContext) -> None:
    with opened(visitor, f"{address}data?dataset=<b>x", "#overview table") as page:
        expect(page.locator(".toast-body")).to_contain_text("There is no data set “<b>x” here: choose one of the list.")
        expect(page.locator("#dataset input")).to_have_value("lids")


@pytest.mark.slow
def test_a_person_freezes_compares_exports_and_reads_the_card(page: Page, services: Services) -> None:
    expect(page.locator("#versions li")).to_have_count(2)
    expect(page.locator("#versions")).to_contain_text("<b>before</b>")
    page.locator("#compare-versions").click()
    expect(page.locator("#difference")).to_contain_text("1 description changed")
    expect(page.locator("#holds")).to_contain_text("8 pictures and 12 descriptions")
    page.locator("#held label").nth(2).click()
    expect(page.locator("#holds")).to_contain_text("8 pictures and 18 descriptions")
    page.locator("#version-name input, #version-name textarea").fill("third")
    page.locator("#freeze").click()
    expect(page.locator("#versions li")).to_have_count(3, timeout=JOB)
    expect(page.locator("#versions li").first).to_contain_text("local")
    page.locator("#format input").click()
    page.get_by_role("option", name="COCO JSON").click()
    expect(page.locator("#losses")).to_contain_text("Nothing is lost")
    page.locator("#export").click()
    expect(job_of(page, "export")).to_be_visible()
    expect(page.locator("#written li")).to_have_count(1, timeout=JOB)
    page.locator("#written summary").click()
    expect(page.locator("#written pre")).to_contain_text("Where the descriptions come from")
    config = data_actions.export_config(services, "lids", "", format="coco", statuses=["accepted"], unreviewed=False)
    written = json.loads((config.out / "annotations.json").read_text())
    assert len(written["images"]) == 7
    page.get_by_text("Import annotations").click()
    page.locator("#file input, #file textarea").fill(str(config.out))
    page.locator("#accept input").check()
    page.locator("#import").click()
    expect(job_of(page, "import-annotations")).to_have_class(re.compile("done"), timeout=JOB)
    expect(job_of(page, "import-annotations")).to_contain_text("0 added, 12 known")
    fits(page, 400)


@pytest.mark.slow
def test_a_person_restores_a_version_undoes_that_and_renames_the_data_set(page: Page, services: Services) -> None:
    page.locator("#versions li", has_text="first").get_by_text("restore …").click()
    expect(page.locator("#restore-question")).to_contain_text("1 description on 1 picture change.")
    page.locator("#restore-question").get_by_text("restore", exact=True).dblclick()  # of one job, not of two
    expect(job_of(page, "restore-version")).to_have_class(re.compile("done"), timeout=JOB)
    page.get_by_text("Undo a run or an import").click()
    expect(page.locator("#works")).to_contain_text("restore version first")
    page.locator("#works").get_by_text("undo …").last.click()
    page.locator("#undo-question").get_by_text("undo", exact=True).click()
    expect(page.locator("#works")).to_contain_text("redo …", timeout=JOB)
    page.get_by_text("Rename or delete").click()
    page.locator("#delete-dataset").click()
    expect(page.locator("#deletion")).to_contain_text("8 pictures")
    page.locator("#deletion").get_by_text("cancel").click()
    page.locator("#new-name input, #new-name textarea").fill("caps")
    page.locator("#rename").click()
    expect(page.locator("#deletion")).to_contain_text(re.compile(r"\d frozen versions"))
    page.locator("#deletion").get_by_text("rename lids to caps", exact=True).dblclick()
    expect(page.locator("#dataset input")).to_have_value("caps")
    settled(page)
    expect(page.locator(".toast-body")).to_have_count(0)
    expect(page.locator("#versions li", has_text="first")).to_be_visible()
    fits(page, 400)
    page.locator("#new-name input, #new-name textarea").fill("lids")
    page.locator("#rename").click()
    page.locator("#deletion").get_by_text("rename caps to lids", exact=True).click()
    expect(page.locator("#dataset input")).to_have_value("lids")


@pytest.mark.slow
def test_a_person_removes_one_picture_and_those_of_a_tag(
    address: str, visitor: BrowserContext, services: Services, tmp_path: Path
) -> None:
    number = curated(services.engine, tmp_path / "jars", name="jars")
    with transaction(services.engine) as session:
        first, second, *_ = image_page(session, dataset_id=number)
        region = session.exec(select(RegionRow.id).where(RegionRow.image_id == second.id)).first() or 0
        add_tag(session, dataset_id=number, ids=[region], tag="a <b>blurry one", action="tag of a jar")
    with opened(visitor, f"{address}data?dataset=jars&remove={first.id}", "#removal .upkeep-question") as page:
        expect(page.locator("#removal")).to_contain_text("Remove 1 picture for good?")
        page.locator("#removal").get_by_text("cancel").click()
        expect(page.locator("#removal .upkeep-question")).to_have_count(0)
        page.locator("#removable li", has_text="a <b>blurry one").get_by_text("remove …").click()
        page.locator("#removal").get_by_text("remove for good", exact=True).click()
        expect(page.locator("#overview")).to_contain_text("7", timeout=JOB)
        expect(page.locator("#removable li")).to_have_count(0)
        fits(page, 400)
    with reading(services.engine) as session:
        assert get_image(session, image_id=second.id) is None and get_image(session, image_id=first.id)


def test_what_goes_is_what_was_seen(services: Services, tmp_path: Path) -> None:
    number = curated(services.engine, tmp_path / "pans", name="pans")
    with transaction(services.engine) as session:
        first, second, *_ = image_page(session, dataset_id=number)
        regions = session.exec(select(RegionRow.id).where(RegionRow.image_id == second.id)).all()
        add_tag(session, dataset_id=number, ids=regions, tag="dull", action="tag of a pan")
    ask = {"do": "tag", "of": "dull", "in": "pans", "seen": 1}
    for other in (ask | {"seen": 2}, ask | {"in": "lids"}, {"do": "tag", "of": "dull"}):
        with pytest.raises(UserError, match="look again first"):
            upkeep_actions.queue_removal(services, "pans", other, who="ana")
    assert "--tag=dull" in upkeep_actions.queue_removal(services, "pans", ask, who="ana")
    with pytest.raises(UserError, match=r"job \d+ \(remove-pictures\) is queued"):
        upkeep_actions.queue_removal(
            services, "pans", {"do": "picture", "of": first.id, "in": "pans", "seen": 1}, who="ana"
        )


def test_only_pictures_of_the_data_set_are_named_for_removal(services: Services) -> None:
    for ask, sentence in (
        ({"do": "import", "of": 999}, "an import of this data set, got another"),
        ({"do": "tag", "of": "no such"}, "which names none"),
        ({"do": "picture", "of": 10**9}, "which names none"),
        ({"do": "picture", "of": "<b>"}, "whole number"),
        ({"do": "tag"}, "whole number"),
    ):
        with pytest.raises(UserError, match=sentence):
            upkeep_actions.removal(services, "lids", ask)


def test_an_export_that_cannot_be_read_is_passed_over(services: Services) -> None:
    folder = services.settings.home / "exports" / "broken"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "export.json").write_text("[]")
    assert all(written.folder != folder for written in data_actions.written_exports(services, "lids"))
