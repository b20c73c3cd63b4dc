"""The Annotate page in a real Chromium, with the real app in a process of its own that may be killed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, expect

from app.access.accounts import PERSON_KEY, Person
from app.annotate import actions
from app.annotate.form import DEFAULTS
from app.annotate.layout import AnnotateOutputs
from app.annotate.page import AnnotatePage
from benchmarks.stub_annotators import StubDescriber, StubLocalizer, stubs
from curation.annotate.annotate import annotate
from curation.annotate.servers import add_server
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import open_engine, transaction
from db.queries.job_queries import end_job, enqueue_job, lock_job
from grain.hub.weights import READ_AT_ONCE_BYTES
from tests.support.browser_fixtures import fits, opened, settled
from tests.support.fake_app import app_at, fake_services, running
from tests.support.waiting import JOB_MS

PICTURES = 120  # enough for a person to see each stage under way
PAGE = 12  # results
OWNER = Person("ada", "admin")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a data set of the sample world."""
    home = tmp_path_factory.mktemp("home")
    config = WorldConfig(out=home / "drawn", images=0, held_out_images=PICTURES, classes=1, novel_images_per_class=0)
    ingest(open_engine(f"sqlite:///{home / 'grain.sqlite'}"), write_world(config), dataset="drawn", home=home)
    return home


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with opened(visitor, f"{address}annotate", "#plan .meter") as page:
        yield page


def choose(page: Page, field: str, words: str) -> None:
    page.locator(f"#{field} input").click()
    page.locator(f"#{field}").get_by_role("option", name=words).click()


def use_the_truth(page: Page) -> None:
    choose(page, "describer", "sample truth")
    choose(page, "localizer", "sample truth")
    expect(page.locator("#command")).to_contain_text("--describer.kind=sample --localizer.kind=sample")


@pytest.mark.slow
def test_a_slider_that_is_moved_by_keys_counts_in_the_plan(page: Page) -> None:
    use_the_truth(page)
    page.get_by_label("range slider for share of wrong descriptions").press("ArrowRight")
    expect(page.locator("#command")).to_contain_text("--sample.wrong=0.05")


def latest(page: Page) -> Locator:
    return page.locator("#jobs .job").first


@pytest.mark.slow
def test_a_run_from_plan_to_results_and_again_after_a_refresh(page: Page, address: str) -> None:
    use_the_truth(page)
    expect(page.locator("#plan")).to_contain_text(f"0 of {PICTURES}")
    page.locator("#start").click()
    expect(latest(page)).to_have_class(re.compile("done"), timeout=JOB_MS)
    expect(page.locator("#plan .meter").nth(1)).to_contain_text(f"{PICTURES} of {PICTURES}")
    expect(page.locator("#results .result")).to_have_count(PAGE)
    expect(page.locator("#results .result").first.locator("rect.line")).not_to_have_count(0)
    settled(page)  # a late look at the results would show the first page again
    page.locator("#more").click()
    expect(page.locator("#results .result")).to_have_count(2 * PAGE)
    page.reload()
    expect(latest(page)).to_have_class(re.compile("done"))
    latest(page).get_by_text("What it costs").click()
    expect(latest(page)).to_contain_text("600 A40-hours published")


@pytest.mark.slow
def test_one_picture_is_tried_step_by_step(page: Page) -> None:
    use_the_truth(page)
    page.locator("#try").click()
    trial = page.locator("#trial")
    for words in ("Stage 1 · subject", "Stage 2 · as the model wrote it", "Parsed descriptions", "Boxes"):
        expect(trial).to_contain_text(words)
    assert trial.locator("rect.line").count() == trial.locator("section").nth(3).locator("li").count()
    page.locator("#number input").fill("999")
    page.locator("#try").click()
    expect(page.locator("#note-trial .notice")).to_contain_text("no picture number 999")
    page.locator("#number input").fill("1" + "0" * 20)
    page.locator("#try").click()
    expect(page.locator("#note-trial .notice")).to_contain_text("got 100,000,000,000,000,000,000: choose another")


@pytest.mark.slow
def test_prompts_are_compared_on_a_sample_and_a_person_judges_claims_of_both(page: Page) -> None:
    use_the_truth(page)
    page.get_by_text("compare prompts").click()
    for field, number in (("pictures", "6"), ("claims", "3")):
        page.locator(f"#compare-{field} input").fill(number)
        page.locator(f"#compare-{field} input").press("Tab")
    expect(page.locator("#compare-judge")).to_be_hidden()
    page.locator("#compare-start").click()
    result = page.locator("#compare-result .prompts-compared")
    expect(result).to_contain_text("asks no question, so both columns are the same", timeout=JOB_MS)
    expect(result.locator("thead th")).to_have_text(["two questions", "one question"])
    expect(result.locator(".prompt-pair")).to_have_count(4)
    judged = result.get_by_role("row", name="claims judged by people")
    expect(judged).to_contain_text("0 of")
    page.locator("#compare-judge").click()
    claim = page.locator("#compare-claim .prompt-claim")
    expect(claim.locator("mark")).to_be_visible()
    first = claim.get_attribute("data-id")
    claim.get_by_role("button", name="supported", exact=False).first.click()
    expect(claim).not_to_have_attribute("data-id", str(first))
    expect(judged).to_contain_text("1 of")
    fits(page, 400)


@pytest.mark.slow
def test_what_an_import_left_out_is_listed_saved_and_an_import_that_brings_nothing_is_told(
    tmp_path: Path, visitor: BrowserContext
) -> None:
    services = fake_services(tmp_path)
    (tmp_path / "mixed" / "notes").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "mixed" / "a.png")
    (tmp_path / "mixed" / "notes" / "=1+1.txt").write_text("no picture")
    ingest(services.engine, tmp_path / "mixed", dataset="mixed", home=services.settings.home, processes=1)
    with running(services) as address, opened(visitor, f"{address}annotate?import", "#plan .meter") as page:
        settled(page)
        page.locator("#left-out summary").first.click()
        page.locator("#left-out details details summary").click()
        expect(page.locator("#left-out li")).to_have_text("=1+1.txt")
        with page.expect_download() as saved:
            page.locator("#save-left-out").click()
        assert saved.value.suggested_filename == "left_out.csv"
        head, row = Path(saved.value.path()).read_text().splitlines()
        assert head == "file,inside,reason" and row.startswith('notes/=1+1.txt,,"This is not a JPEG')
        page.locator("#source textarea, #source input").fill(str(tmp_path / "mixed" / "notes"))
        page.locator("#name textarea, #name input").fill("nothing")
        page.locator("#import-button").click()
        expect(latest(page).locator(".notice")).to_contain_text(
            "Nothing came in. Left out: 1, of these 1 for this: This is not a JPEG", timeout=JOB_MS
        )


@pytest.mark.slow
def test_the_messages_are_shown_before_they_are_sent(tmp_path: Path, visitor: BrowserContext) -> None:
    services = fake_services(tmp_path)
    (tmp_path / "one").mkdir()
    Image.new("RGB", (1400, 700)).save(tmp_path / "one" / "a.png")
    ingest(services.engine, tmp_path / "one", dataset="one", home=services.settings.home, processes=1)
    with running(services) as address, opened(visitor, f"{address}annotate", "#plan .meter") as page:
        page.locator("#preview-messages").click()
        expect(page.locator("#note-trial .notice")).to_contain_text("“photo stand-in, offline” asks no question")
        choose(page, "describer", "a server")
        page.locator("#server input").fill("http://127.0.0.1:9/v1")
        page.locator("#server input").press("Enter")
        requests = page.locator("#trial .messages-preview section")
        for prompts, count in (("two-stage-1", 3), ("single-stage-1", 2)):
            page.get_by_label("prompts", exact=True).click()
            page.get_by_role("option", name=prompts).click()
            expect(page.locator("#command")).to_contain_text("single-stage-1" if count == 2 else "--describer.server")
            page.locator("#preview-messages").click()
            expect(requests).to_have_count(count)
        expect(requests.first).to_contain_text("[picture: 1008 × 504 pixels as JPEG")
        expect(requests.last.locator("p")).to_have_count(3)
        expect(requests.last).to_contain_text("(the answer)")
        fits(page, 400)


@pytest.mark.slow
def test_the_link_decides_which_data_set_is_open_whatever_jobs_there_are(
    tmp_path: Path, visitor: BrowserContext
) -> None:
    services = fake_services(tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / name / "a.png")
        ingest(services.engine, tmp_path / name, dataset=name, home=services.settings.home, processes=1)
    with transaction(services.engine) as session:  # a list of jobs that changes as the page opens
        enqueue_job(session, kind="annotate", owner="ada", config={}, argv=["true"]).state = "done"
    with running(services) as address:
        for linked in ("second", "first"):
            with opened(visitor, f"{address}annotate?dataset={linked}", "#plan .meter") as page:
                expect(latest(page)).to_be_visible()
                settled(page)
                expect(page.locator("#dataset input")).to_have_value(linked)
                expect(page.locator("#command")).to_contain_text(linked)


@pytest.mark.slow
def test_the_buttons_of_a_job_stay_in_reach_whatever_its_data_set_and_its_reason_are_called(
    tmp_path: Path, visitor: BrowserContext
) -> None:
    services = fake_services(tmp_path)
    with transaction(services.engine) as session:
        job = enqueue_job(session, kind="annotate", owner="ada", config={"dataset": "n" * 100}, argv=["true"])
        end_job(session, lock_job(session, job.id), state="failed", exit_reason=f"There is no /{'w' * 200}.")
    with running(services) as address, opened(visitor, f"{address}annotate", "#jobs .job") as page:
        for width in (1400, 400):
            page.set_viewport_size({"width": width, "height": 900})
            card, button = page.locator("#jobs"), latest(page).get_by_role("button", name="resume")
            edges = [place.bounding_box() for place in (card, button, latest(page).locator(".notice"))]
            right, *inside = [box["x"] + box["width"] for box in edges if box]
            assert len(inside) == 2 and max(inside) <= right, width


def test_the_only_model_server_is_chosen_and_what_was_written_stays(tmp_path: Path) -> None:
    services = fake_services(tmp_path)
    page = AnnotatePage(services)

    def field(now: str | None, describer: str = "server") -> dict[str, Any]:
        return dict(page.show_fields(describer, "photo", now)[1])

    assert "value" not in field("") and field("")["choices"] == []
    services.settings.home.mkdir(exist_ok=True)
    add_server(services.settings.home, "http://127.0.0.1:8000/v1")
    assert field(None)["value"] == field("")["value"] == "http://127.0.0.1:8000/v1"
    assert field("")["visible"] and not field("", "photo")["visible"]
    assert "value" not in field("", "photo") and "value" not in field("http://127.0.0.1:9/v1")
    add_server(services.settings.home, "http://127.0.0.1:8001/v1")
    assert "value" not in field("") and len(field("")["choices"]) == 2


def test_results_show_what_a_run_has_just_done_until_a_person_pages_through_them(tmp_path: Path) -> None:
    services = fake_services(tmp_path)
    home, engine = services.settings.home, services.engine
    form = DEFAULTS._replace(dataset="sheets")
    page, request = AnnotatePage(services), cast(Any, SimpleNamespace(scope={PERSON_KEY: OWNER}))

    def grow(first: int) -> None:
        place = tmp_path / f"from {first}"
        place.mkdir()
        for number in range(first, first + 10):
            Image.new("RGB", (40, 30), (number, 0, 200)).save(place / f"{number}.png")
        ingest(engine, place, dataset="sheets", home=home, processes=1)
        annotate(engine, actions.config_of(services, form, OWNER), stubs(StubDescriber(), StubLocalizer()), worker="w")

    def shown(outputs: list[Any]) -> AnnotateOutputs:
        return AnnotateOutputs(*outputs)

    grow(0)
    first = shown(page.show(request, *form))
    assert (first.last, first.paged) == (1, False)
    grow(10)
    views = actions.results(services, actions.config_of(services, form, OWNER))
    assert [view.image.id for view in views] == [*range(20, 8, -1)]
    now = shown(page.show_progress(request, False, *form))
    assert now.last == 9 and now.results != first.results
    results, last, paged = page.show_more(request, now.last, now.results, *form)
    assert (last, paged) == (1, True) and len(results) > len(now.results)
    grow(20)
    later = shown(page.show_progress(request, True, *form))
    assert [later.results, later.last, later.paged] == [gr.skip()] * 3, "what a person has paged through stays"
    assert page.show_more(request, 1, results, *form) == [gr.skip()] * 3


def test_annotators_that_a_person_has_chosen_stay_whatever_data_set_opens_late(tmp_path: Path) -> None:
    page = AnnotatePage(fake_services(tmp_path))
    first, of_example = ("photo", "photo"), ("sample", "sample")
    assert page.suit_annotators("drawn", False, *of_example) == [False, gr.skip(), gr.skip()]  # a person chose them
    assert page.suit_annotators("sample-world", False, *first) == [True, *of_example]
    assert page.suit_annotators("sample-world", True, *of_example) == [True, gr.skip(), gr.skip()]  # asked again
    assert page.suit_annotators("drawn", True, *of_example) == [False, *first]
    assert page.suit_annotators("drawn", True, "photo", "sample") == [False, gr.skip(), gr.skip()]


@pytest.mark.slow
def test_the_plan_for_large_weights_follows_by_itself_once_they_are_read(page: Page, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(READ_AT_ONCE_BYTES + 1)  # the first answer is always that they are being read
    choose(page, "describer", "LLaVA on this machine")
    expect(page.locator("#note-plan .notice")).to_contain_text("hf download")
    model = page.get_by_label("the describer's model")
    model.fill(str(tmp_path))
    model.press("Tab")
    expect(page.locator("#command")).to_contain_text(str(tmp_path))
    expect(page.locator("#plan .meter").first).to_be_visible()
    expect(page.locator("#note-plan")).to_be_empty()


@pytest.mark.slow
def test_what_is_missing_is_a_plain_sentence_with_the_command(page: Page) -> None:
    choose(page, "describer", "LLaVA on this machine")
    expect(page.locator("#note-plan .notice")).to_contain_text("hf download llava-hf/llava-v1.6-mistral-7b-hf")
    page.locator("#start").click()
    expect(page.locator(".toast-body").first).to_contain_text("are not complete on this machine")
    choose(page, "describer", "class names only")
    expect(page.locator("#note-plan .notice")).to_contain_text("vocabulary is empty")
    page.locator("#vocabulary textarea").fill("dog\n<img src=x onerror=window.hacked=1>")
    expect(page.locator("#command")).to_contain_text("<img src=x onerror=window.hacked=1>")
    assert page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_a_job_outlives_the_app_and_is_paused_resumed_and_cancelled(home: Path, visitor: BrowserContext) -> None:
    with app_at(home) as (address, app), opened(visitor, f"{address}annotate", "#plan .meter") as page:
        page.locator("#start").click()
        expect(latest(page)).to_have_class(re.compile("running"), timeout=JOB_MS)
        expect(latest(page)).to_contain_text(re.compile("describe:|localize:"), timeout=JOB_MS)
        app.kill()
        app.wait()
    with app_at(home) as (address, _), opened(visitor, f"{address}annotate", "#plan .meter") as page:
        expect(latest(page)).to_have_class(re.compile("running|done"))
        expect(latest(page)).to_have_class(re.compile("done"), timeout=JOB_MS)
        page.locator("#least-score input[type=number]").fill("0.4")
        page.locator("#least-score input[type=number]").press("Tab")
        expect(page.locator("#command")).to_contain_text("threshold=0.4")
        page.locator("#start").click()
        latest(page).get_by_role("button", name="pause").click()
        expect(latest(page)).to_have_class(re.compile("paused"), timeout=JOB_MS)
        latest(page).get_by_role("button", name="resume").click()
        expect(latest(page)).to_have_class(re.compile("done"), timeout=JOB_MS)
        page.locator("#least-score input[type=number]").fill("0.5")
        page.locator("#least-score input[type=number]").press("Tab")
        expect(page.locator("#command")).to_contain_text("threshold=0.5")
        page.locator("#start").click()
        latest(page).get_by_role("button", name="cancel").click()
        expect(latest(page)).to_have_class(re.compile("cancelled"), timeout=JOB_MS)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off(page: Page, width: int) -> None:
    fits(page, width)
