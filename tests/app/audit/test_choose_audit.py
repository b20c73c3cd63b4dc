"""A newer audit hides nothing of an older one: its sample, people's verdicts, figures, judge, rule and export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from starlette.requests import Request

from app.access.accounts import PERSON_KEY, Person
from app.audit import actions
from app.audit.audits import audit_choices
from app.audit.claims import AuditFilter, count_matches, find_claims, next_in_sample
from app.audit.page import AuditPage
from app.audit.report import audit_report
from app.core.settings import Settings
from app.jobs.control import NewJob
from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.audit.audit import AuditConfig, audit
from curation.audit.data_set_audits import audits_of, find_audit
from curation.audit.sources import SourceChoice
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import Engine, open_engine, reading
from db.queries.audit_queries import verdicts_on
from db.queries.data_set_queries import existing_dataset
from tests.support import browser_fixtures
from tests.support.still_services import StillServices
from user_errors import UserError

OLDER = AuditConfig("drawn", sources=SourceChoice("sample", checkpoint=""))
NEWER = AuditConfig("drawn", sources=SourceChoice("none", checkpoint="", vqa="sample"))
DRAWN, JUDGED = 20, 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose data set was audited twice: a person judged three claims of the older audit's sample.

    Beside it a data set that was described and never audited.
    """
    home = tmp_path_factory.mktemp("audits") / "home"
    home.mkdir()
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=6, classes=1, novel_images_per_class=0)
    pictures = write_world(world)
    for name in ("bare", "drawn"):
        ingest(engine, pictures, dataset=name, home=home)
    config = AnnotateConfig("drawn", DescriberChoice("sample"), LocalizerChoice("sample"), SampleConfig(wrong=0.34))
    annotate(engine, config, AnnotatorFactory.of(config), worker="w")
    services = StillServices(Settings(home=home))
    audit(engine, OLDER, worker="w", home=home)
    actions.draw(services, "drawn", DRAWN)
    for _ in range(JUDGED):
        claim = next_in_sample(services, "drawn", who="ada")
        assert claim is not None
        actions.decide(services, claim.row.claim.id, verdict="unsupported", who="ada")
    audit(engine, NEWER, worker="w", home=home)
    return home


@pytest.fixture
def services(home: Path) -> StillServices:
    return StillServices(Settings(home=home))


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return open_engine(f"sqlite:///{home / 'grain.sqlite'}")


def ids(services: StillServices) -> list[int]:
    """Of the audits of the data set, the newest first."""
    return [each.audit.id for each in audit_choices(services, "drawn")]


def test_the_audits_are_offered_the_newest_first_each_with_when_by_what_and_how_much(services: StillServices) -> None:
    newer, older = (each.label for each in audit_choices(services, "drawn"))
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC · \d+ claims, 0 judged · sample-asked", newer)
    assert re.fullmatch(rf"20\d\d-\d\d-\d\d \d\d:\d\d UTC · \d+ claims, {JUDGED} judged · sample-detector", older)
    assert audit_choices(services, "bare") == audit_choices(services, None) == []


def test_an_older_audits_sample_its_figures_and_its_claims_are_there(services: StillServices) -> None:
    newer, older = ids(services)
    newest = audit_report(services, "drawn")
    assert (newest.drawn, newest.judged, newest.rate) == (0, 0, None)
    assert newest.elsewhere is not None and newest.elsewhere.audit.id == older
    found = audit_report(services, "drawn", older)
    assert (found.drawn >= DRAWN, found.judged, found.elsewhere) == (True, JUDGED, None)
    assert found.rate is not None and found.rate.value == 1.0
    judged = AuditFilter("drawn", older, judged="people")
    assert len(find_claims(services, judged).rows) == JUDGED
    assert find_claims(services, replace(judged, audit=newer)).rows == ()
    assert count_matches(services, judged).claims == JUDGED
    with pytest.raises(UserError, match="There is no audit 999 of 'drawn'"):
        audit_report(services, "drawn", 999)
    with pytest.raises(UserError, match="'bare' was not audited yet"):
        audit_report(services, "bare")


def test_people_go_on_judging_an_older_audits_sample(services: StillServices) -> None:
    newer, older = ids(services)
    claim = next_in_sample(services, "drawn", audit=older, who="ada")
    assert claim is not None and claim.sample == JUDGED
    assert next_in_sample(services, "drawn", audit=newer, who="ada") is None
    before = audit_report(services, "drawn", older).drawn
    assert actions.draw(services, "drawn", before + 5, audit=older) >= 5
    assert audit_report(services, "drawn").drawn == 0


def test_an_audit_without_a_sample_says_so_where_it_should_be_judged(services: StillServices) -> None:
    newer, older = ids(services)
    page, judge = AuditPage(services), gr.Request(Request({"type": "http", PERSON_KEY: Person("eve", "curator")}))
    kinds = ["object", "attribute", "part", "count", "relation", "text"]
    for number, shown in ((newer, "No sample yet"), (older, "of the sample")):
        panel = page.judge(judge, "drawn", str(number), kinds, ["unsupported"], 1.0, "", "anybody")
        assert shown in panel


def test_a_fit_and_a_rule_are_of_the_audit_that_is_chosen(services: StillServices) -> None:
    _, older = ids(services)
    with pytest.raises(UserError, match=f"the sample has 0 and {JUDGED}"):
        actions.fit(services, "drawn", "ada", audit=older)
    rule = AuditFilter("drawn", older, verdicts=["unsupported"])
    job = services.jobs.get(actions.reject(services, rule, "ada"))
    assert job is not None and f"--audit-run={older}" in job.argv
    services.jobs.cancel(job.id)


def test_an_export_obeys_the_audit_that_is_named(engine: Engine, home: Path, tmp_path: Path) -> None:
    with reading(engine) as session:
        dataset = existing_dataset(session, name="drawn")
        newer, older = audits_of(session, dataset_id=dataset.id)
        assert find_audit(session, dataset=dataset) == newer
    common = ExportConfig("coco", tmp_path, "drawn", statuses=("pending", "accepted"), audit="drop-description")
    regions = {
        run: export(engine, home, replace(common, out=tmp_path / str(run), audit_run=run))["regions"]
        for run in (0, newer.id, older.id)
    }
    assert regions[0] == regions[newer.id] != regions[older.id]
    with pytest.raises(ValueError, match="--audit"):
        replace(common, audit="keep", audit_run=older.id)


def test_an_audit_stays_the_same_one_when_it_is_run_again(engine: Engine, home: Path) -> None:
    with reading(engine) as session:
        newer, older = audits_of(session, dataset_id=existing_dataset(session, name="drawn").id)
    for config in (OLDER, NEWER):  # and the order as it was, for the other tests
        audit(engine, config, worker="w", home=home)
        with reading(engine) as session:
            first, second = audits_of(session, dataset_id=newer.run.dataset_id)
        assert {first.id, second.id} == {newer.id, older.id}
        assert first.id == (older if config is OLDER else newer).id, "the one that was run last comes first"


def test_a_person_is_led_to_the_audit_that_they_ran_and_not_to_anybody_elses(
    services: StillServices, engine: Engine, home: Path
) -> None:
    page = AuditPage(services)
    first, second = audit_choices(services, "drawn")
    ada = gr.Request(Request({"type": "http", PERSON_KEY: Person("ada", "curator")}))
    for owner, chosen in (("bob", None), ("ada", second.id)):
        job = services.jobs.submit(NewJob(kind="audit", owner=owner, config={}, argv=["-c", "pass"]))
        services.jobs.cancel(job)
        audit(engine, OLDER, worker="w", job_id=job, home=home)
        field, latest, _ = page.choose_audit(ada, "drawn", first.id, first.audit.run.id)
        assert (field.get("value"), [value for _, value in field["choices"]]) == (chosen, [second.id, first.id])
        assert page.choose_audit(ada, "drawn", first.id, latest)[0].get("value") is None, "once, and not at every look"
    audit(engine, NEWER, worker="w", home=home)  # the order as it was, for the other tests


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with browser_fixtures.opened(visitor, f"{address}audit?dataset=drawn", "#claims .claim", height=1500) as page:
        browser_fixtures.settled(page)
        yield page


def label_of(services: StillServices, audit_id: int) -> str:
    return next(each.label for each in audit_choices(services, "drawn") if each.audit.id == audit_id)


def judge_as_supported(page: Page, claim_id: int) -> None:
    """Press S on a claim that is open, or is about to be, and wait until another one is."""
    claim = page.locator(f'#claim .audited[data-id="{claim_id}"]')
    expect(claim).to_be_visible()
    expect(page.locator("#claim [aria-busy]")).to_have_count(0)
    page.keyboard.press("s")
    expect(claim).to_have_count(0)


@pytest.mark.slow
def test_the_page_leads_to_an_older_sample_and_its_address_opens_it_again(
    page: Page, services: StillServices, engine: Engine
) -> None:
    newer, older = ids(services)
    expect(page.locator("#audit input")).to_have_value(re.compile("sample-asked"))
    expect(page).to_have_url(re.compile(f"[?&]audit={newer}$"))
    page.locator("#report").get_by_role("link", name="open that audit").click()
    expect(page).to_have_url(re.compile(f"[?&]audit={older}$"))
    expect(page.locator("#audit input")).to_have_value(re.compile(f", {JUDGED} judged · sample-detector"))
    expect(page.locator("#report")).to_contain_text("hallucination rate, people")
    first = next_in_sample(services, "drawn", audit=older, who="local")
    assert first is not None and first.sample is not None
    page.locator("#judge").click()
    expect(page.locator("#claim")).to_contain_text(f"number {first.sample + 1} of the sample")
    judge_as_supported(page, first.row.claim.id)
    with reading(engine) as session:
        assert "local" in [each.who for each in verdicts_on(session, claim_id=first.row.claim.id)]
    while f", {JUDGED} judged" in label_of(services, older):  # a second person's verdict on a claim adds none
        claim = next_in_sample(services, "drawn", audit=older, who="local")
        assert claim is not None
        judge_as_supported(page, claim.row.claim.id)
    expect(page.locator("#audit input")).to_have_value(label_of(services, older))
    expect(page.locator("#claim .audited")).to_be_visible()  # the choice is the same one: its claim stays open
    page.reload()
    expect(page.locator("#audit input")).to_have_value(re.compile("sample-detector"))
    browser_fixtures.fits(page, 400)


@pytest.mark.slow
def test_a_choice_on_the_page_stays_until_another_data_set_is_chosen(page: Page, services: StillServices) -> None:
    _, older = ids(services)
    page.locator("#claims .claim").first.click()
    expect(page.locator("#claim .audited")).to_be_visible()
    page.locator("#audit input").click()
    page.get_by_role("option", name="sample-detector").click()
    expect(page).to_have_url(re.compile(f"[?&]audit={older}$"))
    expect(page.locator("#report")).to_contain_text("claims of the sample are judged")
    expect(page.locator("#claim .audited")).to_have_count(0)
    page.locator("#dataset input").click()
    page.get_by_role("option", name="bare").click()
    expect(page.locator("#claims")).to_contain_text("'bare' was not audited yet")
    expect(page.locator("#start")).to_be_visible()  # what begins is open before anybody looks for it
    expect(page).not_to_have_url(re.compile("audit="))
    expect(page.locator("#audit")).to_be_hidden()


@pytest.mark.slow
def test_a_link_to_no_audit_of_the_data_set_opens_the_newest_and_says_so(address: str, visitor: BrowserContext) -> None:
    with browser_fixtures.opened(visitor, f"{address}audit?dataset=drawn&audit=999", "#claims .claim") as page:
        expect(page.locator(".toast-body")).to_contain_text("There is no audit “999” here")
        expect(page.locator("#audit input")).to_have_value(re.compile("sample-asked"))
