"""The Audit page in a real Chromium, with the real app in a process of its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlmodel import col, select

from app.access.accounts import LOCAL_PERSON, Person
from app.audit import actions as audit_actions
from app.audit.claims import AuditFilter
from app.audit.report import audit_report
from app.core.settings import Settings
from app.ui.jobs_list import latest_jobs
from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.audit.audit import AuditConfig, audit
from curation.audit.judges import judge_path
from curation.audit.reject import RejectConfig, command_line
from curation.audit.sources import SourceChoice
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import Engine, open_engine, reading, transaction
from db.models import AuditedClaim, AuditSample, Description
from db.queries.audit_queries import audit_runs, set_claim_verdict, verdicts_on
from db.queries.audit_queries import regions_of_descriptions as regions_of
from db.queries.audit_sample_queries import draw_sample
from db.queries.data_set_queries import get_dataset
from tests.support import browser_fixtures
from tests.support.browser_fixtures import job_of
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import write_fake_checkpoint
from tests.support.paths import ROOT
from tests.support.still_services import StillServices
from tests.support.waiting import PATIENCE_MS
from user_errors import UserError

PHOTOGRAPHS = ROOT / "app/ground/example_pictures"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with twelve audited pictures of the sample world, a third of their descriptions wrong.

    Beside them two photographs that photo described and photo audited.
    """
    home = tmp_path_factory.mktemp("audit") / "home"
    home.mkdir()
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=12, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    told = SampleConfig(wrong=0.34)
    config = AnnotateConfig("drawn", DescriberChoice("sample"), LocalizerChoice("sample"), told)
    annotate(engine, config, AnnotatorFactory.of(config), worker="w")
    audit(engine, AuditConfig("drawn", sources=SourceChoice("sample", checkpoint="sample", vqa="sample")), worker="w")
    (home / "photos").mkdir()
    for name in ("chelsea", "coffee"):
        shutil.copy(PHOTOGRAPHS / f"{name}.jpg", home / "photos")
    ingest(engine, home / "photos", dataset="photos", home=home, processes=1)
    by_photo = AnnotateConfig("photos", DescriberChoice("photo"), LocalizerChoice("photo"))
    annotate(engine, by_photo, AnnotatorFactory.of(by_photo), worker="w")
    audit(engine, AuditConfig("photos", sources=SourceChoice("photo")), worker="w", home=home)
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return open_engine(f"sqlite:///{home / 'grain.sqlite'}")


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with browser_fixtures.opened(visitor, f"{address}audit?dataset=drawn", "#claims .claim", height=1500) as page:
        browser_fixtures.settled(page)  # all that it asks as it opens is answered
        yield page


@pytest.mark.slow
def test_a_page_says_that_nobody_independent_was_asked_and_leaves_the_claims_to_people(
    address: str, visitor: BrowserContext, home: Path, engine: Engine
) -> None:
    with browser_fixtures.opened(visitor, f"{address}audit?dataset=photos", "#claims .notice", height=1500) as page:
        expect(page.locator("#claims .notice")).to_contain_text("No source is independent of photo-describer@")
        expect(page.locator("#claims .claim")).to_have_count(0)
        page.locator("#verdicts").get_by_label("cannot tell").check()
        expect(page.locator("#claims .claim img").first).to_have_js_property("naturalWidth", 320)
        page.locator("#claims .claim").first.click()
        expect(page.locator("#claim")).to_contain_text("No source has evidence for it.")
        first = opened(page)
        page.keyboard.press("u")
        expect(page.locator(f'#claim .audited[data-id="{first}"]')).to_have_count(0)
        expect(page.locator("#report")).not_to_contain_text("the auditor's verdicts")
    with reading(engine) as session:
        photos = get_dataset(session, name="photos")
        assert photos is not None
        claims = session.exec(select(AuditedClaim).where(AuditedClaim.dataset_id == photos.id)).all()
    assert {claim.verdict for claim in claims} == {"cannot tell"}
    assert [claim.settled for claim in claims if claim.settled] == ["unsupported"]


def test_the_sources_that_are_offered_fit_the_data_set(home: Path) -> None:
    services = fake_services(home.parent)
    assert audit_actions.fitting_sources(services, "drawn") == SourceChoice("sample", checkpoint="sample", vqa="sample")
    assert audit_actions.fitting_sources(services, "photos") == SourceChoice("photo", checkpoint="photo")
    assert audit_actions.fitting_sources(services, "").detector == "photo"


def test_a_checkpoint_of_ones_own_is_found_by_its_name(home: Path) -> None:
    mine = write_fake_checkpoint(home / "checkpoints" / "mine")
    services = StillServices(Settings(home=home))
    for name, said in (("mine", str(mine)), (str(mine), str(mine)), ("sample", "sample")):
        config = audit_actions.audit_config("drawn", detector="none", checkpoint=name, vqa="sample")
        job = services.jobs.get(audit_actions.start(services, config, Person("carl", "curator")))
        assert job is not None and f"--sources.checkpoint={said}" in job.argv
        services.jobs.cancel(job.id)  # else the app of the tests below would do it
    config = audit_actions.audit_config("drawn", detector="none", checkpoint="nobody", vqa="sample")
    with pytest.raises(UserError, match="There is no checkpoint 'nobody'"):
        audit_actions.start(services, config, LOCAL_PERSON)


def opened(page: Page) -> int:
    return int(page.locator("#claim .audited").get_attribute("data-id") or 0)


def said(engine: Engine, claim_id: int) -> list[tuple[str, str]]:
    with reading(engine) as session:
        return [(each.who, each.verdict) for each in verdicts_on(session, claim_id=claim_id)]


def judge_sample(page: Page, engine: Engine) -> tuple[int, int]:
    """Go to the first claim of the sample that nobody has judged; return it and the next one."""
    with transaction(engine) as session:
        recipe = audit_runs(session, dataset_id=1)[0].recipes["audit"]
        draw_sample(session, dataset_id=1, recipe=recipe, count=12)
    page.locator("#judge").click()
    expect(page.locator("#claim")).to_contain_text("of the sample")
    first = opened(page)
    with reading(engine) as session:
        drawn = [row.claim_id for row in session.exec(select(AuditSample).order_by(col(AuditSample.position)))]
    return first, drawn[drawn.index(first) + 1]


@pytest.mark.slow
def test_a_claim_shows_its_evidence_and_keys_judge_and_go_on(page: Page, engine: Engine) -> None:
    page.locator("#claims .claim").first.click()
    expect(page.locator("#claim .evidence")).to_contain_text("GRAIN, cosine × 10")
    expect(page.locator("#claim blockquote mark.chosen")).to_be_visible()
    first = opened(page)
    page.keyboard.press("a")
    expect(page.locator(f'#claim .audited[data-id="{first}"]')).to_have_count(0)
    assert said(engine, first) == [("local", "unsupported")], "agreed with the auditor, and the next is there"
    page.locator(f'#claims .claim[data-id="{first}"]').click()
    expect(page.locator(f'#claim .audited[data-id="{first}"] .people')).to_contain_text("local")
    page.keyboard.press("z")
    expect(page.locator("#claim .audited")).to_contain_text("Nobody has judged it yet.")
    assert said(engine, first) == []


@pytest.mark.slow
def test_the_sample_is_judged_without_seeing_the_auditor_and_gives_rates(page: Page, engine: Engine) -> None:
    page.locator("#draw").click()
    expect(page.locator("#report")).to_contain_text(re.compile(r"0 of \d+ claims of the sample are judged"))
    page.locator("#judge").click()
    expect(page.locator("#claim")).to_contain_text("number 1 of the sample")
    expect(page.locator("#claim .evidence")).to_have_count(0)
    first = opened(page)
    page.keyboard.press("u")
    expect(page.locator("#claim")).to_contain_text("number 2 of the sample")
    page.keyboard.press("s")
    expect(page.locator("#report")).to_contain_text(re.compile(r"2 of \d+ claims of the sample are judged"))
    expect(page.locator("#report")).to_contain_text("hallucination rate, people")
    assert said(engine, first) == [("local", "unsupported")]


@pytest.mark.slow
def test_a_verdict_key_counts_once_for_the_claim_on_the_screen(page: Page, engine: Engine) -> None:
    first, second = judge_sample(page, engine)
    with browser_fixtures.held_events(page):
        for key in ("u", "s", "j", "s"):  # by a hand that is faster than the answer
            page.keyboard.press(key)
        expect(page.locator("#claim [aria-busy]")).to_be_visible()
    expect(page.locator(f'#claim .audited[data-id="{second}"]')).to_be_visible()
    browser_fixtures.settled(page)
    assert opened(page) == second, "and no other"
    assert [said(engine, claim) for claim in (first, second)] == [[("local", "unsupported")], []]


@pytest.mark.slow
def test_a_verdict_that_the_app_did_not_take_can_be_given_again(page: Page, engine: Engine) -> None:
    first, second = judge_sample(page, engine)
    busy = {"detail": "Wait."}
    browser_fixtures.intercept(page, browser_fixtures.EVENTS, lambda route: route.fulfill(status=429, json=busy))
    page.keyboard.press("u")
    expect(page.locator("#claim [aria-busy]")).to_have_count(0)
    page.unroute(browser_fixtures.EVENTS)
    assert said(engine, first) == []
    page.keyboard.press("u")
    expect(page.locator(f'#claim .audited[data-id="{second}"]')).to_be_visible()
    assert said(engine, first) == [("local", "unsupported")]


@pytest.mark.slow
def test_other_words_reach_the_regions_and_what_a_model_wrote_is_shown_as_text(page: Page, engine: Engine) -> None:
    hostile = "<img src=x onerror=alert(1)> lid"
    with transaction(engine) as session:
        claim = session.get(AuditedClaim, int(page.locator("#claims .claim").first.get_attribute("data-id") or 0))
        assert claim is not None
        description = session.get(Description, claim.description_id)
        assert description is not None
        description.text = hostile
    page.locator("#claims .claim").first.click()
    expect(page.locator("#claim blockquote")).to_contain_text(
        "(1)"
    )  # the marks of claims lie between the other letters
    assert page.locator("#claim blockquote img").count() == 0
    page.keyboard.press("e")
    page.locator("#claim .prompt input").fill("a plain lid")
    page.keyboard.press("Enter")
    expect(page.locator("#claim .feedback")).to_contain_text("Curate's undo brings the old words back")
    with reading(engine) as session:
        rows = regions_of(session, description_ids=[claim.description_id])[claim.description_id]
    assert {row.text for row in rows} == {"a plain lid"}


def test_words_that_somebody_else_wrote_meanwhile_are_not_written_over(home: Path, engine: Engine) -> None:
    services = StillServices(Settings(home=home))
    with reading(engine) as session:
        for claim in session.exec(select(AuditedClaim).where(AuditedClaim.dataset_id == 1)):
            if rows := regions_of(session, description_ids=[claim.description_id])[claim.description_id]:
                break
    seen = {row.id: row.version for row in rows}
    audit_actions.rewrite(services, claim.id, text="a red lid", seen=seen, who="cora")
    with pytest.raises(UserError, match="cora changed a region of it meanwhile: open the claim again"):
        audit_actions.rewrite(services, claim.id, text="a blue lid", seen=seen, who="carl")
    assert [who for who, _ in said(engine, claim.id)] == ["cora"]
    audit_actions.rewrite(services, claim.id, text="a red lid", seen=seen, who="carl")  # they agree
    with reading(engine) as session:
        rows = regions_of(session, description_ids=[claim.description_id])[claim.description_id]
    assert {row.text for row in rows} == {"a red lid"}


@pytest.mark.slow
def test_a_rule_says_what_it_touches_and_rejects_as_a_job(page: Page, engine: Engine, home: Path) -> None:
    page.locator("#rule").get_by_text("Reject by this rule").click()
    expect(page.locator("#touched")).to_contain_text(re.compile(r"\d+ regions of these are not yet rejected"))
    page.locator("#reject").click()
    expect(job_of(page, "reject")).to_have_class(re.compile("done"), timeout=PATIENCE_MS)
    expect(page.locator("#touched")).to_contain_text("0 regions of these are not yet rejected")


@pytest.mark.slow
def test_a_judge_is_fitted_as_a_job_once_enough_was_judged(page: Page, engine: Engine, home: Path) -> None:
    page.locator("#fit").click()
    expect(page.locator(".toast-body")).to_contain_text("judge on until there are")
    with transaction(engine) as session:
        recipe = audit_runs(session, dataset_id=1)[0].recipes["audit"]
        draw_sample(session, dataset_id=1, recipe=recipe, count=400)
        for claim_id in session.exec(select(AuditSample.claim_id)):
            verdict = "supported" if claim_id % 3 else "unsupported"
            set_claim_verdict(session, claim_id=claim_id, who="ada", verdict=verdict)  # type: ignore[arg-type]
    page.locator("#fit").click()
    expect(job_of(page, "fit-judge")).to_have_class(re.compile("done"), timeout=PATIENCE_MS)
    expect(page.locator("#report")).to_contain_text("auditor's precision, cross-validated")
    expect(page.locator("#report")).to_contain_text("this data set’s own judge")
    assert judge_path(home, "drawn").exists()
    with reading(engine) as session:
        assert audit_runs(session, dataset_id=1)[0].recipes["audit"] != recipe


def test_what_cannot_be_is_said_in_one_sentence(home: Path, engine: Engine, tmp_path: Path) -> None:
    services = fake_services(tmp_path)
    with pytest.raises(UserError, match="There is no data set yet"):
        audit_report(services, "")
    with pytest.raises(UserError, match="There is no data set 'nothing'"):
        audit_report(services, "nothing")
    wanted = AuditFilter("drawn")
    with pytest.raises(UserError, match="would reject everything"):
        audit_actions.reject(services, wanted, "ana")
    with pytest.raises(UserError, match="There is no claim 7"):
        audit_actions.decide(services, 7, verdict="supported", who="ana")
    with pytest.raises(UserError, match="Expected supported, unsupported, cannot tell, got 'perhaps'"):
        audit_actions.decide(services, 1, verdict="perhaps", who="ana")
    assert latest_jobs(services, audit_actions.KINDS) == []
    with reading(engine) as session:
        assert audit_runs(session, dataset_id=1)[0].recipes["audit"]


def test_a_rule_travels_to_its_job_word_by_word() -> None:
    config = RejectConfig("-x", "ana", ("attribute",), ("unsupported", "cannot tell"), 0.25, "red $(id)", "nobody")
    assert command_line(config) == [
        "-m",
        "curation.audit.reject",
        "--dataset=-x",
        "--who=ana",
        "--kinds",
        "attribute",
        "--verdicts",
        "unsupported",
        "cannot tell",
        "--at-most=0.25",
        "--words=red $(id)",
        "--judged=nobody",
    ]
