"""Every annotator with weights, tiny and random, loaded as the registry does: alone, in batches, with a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.annotators import EVERYTHING, SHORT, TEXTS, describe_three_ways, localize_ways, noise, same_regions
from benchmarks.random_detectors import RANDOM_DETECTORS, write_random_detector
from benchmarks.random_vlms import RANDOM_VLMS, write_random_vlm
from curation.annotate.describe import DescribeConfig, LlavaDescriber, load_processor
from curation.annotate.messages import PLACEHOLDER, user_turn
from curation.annotate.prompts import PROMPTS
from curation.annotate.registry import (
    DESCRIBERS,
    LOCALIZERS,
    DescriberChoice,
    DescriberRow,
    LocalizerChoice,
    LocalizerRow,
    make_describer,
    make_localizer,
    works_of,
)
from curation.annotate.sample_annotators import SampleConfig
from grain.hub.weights import LocalModel, find_model
from tests.support.paths import ROOT
from user_errors import UserError

LOCAL_DETECTORS = (*RANDOM_DETECTORS, "vlm")
EXACT = SampleConfig()


def test_every_row_with_weights_of_its_own_is_tried_here() -> None:
    assert {kind for kind, row in DESCRIBERS.items() if "precision" in row.uses} == {*RANDOM_VLMS}
    assert {kind for kind, row in LOCALIZERS.items() if "precision" in row.uses} == {*LOCAL_DETECTORS}


@pytest.mark.parametrize("kind", RANDOM_VLMS)
def test_a_describer_says_the_same_in_a_batch_alone_and_without_its_cache(kind: str, tmp_path: Path) -> None:
    ways = {way: [each.raw for each in some] for way, some in describe_three_ways(kind, tmp_path).items()}
    assert ways["batch"] == ways["single"] == ways["no cache"]
    assert len({*ways["batch"]}) > 1, "the pictures must matter"


@pytest.mark.parametrize("kind", RANDOM_VLMS)
def test_a_describer_of_the_registry_is_named_and_loaded_as_its_settings_say(kind: str, tmp_path: Path) -> None:
    folder = write_random_vlm(kind, tmp_path / "weights")
    choice = DescriberChoice(kind, model=str(folder), ask=SHORT, batch=2, attention="eager", picture_side=64)
    describer = make_describer(choice, EXACT)
    assert describer.name == works_of(choice, LocalizerChoice("photo"), EXACT)[0].source
    assert [len(each.raw) for each in describer.describe(noise()[:3])] == [3, 3, 3]


@pytest.mark.parametrize("kind", RANDOM_VLMS)
def test_a_model_spread_over_the_devices_that_are_there_says_the_same(kind: str, tmp_path: Path) -> None:
    folder = write_random_vlm(kind, tmp_path / "weights")
    said = {}
    for device_map in ("one", "auto"):
        choice = DescriberChoice(kind, model=str(folder), ask=SHORT, device_map=device_map)  # type: ignore[arg-type]
        describer = make_describer(choice, EXACT)
        assert works_of(choice, LocalizerChoice("photo"), EXACT) == works_of(
            DescriberChoice(kind, model=str(folder), ask=SHORT), LocalizerChoice("photo"), EXACT
        )
        said[device_map] = [each.raw for each in describer.describe(noise()[:3])]
    assert said["one"] == said["auto"]


def test_a_model_that_cannot_be_spread_is_refused_in_a_sentence(tmp_path: Path) -> None:
    class Whole:
        @classmethod
        def from_pretrained(cls, folder: Path, **options: object) -> object:
            raise ValueError(f"Whole does not support device_map={options['device_map']!r}.")

    class Nothing:
        @classmethod
        def from_pretrained(cls, folder: Path, **options: object) -> object:
            return cls()

    found = LocalModel("whole", "main", tmp_path, hub=False)
    with pytest.raises(UserError, match=r"whole cannot be spread .* does not support .* Choose one device"):
        found.load(Whole, Nothing, device_map="auto")
    with pytest.raises(UserError, match="hf download"):
        found.load(Whole, Nothing, device_map="cpu")
    with pytest.raises(ValueError, match="device_map must be one of one, auto, got 'all'"):
        LlavaDescriber.from_pretrained(tmp_path, device_map="all")


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("kind", RANDOM_VLMS)
def test_the_preview_of_a_local_model_is_the_text_of_its_chat_template(kind: str, prompts: str, tmp_path: Path) -> None:
    choice = DescriberChoice(kind, model=str(write_random_vlm(kind, tmp_path / "w")), ask=DescribeConfig(prompts))
    spec = choice.row.spec(choice, EXACT)  # type: ignore[misc]
    assert spec.preview is not None
    requests = spec.preview(noise()[0])
    questions = list(PROMPTS[prompts].questions.items())
    assert [each.stage for each in requests] == [stage for stage, _ in questions]
    processor = load_processor(find_model(choice.model))
    turns = []
    for number, (each, (_, question)) in enumerate(zip(requests, questions, strict=True)):
        turns.append(user_turn(question, *([] if number else [{"type": "image"}])))
        whole = processor.apply_chat_template(turns, add_generation_prompt=True)
        assert each.text == whole.replace(f" {PLACEHOLDER}", PLACEHOLDER)  # a model writes that space itself
        turns.append({"role": "assistant", "content": [{"type": "text", "text": PLACEHOLDER}]})
        assert each.most_tokens == choice.ask.most_tokens[each.stage]


@pytest.mark.parametrize("kind", LOCAL_DETECTORS)
def test_a_localizer_finds_the_same_in_a_batch_alone_and_again(kind: str, tmp_path: Path) -> None:
    found = localize_ways(kind, tmp_path)
    for way in ("single", "again"):
        assert all(same_regions(a, b) for a, b in zip(found["batch"], found[way], strict=True)), way
    assert found["batch"][0] and found["batch"][3] == ()
    assert all(0 <= side <= 1 for regions in found["batch"] for each in regions for side in (*each.xyxy, each.score))


@pytest.mark.parametrize("kind", RANDOM_DETECTORS)
def test_weights_of_another_family_are_refused_before_they_load(kind: str, tmp_path: Path) -> None:
    other = "owlv2" if kind != "owlv2" else "owlvit"
    folder = write_random_detector(other, tmp_path / "other")
    choice = LocalizerChoice(kind, model=str(folder))
    for refused in (lambda: make_localizer(choice, EXACT), lambda: works_of(DescriberChoice("photo"), choice, EXACT)):
        with pytest.raises(
            UserError, match=f"Expected a model of the family {LOCALIZERS[kind].facts.families[0]}, got"
        ):
            refused()


def test_a_describer_of_another_family_is_refused_by_the_plan(tmp_path: Path) -> None:
    folder = write_random_vlm("qwen3-vl", tmp_path / "weights")
    choice = DescriberChoice("qwen2.5-vl", model=str(folder))
    with pytest.raises(UserError, match=r"family qwen2_5_vl, got .* of qwen3_vl: choose the kind that it belongs to"):
        works_of(choice, LocalizerChoice("photo"), EXACT)


def test_a_large_picture_is_reduced_before_a_model_that_would_take_it_whole(tmp_path: Path) -> None:
    folder = write_random_vlm("qwen2.5-vl", tmp_path / "weights")
    large, small = (
        make_describer(DescriberChoice("qwen2.5-vl", model=str(folder), ask=SHORT, picture_side=side), EXACT)
        for side in (224, 112)
    )
    picture = noise([(900, 900)])
    tokens = [each.describe(picture)[0].prompt_tokens for each in (large, small)]
    assert tokens[0] - tokens[1] == (224 // 28) ** 2 - (112 // 28) ** 2
    recipes = {
        works_of(DescriberChoice("qwen2.5-vl", model=str(folder), picture_side=side), LocalizerChoice("photo"), EXACT)[
            0
        ].recipe
        for side in (224, 112)
    }
    assert len(recipes) == 2


def test_levers_that_change_no_result_change_no_recipe(tmp_path: Path) -> None:
    folder = str(write_random_detector("owlv2", tmp_path / "owl"))
    vlm = str(write_random_vlm("llava-onevision", tmp_path / "vlm"))
    plain = works_of(DescriberChoice("llava-onevision", model=vlm), LocalizerChoice("owlv2", model=folder), EXACT)
    quick = works_of(
        DescriberChoice("llava-onevision", model=vlm, batch=32, attention="sdpa"),
        LocalizerChoice("owlv2", model=folder, batch=64),
        EXACT,
    )
    assert plain == quick


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"picture_side": 20}, "picture_side must lie from 56 to 8192"),
        ({"kind": "vlm-server", "model": "m"}, "needs its address"),
        ({"kind": "vlm-server", "server": "http://127.0.0.1:8000/v1"}, "need its model's name"),
        ({"box_tokens": 0}, "box_tokens must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LocalizerChoice(**settings)  # type: ignore[arg-type]


def test_the_guide_has_every_row_with_its_model_licence_and_size() -> None:
    guide = (ROOT / "docs" / "guides" / "annotate.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1]: line for line in guide.splitlines() if line.startswith("| `")}
    seen = 0
    rows: list[tuple[str, DescriberRow | LocalizerRow]] = [*DESCRIBERS.items(), *LOCALIZERS.items()]
    for kind, row in rows:
        if "precision" in row.uses:
            seen += 1
            assert all(words in lines[kind] for words in (row.facts.model, row.facts.licence, row.facts.size)), kind
        assert kind in lines
    assert seen == len(RANDOM_VLMS) + len(LOCAL_DETECTORS)


def test_boxes_are_found_where_the_models_own_score_is_enough(tmp_path: Path) -> None:
    folder = write_random_detector("grounding-dino", tmp_path / "dino")
    choice = LocalizerChoice("grounding-dino", model=str(folder), precision="fp32")
    found = make_localizer(choice, EXACT).localize(noise()[:1], [TEXTS])[0]
    assert found and all(each.score >= choice.boxes.threshold > EVERYTHING.threshold for each in found)
