import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.core.recent_pictures import keep_picture, owner_of
from app.core.settings import Settings
from app.ground.typed_texts import kept_question


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Settings, dict[str, Any]]:
    settings, path = Settings(home=tmp_path / "home"), tmp_path / "photo.png"
    Image.new("RGB", (8, 6)).save(path)
    kept_id, _ = keep_picture(settings, "ada", path, image=Image.new("RGB", (8, 6)))
    form = {"owner": owner_of("ada"), "picture": kept_id, "descriptions": "a lid", "classes": "", "search": ""}
    return settings, form | {"checkpoint": "photo", "versus": "", "threshold": "0.2", "alpha": "0.5"}


def test_what_the_browser_kept_is_a_question_again(kept: tuple[Settings, dict[str, Any]]) -> None:
    settings, form = kept
    question = kept_question(settings, "ada", json.dumps(form))
    assert question is not None and Path(question.picture).is_file()
    assert (question.descriptions, question.checkpoint, question.versus) == ("a lid", "photo", "")
    assert (question.threshold, question.alpha) == (0.2, 0.5)
    beyond = kept_question(settings, "ada", json.dumps(form | {"threshold": "7", "alpha": "nan"}))
    assert beyond is not None and (beyond.threshold, beyond.alpha) == (1.0, 0.0)


@pytest.mark.parametrize(
    "change", [{"owner": "another"}, {"picture": "../.."}, {"picture": ["x"]}, {"threshold": "much"}, {"alpha": None}]
)
def test_what_is_not_ours_is_not_restored(kept: tuple[Settings, dict[str, Any]], change: dict[str, Any]) -> None:
    settings, form = kept
    assert kept_question(settings, "ada", json.dumps(form | change)) is None
    assert kept_question(settings, "bob", json.dumps(form | {"owner": owner_of("bob")})) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000, '{"owner": ' + "9" * 3_000_000 + "}"])
def test_broken_notes_of_a_browser_restore_nothing(kept: tuple[Settings, dict[str, Any]], text: str) -> None:
    assert kept_question(kept[0], "ada", text) is None
