"""curation/label_studio/sync.py: the command says what it lacks, and each data set has a project of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from curation.label_studio.access import TOKEN_VARIABLE, URL_VARIABLE, Access, write_access
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import LabelStudioError
from curation.label_studio.dataset_sync import Sync
from curation.label_studio.projects import free_title
from curation.label_studio.sync import SyncConfig, open_sync
from db.engine import Engine, transaction
from db.queries.data_set_queries import NewImage, add_images, create_dataset, image_page
from db.queries.dataset_removal_queries import rename_dataset
from tests.support.label_studio_server import (
    Running,
    call,
    client,
    counts,
    database,
    label_studio,
    label_studio_server,
    make_sync,
    project,
    records_in,
)
from tests.support.loopback import listening

__all__ = ["label_studio", "label_studio_server", "make_sync", "project"]  # fixtures


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


@pytest.mark.parametrize(
    ("status", "content"), [(200, "{}"), (200, "[]"), (200, "<html>"), (404, "none"), (405, '{"detail": "no"}')]
)
def test_what_answers_and_is_no_label_studio_is_said(tmp_path: Path, status: int, content: str) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if content.startswith("<") else "application/json")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: object) -> None:
            pass

    engine, _ = database(tmp_path, tmp_path)
    with listening(Other) as url:
        said = f"What answers at {url} is no Label Studio ({status}): check its address."
        access = Access(url, "t")
        there = client(access)
        assert there.health() == said
        there.close()
        write_access(tmp_path, access)
        with pytest.raises(LabelStudioError, match=re.escape(said)):
            open_sync(SyncConfig("three", do="push"), tmp_path, engine)
    engine.dispose()


def test_a_token_that_no_request_can_carry_is_refused() -> None:
    with pytest.raises(LabelStudioError, match="token must be letters, digits and signs of ASCII"):
        LabelStudio(Access("http://127.0.0.1:9", "wröng"))


def test_a_data_set_named_as_another_was_gets_a_project_of_its_own(
    tmp_path: Path, label_studio_server: Running
) -> None:
    home = label_studio_server.home
    engine, first = database(tmp_path, tmp_path)
    with transaction(engine) as session:
        rename_dataset(session, dataset_id=first, name="Once")
    assert counts(open_sync(SyncConfig("Once", do="push"), home, engine).push()) == (3, 0, 0)
    with transaction(engine) as session:
        rename_dataset(session, dataset_id=first, name="Later")
        second = create_dataset(session, name="Once").id
        same = [NewImage(each.sha256, 64, 48, each.location) for each in image_page(session, dataset_id=first, limit=9)]
        add_images(session, dataset_id=second, images=same)
    with pytest.raises(LabelStudioError, match="'Once' is that of the data set 'Later': choose another title"):
        open_sync(SyncConfig("Once", do="push", title="Once"), home, engine)
    ours = open_sync(SyncConfig("Once", do="push"), home, engine)
    assert (ours.project.title, counts(ours.push())) == ("Once (regions)", (3, 0, 0))
    theirs = open_sync(SyncConfig("Later", do="push"), home, engine)
    assert (theirs.project.title, counts(theirs.push())) == ("Once", (0, 0, 3))
    assert open_sync(SyncConfig("Once", template="novel", do="push"), home, engine).project.title == "Once (novel)"
    engine.dispose()


def test_any_name_of_a_data_set_makes_a_title_that_label_studio_takes(label_studio: LabelStudio) -> None:
    assert free_title(label_studio, "ab", "regions", usable=()) == "ab (regions)"
    assert free_title(label_studio, "a" * 49 + " long name", "regions", usable=()) == "a" * 49


def test_a_server_that_was_set_up_again_gets_every_picture_again(
    label_studio_server: Running, make_sync: Callable[[str], Sync]
) -> None:
    sync = make_sync("again")
    for task in sync.push().tasks.values():
        call(label_studio_server, "DELETE", f"/api/tasks/{task}/")
    sync.project = replace(sync.project, made=True)  # under an old project's number
    assert counts(sync.push(only={records_in(sync)[0].id})) == (1, 0, 0)
    assert counts(sync.push()) == (2, 0, 1)
