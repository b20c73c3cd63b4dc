"""A data set's own judge: too few refused, folds by picture, what it is worth, kept and used; on both databases."""

from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tyro
from PIL import Image

from curation.audit.audit import AuditConfig, judge_of
from curation.audit.claim_judge import Judge, JudgeExample, cross_validated
from curation.audit.evidence import Evidence
from curation.audit.fit_judge import (
    FitConfig,
    JudgedSample,
    JudgeFit,
    calibration,
    command_line,
    fit_judge,
    judged_by_people,
    measure_fit,
    summary_lines,
)
from curation.audit.judges import judge_path, save_judge, saved_judge, saved_judge_quality
from curation.audit.sources import shipped_judge
from db.engine import Engine, open_engine, reading, transaction
from db.models import Verdict
from db.queries.audit_queries import claim_page, set_claim_verdict
from db.queries.audit_sample_queries import SampleJudgement, draw_sample, next_to_judge, sample_judgements
from db.queries.run_queries import list_runs, start_run
from tests.curation.audit.test_audit import CONFIG, Detector, described, recipe_of, run
from user_errors import DiskFullError, UserError

PICTURES = 40


class Noisy(Detector):
    """Finds half of the colours, by the picture and the text; things are there."""

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float | None]]:
        super().scores(images, texts)
        return [[_noise(image, text) for text in each] for image, each in zip(images, texts, strict=True)]


def _noise(image: Image.Image, text: str) -> float:
    pixel = image.getpixel((0, 0))
    return random.Random(f"{pixel}/{text}").gauss(3.0 if text in ("a corner", "a sheet") else 0.0, 1.5)


def judged(engine: Engine, dataset_id: int, count: int) -> dict[str, Any]:
    """Somebody judges that many of the sample: margins above 0.5 hold, one in ten is told wrongly; the audit."""
    mine = {"dataset_id": dataset_id, "recipe": recipe_of(engine, dataset_id)}
    with transaction(engine) as session:
        draw_sample(session, **mine, count=1000)  # type: ignore[arg-type]
        after = -1
        for _ in range(count):
            found = next_to_judge(session, **mine, who="ada", after=after)  # type: ignore[arg-type]
            assert found is not None
            after, row = found
            [evidence] = row.claim.evidence or [{}]
            observed = evidence.get("score", 0.0) - evidence.get("counter", 9.0) > 0.5
            slip = zlib.crc32(str(row.claim.id).encode()) % 10 == 0
            set_claim_verdict(
                session, claim_id=row.claim.id, who="ada", verdict="supported" if observed != slip else "unsupported"
            )
    return mine


def example(
    picture: int, observed: bool, margin: float, weight: float = 1.0
) -> tuple[SampleJudgement, JudgeExample, int]:
    verdict: Verdict = "supported" if observed else "unsupported"
    groups = dict.fromkeys(("kind", "prompts", "stages", "describer", "subject"), "")
    row = SampleJudgement(picture, "object", "supported", 0.9, [], "s", 80, {"ada": verdict}, groups)  # type: ignore[arg-type]
    return (
        row,
        JudgeExample("object", (Evidence("detector", margin, "x", 0.0, 0.0),), observed, observed, None, weight),
        picture,
    )


def sample(seed: int, apart: float) -> JudgedSample:
    """80 claims, half of them hold, two a picture; the evidence tells them apart by that much."""
    chance, rows = random.Random(seed), []
    for number in range(80):
        observed = number % 2 == 0
        rows.append(example(number // 2, observed, chance.gauss(apart if observed else -apart, 1.0)))
    return JudgedSample(*(tuple(each) for each in zip(*rows, strict=True)))  # type: ignore[arg-type]


def test_what_says_nothing_is_worth_nothing_on_other_pictures() -> None:
    good, useless = measure_fit(sample(0, 3.0)), measure_fit(sample(0, 0.0))
    assert (good.supported, good.unsupported, good.pictures) == (40, 40, 40)
    assert good.cross_validated.precision is not None and good.cross_validated.precision.value > 0.9
    assert good.before.recall is not None and good.before.recall.value == 0.0, "the judge before found none"
    assert useless.cross_validated.recall is not None and useless.cross_validated.recall.value < 0.2
    assert JudgeFit.from_json(asdict(good)) == good
    with pytest.raises(UserError, match="expected the quality of a judge, got something else"):
        JudgeFit.from_json({"supported": 1})


def test_claims_that_nobody_can_tell_count_for_the_sample_and_not_as_examples() -> None:
    whole = sample(0, 3.0)
    undecided: list[Verdict] = ["cannot tell"]
    verdicts: list[Verdict] = [*undecided * 9, "supported"]
    doubtful = tuple(
        replace(each, stratum="t", verdict="unsupported", people={"ada": verdict}, population=100)
        for each, verdict in zip(whole.judged, verdicts, strict=False)
    )
    more = replace(
        whole,
        judged=(*whole.judged, doubtful[-1]),
        examples=(*whole.examples, whole.examples[0]),
        pictures=(*whole.pictures, 99),
        undecided=doubtful[:-1],
    )
    fitted = measure_fit(more)
    assert fitted.supported == 41 and fitted.before.cannot_tell is not None and fitted.before.cannot_tell.claims == 81
    assert fitted.before.precision is not None and fitted.before.precision.claims == 1
    assert fitted.cross_validated.recall is not None and fitted.cross_validated.recall.value > 0.9


def test_an_example_weighs_as_much_as_all_that_people_judged_of_its_stratum(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    dataset_id = described(engine, tmp_path, 12)
    run(engine, Noisy())
    mine = judged(engine, dataset_id, 20)
    before = judged_by_people(engine, dataset_id=dataset_id, recipe=str(mine["recipe"]))
    with transaction(engine) as session:
        set_claim_verdict(session, claim_id=before.judged[0].claim_id, who="ada", verdict="cannot tell")
    after = judged_by_people(engine, dataset_id=dataset_id, recipe=str(mine["recipe"]))
    assert [each.claim_id for each in after.undecided] == [before.judged[0].claim_id]
    assert [each.weight for each in after.examples] == [each.weight for each in before.examples[1:]]


def test_no_picture_is_judged_by_a_judge_that_saw_it() -> None:
    whole = sample(1, 3.0)
    marked = replace(whole.examples[0], weight=50.0)
    other = replace(whole, examples=(marked, *whole.examples[1:]))
    before, after = (cross_validated(each.examples, each.pictures) for each in (whole, other))
    assert before[:2] == after[:2], "both claims of that picture"
    assert sum(one != two for one, two in zip(before, after, strict=True)) > 40, "most others see it"


def test_calibration_by_hand() -> None:
    scored = [(0.1, True, 3.0), (0.15, False, 1.0), (0.9, False, 4.0), (1.0, False, 2.0)]
    bins, off = calibration(scored)
    assert [(each.claims, each.observed) for each in bins] == [(2, 0.25), (2, 1.0)]
    assert bins[0].predicted == pytest.approx((0.3 + 0.15) / 4) and bins[1].predicted == pytest.approx(5.6 / 6)
    assert off == pytest.approx(0.4 * (0.25 - 0.1125) + 0.6 * (1 - 5.6 / 6))
    assert calibration([]) == ((), 0.0)


@pytest.mark.slow
def test_a_fitted_judge_is_kept_and_used_and_no_model_is_asked_again(engine: Engine, tmp_path: Path) -> None:
    dataset_id, home = described(engine, tmp_path, PICTURES), tmp_path / "home"
    run(engine, Noisy())
    first = judged(engine, dataset_id, 150)
    alone = fit_judge(engine, FitConfig("sheets", keep=False), home=home, worker="w")
    assert alone.changes.total() == 0 and saved_judge(home, "sheets") is None
    assert recipe_of(engine, dataset_id) == first["recipe"]
    outcome = fit_judge(engine, FitConfig("sheets"), home=home, worker="w")
    assert outcome.judge == alone.judge == saved_judge(home, "sheets") == judge_of(AuditConfig("sheets"), home)
    assert JudgeFit.from_json(saved_judge_quality(home, "sheets")) == outcome.fitted
    assert judge_of(AuditConfig("sheets", judge="shipped"), home) == shipped_judge(detector="owlv2", checkpoint="photo")
    second = recipe_of(engine, dataset_id)
    with reading(engine) as session:
        rows = claim_page(session, dataset_id=dataset_id, recipe=second, limit=500)
        kept = sample_judgements(session, dataset_id=dataset_id, recipe=second)
        states = [each.state for each in list_runs(session, dataset_id=dataset_id)]
    assert second != first["recipe"] and len(rows) == outcome.changes.total() > 150
    assert len(kept) == 150 and [each for each in kept if each.fresh] == [], "people's words stay"
    assert set(states) == {"done"}
    assert (
        any("cross-validated" in line for line in summary_lines(outcome))
        and summary_lines(outcome)[-1].startswith("0 of") is False
    )
    detector = Noisy()
    assert run(engine, detector, replace(CONFIG, judge=str(judge_path(home, "sheets")))) == "done"
    assert detector.pictures == 0
    again = fit_judge(engine, FitConfig("sheets"), home=home, worker="w")
    assert again.judge == outcome.judge and again.changes.total() == 0, "equal verdicts, equal judge"


@pytest.mark.slow
def test_a_fit_that_was_killed_midway_is_ended_by_the_next(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    dataset_id, home = described(engine, tmp_path, PICTURES), tmp_path / "home"
    run(engine, Noisy())
    mine = judged(engine, dataset_id, 150)
    whole = judged_by_people(engine, dataset_id=dataset_id, recipe=str(mine["recipe"]))
    outcome = fit_judge(engine, FitConfig("sheets"), home=home, worker="w")
    run(engine, Noisy())  # back under the first judge
    assert recipe_of(engine, dataset_id) == mine["recipe"]
    with transaction(engine) as session:  # as a fit leaves it that was killed before the first claim moved
        before = list_runs(session, dataset_id=dataset_id)[1]
        start_run(session, dataset_id=dataset_id, config=before.config, recipes=before.recipes)
    assert recipe_of(engine, dataset_id) != mine["recipe"]
    again = fit_judge(engine, FitConfig("sheets"), home=home, worker="w")
    assert again.judge == outcome.judge
    after = judged_by_people(engine, dataset_id=dataset_id, recipe=recipe_of(engine, dataset_id))
    assert after.examples == whole.examples


def test_an_audit_under_way_is_not_judged_anew(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    described(engine, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(engine, Noisy(break_at=4))
    with transaction(engine) as session:
        list_runs(session, dataset_id=1)[0].state = "running"
    with pytest.raises(UserError, match="is being audited: let that end"):
        fit_judge(engine, FitConfig("sheets"), home=tmp_path / "home", worker="w")


def test_too_few_verdicts_and_no_audit_are_said_in_one_sentence(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    dataset_id, home = described(engine, tmp_path, 12), tmp_path / "home"
    with pytest.raises(UserError, match="'sheets' was not audited yet"):
        fit_judge(engine, FitConfig("sheets"), home=home, worker="w")
    run(engine, Noisy())
    judged(engine, dataset_id, 20)
    with pytest.raises(UserError, match=r"judge on until there are \d+ more that hold and \d+ more that do not\.$"):
        fit_judge(engine, FitConfig("sheets"), home=home, worker="w")
    assert saved_judge(home, "sheets") is None


def test_a_kept_file_that_is_damaged_is_said_so_and_names_never_become_paths(tmp_path: Path) -> None:
    path = save_judge(tmp_path, "../../etc/passwd", Judge("x", 0.1, 0.9), quality={})
    assert path.parent == tmp_path / "judges" and saved_judge(tmp_path, "../../etc/passwd") == Judge("x", 0.1, 0.9)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read as a judge"):
        saved_judge_quality(tmp_path, "../../etc/passwd")
    words = command_line(FitConfig("-x", keep=False))
    assert words[:2] == ["-m", "curation.audit.fit_judge"]
    assert tyro.cli(FitConfig, args=words[2:]) == FitConfig("-x", keep=False)


def test_on_a_full_disk_a_judge_is_one_sentence_and_the_earlier_one_stays(small_disk: Path) -> None:
    save_judge(small_disk, "lids", Judge("x", 0.1, 0.9), quality={})
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(DiskFullError) as caught:
        save_judge(small_disk, "lids", Judge("y", 0.2, 0.8), quality={})
    folder = judge_path(small_disk, "lids").parent
    assert str(caught.value) == (
        f"The disk is full: free some space on {folder} and try again; what was there before is unchanged."
    )
    assert [file.name for file in folder.iterdir()] == [judge_path(small_disk, "lids").name]
    assert saved_judge(small_disk, "lids") == Judge("x", 0.1, 0.9)
