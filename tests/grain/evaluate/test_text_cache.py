from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from grain.evaluate import text_cache
from grain.evaluate.text_cache import TextCache, key_of
from grain.structures import Array


class Encoder:
    """Embeds a text by its length and its letters, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Array:
        self.asked += texts
        rows = [[len(text), text.count("a"), text.count("e"), 1.0] for text in texts]
        table = np.array(rows, np.float32).reshape(-1, 4)
        return table / np.linalg.norm(table, axis=1, keepdims=True)


def cache(folder: Path, encoder: Encoder, model: str = "model") -> TextCache:
    return TextCache(folder, model, encoder)


def test_a_text_is_encoded_once_whatever_run_asks_for_it(tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    texts = ["a lid", "a star", "a lid", "ein Häuschen"]
    expected = Encoder()(texts)
    np.testing.assert_array_equal(cache(tmp_path, first)(texts), expected)
    assert first.asked == ["a lid", "a star", "ein Häuschen"]
    again = cache(tmp_path, second)
    np.testing.assert_array_equal(again(texts[::-1]), expected[::-1])
    assert (second.asked, again.encoded) == ([], 0)
    again(["a lid", "new"])
    assert (second.asked, again.encoded) == (["new"], 1)


def test_another_model_has_embeddings_of_its_own(tmp_path: Path) -> None:
    cache(tmp_path, Encoder())(["a lid"])
    other = Encoder()
    cache(tmp_path, other, "other")(["a lid"])
    assert other.asked == ["a lid"]


def test_no_texts_give_no_rows(tmp_path: Path) -> None:
    assert cache(tmp_path, Encoder())([]).shape == (0, 4)


def test_what_was_encoded_before_a_failure_is_kept_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "PAGE_TEXTS", 2)
    encoder = Encoder()

    def fails_at_the_third(texts: Sequence[str]) -> Array:
        if "c" in texts:
            raise RuntimeError("out of memory")
        return encoder(texts)

    with pytest.raises(RuntimeError):
        TextCache(tmp_path, "model", fails_at_the_third)(["a", "b", "c"])
    after = Encoder()
    cache(tmp_path, after)(["a", "b", "c"])
    assert after.asked == ["c"]


def test_a_damaged_page_is_encoded_again(tmp_path: Path) -> None:
    cache(tmp_path, Encoder())(["a lid"])
    [page] = (tmp_path / "model").iterdir()
    page.write_bytes(page.read_bytes()[:20])
    after = Encoder()
    cache(tmp_path, after)(["a lid"])
    assert after.asked == ["a lid"]
    assert cache(tmp_path, Encoder())(["a lid"]).shape == (1, 4)


def test_two_processes_may_fill_one_folder(tmp_path: Path) -> None:
    one, other = cache(tmp_path, Encoder()), cache(tmp_path, Encoder())
    one(["a", "b"])
    other(["b", "c"])
    assert other.encoded == 1, "what the first one wrote is found"
    one(["c"])
    assert one.encoded == 2


def test_a_key_is_of_the_content(tmp_path: Path) -> None:
    assert key_of("a lid") == key_of("a " + "lid") != key_of("a lid ")
    assert len(key_of("\ud800")) == 16, "half a character is a text like any other"
