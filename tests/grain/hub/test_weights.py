"""A model's folder is looked at before anything in it is read, and hashed once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from grain.hub.weights import (
    MOST_CONFIG_BYTES,
    MOST_FILES,
    READ_AT_ONCE_BYTES,
    Digests,
    WeightsUnreadError,
    check_weights_read,
    find_model,
)
from tests.support.waiting import until
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


def test_while_one_folder_is_read_nobody_waits_for_another(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow")  # reading it ends when somebody has written it
    (tmp_path / "quick").write_text("q")
    slow, quick = (((str(tmp_path / name), 1, 1, 1),) for name in ("slow", "quick"))
    digests = Digests()
    assert not digests.is_known(slow)
    assert not digests.is_known(slow) and not digests.is_known(quick), "one is read at a time, and nobody waits"
    digest = digests.get(quick)
    assert digests.is_known(quick) and len(digest) == 64
    with (tmp_path / "slow").open("w") as writer:
        writer.write("s")
    until(lambda: digests.is_known(slow), "the slow one is known")
    gone = ((str(tmp_path / "gone"), 1, 1, 1),)
    until(lambda: digests.is_known(gone), "that it cannot be read is known as well")
    with pytest.raises(FileNotFoundError):
        digests.get(gone)


def test_large_weights_are_read_in_the_background_and_small_ones_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    check_weights_read(tmp_path)
    check_weights_read("a-name/on-the-hub")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(READ_AT_ONCE_BYTES + 1)
    with pytest.raises(WeightsUnreadError, match=r"\(0.3 GB\) are being read for the first time: the plan follows"):
        check_weights_read(tmp_path)

    def read() -> bool:
        try:
            check_weights_read(tmp_path)
        except WeightsUnreadError:
            return False
        return True

    until(read, "the weights are read")
    assert find_model(tmp_path).name.startswith(f"{tmp_path.name}@")
