"""Take the pictures of README and docs: `make pictures` fills a home with the examples and photographs each page.

The home is kept, so that a second run only takes the pictures again; by default in the folder for temporary files,
because pages show where it is.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from gradio_client import Client
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from app.core.example_data import GROCERIES
from curation.sample.products import novel_classes
from curation.sample.scenes import render_scene
from tests.support.browser_fixtures import ARGUMENTS
from tests.support.fake_app import app_at
from tests.support.road import walk_the_road
from tests.support.system_parts import find_chromium

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1400, 1000  # pixels of the window
COLOURS = 128  # of a palette: so many by their number of pixels, so many far apart
PATIENCE_MS = 240_000
SETTLED_MS = 4_000  # for a page's first events to be answered, and for plots to be drawn
CLASSES, FOUND = 5, 20  # of the set of novel concepts
DECIDED = 60  # regions that a person accepts before the first version, and again before the second
STAGES = (
    "curation.ingest --dataset products --sample 120",
    "curation.annotate --dataset products --describer.kind sample --localizer.kind sample "
    "--sample.wrong 0.15 --sample.shifted 0.1",
    "curation.audit --dataset products --sources.detector sample --sources.vqa sample --sources.checkpoint sample",
    f"curation.ingest {GROCERIES} --dataset groceries",
    "curation.annotate --dataset groceries --describer.kind photo --localizer.kind photo",
    "curation.explore.embeddings --dataset groceries --checkpoint photo --what regions",
    "curation.explore.similarity --dataset groceries --checkpoint photo",
    "curation.explore.atlas --dataset groceries --checkpoint photo --what regions",
)


def fill(home: Path) -> None:
    """Annotate the example photographs, audit drawn pictures, start novel concepts. Asked again, it does nothing."""
    found, classes = home / "found", home / "classes.txt"
    if not found.exists():
        found.mkdir(parents=True)
        rows = [("file_name", "found_at", "found_on")]
        for number in range(FOUND):
            picture = render_scene("novel", seed=0, index=number, classes=CLASSES).image
            picture.save(found / f"{number:02}.jpg")
            rows.append((f"{number:02}.jpg", "the spring fair", "2026-10-01"))
        with (found / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        lines = [f"{name}: {'; '.join(one.descriptions)}\n" for name, one in novel_classes(0, CLASSES).items()]
        classes.write_text("".join(lines), encoding="utf-8")
    concepts = f"curation.concepts {found} --dataset fair --classes {classes}"
    for stage in (*STAGES, concepts, "curation.concepts.leaks --dataset fair --against products --settings.distance 2"):
        words = [sys.executable, "-m", *stage.split()]
        subprocess.run(words, cwd=ROOT, env=os.environ | {"GRAIN_HOME": str(home)}, check=True)


def work(client: Client) -> None:
    """Accept regions, freeze two versions, train a little and evaluate, as a person would; once for each home."""
    if client.predict("groceries", verdicts="accepted", api_name="/regions")["regions"]:
        return
    for version in ("first review", "second review"):
        rows: list[dict[str, Any]] = []
        after = ""
        while len(rows) < DECIDED:
            page = client.predict("groceries", verdicts="pending", after=after, api_name="/regions")
            rows, after = rows + page["regions"], page["after"]
        for row in rows[:DECIDED]:
            client.predict(row["id"], row["version"], "accepted", api_name="/decide")
        wait(client, client.predict("groceries", version, api_name="/freeze"))
    evaluation = client.predict(["sample", "sample-clip"], ["sample-world"], 200, api_name="/evaluate")
    fields = {"images": 6400, "batch_size": 64, "evaluate_images": 1600, "held_out_images": 100, "warmup_images": 640}
    training = {"name": "first-run", "data": "world:2000", "start": "scratch", "where": "cpu", "fields": fields}
    for job in (evaluation, client.predict(training, api_name="/train")):
        wait(client, job)


def wait(client: Client, job: dict[str, Any]) -> None:
    """Wait until a job has ended.

    Raises: RuntimeError: it failed.
    """
    while job["state"] in ("queued", "running"):
        time.sleep(2)
        job = client.predict(job["job"], api_name="/job")
    if job["state"] != "done":
        raise RuntimeError(f"expected job {job['job']} ({job['kind']}) to be done, got {job}")


def choose(page: Page, field: str, option: str) -> None:
    """Choose an option of a dropdown by a part of its words."""
    page.locator(f"#{field} input").click()
    page.locator(f"#{field}").get_by_role("option", name=option).first.click()


def annotate(page: Page) -> None:
    """Show the finished run of the sample annotators."""
    choose(page, "dataset", "products")
    choose(page, "describer", "sample")
    choose(page, "localizer", "sample")
    for field, value in (("share of wrong", "0.15"), ("share of shifted", "0.1")):
        number = page.get_by_label(f"number input for {field}").first
        number.fill(value)
        number.press("Tab")
    page.locator("#results .result").first.wait_for(timeout=PATIENCE_MS)


def curate(page: Page) -> None:
    """Open a region in the editor."""
    page.locator("#regions .tile").nth(1).click()
    page.locator("#editor .text.chosen").first.wait_for(timeout=PATIENCE_MS)


def map_of_regions(page: Page) -> None:
    """Open the map."""
    page.locator("#map-section .label-wrap").click()
    page.locator("#map .scatterlayer, #map canvas").first.wait_for(timeout=PATIENCE_MS)


def audit(page: Page) -> None:
    """Open a claim with its evidence."""
    page.locator("#claims .claim").nth(1).click()
    page.locator("#claim .evidence").wait_for(timeout=PATIENCE_MS)


def train(page: Page) -> None:
    """Watch the run that is done, with a further one like it in the form."""
    page.locator("#runs .run").get_by_role("button", name="duplicate").first.click()
    page.wait_for_timeout(SETTLED_MS)
    page.locator("#runs .run").get_by_role("button").first.click()
    page.locator(".curve .scatterlayer .trace").first.wait_for(state="attached", timeout=PATIENCE_MS)


def data(page: Page) -> None:
    """Compare the two versions."""
    page.locator("#compare-versions").click()
    page.locator("#difference .finding").wait_for(timeout=PATIENCE_MS)


def nothing(page: Page) -> None:
    """Leave the page as it opens."""


@dataclass(frozen=True)
class Shot:
    """A picture. seen: a selector of what must be there first. act: what is done on the page before it is taken.

    top: a selector of what stands at the top of the picture.
    """

    name: str
    address: str
    seen: str
    act: Callable[[Page], None] = nothing
    height: int = HEIGHT
    top: str = "body"


ROAD = "road"
STATIONS = ("road-1-home", "road-3-curate", "road-5-train", "road-7-evaluate", "road-8-ground")
SHOTS = (
    Shot("home", "home?dataset=groceries", "ol.road", height=620),
    Shot("ground", "", "#stage img", height=960),
    Shot("annotate", "annotate?dataset=products", "#plan .meter", annotate),
    Shot("curate", "curate?dataset=groceries&sort=disagreement", "#regions .tile", curate),
    Shot("map", "curate?dataset=groceries", "#regions .tile", map_of_regions, top="#map-section"),
    Shot("audit", "audit?dataset=products", "#claims .claim", audit),
    Shot("evaluate", "evaluate", "#table table"),
    Shot("train", "train", "#runs .run", train, height=1300),
    Shot("data", "data?dataset=groceries", "#overview table", data),
    Shot("novel-concepts", "concepts?set=fair&step=labels&as=Ana", "#work .label-work", height=780),
)


def take(page: Page, address: str, shot: Shot) -> None:
    """Open a page, do what the picture is to show, and save it in a palette."""
    page.set_viewport_size({"width": WIDTH, "height": shot.height})
    page.goto(address + shot.address)
    page.locator(shot.seen).first.wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(SETTLED_MS)
    shot.act(page)
    page.wait_for_timeout(SETTLED_MS)
    page.locator(shot.top).first.evaluate("element => element.scrollIntoView()")
    save(page, shot.name)


def save(page: Page, name: str) -> None:
    """Save what the window shows in a palette."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    picture.quantize(palette=palette_of(picture), dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")


def take_the_road(page: Page) -> None:
    """Walk the road in a home of its own, and take a picture of each station that the guide shows."""

    def seen(station: str) -> None:
        if station in STATIONS:
            page.wait_for_timeout(SETTLED_MS)
            page.evaluate("window.scrollTo(0, 0)")
            save(page, station)

    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    with tempfile.TemporaryDirectory() as home, app_at(Path(home)) as (address, _):
        walk_the_road(page, address, seen=seen)


def palette_of(picture: Image.Image) -> Image.Image:
    """Return 256 colours for a picture: those of most pixels, and those that keep a small mark in its colour."""
    colours: list[int] = []
    for method in (Image.Quantize.MEDIANCUT, Image.Quantize.FASTOCTREE):
        colours += (picture.quantize(COLOURS, method=method, dither=Image.Dither.NONE).getpalette() or [])[
            : 3 * COLOURS
        ]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return palette


@dataclass(frozen=True)
class Command:
    """Take the pictures of README and docs."""

    home: Path = Path(tempfile.gettempdir()) / "grain"
    """Kept between runs."""
    only: tuple[str, ...] = ()
    """Names of pictures, and `road` for those of the guide to it; left out: all."""


def main(command: Command) -> None:
    """Fill the home, run the app over it, and take the pictures."""
    shots = [shot for shot in SHOTS if not command.only or shot.name in command.only]
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path) or None
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        if shots:
            fill(command.home)
            with app_at(command.home) as (address, _):
                work(Client(address, verbose=False, analytics_enabled=False))
                for shot in shots:
                    take(page, address, shot)
        if not command.only or ROAD in command.only:
            take_the_road(page)
        browser.close()


if __name__ == "__main__":
    main(tyro.cli(Command))
