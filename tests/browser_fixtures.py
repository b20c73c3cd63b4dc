"""A real Chromium for the tests of pages, and one person in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.fake_app import app_at, free_port

CHROMIUM = Path("/usr/bin/chromium")  # the system's, where there is one; else Playwright's own
ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]
PATIENCE = 30_000  # milliseconds; waits end as soon as their condition holds


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> BrowserContext:
    """One person with one browser: scripts are fetched once."""
    context = browser.new_context(viewport={"width": 1400, "height": 1300})
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """Of the real app in a process of its own, over the module's home."""
    with app_at(home, free_port()) as (address, _):
        yield address


@contextmanager
def opened(
    visitor: BrowserContext, url: str, seen: str, *, height: int = 1300, patience: int = PATIENCE
) -> Iterator[Page]:
    """A page, once something of it is to be seen (a selector); afterwards no script of it has failed."""
    page, errors = visitor.new_page(), []
    page.set_viewport_size({"width": 1400, "height": height})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    expect(page.locator(seen).first).to_be_visible(timeout=patience)
    yield page
    page.close()
    assert errors == []
