"""A real Chromium for the tests of pages, and one person in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect, sync_playwright

from tests.support.system_parts import find_chromium, leave_out
from tests.support.waiting import PATIENCE_MS, until

ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]
QUIET = 1_000  # milliseconds, of the two seconds between two looks at the jobs
EVENTS = "**/gradio_api/queue/join*"  # addresses of what a page asks of Gradio
EDITOR_ASKS = "**/curate/*"  # addresses of what Curate's editor asks; the page itself has none behind its name
ACTS = "**/curate/acts"  # of these: what changes something
HEEDED = "/heeded"  # asked for by a test alone
NOTE_FETCHES = """window.asked = { underWay: 0, answered: 0 };
const fetched = window.fetch;
window.fetch = async (address, ...options) => {
  const noted = /[/](gradio_api[/]queue|curate)[/]/.test(address.url ?? address);
  if (!noted) return fetched(address, ...options);
  const over = () => ((asked.underWay -= 1), (asked.answered = performance.now()));
  asked.underWay += 1;
  try {
    const response = await fetched(address, ...options);
    response.clone().text().then(over, over); // a stream of events is over once the last was answered
    return response;
  } catch (error) {
    over();
    throw error;
  }
};"""
SETTLED = """([since, quiet]) => {
  const last = Math.max(asked.answered, since);
  return asked.answered && !asked.underWay && performance.now() > last + quiet;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path) or leave_out("Chromium")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield browser
        browser.close()


def new_visitor(browser: Browser, **options: Any) -> BrowserContext:
    """A person with a browser of their own, who waits for what is meant. options: as of `Browser.new_context`."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(NOTE_FETCHES)  # for SETTLED
    return context


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> BrowserContext:
    """One person with one browser: scripts are fetched once."""
    return new_visitor(browser, viewport={"width": 1400, "height": 1300})


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """Of the real app in a process of its own, over the module's home."""
    from tests.support.fake_app import app_at  # Gradio, which takes seconds

    with app_at(home) as (address, _):
        yield address


@contextmanager
def opened(
    visitor: BrowserContext,
    url: str,
    seen: str,
    *,
    width: int = 1400,
    height: int = 1300,
    patience: float = PATIENCE_MS,
) -> Iterator[Page]:
    """A page, once something of it is to be seen (a selector); afterwards no script of it has failed."""
    page, errors = visitor.new_page(), []
    page.set_viewport_size({"width": width, "height": height})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    expect(page.locator(seen).first).to_be_visible(timeout=patience)
    yield page
    page.close()
    assert errors == []


def draw_box(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a box on Curate's picture, between two points of the window; Shift draws also where another box is."""
    page.keyboard.down("Shift")
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")


def intercept(page: Page, address: str, handle: Callable[[Route], object]) -> None:
    """Let a test answer what the page asks of an address, as `page.route`, and return once the browser heeds that.

    A page hears of its first route a moment after `page.route` returned: 1 of 150 requests made at once went past it.
    """
    page.route(address, handle)
    page.route(f"**{HEEDED}", lambda route: route.fulfill(body=HEEDED))
    ask = "heeded => fetch(heeded).then((answer) => answer.text())"
    until(lambda: page.evaluate(ask, HEEDED) == HEEDED, "the browser to heed the route")


@contextmanager
def held_events(page: Page) -> Iterator[None]:
    """Hold what the page asks of Gradio until the end of the block, as a slow line does."""
    held: list[Route] = []
    late = [True]
    intercept(page, EVENTS, lambda route: held.append(route) if late else route.continue_())
    yield
    late.clear()
    for route in held:
        route.continue_()
    page.unroute(EVENTS)


def settled(page: Page) -> None:
    """Wait until every event of the page was answered for a while, so that no late answer undoes what comes next."""
    page.wait_for_function(SETTLED, arg=[page.evaluate("performance.now()"), QUIET])


def fits(page: Page, width: int) -> None:
    """See that nothing is cut off in a window of that width, once it is laid out."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(
        "width => [innerWidth, document.documentElement.scrollWidth].every((w) => w === width)", arg=width
    )


def job_of(page: Page, kind: str) -> Locator:
    """The latest job of a kind in the page's list, even if it is not listed yet."""
    return page.locator("#jobs .job").filter(has=page.locator(".job-head b", has_text=kind)).first
