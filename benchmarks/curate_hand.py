"""Curate at the speed of a hand: 500 verdict keys in a real Chromium, behind a proxy that makes answers late."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from benchmarks.browser import LateProxy, chromium, free_port, open_curate, started
from benchmarks.database import SQLITE
from benchmarks.rows import Benchmark, Finding
from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import Engine, open_engine, reading
from db.queries.history_queries import history_page
from db.queries.region_queries import get_region

PICTURES, KEYS = 160, 500
MOST_LATE_S, MOST_PAUSE_S, STEP_MS = 1.5, 0.3, 5
MOST_SECONDS = 1_800.0  # until all is saved
VERDICTS = {"a": "accepted", "r": "rejected"}
SEED = 0
# what is on the screen at key-down, and how long the next one takes to be there
RECORD = """() => {
  window.pressed = [];
  const chosen = () => Number(document.querySelector("#editor .text.chosen")?.dataset.id ?? 0);
  window.addEventListener("keydown", (event) => {
    const press = { key: event.key, region: chosen(), ms: null }, began = performance.now();
    window.pressed.push(press);
    const look = () => (chosen() && chosen() !== press.region ? (press.ms = performance.now() - began) : requestAnimationFrame(look));
    requestAnimationFrame(look);
  }, { capture: true });
}"""  # noqa: E501


def wait(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + MOST_SECONDS
    while not condition():
        assert time.monotonic() < end, "the editor has stopped"
        page.wait_for_timeout(STEP_MS)


def filled(home: Path) -> Engine:
    """A home whose pictures have several regions each, none of them judged."""
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=PICTURES, classes=8, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    config = AnnotateConfig("drawn", DescriberChoice("sample"), LocalizerChoice("sample"))
    annotate(engine, config, AnnotatorFactory.of(config), worker="hand")
    return engine


def begin_review(page: Page, address: str) -> None:
    """Open Curate and its queue."""
    open_curate(page, address)
    page.locator("#review").click()
    page.wait_for_selector("#editor .text.chosen")


def keys_at_the_speed_of_a_hand() -> Finding:
    """Press 500 verdict keys with pauses of 0 to 300 ms while what is asked and answered is 0 to 1,500 ms late."""
    chance, waits = random.Random(SEED), 0
    with tempfile.TemporaryDirectory() as folder:
        engine = filled(Path(folder))
        port = free_port()
        with started(Path(folder), port), chromium() as page, LateProxy(port).running() as proxy:
            begin_review(page, proxy.address)
            page.evaluate(RECORD)
            proxy.most_late_s, shown = MOST_LATE_S, page.locator("#editor .text.chosen")
            for _ in range(KEYS):
                rest = time.monotonic() + chance.uniform(0, MOST_PAUSE_S)
                wait(page, lambda rest=rest: time.monotonic() >= rest)  # type: ignore[misc]
                if not shown.count():
                    waits += 1
                    wait(page, lambda: shown.count() == 1)
                page.keyboard.press(chance.choice("aaar"))
            ahead = int(page.locator("#editor .stage").get_attribute("data-unsaved") or 0)
            wait(page, lambda: page.locator("#editor .stage").get_attribute("data-unsaved") == "0")
            pressed = page.evaluate("window.pressed")
            conflicts = page.locator("#editor .conflict").count()
        counts = _compare(engine, pressed)
        engine.dispose()
    times = sorted(press["ms"] for press in pressed if press["ms"] is not None)
    detail: dict[str, Any] = {
        **counts,
        "conflicts with oneself": conflicts,
        "waits for a picture": waits,
        "not saved at the last key": ahead,
        "key to the next region, median ms": times[len(times) // 2],
        "p95, ms": times[int(0.95 * len(times))],
        "load of the machine": os.getloadavg()[0],
    }
    holds = counts["right"] == KEYS and not (counts["lost"] or counts["doubled"] or conflicts)
    return Finding(counts["right"], holds, SQLITE | detail)


def _compare(engine: Engine, pressed: list[dict[str, Any]]) -> dict[str, int]:
    """Compare the history of each region with the keys that were pressed while it was on the screen."""
    counts = {"right": 0, "lost": 0, "doubled": 0, "regions": len({press["region"] for press in pressed})}
    for press in pressed:
        with reading(engine) as session:
            row = get_region(session, region_id=press["region"])
            edits = history_page(session, image_id=row.image_id, region_id=row.id) if row else []
        what = [edit.what for edit in edits]
        counts["right"] += what == [VERDICTS[press["key"]]]
        counts["lost"] += VERDICTS[press["key"]] not in what
        counts["doubled"] += len(what) > 1
    return counts


BENCHMARKS = (
    Benchmark(
        "curate_hand",
        f"{KEYS} verdict keys on Curate with pauses of 0 to 300 ms, questions or answers 0 to 1,500 ms late and out of "
        "order: verdicts on the region that was on the screen, none lost or doubled, no conflict with oneself",
        f"= {KEYS}",
        "verdicts",
        SEED,
        keys_at_the_speed_of_a_hand,
    ),
)
