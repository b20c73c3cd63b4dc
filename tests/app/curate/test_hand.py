"""Curate at the speed of a hand: nothing lost, doubled or on the wrong region, whatever the answers do."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from db.engine import Engine, reading
from db.queries.history_queries import history_page
from db.queries.region_queries import get_region
from tests.support.browser_fixtures import ACTS, EDITOR_ASKS, intercept, new_visitor, opened, settled
from tests.support.fake_app import app_at
from tests.support.paths import ROOT
from tests.support.review_home import review_home
from tests.support.waiting import until

PICTURES, KEYS, MOST_LATE = 24, 60, 10  # an answer comes up to ten keys after its question
VERDICTS = {"a": "accepted", "r": "rejected"}
RECORD = """() => {
  window.pressed = [];
  window.addEventListener("keydown", (event) => {
    const chosen = document.querySelector("#editor .text.chosen");
    window.pressed.push([event.key, Number(chosen?.dataset.id ?? 0)]);
  }, { capture: true });
}"""
SEEDS = range(60)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return review_home(tmp_path_factory.mktemp("home"), pictures=PICTURES)


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    """An empty page with the editor's queue and store, and their tests' own code."""
    page = browser.new_page()
    for path in ("app/curate/editor_queue.js", "app/curate/editor_store.js", "tests/app/curate/queue_model.js"):
        page.add_script_tag(content=(ROOT / path).read_text())
    yield page
    page.close()


class LateAnswers:
    """What the page asks comes to the app only after some more keys; how many is drawn by chance."""

    def __init__(self, page: Page, seed: int) -> None:
        self.page, self.chance = page, random.Random(seed)
        self.held: list[list[Any]] = []  # [keys to wait for, route]
        intercept(page, EDITOR_ASKS, lambda route: self.held.append([self.chance.randint(0, MOST_LATE), route]))

    def key(self) -> None:
        """Count one more key; let come what is due."""
        for each in self.held:
            each[0] -= 1
        self._let_come([route for late, route in self.held if late < 0])

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let all come that is asked, until a condition holds."""

        def holds() -> bool:
            self._let_come([route for _, route in self.held])
            return condition()

        until(holds, what)

    def _let_come(self, routes: list[Route]) -> None:
        self.held = [each for each in self.held if each[1] not in routes]
        for route in routes:
            route.continue_()


def unsaved(page: Page) -> int:
    return int(page.locator("#editor .stage").get_attribute("data-unsaved") or 0)


def start(page: Page) -> None:
    page.locator("#review").click()
    expect(page.locator("#editor .text.chosen")).to_be_visible()
    page.evaluate(RECORD)


def on_screen(page: Page) -> bool:
    return page.locator("#editor .text.chosen").count() == 1


@pytest.mark.slow
def test_each_verdict_key_counts_once_on_the_region_that_was_on_the_screen(
    address: str, visitor: BrowserContext, engine: Engine
) -> None:
    keys = random.Random(7)
    with opened(visitor, f"{address}curate", "#regions .tile") as page:
        start(page)
        late, waited = LateAnswers(page, 7), 0
        for _ in range(KEYS):
            if not on_screen(page):
                waited += 1
                late.until(lambda: on_screen(page), "the next picture")
            page.keyboard.press(keys.choice("aaar"))
            late.key()
        late.until(lambda: unsaved(page) == 0, "all to be saved")
        pressed = page.evaluate("window.pressed")
        assert page.locator("#editor .conflict").count() == 0
        page.unroute(EDITOR_ASKS)
    assert len(pressed) == len({region for _, region in pressed}) == KEYS, "each key is on a region of its own"
    for key, region in pressed:
        with reading(engine) as session:
            row = get_region(session, region_id=region)
            assert row is not None
            edits = history_page(session, image_id=row.image_id, region_id=region)
        assert [edit.what for edit in edits] == [VERDICTS[key]], "once, and as the key says"
    assert waited <= KEYS // 4, "pictures are here before their turn"


@pytest.mark.slow
def test_a_page_reloaded_right_after_a_key_opens_the_region_that_was_on_the_screen(
    address: str, visitor: BrowserContext
) -> None:
    chosen = "document.querySelector('#editor .text.chosen')?.dataset.id"
    with opened(visitor, f"{address}curate", "#regions .tile") as page:
        start(page)
        settled(page)
        first = page.evaluate(chosen)
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"first => {chosen} && {chosen} !== first", arg=first)
        second = page.evaluate(chosen)
        page.reload()
        expect(page.locator(f"#editor .text.chosen[data-id='{second}']")).to_be_visible()


@pytest.mark.slow
def test_what_was_not_saved_is_offered_after_the_app_was_killed(home: Path, engine: Engine, browser: Browser) -> None:
    context = new_visitor(browser, viewport={"width": 1400, "height": 1300})
    with app_at(home) as (address, app):
        page, cut = context.new_page(), [False]
        # from the start: a route that begins or ends between two keys may let one request more or less through
        page.route(EDITOR_ASKS, lambda route: route.abort() if cut[0] else route.continue_())
        page.goto(f"{address}curate")
        expect(page.locator("#regions .tile").first).to_be_visible()
        start(page)
        settled(page)  # pictures are here before their turn
        cut[0] = True
        page.keyboard.press("a")
        page.keyboard.press("r")
        page.keyboard.press("e")
        page.keyboard.press("Control+a")
        page.keyboard.type("half a sen")
        (_, first), (_, second), (_, third), *_ = page.evaluate("window.pressed")
        app.kill()
    with app_at(home, port=int(address.rstrip("/").rsplit(":", 1)[1])) as (again, _):
        assert again == address
        page.goto("about:blank")  # else the old page would send once more before it is left
        cut[0] = False
        page.goto(f"{address}curate")
        offer = page.locator("#editor .left-over")
        expect(offer).to_contain_text("2 × verdict, “half a sen”")
        assert [verdict(engine, each) for each in (first, second)] == ["pending", "pending"]
        offer.get_by_text("send them").click()
        field = page.locator(".prompt input")
        expect(field).to_have_value("half a sen")
        field.press("End")
        field.type("tence")
        field.press("Enter")
        until(lambda: unsaved(page) == 0, "all to be saved")
        assert [verdict(engine, each) for each in (first, second)] == ["accepted", "rejected"]
        assert words(engine, third) == "half a sentence"
        page.reload()
        expect(page.locator("#regions .tile").first).to_be_visible()
        assert page.locator("#editor .left-over").count() == 0
    context.close()


def verdict(engine: Engine, region: int) -> str:
    with reading(engine) as session:
        row = get_region(session, region_id=region)
    assert row is not None
    return row.status


def words(engine: Engine, region: int) -> str:
    with reading(engine) as session:
        row = get_region(session, region_id=region)
    assert row is not None
    return row.text


@pytest.mark.parametrize("others", [False, True])
def test_random_acts_end_as_a_plain_model_of_them(scripts: Page, others: bool) -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        found = scripts.evaluate("([seed, others]) => runQueue(seed, { others })", [seed, others])
        assert found.pop("faults") == [], f"seed {seed}"
        counts.update(found)
    assert counts["together"] > 2 * len(SEEDS), "quick verdicts are sent together"
    assert counts["acts"] > 3_000 and counts["lost"] > 100 and counts["redone"] > 50, counts
    assert (counts["conflicts"] > 100) == others, counts


def test_words_of_a_picture_that_is_not_here_yet_are_an_act_and_can_be_undone(scripts: Page) -> None:
    """Kept words are open again after a restart before any picture came back."""
    found = scripts.evaluate("""() => {
      let names = 0;
      const queue = editorQueue(() => `n${++names}`), kinds = () => queue.unsaved().map((ask) => ask.do);
      const typed = ["text", "caption", "facts", "draw", "describe"];
      for (const kind of typed) queue.add({ do: kind, image: 7, id: 3, version: 1 });
      const added = kinds();
      queue.undo();
      return [added, kinds().at(-1)];
    }""")
    assert found == [["text", "caption", "facts", "draw", "describe"], "undo"]


@pytest.mark.parametrize("comes_back", ["conflict", "refused"])
def test_what_was_undone_and_redone_before_its_answer_is_still_wanted(scripts: Page, comes_back: str) -> None:
    """Of an act that could not be done, nothing that was made of it since is sent; it is told if it is wanted again."""
    found = scripts.evaluate(
        """(comesBack) => ["", "u", "ur", "uru", "urur"].map((presses) => {
      let names = 0;
      const queue = editorQueue(() => `n${++names}`);
      const regions = [{ id: 3, box: 3, version: 1, status: "pending", text: "" }];
      const picture = { image: 1, version: 1, review: "open", panel: "", regions };
      queue.open({ id: 3 });
      queue.answered({ asked: queue.nextView().asked, pictures: [picture], go: { image: 1, region: 3 } });
      queue.shown(1);
      queue.judge("accepted", { follow: false });
      const asked = queue.nextAct().act, conflict = { version: 2, panel: "" };
      for (const each of presses) each === "u" ? queue.undo() : queue.redo();
      const came = comesBack === "conflict" ? { conflict } : { refused: "not now" };
      queue.answered({ asked, pictures: [], wrote: [], ...came });
      const told = queue.view().conflicts.length + Number(Boolean(queue.refusal()));
      return [told, queue.unsaved().map((ask) => ask.do), queue.nextAct()?.do ?? "", queue.redo()];
    })""",
        comes_back,
    )
    wanted = [1, ["verdict"] if comes_back == "conflict" else [], "", ""]
    assert found == [wanted, [0, [], "", ""], wanted, [0, [], "", ""], wanted]


QUEUE = """(steps) => {
  let names = 0;
  const queue = editorQueue(() => `n${++names}`);
  const regions = [{ id: 3, box: 3, xyxy: [0, 0, 1, 1], version: 1, status: "pending", text: "a lid" }];
  const words = { caption: "a jar", facts: { shop: "Ana's", class: "jar" } };
  const pictures = [{ image: 1, version: 1, review: "open", panel: "", ...words, regions }, { image: 2, version: 1, review: "open", panel: "", regions: [] }];
  queue.open({ id: 3 });
  queue.answered({ asked: queue.nextView().asked, pictures, go: { image: 1, region: 3 } });
  queue.shown(1);
  const text = () => queue.view().overlay.text.get(3);
  return eval(steps);
}"""  # noqa: E501


def test_words_are_undone_and_redone_at_once(scripts: Page) -> None:
    steps = """queue.add({ do: "text", image: 1, id: 3, version: 1, text: "a cap" });
      [text(), (queue.undo(), text()), (queue.redo(), text()), queue.unsaved().map((ask) => ask.do)]"""
    assert scripts.evaluate(QUEUE, steps) == ["a cap", "a lid", "a cap", ["text", "undo", "redo"]]


@pytest.mark.parametrize(
    ("act", "shown", "before", "after"),
    [
        ('{ do: "box", id: 3, box: [0, 0, 0.5, 0.5] }', "overlay.box.get(3)", [0, 0, 1, 1], [0, 0, 0.5, 0.5]),
        ('{ do: "caption", text: "a tin" }', "overlay.caption", "a jar", "a tin"),
        ('{ do: "facts", facts: { shop: "Bo\'s" } }', "overlay.facts.shop", "Ana's", "Bo's"),
        ('{ do: "facts", facts: { shop: "Bo\'s" } }', "overlay.facts.class", "jar", "jar"),
        ('{ do: "draw", box: [0, 0, 1, 1], text: "a cap" }', "overlay.drawn.length", 0, 1),
    ],
)
@pytest.mark.parametrize("saved", [False, True])
def test_what_else_is_done_is_undone_at_once(
    scripts: Page, act: str, shown: str, before: object, after: object, saved: bool
) -> None:
    """saved: the act's answer came before its undo. The picture that came with it is what the app has then."""
    came = """const { overlay: made } = queue.view(), [drawn] = made.drawn;
      const now = { ...pictures[0], version: 2, caption: made.caption, facts: made.facts };
      now.regions = [{ ...regions[0], xyxy: made.box.get(3), version: 2 }];
      if (drawn) now.regions.push({ id: 9, box: 9, xyxy: drawn.box, version: 1, status: "accepted", text: drawn.text });
      const wrote = drawn ? [[9, 1]] : [[null, 2], [3, 2]], made9 = drawn ? 9 : null;
      queue.answered({ asked: queue.nextAct().act, pictures: [now], wrote, made: made9 });
      queue.shown(1);"""
    seen = "JSON.parse(JSON.stringify((({ overlay }) => " + shown + ")(queue.view())))"
    there = '[...queue.view().overlay.status.values()].filter((each) => each === "accepted").length'
    steps = f"""const seen = [{seen}];
      queue.add({{ image: 1, version: 1, ...{act} }}); seen.push({seen});
      {came if saved else ""}
      queue.undo(); seen.push({seen}); [seen, {there}]"""
    assert scripts.evaluate(QUEUE, steps) == [[before, after, before], 0]


def test_the_button_of_an_act_on_many_undoes_that_whatever_was_done_since(scripts: Page) -> None:
    steps = """queue.noteMany("many-1"); queue.judge("accepted", { follow: false });
      const back = (queue.undoMany("many-1"), queue.manyBack());
      [back, (queue.undo(), queue.manyBack()), queue.unsaved().map((ask) => ask.do)]"""
    expected = [{"action": "many-1", "back": "undo"}, None, ["verdict", "undo"]]
    assert scripts.evaluate(QUEUE, steps) == expected, "Z afterwards is of the verdict"


def test_an_undo_comes_back_to_a_picture_without_regions(scripts: Page) -> None:
    steps = """queue.open({ image: 2 });
      queue.answered({ asked: queue.nextView().asked, pictures: [], go: { image: 2, region: 0 } });
      queue.review("reviewed", { follow: false }); queue.open({ id: 3 });
      queue.answered({ asked: queue.nextView().asked, pictures: [], go: { image: 1, region: 3 } });
      queue.forget(); queue.undo(); const { do: what, id, image } = queue.nextView(); [what, id ?? 0, image]"""
    assert scripts.evaluate(QUEUE, steps) == ["open", 0, 2]


NO_MORE = "{ asked: queue.nextView().asked, ahead: { order: [], after: '', end: true } }"  # an answer


@pytest.mark.parametrize(
    ("done", "state"),
    [
        ("", "waiting"),
        ("queue.choose(3)", "open"),
        ("queue.judge('accepted', { follow: false })", "open"),
        ("queue.write(true)", "open"),
        (f"queue.next(); queue.answered({NO_MORE})", "finished"),
    ],
)
def test_filters_that_come_after_review_was_pressed_choose_its_picture_unless_something_was_done_there(
    scripts: Page, done: str, state: str
) -> None:
    steps = f"""queue.close(); queue.first();
      queue.answered({{ asked: queue.nextView().asked, ahead: {{ order: [[1, 3]], after: "", end: false }} }});
      const opened = queue.view().at.state;
      {done};
      queue.filter(); [opened, queue.view().at.state]"""
    assert scripts.evaluate(QUEUE, steps) == ["open", state]


def test_review_that_found_nothing_looks_again_once_other_filters_come(scripts: Page) -> None:
    steps = f"""queue.close(); queue.first();
      queue.answered({NO_MORE});
      const found = queue.view().at.state; queue.filter(); [found, queue.view().at.state, queue.nextView().do]"""
    assert scripts.evaluate(QUEUE, steps) == ["finished", "waiting", "ahead"]


@pytest.mark.slow
def test_words_that_are_refused_late_do_not_end_those_that_are_being_written(
    address: str, visitor: BrowserContext, engine: Engine
) -> None:
    held: list[Route] = []
    with opened(visitor, f"{address}curate", "#regions .tile") as page:
        start(page)
        settled(page)
        intercept(page, ACTS, lambda route: route.continue_() if held else held.append(route))
        region = int(page.evaluate("document.querySelector('#editor .text.chosen').dataset.id"))
        before = words(engine, region)
        field = page.locator("#editor .text.chosen input")
        for text in ("first words", before):  # back again, before anything is drawn again
            page.keyboard.press("e")
            field.fill(text)
            page.keyboard.press("Enter")
        page.locator("#editor .row-acts [data-describe]").first.click()
        page.keyboard.type("half a sen")
        until(lambda: held, "the first act is sent")
        refusal = {
            "asked": json.loads(held[0].request.post_data or "")["act"],
            "refused": "Not these words.",
            "pictures": [],
        }
        held[0].fulfill(json=refusal)
        expect(page.locator("#editor .problem")).to_have_text("Not these words.")
        expect(page.locator("#editor .prompt input")).to_have_value("half a sen")
        page.keyboard.type("tence")
        page.keyboard.press("Enter")
        prompt = page.locator("#editor .prompt input")
        expect(prompt).to_have_value("first words")
        page.keyboard.press("a")
        expect(prompt).to_have_value("first words")  # nobody asked for the field: a key is no letter in it
        prompt.press("Escape")
        until(lambda: unsaved(page) == 0, "all to be saved")
        assert words(engine, region) == before
        page.wait_for_function(
            "[...document.querySelectorAll('.text input')].some(({value}) => value === 'half a sentence')"
        )


STORE = """async (locked) => {
  const fake = () => {
    const kept = new Map();
    return {
      kept,
      get length() { return kept.size; },
      key: (index) => [...kept.keys()][index],
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => void kept.set(key, value),
      removeItem: (key) => void kept.delete(key),
    };
  };
  const storage = fake(), tab = fake(), held = new Set();
  const query = async () => ({ held: [...held].map((name) => ({ name })) });
  const locks = { request: (name) => held.add(name), query };
  let names = 0, clock = 0;
  const made = { storage, locks: locked ? locks : undefined, newId: () => `n${++names}`, now: () => clock };
  const open = (tab) => editorStore({ ...made, tab });
  const acts = async (found) => (await found).map((each) => each.acts.map((act) => act.act));
  const page = open(tab), lock = [...held], seen = {};
  page.left("ada", "lids");
  page.keep([{ act: "one" }], []);
  page.left("ada", "caps"); // what was done in the data set before stays with it
  page.keep([{ act: "one" }, { act: "two" }], [{ ask: { do: "text" }, text: "half" }]);
  seen.itself = await acts(page.left("ada", "lids"));
  seen.beside = await acts(open(fake()).left("ada", "lids"));
  for (const name of lock) held.delete(name); // the page is gone
  seen.reloaded = await acts(open(tab).left("ada", "lids"));
  seen.other_set = (await open(tab).left("ada", "caps")).map((each) => [each.acts.length, each.drafts[0].text]);
  seen.other_person = await acts(open(tab).left("bob", "lids"));
  seen.other_tab_now = await acts(open(fake()).left("ada", "lids"));
  clock += 200000;
  seen.other_tab_later = await acts(open(fake()).left("ada", "lids"));
  page.keep([], []);
  seen.saved = storage.kept.size;
  return seen;
}"""


@pytest.mark.parametrize("locked", [True, False])
def test_what_is_kept_is_offered_to_its_person_on_its_data_set_once_its_page_is_gone(
    scripts: Page, locked: bool
) -> None:
    """locked: the browser gives locks, so that one knows at once which page is gone."""
    assert scripts.evaluate(STORE, locked) == {
        "itself": [],
        "beside": [],
        "reloaded": [["one"]],
        "other_set": [[1, "half"]],
        "other_person": [],
        "other_tab_now": [["one"]] if locked else [],
        "other_tab_later": [["one"]],
        "saved": 0,
    }
