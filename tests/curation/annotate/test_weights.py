"""A model's folder is looked at before anything in it is read, and hashed once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.annotate.weights import MOST_CONFIG_BYTES, MOST_FILES, find_model
from user_errors import UserError


def with_pipe(folder: Path) -> None:
    os.mkfifo(folder / "config.json")


def with_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(folder / "config.json"))


def with_too_long_config(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(MOST_CONFIG_BYTES + 1)


def with_too_many_files(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    for number in range(MOST_FILES):
        (folder / f"{number}.txt").touch()


def with_endless_config(folder: Path) -> None:
    (folder / "config.json").symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "fill",
    [with_pipe, with_socket, with_too_long_config, with_too_many_files, with_endless_config, lambda folder: None],
)
def test_a_folder_that_is_no_models_is_refused_unread(fill: Callable[[Path], None], tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(UserError, match=r"Expected (a|at most 1,000 files in a) model's folder"):
        find_model(tmp_path)


@pytest.mark.parametrize("folder", ["/proc", "/dev", "/"])
def test_a_folder_of_the_system_is_refused_unread(folder: str) -> None:
    with pytest.raises(UserError, match="Expected a model's folder"):
        find_model(folder)


def test_a_pipe_beside_the_weights_is_left_out_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = find_model(tmp_path).name
    os.mkfifo(tmp_path / "pipe")
    assert find_model(tmp_path).name == before


def test_weights_are_hashed_once_until_they_change(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first, state = find_model(tmp_path).name, weights.stat()
    weights.write_bytes(b"two")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert find_model(tmp_path).name == first, "nothing was read: size, time and inode are the same"
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    changed = find_model(tmp_path).name
    assert changed != first
    weights.write_bytes(b"one")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns + 2))
    assert find_model(tmp_path).name == first
