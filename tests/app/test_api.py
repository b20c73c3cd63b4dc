"""What the pages do, called by a program: the real app in a process of its own, over gradio_client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import open_engine
from tests.support.fake_app import app_at
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An app over six pictures of the sample world that nobody has annotated."""
    home = tmp_path_factory.mktemp("home")
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=6, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    with app_at(home) as (address, _):
        yield Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": PATIENCE_S})


def ended(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    latest = [job]

    def over() -> bool:
        if latest[0]["state"] in ("queued", "running"):
            latest[0] = client.predict(job["job"], api_name="/job")
        return latest[0]["state"] not in ("queued", "running")

    until(over, lambda: str(latest[0]))
    return latest[0]


def refusal(client: Client, *values: Any, api_name: str) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(*values, api_name=api_name)
    return str(caught.value)


@pytest.mark.slow
def test_a_program_annotates_decides_freezes_and_audits(client: Client) -> None:
    assert client.predict(api_name="/data_sets") == [{"name": "drawn", "pictures": 6, "regions": []}]
    sample = {"describer": "sample", "localizer": "sample"}
    plan = client.predict("drawn", **sample, api_name="/annotation_plan")
    assert (plan["images"], [stage["left"] for stage in plan["stages"]]) == (6, [6, 6])
    names = {
        "describer": "vocabulary",
        "localizer": "sample",
        "settings": {"vocabulary": "a lid\na handle", "batch": 2},
    }
    assert len(client.predict("drawn", **names, api_name="/annotation_plan")["stages"]) == 1
    assert ended(client, client.predict("drawn", **sample, api_name="/annotate"))["state"] == "done"
    page = client.predict("drawn", order="lowest_score", api_name="/regions")
    first, second = page["regions"][:2]
    assert first["score"] <= second["score"] and first["verdict"] == "pending" and page["after"] == ""
    decided = {"region": first["id"], "version": first["version"]}
    assert client.predict(**decided, verdict="accepted", api_name="/decide")["conflict"] is None
    clash = client.predict(**decided, verdict="rejected", api_name="/decide")["conflict"]
    assert (clash["version"], clash["by"], clash["present"]["status"]) == (2, "local", "accepted")
    accepted = client.predict("drawn", verdicts="accepted", api_name="/regions")["regions"]
    assert [row["id"] for row in accepted] == [first["id"]]
    assert ended(client, client.predict("drawn", "v1", api_name="/freeze"))["state"] == "done"
    data = client.predict(api_name="/training_choices")["data"]
    assert [row["value"].split(":")[0] for row in data if "v1" in row["label"]] == ["version"]
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    said: dict[str, Any] = {}
    exec(example.replace("http://127.0.0.1:7860", client.src).replace('"photos"', '"drawn"'), said)
    assert said["done"]["conflict"] is None, "the key that the example reads"
    assert said["first"]["id"] == first["id"] and ended(client, said["job"])["state"] == "done"
    compared = {"dataset": "drawn", "describer": "sample", "pictures": 3}
    with pytest.raises(AppError, match="not compared yet: call /compare_prompts"):
        client.predict(**compared, api_name="/prompt_comparison")
    assert ended(client, client.predict(**compared, claims=2, api_name="/compare_prompts"))["state"] == "done"
    found = client.predict(**compared, api_name="/prompt_comparison")
    assert (found["pictures"], found["same"], found["decided"]) == (3, True, True)
    assert [each["prompts"] for each in found["results"]] == ["two-stage-1", "single-stage-1"]
    audit = client.predict("drawn", detector="sample", vqa="sample", api_name="/audit")
    assert ended(client, audit)["state"] == "done"


@pytest.mark.slow
def test_a_program_imports_exports_and_pages_through_the_jobs(client: Client, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        Image.new("RGB", (40 + number, 30)).save(tmp_path / "in" / f"{number}.png")
    assert ended(client, client.predict(str(tmp_path / "in"), "two", api_name="/import_pictures"))["state"] == "done"
    sides = {"width": 40, "height": 30}
    box = {"image_id": 1, "bbox": [1, 1, 9, 9], "description": "a corner"}
    coco = {"images": [{"id": 1, "file_name": "0.png", **sides}], "annotations": [box]}
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    given = {"dataset": "two", "file": str(tmp_path / "boxes.json"), "format": "coco", "accept": True}
    assert ended(client, client.predict(**given, api_name="/import_annotations"))["state"] == "done"
    exported = client.predict("two", "yolo", api_name="/export")
    assert ended(client, exported)["state"] == "done" and Path(exported["folder"]).is_dir()
    assert any("lose" in sentence for sentence in exported["losses"])
    newest = client.predict("", 0, 2, api_name="/jobs")
    assert [each["kind"] for each in newest] == ["export", "import-annotations"]
    older = client.predict("", newest[-1]["job"], 1, api_name="/jobs")
    assert [(each["kind"], each["state"]) for each in older] == [("import", "done")]
    assert {each["kind"] for each in client.predict("import", api_name="/jobs")} == {"import"}
    assert client.predict("", 10**30, 2, api_name="/jobs") == newest
    assert "Expected 1 to 200 jobs of a page, got 0" in refusal(client, "", 0, 0, api_name="/jobs")
    assert "needs a name" in refusal(client, str(tmp_path), " ", api_name="/import_pictures")


def test_what_cannot_be_is_said_as_on_the_pages(client: Client) -> None:
    assert "data set 'nope'" in refusal(client, "nope", api_name="/annotation_plan")
    assert "Expected the order newest" in refusal(client, "drawn", "", "pending", "", "up", api_name="/regions")
    settings = {"localizer": "sample", "settings": {"tokens": "many"}}
    with pytest.raises(AppError, match="Expected a number for tokens, got 'many'"):
        client.predict("drawn", **settings, api_name="/annotate")
    with pytest.raises(AppError, match=r"Expected settings among .*, got 'sever'"):
        client.predict("drawn", describer="server", settings={"sever": "http://x"}, api_name="/annotation_plan")
    assert "got 'acceptd': correct it" in refusal(client, "drawn", "", "accepted,acceptd", api_name="/regions")
    assert "got '': correct it" in refusal(client, "drawn", "v2", "", api_name="/freeze")
    assert "whole number as the page's id, got '-1'" in refusal(client, -1, 1, "accepted", api_name="/decide")
    assert "There is no job 10" in refusal(client, 10**30, api_name="/job")
    assert "There is no job -1" in refusal(client, -1, "cancel", api_name="/control_job")
    assert "There is no job 4096" in refusal(client, 4096, api_name="/job")
    assert "needs a name" in refusal(client, {"data": "world:12"}, api_name="/train")
    assert refusal(client, "a\0b", "x", api_name="/import_pictures").startswith("Expected a path of characters")
    assert (
        "note: expected at most 131,064 bytes, got 200,000"
        in refusal(client, "drawn", "v2", "accepted", "n" * 200_000, api_name="/freeze").lower()
    )
    assert "Nothing is evaluated yet" in refusal(client, api_name="/evaluation")
