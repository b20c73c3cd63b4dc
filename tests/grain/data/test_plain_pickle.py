"""Pickles of plain values are read as pickle reads them, and nothing else in a pickle runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grain.data.plain_pickle import read_plain_pickle
from user_errors import UserError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)
SHARED = ["a", "b"]
REFS = [{"sentences": SHARED, "split": "val", "ids": (1, 2, 3, 4)}, {"sentences": SHARED, "split": "", "ids": ()}]


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_pickle_reads_them(
    tmp_path_factory: pytest.TempPathFactory, value: Any, by: int
) -> None:
    file = tmp_path_factory.mktemp("plain") / "refs.p"
    file.write_bytes(pickle.dumps(value, by))
    assert read_plain_pickle(file) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_stands_there_twice_is_shared(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "refs.p"
    file.write_bytes(pickle.dumps(REFS, protocol))
    found = read_plain_pickle(file)
    assert found == REFS and found[0]["sentences"] is found[1]["sentences"]


def test_a_text_of_python_2_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "refs.p").write_bytes(b"(lp0\n(dp1\nS'split'\np2\nS'val'\np3\nsS'ref_id'\np4\nI7\nsa.")
    assert read_plain_pickle(tmp_path / "refs.p") == [{"split": "val", "ref_id": 7}]


class Runs:
    """Makes a folder where it is unpickled."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_that_a_pickle_names_is_run_or_made(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "refs.p"
    for value in (Runs(str(tmp_path / "made")), [1, os.system], OrderedDict(a=1), Path("x"), b"bytes", {1, 2}):
        file.write_bytes(pickle.dumps([value], protocol))
        with pytest.raises(UserError, match=r"expected a pickle of texts|no whole pickle"):
            read_plain_pickle(file)
    assert not (tmp_path / "made").exists()


def test_what_is_cut_off_or_no_pickle_is_one_sentence(tmp_path: Path) -> None:
    file, whole = tmp_path / "refs.p", pickle.dumps(REFS, 2)
    for content in (
        b"",
        b".",
        b"(.",
        b"]",
        b"0.",
        b"\x80\x02}s.",
        b"a.",
        b"h\x09.",
        *(whole[:n] for n in range(len(whole))),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"no whole pickle of plain values|expected a pickle"):
            read_plain_pickle(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_plain_pickle(tmp_path / "none.p")
