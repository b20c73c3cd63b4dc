from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from grain.config_file import read_fields


@dataclass(frozen=True)
class Inner:
    weight: float = 1.0
    on: bool = True


@dataclass(frozen=True)
class Settings:
    folder: Path
    rate: float = 0.1
    images: int = 3
    kind: Literal["a", "b"] = "a"
    name: str | None = None
    inner: Inner = field(default_factory=Inner)


def read(folder: Path, text: str) -> dict:
    (folder / "run.yaml").write_text(text, encoding="utf-8")
    return read_fields(folder / "run.yaml", Settings)


def test_a_file_names_some_fields_and_each_gets_its_type(tmp_path: Path) -> None:
    text = "folder: data/world\nrate: 1e-3\nimages: 2_000\nkind: b\nname: null\ninner: {weight: 2}\n"
    found = read(tmp_path, text)
    assert found == {
        "folder": Path("data/world"), "rate": 1e-3, "images": 2000, "kind": "b", "name": None, "inner": Inner(2.0),
    }  # fmt: skip
    assert isinstance(found["rate"], float), "YAML itself reads 1e-3 as a word"
    assert read(tmp_path, "{}") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("speed: 3", r"run.yaml has no field 'speed': the fields are folder, rate, images, kind, name, inner$"),
        ("inner: {wait: 3}", r"run.yaml: inner has no field 'wait': the fields are weight, on$"),
        ("inner: 3", r"run.yaml: inner holds a int: expected one `field: value` a line$"),
        ("images: many", r"run.yaml: images should be a valid integer.*, got 'many'$"),
        ("images: 1.5", r"run.yaml: images should be a valid integer.*, got 1.5$"),
        ("kind: c", r"run.yaml: kind should be 'a' or 'b', got 'c'$"),
        ("", r"run.yaml holds a NoneType: expected one `field: value` a line$"),
        ("- a", r"run.yaml holds a list"),
        ("a: [", r"run.yaml is no YAML \(.*\): write one `field: value` a line$"),
        ("a: !!python/object/apply:os.getcwd []", r"run.yaml is no YAML \(could not determine a constructor"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone.yaml cannot be read \(No such file or directory\): expected a YAML"):
        read_fields(tmp_path / "gone.yaml", Settings)
