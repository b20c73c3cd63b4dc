import csv
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from grain.detections import PicturePrediction, draw_regions, to_coco, to_csv
from grain.structures import Prediction, Region

TEXTS = ("a lid", "=cmd()", "a star")
REGIONS = (Region((0.1, 0.2, 0.5, 0.6), "a lid", 0.5, 0), Region((0.5, 0.5, 1.0, 1.0), "a lid", 0.25, 1))


def prediction(regions: tuple[Region, ...] = REGIONS, texts: tuple[str, ...] = TEXTS) -> Prediction:
    boxes, matches = np.zeros((2, 4), np.float32), np.zeros((2, len(texts)), np.float32)
    return Prediction(200, 100, boxes, texts, matches, (0,) * len(texts), None, regions, (), {})


RESULTS = [PicturePrediction("a.jpg", prediction()), PicturePrediction("+b.jpg", prediction((), ("a star", "a pot")))]


def test_coco_has_boxes_in_pixels_and_a_category_for_each_description() -> None:
    coco = to_coco(RESULTS)
    assert [(row["id"], row["file_name"], row["width"], row["height"]) for row in coco["images"]] == [
        (1, "a.jpg", 200, 100),
        (2, "+b.jpg", 200, 100),
    ]
    assert [row["name"] for row in coco["categories"]] == ["a lid", "=cmd()", "a star", "a pot"]
    first, second = coco["annotations"]
    assert first["bbox"] == [20, 20, 80, 40] and first["area"] == 3200 and first["score"] == 0.5
    assert (second["id"], second["image_id"], second["category_id"], second["bbox"]) == (2, 1, 1, [100, 50, 100, 50])


def test_csv_has_a_row_a_region_and_one_for_what_is_not_there_and_runs_nowhere() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(RESULTS))))
    assert [(row["file"], row["description"], row["found"], row["score"], row["x1"]) for row in rows] == [
        ("a.jpg", "a lid", "yes", "0.5000", "100.0"),
        ("a.jpg", "a lid", "yes", "0.2500", "200.0"),
        ("a.jpg", "'=cmd()", "no", "", ""),
        ("a.jpg", "a star", "no", "", ""),
        ("'+b.jpg", "a star", "no", "", ""),
        ("'+b.jpg", "a pot", "no", "", ""),
    ]


def test_csv_says_how_far_a_picture_is_from_what_was_seen() -> None:
    far = PicturePrediction("c.jpg", replace(prediction(), novelty=3.456))
    rows = csv.DictReader(io.StringIO(to_csv([RESULTS[0], far])))
    assert [row["novelty"] for row in rows] == ["", "", "", "", "3.46", "3.46", "3.46", "3.46"]
    json = [replace(prediction(), novelty=novelty).to_json() for novelty in (None, 1.0, 1.01)]
    assert [(row["novelty"], row["far"]) for row in json] == [(None, None), (1.0, False), (1.01, True)]


def test_csv_says_why_a_description_is_not_found_and_runs_no_reason_either() -> None:
    why = replace(prediction(), presence=(1.0, 0.1, 1.0), reasons=("2 of 3 found", "=cmd()", "it names no thing"))
    rows = csv.DictReader(io.StringIO(to_csv([PicturePrediction("a.jpg", why), RESULTS[1]])))
    assert [(row["found"], row["answer"], row["reason"]) for row in rows] == [
        ("yes", "found", "2 of 3 found"),
        ("yes", "found", "2 of 3 found"),
        ("no", "not found", "'=cmd()"),
        ("no", "cannot tell", "it names no thing"),
        ("no", "cannot tell", ""),
        ("no", "cannot tell", ""),
    ]


def test_csv_names_a_file_that_was_not_read_and_says_why() -> None:
    *rows, last = csv.DictReader(io.StringIO(to_csv(RESULTS, {"=c.jpg": "This picture is damaged."})))
    assert {row["answer"] for row in rows} == {"found", "cannot tell"}
    told = {name: value for name, value in last.items() if value}
    assert told == {"file": "'=c.jpg", "answer": "not read", "reason": "This picture is damaged."}


def test_nothing_found_is_an_empty_file_and_an_unchanged_picture() -> None:
    assert to_coco([]) == {"images": [], "annotations": [], "categories": []}
    assert len(to_csv([]).splitlines()) == 1
    image = Image.new("RGB", (200, 100), "gray")
    assert draw_regions(image, prediction(())).tobytes() == image.tobytes()
    assert draw_regions(image, prediction()).tobytes() != image.tobytes()
