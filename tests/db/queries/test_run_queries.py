"""Runs, leases and stage results, on both databases. Time stands still: every moment is given."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session, select

from db.engine import reading, retrying, transaction
from db.models import AnnotationRun, ImageLease
from db.queries.data_set_queries import add_images, create_dataset
from db.queries.gallery_queries import curate_page
from db.queries.lease_queries import (
    LeasedImages,
    LeaseLostError,
    first_unfinished,
    lease_images,
    release_lease,
    release_worker,
    renew_lease,
)
from db.queries.region_queries import NewRegion, regions_of
from db.queries.run_queries import (
    FailureGroup,
    StageCounts,
    StageTally,
    failures_by_reason,
    list_runs,
    plan_counts,
    run_of_job,
    run_tallies,
    set_run_state,
    start_run,
)
from db.queries.stage_result_queries import (
    NewStageResult,
    descriptions_of,
    equal_work,
    save_stage_result,
    stage_result,
    stage_result_page,
    stage_results_of,
)
from tests.support.databases import filled, sha, some_images

DESCRIBE, LOCALIZE = sha(0xDE), sha(0x10)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
LEASE: dict[str, Any] = {"recipe": DESCRIBE, "worker": "a", "count": 4, "lease_seconds": 60.0, "moment": NOON}
LLAVA, OWL = "llava-hf/llava-v1.6-mistral-7b-hf@abc", "google/owlv2-base-patch16-ensemble@def"


def said(image_id: int, **changes: Any) -> NewStageResult:
    """What a describer made of a picture of the data set 1."""
    result = NewStageResult(
        dataset_id=1,
        image_id=image_id,
        key=sha(image_id),
        recipe=DESCRIBE,
        stage="describe",
        source=LLAVA,
        state="done",
        raw=("a lid", "- red\n- round"),
        subject="a lid",
        caption="a lid on a table",
        seconds=0.5,
        tokens=20,
        descriptions=("a red lid", "a round lid"),
    )
    return replace(result, **changes)


def found(image_id: int, **changes: Any) -> NewStageResult:
    """What a localizer made of it."""
    region = NewRegion(image_id=image_id, xyxy=(0.1, 0.1, 0.9, 0.9), text="a red lid", source=OWL, score=0.5)
    result = NewStageResult(
        dataset_id=1,
        image_id=image_id,
        key=sha(0x1000 + image_id),
        recipe=LOCALIZE,
        stage="localize",
        source=OWL,
        state="done",
        seconds=0.25,
        regions=(region,),
    )
    return replace(result, **changes)


def ids(claim: LeasedImages) -> list[int]:
    return [image.id for image in claim.images]


def do(session: Session, *results: NewStageResult, **lease: Any) -> None:
    """Lease and save at once, as a worker without trouble does."""
    for result in results:
        at: dict[str, Any] = {
            "dataset_id": 1,
            "recipe": result.recipe,
            "run_id": result.run_id,
            "after": result.image_id - 1,
        }
        claim = lease_images(session, **(LEASE | at | {"count": 1} | lease))
        assert ids(claim) == [result.image_id]
        save_stage_result(session, result=result, token=claim.token, moment=NOON)


def test_a_result_comes_back_with_its_descriptions_in_order(engine: Engine) -> None:
    filled(engine, pictures=2)
    with transaction(engine) as session:
        do(session, said(1, raw=("\0<img onerror>\ud800", "=cmd()"), subject="a\0lid"))
    with reading(engine) as session:
        result = stage_result(session, image_id=1, recipe=DESCRIBE)
        assert result is not None
        assert (result.state, result.raw, result.attempts) == ("done", ["\0<img onerror>\ud800", "=cmd()"], 1)
        assert (result.subject, result.caption) == ("a\ufffdlid", "a lid on a table")
        assert (result.seconds, result.tokens, result.source) == (0.5, 20, LLAVA)
        assert stage_result(session, image_id=2, recipe=DESCRIBE) is None
        assert stage_result(session, image_id=1, recipe=LOCALIZE) is None
        assert stage_results_of(session, image_ids=[1, 2], recipe=DESCRIBE) == {1: result}
        spoken = descriptions_of(session, image_ids=[1, 2], recipe=DESCRIBE)
    assert {image_id: [d.text for d in given] for image_id, given in spoken.items()} == {
        1: ["a red lid", "a round lid"],
        2: [],
    }


def test_regions_belong_to_the_recipe_that_found_them(engine: Engine) -> None:
    filled(engine, pictures=1)
    lower = sha(0x11)
    with transaction(engine) as session:
        do(session, said(1), found(1), found(1, recipe=lower))  # the same box, at another threshold
    with reading(engine) as session:
        for recipe in (LOCALIZE, lower):
            assert len(regions_of(session, image_ids=[1], recipe=recipe)[1]) == 1
        assert len(curate_page(session, dataset_id=1).regions) == 2


def test_claims_go_through_the_pictures_and_never_overlap(engine: Engine) -> None:
    filled(engine, pictures=10)
    with transaction(engine) as session:
        claims = [lease_images(session, dataset_id=1, **LEASE) for _ in range(4)]
    assert [ids(claim) for claim in claims] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    assert len({claim.token for claim in claims}) == 4
    assert {claim.expires_at for claim in claims} == {NOON + timedelta(minutes=1)}


def test_a_claim_starts_after_a_picture_and_keeps_to_its_data_set_and_recipe(engine: Engine) -> None:
    filled(engine, pictures=5)
    with transaction(engine) as session:
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=some_images(range(2)))
        assert ids(lease_images(session, dataset_id=1, after=2, **LEASE)) == [3, 4, 5]
        assert ids(lease_images(session, dataset_id=other, **LEASE)) == [6, 7]
        assert ids(lease_images(session, dataset_id=1, **(LEASE | {"recipe": LOCALIZE}))) == [1, 2, 3, 4]


def test_what_is_done_or_quarantined_is_not_claimed_again(engine: Engine) -> None:
    filled(engine, pictures=4)
    with transaction(engine) as session:
        failed = said(3, state="failed", reason="no answer", descriptions=())
        do(session, said(1), said(2, state="quarantined", reason="no list", descriptions=()), failed)
        assert ids(lease_images(session, dataset_id=1, **LEASE)) == [3, 4]


def test_boxes_are_looked_for_only_where_descriptions_are_done(engine: Engine) -> None:
    filled(engine, pictures=4)
    with transaction(engine) as session:
        do(session, said(1), said(2, state="quarantined", reason="no list", descriptions=()), said(4))
        claim = lease_images(session, dataset_id=1, needs=DESCRIBE, **(LEASE | {"recipe": LOCALIZE}))
    assert ids(claim) == [1, 4]


def test_what_failed_is_left_by_its_run_and_tried_by_the_next(engine: Engine) -> None:
    filled(engine, pictures=1)
    failed = said(1, state="failed", reason="no answer", descriptions=())
    with transaction(engine) as session:
        first = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE})
        do(session, replace(failed, run_id=first.id))
        assert ids(lease_images(session, dataset_id=1, run_id=first.id, **LEASE)) == []
        do(session, replace(failed, run_id=first.id), max_attempts=2)
        assert ids(lease_images(session, dataset_id=1, run_id=first.id, max_attempts=2, **LEASE)) == []
        second = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE})
        do(session, said(1, run_id=second.id))
        result = stage_result(session, image_id=1, recipe=DESCRIBE)
        assert result is not None
        assert (result.state, result.reason, result.attempts, result.run_id) == ("done", "", 1, second.id)


def test_a_run_gives_up_though_the_clock_was_set_back(engine: Engine) -> None:
    filled(engine, pictures=1)
    with transaction(engine) as session:
        run = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE})
        run.created_at += timedelta(hours=1)  # so seen, it begins in the future
        failed = said(1, state="failed", reason="no answer", descriptions=(), run_id=run.id)
        do(session, failed, failed, max_attempts=2)
        assert ids(lease_images(session, dataset_id=1, run_id=run.id, max_attempts=2, **LEASE)) == []
        assert first_unfinished(session, dataset_id=1, recipe=DESCRIBE, run_id=run.id, max_attempts=2) is None


def test_a_worker_that_wakes_up_past_its_lease_writes_nothing(engine: Engine) -> None:
    filled(engine, pictures=1)
    with transaction(engine) as session:
        paused = lease_images(session, dataset_id=1, **LEASE)
    late = NOON + timedelta(seconds=61)
    for moment in (NOON + timedelta(seconds=60), late):
        with pytest.raises(LeaseLostError, match="picture 1 has run out or went to another"), transaction(engine) as s:
            save_stage_result(s, result=said(1), token=paused.token, moment=moment)
    with transaction(engine) as session:
        other = lease_images(session, dataset_id=1, **(LEASE | {"worker": "b", "moment": late}))
        assert ids(other) == [1]
        save_stage_result(session, result=said(1, subject="b's lid"), token=other.token, moment=late)
    with pytest.raises(LeaseLostError), transaction(engine) as session:
        save_stage_result(session, result=said(1, subject="a's lid"), token=paused.token, moment=NOON)
    with reading(engine) as session:
        result = stage_result(session, image_id=1, recipe=DESCRIBE)
        assert result is not None and result.subject == "b's lid"
        assert len(descriptions_of(session, image_ids=[1], recipe=DESCRIBE)[1]) == 2


def test_a_picture_that_was_not_claimed_is_not_written(engine: Engine) -> None:
    filled(engine, pictures=1)
    with pytest.raises(LeaseLostError), transaction(engine) as session:
        save_stage_result(session, result=said(1), token="made up")


def test_a_lease_can_be_held_longer_until_it_has_run_out(engine: Engine) -> None:
    filled(engine, pictures=3)
    with transaction(engine) as session:
        claim = lease_images(session, dataset_id=1, **LEASE)
        save_stage_result(session, result=said(1), token=claim.token, moment=NOON)
        almost, later = NOON + timedelta(seconds=59), NOON + timedelta(seconds=100)
        assert renew_lease(session, token=claim.token, lease_seconds=60, moment=almost) == 2
        assert ids(lease_images(session, dataset_id=1, **(LEASE | {"moment": later}))) == []
        assert renew_lease(session, token=claim.token, lease_seconds=60, moment=later + timedelta(seconds=60)) == 0


def test_what_is_given_back_can_be_claimed_at_once(engine: Engine) -> None:
    filled(engine, pictures=6)
    with transaction(engine) as session:
        claim = lease_images(session, dataset_id=1, **LEASE)
        lease_images(session, dataset_id=1, **(LEASE | {"worker": "b", "count": 1}))
        assert {each.expires_at for each in session.exec(select(ImageLease))} == {NOON + timedelta(minutes=1)}
        assert release_lease(session, token=claim.token) == 4
        assert ids(lease_images(session, dataset_id=1, **LEASE)) == [1, 2, 3, 4]
        assert release_worker(session, worker="a") == 4
        assert release_worker(session, worker="b") == 1
        assert session.exec(select(ImageLease)).first() is None
    with pytest.raises(LeaseLostError), transaction(engine) as session:
        save_stage_result(session, result=said(1), token=claim.token, moment=NOON)


def test_workers_at_once_share_the_pictures_out_and_every_result_is_kept_once(engine: Engine) -> None:
    filled(engine, pictures=40)
    start = threading.Barrier(4)

    def work(worker: str) -> list[int]:
        mine: list[int] = []
        start.wait()
        while True:
            with transaction(engine) as session:
                claim = lease_images(session, dataset_id=1, **(LEASE | {"worker": worker}))
            if not claim.images:
                return mine
            for image in claim.images:
                with transaction(engine) as session:
                    save_stage_result(session, result=said(image.id), token=claim.token, moment=NOON)
                mine.append(image.id)

    with ThreadPoolExecutor(4) as workers:
        shares = list(workers.map(work, "abcd"))
    assert sorted(image_id for share in shares for image_id in share) == list(range(1, 41))
    with reading(engine) as session:
        assert plan_counts(session, dataset_id=1, recipes=[DESCRIBE]) == {DESCRIBE: StageCounts(done=40)}
        spoken = descriptions_of(session, image_ids=range(1, 41), recipe=DESCRIBE)
        assert {len(given) for given in spoken.values()} == {2}


def test_on_postgres_a_claim_does_not_wait_for_another_that_is_open(postgres_engine: Engine) -> None:
    filled(postgres_engine, pictures=6)
    with transaction(postgres_engine) as one, transaction(postgres_engine) as two:
        assert ids(lease_images(one, dataset_id=1, **LEASE)) == [1, 2, 3, 4]
        two.connection().execute(text("SET LOCAL lock_timeout = '1s'"))
        assert ids(lease_images(two, dataset_id=1, **LEASE)) == [5, 6]


def test_saving_again_after_a_cut_commit_adds_nothing(postgres_engine: Engine) -> None:
    filled(postgres_engine, pictures=1)
    with transaction(postgres_engine) as session:
        run_id = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE}).id
        token = lease_images(session, dataset_id=1, **LEASE).token
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(len(tries))
        if len(tries) > 1:
            save_stage_result(session, result=said(1, run_id=run_id), token=token, moment=NOON)
            return
        with transaction(postgres_engine) as arrived:  # the commit arrives, and its answer does not
            save_stage_result(arrived, result=said(1, run_id=run_id), token=token, moment=NOON)
        session.connection().execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    retrying(postgres_engine, work)
    assert tries == [0, 1]
    with reading(postgres_engine) as session:
        assert [(tally.state, tally.pictures) for tally in run_tallies(session, run_id=run_id)] == [("done", 1)]
        assert len(descriptions_of(session, image_ids=[1], recipe=DESCRIBE)[1]) == 2


def test_a_result_is_kept_with_all_its_regions_or_not_at_all(engine: Engine) -> None:
    filled(engine, pictures=1)
    [good] = found(1).regions
    with transaction(engine) as session:
        claim = lease_images(session, dataset_id=1, **(LEASE | {"recipe": LOCALIZE}))
    bad = found(1, regions=(good, replace(good, xyxy=(0.0, 0.0, 640.0, 480.0))))
    with pytest.raises(ValueError, match="divide pixels by the picture's size"), transaction(engine) as session:
        save_stage_result(session, result=bad, token=claim.token, moment=NOON)
    with transaction(engine) as session:
        assert stage_result(session, image_id=1, recipe=LOCALIZE) is None
        save_stage_result(session, result=found(1), token=claim.token, moment=NOON)
        assert len(curate_page(session, dataset_id=1).regions) == 1


def test_a_run_counts_pictures_by_their_last_state_and_all_time_spent(engine: Engine) -> None:
    filled(engine, pictures=3)
    with transaction(engine) as session:
        run_id = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE}).id
        failed = said(1, state="failed", reason="no answer", descriptions=(), run_id=run_id)
        do(session, failed, said(2, run_id=run_id), said(3, run_id=run_id), found(3, run_id=run_id))
        do(session, said(1, run_id=run_id), max_attempts=2, worker="b")
        do(session, found(1, run_id=run_id, copied=True))  # it took no time
    with reading(engine) as session:
        assert run_tallies(session, run_id=run_id) == [
            StageTally("describe", "done", 3, 1.5, 60),
            StageTally("describe", "failed", 0, 0.5, 20),
            StageTally("localize", "done", 1, 0.25, 0),
        ]


def test_two_runs_at_a_time_give_up_together_and_a_later_one_tries_again(engine: Engine) -> None:
    """Whoever failed last is counted by both: else each would take the other's failure for a first one, for ever."""
    filled(engine, pictures=1)

    def begin() -> int:
        with transaction(engine) as session:
            return start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE}).id

    def fails(run_id: int) -> bool:
        open_to: dict[str, Any] = {"dataset_id": 1, "recipe": DESCRIBE, "run_id": run_id, "max_attempts": 2}
        with transaction(engine) as session:
            claim = lease_images(session, **open_to, worker=f"{run_id}", count=1, lease_seconds=60.0)
            if not claim.images:
                assert first_unfinished(session, **open_to) is None
                return False
            failed = said(1, state="failed", reason="no answer", descriptions=(), run_id=run_id)
            save_stage_result(session, result=failed, token=claim.token)
            return True

    first = begin()
    assert fails(first) and fails(first) and not fails(first)
    second = begin()  # while the first goes on
    tries = [fails(run_id) for run_id in (second, first, second, first, second, first)]
    assert tries == [True, True, False, False, False, False]
    third = begin()
    assert [fails(third) for _ in range(3)] == [True, True, False]
    with reading(engine) as session:
        assert [tally.pictures for tally in run_tallies(session, run_id=third)] == [1]


def test_failures_are_grouped_by_reason_the_commonest_first(engine: Engine) -> None:
    filled(engine, pictures=6)
    with transaction(engine) as session:
        run_id = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE}).id
        for image_id, state, reason in [
            (1, "failed", "no answer"),
            (2, "quarantined", "no list"),
            (3, "done", ""),
            (4, "quarantined", "no list"),
            (5, "quarantined", "no answer"),
        ]:
            do(session, said(image_id, state=state, reason=reason, descriptions=(), run_id=run_id))
        do(session, said(6, state="failed", reason="another run's", descriptions=()))
    with reading(engine) as session:
        assert failures_by_reason(session, run_id=run_id) == [
            FailureGroup("describe", "quarantined", "no list", 2, 2),
            FailureGroup("describe", "failed", "no answer", 1, 1),
            FailureGroup("describe", "quarantined", "no answer", 1, 5),
        ]
        assert len(failures_by_reason(session, run_id=run_id, limit=1)) == 1


def test_a_plan_counts_each_recipe_within_its_data_set(engine: Engine) -> None:
    filled(engine, pictures=3)
    with transaction(engine) as session:
        do(session, said(1), said(2, state="quarantined", reason="no list", descriptions=()), found(1))
    with reading(engine) as session:
        assert plan_counts(session, dataset_id=1, recipes=[DESCRIBE, LOCALIZE, sha(5)]) == {
            DESCRIBE: StageCounts(done=1, quarantined=1),
            LOCALIZE: StageCounts(done=1),
            sha(5): StageCounts(),
        }
        assert plan_counts(session, dataset_id=2, recipes=[DESCRIBE]) == {DESCRIBE: StageCounts()}
        assert plan_counts(session, dataset_id=1, recipes=[]) == {}


def test_equal_work_is_found_by_its_key_once_it_is_done(engine: Engine) -> None:
    filled(engine, pictures=2)
    with transaction(engine) as session:
        do(session, said(1), said(2, state="failed", reason="no answer", descriptions=()))
        do(session, found(2, key=sha(1)))
        done = equal_work(session, keys=[sha(1), sha(2), sha(3)])
        assert {key: (result.image_id, result.recipe) for key, result in done.items()} == {sha(1): (1, DESCRIBE)}
        assert equal_work(session, keys=[]) == {}


def test_results_in_one_state_are_paged_in_the_order_of_their_pictures(engine: Engine) -> None:
    filled(engine, pictures=7)
    with transaction(engine) as session:
        do(session, *(said(image_id) for image_id in (5, 1, 7, 3, 2)), found(4))
        do(session, said(6, state="quarantined", reason="no list", descriptions=()))
    page: dict[str, Any] = {"dataset_id": 1, "recipe": DESCRIBE, "state": "done"}
    with reading(engine) as session:
        first = stage_result_page(session, **page, limit=3)
        rest = stage_result_page(session, **page, after=first[-1].image_id)
        assert [result.image_id for result in [*first, *rest]] == [1, 2, 3, 5, 7]
        last = stage_result_page(session, **page, backwards=True, limit=3)
        before = stage_result_page(session, **page, after=last[-1].image_id, backwards=True)
        assert [result.image_id for result in [*last, *before]] == [7, 5, 3, 2, 1]
        assert [r.reason for r in stage_result_page(session, **(page | {"state": "quarantined"}))] == ["no list"]
        assert list(stage_result_page(session, **(page | {"dataset_id": 2}))) == []


def test_the_first_unfinished_picture_is_told_whoever_holds_it(engine: Engine) -> None:
    filled(engine, pictures=4)
    at: dict[str, Any] = {"dataset_id": 1, "recipe": DESCRIBE}
    with transaction(engine) as session:
        run_id = start_run(session, dataset_id=1, config={}, recipes={"describe": DESCRIBE}).id
        do(session, said(1), said(2, state="failed", reason="no answer", descriptions=(), run_id=run_id))
        lease_images(session, dataset_id=1, **LEASE)
    with reading(engine) as session:
        assert first_unfinished(session, **at) == 2
        assert first_unfinished(session, **at, run_id=run_id) == 3
        assert first_unfinished(session, **at, run_id=run_id, max_attempts=2) == 2
        assert first_unfinished(session, **at, after=3) == 4
        assert first_unfinished(session, **at, after=4) is None
        assert first_unfinished(session, dataset_id=1, recipe=LOCALIZE, needs=DESCRIBE) == 1
        assert first_unfinished(session, dataset_id=1, recipe=LOCALIZE, needs=DESCRIBE, after=1) is None


def test_runs_are_listed_newest_first_and_keep_their_state(engine: Engine) -> None:
    filled(engine, pictures=0)
    with transaction(engine) as session:
        first = start_run(session, dataset_id=1, config={"threshold": 0.3}, recipes={"localize": LOCALIZE})
        second = start_run(session, dataset_id=1, config={}, recipes={})
        set_run_state(session, run_id=first.id, state="done")
        set_run_state(session, run_id=second.id, state="paused")
    with reading(engine) as session:
        assert [run.id for run in list_runs(session, dataset_id=1)] == [second.id, first.id]
        ended = session.get(AnnotationRun, first.id)
        assert ended is not None and ended.ended_at is not None
        assert (ended.state, ended.config, ended.recipes) == ("done", {"threshold": 0.3}, {"localize": LOCALIZE})
        assert run_of_job(session, job_id=1) is None


def test_a_run_that_is_not_there_or_has_no_recipe_hash_is_refused(engine: Engine) -> None:
    filled(engine, pictures=0)
    with pytest.raises(ValueError, match="expected the id of a run, got 99"), transaction(engine) as session:
        set_run_state(session, run_id=99, state="done")
    with pytest.raises(ValueError, match="localize must be 64"), transaction(engine) as session:
        start_run(session, dataset_id=1, config={}, recipes={"localize": "threshold 0.3"})


def test_the_settings_of_a_run_cannot_change(engine: Engine) -> None:
    filled(engine, pictures=0)
    with transaction(engine) as session:
        run_id = start_run(session, dataset_id=1, config={"threshold": 0.3}, recipes={}).id
    with pytest.raises(ValueError, match="config of AnnotationRun 1 cannot change"), transaction(engine) as session:
        run = session.get(AnnotationRun, run_id)
        assert run is not None
        run.config = {"threshold": 0.1}
