"""What the benchmarks print and write, and that their peers do the same work. No time is asserted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from torchvision.ops import box_convert

from benchmarks import classifier, page, retrieving
from benchmarks.app_start import first_page
from benchmarks.evaluation import by_class, lead, percent
from benchmarks.learning import (
    AUDIT_IMAGES,
    AUDIT_SEEDS,
    EVALUATION_SEEDS,
    FIT_SEED,
    SHARE_IMAGES,
    SHORT_IMAGES,
    TRAININGS,
    audit_world,
    evaluation_world,
    flags_of,
)
from benchmarks.matching import detr_match, random_boxes
from benchmarks.plot import Line, draw
from benchmarks.rows import ROOT, Benchmark, Finding, row_of
from benchmarks.run import BENCHMARKS, RunConfig, main, measure_apart
from benchmarks.timing import take_turns
from benchmarks.training_step import losses_of, padded
from curation.sample.world import WorldConfig
from grain.structures import RegionTargets
from grain.train.matching import match, match_cost
from grain.train_config import TrainConfig
from tests.support.tiny import random_batch, tiny_config, tiny_model

KEYS = {"name", "what", "value", "bar", "unit", "holds", "detail", "command", "seed", "versions", "machine"}
TABLE = [{"model": "a|b", "score": [1.0, 0.5, 1.25], "n": 12}, {"model": "<i>", "score": None, "n": 3}]


def benchmark(name: str, finding: Finding | Exception) -> Benchmark:
    def found() -> Finding:
        print("a library that talks")
        if isinstance(finding, Exception):
            raise finding
        return finding

    return Benchmark(name, f"what {name} is", "≥ 1 ×", "×", 7, found)


def row(name: str, **detail: Any) -> dict[str, Any]:
    return row_of(benchmark(name, Finding(1.5, True)), Finding(1.5, True, detail))


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Path]:
    """A page and the rows beside it, nothing measured yet."""
    there = tmp_path / "benchmarks.md"
    there.write_text(f"before\n{page.BEGIN}\nstale\n{page.END}\nafter\n", encoding="utf-8")
    return {"page": there, "rows": tmp_path / "benchmarks.json"}


# ------------------------------------------------------------------------------------------------ rows


def test_list_names_every_benchmark_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RunConfig(list=True)) == 0
    names = capsys.readouterr().out.split()
    assert names == list(BENCHMARKS) and len(set(names)) == len(names) >= 12
    assert {"train_step", "trimmed_text", "matching", "predict_bf16", "app_start", "novel_regions"} <= set(names)
    assert [name for name, each in BENCHMARKS.items() if each.name != name] == []


def test_a_row_is_one_json_line_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(BENCHMARKS, "fake", benchmark("fake", Finding(2.0, True, {"rounds": 3})))
    assert main(RunConfig("fake")) == 0
    told = capsys.readouterr()
    [line] = told.out.splitlines()
    found = json.loads(line)
    assert found.keys() == KEYS
    assert (found["value"], found["holds"], found["unit"], found["detail"]) == (2.0, True, "×", {"rounds": 3})
    assert found["command"] == "python -m benchmarks.run fake"
    assert {"python", "torch", "open_clip"} <= found["versions"].keys()
    assert found["machine"].keys() == {"cpu", "cores", "threads", "bf16"}
    assert "a library that talks" in told.err


def test_a_benchmark_that_fails_is_a_row_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = ValueError(f"no checkpoint in {ROOT}/grain:\n make it first")
    monkeypatch.setitem(BENCHMARKS, "fake", benchmark("fake", broken))
    assert main(RunConfig("fake")) == 1
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == KEYS and found["value"] is None and found["holds"] is False
    assert found["detail"] == {"reason": "ValueError: no checkpoint in ./grain: make it first"}


def test_a_benchmark_whose_process_dies_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    found = measure_apart("matching")
    assert found.keys() == KEYS and found["holds"] is False
    assert found["detail"] == {"reason": "ended with status 1 and no row"}


@pytest.mark.parametrize("arguments", [{}, {"name": "fast"}, {"name": "matching", "all": True}])
def test_what_names_no_benchmark_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no benchmark 'fast': choose one of novel_regions, |give the name of"):
        RunConfig(**arguments)


# ------------------------------------------------------------------------------------------------ the page


def test_the_page_shows_every_benchmark_measured_or_not() -> None:
    text = page.render([row("one", rounds=3), row("two", reason="none")], ["one", "two", "three"])
    head = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert [line.split("`")[1] for line in head] == ["one", "two", "three"]
    assert "1.5 ×" in head[0] and "| yes |" in head[0] and "not measured yet" in head[2]
    assert "### one" in text and "### three" not in text
    assert text == page.render([row("one", rounds=3), row("two", reason="none")], ["one", "two", "three"])


def test_tables_and_estimates_are_told_and_what_was_said_is_escaped() -> None:
    text = page.render([row("one", models=TABLE, plot="images/x.svg", accuracy=[81.25, 80.0, 82.5])], ["one"])
    assert "| a\\|b | 1 [0.5, 1.25] | 12 |" in text
    assert "| &lt;i> | – | 3 |" in text
    assert "| accuracy | 81.2 [80.0, 82.5] |" in text
    assert "![what one is](images/x.svg)" in text


def test_one_row_is_merged_and_the_others_stay(place: dict[str, Path]) -> None:
    names = ["one", "two"]
    for name in ("two", "one", "gone"):
        page.merge([row(name)], [*names, "gone"], **place)
    page.merge([row("two", rounds=9)], names, **place)
    kept = json.loads(place["rows"].read_text(encoding="utf-8"))
    assert [each["name"] for each in kept] == names
    assert kept[1]["detail"] == {"rounds": 9}
    text = place["page"].read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text and "gone" not in text
    page.merge([row("two", rounds=9)], names, **place)
    assert place["page"].read_text(encoding="utf-8") == text


def test_a_page_without_marks_is_refused_and_nothing_is_written(place: dict[str, Path]) -> None:
    place["page"].write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="put both marks where the tables belong"):
        page.merge([row("one")], ["one"], **place)
    assert not place["rows"].exists()


def test_the_page_of_this_repository_is_what_its_rows_say() -> None:
    rows = json.loads(page.ROWS.read_text(encoding="utf-8")) if page.ROWS.is_file() else []
    assert [each["name"] for each in rows if each["name"] not in BENCHMARKS or each.keys() != KEYS] == []
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.with_block(text, page.render(rows, list(BENCHMARKS)))


def test_the_plot_is_the_same_for_the_same_numbers_and_names_no_host(tmp_path: Path) -> None:
    lines = [Line("GRAIN", (0.0, 1.0), ((50.0, 48.0, 52.0), (60.0, 57.0, 61.0)))]
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, lines, title="it leads", x_label="share", y_label="%")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert all(said in text for said in ("it leads", "share", "GRAIN")) and "matplotlib.org" not in text
    assert ET.fromstring(text).tag.endswith("svg")


# ------------------------------------------------------------------------------------------------ measuring


def test_candidates_take_turns_in_both_orders() -> None:
    seen: list[str] = []
    rounds = take_turns({name: partial(seen.append, name) for name in "ab"}, rounds=3)
    assert sorted("".join(seen[i : i + 2]) for i in range(0, 8, 2)) == ["ab", "ab", "ba", "ba"]
    assert {name: len(seconds) for name, seconds in rounds.seconds.items()} == {"a": 3, "b": 3}
    assert rounds.ratio("a", "a") == [1.0, 1.0, 1.0]


def cheapest(cost: torch.Tensor, regions: torch.Tensor) -> float:
    """Of every way to give each region of one image a query of its own."""
    ways = permutations(range(cost.shape[1]), len(regions))
    return min(float(cost[regions, list(way)].sum()) for way in ways)


@pytest.mark.parametrize("queries", [3, 5, 7])
def test_the_matching_peer_finds_the_cheapest_pairs_and_so_do_we(queries: int) -> None:
    make = torch.Generator().manual_seed(queries)
    boxes, apart = random_boxes(make, 4, queries), [random_boxes(make, count) for count in (3, 0, 1, 2)]
    owner = torch.tensor([0, 0, 0, 2, 3, 3])
    together = RegionTargets(box_convert(torch.cat(apart), "cxcywh", "xyxy"), owner, torch.arange(6))
    cost = match_cost(boxes, together).double()
    regions = [torch.nonzero(owner == image).flatten() for image in range(4)]
    best = sum(cheapest(cost, mine) for mine in regions)
    pairs = enumerate(detr_match(boxes, apart))
    assert float(sum(cost[regions[image][row], query].sum() for image, (query, row) in pairs)) == pytest.approx(best)
    assert float(cost[match(boxes, together)].sum()) == pytest.approx(best)


def test_padding_texts_changes_no_loss() -> None:
    config = tiny_config()
    short = random_batch(config, [2, 0, 3])
    long = padded(short, config.text_cfg["context_length"])
    assert short.captions.shape[1] < long.captions.shape[1] == long.descriptions.shape[1] == 24
    model = tiny_model(config).train()
    assert float(losses_of(model, short).total) == pytest.approx(float(losses_of(model, long).total), abs=1e-5)


def test_classes_count_once_and_are_compared_in_pairs() -> None:
    shares = by_class(np.array([1.0, 0.0, 1.0, 1.0, 1.0]), ["b", "a", "b", "a", "a"])
    assert shares.tolist() == [1.0, pytest.approx(2 / 3)]
    value, low, high = lead(np.array([1.0, 0.5]), np.array([0.5, 0.0]))
    assert -100 < low < value == 50.0 < high < 100, "two classes that agree are no certainty"
    value, low, high = percent(np.array([0.0, 1.0] * 20)) or []
    assert value == 50.0 and 20 < low < 50 < high < 80
    assert percent(np.zeros(0)) is None


SERVER = """
import http.server, os
place = ("127.0.0.1", int(os.environ["GRAIN_PORT"]))
http.server.HTTPServer(place, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_the_first_page_is_waited_for_and_an_app_that_ends_is_told() -> None:
    assert first_page(("-c", SERVER)) is False
    with pytest.raises(ValueError, match="before the app ended: no port is free"):
        first_page(("-c", "import sys; sys.exit('no port is free')"))


# ------------------------------------------------------------------------------------------------ trainings


def test_every_training_is_a_command_that_grain_train_takes() -> None:
    assert len(TRAININGS) >= 11
    for name, training in TRAININGS.items():
        config = tyro.cli(TrainConfig, args=["--data", "d", "--out", "o", *flags_of(training)])
        seed = int(name.rpartition("-seed-")[2]) if "-seed-" in name else 0
        assert (config.name, config.images, config.seed) == (name, training.images, seed)
        assert config.clip == ("clip" in name or "strong" in name)
        assert (config.caption_source == "with_descriptions") == ("strong" in name)
        world = tyro.cli(WorldConfig, args=["--out", "w", *training.world.flags])
        assert world.images == (SHARE_IMAGES if "share" in name else SHORT_IMAGES)
        assert world.seed not in EVALUATION_SEEDS
    assert TRAININGS["strong-steps"].images == SHORT_IMAGES < TRAININGS["strong-time"].images


def test_judges_are_measured_on_pictures_that_neither_they_nor_a_training_saw() -> None:
    worlds = [tyro.cli(WorldConfig, args=["--out", "w", *audit_world(seed).flags]) for seed in (FIT_SEED, *AUDIT_SEEDS)]
    seeds = [world.seed for world in worlds]
    trained = {tyro.cli(WorldConfig, args=["--out", "w", *each.world.flags]).seed for each in TRAININGS.values()}
    assert len(set(seeds)) == 3 and not set(seeds) & {*trained, *EVALUATION_SEEDS}
    assert {world.counts()["held_out"] for world in worlds} == {AUDIT_IMAGES}


def test_what_is_evaluated_on_was_never_trained_on() -> None:
    worlds = [tyro.cli(WorldConfig, args=["--out", "w", *evaluation_world(seed).flags]) for seed in EVALUATION_SEEDS]
    assert {world.seed for world in worlds} == set(EVALUATION_SEEDS) and len(worlds) == 3
    assert {(world.images, world.classes) for world in worlds} == {(0, 100)}


# ------------------------------------------------------------------------------------------------ peers of evaluation


def test_three_ways_to_recall_find_the_same() -> None:
    images, texts, owner = retrieving.embeddings(300)
    found = [way(images, texts, owner) for way in retrieving.WAYS.values()]
    assert len(found) == 3 and 0.2 < found[0]["image_to_text_r10"] < 1
    assert found[1] == pytest.approx(found[0]) and found[2] == pytest.approx(found[0])


def test_three_ways_to_a_classifier_give_the_same_weights() -> None:
    found = classifier.compare(classifier.small_tower(), classifier.class_texts(4), rounds=1)
    assert found["largest difference of weights"] <= classifier.SAME_WEIGHTS


def test_growth_is_what_was_held_at_most() -> None:
    """In a process of its own: what else this one lets go meanwhile would be missing from its growth."""
    code = (
        "import numpy as np\nfrom benchmarks.memory import extra_megabytes\n"
        "print(extra_megabytes(lambda: np.ones(30 * 2**20, np.uint8).sum()))"  # let go at once
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 29 < float(done.stdout) < 60
