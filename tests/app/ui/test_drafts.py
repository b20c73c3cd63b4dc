"""What people typed into long fields is offered again, in a real Chromium, whatever became of the app."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.browser_fixtures import new_visitor
from tests.support.fake_app import app_at

HOSTILE = "/data/<img src=x onerror='window.hacked=1'>\n/data/second"


def opened_form(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(f"{address}evaluate?a=sample")
    expect(page.locator("#models .token")).to_have_count(1)
    return page


@pytest.mark.slow
def test_what_was_typed_before_the_app_was_killed_is_offered_again(tmp_path: Path, browser: Browser) -> None:
    context = new_visitor(browser)
    with app_at(tmp_path) as (address, app):
        page = opened_form(context, address)
        page.locator("#paths textarea").press_sequentially(HOSTILE)
        app.kill()
    page.close()  # and the tab with it
    with app_at(tmp_path, port=int(address.rstrip("/").rsplit(":", 1)[1])) as (again, _):
        assert again == address
        page = opened_form(context, address)
        offer = page.locator(".draft")
        expect(offer).to_have_text(
            "Typed here before: “/data/<img src=x onerror='window.hacked=1'>” Put it back Forget it "
        )
        offer.get_by_text("Put it back").click()
        expect(page.locator("#paths textarea")).to_have_value(HOSTILE)
        page.locator("#paths textarea").press("Tab")
        expect(page.locator("#command")).to_contain_text("/data/second")  # the app has it too
        expect(offer).to_have_count(0)
        page.reload()
        expect(offer).to_be_visible()
        offer.get_by_text("Forget it").click()
        page.reload()
        expect(page.locator("#paths textarea")).to_be_visible()
        page.locator("#paths textarea").press_sequentially("new")  # a draft of before would have been offered by now
        expect(offer).to_have_count(0)
        assert page.evaluate("window.hacked") is None
    context.close()
