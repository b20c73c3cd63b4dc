"""What lies in a folder of finished shards: no shard takes the place of another one of its name."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow
import pytest

from curation.scale.scale import read_shards, sample_json
from curation.scale.shard_files import (
    ScaleSummary,
    ShardRecipe,
    find_shards,
    finish,
    is_done,
    open_folder,
    unpacked,
    write_shard,
)
from tests.support.source_files import jpeg, write_tar
from user_errors import UserError


def a_shard(path: Path, *shades: int) -> Path:
    """A tar of a picture a shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tar(path, {f"{shade}.jpg": jpeg(shade) for shade in shades})


def a_run(folder: Path, out: Path, split: str) -> ScaleSummary:
    """What curation.scale does with the shards of a folder, without a cluster and without annotators."""
    made, shards = ShardRecipe("recipe", split), find_shards(str(folder), out)
    todo = [shard for shard in shards if not is_done(out, made, shard, redo_failed=False)]
    open_folder(out)
    for shard in todo:
        tables = read_shards(pyarrow.table({"shard": [str(shard)]}))
        items = [item for table in tables for item, _ in unpacked(table) if not item.last]
        write_shard(shard, items, out=out, made=made, beside=sample_json)
    return finish(out, {}, skipped=len(shards) - len(todo))


def splits_of(out: Path) -> dict[str, int]:
    """Split -> its pictures."""
    splits = json.loads((out / "manifest.json").read_text())["splits"]
    return {split: sum(each["images"] for each in files) for split, files in splits.items()}


def test_no_shard_takes_the_place_of_another_of_its_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    a_shard(tmp_path / "train" / "0000.tar", 10, 20, 30)
    for folder in ("held_out", "more"):
        a_shard(tmp_path / folder / "0000.tar", 40)
    a_shard(tmp_path / "held_out_2" / "0001.tar", 40)
    assert a_run(tmp_path / "train", out, "train").images == 3
    before = (out / "0000.tar").read_bytes()
    for folder, split in (("held_out", "held_out"), ("more", "train")):
        words = f"{out} holds 0000.tar already, made of {tmp_path}/train/0000.tar as train: choose another --out"
        with pytest.raises(UserError, match=re.escape(words)):
            a_run(tmp_path / folder, out, split)
    assert (out / "0000.tar").read_bytes() == before and splits_of(out) == {"train": 3}
    a_run(tmp_path / "held_out_2", out, "held_out")
    assert splits_of(out) == {"held_out": 1, "train": 3}


def test_a_shard_that_changed_is_done_again_and_one_that_moved_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    a_shard(tmp_path / "train" / "0000.tar", 10, 20, 30)
    a_run(tmp_path / "train", out, "train")
    shutil.move(tmp_path / "train", tmp_path / "moved")
    assert a_run(tmp_path / "moved", out, "train").skipped == 1
    a_shard(tmp_path / "train" / "0000.tar", 10)
    assert a_run(tmp_path / "train", out, "train").images == 1


def test_a_record_of_an_earlier_release_keeps_its_shard_from_another_split(tmp_path: Path) -> None:
    out = tmp_path / "out"
    a_shard(tmp_path / "train" / "0000.tar", 10, 20, 30)
    a_run(tmp_path / "train", out, "train")
    [record] = (out / "records").iterdir()
    facts = json.loads(record.read_text())
    del facts["source"]
    record.write_text(json.dumps(facts))
    assert a_run(tmp_path / "train", out, "train").skipped == 1
    a_shard(tmp_path / "held_out" / "0000.tar", 40)
    with pytest.raises(UserError, match="made of another shard as train: choose another --out"):
        a_run(tmp_path / "held_out", out, "held_out")
    assert a_run(tmp_path / "train", out, "train").skipped == 1 and splits_of(out) == {"train": 3}
