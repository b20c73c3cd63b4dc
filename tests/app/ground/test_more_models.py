"""A published detector is fetched with a button of the Ground page, and grounds there: a hub on loopback serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from app.access.accounts import Person
from app.ground.more_models import fetch, fetch_problem, model_rows
from app.services import Services
from benchmarks.random_detectors import write_random_detector
from grain.hub.published_models import OFFLINE, OWLV2
from tests.support.browser_fixtures import opened, settled
from tests.support.fake_app import app_at, fake_services
from tests.support.hub_downloads import serve_hub
from user_errors import UserError

ADMIN, CURATOR = Person("Ada", "admin"), Person("Bo", "curator")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of an app whose hub has a tiny OWLv2 with random weights."""
    place = tmp_path_factory.mktemp("hub")
    model = write_random_detector("owlv2", place / "owl")
    with serve_hub({OWLV2.repository: model}) as hub, pytest.MonkeyPatch.context() as patch:
        patch.delenv(OFFLINE, raising=False)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(place / "cache"))
        with app_at(place / "home") as (address, _):
            yield address


@pytest.mark.slow
def test_a_detector_is_fetched_by_a_button_and_grounds(address: str, visitor: BrowserContext) -> None:
    with opened(visitor, address, "#stage svg, #stage .empty", height=1300) as page:
        settled(page)
        page.locator("#more-models > button").click()
        page.get_by_role("button", name="fetch owlv2", exact=True).click()
        row = page.locator("#models tr", has=page.get_by_role("rowheader", name="owlv2", exact=True))
        expect(row).to_contain_text("in the menu")
        expect(page.locator("#model-jobs .job")).to_have_count(1)
        expect(page.locator("#model-jobs .job.done")).to_have_count(1)
        page.locator("#checkpoint input").click()
        page.get_by_role("option", name="owlv2", exact=True).click()
        expect(page.locator("#about")).to_contain_text(f"owlv2 was trained on whatever {OWLV2.repository}@")
        page.locator("#run-button").click()
        expect(page.locator("#timing")).to_contain_text("owlv2")
        expect(page.locator("#note-checkpoint")).to_have_text("")


def test_a_model_is_fetched_once_by_an_admin_where_the_hub_may_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: Services = fake_services(tmp_path)
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(UserError, match=r"keeps away from the hub \(HF_HUB_OFFLINE is set\): run the command"):
        fetch(services, "owlv2", ADMIN)
    monkeypatch.setenv(OFFLINE, "0")
    assert fetch_problem(ADMIN.role) == "" and "An admin" in fetch_problem(CURATOR.role)
    with pytest.raises(UserError, match="An admin can fetch"):
        fetch(services, "owlv2", CURATOR)
    with pytest.raises(UserError, match=r"There is no model '\.\./\.\./etc' to fetch: choose one of owlv2"):
        fetch(services, "../../etc", ADMIN)
    (services.settings.checkpoints / "owlvit").mkdir(parents=True)
    with pytest.raises(UserError, match="owlvit is in the menu already"):
        fetch(services, "owlvit", ADMIN)
    command = next(row.command for row in model_rows(services) if row.model.name == "clip-b-16")
    assert command.startswith("python -m grain.hub.import_model --out=") and command.endswith("--fetch clip-b-16")
