"""A key belongs to its server's address."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.annotate.servers import add_server, key_of, key_variable, known_servers, listed_servers, same_address
from user_errors import UserError

ENVIRONMENT = {
    "GRAIN_SERVERS": "vllm=http://127.0.0.1:8000/v1, big=https://models.example/v1",
    "GRAIN_KEY_VLLM": "key-of-vllm",
    "OPENAI_API_KEY": "key-of-openai",
}


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("http://127.0.0.1:8000/v1", "key-of-vllm"),
        ("http://127.0.0.1:8000/v1/", "key-of-vllm"),
        ("https://api.openai.com/v1", "key-of-openai"),
        ("https://api.openai.com:443/v1/", "key-of-openai"),
        ("https://models.example/v1", ""),  # listed, but it has no key
        ("http://api.openai.com/v1", ""),  # not encrypted: another server
        ("https://api.openai.com.evil.example/v1", ""),
        ("https://api.openai.com@evil.example/v1", ""),
        ("https://api.openai.com/v2", ""),
        ("http://127.0.0.1:8001/v1", ""),
        ("http://127.0.0.1:8000/v1/../../evil", ""),
        ("not an address", ""),
        ("", ""),
    ],
)
def test_a_key_goes_to_its_address_and_to_no_other(address: str, key: str) -> None:
    assert key_of(address, ENVIRONMENT) == key


def test_openais_key_follows_openais_variable() -> None:
    moved = ENVIRONMENT | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert key_of("http://127.0.0.1:9/v1", moved) == "key-of-openai"
    assert key_of("https://api.openai.com/v1", moved) == ""


def test_a_server_that_an_admin_added_has_a_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_HOME", str(tmp_path))
    add_server(tmp_path, "http://gpu.example:8000/v1")
    assert key_variable("http://gpu.example:8000/v1", {}) == "GRAIN_KEY_AT_GPU_EXAMPLE_8000"
    assert key_of("http://gpu.example:8000/v1", ENVIRONMENT | {"GRAIN_KEY_AT_GPU_EXAMPLE_8000": "its own"}) == "its own"
    assert "GRAIN_SERVERS" in key_variable("http://unknown:1/v1", {})


def test_servers_are_listed_by_name(tmp_path: Path) -> None:
    assert known_servers(tmp_path, ENVIRONMENT) == {
        "vllm": "http://127.0.0.1:8000/v1",
        "big": "https://models.example/v1",
        "openai": "https://api.openai.com/v1",
    }
    assert known_servers(tmp_path, {}) == {}
    (tmp_path / "servers.json").write_text("[" * 100_000)
    assert known_servers(tmp_path, {}) == {}
    for wrong in ("http://a/v1", "a b=http://a/v1", "a=ftp://a", "a=http://u:p@a/v1", "a=http://a/v1,A=http://b/v1"):
        with pytest.raises(UserError) as error:
            listed_servers(wrong)
        assert "u:p" not in str(error.value)


def test_addresses_are_compared_by_what_they_mean() -> None:
    assert same_address("HTTP://Host:80/v1/", "http://host/v1")
    assert not same_address("http://host/v1", "http://host/V1")
