"""What the page's job does before it evaluates: a frozen version, from the freeze to metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tyro

from app.core.settings import Settings
from app.evaluate import job as evaluate_job
from app.evaluate.request import EvaluateRequest, command_line, data_set_choices
from app.services import Services
from curation.files.records import Status
from curation.versions.freeze import FreezeConfig
from curation.versions.freeze import main as freeze
from db.engine import reading, transaction
from db.models import Image
from db.queries.curate_queries import edit_image
from db.queries.data_set_queries import image_page
from db.queries.edit_values import ImageChange
from db.queries.region_queries import NewRegion, add_regions, regions_of
from db.queries.version_queries import list_versions
from grain.evaluate.evaluate import EvaluateConfig
from grain.model.pretrained import ModelCard, save_pretrained
from tests.support.curated import curated
from tests.support.tiny import tiny_config, tiny_model
from user_errors import UserError

LAST = 2  # pictures that are of another class


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A home with a curated data set and a tiny checkpoint."""
    monkeypatch.setenv("GRAIN_HOME", str(tmp_path / "home"))
    config = tiny_config()
    save_pretrained(
        tiny_model(config), config, tmp_path / "home" / "checkpoints" / "tiny", card=ModelCard("tiny", "nothing")
    )
    return Services(Settings(home=tmp_path / "home"))


def pictures(services: Services, dataset_id: int) -> list[Image]:
    with reading(services.engine) as session:
        return list(image_page(session, dataset_id=dataset_id, limit=100))


def set_class(services: Services, image: Image, name: str) -> None:
    change = ImageChange(facts={**(image.facts or {}), "class": name})
    with transaction(services.engine) as session:
        edit_image(session, image_id=image.id, expected_version=image.version, who="ana", change=change)


def run(services: Services, spec: str, name: str) -> dict[str, Any]:
    """What the page's command writes."""
    words = command_line(services, EvaluateRequest(["tiny"], [spec]), out=name, role="curator")
    config = tyro.cli(EvaluateConfig, args=words[2:])
    evaluate_job.main(config)
    content: dict[str, Any] = json.loads((config.out / "metrics.json").read_text(encoding="utf-8"))["data_sets"][0]
    return content


def frozen(services: Services, name: str, statuses: tuple[Status, ...] = ("accepted",)) -> str:
    """Freeze the data set; what the page calls the version."""
    freeze(FreezeConfig("lids", name, statuses=statuses))
    return dict(data_set_choices(services))[f"lids · {name}"]


@pytest.mark.slow
def test_a_frozen_version_is_offered_exported_and_measured_as_it_was_frozen(services: Services, tmp_path: Path) -> None:
    dataset_id = curated(services.engine, tmp_path / "pictures")
    for image in pictures(services, dataset_id)[-LAST:]:
        set_class(services, image, "cup")
    spec = frozen(services, "first")
    labelled = [image for image in pictures(services, dataset_id) if "class" in (image.facts or {})]
    with reading(services.engine) as session:
        regions = regions_of(session, image_ids=[image.id for image in labelled])
    accepted = sum(row.status == "accepted" for rows in regions.values() for row in rows)
    found = run(services, spec, "one")
    assert (found["split"], found["labelled"], found["classes"]) == ("novel", len(labelled), 2)
    assert found["pictures"] == len(labelled) == 6 and found["grounding"][0]["descriptions"] == accepted == 12
    assert found["captions"] == len(labelled), "each has one of its own"
    assert [row["way"] for row in found["rows"]] == ["names", "descriptions", "regions", "mixed"]
    details = json.loads((services.settings.home / "evaluations" / "one" / "details.json").read_text(encoding="utf-8"))
    [drawn] = details["data_sets"]
    assert sorted(drawn["classes"]) == ["cup", "lid"] and drawn["rows"]["tiny · names"]["pictures"]
    counts = dict(zip(drawn["classes"], drawn["rows"]["tiny · names"]["pictures"], strict=True))
    assert counts == {"cup": LAST, "lid": len(labelled) - LAST}

    set_class(services, labelled[0], "cup")
    again = run(services, spec, "two")
    assert again["rows"] == found["rows"], "what was changed since is not in what was frozen"
    second = frozen(services, "second")
    assert second != spec
    with reading(services.engine) as session:
        assert len(list_versions(session, dataset_id=dataset_id)) == 2
    changed = run(services, second, "three")
    assert changed["classes"] == 2 and changed["models"][0]["digest"] == found["models"][0]["digest"]


def test_a_version_without_classes_is_measured_by_its_captions(services: Services, tmp_path: Path) -> None:
    curated(services.engine, tmp_path / "pictures", described=False)
    found = run(services, frozen(services, "bare"), "one")
    assert (found["split"], found["labelled"], found["rows"]) == ("train", 0, [])
    assert found["pictures"] == found["captions"] == 8 and len(found["retrieval"]) == 1


@pytest.mark.parametrize("statuses", [("pending", "accepted", "rejected"), ("pending",)])
def test_a_versions_pending_descriptions_are_measured_as_they_are_trained_on(
    services: Services, tmp_path: Path, statuses: tuple[Status, ...]
) -> None:
    dataset = curated(services.engine, tmp_path / "pictures", described=False)
    image = pictures(services, dataset)[0]
    row = NewRegion(image.id, (0.1, 0.1, 0.9, 0.9), "a lid", "entities@1", None, "pending")
    with transaction(services.engine) as session:
        add_regions(session, dataset_id=dataset, rows=[row])
    found = run(services, frozen(services, "drafts", statuses), "one")
    assert [each["descriptions"] for each in found["grounding"]] == [1]


def test_a_version_of_rejected_descriptions_alone_is_one_sentence(services: Services, tmp_path: Path) -> None:
    curated(services.engine, tmp_path / "pictures")
    with pytest.raises(UserError, match="holds rejected descriptions only: freeze one with accepted ones"):
        run(services, frozen(services, "rejected", ("rejected",)), "one")


def test_a_version_that_is_not_here_is_one_sentence(services: Services) -> None:
    with pytest.raises(UserError, match="version") as refusal:
        run(services, f"version:{'0' * 64}", "one")
    assert "\n" not in str(refusal.value)


def test_descriptions_named_for_a_data_set_that_the_app_makes_reach_it(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_job, "WORLD_CLASSES", 2)
    monkeypatch.setattr(evaluate_job, "PICTURES_OF_A_CLASS", 2)
    world = Path(evaluate_job.prepare("sample-world", services.settings.home))
    first = next(iter(json.loads((world / "classes.json").read_text(encoding="utf-8"))))
    (tmp_path / "mine.json").write_text(json.dumps({first: ["a red lid"]}), encoding="utf-8")
    models, named = (str(services.settings.home / "checkpoints" / "tiny"),), (f"sample-world={tmp_path}/mine.json",)
    evaluate_job.main(EvaluateConfig(models, ("sample-world",), tmp_path / "out", descriptions=named))
    [found] = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["data_sets"]
    assert found["descriptions"]["source"] == "mine.json"
