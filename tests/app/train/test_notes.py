"""Notes, tags, search, order and downloads of runs, without a browser or a training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.services import Services
from app.train import panels as train_panels
from app.train import runs as train_runs
from app.train.layout import ORDERS
from app.train.notes import NOTES, RunNotes, read_notes, write_note, write_tags
from app.train.run_jobs import name_of
from db.engine import transaction
from db.queries.job_queries import enqueue_job
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices
from tests.support.unnoticed import rewrite_unnoticed
from user_errors import UserError


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Three runs: of a good and a bad loss, and one without a number."""
    services = fake_services(tmp_path, StillServices)
    made = (("cups", "ada", 0.5, 0.4), ("Bowls", "bob", 2.0, 0.9), ("new", "ada", None, None))
    for name, owner, loss, grounding in made:
        out = services.settings.home / "runs" / name
        (out / "best").mkdir(parents=True)
        if loss is not None:
            (out / "metrics.jsonl").write_text(json.dumps({"step": 1, "images": 4, "loss": loss}) + "\n")
            (out / "best" / "metrics.json").write_text(json.dumps({"grounding_acc50": grounding}))
        with transaction(services.engine) as session:
            config = {"train": {"name": name, "out": str(out), "images": 8, "batch_size": 4}, "asked": {}}
            enqueue_job(session, kind="train", owner=owner, config=config, argv=["true"])
    yield services
    services.engine.dispose()


def names(services: Services, *, limit: int = 20, words: str = "", order: train_runs.RunOrder = "newest") -> list[str]:
    return [name_of(row.job) for row in train_runs.runs(services, limit, words=words, order=order)]


def test_runs_come_in_the_order_that_is_asked_for_and_those_without_a_number_last(services: Services) -> None:
    assert names(services) == ["new", "Bowls", "cups"]
    assert names(services, order="name") == ["Bowls", "cups", "new"]
    assert names(services, order="lowest loss") == ["cups", "Bowls", "new"]
    assert names(services, order="best grounded") == ["Bowls", "cups", "new"]
    assert names(services, order="name", limit=1) == ["Bowls"]
    assert set(ORDERS) == set(train_runs.ORDERS)


def test_an_order_reads_no_file_that_stays_the_same_and_has_fresh_figures_of_a_run_that_goes_on(
    services: Services,
) -> None:
    assert names(services, order="lowest loss") == ["cups", "Bowls", "new"]
    assert names(services, order="best grounded") == ["Bowls", "cups", "new"]
    cups, bowls = (services.settings.home / "runs" / name for name in ("cups", "Bowls"))
    rewrite_unnoticed(cups / "metrics.jsonl", json.dumps({"step": 1, "images": 4, "loss": 9.5}) + "\n")
    rewrite_unnoticed(cups / "best" / "metrics.json", json.dumps({"grounding_acc50": 1.0}))
    assert names(services, order="lowest loss") == ["cups", "Bowls", "new"]
    assert names(services, order="best grounded") == ["Bowls", "cups", "new"]
    with (bowls / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, "images": 8, "loss": 0.25}) + "\n")
    (bowls / "best" / "metrics.json").write_text(json.dumps({"grounding_acc50": 0.125}))
    assert names(services, order="lowest loss") == ["Bowls", "cups", "new"]
    assert names(services, order="best grounded") == ["cups", "Bowls", "new"]


def test_a_search_looks_into_names_owners_states_tags_and_notes(services: Services) -> None:
    jobs = {name_of(row.job): row.job.id for row in train_runs.runs(services, 20)}
    train_runs.write_words(services, jobs["cups"], what="note", text=" With the Red lids only ")
    train_runs.write_words(services, jobs["new"], what="tags", text="baseline,  two   words, baseline,")
    assert names(services, words="bowl") == ["Bowls"] and names(services, words="ADA queued") == ["new", "cups"]
    assert names(services, words="red lids") == ["cups"] and names(services, words="two words") == ["new"]
    assert names(services, words="red bob") == []
    seen = train_runs.view(services, jobs["new"], lines=1)
    assert seen.notes == RunNotes("", ("baseline", "two words"))
    shown = train_panels.runs_panel(train_runs.runs(services, 20), [], more=False)
    assert '<span class="run-tag">two words</span>' in shown and ">90%</td>" in shown
    assert "No such run" in train_panels.runs_panel([], [], more=False, searched=True)


def test_a_note_and_tags_are_kept_beside_each_other_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    write_note(tmp_path, "one")
    write_tags(tmp_path, "a, b")
    write_note(tmp_path, "two")
    assert read_notes(tmp_path) == RunNotes("two", ("a", "b"))
    assert read_notes(tmp_path) is read_notes(tmp_path), "a file that stays the same is read once"
    write_tags(tmp_path, "")
    assert read_notes(tmp_path) == RunNotes("two", ())
    (tmp_path / NOTES).write_text('{"note": ')
    assert read_notes(tmp_path) == RunNotes()
    with pytest.raises(UserError, match="Note: expected at most 2,000 characters, got 2,001: shorten it"):
        write_note(tmp_path, "x" * 2001)
    for text in (",".join(map(str, range(11))), "x" * 41):
        with pytest.raises(UserError, match="Tags: expected at most 10 of at most 40 characters"):
            write_tags(tmp_path, text)
    with pytest.raises(UserError, match="is gone: nothing was kept"):
        write_note(tmp_path / "gone", "one")


def test_log_and_metrics_can_be_downloaded_whole(services: Services) -> None:
    jobs = {name_of(row.job): row.job.id for row in train_runs.runs(services, 20)}
    name, content = train_runs.file_of(services, jobs["cups"], "metrics")
    assert (name, json.loads(content)["loss"]) == ("cups.metrics.jsonl", 0.5)
    assert train_runs.file_of(services, jobs["cups"], "log") == ("cups.log", b"")
    with pytest.raises(UserError, match="Nothing is logged yet: wait for the first step"):
        train_runs.file_of(services, jobs["new"], "metrics")
    with pytest.raises(UserError, match="There is no run 99"):
        train_runs.file_of(services, 99, "log")


def test_a_note_and_tags_hold_nothing_that_no_page_can_show(tmp_path: Path) -> None:
    write_note(tmp_path, "half \ud83d\0")
    write_tags(tmp_path, "a\0b, \udc4d")
    assert read_notes(tmp_path) == RunNotes("half \\ud83d\ufffd", ("a\ufffdb", "\\udc4d"))


def test_exports_and_dry_steps_say_which_run_they_are_of(services: Services) -> None:
    asked = {"train": {"name": "", "out": ""}, "asked": {"name": "bowls-2"}}
    with transaction(services.engine) as session:
        for kind, config in (("keep", {"out": "exports/cups-best-onnx", "run": 1}), ("preflight", asked)):
            enqueue_job(session, kind=kind, owner="ada", config=config, argv=["true"])
        enqueue_job(session, kind="data", owner="ada", config={"out": "worlds/12"}, argv=["true"])
    shown = train_panels.side_panel(train_runs.side_jobs(services))
    for name in ("<b>data 6</b>", "<b>dry steps 5 · bowls-2</b>", "<b>export 4 · cups-best-onnx</b>"):
        assert name in shown
