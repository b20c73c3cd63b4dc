"""No page has a serious fault that axe finds, light and dark, wide and narrow; the focus is always seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.audit.audit import AuditConfig, audit
from curation.audit.sources import SourceChoice
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import open_engine, retrying
from db.queries.region_index_queries import index_regions
from tests.support.browser_fixtures import new_visitor, settled
from tests.support.house import House, house
from tests.support.waiting import PATIENCE_MS

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.slow

SEEN = {
    "home": "h1",
    "": "#stage .frame",
    "annotate": "#results .result, #results .empty",
    "curate": "#regions .tile",
    "audit": "#claims .claim",
    "evaluate": "h1",
    "train": "h1",
    "data": "h1",
    "concepts": "h1",
}
"""Page -> what is there once it has opened."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [(scheme, width) for scheme in SCHEMES for width in (1400, 400)]
OPTIONS = {"resultTypes": ["violations"], "rules": {"region": {"enabled": False}}}
"""`region` asks for landmarks around Gradio's own toasts and footers, which are not ours to lay out."""


STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"  # no half-way colours


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with eight pictures of the sample world, annotated and audited."""
    home = tmp_path_factory.mktemp("home")
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=8, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    wrong = SampleConfig(wrong=0.34)
    config = AnnotateConfig("drawn", DescriberChoice("sample"), LocalizerChoice("sample"), wrong)
    annotate(engine, config, AnnotatorFactory.of(config), worker="w")
    audit(engine, AuditConfig("drawn", sources=SourceChoice("sample", checkpoint="sample", vqa="sample")), worker="w")
    while retrying(engine, lambda session: index_regions(session)):
        continue
    return home


@pytest.fixture(scope="module")
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    page = visitor.new_page()
    yield page
    page.close()


def violations(page: Page) -> list[str]:
    """What axe finds serious or critical, a line each: rule, what is wrong, where."""
    results = Axe().run(page, options=OPTIONS)
    return [
        f"{found['id']}: {found['help']}: {node['target'][0]}: {node['html'][:160]}"
        for found in results.response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("name", SEEN)
def test_a_page_has_no_serious_violation(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}{name}")
    expect(page.locator(SEEN[name]).first).to_be_visible(timeout=PATIENCE_MS)
    settled(page)
    page.add_style_tag(content=STILL)
    found: dict[str, list[str]] = {}
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        if lines := violations(page):
            found[f"{scheme} {width}"] = lines
    assert found == {}, "\n".join(f"{look}\n  " + "\n  ".join(lines) for look, lines in found.items())


@pytest.mark.parametrize("name", SEEN)
def test_the_focus_is_seen_wherever_the_keyboard_leads(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}{name}")
    expect(page.locator(SEEN[name]).first).to_be_visible(timeout=PATIENCE_MS)
    page.set_viewport_size({"width": 1400, "height": 1000})
    unseen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        if not page.evaluate(FOCUS_IS_SEEN):
            unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 160)"))
    assert unseen == []


FOCUS_IS_SEEN = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return true;
  for (let each = element, depth = 0; each && depth < 4; each = each.parentElement, depth++) {
    const style = getComputedStyle(each);
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    if (outlined || style.boxShadow !== "none") return true;
  }
  return false;
}"""


def test_the_pages_to_sign_in_and_out_have_no_serious_violation(house: House, browser: Browser) -> None:
    page = new_visitor(browser).new_page()
    found: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for state in ("sign in", "refused", "sign out"):
        page.goto(f"{house.url}{'logout' if state == 'sign out' else 'login'}")
        if state == "refused":
            page.get_by_label("name").fill("vera")
            page.get_by_label("password").fill("wrong password")
            page.get_by_role("button", name="Sign in").click()
        for scheme, width in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 1000})
            expect(page.get_by_role("alert")).to_have_count(int(state == "refused"))
            seen.add((scheme, page.evaluate("getComputedStyle(document.body).backgroundColor")))
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if lines := violations(page):
                found[f"{state} {scheme} {width}"] = lines
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS_IS_SEEN)
    assert found == {}
    assert len(seen) == len({color for _, color in seen}) == len(SCHEMES), "one background in light, another in dark"


def test_axe_notices_a_button_without_a_name(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(SEEN[""]).first).to_be_visible(timeout=PATIENCE_MS)
    page.evaluate("document.querySelector('#page').append(document.createElement('button'))")
    assert any(line.startswith("button-name") for line in violations(page))
