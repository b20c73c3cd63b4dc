import io
import tarfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st

from grain.data.shards import WINDOW_SAMPLES, ExactlyOnce, Resampled, SampleOrder, SampleReader, index_shard, read_entry
from tests.support.tiny import sample, write_shard

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def write_tar(path: Path, files: dict[str, bytes], format: int = tarfile.USTAR_FORMAT, **facts: Any) -> Path:
    with tarfile.open(path, "w", format=format) as shard:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for fact, value in facts.items():
                setattr(entry, fact, value)
            shard.addfile(entry, io.BytesIO(content))
    return path


def samples_of(path: Path) -> list[dict]:
    return [read_entry(path, entry) for entry in index_shard(path)]


def places(order: SampleOrder, positions: range) -> list[tuple[int, int, int]]:
    """(shard, row, turn) at each position, a window at a time."""
    found: list[tuple[int, int, int]] = []
    while len(found) < len(positions):
        window = order.window(positions[len(found)])
        start = positions[len(found)] - window.first
        rows = zip(window.shards[start:].tolist(), window.rows[start:].tolist(), strict=True)
        found += [(shard, row, int(window.turns[0])) for shard, row in rows]
    return found[: len(positions)]


# samples


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("facts", [{}, {"mtime": 1.5}], ids=["plain", "fractions of seconds"])
def test_an_index_finds_what_webdataset_reads_one_after_the_other(format: int, facts: dict, tmp_path: Path) -> None:
    files = {"a/0.jpg": b"x" * 700, "a/0.json": b"{}", "a/0.seg.png": b"", "a/1.JPG": b"y", "b/1.jpg": b"z" * 512}
    files |= {f"{'long' * 30}/2.jpg": b"w", "ünlaut.jpg": b"v"}
    path = write_tar(tmp_path / "shard.tar", files, format, **(facts if format == tarfile.PAX_FORMAT else {}))
    theirs = list(wds.DataPipeline(wds.SimpleShardList([str(path)]), wds.tarfile_to_samples()))
    ours = samples_of(path)
    assert len(ours) == len(theirs) == 5
    for mine, other in zip(ours, theirs, strict=True):
        assert mine | {"__url__": ""} == {k: v for k, v in other.items() if k != "__local_path__"} | {"__url__": ""}


def test_folders_and_hidden_files_are_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as shard:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        shard.addfile(folder)
        for name in ("a/.hidden.jpg", "a/README", "a/0.jpg"):
            shard.addfile(tarfile.TarInfo(name))
    assert [entry.key for entry in index_shard(path)] == ["a/0"]


def test_an_empty_shard_has_no_samples(tmp_path: Path) -> None:
    assert index_shard(write_tar(tmp_path / "shard.tar", {})) == []


@pytest.mark.parametrize("content", [b"", b"hello" * 500], ids=["empty", "no tar"])
def test_what_is_no_tar_is_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"^shard shard.tar cannot be read \(.*\): copy or write the shards again$"):
        index_shard(tmp_path / "shard.tar")


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_shard_that_ends_within_a_file_is_refused(format: int, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "shard.tar", {"0.jpg": b"x" * 5000, "1.jpg": b"y" * 5000}, format)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"shard.tar cannot be read \(it ends in the middle of a file\)"):
        index_shard(path)


# orders


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 16), st.integers(0, 5))
def test_an_epoch_has_every_sample_at_most_once_and_all_but_a_rest_of_less_than_a_batch(
    counts: list[int], batch: int, seed: int
) -> None:
    batch = min(batch, sum(counts))
    order, length = ExactlyOnce(counts, seed=seed, batch=batch), sum(counts) // batch * batch
    for epoch in (0, 3):
        found = places(order, range(epoch * length, (epoch + 1) * length))
        assert len({(shard, row) for shard, row, _ in found}) == length
        assert all(0 <= row < counts[shard] and turn == epoch for shard, row, turn in found)


def test_epochs_and_seeds_differ_in_their_order() -> None:
    counts = [50] * 4
    first, second, other = (
        places(ExactlyOnce(counts, seed=seed, batch=50), range(start, start + 200))
        for seed, start in ((0, 0), (0, 200), (1, 0))
    )
    assert [place[:2] for place in first] != [place[:2] for place in second]
    assert first != other


def test_a_window_mixes_a_few_shards_and_no_more() -> None:
    counts = [WINDOW_SAMPLES] * 40
    window = ExactlyOnce(counts, seed=0, batch=1).window(100_000)
    assert window.holds(100_000) and len(window.rows) == 4 * WINDOW_SAMPLES
    assert len(set(window.shards.tolist())) == 4
    assert len(set(window.shards[:64].tolist())) == 4, "mixed, not one after the other"


@pytest.mark.parametrize("kind", ["exactly once", "resampled"])
def test_any_position_gives_what_one_would_have_come_to(kind: str) -> None:
    counts = [3000, 10, 4000, 2500, 7000, 1, 900, 6000]
    order: SampleOrder = Resampled(counts, seed=2) if kind == "resampled" else ExactlyOnce(counts, seed=2, batch=64)
    whole = places(order, range(40_000))
    for position in (0, 4095, 4096, 12_345, 23_359, 39_999):
        assert places(order, range(position, position + 1)) == [whole[position]]
    starts = [order.window(position).first for position in range(0, 40_000, 500)]
    assert all(a <= b for a, b in pairwise(starts)) and len(set(starts)) > 2


def test_resampling_gives_every_sample_the_same_chance_and_some_again() -> None:
    counts = [100, 300, 600]
    found = places(Resampled(counts, seed=0), range(200 * WINDOW_SAMPLES))
    share = Counter(shard for shard, _, _ in found)
    chances = np.array([share[shard] for shard in range(3)]) / len(found)
    assert chances == pytest.approx([0.1, 0.3, 0.6], abs=0.05)  # 800 shards drawn: one deviation is 0.017
    assert len({place[:2] for place in found}) == 1000
    first = [place[:2] for place in found[:1000]]
    assert len(set(first)) < 1000


# a reader


def test_a_reader_opens_the_shards_of_one_window_and_no_others(tmp_path: Path) -> None:
    """What a start costs does not depend on how many shards there are: the others need not even exist."""
    paths = [tmp_path / f"{number}.tar" for number in range(3000)]
    counts = [4] * len(paths)
    order = ExactlyOnce(counts, seed=0, batch=4)
    window = order.window(5_001)
    needed = set(window.shards.tolist())
    assert len(needed) == WINDOW_SAMPLES // 4
    rows = [sample(f"{row}", row, regions=0) for row in range(4)]
    for shard in needed:
        write_shard(paths[shard], rows)
    reader = SampleReader(paths, counts, order)
    keys = Counter(int(reader.read(position)[0]["__key__"]) for position in range(5_001, 5_101))
    assert keys.keys() == {0, 1, 2, 3} and keys.total() == 100


def test_a_shard_with_another_number_of_samples_than_was_said_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [sample("a", 0, regions=0)])
    reader = SampleReader([tmp_path / "0.tar"], [2], ExactlyOnce([2], seed=0, batch=1))
    with pytest.raises(ValueError, match=r"shard 0.tar holds 1 images, manifest.json says 2: copy or write"):
        reader.read(0)
