"""The road of a data set, walked by a person in a browser: from the example to a promoted model on Ground."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect

from tests.support.waiting import PATIENCE_MS

JOB_MS = 600_000  # that a job may take on a busy machine
REVIEWED = 30


@dataclass
class RoadWalk:
    """One walk. seen: is told the name of each station while it is on the screen. clicks: on what, in their order.

    Keys are none of the clicks: those of the review, and what is typed into a field.
    """

    page: Page
    address: str
    seen: Callable[[str], object]
    clicks: list[str] = field(default_factory=list)

    def click(self, target: Locator) -> None:
        """Press something once, and count it."""
        target.scroll_into_view_if_needed()
        self.clicks.append(str(target))
        target.click()

    def go_home(self, step: str, count: str) -> Locator:
        """Go to Home by the navigation; return the step of the road with that name, once it has this count."""
        self.click(self.page.get_by_role("link", name="Home", exact=True))
        return self.on_home(step, count)

    def on_home(self, step: str, count: str) -> Locator:
        """Wait on Home until a step of the road has a count."""
        found = self.page.locator("ol.road li", has=self.page.locator(".road-name", has_text=step))
        expect(found.locator(".road-count")).to_have_text(count, timeout=JOB_MS)
        return found

    def import_and_describe(self) -> None:
        """Import the example with one click, and let its annotators describe it."""
        self.page.goto(f"{self.address}home")
        example = self.page.locator("#ways-in button", has_text="Try the example")
        expect(example).to_be_visible()
        self.seen("road-1-home")
        self.click(example)
        self.click(self.on_home("Imported", "200").locator("..").get_by_role("link", name="Describe the pictures"))
        expect(self.page.locator("#describer input")).to_have_value("sample truth, offline")
        expect(self.page.locator("#command")).to_contain_text("--describer.kind=sample")
        self.seen("road-2-annotate")
        self.click(self.page.locator("#start"))
        expect(self.page.locator("#jobs .job").first).to_contain_text("annotate")

    def review(self) -> None:
        """Accept descriptions by keys."""
        self.click(self.go_home("Described", "200").locator("..").get_by_role("link", name="Review 903"))
        expect(self.page.locator("#regions .tile").first).to_be_visible()
        self.click(self.page.locator("#review"))
        stage = self.page.locator("#editor .stage")
        expect(self.page.locator("#editor .text.chosen")).to_be_visible()
        expect(stage).to_have_attribute("data-unsaved", "0")
        self.seen("road-3-curate")
        judged: str | None = ""
        for _ in range(REVIEWED):  # a key is for the region on the screen: while the next one is fetched there is none
            chosen = self.page.locator(f'#editor .text.chosen:not([data-id="{judged}"])')
            expect(chosen).to_be_visible()
            judged = chosen.get_attribute("data-id")
            self.page.keyboard.press("a")
        expect(stage).to_have_attribute("data-unsaved", "0")

    def freeze(self, name: str) -> None:
        """Freeze what was accepted, and what nobody has decided on."""
        reviewed = self.go_home("Reviewed", str(REVIEWED))
        self.click(reviewed.locator("..").get_by_role("link", name="Freeze a version"))
        expect(self.page.locator("#holds")).to_contain_text(f"{REVIEWED} descriptions")
        self.click(self.page.locator("#held label", has_text="pending"))
        expect(self.page.locator("#holds")).to_contain_text("200 pictures and 903 descriptions")
        self.click(self.page.locator("#version-name").get_by_role("textbox"))
        self.page.keyboard.type(name)
        self.seen("road-4-data")
        self.click(self.page.locator("#freeze"))
        expect(self.page.locator("#versions")).to_contain_text(name, timeout=JOB_MS)

    def export(self) -> None:
        """Export what was accepted, in the form that most tools read."""
        self.click(self.page.locator("#format input"))
        self.click(self.page.get_by_role("option", name="COCO JSON"))
        expect(self.page.locator("#losses")).to_contain_text("Nothing is lost")
        self.click(self.page.locator("#export"))
        expect(self.page.locator("#written li")).to_have_count(1, timeout=JOB_MS)

    def train(self, version: str, *, images: int | None) -> None:
        """Fine-tune as the form suggests. images: seen in all, None for as many as it suggests."""
        self.click(self.go_home("Frozen", version).locator("..").get_by_role("link", name=f"Train on {version}"))
        preflight = self.page.locator("#plan")
        expect(preflight).to_contain_text("164 pictures to train on, 36 held out")
        expect(preflight).to_contain_text("sample was trained on")
        if images is not None:
            self.click(self.page.locator('[data-field="images"] input'))
            self.page.keyboard.press("Control+a")
            self.page.keyboard.type(str(images))
            expect(preflight.locator(".command pre")).to_contain_text(f"--images={images} ")
        self.seen("road-5-train")
        self.click(self.page.locator("#queue"))
        expect(self.page.locator("#runs .run").first).to_have_class(re.compile("done"), timeout=JOB_MS)
        expect(self.page.locator("#watched .kept")).to_contain_text("best")
        self.seen("road-6-watch")

    def evaluate(self) -> None:
        """Compare the run's best checkpoint with its start, on the pictures that the run held out."""
        self.click(self.page.locator("#watched").get_by_role("link", name=re.compile("^evaluate best of run-1")))
        expect(self.page.locator("#command")).to_contain_text("#held_out")
        self.click(self.page.locator("#start"))
        expect(self.page.locator("#leads table")).to_contain_text("run-1", timeout=JOB_MS)
        self.seen("road-7-evaluate")

    def promote(self) -> None:
        """Promote the checkpoint, and open Ground with it."""
        trained = self.go_home("Trained", "run-1")
        self.click(trained.locator("..").get_by_role("link", name="Compare and promote"))
        self.click(self.page.get_by_role("button", name=re.compile("^promote best of run-1")))
        self.click(self.page.locator("#kept").get_by_role("link", name="open it on Ground"))
        expect(self.page.locator("body")).to_contain_text("run-1 was trained on 164 pictures", timeout=JOB_MS)
        expect(self.page.locator("#stage .frame svg").first).to_be_visible(timeout=JOB_MS)
        self.seen("road-8-ground")


def walk_the_road(page: Page, address: str, *, seen: Callable[[str], object], images: int | None = None) -> RoadWalk:
    """Walk all of it in a home without a data set; return the walk. images: of the training, see RoadWalk.train."""
    expect.set_options(timeout=PATIENCE_MS)
    walk = RoadWalk(page, address, seen)
    walk.import_and_describe()
    walk.review()
    walk.freeze("v1")
    walk.export()
    walk.train("v1", images=images)
    walk.evaluate()
    walk.promote()
    return walk
