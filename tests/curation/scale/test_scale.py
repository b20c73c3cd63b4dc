"""The annotation pipeline over Ray Data: the same rows, shard by shard, nothing dropped without a word."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from PIL import Image

from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.audit.audit import AuditConfig, audit
from curation.audit.sources import SourceChoice
from curation.exchange.shards import from_sample
from curation.files.records import captions_in
from curation.files.sources import open_source
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from curation.scale.cluster import ClusterProgress, PoolConfig, connect
from curation.scale.scale import ScaleConfig, read_shards, sample_json, scale
from curation.scale.scale_audit import ScaleAuditConfig, scale_audit
from curation.scale.shard_files import find_shards, unpacked
from db.engine import open_engine, reading
from db.queries.audit_queries import audit_runs, claims_of
from db.queries.data_set_queries import image_page
from db.queries.region_queries import regions_of
from db.queries.stage_result_queries import descriptions_of, stage_results_of
from grain.data import loader as grain_data
from tests.support.fake_openai import COLOURS, fake_openai
from tests.support.paths import ROOT
from user_errors import UserError

LIES = SampleConfig(wrong=0.4, shifted=0.5, seed=3)
AUDITED_BY = SourceChoice("photo", checkpoint="")
CLAIM = "position owner kind span_start span_end words verdict".split()
SCORES = ("score", "counter", "mean")
SAMPLE: dict[str, Any] = {
    "describer": DescriberChoice("sample"),
    "localizer": LocalizerChoice("sample"),
    "sample": LIES,
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Ray on this machine alone; its address."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("PYTHONPATH", str(ROOT))
        # processes stay for the next run, whose imports they have made
        patch.setenv("RAY_num_workers_soft_limit", "6")
        patch.setenv("RAY_idle_worker_killing_time_threshold_ms", "60000")
        connect(cpus=2)
        import ray  # now: what connect sets is read at its import

        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of six training pictures, and two pictures held out."""
    out = tmp_path_factory.mktemp("scale") / "world"
    config = WorldConfig(out, images=18, held_out_images=2, classes=1, novel_images_per_class=0, shard_images=6, seed=5)
    return write_world(config)


@pytest.fixture(scope="module")
def annotated(cluster: str, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes of them; read only."""
    out = tmp_path_factory.mktemp("annotated")
    summary = scale(ScaleConfig(f"{world}/train-*.tar", out, **SAMPLE))
    assert (summary.shards, summary.skipped, summary.images, summary.failed) == (3, 0, 18, {})
    return out


def shard_of(path: Path, files: dict[str, bytes]) -> Path:
    """A tar of these files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def encoded(color: tuple[int, int, int], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), color).save(buffer, form, **options)
    return buffer.getvalue()


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    """Member -> what was written beside its picture, over all shards."""
    found = {}
    for shard in sorted(out.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for entry in tar:
                if entry.name.endswith(".json"):
                    row = json.load(tar.extractfile(entry))  # type: ignore[arg-type]
                    found[row["member"]] = row
    return found


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def errors_of(out: Path, shard: str) -> dict[str, dict[str, Any]]:
    lines = (out / "errors" / f"{shard}.jsonl").read_text().splitlines()
    return {row["member"]: row for row in map(json.loads, lines)}


def test_all_captions_of_a_picture_go_from_shard_to_shard(tmp_path: Path) -> None:
    said = json.dumps({"captions": ["a red wall", "a wall", "a red wall"]}).encode()
    shard = shard_of(tmp_path / "0.tar", {"a.jpg": encoded((200, 0, 0), "JPEG"), "a.json": said})
    tables = list(read_shards(pyarrow.table({"shard": [str(shard)]})))
    [(item, _)] = unpacked(tables[0])
    beside = sample_json("k", replace(item, width=48, height=32))
    assert (beside["caption"], beside["captions"]) == ("a red wall", ["a wall"])
    record = from_sample(beside)
    assert (record.caption, captions_in(record.facts)) == ("a red wall", ["a wall"])
    again = shard_of(tmp_path / "1.tar", {"k.jpg": encoded((200, 0, 0), "JPEG"), "k.json": json.dumps(beside).encode()})
    [found] = open_source(again).files
    assert found.captions == ("a red wall", "a wall"), "as an import of these shards reads them"
    assert "captions" not in sample_json("k", replace(item, captions=()))


@pytest.mark.slow
def test_the_rows_are_the_very_rows_of_annotate(world: Path, annotated: Path, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    ingest(engine, world, dataset="world", home=tmp_path, processes=1)
    config = AnnotateConfig("world", **SAMPLE)
    assert annotate(engine, config, AnnotatorFactory.of(config), worker="w") == "done"
    first, second = (work.recipe for work in config.works())
    with reading(engine) as session:
        images = {image.id: image for image in image_page(session, dataset_id=1) if image.member.startswith("train")}
        found = regions_of(session, image_ids=list(images), recipe=second)
        said = descriptions_of(session, image_ids=list(images), recipe=first)
        results = stage_results_of(session, image_ids=list(images), recipe=first)
    rows = rows_of(annotated)
    assert len(rows) == len(images) == 18
    for number, image in images.items():
        row = rows[image.member]
        assert [
            (tuple(region["box"]), region["text"], region["score"], region["source"]) for region in row["regions"]
        ] == [((each.x1, each.y1, each.x2, each.y2), each.text, each.score, each.source) for each in found[number]]
        assert row["descriptions"] == [each.text for each in said[number]]
        assert row["subject"] == results[number].subject
        assert (row["sha256"], row["width"], row["height"]) == (image.sha256, image.width, image.height)
        assert row["caption"] == image.caption
    manifest = json.loads((annotated / "manifest.json").read_text())
    assert manifest["recipes"] == {"describe": first, "localize": second}


@pytest.mark.slow
def test_what_is_written_is_read_by_the_training(world: Path, annotated: Path) -> None:
    shards = grain_data.find_shards(annotated, "train")
    records = {record.key: record for record in grain_data.read_records(shards)}
    before = {record.key: record for record in grain_data.read_records(grain_data.find_shards(world, "train"))}
    assert shards.images == len(records) == 18 and records.keys() == before.keys()
    for key, record in records.items():
        assert record.image.tobytes() == before[key].image.tobytes()
        assert record.caption == before[key].caption and 3 <= len(record.texts) <= 5


@pytest.mark.slow
def test_of_the_shards_only_those_that_are_not_done_are_done_again(
    cluster: str, world: Path, annotated: Path, tmp_path: Path
) -> None:
    config = ScaleConfig(f"{world}/train-*.tar", tmp_path / "out", **SAMPLE)
    shutil.copytree(annotated, config.out)
    assert scale(config).skipped == 3
    stamps = {path.name: path.stat().st_mtime_ns for path in config.out.glob("*.tar")}
    (config.out / "train-000001.tar").unlink()
    told: list[ClusterProgress] = []
    assert scale(config, report=told.append).skipped == 2
    assert (told[-1].shards, told[-1].total, told[-1].pictures) == (1, 1, 6)
    again = {path.name: path.stat().st_mtime_ns for path in config.out.glob("*.tar")}
    assert [name for name in stamps if stamps[name] != again[name]] == ["train-000001.tar"]
    with pytest.raises(UserError, match=r"holds shards that other settings made .*choose another --out"):
        scale(replace(config, sample=replace(LIES, seed=4)))
    assert contents(config.out) == contents(annotated)


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on(cluster: str, tmp_path: Path) -> None:
    """Of ten shards: those that are ready come all but at once, and a kill must come before the last one."""
    world, whole, out = (tmp_path / name for name in ("world", "whole", "out"))
    write_world(WorldConfig(world, images=60, held_out_images=0, classes=1, novel_images_per_class=0, shard_images=6))
    assert scale(ScaleConfig(f"{world}/train-*.tar", whole, **SAMPLE)).shards == 10
    words = [f"--shards={world}/train-*.tar", f"--out={out}", f"--address={cluster}", "--batch=2"]
    words += ["--describer.kind=sample", "--localizer.kind=sample"]
    words += [f"--sample.{name}={value}" for name, value in (("wrong", 0.4), ("shifted", 0.5), ("seed", 3))]
    with subprocess.Popen([sys.executable, "-m", "curation.scale", *words], cwd=ROOT) as process:
        while process.poll() is None and not list(out.glob("records/train-*.json")):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        assert process.returncode is None, "it was killed before it came to its end"
        process.send_signal(signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    for folder in (out, out / "records", out / "errors"):  # as a kill in the middle of a file leaves
        (folder / ".train-000009.7.7.tmp").write_bytes(b"half")
    assert scale(ScaleConfig(f"{world}/train-*.tar", out, **SAMPLE)).skipped >= 1
    assert contents(out) == contents(whole)


@pytest.mark.slow
def test_a_picture_that_fails_is_told_with_its_reason_and_the_others_go_through(cluster: str, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    red, green, blue, yellow = COLOURS.values()
    files = {
        "a.jpg": encoded(red, "JPEG"),
        "a.txt": b"a red card",
        "b.jpg": encoded(green, "JPEG")[:-30],
        "c.x.png": encoded(green, "PNG"),
        "d.jpg": encoded(blue, "JPEG"),
        "e.jpg": encoded(yellow, "JPEG", exif=turned),
        "f.jpg": b"",
    }
    shard_of(tmp_path / "in" / "00000.tar", files)
    whole = shard_of(tmp_path / "in" / "00001.tar", {"g.jpg": encoded(red, "JPEG")}).read_bytes()
    (tmp_path / "in" / "00001.tar").write_bytes(whole[:700])
    (tmp_path / "in" / ".00002.tar.7.7.tmp").write_bytes(whole[:700])  # of whoever wrote it and was killed
    with fake_openai(always={"blue": 400}) as server:
        config = ScaleConfig(
            str(tmp_path / "in"),
            tmp_path / "out",
            DescriberChoice("server", model="m", server=server.url),
            LocalizerChoice("photo"),
            attempts=1,
        )
        summary = scale(config)
        asked = len(server.requests)
        server.always = {}
        assert scale(config).skipped == 2 and len(server.requests) == asked
        errors = errors_of(config.out, "00000")
        redone = scale(replace(config, redo_failed=True))
    assert (summary.images, summary.failed) == (3, {"refused": 4, "failed": 1})
    assert (redone.images, redone.failed, redone.skipped) == (4, {"refused": 4}, 1)
    assert {name: (row["stage"], row["state"]) for name, row in errors.items()} == {
        "b.jpg": ("read", "refused"),
        "d.jpg": ("describe", "failed"),
        "f.jpg": ("read", "refused"),
    }
    assert "damaged or cut short" in errors["b.jpg"]["reason"] and "empty" in errors["f.jpg"]["reason"]
    assert "the server refuses this picture (400)" in errors["d.jpg"]["reason"]
    assert "damaged or cut short" in errors_of(config.out, "00001")[""]["reason"]
    rows = rows_of(config.out)
    assert {name: row["id"] for name, row in rows.items()} == dict(zip(rows, ("a", "c_x", "d", "e"), strict=True))
    assert rows["a.jpg"]["caption"] == "a red card" and rows["d.jpg"]["caption"] == "A blue thing on a table."
    assert rows["a.jpg"]["written_caption"] == "A red thing on a table."
    assert rows["c.x.png"]["descriptions"] == ["a green lid", "a green star"]
    records = {each.key: each for each in grain_data.read_records(grain_data.find_shards(config.out, "train"))}
    assert {key: each.image.size for key, each in records.items()} == dict.fromkeys("a c_x d".split(), (48, 32)) | {
        "e": (32, 48)
    }


@pytest.mark.slow
def test_a_run_that_cannot_work_says_why_in_one_sentence(cluster: str, world: Path, tmp_path: Path) -> None:
    offline = ScaleConfig(f"{world}/train-*.tar", tmp_path / "out", **SAMPLE)
    for slip, words in {
        replace(offline, shards=str(tmp_path / "nowhere")): r"^There are no shards at '.*nowhere': give a folder",
        replace(offline, out=world): "where the new ones would go: choose another --out",
        replace(offline, describing=PoolConfig(actors=9)): "ask for 10 cores and 0 GPUs, and there are 2 and 0",
        replace(offline, localizing=PoolConfig(gpus=1)): "ask for 2 cores and 1 GPUs, and there are 2 and 0",
    }.items():
        with pytest.raises(UserError, match=words):
            scale(slip)
    for name in ("x", "y"):
        shard_of(tmp_path / name / "00000.tar", {"a.jpg": encoded((9, 9, 9), "JPEG")})
    with pytest.raises(UserError, match=r"2 shards are called 00000: annotate their folders one by one"):
        find_shards(f"{tmp_path}/*/*.tar", tmp_path / "out")
    with pytest.raises(UserError, match=r"know its pictures alone, and a\.jpg is none of them"):
        scale(replace(offline, shards=str(tmp_path / "x")))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_the_claims_are_the_very_claims_of_audit_and_a_policy_reaches_the_regions(
    cluster: str, world: Path, annotated: Path, tmp_path: Path
) -> None:
    config = ScaleAuditConfig(annotated, tmp_path / "audited", AUDITED_BY)
    assert scale_audit(config).images == 18
    inside = tmp_path / "inside"
    inside.mkdir()
    for shard in world.glob("train-*.tar"):
        shutil.copy(shard, inside)
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    ingest(engine, inside, dataset="world", home=tmp_path, processes=1)
    asked = AnnotateConfig("world", **SAMPLE)
    annotate(engine, asked, AnnotatorFactory.of(asked), worker="w")
    audit(engine, AuditConfig("world", sources=AUDITED_BY), worker="w", home=tmp_path)
    with reading(engine) as session:
        images = {image.id: image.member for image in image_page(session, dataset_id=1)}
        recipe = audit_runs(session, dataset_id=1)[0].recipes["audit"]
        found = claims_of(session, image_ids=list(images), recipe=recipe)
    rows = rows_of(config.out)
    assert len(rows) == len(images) == 18 and sum(len(each) for each in found.values()) > 60
    for number, member in images.items():
        for row, other in zip(found[number], rows[member]["claims"], strict=True):
            said = [row.text, *(getattr(row.claim, name) for name in CLAIM)]
            assert said == [other[name] for name in ("text", *CLAIM)]
            # last digits hang on what else was in the detector's batch, and with them which of two near ones is best
            assert other["probability"] == pytest.approx(row.claim.probability, abs=1e-3)
            for one, two in zip(row.claim.evidence, other["evidence"], strict=True):
                assert two.pop("source") == one.pop("source") and two.keys() == one.keys()
                assert [two.get(name) for name in SCORES] == pytest.approx([one.get(name) for name in SCORES], abs=1e-3)
    assert json.loads((config.out / "manifest.json").read_text())["recipes"]["audit"] == recipe

    assert scale_audit(config).skipped == 3
    with pytest.raises(UserError, match="holds shards that other settings made"):
        scale_audit(replace(config, policy="drop-description"))
    strict = replace(config, policy="drop-description", out=tmp_path / "strict")
    scale_audit(strict)
    for member, sample in rows_of(strict.out).items():
        wrong = {each["text"] for each in sample["claims"] if each["verdict"] == "unsupported"}
        assert sample["regions"] == [each for each in rows[member]["regions"] if each["text"] not in wrong]
    assert sum(len(row["regions"]) for row in rows_of(strict.out).values()) < sum(
        len(row["regions"]) for row in rows.values()
    )


def test_what_cannot_be_audited_is_said_in_one_sentence(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no described shards, or not all of them yet"):
        scale_audit(ScaleAuditConfig(world, tmp_path, AUDITED_BY))
    with pytest.raises(ValueError, match="need what lies beside its own pictures"):
        ScaleAuditConfig(world, tmp_path, SourceChoice("sample"))


def test_without_ray_the_command_says_how_to_install_it(world: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('not here')")
    words = [f"--shards={world}", f"--out={tmp_path / 'out'}", "--describer.kind=sample", "--localizer.kind=sample"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "curation.scale", *words],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "curation.scale: Ray is not installed: run `pip install -r requirements-scale.txt`.\n"
