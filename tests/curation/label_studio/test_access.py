"""curation/label_studio/access.py: a token for one user's eyes, and a secret that nobody guesses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curation.label_studio.access import (
    FOLDER,
    PAGE_VARIABLE,
    TOKEN_VARIABLE,
    URL_VARIABLE,
    Access,
    is_secret,
    page_for_people,
    read_access,
    task_page,
    write_access,
)
from curation.label_studio.convert import LabelStudioError


def test_access_is_kept_for_this_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL_VARIABLE, TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert read_access(tmp_path) is None
    access = Access("http://127.0.0.1:8081", "token", "secret")
    write_access(tmp_path, access, password="word")
    file = tmp_path / FOLDER / "access.json"
    assert read_access(tmp_path) == access
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    file.write_text(json.dumps({"url": "x"}))
    with pytest.raises(LabelStudioError, match="cannot be read: remove it and run make label-studio again"):
        read_access(tmp_path)
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(LabelStudioError, match="belong together: set both or neither"):
        read_access(tmp_path)
    monkeypatch.setenv(TOKEN_VARIABLE, "mine\n")  # as a file of secrets ends
    assert read_access(tmp_path).token == "mine"  # type: ignore[union-attr]


def test_people_are_led_to_the_address_that_their_browsers_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    project = "http://label-studio:8080/projects/3"
    monkeypatch.setenv(URL_VARIABLE, "http://label-studio:8080/")
    monkeypatch.delenv(PAGE_VARIABLE, raising=False)
    assert task_page(project, 7) == f"{project}/data?task=7"
    monkeypatch.setenv(PAGE_VARIABLE, "https://labels.example/")
    assert task_page(project, 7) == "https://labels.example/projects/3/data?task=7"
    assert page_for_people("http://label-studio:8080") == "https://labels.example"
    for other in ("http://label-studio:80801/projects/3", "http://127.0.0.1:8081/projects/3"):
        assert page_for_people(other) == other, "a project of another server"
    monkeypatch.delenv(URL_VARIABLE)
    assert page_for_people(project) == project


def test_only_who_knows_the_secret_is_believed() -> None:
    assert is_secret("secret", "secret")
    for given, secret in (
        ("Secret", "secret"),
        ("", "secret"),
        (None, "secret"),
        ("", ""),
        (None, ""),
        ("é", "secret"),
    ):
        assert not is_secret(given, secret)
