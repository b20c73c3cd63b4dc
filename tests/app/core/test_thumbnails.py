"""Thumbnails are served to who may look, and nothing else is served at their addresses."""

from __future__ import annotations

import pytest

from app.core.thumbnails import thumbnail_address
from curation.ingest.ingest import thumbnail_path
from tests.support.house import House, house, raw

__all__ = ["house"]  # a fixture

SHA256 = "ab" * 32


@pytest.fixture(scope="module")
def address(house: House) -> str:
    file = thumbnail_path(house.services.settings.home, SHA256)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a thumbnail")
    (file.parent / "secret.jpg").write_bytes(b"not a content's thumbnail")
    return thumbnail_address(house.services.settings.home, SHA256)


def test_a_browser_keeps_what_a_person_may_see_and_shared_caches_do_not(house: House, address: str) -> None:
    answer = house.signed_in("vera").get(address)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"a thumbnail", "image/jpeg")
    assert {"private", "immutable"} <= set(answer.headers["cache-control"].split(", "))
    assert house.visitor().get(address).status_code == 401


@pytest.mark.parametrize(
    "asked",
    [
        SHA256[:-1] + "c",
        "secret",
        SHA256[:63],
        SHA256.upper(),
        "..",
        "%2e%2e%2f%2e%2e%2fgrain.sqlite",
        f"..%2f{SHA256}",
    ],
)
def test_no_other_file_is_had_that_way(house: House, address: str, asked: str) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in house.signed_in("vera").cookies.items())
    assert raw(house, f"/thumbnails/{asked}", cookie) == 404


def test_a_picture_without_one_has_no_address(house: House) -> None:
    assert thumbnail_address(house.services.settings.home, "cd" * 32) == ""
