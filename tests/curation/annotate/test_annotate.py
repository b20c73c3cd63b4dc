"""The annotation pipeline: nothing lost, nothing twice, nothing done again; on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tyro
from PIL import Image
from sqlalchemy import delete, func
from sqlmodel import col, select, update

from benchmarks.stub_annotators import StubDescriber, StubLocalizer, stubs
from curation.annotate.annotate import annotate
from curation.annotate.describe import DescribeConfig, DescriberError, DescriberResult
from curation.annotate.localize import LocalizeConfig
from curation.annotate.openai_describer import OpenAIDescriber
from curation.annotate.plan import outcome, plan
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.sample_annotators import ROW, SampleConfig, SampleDescriber, SampleLocalizer
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory, command_line
from curation.annotate.trial import try_picture
from curation.annotate.vlm_boxes import BoxAnswer
from curation.annotate.vlm_localizer import VlmLocalizer
from curation.files.home import database_url
from curation.files.images import GONE
from curation.ingest.ingest import ingest
from curation.sample.scenes import render_scene
from curation.sample.world import WorldConfig, write_world
from db.engine import Engine, open_engine, reading, transaction
from db.models import AnnotationRun, Description, ImageLease, RegionRow, StageResult
from db.models import Image as Picture
from db.queries.curate_queries import add_region_by_hand, delete_region, edit_region
from db.queries.data_set_queries import get_dataset, image_page
from db.queries.edit_values import RegionChange
from db.queries.job_queries import enqueue_job
from db.queries.region_queries import regions_of
from db.queries.run_queries import failures_by_reason, list_runs, run_tallies
from db.queries.stage_result_queries import descriptions_of, stage_results_of
from tests.support.fake_openai import COLOURS, fake_openai
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S
from user_errors import UserError

OFFLINE: dict[str, Any] = {"describer": DescriberChoice("photo"), "localizer": LocalizerChoice("photo")}
SHEETS = AnnotateConfig("sheets", **OFFLINE, batch=4)


def sheets(engine: Engine, folder: Path, count: int, *, name: str = "sheets", first: int = 0) -> list[int]:
    """A data set of plain pictures; their ids."""
    place = folder / name
    place.mkdir()
    for number in range(first, first + count):
        color = (number % 251, number // 251, 200)
        Image.new("RGB", (40, 30), color).save(place / f"{number:05d}.png")
    ingest(engine, place, dataset=name, home=folder / "home", processes=1)
    with reading(engine) as session:
        dataset = get_dataset(session, name=name)
        assert dataset is not None
        return [image.id for image in image_page(session, dataset_id=dataset.id, limit=count + 1)]


def run(engine: Engine, config: AnnotateConfig, describer: StubDescriber, localizer: StubLocalizer) -> str:
    return annotate(engine, config, stubs(describer, localizer), worker="test")


def rows(engine: Engine, table: type) -> int:
    with reading(engine) as session:
        return session.exec(select(func.count()).select_from(table)).one()


def test_every_picture_is_described_and_boxed_once_and_asking_again_does_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    ids = sheets(engine, tmp_path, 10)
    describer, localizer = StubDescriber(), StubLocalizer()
    assert run(engine, SHEETS, describer, localizer) == "done"
    assert (describer.asked, localizer.asked) == (ids, ids)
    work = SHEETS.works()
    with reading(engine) as session:
        said = descriptions_of(session, image_ids=ids, recipe=work[0].recipe)
        found = regions_of(session, image_ids=ids, recipe=work[1].recipe)
        described = stage_results_of(session, image_ids=ids, recipe=work[0].recipe)
    assert [text.text for text in said[ids[3]]] == ["a #0300c8 sheet", "a corner"]
    assert [(row.text, row.x2, row.score, row.source, row.status) for row in found[ids[3]]] == [
        ("a #0300c8 sheet", 0.5, 0.9, "stub@1", "pending"),
        ("a corner", 0.5, 0.9, "stub@1", "pending"),
    ]
    assert [row.description_id for row in found[ids[3]]] == [text.id for text in said[ids[3]]]
    assert described[ids[3]].raw == ["a sheet", "a #0300c8 sheet\na corner"]
    counts = [rows(engine, table) for table in (StageResult, Description, RegionRow)]
    assert counts == [20, 20, 20]

    def never() -> StubDescriber:
        raise AssertionError("nothing is left, so no model is loaded")

    assert annotate(engine, SHEETS, AnnotatorFactory(never, never), worker="test") == "done"  # type: ignore[arg-type]
    assert [rows(engine, table) for table in (StageResult, Description, RegionRow)] == counts


def test_another_threshold_runs_boxes_alone_and_another_prompt_both_stages(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 5)
    asked = DescriberChoice("server", model="m", server="http://127.0.0.1:1")
    config = replace(SHEETS, describer=asked)
    run(engine, config, StubDescriber(), StubLocalizer())
    describer, localizer = StubDescriber(), StubLocalizer()
    run(
        engine,
        replace(config, localizer=LocalizerChoice("photo", boxes=LocalizeConfig(threshold=0.5))),
        describer,
        localizer,
    )
    assert (describer.asked, localizer.asked) == ([], ids)
    other = replace(asked, ask=DescribeConfig(prompts="single-stage-1"))
    run(engine, replace(config, describer=other), describer, localizer)
    assert (describer.asked, localizer.asked) == (ids, ids + ids)
    elsewhere = replace(asked, server="http://127.0.0.1:2", concurrency=2)
    assert replace(config, describer=elsewhere).works() == config.works(), "the same work, wherever it is done"


def test_what_cannot_be_used_is_kept_with_its_reason_and_the_rest_goes_on(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 9)

    def behave(image: Image.Image) -> DescriberResult | None:
        place = ids.index(image.info[ROW].id)
        if place == 2:
            return DescriberResult(raw=("?", "<img onerror=x>"), problem="stage2: no list was found")
        if place == 4:
            return DescriberResult(problem="the server hung up")
        if place == 6:
            raise ValueError("this picture breaks the model")
        return None

    (tmp_path / "sheets" / "00008.png").unlink()
    describer, localizer = StubDescriber(behave), StubLocalizer()
    assert run(engine, SHEETS, describer, localizer) == "done"
    assert localizer.asked == [number for place, number in enumerate(ids) if place not in (2, 4, 6, 8)]
    assert describer.asked.count(ids[4]) == SHEETS.attempts, "a failure may pass"
    assert describer.asked.count(ids[2]) == 1, "an answer that cannot be read would come again"
    with reading(engine) as session:
        [latest] = list_runs(session, dataset_id=1)
        reasons = {
            (group.state, group.reason): group.pictures for group in failures_by_reason(session, run_id=latest.id)
        }
        kept = stage_results_of(session, image_ids=ids, recipe=SHEETS.works()[0].recipe)[ids[2]]
        tallies = {(tally.stage, tally.state): tally for tally in run_tallies(session, run_id=latest.id)}
    assert kept.raw == ["?", "<img onerror=x>"]
    assert len(reasons) == 4
    assert reasons["quarantined", "stage2: no list was found"] == reasons["failed", "the server hung up"] == 1
    assert reasons["failed", "ValueError: this picture breaks the model"] == 1
    assert tallies["describe", "done"].pictures == 5 and tallies["describe", "done"].tokens == 35
    assert tallies["describe", "failed"].pictures == 3
    again = StubDescriber()
    run(engine, SHEETS, again, StubLocalizer())
    assert again.asked == [ids[4], ids[6]], "another run tries what failed, not what is quarantined"


def test_pictures_that_break_a_server_are_marked_and_the_run_goes_on(engine: Engine, tmp_path: Path) -> None:
    place = tmp_path / "sheets"
    place.mkdir()
    for number in range(12):
        colour = COLOURS["red" if number % 4 == 3 else "green"]
        Image.new("RGB", (40 + number, 30), colour).save(place / f"{number:02d}.png")
    ingest(engine, place, dataset="sheets", home=tmp_path / "home", processes=1)
    localizer = StubLocalizer()
    with fake_openai(always={"red": "hang up"}, failures=["hang up"] * 3) as server:
        asked = DescriberChoice("server", model="m", server=server.url, patience_seconds=0.0)
        config = replace(SHEETS, describer=asked)
        describer = OpenAIDescriber("m", base_url=server.url, config=asked.ask, patience=0.0, first_wait=0.001)
        assert annotate(engine, config, AnnotatorFactory(lambda: describer, lambda: localizer), worker="test") == "done"
    assert len(localizer.asked) == 9
    dropped = "3 failed at describe: the server drops the connection each time"
    assert outcome(engine, config) == ["describe: 9 done, 3 failed", "localize: 9 done", dropped]


def test_an_answer_without_boxes_that_can_be_read_is_quarantined_with_its_text_and_not_asked_for_again(
    engine: Engine, tmp_path: Path
) -> None:
    ids = sheets(engine, tmp_path, 6)
    config = replace(SHEETS, describer=DescriberChoice("vocabulary", vocabulary=("a sheet",)))

    class Answerer:
        name, asked = "vlm@1", 0

        def ask_each(self, images: Any, questions: Any, most_tokens: int) -> list[BoxAnswer]:
            self.asked += len(images)
            labels = ["a dog" if ids.index(image.info[ROW].id) == 2 else "a sheet" for image in images]
            return [BoxAnswer(f"{label}: [0, 0, 500, 500]", (40, 30), (40, 30)) for label in labels]

    answerer = Answerer()
    for _ in range(2):
        factory = AnnotatorFactory(lambda: StubDescriber(), lambda: VlmLocalizer(answerer, "thousand"))
        assert annotate(engine, config, factory, worker="test") == "done"
        assert answerer.asked == 6
    dog = "1 quarantined at localize: the boxes of the answer are of none of the descriptions"
    assert outcome(engine, config) == ["localize: 5 done, 1 quarantined", dog]
    with reading(engine) as session:
        kept = stage_results_of(session, image_ids=ids, recipe=config.works()[0].recipe)[ids[2]]
    assert kept.raw == ["a dog: [0, 0, 500, 500]"]


def test_a_run_of_which_nothing_came_has_failed_and_says_why(engine: Engine, tmp_path: Path) -> None:
    sheets(engine, tmp_path, 3)
    (tmp_path / "sheets").rename(tmp_path / "moved")
    assert run(engine, SHEETS, StubDescriber(), StubLocalizer()) == "failed"
    gone = f"3 failed at describe: {GONE}"
    assert outcome(engine, SHEETS) == ["describe: 3 failed", "localize: no picture", gone]
    (tmp_path / "moved").rename(tmp_path / "sheets")
    (tmp_path / "sheets" / "00000.png").unlink()
    assert run(engine, SHEETS, StubDescriber(), StubLocalizer()) == "done"
    assert outcome(engine, SHEETS)[:2] == ["describe: 2 done, 1 failed", "localize: 2 done"]
    assert [each.state for each in runs_of(engine)] == ["done", "failed"]


def runs_of(engine: Engine) -> list[AnnotationRun]:
    with reading(engine) as session:
        return list(list_runs(session, dataset_id=1))


def test_the_command_says_what_failed_and_fails_where_nothing_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("GRAIN_HOME", str(home))
    engine = open_engine(database_url(home))
    sheets(engine, tmp_path, 2)
    (tmp_path / "sheets").rename(tmp_path / "moved")
    words = [sys.executable, *command_line(SHEETS)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == ["sheets: failed", *outcome(engine, SHEETS)]
    assert "No picture of 'sheets' could be annotated: see to the reasons above" in ended.stderr
    engine.dispose()


def test_a_job_that_failed_and_is_asked_again_tries_its_pictures_anew(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 2)

    def hang_up(image: Image.Image) -> DescriberResult:
        return DescriberResult(problem="the server hung up")

    with transaction(engine) as session:
        job_id = enqueue_job(session, kind="annotate", owner="ana", config={}, argv=["true"]).id
    first, second = StubDescriber(hang_up), StubDescriber()
    assert annotate(engine, SHEETS, stubs(first, StubLocalizer()), worker="w", job_id=job_id) == "failed"
    assert first.asked == ids * SHEETS.attempts
    assert annotate(engine, SHEETS, stubs(second, StubLocalizer()), worker="w", job_id=job_id) == "done"
    assert second.asked == ids and len(runs_of(engine)) == 1


def test_a_describer_that_cannot_work_stops_the_run_with_its_sentence_and_frees_the_pictures(
    engine: Engine, tmp_path: Path
) -> None:
    ids = sheets(engine, tmp_path, 6)

    def refuse(image: Image.Image) -> None:
        raise DescriberError("The server refuses the key: set OPENAI_API_KEY.")

    with pytest.raises(UserError, match="The server refuses the key"):
        run(engine, SHEETS, StubDescriber(refuse), StubLocalizer())
    with reading(engine) as session:
        assert [each.state for each in list_runs(session, dataset_id=1)] == ["failed"]
    describer = StubDescriber()
    assert annotate(engine, SHEETS, stubs(describer, StubLocalizer()), worker="another") == "done"
    assert describer.asked == ids, "nobody waits for leases to run out"


def test_a_run_stops_between_batches_and_goes_on_from_there(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 12)
    stop = threading.Event()
    describer, localizer = StubDescriber(), StubLocalizer()
    state = annotate(
        engine, SHEETS, stubs(describer, localizer), worker="w", report=lambda _: stop.set(), stop=stop.is_set
    )
    assert (state, describer.asked, localizer.asked) == ("paused", ids[:4], [])
    found = plan(engine, SHEETS)
    assert [stage.counts.done for stage in found.stages] == [4, 0]
    assert found.stages[0].seconds == pytest.approx(8 * 0.01) and found.stages[1].seconds is None
    assert run(engine, SHEETS, describer, localizer) == "done"
    assert (describer.asked, localizer.asked) == (ids, ids)


def test_equal_pictures_of_another_data_set_are_not_worked_on_again(engine: Engine, tmp_path: Path) -> None:
    first = sheets(engine, tmp_path, 6)
    run(engine, SHEETS, StubDescriber(), StubLocalizer())
    second = sheets(engine, tmp_path, 6, name="others", first=3)
    describer, localizer = StubDescriber(), StubLocalizer()
    run(engine, replace(SHEETS, dataset="others"), describer, localizer)
    assert describer.asked == localizer.asked == second[3:]
    recipe = SHEETS.works()[1].recipe
    with reading(engine) as session:
        found = regions_of(session, image_ids=[first[3], second[0]], recipe=recipe)
    mine, theirs = (
        [(row.text, row.x1, row.y2, row.score) for row in found[number]] for number in (first[3], second[0])
    )
    assert mine == theirs and len(mine) == 2


def test_copies_of_equal_work_do_not_quicken_the_pace_of_a_plan(engine: Engine, tmp_path: Path) -> None:
    sheets(engine, tmp_path, 4)
    run(engine, SHEETS, StubDescriber(), StubLocalizer())
    sheets(engine, tmp_path, 6, name="others")
    others = replace(SHEETS, dataset="others")
    run(engine, others, StubDescriber(), StubLocalizer())
    (tmp_path / "others").rename(tmp_path / "moved")
    sheets(engine, tmp_path, 5, name="others", first=20)
    described, _ = plan(engine, others).stages
    assert (described.left, described.counts.done) == (5, 6)
    assert described.seconds == pytest.approx(5 * 0.01)


def test_what_is_quarantined_at_describe_is_not_left_at_localize(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 5)

    def odd(image: Image.Image) -> DescriberResult | None:
        return DescriberResult(raw=("x",), problem="no list") if image.info[ROW].id in ids[:2] else None

    assert [stage.left for stage in plan(engine, SHEETS).stages] == [5, 5]
    run(engine, SHEETS, StubDescriber(odd), StubLocalizer())
    found = plan(engine, SHEETS)
    assert [stage.left for stage in found.stages] == [0, 0] and found.seconds == 0
    names = replace(SHEETS, describer=DescriberChoice("vocabulary", vocabulary=("a sheet",)))
    other = replace(SHEETS, describer=DescriberChoice("server", model="m", server="http://127.0.0.1:1"))
    assert [stage.left for stage in plan(engine, names).stages] == [5]
    assert [stage.left for stage in plan(engine, other).stages] == [5, 5], "another describer's quarantine is its own"


def test_boxes_without_scores_are_not_asked_for_again_under_another_threshold(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 3)

    def at(threshold: float) -> AnnotateConfig:
        boxes = LocalizeConfig(threshold=threshold)
        asked = LocalizerChoice("vlm-server", model="qwen3-vl", server="http://127.0.0.1:1/v1", boxes=boxes)
        return replace(SHEETS, localizer=asked)

    first, again = StubLocalizer(), StubLocalizer()
    run(engine, at(0.3), StubDescriber(), first)
    run(engine, at(0.6), StubDescriber(), again)
    assert (first.asked, again.asked) == (ids, [])


def test_boxes_that_an_earlier_release_found_under_another_threshold_stay_done(engine: Engine, tmp_path: Path) -> None:
    """There the threshold was part of the recipe."""
    ids = sheets(engine, tmp_path, 3)
    boxes = LocalizeConfig(threshold=0.6)
    config = replace(
        SHEETS, localizer=LocalizerChoice("vlm-server", model="qwen3-vl", server="http://127.0.0.1:1/v1", boxes=boxes)
    )
    run(engine, config, StubDescriber(), StubLocalizer())
    work = config.works()[1]
    with transaction(engine) as session:
        session.exec(update(StageResult).where(col(StageResult.recipe) == work.recipe).values(recipe=work.former))
    assert [stage.left for stage in plan(engine, config).stages] == [0, 0]
    sheets(engine, tmp_path, 2, name="new", first=10)
    ingest(engine, tmp_path / "new", dataset="sheets", home=tmp_path / "home", processes=1)
    localizer = StubLocalizer()
    run(engine, config, StubDescriber(), localizer)
    assert len(localizer.asked) == 2 and not {*localizer.asked} & {*ids}, "new pictures alone"
    assert outcome(engine, config) == ["describe: 5 done", "localize: 5 done"]


def test_what_people_made_of_a_region_stays_in_its_data_set(engine: Engine, tmp_path: Path) -> None:
    """Another data set of equal pictures gets what the model found: edited, deleted and drawn regions stay here."""
    first, recipe = sheets(engine, tmp_path, 2), SHEETS.works()[1].recipe
    run(engine, SHEETS, StubDescriber(), StubLocalizer())

    def regions(number: int) -> list[tuple[object, ...]]:
        with reading(engine) as session:
            found = regions_of(session, image_ids=[number], recipe=recipe)[number]
        return [(row.text, row.x1, row.y2, row.score, row.source, row.status, row.version) for row in found]

    made = regions(first[0])
    with transaction(engine) as session:
        one, other = regions_of(session, image_ids=[first[0]], recipe=recipe)[first[0]]
        for version, text in enumerate(("hers", "hers again"), start=1):
            change = RegionChange(text=text, xyxy=(0.2, 0.2, 0.3, 0.3), status="accepted", source="human:alice")
            edit_region(session, region_id=one.id, expected_version=version, who="alice", change=change)
        delete_region(session, region_id=other.id, expected_version=1, who="alice")
        add_region_by_hand(session, image_id=first[0], who="alice", box_id=one.id, text="drawn")
    second = sheets(engine, tmp_path, 2, name="others")
    describer, localizer = StubDescriber(), StubLocalizer()
    run(engine, replace(SHEETS, dataset="others"), describer, localizer)
    assert (describer.asked, localizer.asked) == ([], [])
    assert regions(second[0]) == made and len(made) == 2
    with reading(engine) as session:
        said = descriptions_of(session, image_ids=second, recipe=SHEETS.works()[0].recipe)[second[0]]
        found = regions_of(session, image_ids=second)[second[0]]
    assert [row.description_id for row in found] == [each.id for each in said]


def test_a_region_whose_history_is_lost_is_looked_for_anew(engine: Engine, tmp_path: Path) -> None:
    first = sheets(engine, tmp_path, 2)
    run(engine, SHEETS, StubDescriber(), StubLocalizer())
    with transaction(engine) as session:
        regions_of(session, image_ids=first)[first[1]][0].version = 3
    second = sheets(engine, tmp_path, 2, name="others")
    describer, localizer = StubDescriber(), StubLocalizer()
    run(engine, replace(SHEETS, dataset="others"), describer, localizer)
    assert (describer.asked, localizer.asked) == ([], [second[1]])


def test_a_vocabulary_is_looked_for_without_describing(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 3)
    config = replace(SHEETS, describer=DescriberChoice("vocabulary", vocabulary=("dog", "cat")))
    describer, localizer = StubDescriber(), StubLocalizer()
    run(engine, config, describer, localizer)
    assert (describer.asked, localizer.asked, [work.stage for work in config.works()]) == ([], ids, ["localize"])
    with reading(engine) as session:
        found = regions_of(session, image_ids=ids, recipe=config.works()[0].recipe)
    assert {row.text for row in found[ids[0]]} == {"dog", "cat"}


@pytest.mark.slow
def test_killed_again_and_again_no_picture_is_lost_or_doubled(tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path / 'kill.sqlite'}", tmp_path / "said.txt"
    engine = open_engine(url)
    ids = sheets(engine, tmp_path, 200)
    log.touch()
    kills, done = 0, False
    while not done:
        program = [sys.executable, "-m", "benchmarks.stub_annotators", url, "worker", str(log), "0.01"]
        before = log.stat().st_size
        with subprocess.Popen(program, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as worker:
            while worker.poll() is None and not (kills < 6 and log.stat().st_size > before + 40):
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(0.002)
            done = worker.poll() is not None
            if not done:
                worker.send_signal(signal.SIGKILL)
                kills += 1
    assert kills == 6
    assert rows(engine, StageResult) == 2 * len(ids) and rows(engine, RegionRow) == rows(engine, Description) == 400
    assert set(map(int, log.read_text().split())) == set(ids)


def test_a_worker_that_slept_past_its_lease_writes_nothing(engine: Engine, tmp_path: Path) -> None:
    ids = sheets(engine, tmp_path, 4)
    quick = replace(SHEETS, lease_seconds=0.3)
    late = StubDescriber()

    def sleep(image: Image.Image) -> None:
        """While the first worker is at its first picture, its lease runs out and a second one does everything."""
        if not late.asked and image.info[ROW].id == ids[0]:
            with transaction(engine) as session:
                session.exec(delete(ImageLease))
            assert annotate(engine, SHEETS, stubs(StubDescriber(), StubLocalizer()), worker="second") == "done"

    late.behave = sleep
    assert annotate(engine, quick, stubs(late, StubLocalizer()), worker="first") == "done"
    assert rows(engine, StageResult) == 2 * len(ids)
    with reading(engine) as session:
        runs = list_runs(session, dataset_id=1)
        told = {run.id: sum(tally.pictures for tally in run_tallies(session, run_id=run.id)) for run in runs}
    assert sorted(told.values()) == [0, 8], "the late results count nowhere"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    return write_world(WorldConfig(out=out, images=0, held_out_images=8, classes=1, novel_images_per_class=1, seed=5))


def test_the_sample_worlds_annotators_say_the_truth_and_lie_at_the_chosen_rate(
    engine: Engine, world: Path, tmp_path: Path
) -> None:
    ingest(engine, world, dataset="world", home=tmp_path, processes=1)
    choices: dict[str, Any] = {"describer": DescriberChoice("sample"), "localizer": LocalizerChoice("sample")}
    honest = AnnotateConfig("world", **choices)
    liar = replace(honest, sample=SampleConfig(wrong=1.0, shifted=1.0, seed=1))
    for config in (honest, liar):
        assert annotate(engine, config, AnnotatorFactory.of(config), worker="w") == "done"
    with reading(engine) as session:
        images = [image for image in image_page(session, dataset_id=1) if image.member.startswith("held_out")]
        ids = [image.id for image in images]
        true, false = (regions_of(session, image_ids=ids, recipe=config.works()[1].recipe) for config in (honest, liar))
    assert len(images) == 8
    for image in images:
        scene = render_scene("held_out", seed=5, index=int(image.member.split("-")[1].split(".")[0]), classes=1)
        truth = {region.text: region.box_xyxy for region in scene.regions}
        found = {row.text: (row.x1, row.y1, row.x2, row.y2) for row in true[image.id]}
        assert found.keys() == truth.keys()
        assert all(found[text] == pytest.approx(box, abs=1e-5) for text, box in truth.items())
        assert {row.text for row in false[image.id]}.isdisjoint(truth)
        assert {row.source for row in false[image.id]} == {SampleLocalizer.name}


def test_the_sample_worlds_annotators_refuse_other_pictures(engine: Engine, tmp_path: Path) -> None:
    sheets(engine, tmp_path, 2)
    config = AnnotateConfig("sheets", DescriberChoice("sample"), LocalizerChoice("sample"))
    with pytest.raises(UserError, match=r"know its pictures alone, and .*00000\.png is none of them"):
        annotate(engine, config, AnnotatorFactory.of(config), worker="w")


@pytest.mark.slow
def test_the_photo_annotators_write_what_they_measure() -> None:
    with Image.open(ROOT / "app" / "ground" / "example_pictures" / "camera.jpg") as file:
        image = file.convert("RGB")
    config = AnnotateConfig("x", **OFFLINE)
    trial = try_picture(config, AnnotatorFactory.of(config), image)
    assert trial.described is not None and trial.described.subject == "person"
    assert "person" in trial.described.descriptions[0] and "grey" not in trial.described.subject
    assert trial.regions is not None and trial.texts is not None
    person = next(region for region in trial.regions.kept if "person" in region.text)
    assert person.xyxy == pytest.approx((0.02, 0.13, 0.62, 1.0), abs=0.05) and 0.5 <= person.score <= 1
    assert set(trial.seconds) == {"describe", "localize"}


def test_what_is_missing_is_said_before_anything_begins(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no data set 'nowhere' .*python -m curation.ingest"):
        plan(engine, replace(SHEETS, dataset="nowhere"))
    sheets(engine, tmp_path, 1)
    with pytest.raises(UserError, match=r"hf download no/such-llava"):
        plan(
            engine, AnnotateConfig("sheets", DescriberChoice("llava", model="no/such-llava"), LocalizerChoice("photo"))
        )
    with pytest.raises(ValueError, match="needs its address"):
        DescriberChoice("server")
    with pytest.raises(ValueError, match="vocabulary is empty"):
        DescriberChoice("vocabulary", vocabulary=(" ",))
    with pytest.raises(ValueError, match="begins with a dash"):
        DescriberChoice("vocabulary", vocabulary=("dog", "--x"))


@pytest.mark.parametrize(
    "config",
    [
        AnnotateConfig("-rf $(x)\n"),
        AnnotateConfig("a", DescriberChoice("vocabulary", vocabulary=("x $(y)", "a dog")), LocalizerChoice("sample")),
        AnnotateConfig(
            "b",
            DescriberChoice(
                "server", model="m", server="http://h/v1", ask=DescribeConfig("single-stage-1", caption=False)
            ),
            LocalizerChoice("owlv2", boxes=LocalizeConfig(threshold=0.15, exclusive=True)),
            SampleConfig(wrong=0.25),
            batch=2,
        ),
    ],
)
def test_the_command_line_says_the_very_settings(config: AnnotateConfig) -> None:
    words = command_line(config)
    assert words[:2] == ["-m", "curation.annotate"]
    assert tyro.cli(AnnotateConfig, args=words[2:]) == config


def test_a_recipe_hears_every_setting_that_changes_a_result_and_no_other() -> None:
    base = AnnotateConfig("a", **OFFLINE)
    same = replace(base, dataset="b", batch=1, attempts=9, lease_seconds=1.0, sample=SampleConfig(wrong=0.5))
    assert same.works() == base.works()
    stricter = replace(base, localizer=LocalizerChoice("photo", boxes=LocalizeConfig(threshold=0.31)))
    assert stricter.works()[0] == base.works()[0] and stricter.works()[1] != base.works()[1]
    one, two = (
        AnnotateConfig("a", DescriberChoice("sample"), LocalizerChoice("sample"), SampleConfig(seed=seed)).works()
        for seed in (1, 2)
    )
    assert one[0].recipe != two[0].recipe and one[1].needs == one[0].recipe
    ints = SampleConfig(wrong=0, shifted=0)  # as a page's slider sends them
    config = AnnotateConfig("a", DescriberChoice("sample"), LocalizerChoice("sample"), ints)
    assert config.works() == replace(config, sample=SampleConfig()).works()


def test_lies_follow_from_the_seed_and_the_picture(world: Path) -> None:
    shard = next(path for path in sorted(world.glob("held_out-*.tar")))
    image = Image.new("RGB", (8, 8))
    image.info[ROW] = Picture(
        dataset_id=1, sha256="0" * 64, width=8, height=8, location=str(shard), member="held_out-0000000.jpg"
    )
    once, again = (SampleDescriber(SampleConfig(wrong=0.5, seed=3)).describe([image])[0] for _ in range(2))
    assert once == again
    texts = [SampleDescriber(SampleConfig(wrong=0.5, seed=seed)).describe([image])[0].descriptions for seed in range(9)]
    assert len(set(texts)) > 1
