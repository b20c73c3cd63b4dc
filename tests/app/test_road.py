"""The road as one test, in a real Chromium over the real app: nothing is faked, and nothing is done in a shell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, expect
from safetensors.numpy import load_file

from grain.checkpoint import EMBEDDED, WEIGHTS, read_info, verify
from tests.support.browser_fixtures import opened
from tests.support.road import walk_the_road

pytestmark = pytest.mark.slow

MOST_CLICKS = 40
IMAGES = 128  # two steps of the embedded `sample`, all of it


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("road")


def test_from_the_example_to_a_promoted_model_in_few_clicks_without_a_shell(
    home: Path, address: str, visitor: BrowserContext
) -> None:
    stations: list[str] = []
    with opened(visitor, f"{address}home", "#ways-in button") as page:
        walk = walk_the_road(page, address, seen=stations.append, images=IMAGES)
        expect(page.locator("#stage")).to_be_visible()
    assert len(stations) == 8 and 10 < len(walk.clicks) <= MOST_CLICKS, walk.clicks
    ran = json.loads((home / "runs" / "run-1" / "config.json").read_text())
    assert (ran["images"], ran["init"]) == (IMAGES, "sample"), "a name, which is the same on any machine"
    promoted, start = home / "checkpoints" / "run-1", EMBEDDED / "sample"
    verify(promoted)
    assert read_info(promoted).trained_on.startswith("164 pictures of the data set sample-world")
    now, before = (load_file(folder / WEIGHTS) for folder in (promoted, start))
    moved = {name for name in before if not np.array_equal(now[name], before[name].astype(now[name].dtype))}
    assert {"vision.", "text.tr", "decoder", "heads.b"} <= {name[:7] for name in moved}, "all parts have learned"
    [measured] = home.glob("evaluations/*/metrics.json")
    [pictures] = json.loads(measured.read_text())["data_sets"]
    assert (pictures["split"], pictures["pictures"]) == ("held_out", 36)
