"""Boxes and captions of a COCO file arrive in training batches, all of them, and no other."""

from __future__ import annotations

from pathlib import Path

from benchmarks.road_counts import counts_of_road, lost, write_coco


def test_a_coco_files_boxes_and_captions_are_the_same_number_at_every_step(tmp_path: Path) -> None:
    files = write_coco(tmp_path / "coco", 23)
    (tmp_path / "home").mkdir()
    found = counts_of_road(tmp_path / "coco" / "images", files, tmp_path / "home")
    # picture n has n mod 10 boxes, and a caption unless 5 divides n
    whole = {"boxes": 45 + 45 + 6, "captions": 23 - 4, "pictures with boxes": 23 - 2}
    assert found["file"] == found["shards"] == found["batches, and held-out pictures"] == whole
    assert found["database"]["boxes"] == found["version"]["boxes"] == 96
    assert lost(found) == 0
    assert lost(found | {"version": {"boxes": 90}}) == 6
