"""Leaks that are planted are found: the same bytes, saved again, scaled, cropped; and what is decided stays."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation.concepts.compare import ComparedPicture, LeakSettings, compare, look_distances, looks
from curation.concepts.decisions import decide_leak
from curation.concepts.leaks import LeaksConfig, check, minutes_left
from curation.concepts.status import status_of
from curation.concepts.training_pictures import pictures_of
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.ingest.ingest import ingest, thumbnail_path
from curation.sample.scenes import render_scene
from curation.versions.versions import freeze
from db.engine import Engine, open_engine
from grain.structures import Array
from user_errors import UserError


def scene(index: int) -> Image.Image:
    return render_scene("train", seed=7, index=index).image


def jpeg(image: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((4, 6, width - 10, height - 8)).resize((int(width * 0.7), int(height * 0.7)))


PLANTED = {"copy.jpg": "content", "again.jpg": "look", "small.jpg": "look", "cropped.jpg": "look"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training pictures, and a set with four of them in it, disguised, and four honest ones."""
    home = tmp_path_factory.mktemp("home")
    for folder in ("seen", "found"):
        (home / folder).mkdir()
    for number in range(12):
        (home / "seen" / f"{number}.jpg").write_bytes(jpeg(scene(number)))
    planted = {
        "copy.jpg": (home / "seen" / "1.jpg").read_bytes(),
        "again.jpg": jpeg(scene(2), quality=40),
        "small.jpg": jpeg(scene(3).resize((110, 97))),
        "cropped.jpg": jpeg(cropped(scene(4)), quality=80),
    }
    honest = {f"new-{n}.jpg": jpeg(render_scene("novel", seed=7, index=n, classes=4).image) for n in range(4)}
    for name, content in (planted | honest).items():
        (home / "found" / name).write_bytes(content)
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    for folder in ("seen", "found"):
        ingest(engine, home / folder, dataset=folder, home=home)
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return open_engine(f"sqlite:///{home / 'grain.sqlite'}")


def suspects(engine: Engine, against: str) -> dict[str, tuple[str, str]]:
    """Name -> likeness and match of a picture's first suspect."""
    now = status_of(engine, "found")
    names = {image.id: Path(image.location).name for image in now.images}
    found: dict[str, tuple[str, str]] = {}
    for one in now.suspects:
        if one.against == against:
            found.setdefault(names[one.image_id], (one.how, one.match_name))
    return found


def shards(engine: Engine, home: Path) -> Path:
    folder = home / "shards"
    export(engine, home, ExportConfig("shards", folder, dataset="seen", unreviewed=True, held_out=0.2, shard_images=5))
    return folder


def test_looks_are_eleven_distances_at_their_least() -> None:
    one, other = np.array([[0b1111, 0b1]], dtype=np.uint64), np.array([[0b0, 0b1100], [0b1111, 0]], dtype=np.uint64)
    # the first: 4 bits whole to whole, 2 to its cut-out, 1 from ours to its whole; the second is equal as a whole
    assert look_distances(one, other).tolist() == [[1, 0]]
    assert looks(scene(0)).shape == (6,)


def test_a_planted_leak_is_found_in_another_data_set(engine: Engine, home: Path) -> None:
    heard: list[tuple[int, int]] = []
    told = LeaksConfig("found", against="seen")
    result = check(engine, home, told, on_progress=lambda done, total: heard.append((done, total)))
    assert heard[0][0] == result.checked and heard[-1] == (result.checked + result.compared,) * 2
    assert minutes_left(1, 4, 100) == ", about 5 min left" and minutes_left(2, 4, 60) == ", about 60 s left"
    assert minutes_left(4, 4, 60) == minutes_left(0, 4, 60) == ""
    found = suspects(engine, "the data set seen")
    assert {name: found[name][0] for name in PLANTED} == PLANTED
    assert [found[name][1] for name in PLANTED] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert (result.checked, result.compared, result.skipped) == (8, 12, 0)


def test_a_planted_leak_is_found_in_shards_and_in_a_frozen_version(engine: Engine, home: Path) -> None:
    folder = shards(engine, home)
    check(engine, home, LeaksConfig("found", shards=folder))
    found = suspects(engine, f"the shards in {folder}")
    assert {name: found[name][0] for name in PLANTED} == PLANTED
    freeze(engine, home, dataset="seen", name="v1", who="ana", statuses=("accepted",))
    check(engine, home, LeaksConfig("found", against="seen", version="v1"))
    found = suspects(engine, "version v1 of seen")
    assert {name: found[name][0] for name in PLANTED} == PLANTED


def test_a_match_from_shards_can_be_looked_at(engine: Engine, home: Path, tmp_path: Path) -> None:
    other = open_engine(f"sqlite:///{tmp_path / 'other.sqlite'}")  # where the training pictures never were
    ingest(other, home / "found", dataset="found", home=tmp_path)
    check(other, tmp_path, LeaksConfig("found", shards=shards(engine, home)))
    matches = {one.match_sha256 for one in status_of(other, "found").suspects}
    assert len(matches) >= len(PLANTED)
    assert all(thumbnail_path(tmp_path, sha256).is_file() for sha256 in matches)


def test_what_was_decided_outlives_another_check_and_the_rest_is_found_anew(engine: Engine, home: Path) -> None:
    check(engine, home, LeaksConfig("found", against="seen"))
    before = [one for one in status_of(engine, "found").suspects if one.against == "the data set seen"]
    decide_leak(engine, before[0].id, "drop", seen=[""], who="ana")
    check(engine, home, LeaksConfig("found", against="seen", settings=LeakSettings(distance=0)))
    after = [one for one in status_of(engine, "found").suspects if one.against == "the data set seen"]
    assert [one.decision for one in after if one.image_id == before[0].image_id] == ["drop"]
    assert len({one.image_id for one in after}) < len({one.image_id for one in before})
    decide_leak(engine, before[0].id, "", seen=["drop"], who="ana")


def test_duplicates_within_the_set_come_once_the_later_picture_is_the_suspect(engine: Engine, home: Path) -> None:
    ours = list(pictures_of(engine, home, "found", numbered=True))
    twin = replace(ours[0], id=ours[-1].id + 1, sha256="0" * 64)
    found, compared, _ = compare([*ours, twin], [*ours, twin], LeakSettings(distance=0))
    assert [(one.image_id, one.how, one.match_sha256) for one in found] == [(twin.id, "look", ours[0].sha256)]
    assert compared == len(ours) + 1


def test_a_near_embedding_makes_a_suspect_and_says_how_near() -> None:
    directions = {110: (1.0, 0.0), 100: (0.9, 0.19**0.5), 90: (0.0, 1.0)}  # by the picture's width

    def embed(images: Sequence[Image.Image]) -> Array:
        return np.array([directions[image.width] for image in images], dtype=np.float32)

    ours = [ComparedPicture("1" * 64, "ours", image=scene(0).resize((110, 97)), id=1)]
    theirs = [
        ComparedPicture("2" * 64, "near", image=scene(1).resize((100, 88))),
        ComparedPicture("3" * 64, "far", image=scene(2).resize((90, 80))),
        ComparedPicture("4" * 64, "gone"),
    ]
    settings = LeakSettings(distance=0, nearest=0.8)
    found, compared, skipped = compare(ours, theirs, settings, embed=embed)
    assert [(one.how, one.match_name) for one in found] == [("embedding", "near")]
    assert found[0].value == pytest.approx(0.9) and (compared, skipped) == (3, 1)
    assert compare(ours, theirs, settings)[0] == []


def test_nothing_is_like_nothing() -> None:
    assert compare([], [], LeakSettings()) == ([], 0, 0)
    assert compare([ComparedPicture("1" * 64, "a", id=1)], [ComparedPicture("2" * 64, "b")], LeakSettings())[0] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "expected one thing to compare with, got 0"),
        ({"against": "seen", "itself": True}, "got 2"),
        ({"against": "found"}, "expected other data than 'found'"),
        ({"against": "nowhere"}, "expected the name of a data set, got 'nowhere'"),
        ({"shards": Path("nowhere")}, "expected a folder of shards with its manifest.json, got nowhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(engine: Engine, home: Path, options: dict, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=sentence):
        check(engine, home, LeaksConfig("found", **options))


def test_a_damaged_shard_is_named_and_nothing_is_kept(engine: Engine, home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 200)
    splits = {"train": [{"file": "a.tar", "images": 1}], "novel": [{"file": "gone.tar", "images": 1}]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "splits": splits, "trained_on": "x"}))
    with pytest.raises(UserError, match=r"a\.tar cannot be read as a shard"):
        check(engine, home, LeaksConfig("found", shards=tmp_path))
    assert suspects(engine, f"the shards in {tmp_path}") == {}
