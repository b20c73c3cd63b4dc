"""app/label_studio/server.py: started on the port that was asked for, told nothing that it should not know."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from app.label_studio.server import Server, ServerConfig, environment
from curation.label_studio.access import FOLDER, read_access, read_kept
from curation.label_studio.convert import LabelStudioError
from tests.support.label_studio_server import free_port


def program(folder: Path, script: str) -> Path:
    """Something that is started instead of Label Studio."""
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_server_that_is_not_installed_is_said(tmp_path: Path) -> None:
    config = ServerConfig(free_port(), tmp_path, tmp_path / "none")
    with pytest.raises(LabelStudioError, match=r"server is not at .*/none: run make label-studio"):
        Server(config)
    assert read_access(tmp_path) is None


def test_a_port_that_is_taken_is_said_and_no_other_is_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabelStudioError, match=f"Port {port} is taken: stop what runs there or choose another"):
            Server(ServerConfig(port, tmp_path, program(tmp_path, "exit 0")))


def test_a_server_that_ends_while_it_starts_is_said_and_its_log_is_kept(tmp_path: Path) -> None:
    config = ServerConfig(free_port(), tmp_path, program(tmp_path, "echo no disk; exit 3"))
    with pytest.raises(LabelStudioError, match=r"ended while it started: .*/server.log says why"):
        Server(config)
    assert (tmp_path / FOLDER / "server.log").read_text() == "no disk\n"


def test_a_server_that_never_comes_up_is_ended(tmp_path: Path) -> None:
    config = ServerConfig(free_port(), tmp_path, program(tmp_path, "exec sleep 600"))
    with pytest.raises(LabelStudioError, match=r"does not come up .* may say why"):
        Server(config, patience=0.5)


def test_keys_are_made_once_since_a_later_start_would_not_take_others(tmp_path: Path) -> None:
    kept = []
    for port in (free_port(), free_port()):
        with pytest.raises(LabelStudioError, match="ended"):
            Server(ServerConfig(port, tmp_path, program(tmp_path, "exit 0")))
        kept.append(read_kept(tmp_path))
    assert kept[0].pop("url") != kept[1].pop("url") and kept[0] == kept[1]
    assert len(kept[0]["token"]) == 40 and len({kept[0][name] for name in ("token", "secret", "password")}) == 3


def test_the_server_is_told_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PORT", "HOST", "GRAIN_DATABASE_URL", "DEBUG", "SECRET_KEY"):
        monkeypatch.setenv(name, "ours")
    config = ServerConfig(free_port(), tmp_path, program(tmp_path, "env"))
    with pytest.raises(LabelStudioError, match="ended"):
        Server(config)
    told = (tmp_path / FOLDER / "server.log").read_text()
    names = {line.partition("=")[0] for line in told.splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == environment(tmp_path, "t", "p").keys()
    assert "ours" not in told and f"DOCUMENT_ROOT={tmp_path / FOLDER / 'files'}\n" in told
