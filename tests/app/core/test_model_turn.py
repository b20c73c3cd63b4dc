"""The turn of a request with the model: one at a time, and none for longer than it may."""

from __future__ import annotations

import math
import threading

import pytest
from PIL import Image

from app.annotate import actions
from app.core.model_turn import ModelTurn
from app.services import Services
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig
from grain.time_limit import OutOfTimeError, check_time, seconds_left
from tests.support.fake_app import fake_services
from tests.support.fake_openai import fake_openai
from tests.support.waiting import PATIENCE_S
from user_errors import UserError


def test_whoever_waits_too_long_is_told_for_how_long() -> None:
    turn, inside, over = ModelTurn(0.05), threading.Event(), threading.Event()

    def hold() -> None:
        with turn:
            inside.set()
            over.wait(PATIENCE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(PATIENCE_S)
    with pytest.raises(UserError, match=r"busy with another request for 0.05 seconds: try again"), turn:
        raise AssertionError("two at once")
    over.set()
    thread.join()
    with turn:
        assert seconds_left() < math.inf
    assert seconds_left() == math.inf


def test_whoever_computes_too_long_is_stopped_and_the_next_has_a_turn() -> None:
    turn = ModelTurn(1e-9)
    with pytest.raises(OutOfTimeError, match="for which one request may hold the model"), turn:
        check_time()
    with pytest.raises(OutOfTimeError), turn:
        check_time()


def test_a_server_that_hangs_holds_the_model_no_longer_than_a_turn(services: Services) -> None:
    picture = services.settings.home / "picture.png"
    picture.parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(picture)
    with fake_openai(always=dict.fromkeys(["red", "green", "blue", "yellow"], "slow")) as server:
        asked = DescriberChoice("server", model="m", server=server.url, timeout_seconds=PATIENCE_S)
        config = AnnotateConfig("none", asked, LocalizerChoice("photo"))
        with pytest.raises(UserError, match="longer than the 1 seconds for which one request may hold the model"):
            actions.try_one(services, config, upload=str(picture), number=1)
    assert len(server.requests) == 1


@pytest.fixture
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return fake_services(tmp_path_factory.mktemp("services"), model_seconds=1.0)
