"""POPE's files of a COCO file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from curation.exchange.known_sentences_file import KnownSentencesConfig, main
from user_errors import UserError


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Two pictures: a red kite on the left, a dog."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 100, "height": 80} for number in (1, 2)]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 80]},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [0, 0, 100, 80]},
    ]
    categories = [{"id": 1, "name": "kite"}, {"id": 2, "name": "dog"}]
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    for number, colour in ((1, "red"), (2, "blue")):
        Image.new("RGB", (100, 80), colour).save(tmp_path / f"{number}.png")
    return file


def test_popes_questions_alternate_and_sentences_lie_beside_them(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(KnownSentencesConfig(boxes, out, pictures=tmp_path))
    for name in ("random", "popular", "adversarial"):
        lines = [json.loads(line) for line in (out / f"pope_{name}.json").read_text().splitlines()]
        assert [(line["question_id"], line["image"], line["text"], line["label"]) for line in lines] == [
            (1, "1.png", "Is there a kite in the image?", "yes"),
            (2, "1.png", "Is there a dog in the image?", "no"),
            (3, "2.png", "Is there a dog in the image?", "yes"),
            (4, "2.png", "Is there a kite in the image?", "no"),
        ]
    sentences = [json.loads(line) for line in (out / "sentences.jsonl").read_text().splitlines()]
    assert {line["text"] for line in sentences if line["holds"]} == {
        "a kite", "a dog", "one kite", "one dog", "a kite on the left", "a red kite", "a blue dog",
    }  # fmt: skip
    assert json.loads(capsys.readouterr().out) == {
        "out": str(out), "attribute": 4, "count": 4, "object": 8, "relation": 2,
    }  # fmt: skip


def test_what_cannot_be_read_or_would_be_overwritten_is_refused(boxes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a new or empty folder"):
        main(KnownSentencesConfig(boxes, tmp_path))
    with pytest.raises(UserError, match=r"none\.json cannot be read .*: give a COCO file"):
        main(KnownSentencesConfig(tmp_path / "none.json", tmp_path / "out"))
    with pytest.raises(UserError, match=r"1\.png cannot be read .*: give the folder of the pictures"):
        main(KnownSentencesConfig(boxes, tmp_path / "out", pictures=tmp_path / "elsewhere"))
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(UserError, match="has no boxes"):
        main(KnownSentencesConfig(empty, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
