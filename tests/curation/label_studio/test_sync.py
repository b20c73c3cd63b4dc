"""curation/label_studio/sync.py: the command says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.label_studio.access import TOKEN_VARIABLE, URL_VARIABLE
from curation.label_studio.convert import LabelStudioError
from curation.label_studio.sync import SyncConfig, open_sync
from db.engine import Engine


def test_the_command_says_in_one_sentence_what_is_missing(
    tmp_path: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (URL_VARIABLE, TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LabelStudioError, match="There is no Label Studio: start it with make label-studio"):
        open_sync(SyncConfig("lids"), tmp_path, sqlite_engine)
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setenv(TOKEN_VARIABLE, "t")
    with pytest.raises(LabelStudioError, match="There is no data set 'lids': import it first"):
        open_sync(SyncConfig("lids"), tmp_path, sqlite_engine)
