"""Claims judged once, kills, other thresholds, people's verdicts, the sample, rules, policies; on both databases."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tyro
from PIL import Image
from sqlalchemy import func
from sqlmodel import select

from benchmarks.stub_annotators import StubDescriber, StubLocalizer, stubs
from curation.annotate.annotate import annotate
from curation.annotate.annotate import main as annotate_main
from curation.annotate.describe import DescribeConfig
from curation.annotate.registry import DescriberChoice, LocalizerChoice, StageWork
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.audit.audit import AuditConfig, audit, command_line
from curation.audit.audit import main as audit_main
from curation.audit.claim_judge import Judge, Weights
from curation.audit.description_runs import audited_description_runs
from curation.audit.evidence import WitnessKind
from curation.audit.independence import NOBODY, Independence
from curation.audit.judges import Basis, rejudge, rejudge_audits
from curation.audit.reject import count_touched, reject
from curation.audit.sources import Auditor, SourceChoice, absent_things, shipped_judge
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.files.home import database_url
from curation.ingest.ingest import ingest
from db.engine import Engine, open_engine, reading, transaction
from db.models import AuditedClaim, AuditSample, RegionEdit, RegionRow, StageResult
from db.queries.audit_queries import (
    ClaimFilter,
    ClaimKey,
    audit_runs,
    claim_page,
    claims_of,
    counts_by,
    set_claim_verdict,
    take_back_verdict,
)
from db.queries.audit_queries import regions_of_descriptions as regions_of
from db.queries.audit_sample_queries import (
    SampleJudgement,
    draw_sample,
    next_to_judge,
    sample_judgements,
    sample_size,
    shares_of,
)
from db.queries.data_set_queries import get_dataset
from tests.support.fake_openai import COLOURS, fake_openai
from user_errors import UserError

DESCRIBED = AnnotateConfig("sheets", DescriberChoice("photo"), LocalizerChoice("photo"), batch=4)
CONFIG = AuditConfig("sheets", sources=SourceChoice(detector="sample", checkpoint=""), batch=4)
JUDGE = Judge("by hand", 0.3, 0.7, {"detector": {"any": Weights(0.0, (0.0, 1.0, 0.0))}})  # the margin alone


class Detector:
    """Scores a text by its own rule: things are there, colours are not."""

    kind: WitnessKind = "detector"
    fills = False
    name = "stub@1"

    def __init__(self, break_at: int = -1) -> None:
        self.pictures = 0
        self._break_at = break_at

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float | None]]:
        self.pictures += len(images)
        if 0 <= self._break_at <= self.pictures:
            raise KeyboardInterrupt
        return [[3.0 if text in ("a corner", "a sheet") else 0.0 for text in each] for each in texts]


def described(engine: Engine, folder: Path, count: int = 6) -> int:
    """A described data set "sheets"; its id."""
    place = folder / "sheets"
    place.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 30), (number, 0, 200)).save(place / f"{number:05d}.png")
    ingest(engine, place, dataset="sheets", home=folder / "home", processes=1)
    annotate(engine, DESCRIBED, stubs(StubDescriber(), StubLocalizer()), worker="test")
    with reading(engine) as session:
        dataset = get_dataset(session, name="sheets")
    assert dataset is not None
    return dataset.id


def run(engine: Engine, detector: Detector, config: AuditConfig = CONFIG) -> str:
    return audit(
        engine, config, worker="test", make=lambda things: Auditor((detector,), None, JUDGE, (*things, "whale"))
    )


def count(engine: Engine, table: type) -> int:
    with reading(engine) as session:
        return session.exec(select(func.count()).select_from(table)).one()


def recipe_of(engine: Engine, dataset_id: int) -> str:
    with reading(engine) as session:
        return audit_runs(session, dataset_id=dataset_id)[0].recipes["audit"]


def test_every_claim_is_judged_once_and_asking_again_does_nothing(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path)
    detector = Detector()
    assert run(engine, detector) == "done"
    assert detector.pictures == 6
    recipe = recipe_of(engine, dataset_id)
    claims, results = count(engine, AuditedClaim), count(engine, StageResult)
    assert (claims >= 12, results) == (True, 18)
    assert run(engine, detector) == "done"
    assert (detector.pictures, count(engine, AuditedClaim), count(engine, StageResult)) == (6, claims, results)
    with reading(engine) as session:
        page = claim_page(session, dataset_id=dataset_id, recipe=recipe, limit=100)
        mine = claims_of(session, image_ids=[page[0].image.id], recipe=recipe)[page[0].image.id]
        regions = regions_of(session, description_ids=[page[0].claim.description_id])
    probabilities = [row.claim.probability for row in page]
    scored = sorted(each for each in probabilities if each is not None)
    assert probabilities == [*scored, *[None] * (len(probabilities) - len(scored))], "without a score they come last"
    assert {row.claim.words: row.claim.verdict for row in mine}["corner"] == "supported"
    [evidence] = next(row.claim.evidence for row in mine if row.claim.words == "corner")
    assert (evidence["score"], evidence["counter"], evidence["source"]) == (3.0, 0.0, "detector")
    assert [region.text for region in regions[page[0].claim.description_id]] == [page[0].text]


def test_a_kill_loses_no_finished_picture_and_doubles_none(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path, 10)
    with pytest.raises(KeyboardInterrupt):
        run(engine, Detector(break_at=8))
    before = count(engine, AuditedClaim)
    detector = Detector()
    assert run(engine, detector) == "done"
    assert detector.pictures == 6, "four were written before the kill"
    assert count(engine, AuditedClaim) * 4 == before * 10
    recipe = recipe_of(engine, dataset_id)
    with reading(engine) as session:
        group = counts_by(session, dataset_id=dataset_id, recipe=recipe, group="kind")
    assert sum(each.supported + each.unsupported + each.cannot_tell for each in group) == count(engine, AuditedClaim)


def test_another_judge_needs_no_model_and_people_stay_with_their_claims(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path)
    run(engine, Detector())
    first, whole = recipe_of(engine, dataset_id), count(engine, AuditedClaim)
    with transaction(engine) as session:
        drawn = draw_sample(session, dataset_id=dataset_id, recipe=first, count=12)
        claim_id = claim_page(session, dataset_id=dataset_id, recipe=first)[0].claim.id
        set_claim_verdict(session, claim_id=claim_id, who="ada", verdict="cannot tell")
    file = tmp_path / "strict.json"
    file.write_text(json.dumps(replace(JUDGE, low=0.0, high=1.0).to_json()))
    detector, strict = Detector(), replace(CONFIG, judge=str(file))
    assert run(engine, detector, strict) == "done" and detector.pictures == 0
    mine: dict[str, Any] = {"dataset_id": dataset_id, "recipe": recipe_of(engine, dataset_id)}
    with reading(engine) as session:
        page = claim_page(session, **mine, limit=100)
        assert sample_size(session, **mine) == drawn and sample_size(session, dataset_id=dataset_id, recipe=first) == 0
    assert mine["recipe"] != first and len(page) == whole == count(engine, AuditedClaim)
    assert {row.claim.verdict for row in page} == {"cannot tell"}
    assert {row.claim.id: row.claim.settled for row in page}[claim_id] == "cannot tell"
    assert run(engine, detector, replace(strict, sources=SourceChoice("photo", checkpoint=""))) == "done"
    assert detector.pictures == 6, "other sources are asked"
    basis, work = Basis("stub", "n"), StageWork("audit", "stub", "f" * 64)
    assert rejudge_audits(engine, dataset_id, basis=basis, judge=JUDGE) == Counter(), "nothing rests on that"
    changes = rejudge(engine, dataset_id=dataset_id, recipe=mine["recipe"], judge=JUDGE, into=work)
    assert changes.total() == whole and changes["cannot tell", "supported"] > 0


def test_a_sample_of_a_former_judge_stands_for_itself_once_more_is_drawn(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path, 20)
    run(engine, Detector())
    first, second = recipe_of(engine, dataset_id), StageWork("audit", "stub", "f" * 64)
    with transaction(engine) as session:
        drawn = draw_sample(session, dataset_id=dataset_id, recipe=first, count=20)
        for claim_id in session.exec(select(AuditSample.claim_id)):
            set_claim_verdict(session, claim_id=claim_id, who="ada", verdict="supported")
    rejudge(engine, dataset_id=dataset_id, recipe=first, judge=replace(JUDGE, low=0.99, high=1.0), into=second)
    mine: dict[str, Any] = {"dataset_id": dataset_id, "recipe": second.recipe}
    with reading(engine) as session:
        before = sample_judgements(session, **mine)
    assert sum(strata_of(before).values()) == count(engine, AuditedClaim), "it still stands for all"
    assert [each for each in before if each.fresh] == []
    with transaction(engine) as session:
        more = draw_sample(session, **mine, count=drawn + 20)
        for claim_id in session.exec(select(AuditSample.claim_id).where(AuditSample.recipe == second.recipe)):
            set_claim_verdict(session, claim_id=claim_id, who="ada", verdict="supported")
        after = sample_judgements(session, **mine)
    assert sum(each.fresh for each in after) == more > 0
    assert sum(population for name, population in strata_of(after).items() if "/ " + first[:8] in name) == drawn
    assert sum(strata_of(after).values()) == count(engine, AuditedClaim)


def strata_of(judged: Sequence[SampleJudgement]) -> dict[str, int]:
    """Stratum -> how many claims it stands for."""
    return {each.stratum: each.population for each in judged}


def test_what_is_not_described_cannot_be_audited(engine: Engine, tmp_path: Path) -> None:
    place = tmp_path / "plain"
    place.mkdir()
    Image.new("RGB", (8, 8)).save(place / "a.png")
    ingest(engine, place, dataset="plain", home=tmp_path / "home", processes=1)
    with pytest.raises(UserError, match="Nothing in 'plain' is described yet"):
        run(engine, Detector(), AuditConfig("plain", sources=CONFIG.sources))


def test_pages_go_on_where_they_ended_and_filters_hold(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path)
    run(engine, Detector())
    recipe = recipe_of(engine, dataset_id)
    with reading(engine) as session:
        whole = claim_page(session, dataset_id=dataset_id, recipe=recipe, limit=100)
        seen, after = [], None
        while page := claim_page(session, dataset_id=dataset_id, recipe=recipe, after=after, limit=5):
            seen += page
            after = ClaimKey(page[-1].claim.probability, page[-1].claim.id)
        wanted = ClaimFilter(verdicts=("supported",), kinds=("object",), words="CORN")
        some = claim_page(session, dataset_id=dataset_id, recipe=recipe, filters=wanted, limit=100)
        hopeless = claim_page(session, dataset_id=dataset_id, recipe=recipe, filters=ClaimFilter(words="%"), limit=100)
    assert [row.claim.id for row in seen] == [row.claim.id for row in whole]
    assert {row.claim.words for row in some} == {"corner"} and hopeless == []


def test_people_overrule_the_auditor_and_may_take_it_back(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path)
    run(engine, Detector())
    recipe = recipe_of(engine, dataset_id)
    with transaction(engine) as session:
        claim_id = claim_page(session, dataset_id=dataset_id, recipe=recipe)[0].claim.id
        set_claim_verdict(session, claim_id=claim_id, who="ada", verdict="supported")
        set_claim_verdict(session, claim_id=claim_id, who="ben", verdict="cannot tell", note="too small")
    with reading(engine) as session:
        spoken = claim_page(session, dataset_id=dataset_id, recipe=recipe, filters=ClaimFilter(settled=True))
        unsure = claim_page(
            session, dataset_id=dataset_id, recipe=recipe, filters=ClaimFilter(verdicts=("cannot tell",))
        )
    assert [(row.claim.id, row.claim.settled) for row in spoken] == [(claim_id, "cannot tell")]
    assert claim_id in [row.claim.id for row in unsure]
    with transaction(engine) as session:
        back = take_back_verdict(session, claim_id=claim_id, who="ben")
        assert back is not None and back.settled == "supported"
        last = take_back_verdict(session, claim_id=claim_id, who="ada")
        assert last is not None and last.settled is None
    with transaction(engine) as session, pytest.raises(ValueError, match="expected the id of a claim, got 0"):
        set_claim_verdict(session, claim_id=0, who="ada", verdict="supported")


def test_the_sample_is_handed_out_once_and_doubles_twice(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path)
    run(engine, Detector())
    recipe = recipe_of(engine, dataset_id)
    mine: dict[str, Any] = {"dataset_id": dataset_id, "recipe": recipe}
    with transaction(engine) as session:
        drawn = draw_sample(session, **mine, count=12, doubled=0.5, seed=1)
        assert draw_sample(session, **mine, count=12, seed=2) == 0, "it is there"
        assert drawn == sample_size(session, **mine) >= 12
    judged: dict[str, list[int]] = {"ada": [], "ben": [], "cy": []}
    for who, ids in judged.items():
        with transaction(engine) as session:
            after = -1
            while (found := next_to_judge(session, **mine, who=who, after=after)) is not None:
                after, row = found
                set_claim_verdict(session, claim_id=row.claim.id, who=who, verdict=row.claim.verdict)
                ids.append(row.claim.id)
    assert len(judged["ada"]) == drawn and 0 < len(judged["ben"]) < drawn and judged["cy"] == []
    assert set(judged["ben"]) < set(judged["ada"])
    with reading(engine) as session:
        told = sample_judgements(session, **mine)
    assert len(told) == drawn
    assert {each.stratum for each in told} == {f"{each.kind} / {each.verdict}" for each in told}
    assert [each.population for each in told if each.population < 1] == []


def test_small_strata_are_drawn_whole_and_none_beyond_its_size() -> None:
    strata = {("object", "supported"): 900, ("object", "unsupported"): 100, ("text", "cannot tell"): 3}
    shares = shares_of(strata, 100)  # type: ignore[arg-type]
    assert shares == {("object", "supported"): 86, ("object", "unsupported"): 13, ("text", "cannot tell"): 3}
    assert shares_of(strata, 0) == dict.fromkeys(strata, 0)  # type: ignore[arg-type]


def test_a_rule_says_what_it_touches_before_it_rejects_and_can_be_undone(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path)
    run(engine, Detector())
    recipe = recipe_of(engine, dataset_id)
    rule = ClaimFilter(kinds=("object",), words="corner")
    before = count_touched(engine, dataset_id=dataset_id, recipe=recipe, wanted=rule)
    assert (before.claims, before.descriptions, before.regions) == (6, 6, 6)
    assert reject(engine, dataset_id=dataset_id, recipe=recipe, wanted=rule, who="ada") == 6
    with reading(engine) as session:
        rejected = session.exec(select(RegionRow.text).where(RegionRow.status == "rejected")).all()
        reasons = set(session.exec(select(RegionEdit.reason)).all())
    assert list(rejected) == ["a corner"] * 6 and reasons == {"audit"}
    assert count_touched(engine, dataset_id=dataset_id, recipe=recipe, wanted=rule).regions == 0


def test_an_export_drops_weighs_or_keeps_by_policy(engine: Engine, tmp_path: Path) -> None:
    dataset_id = described(engine, tmp_path, 3)
    config = ExportConfig(
        "coco", tmp_path / "none", "sheets", statuses=("pending",), unreviewed=True, audit="drop-claim"
    )
    with pytest.raises(UserError, match="was not audited yet"):
        export(engine, tmp_path / "home", config)
    run(engine, Detector())
    recipe = recipe_of(engine, dataset_id)
    with transaction(engine) as session:
        page = claim_page(session, dataset_id=dataset_id, recipe=recipe, filters=ClaimFilter(words="corner"))
        set_claim_verdict(session, claim_id=page[0].claim.id, who="ada", verdict="unsupported")
        for row in page[1:]:
            set_claim_verdict(session, claim_id=row.claim.id, who="ada", verdict="supported")

    def texts(policy: str) -> list[str]:
        out = tmp_path / policy
        export(engine, tmp_path / "home", replace(config, format="odvg", out=out, audit=policy))  # type: ignore[arg-type]
        return [line for line in (out / "annotations.jsonl").read_text().splitlines() if line]

    assert sum("a corner" in line for line in texts("keep")) == 3
    assert sum("a corner" in line for line in texts("drop-description")) == 2


@pytest.mark.slow
def test_two_questions_stand_beside_one_by_the_commands_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAIN_HOME", str(tmp_path / "home"))
    engine, place = open_engine(database_url(tmp_path / "home")), tmp_path / "photos"
    place.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 48), colour).save(place / f"{name}.png")
    ingest(engine, place, dataset="photos", home=tmp_path / "home", processes=1)
    with fake_openai() as server:
        for prompts in ("two-stage-1", "single-stage-1"):
            describer = DescriberChoice("server", model="m", server=server.url, ask=DescribeConfig(prompts=prompts))
            annotate_main(AnnotateConfig("photos", describer, LocalizerChoice("photo")))
            audit_main(AuditConfig("photos", sources=SourceChoice("photo", checkpoint="")))
    last, before = capsys.readouterr().out.splitlines()[-2:]
    assert re.match(r"  single-stage-1-\w{8}, 1 question \(m@served\): \d+ claims", last)
    assert re.match(r"  two-stage-1-\w{8}, 2 questions \(m@served\): \d+ claims", before)
    assert "claims, hallucination rate not judged by people yet, auditor's unsupported" in last
    with transaction(engine) as session:
        recipe = audit_runs(session, dataset_id=1)[0].recipes["audit"]
        claim_id = claim_page(session, dataset_id=1, recipe=recipe)[0].claim.id
        draw_sample(session, dataset_id=1, recipe=recipe, count=1000)
        set_claim_verdict(session, claim_id=claim_id, who="ada", verdict="unsupported")
    found = audited_description_runs(engine, dataset_id=1)
    assert [(each.totals.stages, each.rate is None) for each in found] == [(1, False), (2, True)]


def test_the_describers_own_networks_do_not_judge_its_sentences(engine: Engine, tmp_path: Path) -> None:
    """Everything that photo says was once confirmed by photo's own detector."""
    place = tmp_path / "photos"
    place.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 48), colour).save(place / f"{name}.png")
    ingest(engine, place, dataset="photos", home=tmp_path, processes=1)
    described = AnnotateConfig("photos", DescriberChoice("photo"), LocalizerChoice("photo"))
    annotate(engine, described, AnnotatorFactory.of(described), worker="test")
    alone = AuditConfig("photos", sources=SourceChoice("photo", checkpoint="photo"))
    assert audit(engine, alone, worker="test", home=tmp_path) == "done"
    recipe = recipe_of(engine, 1)
    with reading(engine) as session:
        page = claim_page(session, dataset_id=1, recipe=recipe, limit=100)
        noted = Independence.of_run(audit_runs(session, dataset_id=1)[0].config)
    assert page and {(row.claim.verdict, row.claim.probability) for row in page} == {("cannot tell", None)}
    assert [row.claim.evidence for row in page if row.claim.evidence] == []
    assert noted is not None and noted.counted == NOBODY and len(noted.left_out) == 2
    [described_run] = audited_description_runs(engine, dataset_id=1)
    assert described_run.share_unsupported is None and "unsupported not known" in str(described_run)
    both = replace(alone, sources=SourceChoice("photo", checkpoint="sample"))
    assert audit(engine, both, worker="test", home=tmp_path) == "done"
    recipe = recipe_of(engine, 1)
    with reading(engine) as session:
        page = claim_page(session, dataset_id=1, recipe=recipe, limit=100)
    assert {one["source"] for row in page for one in row.claim.evidence} == {"likeness"}


def test_objects_of_photographs_are_measured_against_rare_things() -> None:
    """Where every picture has the same descriptions, none names a thing that another lacks."""
    photo, sample = SourceChoice("photo"), SourceChoice("sample", checkpoint="sample", vqa="sample")
    assert "zebra" in absent_things(photo, ["a red lid"]) and absent_things(sample, ["a red lid"]) == ("lid",)
    assert absent_things(SourceChoice("sample", checkpoint="photo"), ["a lid"]) == absent_things(photo, [])


def test_the_shipped_judge_is_the_one_that_was_fitted_on_the_sources() -> None:
    photo, sample = (
        shipped_judge(detector="photo", checkpoint="photo"),
        shipped_judge(detector="sample", checkpoint="sample", vqa="sample"),
    )
    assert photo.name != sample.name and photo.decides and sample.decides
    assert {"detector+likeness+counted", "detector+likeness+placed"} <= set(photo.table)
    assert [kinds for kinds in photo.table.values() if "any" in kinds or "part" in kinds] == [], (
        "of parts nothing is known"
    )
    without = shipped_judge(detector="photo", checkpoint="sample")
    assert without.table and not any("likeness" in mixture for mixture in without.table)
    assert shipped_judge(detector="owlv2", checkpoint="photo").table.keys() == {"likeness"}
    for kind in ("owlv2", "another"):
        assert not shipped_judge(detector=kind, checkpoint="").decides
    assert not shipped_judge(detector="none", checkpoint="mine", vqa="llava").decides


def test_the_command_line_says_the_very_settings() -> None:
    config = AuditConfig("-rf $(x)", sources=SourceChoice("none", checkpoint="photo", vqa="sample"), batch=3)
    words = command_line(config)
    assert words[:2] == ["-m", "curation.audit"]
    assert tyro.cli(AuditConfig, args=words[2:]) == config


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (lambda: AuditConfig("a", batch=0), "must be above 0"),
        (lambda: SourceChoice("none", checkpoint=""), "an audit needs a source of evidence"),
        (lambda: SourceChoice(vqa="server"), "needs its address"),
    ],
)
def test_settings_that_cannot_work_are_refused(wanted: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wanted()  # type: ignore[operator]
