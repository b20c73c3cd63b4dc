"""Curate under random acts in a real Chromium, behind a late proxy: the database equals a model of the acts."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from benchmarks.browser import LateProxy, chromium, free_port, started
from benchmarks.curate_hand import MOST_LATE_S, MOST_PAUSE_S, VERDICTS, begin_review, filled, wait
from benchmarks.database import SQLITE
from benchmarks.rows import Benchmark, Finding
from db.engine import Engine, reading
from db.models import RegionRow
from db.queries.history_queries import history_page
from db.queries.version_queries import PictureRegions, dataset_batch

SEEDS, ACTS = 50, 12
KILLS, MOST_BEFORE = 20, 6  # acts before the app is killed
WRITTEN_MS = 1_000  # a browser writes what a page keeps with a delay, and nobody leaves a page sooner
KINDS = (
    ["verdict"] * 6
    + ["type"] * 3
    + "draw paste describe nudge nudge resize caption review remove undo undo redo next open filter".split()
)
MOST_FAULTS = 20  # that a row lists
LETTERS = "a rare dark zebra near a window"  # nearly each of them is a key elsewhere
STATUSES: Any = ("pending", "accepted", "rejected", "deleted")
LEAST_MOVE = 1e-6
CLOSE = 1e-5  # of a side: a box that was moved by keys, as the page draws it and as it is stored
WATCH = """() => {
  window.seen = null;
  const look = () => {
    const row = document.querySelector("#editor .text.chosen"), group = document.querySelector("#editor .region.chosen rect.line");
    const sides = group && ["x", "y", "width", "height"].map((name) => Number(group.getAttribute(name)));
    const ids = row && [...row.closest(".texts").querySelectorAll(".text")].map((each) => Number(each.dataset.id));
    window.seen = row && {
      region: Number(row.dataset.id), picture: document.querySelector("#editor .editor").dataset.image, status: row.dataset.status, text: row.querySelector("input").value,
      ids, review: document.querySelector("#editor [data-review][aria-pressed=true]").dataset.review,
      box: sides && [sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3]],
    };
  };
  for (const name of ["keydown", "pointerdown"]) window.addEventListener(name, look, { capture: true });
}"""  # noqa: E501
BOX = """() => {
  const group = document.querySelector("#editor .region.chosen rect.line");
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(group.getAttribute(name)));
  return [x, y, x + width, y + height];
}"""
Key = tuple[int | str, str]


@dataclass
class HandModel:
    """What the database must be: (region, what) or (numbered words, "drawn") -> value. done, undone: for undo and redo.

    firsts: a description's id -> that of one of the same box, which stands for the box.
    """

    values: dict[Key, Any] = field(default_factory=dict)
    done: list[tuple[Key, Any, Any]] = field(default_factory=list)
    undone: list[tuple[Key, Any, Any]] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)
    firsts: dict[int, int] = field(default_factory=dict)

    def act(self, key: Key, before: Any, after: Any) -> None:
        """Note an act."""
        self.values[key] = after
        self.done.append((key, before, after))
        self.undone = []

    def add(self, words: str) -> None:
        """Note a new description."""
        self.written[words] += 1
        self.act((numbered(words, self.written[words]), "drawn"), False, True)

    def box_of(self, ids: Sequence[int]) -> Key:
        """Return the key of the box of some descriptions, one of which is perhaps known."""
        first = next((self.firsts[each] for each in ids if each in self.firsts), ids[0])
        self.firsts |= dict.fromkeys(ids, first)
        return first, "box"

    def undo(self) -> None:
        """Take the last one back."""
        key, before, _ = last = self.done.pop()
        self.values[key] = before
        self.undone.append(last)

    def redo(self) -> None:
        """Do again what was taken back last."""
        key, _, after = last = self.undone.pop()
        self.values[key] = after
        self.done.append(last)


def numbered(words: str, time: int) -> str:
    """Return a name of a new description: the same words may be pasted several times."""
    return f"{words} ({time})"


class RandomHand:
    """A person who acts at random on a page whose answers come late."""

    def __init__(self, page: Page, model: HandModel, seed: int, name: str) -> None:
        self.page, self.model, self.chance, self.name = page, model, random.Random(seed), name
        self.counts, self.copied = Counter[str](), ""

    def act(self) -> None:
        """Wait a moment, and do something."""
        rest = time.monotonic() + self.chance.uniform(0, MOST_PAUSE_S)
        wait(self.page, lambda: time.monotonic() >= rest)
        shown = self.page.locator("#editor .text.chosen")
        if not shown.count():
            wait(self.page, lambda: shown.count() == 1 or self.finished())
        if not shown.count():
            self.open()
            wait(self.page, lambda: shown.count() == 1)
        kind = self.chance.choice(KINDS)
        if kind in ("undo", "redo") and not (self.model.done if kind == "undo" else self.model.undone):
            kind = "verdict"
        self.counts[kind] += 1
        getattr(self, kind)()

    def finished(self) -> bool:
        """Return whether the queue is at its end."""
        return "Nothing left" in (self.page.locator("#editor").text_content() or "")

    def seen(self) -> dict[str, Any]:
        """Return what was on the screen at the last key or press."""
        found: dict[str, Any] = self.page.evaluate("window.seen")
        if found:
            self.model.box_of(found["ids"])  # so that a box is known once its first description is deleted
        return found

    def verdict(self) -> None:
        """Judge what is on the screen."""
        key = self.chance.choice("ar")
        self.page.keyboard.press(key)
        seen = self.seen()
        if seen and seen["status"] != VERDICTS[key]:
            self.model.act((seen["region"], "status"), seen["status"], VERDICTS[key])

    def words(self) -> str:
        """Return words that nobody has written yet."""
        return f"{LETTERS} {self.name} {self.counts.total()}"

    def type(self) -> None:
        """Write other words."""
        seen, words = self.begin_typing(), self.words()
        if not seen:
            return
        self.page.keyboard.type(words)
        self.page.keyboard.press("Enter")
        self.model.act((seen["region"], "text"), seen["text"], words)

    def begin_typing(self) -> dict[str, Any] | None:
        """Go into the words of what is on the screen; return what that is."""
        self.page.keyboard.press("e")
        seen = self.seen()
        if not self.page.evaluate("document.activeElement.matches('#editor input')"):
            return None
        self.page.keyboard.press("Control+a")
        return seen

    def draw(self) -> None:
        """Draw a box and write its words."""
        frame, words = self.page.locator("#editor .frame").bounding_box(), self.words()
        if frame is None or not 0 <= frame["y"] <= 1_200:
            return
        x, y = frame["x"] + 5, frame["y"] + 5
        self.page.keyboard.down("Shift")
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + 60, y + 50, steps=3)
        self.page.mouse.up()
        self.page.keyboard.up("Shift")
        if not self.page.evaluate("document.activeElement.matches('.prompt input')"):
            return
        self.page.keyboard.type(words)
        self.page.keyboard.press("Enter")
        self.model.add(words)

    def paste(self) -> None:
        """Paste the box that was copied, also from another picture; without one, copy."""
        if not self.copied:
            self.page.keyboard.press("Control+c")
            self.copied = (self.seen() or {"text": ""})["text"]
        self.page.keyboard.press("Control+v")
        if self.copied and self.seen():
            self.model.add(self.copied)
            self.copied = self.chance.choice((self.copied, ""))

    def describe(self) -> None:
        """Write a further description of the box."""
        self.page.locator("#editor li:has(.text.chosen) button[data-describe]").click()
        words = self.words()
        self.page.keyboard.type(words)
        self.page.keyboard.press("Enter")
        self.model.add(words)

    def review(self) -> None:
        """Call the picture reviewed, or not finished."""
        after = self.chance.choice(("reviewed", "reviewed", "open"))
        if after == "reviewed":
            self.page.keyboard.press("d")
        else:
            self.page.locator("#editor button[data-review='open']").click()
        seen = self.seen()
        if seen and seen["review"] != after:
            self.model.act((f"picture {seen['picture']}", "review"), seen["review"], after)

    def nudge(self) -> None:
        """Move the box, or its right and lower side, by a few pixels."""
        self.page.keyboard.down("Shift")
        if self.chance.random() < 0.5:
            self.page.keyboard.down("Control")
        self.page.keyboard.press("ArrowRight")
        seen = self.seen()
        for _ in range(self.chance.randint(0, 3)):
            self.page.keyboard.press(self.chance.choice(("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp")))
        after = self.page.evaluate(BOX)  # the keys are held still: no answer draws the box again
        self.page.keyboard.up("Control")
        self.page.keyboard.up("Shift")
        self._note_box(seen, after)

    def resize(self) -> None:
        """Drag a corner of the box."""
        corner = self.page.locator("#editor .handle.se")
        place = corner.bounding_box() if corner.count() else None
        if place is None or not 0 <= place["y"] <= 1_200:
            return
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        seen = self.seen()
        self.page.mouse.move(x + self.chance.randint(-30, 30), y + self.chance.randint(-30, 30), steps=3)
        after = self.page.evaluate(BOX)
        self.page.mouse.up()
        self._note_box(seen, after)

    def _note_box(self, seen: dict[str, Any], after: list[float]) -> None:
        if max(abs(one - other) for one, other in zip(seen["box"], after, strict=True)) >= LEAST_MOVE:
            self.model.act(self.model.box_of(seen["ids"]), seen["box"], after)

    def caption(self) -> None:
        """Write another caption."""
        field, words = self.page.locator("#editor .caption input"), self.words()
        field.click()
        seen, before = self.seen(), field.input_value()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(words)
        self.page.keyboard.press("Enter")
        self.model.act((f"picture {seen['picture']}", "caption"), before, words)

    def remove(self) -> None:
        """Delete the description that is chosen."""
        self.page.locator("#editor .text.chosen button[data-delete='description']").click()
        seen = self.seen()
        self.model.act((seen["region"], "status"), seen["status"], "deleted")

    def undo(self) -> None:
        """Take back what was done last."""
        self.page.keyboard.press("z")
        self.model.undo()

    def redo(self) -> None:
        """Do it again."""
        self.page.keyboard.press("Shift+z")
        self.model.redo()

    def next(self) -> None:
        """Go on without a verdict."""
        self.page.keyboard.press("ArrowRight")

    def open(self) -> None:
        """Open a region of the gallery."""
        tiles = self.page.locator("#regions .tile")
        if not tiles.count():
            self.page.locator("#review").click()
            return
        tiles.nth(self.chance.randrange(tiles.count())).click()

    def filter(self) -> None:
        """Choose another verdict in the filters."""
        self.page.locator("#statuses input").nth(self.chance.randrange(3)).click()

    def settle(self) -> None:
        """Wait until all is saved."""
        stage = self.page.locator("#editor .stage")
        wait(self.page, lambda: stage.get_attribute("data-unsaved") == "0")


def _batches(engine: Engine) -> Iterator[PictureRegions]:
    """All pictures with their regions."""
    after = 0
    while True:
        with reading(engine) as session:
            page = dataset_batch(session, dataset_id=1, statuses=STATUSES, after=after)
        if not page:
            return
        yield from page
        after = page[-1].image.id


def _rows(engine: Engine) -> dict[int, RegionRow]:
    """All regions, by id."""
    return {row.id: row for each in _batches(engine) for row in each.regions}


def _faults(engine: Engine, first: dict[int, RegionRow], model: HandModel) -> list[str]:
    """Compare the database with the model: every region, whether somebody acted on it or not."""
    faults, drawn = list[str](), Counter[str]()
    for number, row in sorted(_rows(engine).items()):  # as they were made
        was = first.get(number)
        status, text = ("accepted", row.text) if was is None else (was.status, was.text)
        if was is None:
            with reading(engine) as session:
                made = history_page(session, image_id=row.image_id, region_id=number, limit=200)[-1]
            text = str(made.after["text"])
            drawn[text] += 1
        undone = was is None and not model.values.get((numbered(text, drawn[text]), "drawn"))
        status = "deleted" if undone else model.values.get((number, "status"), status)
        wanted = status, model.values.get((number, "text"), text)
        if wanted != (row.status, row.text):
            faults.append(f"region {number}: {wanted} was wanted, {(row.status, row.text)} is there")
        mine = model.firsts.get(row.box_id or number, row.box_id or number)
        box = model.values.get((mine, "box")) or (was and (was.x1, was.y1, was.x2, was.y2))
        sides = (row.x1, row.y1, row.x2, row.y2)
        if box and max(abs(one - other) for one, other in zip(box, sides, strict=True)) > CLOSE:
            faults.append(f"box of region {number}: {box} was wanted, {sides} is there")
    for each in _batches(engine):
        for what, there in (("caption", each.image.caption), ("review", each.image.review)):
            expected = model.values.get((f"picture {each.image.id}", what), "open" if what == "review" else there)
            if expected != there:
                faults.append(f"{what} of picture {each.image.id}: {expected} was wanted, {there} is there")
    for words, times in model.written.items():
        faults += [] if drawn[words] == times else [f"made {drawn[words]} times, not {times}: {words}"]
    return faults


def _detail(counts: Counter[str], faults: list[str]) -> dict[str, Any]:
    """The detail of a row: acts of each kind, and what went wrong."""
    acts = [{"act": name, "times": count} for name, count in counts.most_common()]
    listed = [{"fault": fault} for fault in faults[:MOST_FAULTS]]
    return SQLITE | {"load of the machine": os.getloadavg()[0], "acts": acts} | ({"faults": listed} if listed else {})


def random_acts() -> Finding:
    """Act at random from SEEDS seeds, ACTS times each, and compare every region after each seed."""
    model, faults, counts = HandModel(), list[str](), Counter[str]()
    good = 0
    with tempfile.TemporaryDirectory() as folder:
        engine = filled(Path(folder))
        first = _rows(engine)
        port = free_port()
        with started(Path(folder), port), chromium() as page, LateProxy(port).running() as proxy:
            begin_review(page, proxy.address)
            page.evaluate(WATCH)
            proxy.most_late_s = MOST_LATE_S
            for seed in range(SEEDS):
                hand = RandomHand(page, model, seed, f"seed {seed}")
                for _ in range(ACTS):
                    hand.act()
                hand.settle()
                counts += hand.counts
                found = _faults(engine, first, model)
                good += not found and not page.locator("#editor .conflict").count()
                faults += [f"seed {seed}, {fault}" for fault in found]
                if found:
                    break  # what follows would fail for the same reason
        engine.dispose()
    return Finding(good, good == SEEDS, _detail(counts, faults))


class KilledApp:
    """An app that is killed while a person acts, and started again at the same address."""

    def __init__(self, home: Path, engine: Engine, page: Page, proxy: LateProxy) -> None:
        self.home, self.engine, self.page, self.proxy = home, engine, page, proxy
        self.first, self.model, self.faults = _rows(engine), HandModel(), list[str]()
        self.unsaved, self.half, self.counts = 0, ("", 0, ""), Counter[str]()

    def round(self, number: int, *, last: bool = False) -> None:
        """Start the app, send what was left over, compare, act, and kill it. last: compare only."""
        self.proxy.most_late_s = 0.0  # scripts and fonts would take minutes
        with started(self.home, self.proxy.port) as (_, app):
            self.page.goto(f"{self.proxy.address}curate")
            self.proxy.most_late_s = MOST_LATE_S
            wait(self.page, lambda: self.page.locator("#regions .tile").count() > 0)
            self.page.evaluate(WATCH)
            hand = RandomHand(self.page, self.model, number, f"kill {number}")
            self.model.done, self.model.undone = [], []  # of this sitting
            if self.unsaved or self.half[1]:
                self.take_up()
                hand.settle()
            self.faults += [f"kill {number}: {fault}" for fault in _faults(self.engine, self.first, self.model)]
            self.faults += ["a conflict with oneself"] * self.page.locator("#editor .conflict").count()
            if not last:
                self.act(hand, number)
                app.kill()
                self.page.wait_for_timeout(WRITTEN_MS)
                self.page.goto("about:blank")  # the old page would come again by itself once the app is back

    def take_up(self) -> None:
        """Send what is offered, and finish the words that were being written."""
        offer = self.page.locator("#editor .left-over")
        wait(self.page, lambda: offer.count() == 1)
        offer.get_by_text("send them").click()
        words, region, before = self.half
        if not region:
            return
        field = self.page.locator(".prompt input")
        wait(self.page, lambda: field.count() == 1)
        if field.input_value() != words:
            self.faults.append(f"“{words}” was written, “{field.input_value()}” is offered")
        field.press("Enter")
        self.model.act((region, "text"), before, words)
        self.counts["words offered again"] += 1

    def act(self, hand: RandomHand, number: int) -> None:
        """Act a few times, half the time write words that nobody finishes, at once before the kill."""
        self.page.locator("#review").click()
        for _ in range(hand.chance.randint(1, MOST_BEFORE)):
            hand.act()
        self.half = ("", 0, "")
        if (
            hand.chance.random() < 0.5
            and self.page.locator("#editor .text.chosen").count()
            and (seen := hand.begin_typing())
        ):
            words = f"half a sentence {number}"
            self.page.keyboard.type(words)
            self.half = (words, seen["region"], seen["text"])
        self.unsaved = int(self.page.locator("#editor .stage").get_attribute("data-unsaved") or 0)
        self.counts["acts not saved at a kill"] += self.unsaved
        self.counts += hand.counts


def killed_app() -> Finding:
    """Kill the app 20 times while somebody acts at random, and compare after each new start."""
    good = 0
    with tempfile.TemporaryDirectory() as folder, chromium() as page, LateProxy(free_port()).running() as proxy:
        engine = filled(Path(folder))
        killed = KilledApp(Path(folder), engine, page, proxy)
        for number in range(KILLS + 1):
            killed.round(number, last=number == KILLS)
            if killed.faults:
                break
            good = number
        engine.dispose()
    return Finding(good, good == KILLS, _detail(killed.counts, killed.faults))


BENCHMARKS = (
    Benchmark(
        "curate_random",
        f"seeds of {SEEDS} whose {ACTS} random acts on Curate (verdicts, words, captions, boxes drawn, pasted, moved "
        "and resized, further descriptions, reviews, deletions, undo, redo, filters, going on; questions or answers "
        "0 to 1,500 ms late and out of order) "
        "leave every region and caption as a model has it that was fed the same; no letter of the words acts as a key",
        f"= {SEEDS}",
        "seeds",
        0,
        random_acts,
    ),
    Benchmark(
        "curate_kills",
        f"kills (-9) of {KILLS} of the app while somebody acts on Curate at random, after which nothing is lost: what "
        "was saved is there, what was not is offered and sent, what was being written is open again",
        f"= {KILLS}",
        "kills",
        0,
        killed_app,
    ),
)
