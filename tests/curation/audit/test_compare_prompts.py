"""Two prompts on the same pictures: one sample, both described and audited, stops, independence, people's verdicts."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image
from sqlmodel import select

from curation.annotate.prompts import PROMPTS, SINGLE_STAGE, TWO_STAGE
from curation.annotate.registry import DescriberChoice
from curation.annotate.sample_annotators import SampleConfig
from curation.audit.compare_prompts import ComparePromptsConfig, command_line, compare_prompts, draw_pictures
from curation.audit.prompt_comparison import PromptComparison, _difference, _share, next_claim, prompt_comparison
from curation.audit.sources import SourceChoice
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import Engine, open_engine, reading, transaction
from db.models import RegionRow
from db.queries.audit_queries import set_claim_verdict
from db.queries.data_set_queries import get_dataset, image_page
from tests.support.fake_openai import COLOURS, FakeServer, fake_openai
from user_errors import UserError

TRUTH = SourceChoice("sample", checkpoint="", vqa="sample")


@pytest.fixture
def world(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    config = WorldConfig(out=tmp_path / "drawn", images=0, held_out_images=30, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(config), dataset="drawn", home=tmp_path, processes=1)
    return engine


@pytest.fixture
def colours(tmp_path: Path) -> Engine:
    """Twelve pictures of four colours, none like another."""
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    (tmp_path / "colours").mkdir()
    for number, colour in enumerate([*COLOURS.values()] * 3):
        Image.new("RGB", (60 + number, 40), colour).save(tmp_path / "colours" / f"{number}.png")
    ingest(engine, tmp_path / "colours", dataset="colours", home=tmp_path, processes=1)
    return engine


class TwoWays(FakeServer):
    """Says more, and more that is wrong, where it is asked one question only."""

    def completion(self, body: dict[str, object]) -> dict[str, object]:
        asked = body["messages"][-1]["content"][-1]["text"]  # type: ignore[index]
        single = asked == SINGLE_STAGE.stage2
        self.answer = "- a {colour} lid\n- a zebra\n- a giraffe" if single else "- a {colour} lid"
        return super().completion(body)


def compared(engine: Engine, config: ComparePromptsConfig, *, examples: int = 0) -> PromptComparison:
    with reading(engine) as session:
        found = prompt_comparison(session, sample=config.sample_name, recipes=config.recipes(), examples=examples)
    assert found is not None
    return found


def asking(server: FakeServer, **values: object) -> ComparePromptsConfig:
    describer = DescriberChoice("server", model="fake", server=server.url)
    return ComparePromptsConfig("colours", **({"pictures": 8, "describer": describer} | values))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_server_is_asked_both_prompts_about_the_same_pictures_and_both_are_counted(
    colours: Engine, tmp_path: Path
) -> None:
    with fake_openai(kind=TwoWays) as server:
        config = asking(server)
        assert compare_prompts(colours, config, worker="w", home=tmp_path)
        asked = [body["messages"][0]["content"][-1]["text"] for body in server.requests]
    assert asked.count(TWO_STAGE.stage1) == 3 * 8 and asked.count(SINGLE_STAGE.stage2) == 2 * 8
    found = compared(colours, config, examples=2)
    two, one = found.results
    assert (two.prompts, one.prompts) == tuple(PROMPTS)
    assert (two.questions, one.questions) == (2, 1)
    assert (found.pictures, two.described, one.described, two.problems) == (8, 8, 8, 0)
    assert (two.descriptions, one.descriptions) == (8, 24)
    assert (two.claims, one.claims) == (2 * 8, 4 * 8)  # a lid and its colour; a zebra and a giraffe besides
    assert found.decided and two.unsupported is not None and one.unsupported is not None
    assert not found.same
    pair = found.examples[0]
    assert [len(texts) for texts in pair.texts] == [1, 3]
    assert pair.texts[1][1][0] == "a zebra" and pair.texts[1][1][1][0].claim.words == "zebra"
    assert any("two-stage minus one-stage" in line for line in found.lines())


@pytest.mark.slow
def test_the_sample_is_a_data_set_of_its_own_drawn_once_and_the_other_one_is_left_alone(
    colours: Engine, tmp_path: Path
) -> None:
    with fake_openai() as server:
        config = asking(server)
        assert draw_pictures(colours, config).id == draw_pictures(colours, config).id
        compare_prompts(colours, config, worker="w", home=tmp_path)
        before = len(server.requests)
        compare_prompts(colours, config, worker="w", home=tmp_path)
        assert len(server.requests) == before
    with reading(colours) as session:
        whole, sample = (get_dataset(session, name=name) for name in ("colours", config.sample_name))
        assert whole is not None and sample is not None
        mine, theirs = (image_page(session, dataset_id=each.id) for each in (sample, whole))
        assert len(mine) == 8 and {each.sha256 for each in mine} < {each.sha256 for each in theirs}
        assert [each.location for each in mine] == sorted(each.location for each in mine)
        assert not session.exec(select(RegionRow)).all()


@pytest.mark.slow
def test_a_stopped_comparison_goes_on_where_it_was(colours: Engine, tmp_path: Path) -> None:
    with fake_openai() as server:
        config = asking(server, batch=4)
        seen: list[str] = []
        done = compare_prompts(
            colours,
            config,
            worker="w",
            home=tmp_path,
            report=lambda message, done, total: seen.append(message),
            stop=lambda: len(seen) == 1,
        )
        assert not done and seen == ["describe, two-stage-1: 4 of 8 pictures"]
        with reading(colours) as session:
            assert prompt_comparison(session, sample=config.sample_name, recipes=config.recipes()) is None
        steps: list[tuple[int, int]] = []
        shown: list[bool] = []

        def report(message: str, *far: int) -> None:
            steps.append(far)  # type: ignore[arg-type]
            with reading(colours) as session:
                found = prompt_comparison(session, sample=config.sample_name, recipes=config.recipes())
            shown.append(found is not None)

        assert compare_prompts(colours, config, worker="w", home=tmp_path, report=report)
        assert len(server.requests) == 8 * 5
    assert steps == sorted(steps) and steps[0] == (8, 32) and steps[-1] == (32, 32)
    assert shown == [done == total for done, total in steps]


@pytest.mark.slow
def test_evidence_of_the_describers_own_model_gives_no_rate(colours: Engine, tmp_path: Path) -> None:
    config = ComparePromptsConfig("colours", pictures=3, describer=DescriberChoice("photo"))
    assert compare_prompts(colours, config, worker="w", home=tmp_path)
    found = compared(colours, config)
    assert [each.unsupported for each in found.results] == [None, None] and found.difference is None
    assert found.same and "No source is independent of photo-describer" in found.doubts[0]
    assert all("no rate" in line for line in list(found.lines())[1:3])


def test_the_sample_worlds_stand_in_errs_as_often_under_either_prompt(world: Engine, tmp_path: Path) -> None:
    config = ComparePromptsConfig(
        "drawn",
        pictures=30,
        describer=DescriberChoice("sample"),
        sample=SampleConfig(wrong=0.5),
        sources=TRUTH,
        claims=12,
    )
    assert compare_prompts(world, config, worker="w", home=tmp_path)
    found = compared(world, config)
    two, one = found.results
    assert found.decided and two == replace(one, prompts=two.prompts, questions=two.questions)
    assert two.unsupported is not None and 0 < two.unsupported.low < two.unsupported.value < two.unsupported.high < 1
    assert found.difference is not None and (found.difference.low, found.difference.high) == (0, 0)


@pytest.mark.slow
def test_people_judge_claims_of_both_prompts_in_turn_until_none_is_left(colours: Engine, tmp_path: Path) -> None:
    with fake_openai(kind=TwoWays) as server:
        config = asking(server, claims=6)
        compare_prompts(colours, config, worker="w", home=tmp_path)
    recipes = []
    while True:
        with transaction(colours) as session:
            row = next_claim(session, sample=config.sample_name, recipes=config.recipes(), who="ada")
            if row is None:
                break
            recipes.append(row.claim.prompts)
            wrong = row.claim.words in ("zebra", "giraffe")
            set_claim_verdict(
                session, claim_id=row.claim.id, who="ada", verdict="unsupported" if wrong else "supported"
            )
    assert len(set(recipes[:2])) == 2
    two, one = compared(colours, config).results
    assert two.judged == two.drawn > 0 and one.judged == one.drawn > 0
    assert two.people is not None and two.people.value == 0
    assert one.people is not None and one.people.value == pytest.approx(0.5, abs=0.2)


def test_what_is_no_comparison_is_refused(world: Engine, tmp_path: Path) -> None:
    for wrong, words in (
        ({"pictures": 0}, "expected 1 to 2,000 pictures, got 0"),
        ({"claims": -1}, "claims from 0"),
        ({"describer": DescriberChoice("vocabulary", vocabulary=("cat",))}, "class names only describe nothing"),
    ):
        with pytest.raises(UserError, match=words):
            ComparePromptsConfig("drawn", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no data set 'nowhere'"):
        draw_pictures(world, ComparePromptsConfig("nowhere"))
    config = ComparePromptsConfig("drawn", pictures=3)
    ingest(world, tmp_path / "drawn", dataset=config.sample_name, home=tmp_path, processes=1)
    with pytest.raises(UserError, match="no sample of this one"):
        draw_pictures(world, config)


def test_its_command_line_is_read_back_and_a_long_name_stays_a_name() -> None:
    config = ComparePromptsConfig("d" * 100, pictures=7, describer=DescriberChoice("photo"), sources=TRUTH)
    words = command_line(config)
    assert words[:2] == ["-m", "curation.audit.compare_prompts"]
    assert tyro.cli(ComparePromptsConfig, args=words[2:]) == config
    assert len(config.sample_name) == 100 and config.sample_name != replace(config, dataset="d" * 99).sample_name


def test_a_share_and_a_difference_worked_by_hand() -> None:
    counts = np.array([[1, 4], [0, 4], [2, 2]])
    share = _share(counts)
    assert share is not None and share.value == pytest.approx(0.3) and share.low == 0.0 and share.high == 1.0
    assert _share(np.array([[0, 0]])) is None and _difference(counts, np.array([[0, 0]] * 3)) is None
    same = _difference(counts, counts)
    assert same is not None and (same.value, same.low, same.high) == (0, 0, 0)
    chance = random.Random(0)
    first, second = ([[chance.random() < rate, 1] for _ in range(400)] for rate in (0.3, 0.1))
    told = _difference(np.array(first, int), np.array(second, int))
    assert told is not None and told.low > 0 and told.low < told.value < told.high
