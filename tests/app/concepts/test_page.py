"""The page Novel concepts in a real Chromium: the whole flow, two labellers in two browsers, jobs included."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from curation.concepts.class_list import save_classes
from curation.concepts.decisions import label_picture, settle_class
from curation.concepts.metadata import import_pictures
from curation.concepts.status import STATED, settled_class, status_of
from curation.data_sets.remove_pictures import RemovePicturesConfig, remove_pictures
from curation.exchange.concept_classes import ConceptClass
from curation.ingest.ingest import ingest
from curation.sample.products import novel_classes
from curation.sample.scenes import render_scene
from db.engine import Engine, open_engine
from tests.support.browser_fixtures import EVENTS, fits, held_events, intercept, new_visitor, settled
from tests.support.waiting import PATIENCE_MS, until

pytestmark = pytest.mark.slow

CLASSES, PICTURES = 3, 6
NAMES = list(novel_classes(0, CLASSES))
EVIL = "<img src=x onerror=window.hacked=1>"


def draw(folder: Path) -> None:
    """Found pictures with their table, and one of the training pictures among them."""
    (folder / "seen").mkdir()
    (folder / "found").mkdir()
    for number in range(3):
        render_scene("train", seed=0, index=number).image.save(folder / "seen" / f"{number}.jpg")
    rows = [("file_name", "found_at", "found_on")]
    for number in range(PICTURES):
        render_scene("novel", seed=0, index=number, classes=CLASSES).image.save(folder / "found" / f"{number}.jpg")
        rows.append((f"{number}.jpg", f"a fair {EVIL}", "2026-10-01"))
    (folder / "found" / "leak.jpg").write_bytes((folder / "seen" / "1.jpg").read_bytes())
    with (folder / "found" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*rows, ("leak.jpg", "a blog", "")])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    draw(home)
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    ingest(engine, home / "seen", dataset="seen", home=home)
    import_pictures(engine, home, home / "found", dataset="started", who="ana")
    classes = [ConceptClass(name, one.descriptions) for name, one in novel_classes(0, CLASSES).items()]
    save_classes(engine, "started", classes, who="ana", expected_version=1)
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return open_engine(f"sqlite:///{home / 'grain.sqlite'}")


class Person:
    """One person with a browser of their own."""

    def __init__(self, browser: Browser, address: str, place: str) -> None:
        self.page: Page = new_visitor(browser, viewport={"width": 1400, "height": 1100}).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{address}concepts{place}")

    def step(self, name: str) -> Locator:
        return self.page.locator(f'#steps [data-ask*="{name}"]')

    def go(self, name: str) -> None:
        self.step(name).click()
        expect(self.step(name)).to_have_attribute("aria-current", "step")

    def open_classes(self, dataset: str) -> None:
        """Choose a set, where another one is, and enter its step Classes."""
        if f"set={dataset}&" not in self.page.url:
            self.page.locator("#dataset input").click()
            self.page.get_by_role("option", name=dataset, exact=True).click()
            expect(self.page).to_have_url(re.compile(f"set={dataset}&"))
        self.go("classes")
        settled(self.page)

    def done(self, name: str) -> None:
        """Wait until a step is, however long its job takes."""
        expect(self.page.locator(f'#steps li.done [data-ask*="{name}"]')).to_be_visible(timeout=PATIENCE_MS)

    def job_done(self, kind: str) -> None:
        """Wait until a job is."""
        expect(self.page.locator("#jobs .job.done").filter(has_text=kind)).to_be_visible(timeout=PATIENCE_MS)

    def say(self, field: str, text: str) -> None:
        self.page.locator(f"#{field} input, #{field} textarea").first.fill(text)

    def close(self) -> None:
        assert self.page.evaluate("window.hacked") is None
        self.page.context.close()
        assert self.errors == []


@pytest.fixture
def people(browser: Browser, address: str) -> Iterator[list[Person]]:
    """Who is there; they leave at the end."""
    there: list[Person] = []
    yield there
    for person in there:
        person.close()


def class_of(engine: Engine, dataset: str, image_id: int) -> int:
    """Which class a picture really shows."""
    image = next(one for one in status_of(engine, dataset).images if one.id == image_id)
    return int(Path(image.location).stem) % CLASSES


def label_all(person: Person, engine: Engine, dataset: str, *, wrong: int = 0) -> None:
    """By keys, picture after picture."""
    work = person.page.locator("#work .label-work")
    for number in range(PICTURES):
        expect(work.locator(".number")).to_have_text(f"{number} of {PICTURES}")
        shown = class_of(engine, dataset, int(work.get_attribute("data-image") or 0))
        person.page.keyboard.press(str(1 + (shown + (number < wrong)) % CLASSES))
    expect(work).to_contain_text("You have labelled every picture")


def test_the_whole_flow_from_found_pictures_to_an_evaluation(
    browser: Browser, address: str, engine: Engine, home: Path, people: list[Person]
) -> None:
    ana = Person(browser, address, "")
    people.append(ana)
    expect(ana.page.locator("#work .flow")).to_be_visible(timeout=PATIENCE_MS)
    ana.go("pictures")
    ana.say("source", str(home / "found"))
    ana.say("name", "fair")
    ana.page.locator("#import").click()
    expect(ana.page.locator("#dataset input")).to_have_value("fair")
    ana.job_done("concepts")
    expect(ana.page.locator("#steps")).to_contain_text("7 pictures; 1 lack where or when", timeout=PATIENCE_MS)

    ana.go("leaks")
    ana.page.locator("#compare").click()
    suspect = ana.page.locator(".suspect").filter(has_text="the same file")
    expect(suspect).to_contain_text("leak.jpg is like 1.jpg of the data set seen", timeout=PATIENCE_MS)
    for row in ana.page.locator(".suspect").filter(has_not_text="the same file").all():
        row.get_by_text("keep", exact=True).click()
    suspect.get_by_text("drop", exact=True).click()
    ana.done("leaks")
    ana.done("pictures")  # what is left out need not say where it was found

    ana.go("classes")
    lines = "\n".join(f"{name}: {'; '.join(one.descriptions)}" for name, one in novel_classes(0, CLASSES).items())
    ana.say("classes", lines)
    ana.say("licence", "CC-BY-4.0")
    ana.page.locator("#save").click()
    ana.done("classes")
    brand = ana.page.get_by_label(f"{NAMES[0]} brand")
    brand.fill("Acme & <b>")
    brand.press("Tab")
    expect(ana.page.get_by_label(f"{NAMES[0]} release date")).to_be_focused()
    expect(brand).to_have_value("Acme & <b>")

    ana.go("labels")
    expect(ana.page.locator("#work .empty")).to_contain_text("Say who you are first")
    ana.say("labeller", "Ana")
    ana.page.locator("#labeller input, #labeller textarea").first.press("Enter")
    ana.page.locator("#work .label-work").click(position={"x": 1, "y": 1})
    bo = Person(browser, address, "?set=fair&step=labels&as=Bo")
    people.append(bo)
    expect(bo.page.locator("#work .label-work")).to_be_visible()
    label_all(ana, engine, "fair")
    label_all(bo, engine, "fair", wrong=1)
    bo.page.keyboard.press("z")
    expect(bo.page.locator("#work .number")).to_have_text(f"{PICTURES - 1} of {PICTURES}")
    bo.page.keyboard.press(
        str(1 + class_of(engine, "fair", int(bo.page.locator(".label-work").get_attribute("data-image") or 0)))
    )
    expect(bo.page.locator("#work .label-work")).to_contain_text("You have labelled every picture")

    bo.go("agreement")
    expect(bo.page.locator(".kappa")).to_contain_text(re.compile(r"κ = 0\.7\d \[.* they agree on 5 of 6 pictures"))
    bo.page.get_by_text("Settle the 5 on which all agree").click()
    dispute = bo.page.locator(".suspect")
    expect(dispute).to_contain_text(re.compile("Ana: .*Bo: "))
    wrong = status_of(engine, "fair").disagreements()[0]
    dispute.get_by_role("button", name=wrong.labels[f"{STATED}Ana"], exact=True).click()
    bo.done("agreement")

    ana.go("freeze")
    expect(ana.page.locator("#work")).to_contain_text(
        "Two people labelled 6 pictures without seeing each other's labels"
    )
    ana.say("version-name", "v1")
    ana.page.locator("#freeze").click()
    ana.done("freeze")
    ana.go("evaluate")
    ana.job_done("export")
    ana.page.locator("#evaluated input").first.click()
    ana.page.get_by_role("option", name="sample", exact=True).click()
    ana.page.locator("#evaluate").click()
    table = ana.page.locator("#work table")
    expect(table).to_contain_text(re.compile(r"sample.*\d %.*\[\d+\.\d, \d+\.\d\]", re.DOTALL), timeout=PATIENCE_MS)
    expect(ana.page.locator("#work")).to_contain_text("6 pictures of 3 classes; by chance 33 %")

    cy = Person(browser, address, "?set=fair")
    people.append(cy)
    expect(cy.step("evaluate")).to_have_attribute("aria-current", "step")
    now = status_of(engine, "fair")
    [version] = now.versions
    shards = home / "concepts" / version.sha256[:16] / "shards"
    assert "Licence: CC\\-BY\\-4.0" in (shards / "README.md").read_text()
    assert [Path(one.location).name for one in now.images if one not in now.kept] == ["leak.jpg"]


def test_nobody_is_shown_what_another_said_before_two_are_done(
    browser: Browser, address: str, engine: Engine, people: list[Person]
) -> None:
    for image in status_of(engine, "started").kept:
        label_picture(engine, image.id, NAMES[2], who=f"{STATED}Ana")
    bo = Person(browser, address, "?set=started&step=labels&as=Bo")
    people.append(bo)
    expect(bo.page.locator("#work .number")).to_have_text("0 of 7")
    assert "Ana" not in bo.page.locator("#work").inner_text()
    bo.go("agreement")
    expect(bo.page.locator("#work")).to_contain_text("Two people have to label every picture first")
    assert NAMES[2] not in bo.page.locator("#work").inner_text()


def test_a_key_counts_once_for_the_picture_on_the_screen(
    browser: Browser, address: str, engine: Engine, people: list[Person]
) -> None:
    cy = Person(browser, address, "?set=started&step=labels&as=Cy")
    people.append(cy)
    work = cy.page.locator("#work .label-work[data-image]")
    shown = [int(work.get_attribute("data-image") or 0)]
    for keys in ("n1", "12n"):  # by a hand that is faster than the answers
        settled(cy.page)
        with held_events(cy.page):
            for key in keys:
                cy.page.keyboard.press(key)
        expect(cy.page.locator(f'#work .label-work[data-image="{shown[-1]}"]')).to_have_count(0)
        shown.append(int(work.get_attribute("data-image") or 0))
    settled(cy.page)
    assert int(work.get_attribute("data-image") or 0) == shown[-1]
    labels = {
        image: by[f"{STATED}Cy"] for image, by in status_of(engine, "started").labels.items() if f"{STATED}Cy" in by
    }
    assert labels == {shown[1]: NAMES[0]}, "what was put off has no label, the next one its first"


def test_one_of_more_classes_than_keys_is_found_by_typing(
    browser: Browser, address: str, engine: Engine, home: Path, people: list[Person]
) -> None:
    import_pictures(engine, home, home / "seen", dataset="many", who="ana")
    classes = [ConceptClass(f"cup {number}", (f"{number} dots",)) for number in range(40)] + [ConceptClass("cup")]
    save_classes(engine, "many", classes, who="ana", expected_version=1)
    ana = Person(browser, address, "?set=many&step=labels&as=Ana")
    people.append(ana)
    expect(ana.page.locator("#work .number")).to_have_text("0 of 3")
    ana.page.locator("body").press("/")
    find = ana.page.get_by_label("find a class")
    for number, typed in enumerate(("dots 39", "CUP", "cup 3 dots"), 1):  # the words; the name itself; the first
        expect(find).to_be_focused()
        expect(find).to_have_value("")
        ana.page.keyboard.type(typed)
        ana.page.keyboard.press("Enter")
        expect(ana.page.locator("#work .label-work")).to_contain_text(
            f"{number} of 3" if number < 3 else "You have labelled every picture"
        )
    labels = status_of(engine, "many").labels
    assert [by[f"{STATED}Ana"] for _, by in sorted(labels.items())] == ["cup 39", "cup", "cup 3"]
    for image in labels:
        label_picture(engine, image, "cup", who=f"{STATED}Bo")
    ana.go("agreement")
    other = ana.page.get_by_label(re.compile("^another class")).first
    assert ana.page.locator("#class-names option").count() == 42, "once, however many pictures are disputed"
    other.fill("cup 7")
    other.press("Tab")
    expect(ana.page.locator("#work")).to_contain_text("Settled: cup 7.")
    other.fill("cup 99")
    other.press("Tab")
    expect(ana.page.get_by_text("Expected one of the classes, got 'cup 99'")).to_be_visible()
    fits(ana.page, 400)


def test_what_cannot_be_is_said_in_a_sentence_and_nothing_typed_is_lost(
    browser: Browser, address: str, engine: Engine, people: list[Person]
) -> None:
    ana = Person(browser, address, "?set=started&step=pictures&as=Ana")
    people.append(ana)
    expect(ana.step("pictures")).to_have_attribute("aria-current", "step")
    ana.say("source", "/nowhere/at/all")
    ana.page.locator("#import").click()
    expect(ana.page.get_by_text("Expected a folder of pictures on this machine")).to_be_visible()
    day = ana.page.locator("#work input[data-say*='found on']")
    day.fill("yesterday")
    day.press("Tab")
    expect(ana.page.get_by_text("expected the day it was found as 2023-09-12")).to_be_visible()
    ana.go("classes")
    now = status_of(engine, "started")
    assert now.concept is not None
    save_classes(engine, "started", now.classes, who="Bo", expected_version=now.concept.version, licence="CC0")
    ana.say("classes", f"{NAMES[0]}: mine\n{NAMES[1]}: mine\n{NAMES[2]}: mine")
    ana.page.locator("#save").click()
    expect(ana.page.get_by_text("Bo changed the classes or the licence meanwhile")).to_be_visible()
    expect(ana.page.locator("#classes textarea")).to_have_value(re.compile("mine"))
    assert status_of(engine, "started").classes == now.classes
    settled(ana.page)
    brand = ana.page.get_by_label(f"{NAMES[0]} brand")
    brand.fill("Acme")
    brand.press("Tab")
    expect(brand).to_have_value("Acme")
    settled(ana.page)
    ana.page.locator("#save").click()
    expect(ana.page.locator("#work table")).to_contain_text("mine")
    now = status_of(engine, "started")
    assert [(one.descriptions, one.brand) for one in now.classes] == [
        (("mine",), "Acme"),
        (("mine",), ""),
        (("mine",), ""),
    ]
    assert now.concept and now.concept.licence == "CC0", "a field in which nothing was typed is not saved"


def test_facts_that_are_written_faster_than_the_answers_are_all_kept(
    browser: Browser, address: str, engine: Engine, people: list[Person]
) -> None:
    held: list[Route] = []
    late = [True]

    def asks() -> list[Route]:
        return [route for route in held if "class_fact" in (route.request.post_data or "")]

    def facts(name: str) -> tuple[str, str]:
        [found] = [one for one in status_of(engine, "started").classes if one.name == name]
        return found.brand, found.release_date

    ana = Person(browser, address, "?set=started&step=classes&as=Ana")
    people.append(ana)
    page, keyboard = ana.page, ana.page.keyboard
    brand, day = page.get_by_label(f"{NAMES[1]} brand"), page.get_by_label(f"{NAMES[1]} release date")
    brand.click()
    settled(page)
    with held_events(page):
        keyboard.type("Hand")
        keyboard.press("Tab")
        keyboard.type("2023")
        page.get_by_label(f"{NAMES[2]} brand").click()
        keyboard.type("half a wo")  # still on its way when the answers come
    until(lambda: facts(NAMES[1]) == ("Hand", "2023"), "both facts to be saved")
    settled(page)
    keyboard.type("rd")
    keyboard.press("Tab")
    until(lambda: facts(NAMES[2])[0] == "half a word", "what was written while the answers came to be saved")
    intercept(page, EVENTS, lambda route: held.append(route) if late else route.continue_())
    for field, text in ((page.get_by_label(f"{NAMES[2]} brand"), "other words"), (brand, "Hands")):
        field.fill(text)
        field.press("Tab")
    until(lambda: page.evaluate("true") and len(asks()) == 2, "both to be asked")
    asks()[0].continue_()  # its answer shows the brand as it was before
    expect(page.get_by_label(f"{NAMES[2]} brand")).to_have_attribute("data-say", re.compile("other words"))
    expect(brand).to_have_value("Hands")
    brand.fill("Feet")
    brand.press("Tab")
    late.clear()
    for route in [route for route in held if route is not asks()[0]]:
        route.continue_()
    page.unroute(EVENTS)
    until(lambda: facts(NAMES[1]) == ("Feet", "2023"), "the last of two to be saved")
    settled(page)
    expect(brand).to_have_value("Feet")
    expect(day).to_have_value("2023")


def test_words_stay_with_their_picture_when_another_leaves_the_list(
    browser: Browser, address: str, engine: Engine, home: Path, people: list[Person]
) -> None:
    import_pictures(engine, home, home / "seen", dataset="lost", who="ana")
    first, second, third = (image.id for image in status_of(engine, "lost").unfound)
    ana = Person(browser, address, "?set=lost&step=pictures&as=Ana")
    people.append(ana)
    page, keyboard = ana.page, ana.page.keyboard
    page.get_by_label(f"{second} found at").click()
    settled(page)
    with held_events(page):
        keyboard.type("a shop")
        keyboard.press("Tab")
        keyboard.type("2026-10")
        remove_pictures(engine, home, RemovePicturesConfig("lost", images=(first,)))
    expect(page.get_by_label(f"{first} found at")).to_have_count(0)
    expect(page.get_by_label(f"{second} found on")).to_be_focused()
    keyboard.type("-01")
    keyboard.press("Tab")
    settled(page)
    facts = {image.id: image.facts or {} for image in status_of(engine, "lost").images}
    assert facts == {second: {"found at": "a shop", "found on": "2026-10-01"}, third: {}}
    fields = [f"{second} found at", f"{second} found on", f"{third} found at", f"{third} found on"]
    assert [page.get_by_label(field).input_value() for field in fields] == ["a shop", "2026-10-01", "", ""]


def test_a_disputed_picture_is_settled_as_often_as_one_presses_though_answers_are_late(
    browser: Browser, address: str, engine: Engine, home: Path, people: list[Person]
) -> None:
    import_pictures(engine, home, home / "found", dataset="twice", who="ana")
    save_classes(engine, "twice", [ConceptClass(name) for name in NAMES], who="ana", expected_version=1)
    pictures = [image.id for image in status_of(engine, "twice").kept]
    for image_id in pictures:
        label_picture(engine, image_id, NAMES[0], who=f"{STATED}Ana")
        label_picture(engine, image_id, NAMES[image_id == pictures[0]], who=f"{STATED}Bo")

    def chosen() -> str:
        return settled_class(next(one for one in status_of(engine, "twice").images if one.id == pictures[0]))

    cy = Person(browser, address, "?set=twice&step=agreement&as=Cy")
    people.append(cy)
    first, second = (cy.page.locator(".suspect button").get_by_text(name, exact=True) for name in NAMES[:2])
    expect(second).to_be_visible()
    settled(cy.page)
    for presses in ([first, first, second], [first, second, second, first]):
        with held_events(cy.page):
            for button in presses:
                button.click()
        last = NAMES[presses[-1] is second]
        expect(presses[-1]).to_have_attribute("aria-pressed", "true")
        settled(cy.page)
        assert chosen() == last
    expect(cy.page.locator(".toast-body")).to_have_count(0)
    settle_class(engine, pictures[0], NAMES[2], seen=[NAMES[0]], who="dan", reason="elsewhere")
    second.click()
    expect(cy.page.locator(".toast-body")).to_contain_text(f"Class was changed to '{NAMES[2]}' meanwhile")
    assert chosen() == NAMES[2]


def test_unsaved_classes_are_offered_again_for_their_own_set_alone(
    browser: Browser, address: str, people: list[Person]
) -> None:
    ana = Person(browser, address, "?set=started&step=classes&as=Ana")
    people.append(ana)
    typed, offer = ana.page.locator("#classes textarea"), ana.page.locator("#classes .draft")
    expect(typed).to_have_value(re.compile(NAMES[0]))
    saved = typed.input_value()
    ana.say("classes", "mine: of started")
    ana.go("labels")
    ana.go("classes")
    expect(typed).to_have_value("mine: of started")
    ana.page.goto(f"{address}concepts?set=seen&step=classes&as=Ana")
    ana.open_classes("seen")
    expect(typed).to_have_value("")
    expect(offer).to_have_count(0)
    ana.open_classes("started")
    expect(typed).to_have_value(saved)
    expect(offer).to_contain_text("“mine: of started”")
    ana.open_classes("seen")
    expect(typed).to_have_value("")
    expect(offer).to_have_count(0)
    ana.open_classes("started")
    offer.get_by_text("Put it back").click()
    expect(typed).to_have_value("mine: of started")
    ana.open_classes("seen")
    expect(typed).to_have_value("")


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off(browser: Browser, address: str, people: list[Person], width: int) -> None:
    ana = Person(browser, address, "?set=started&step=labels&as=Ana2")
    people.append(ana)
    for step in ("pictures", "leaks", "classes", "labels", "agreement", "freeze", "evaluate"):
        ana.go(step)
        fits(ana.page, width)
