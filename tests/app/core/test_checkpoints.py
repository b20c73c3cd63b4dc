from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.checkpoints import MOST_LOADED, Model, Registry
from grain.checkpoint import CheckpointError, verify
from tests.support.fake_predictor import fake_predictor, write_fake_checkpoint
from user_errors import UserError


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    write_fake_checkpoint(tmp_path / "embedded" / "sample", twin="sample-clip")
    write_fake_checkpoint(tmp_path / "embedded" / "sample-clip", kind="clip")
    return tmp_path / "embedded", tmp_path / "own"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def test_embedded_and_own_checkpoints_are_listed_with_what_they_say_of_themselves(roots: tuple[Path, Path]) -> None:
    write_fake_checkpoint(roots[1] / "mine")
    listed = Registry(roots, fake_predictor).checkpoints()
    assert [each.name for each in listed] == ["sample", "sample-clip", "mine"]
    assert [each.info.can_ground for each in listed if each.info] == [True, False, True]
    assert listed[0].info and listed[0].info.trained_on == "made-up words"


def test_a_new_folder_appears_without_a_restart(roots: tuple[Path, Path]) -> None:
    registry = Registry(roots, fake_predictor)
    assert len(registry.usable()) == 2
    write_fake_checkpoint(roots[1] / "mine")
    assert len(registry.usable()) == 3


def test_broken_ones_are_listed_with_their_reason_and_break_nothing(roots: tuple[Path, Path]) -> None:
    write_fake_checkpoint(roots[1] / "no-json")
    (roots[1] / "no-json" / "config.json").write_text("{")
    (roots[1] / "model.pt").write_bytes(b"\x80\x04.")
    (roots[1] / ".half-written.tmp").mkdir()
    write_fake_checkpoint(roots[1] / "sample")
    registry = Registry(roots, fake_predictor)
    problems = {each.name: each.problem for each in registry.checkpoints() if each.problem}
    assert len(problems) == 3
    assert "cannot be read" in problems["no-json"]
    assert "pickle" in problems["model.pt"]
    assert "another checkpoint is called sample" in problems[str(roots[1] / "sample")]
    assert len(registry.usable()) == 2
    assert "pickle" in refusal(lambda: registry.load("model.pt"))


def test_an_unknown_name_is_answered_with_those_there_are(roots: tuple[Path, Path]) -> None:
    registry = Registry(roots, fake_predictor)
    assert refusal(lambda: registry.load("")) == "No checkpoint is chosen: choose one of sample, sample-clip."
    for name in ("smaple", "../embedded/sample", "a" * 10_000):
        assert refusal(lambda name=name: registry.load(name)).endswith("choose one of sample, sample-clip.")  # type: ignore[misc]
    assert "train one first" in refusal(lambda: Registry((), fake_predictor).find("sample"))


def test_one_whose_weights_turn_out_broken_is_listed_so_from_then_on(roots: tuple[Path, Path]) -> None:
    def load(folder: Path) -> Model:
        raise CheckpointError(f"{folder.name}: model.safetensors does not match its sha256")

    registry = Registry(roots, load)
    assert len(registry.usable()) == 2
    assert "does not match its sha256" in refusal(lambda: registry.load("sample"))
    assert [each.name for each in registry.usable()] == ["sample-clip"]


def test_one_that_was_asked_for_while_it_was_copied_can_be_used_once_it_is_whole(roots: tuple[Path, Path]) -> None:
    def load(folder: Path) -> Model:
        if not (folder / "model.safetensors").stat().st_size:
            raise CheckpointError(f"{folder.name}: model.safetensors does not match its sha256")
        return fake_predictor(folder)

    write_fake_checkpoint(roots[1] / "mine")
    registry = Registry(roots, load)
    for _ in range(2):
        assert "does not match its sha256" in refusal(lambda: registry.load("mine"))
    assert "mine" not in [each.name for each in registry.usable()]
    (roots[1] / "mine" / "model.safetensors").write_bytes(b"whole")
    assert "mine" in [each.name for each in registry.usable()]
    assert registry.load("mine") is registry.load("mine")


def test_another_checkpoint_under_the_same_name_is_loaded_in_its_place(roots: tuple[Path, Path]) -> None:
    registry = Registry(roots, fake_predictor)
    shutil.copytree(roots[0] / "sample", roots[1] / "mine")
    assert registry.load("mine").info.can_ground
    shutil.rmtree(roots[1] / "mine")
    shutil.copytree(roots[0] / "sample-clip", roots[1] / "mine")
    assert not registry.load("mine").info.can_ground
    assert registry.load("mine") is registry.load("mine")


def test_a_model_is_loaded_once_and_the_oldest_makes_room(roots: tuple[Path, Path]) -> None:
    loaded: list[str] = []

    def load(folder: Path) -> Model:
        loaded.append(folder.name)
        return fake_predictor(folder)

    names = [f"m{index}" for index in range(MOST_LOADED + 1)]
    for name in names:
        write_fake_checkpoint(roots[1] / name)
    registry = Registry(roots, load)
    assert registry.load("m0") is registry.load("m0")
    for name in names[1:]:
        registry.load(name)
    registry.load("m0")
    assert loaded == [*names, "m0"]


TEXTS = {"no JSON": "\x00", "a list": "[1]", "other kinds": '{"schema_version": [], "sha256": 3}'}


@pytest.mark.parametrize("file", ["config.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["brackets", "huge", "pipe", "endless", "no JSON", "a list", "other kinds"])
def test_a_folder_with_a_wild_file_is_one_row_that_says_so(roots: tuple[Path, Path], kind: str, file: str) -> None:
    folder = roots[1] / "wild"
    write_fake_checkpoint(folder)
    path = folder / file
    path.unlink(missing_ok=True)
    match kind:
        case "brackets":
            path.write_text("[" * 100_000)
        case "huge":
            with path.open("wb") as out:
                out.truncate(2**31)
        case "pipe":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case _:
            path.write_text(
                {"no JSON": "\x00", "a list": "[1]", "other kinds": '{"schema_version": [], "sha256": 3}'}[kind]
            )
    registry = Registry(roots, fake_predictor)
    rows = {each.name: each.problem for each in registry.checkpoints()}
    assert rows["sample"] == "" and registry.find("sample")
    if file == "config.json":
        assert rows["wild"].startswith("wild: config.json ")
        with pytest.raises(UserError, match=r"The checkpoint wild cannot be used: wild: config\.json "):
            registry.load("wild")
    with pytest.raises(CheckpointError, match="wild: "):
        verify(folder)
