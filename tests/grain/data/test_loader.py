import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grain.data.loader import (
    TrainingStream,
    collate,
    decode,
    find_mixed,
    find_shards,
    loader,
    picture,
    read_records,
    to_device,
)
from grain.data.record import ShardRecord
from grain.data.tokenizer import Tokenizer, text_id
from grain.structures import Batch
from tests.support.tiny import sample, tiny_config, write_data, write_shard

CONFIG = tiny_config()
TOKENIZER = Tokenizer(vocab_size=1000, context_length=24)


def stream(folder: Path, **changes: Any) -> TrainingStream:
    options: dict = {"global_batch": 4, "seed": 3, "last_step": 7} | changes
    return TrainingStream(find_mixed(folder, ()), CONFIG, **options)


def record(key: str, texts: list[str], *, caption: str = "c") -> ShardRecord[Tensor]:
    boxes = tuple((0.1 * i, 0.0, 0.1 * i + 0.1, 1.0) for i in range(len(texts)))
    return ShardRecord(key, torch.zeros(3, 32, 32), caption, boxes, tuple(texts), None)


def raw(**changes: Any) -> dict:
    """A sample as WebDataset gives it, with changed facts."""
    files = sample("train-1", 1, regions=0)
    facts = json.loads(files["train-1.json"]) | changes
    return {"__key__": "train-1", "__url__": "train-0.tar", "jpg": files["train-1.jpg"], "json": json.dumps(facts)}


def region(box: list[float], text: str, score: float) -> dict:
    return {"box": box, "text": text, "score": score, "part": "top"}


def tensors(batch: Batch) -> list[Tensor]:
    return [batch.images, batch.captions, batch.descriptions, batch.description_ids, *vars(batch.regions).values()]


# one sample


def test_regions_come_best_score_first_clipped_to_the_image() -> None:
    regions = [region([0, 0, 0.5, 0.5], "second", 0.4), region([-0.2, 0.25, 0.75, 1.5], "first", 0.9)]
    got = decode(raw(regions=regions, caption="a jar", **{"class": "zorbex"}), picture)
    assert got.texts == ("first", "second")
    assert got.boxes_xyxy == ((0.0, 0.25, 0.75, 1.0), (0.0, 0.0, 0.5, 0.5))
    assert (got.key, got.caption, got.class_name, got.image.mode) == ("train-1", "a jar", "zorbex", "RGB")


def test_a_box_without_area_leaves_with_its_text_and_shifts_no_other() -> None:
    flat, outside, broken = [0.5, 0.5, 0.5, 0.9], [1.2, 0.1, 1.4, 0.9], [math.nan, 0.0, 1.0, 1.0]
    boxes = [flat, [0.0, 0.0, 0.2, 0.2], outside, broken, [0.5, 0.5, 1.0, 1.0]]
    got = decode(raw(regions=[region(box, f"text {i}", 1 - 0.1 * i) for i, box in enumerate(boxes)]), picture)
    assert got.texts == ("text 1", "text 4")
    assert got.boxes_xyxy == ((0.0, 0.0, 0.2, 0.2), (0.5, 0.5, 1.0, 1.0))


def test_a_picture_without_regions_has_none() -> None:
    got = decode(raw(), picture)
    assert got.texts == got.boxes_xyxy == ()
    assert got.class_name is None


def test_proposals_keep_their_order_and_are_clipped_and_none_is_not_the_same_as_no_such_key() -> None:
    rows = [[0.5, 0.5, 0.6, 0.6], [0.2, 0.2, 0.2, 0.9], [-0.5, 0.0, 0.5, 2.0]]
    assert decode(raw(proposals=rows), picture).proposals == ((0.5, 0.5, 0.6, 0.6), (0.0, 0.0, 0.5, 1.0))
    assert decode(raw(proposals=[]), picture).proposals == ()
    assert decode(raw(), picture).proposals is None


@pytest.mark.parametrize(
    "broken",
    [
        raw() | {"jpg": b"no picture"},
        raw() | {"json": "{"},
        raw() | {"json": "[]"},
        raw(regions=[{"box": [0, 0, 1, 1]}]),
        raw(regions=[region([0, 0, 1], "three numbers", 1.0)]),
        raw(proposals=[[0, 0, 1]]),
        {key: value for key, value in raw().items() if key != "json"},
        raw() | {"json": json.dumps({"regions": []})},
    ],
    ids=["picture", "json", "list", "no text", "short box", "short proposal", "no json", "no caption"],
)
def test_a_sample_that_cannot_be_read_is_named_with_its_shard(broken: dict) -> None:
    with pytest.raises(ValueError, match=r"sample train-1 of train-0.tar cannot be read .*: write the shard again"):
        decode(broken, picture)


# a batch


def test_regions_lie_end_to_end_and_each_description_is_encoded_once() -> None:
    records = [record("a", ["a lid", "a star"]), record("b", []), record("c", ["a star", "a star", "a lid"])]
    batch = collate(records, ["x", "y", "z"], config=CONFIG, tokenizer=TOKENIZER, max_regions=2)
    assert batch.regions.image_index.tolist() == [0, 0, 2, 2]
    assert batch.regions.text_index.tolist() == [0, 1, 1, 1]
    torch.testing.assert_close(batch.regions.boxes_xyxy[:, 0], torch.tensor([0.0, 0.1, 0.0, 0.1]))
    assert batch.description_ids.tolist() == [text_id("a lid"), text_id("a star")]
    assert torch.equal(batch.descriptions, TOKENIZER(["a lid", "a star"]))
    assert torch.equal(batch.captions, TOKENIZER(["x", "y", "z"]))
    assert batch.images.shape == (3, 3, 32, 32)


@pytest.mark.parametrize("with_regions", [True, False])
def test_a_batch_without_regions_has_empty_tables_of_the_right_kind(with_regions: bool) -> None:
    records = [record("a", [] if with_regions else ["a lid"])]
    batch = collate(records, ["x"], config=CONFIG, tokenizer=TOKENIZER, max_regions=5, with_regions=with_regions)
    assert batch.regions.boxes_xyxy.shape == (0, 4)
    assert batch.descriptions.shape[0] == batch.description_ids.shape[0] == batch.regions.image_index.shape[0] == 0
    assert batch.description_ids.dtype == batch.regions.text_index.dtype == torch.long


def test_a_batch_carries_proposals_only_where_the_model_starts_from_them() -> None:
    proposed = [((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)), ((0.25, 0.25, 0.75, 0.75),)]
    records = [replace(record(name, []), proposals=boxes) for name, boxes in zip("ab", proposed, strict=True)]
    options: dict = {"tokenizer": TOKENIZER, "max_regions": 1}
    assert collate(records, ["x", "y"], config=CONFIG, **options).proposals is None
    batch = collate(records, ["x", "y"], config=tiny_config(queries="proposals"), **options)
    assert batch.proposals is not None
    assert batch.proposals.mask.tolist() == [[True, True], [True, False]]
    assert batch.proposals.boxes_xyxy[1, 0].tolist() == list(proposed[1][0])
    moved = to_device(batch, torch.device("meta"))
    assert moved.proposals is not None and moved.proposals.mask.device.type == "meta"
    with pytest.raises(ValueError, match="sample c has no proposals: write the data again with them"):
        collate([record("c", [])], ["x"], config=tiny_config(queries="proposals"), **options)


def test_a_batch_moves_to_another_device_whole() -> None:
    records = [record("a", ["a lid"])]
    batch = collate(records, ["x"], config=CONFIG, tokenizer=TOKENIZER, max_regions=5)
    moved = to_device(batch, torch.device("meta"))
    assert [each.device.type for each in tensors(moved)] == ["meta"] * 7
    assert [each.shape for each in tensors(moved)] == [each.shape for each in tensors(batch)]


# a folder


def test_records_come_in_the_order_of_the_shards(data_folder: Path) -> None:
    shards = find_shards(data_folder, "train")
    assert (len(shards.paths), shards.images, shards.trained_on) == (3, 12, "tiny pictures")
    assert [each.key for each in read_records(shards)] == [f"train-{i:07d}" for i in range(12)]
    assert len(list(read_records(shards, limit=4))) == 4
    names = {each.class_name for each in read_records(find_shards(data_folder, "novel"))}
    assert names == {"zorbex", "quimble", "plain"}


def test_a_split_without_shards_has_no_images(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", train=5, novel=0)
    shards = find_shards(folder, "novel")
    assert (shards.paths, shards.images, list(read_records(shards))) == ((), 0, [])


SHARD = '{"schema_version": 1, "splits": {"train": [{"file": "%s", "images": 1}]}, "trained_on": ""}'


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (None, "has no manifest.json: expected a data folder"),
        ("{", "cannot be read as a manifest"),
        ("[1]", "cannot be read as a manifest"),
        ('{"schema_version": 1}', "cannot be read as a manifest"),
        ('{"schema_version": 9, "splits": {}, "trained_on": ""}', "has schema 9, expected 1"),
        ('{"schema_version": 1, "splits": {"novel": []}, "trained_on": ""}', "has no split 'train': it has novel"),
        (SHARD % "/etc/shards.tar", "expected a file beside it"),
        (SHARD % "../other/shard.tar", "expected a file beside it"),
        (
            '{"schema_version": 1, "splits": {"train": [{"file": "gone.tar", "images": 1}]}, "trained_on": ""}',
            "lacks gone.tar",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_sentence(
    manifest: str | None, sentence: str, tmp_path: Path
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence) as caught:
        find_shards(tmp_path, "train")
    assert "\n" not in str(caught.value)


# the stream


def test_a_step_number_is_a_data_position(data_folder: Path) -> None:
    whole = list(stream(data_folder))
    assert len(whole) == 7
    for first in (1, 3, 6):
        rest = list(stream(data_folder, first_step=first))
        assert len(rest) == 7 - first
        for ours, theirs in zip(rest, whole[first:], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))


def test_an_epoch_shows_every_picture_once_and_the_next_in_another_order(data_folder: Path) -> None:
    batches = list(stream(data_folder, last_step=6))
    first, second = (torch.cat([b.images for b in part]).flatten(1).sum(1) for part in (batches[:3], batches[3:]))
    assert torch.equal(first.sort().values, second.sort().values)
    assert len(first.unique()) == 12
    assert not torch.equal(first, second)
    other = torch.cat([b.images for b in stream(data_folder, last_step=3, seed=4)]).flatten(1).sum(1)
    assert not torch.equal(first, other)


def test_resampled_steps_go_over_the_end_of_the_data_and_are_positions_too(data_folder: Path) -> None:
    whole = list(stream(data_folder, sampling="resampled", last_step=9, global_batch=5))
    rest = list(stream(data_folder, sampling="resampled", last_step=9, global_batch=5, first_step=6))
    assert len(whole) == 9 and len(rest) == 3
    for ours, theirs in zip(rest, whole[6:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))
    sums = torch.cat([batch.images for batch in whole]).flatten(1).sum(1)
    assert len(sums.unique()) < len(sums) and len(sums.unique()) > 8


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_very_batch_that_one_process_would_see(processes: int, data_folder: Path) -> None:
    whole = list(stream(data_folder))
    parts = zip(*(stream(data_folder, rank=rank, processes=processes) for rank in range(processes)), strict=True)
    checked = 0
    for batch, shares in zip(whole, parts, strict=True):
        assert torch.equal(torch.cat([share.images for share in shares]), batch.images)
        assert torch.equal(torch.cat([share.regions.boxes_xyxy for share in shares]), batch.regions.boxes_xyxy)
        texts = Counter(int(id_) for share in shares for id_ in share.description_ids[share.regions.text_index])
        assert texts == Counter(batch.description_ids[batch.regions.text_index].tolist())
        checked += len(shares)
    assert checked == 7 * processes


def test_loader_processes_give_the_same_batches_in_the_same_order(data_folder: Path) -> None:
    alone, with_two = list(loader(stream(data_folder), 0)), list(loader(stream(data_folder), 2))
    assert len(alone) == len(with_two) == 7
    for ours, theirs in zip(with_two, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_one_sentence_with_and_without_workers(workers: int, tmp_path: Path) -> None:
    samples = [sample(f"{i}", i, regions=1) for i in range(4)]
    samples[1]["1.jpg"] = b"no picture"
    splits = {"train": [write_shard(tmp_path / "train-000000.tar", samples)]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "trained_on": "tiny", "splits": splits}))
    with pytest.raises(
        ValueError, match=r"^sample 1 of .*train-000000.tar cannot be read \(.*\): write the shard again$"
    ):
        list(loader(stream(tmp_path), workers))


def test_the_stronger_twin_reads_captions_and_descriptions_evenly_and_repeatably(data_folder: Path) -> None:
    options = {"caption_source": "with_descriptions", "last_step": 90}
    mixed, again = (torch.cat([b.captions.sum(1) for b in stream(data_folder, **options)]) for _ in range(2))
    assert torch.equal(mixed, again)
    own = torch.cat([b.captions.sum(1) for b in stream(data_folder, last_step=90)])
    share = (mixed == own).float().mean().item()
    expected = sum(1 / (1 + len(each.texts)) for each in read_records(find_shards(data_folder, "train"))) / 12
    assert share == pytest.approx(expected, abs=0.07)


def test_every_other_caption_is_all_descriptions_in_a_sentence(tmp_path: Path) -> None:
    samples = []
    for number in range(4):
        files = sample(f"{number}", number, regions=0)
        regions = [region([0.1, 0.1, 0.9, 0.9], text, 1.0) for text in ("a box", "a lid", "a star")]
        facts = json.loads(files[f"{number}.json"]) | {"caption": "own", "regions": regions}
        samples.append(files | {f"{number}.json": json.dumps(facts).encode()})
    splits = {"train": [write_shard(tmp_path / "train-000000.tar", samples)]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "trained_on": "tiny", "splits": splits}))
    drawn = torch.cat([b.captions.sum(1) for b in stream(tmp_path, caption_source="with_sentence", last_step=100)])
    own, sentence = (int(TOKENIZER([text]).sum()) for text in ("own", "a box with a lid and a star"))
    assert set(drawn.tolist()) == {own, sentence}
    assert (drawn == own).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_hard_negatives_follow_the_captions_of_a_batch_and_change_nothing_else(tmp_path: Path) -> None:
    samples = []
    for number, texts in enumerate([("a red lid", "a blue star"), ("a lid",), (), ("a red lid", "a blue star")]):
        files = sample(f"{number}", number, regions=0)
        regions = [region([0.1, 0.1, 0.9, 0.9], text, 1.0) for text in texts]
        facts = json.loads(files[f"{number}.json"]) | {"caption": "own", "regions": regions}
        samples.append(files | {f"{number}.json": json.dumps(facts).encode()})
    splits = {"train": [write_shard(tmp_path / "train-000000.tar", samples)]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "trained_on": "tiny", "splits": splits}))
    options: dict = {"caption_source": "with_sentence", "last_step": 20}
    plain, with_them, again = (
        list(stream(tmp_path, **options, hard_negatives=negatives)) for negatives in (False, True, True)
    )
    for one, other in zip(with_them, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
    negatives: list[int] = []
    for without, batch in zip(plain, with_them, strict=True):
        images = len(batch.images)
        assert torch.equal(batch.captions[:images, : without.captions.shape[1]], without.captions), "but for padding"
        assert all(torch.equal(a, b) for a, b in zip(tensors(without)[2:], tensors(batch)[2:], strict=True))
        negatives += batch.captions[images:].sum(1).tolist()
    swapped = int(TOKENIZER(["a blue lid with a red star"]).sum())
    alike = int(TOKENIZER(["a lid with a blue star"]).sum())  # its own red lid for another picture's
    longer = int(TOKENIZER(["a red lid"]).sum())  # the second picture's, whose own is "a lid"
    assert {swapped} <= set(negatives) <= {swapped, alike, longer}


def test_captions_are_the_pictures_own_and_the_describers_evenly_and_repeatably(tmp_path: Path) -> None:
    samples = []
    for number, (own, written) in enumerate([("own", "written"), ("own", ""), ("", "written"), ("", "")]):
        files = sample(f"{number}", number, regions=1)
        facts = json.loads(files[f"{number}.json"]) | {"caption": own, "written_caption": written}
        samples.append(files | {f"{number}.json": json.dumps(facts).encode()})
    splits = {"train": [write_shard(tmp_path / "train-000000.tar", samples)]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "trained_on": "tiny", "splits": splits}))
    options = {"caption_source": "either", "last_step": 100}
    sums, again = (torch.cat([b.captions.sum(1) for b in stream(tmp_path, **options)]).tolist() for _ in range(2))
    assert sums == again
    counts: list[int] = [sums.count(int(TOKENIZER([text]).sum())) for text in ("own", "written", "")]
    of_own, of_written, of_nothing = counts
    assert of_own + of_written == 300 and of_nothing == 100
    assert 130 < of_own < 170
    drawn = stream(tmp_path, caption_source="with_descriptions", last_step=100)
    empty = int(TOKENIZER([""]).sum())
    assert empty not in torch.cat([batch.captions.sum(1) for batch in drawn]).tolist(), "a description is there"


@pytest.mark.parametrize(("source", "others"), [("caption", 0.0), ("either", 0.5), ("with_sentence", 0.5)])
def test_of_several_captions_one_is_drawn_each_epoch_and_what_is_drawn_beside_them_keeps_its_share(
    tmp_path: Path, source: str, others: float
) -> None:
    own = ["one", "two", "three", "four", "five"]
    samples = []
    for number in range(4):
        files = sample(f"{number}", number, regions=0)
        facts = json.loads(files[f"{number}.json"]) | {"caption": own[0], "captions": own[1:]}
        facts |= {"written_caption": "written", "regions": [region([0.1, 0.1, 0.9, 0.9], "written", 1.0)]}
        samples.append(files | {f"{number}.json": json.dumps(facts).encode()})
    splits = {"train": [write_shard(tmp_path / "train-000000.tar", samples)]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "trained_on": "tiny", "splits": splits}))
    options = {"caption_source": source, "last_step": 250}
    sums, again = (torch.cat([b.captions.sum(1) for b in stream(tmp_path, **options)]).tolist() for _ in range(2))
    assert sums == again and len(sums) == 1000
    shares = [sums.count(int(TOKENIZER([text]).sum())) / len(sums) for text in (*own, "written")]
    assert shares == pytest.approx([(1 - others) / 5] * 5 + [others], abs=0.05)


def test_regions_are_drawn_anew_each_epoch_and_the_same_from_any_step(tmp_path: Path) -> None:
    samples = []
    for number in range(4):
        files = sample(f"{number}", number, regions=0)
        regions = [region([0.1 * n, 0.1, 0.1 * n + 0.1, 0.9], f"thing {n}", 1 - n / 10) for n in range(8)]
        facts = json.loads(files[f"{number}.json"]) | {"regions": regions}
        samples.append(files | {f"{number}.json": json.dumps(facts).encode()})
    splits = {"train": [write_shard(tmp_path / "train-000000.tar", samples)]}
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "trained_on": "tiny", "splits": splits}))
    options = {"regions": "drawn", "max_regions": 3, "last_step": 40}
    batches = list(stream(tmp_path, **options))
    lefts = [(10 * batch.regions.boxes_xyxy[:, 0]).round().int().tolist() for batch in batches]
    assert all(len(each) == 12 for each in lefts) and len({tuple(each) for each in lefts}) > 30
    assert {n for each in lefts for n in each} == set(range(8)), "all of them, in time"
    for batch, left in zip(batches, lefts, strict=True):
        ids = batch.description_ids[batch.regions.text_index].tolist()
        assert ids == [text_id(f"thing {n}") for n in left], "a text stays with its box"
    for whole, resumed in zip(batches[17:], stream(tmp_path, **options, first_step=17), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(whole), tensors(resumed), strict=True))
    kept = [batch.regions.boxes_xyxy[:, 0].tolist() for batch in stream(tmp_path, **(options | {"regions": "best"}))]
    assert {round(10 * x) for each in kept for x in each} == {0, 1, 2}


def test_without_regions_the_stream_carries_none(data_folder: Path) -> None:
    assert all(len(batch.descriptions) == 0 for batch in stream(data_folder, with_regions=False))


def test_no_steps_give_no_batches(data_folder: Path) -> None:
    assert list(stream(data_folder, first_step=7)) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"global_batch": 4, "processes": 3}, r"batch_size \(4\) must be a multiple of the 3 processes"),
        ({"global_batch": 13}, "12 images, fewer than one batch of 13"),
    ],
)
def test_a_batch_that_cannot_be_made_is_refused(options: dict, sentence: str, data_folder: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        stream(data_folder, **options)


@pytest.mark.parametrize("damage", ["truncated", "fewer images", "no tar"])
def test_a_shard_that_is_not_what_the_manifest_says_stops_in_one_sentence(
    damage: str, data_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    shard = folder / "train-000001.tar"
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-4000])
    elif damage == "no tar":
        shard.write_bytes(b"hello" * 500)
    else:
        write_shard(shard, [sample("train-0000005", 5, regions=1)])
    with pytest.raises(ValueError, match=r"shard.*: (copy or )?write") as caught:
        list(stream(folder, last_step=3))
    assert "\n" not in str(caught.value)
