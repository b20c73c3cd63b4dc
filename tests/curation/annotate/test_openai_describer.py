"""A describer behind a server: a real HTTP server on loopback, slow and failing at times, stands in for vLLM."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from PIL import Image
from tenacity import RetryCallState, Retrying

from curation.annotate.describe import DescribeConfig, DescriberError
from curation.annotate.messages import PLACEHOLDER
from curation.annotate.openai_describer import (
    ATTEMPTS,
    ATTEMPTS_ALONE,
    DROPPED,
    MOST_BODY_BYTES,
    PROBE,
    OpenAIDescriber,
    _NoAnswerError,
)
from curation.annotate.picture_sizes import PICTURE_SIDE
from curation.annotate.prompts import PROMPTS, SINGLE_STAGE, TWO_STAGE, storable
from curation.annotate.registry import DescriberChoice
from curation.audit.sources import SourceChoice
from tests.support.fake_openai import COLOURS, FakeServer, colour_of, fake_openai, pictures_of
from tests.support.waiting import PATIENCE_S

SECRET = "sk-3f9a-never-shown"
TWO_QUESTIONS = DescribeConfig(caption=False)


def flat(colour: str, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[colour])


def served(url: str, **options: Any) -> OpenAIDescriber:
    settings = {"revision": "r1", "first_wait": 0.001, "patience": 0.0, "config": TWO_QUESTIONS, **options}
    return OpenAIDescriber("llava", base_url=url, **settings)  # type: ignore[arg-type]


def test_pictures_are_asked_at_once_within_the_bound_and_answered_in_order() -> None:
    names = [*COLOURS, *reversed(COLOURS), *COLOURS]
    with fake_openai(together=3) as server:
        results = served(server.url, concurrency=3).describe([flat(name) for name in names])
    assert server.most_at_once == 3
    assert [result.descriptions for result in results] == [(f"a {name} lid", f"a {name} star") for name in names]
    assert [result.subject for result in results] == [f"A {name} thing in the middle." for name in names]
    assert {(result.prompt_tokens, result.answer_tokens) for result in results} == {(1100, 14)}
    assert len(server.requests) == 2 * len(names)


def test_a_class_is_asked_about_by_its_name_without_a_picture() -> None:
    with fake_openai() as server:
        results = served(server.url, concurrency=1).describe_names(['say "cheese"', "a\ncup"])
        assert served(server.url).describe_names([]) == []
    assert [result.descriptions for result in results] == [("a plain lid", "a plain star")] * 2
    assert [pictures_of(body) for body in server.requests] == [[], []]
    asked = [body["messages"][0]["content"][0]["text"] for body in server.requests]
    assert """recognise a "say 'cheese'" in a photograph""" in asked[0] and 'recognise a "a cup" in' in asked[1]
    with fake_openai(always={"plain": 400}) as server:
        (refused,) = served(server.url).describe_names(["cup"])
        assert refused.problem and not refused.descriptions
    with fake_openai() as server, pytest.raises(DescriberError, match="answers nothing"):
        server.always = dict.fromkeys(["plain", *COLOURS], 503)
        served(server.url).describe_names(["cup"])


def test_a_question_gets_the_probability_of_yes_or_none_where_the_server_tells_none() -> None:
    questions = [["Is it red?", "Is it blue?"], ["Is it red?"]]
    with fake_openai(logprobs={" Yes": -0.5, "no": -1.5, "maybe": -0.1}) as server:
        found = served(server.url).yes([flat("red"), flat("red")], questions)
        assert [body["max_tokens"] for body in server.requests] == [1, 1, 1]
    share = math.exp(-0.5) / (math.exp(-0.5) + math.exp(-1.5))
    assert found == [[pytest.approx(share)] * 2, [pytest.approx(share)]]
    with fake_openai() as server:
        assert served(server.url).yes([flat("red")], [["Is it red?"]]) == [[None]]
    with fake_openai(always={"red": 400}) as server:
        assert served(server.url).yes([flat("red")], [["Is it red?"]]) == [[None]]


def test_later_requests_continue_the_conversation_and_pictures_travel_as_bytes() -> None:
    with fake_openai() as server:
        (result,) = served(server.url, config=DescribeConfig()).describe([flat("red", (3000, 1500))])
    first, second, third = server.requests
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("llava", 0, DescribeConfig().stage1_tokens)
    assert third["messages"][:3] == second["messages"] and second["messages"][:1] == first["messages"]
    assert [message["role"] for message in third["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert second["messages"][1]["content"] == "A red thing in the middle."
    assert second["messages"][2]["content"] == [{"type": "text", "text": TWO_STAGE.stage2}]
    assert pictures_of(third) == pictures_of(first) and len(pictures_of(first)) == 1
    sent = Image.open(io.BytesIO(base64.b64decode(pictures_of(first)[0].partition(",")[2])))
    assert sent.size == (PICTURE_SIDE, PICTURE_SIDE // 2)
    assert result.raw == ("A red thing in the middle.", "- a red lid\n- a red star", "A red thing on a table.")
    assert result.caption == result.raw[2]


def test_a_busy_failing_and_cutting_server_is_asked_again() -> None:
    with fake_openai(failures=[429, 500, "cut", "odd", "hang up", 200, 429]) as server:
        results = served(server.url, concurrency=1).describe([flat("green"), flat("blue")])
    assert [result.descriptions[0] for result in results] == ["a green lid", "a blue lid"]
    assert [result.problem for result in results] == ["", ""]
    assert len(server.requests) == 4 + 6


def test_a_slow_answer_is_given_up_and_asked_for_again() -> None:
    with fake_openai(failures=["slow"]) as server:
        results = served(server.url, timeout=1.0, patience=PATIENCE_S).describe([flat("green")])
    assert results[0].descriptions == ("a green lid", "a green star")
    assert len(server.requests) >= 3


def test_a_reply_without_an_end_is_cut_off() -> None:
    with fake_openai(failures=["endless"]) as server:
        results = served(server.url, concurrency=1).describe([flat("green"), flat("blue")])
    assert results[0].problem == f"the server's reply has more than {MOST_BODY_BYTES:,} bytes"
    assert results[1].descriptions == ("a blue lid", "a blue star")


@pytest.mark.parametrize(("asked", "least", "most"), [("7", 7, 7), ("900", 60, 60), ("soon", 0, 0.002), ("", 0, 0.002)])
def test_the_next_try_comes_no_sooner_than_the_server_asks(asked: str, least: float, most: float) -> None:
    describer = served("http://127.0.0.1/v1")
    refusal = describer._refusal(429, {"retry-after": asked}, b"")
    assert isinstance(refusal, _NoAnswerError) and refusal.passing
    state = RetryCallState(Retrying(), None, (), {})
    state.set_exception((_NoAnswerError, refusal, None))
    assert least <= describer._wait(state) <= most


def test_a_picture_that_the_server_refuses_is_quarantined_alone() -> None:
    with fake_openai(always={"red": 400, "blue": 500}) as server:
        results = served(server.url).describe([flat("red"), flat("green"), flat("blue")])
    assert [result.descriptions for result in results] == [(), ("a green lid", "a green star"), ()]
    assert "the server refuses this picture (400): " in results[0].problem
    assert [result.answered for result in results] == [False, True, False]
    assert results[2].problem == "the server answers 500 again and again"
    assert len(server.requests) == 1 + 2 + ATTEMPTS + 1 + ATTEMPTS_ALONE


def probes(server: FakeServer) -> int:
    """How often it was asked whether it answers at all."""
    return sum(body["messages"][0]["content"][-1]["text"] == PROBE for body in server.requests)


def test_a_picture_on_which_the_server_drops_the_connection_fails_alone() -> None:
    with fake_openai(always={"red": "hang up"}) as server:
        results = served(server.url, concurrency=4).describe([flat(name) for name in ("green", "red", "blue", "red")])
        assert [result.problem for result in results] == ["", DROPPED, "", DROPPED]
        assert [result.descriptions[:1] for result in results] == [("a green lid",), (), ("a blue lid",), ()]
        assert len(server.requests) == 2 * 2 + 2 * (ATTEMPTS + 1 + ATTEMPTS_ALONE) and probes(server) == 2
        results = served(server.url).describe([flat("red")])  # nothing else to tell by: the probe decides
    assert [(result.problem, result.answered) for result in results] == [(DROPPED, False)]


@pytest.mark.slow
def test_a_picture_on_which_the_server_hangs_fails_alone() -> None:
    with fake_openai(always={"red": "slow"}) as server:
        results = served(server.url, timeout=2.0, patience=PATIENCE_S).describe([flat("green"), flat("red")])
    assert [result.problem for result in results] == ["", "the server did not answer within 2 s"]
    assert results[0].descriptions == ("a green lid", "a green star")
    red = [body for body in server.requests if pictures_of(body) and colour_of(body) == "red"]
    assert len(red) == 2, "what takes all its time is not tried six times"


def test_neighbours_of_a_picture_that_brings_the_server_down_are_asked_about_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = ["hang up"] * (3 * ATTEMPTS + 4)  # the first round of all three, and four probes
    with fake_openai(failures=[*outage], always={"red": "hang up"}) as server:
        describer = served(server.url, concurrency=3, patience=PATIENCE_S)
        results = describer.describe([flat("green"), flat("red"), flat("blue")])
    assert [result.problem for result in results] == ["", DROPPED, ""]
    assert [result.descriptions[:1] for result in results] == [("a green lid",), (), ("a blue lid",)]
    assert caplog.text.count("answers nothing: waiting for it") == 4


def test_an_outage_that_lasts_keeps_the_answers_before_it_and_stops_the_next_batch() -> None:
    with fake_openai(failures=[200, 200, *["hang up"] * 1000]) as server:
        describer = served(server.url, concurrency=1)
        results = describer.describe([flat("green"), flat("red"), flat("blue")])
        assert [result.problem for result in results] == ["", DROPPED, DROPPED]
        with pytest.raises(DescriberError, match=r"answers nothing \(the server drops the connection"):
            describer.describe([flat("red"), flat("blue")])
        with pytest.raises(DescriberError, match="answers nothing"):
            describer.yes([flat("red")], [["Is it red?"]])


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (500, "answers nothing"),
        (401, "wants a key .401.: set GRAIN_KEY_NAME"),
        (404, "knows no llava"),
        (302, "knows no"),
    ],
)
def test_a_server_that_answers_nothing_stops_the_work(status: int, sentence: str) -> None:
    with fake_openai(always=dict.fromkeys(COLOURS, status)) as server, pytest.raises(DescriberError, match=sentence):
        served(server.url).describe([flat("red"), flat("green")])


def test_a_server_that_is_not_there_is_named() -> None:
    with fake_openai() as server:
        gone = server.url
    with pytest.raises(DescriberError, match=f"{gone} cannot be reached: start it, or check its address"):
        served(gone).describe([flat("red")])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "the answer is empty"),
        ("x" * 1_000_000, "longer than the 20,000 characters"),
        ("- a \ud800 lid", "U+D800"),
        ("- a \0 lid", "U+0000"),
        ("I see a cat.", "no list"),
    ],
)
def test_a_strange_answer_is_quarantined_and_its_words_can_be_stored(answer: str, problem: str) -> None:
    with fake_openai(answer=answer) as server:
        (result,) = served(server.url).describe([flat("red")])
    assert problem in result.problem and result.descriptions == ()
    assert result.raw[1] == storable(answer) and result.answered
    assert storable("a \ud800 \0 lid").encode() == rb"a \ud800 \x00 lid"


def test_a_strange_first_answer_goes_on_as_it_can_be_written() -> None:
    with fake_openai(stage1="a \ud800 lid") as server:
        (result,) = served(server.url).describe([flat("red")])
    assert server.requests[1]["messages"][1]["content"] == r"a \ud800 lid"
    assert result.problem == "stage1: the answer holds a broken or control character (U+D800)"
    assert (result.descriptions, result.raw[1]) == ((), "- a red lid\n- a red star")


def test_a_first_answer_without_words_is_the_reason() -> None:
    with fake_openai(stage1="") as server:
        (result,) = served(server.url).describe([flat("red")])
    assert (result.problem, result.descriptions) == ("stage1: the answer is empty", ())


def test_an_answer_cut_at_its_limit_loses_its_last_item_only() -> None:
    with fake_openai(finish="length") as server:
        (result,) = served(server.url).describe([flat("red")])
    assert result.descriptions == ("a red lid",)
    assert result.left_out == ("a red star",)
    assert result.raw[1] == "- a red lid\n- a red star"


def test_one_question_is_one_request() -> None:
    with fake_openai() as server:
        (result,) = served(server.url, config=DescribeConfig(SINGLE_STAGE.name, caption=False)).describe([flat("red")])
    assert (result.subject, result.descriptions, len(server.requests)) == ("", ("a red lid", "a red star"), 1)


def test_the_key_reaches_the_server_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    with fake_openai(always={"red": 401, "blue": 400}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        describer = served(server.url)
        (refused,) = describer.describe([flat("blue")])
        with pytest.raises(DescriberError) as error:
            describer.describe([flat("red")])
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert repr(describer) == f"OpenAIDescriber('llava@r1', base_url='{server.url}')"
    told = [caplog.text, str(error.value), repr(describer), refused.problem]
    assert caplog.text and [text for text in told if SECRET in text] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"base_url": "127.0.0.1:8000"}, "must look like http"),
        ({"base_url": "file:///etc/passwd"}, "must look like http"),
        ({"base_url": "http://127.0.0.1:99999/v1"}, "must look like http"),
        ({"base_url": "http://127.0.0.1/v1?key=secret"}, "must look like http"),
        ({"base_url": "http://me:secret@127.0.0.1/v1"}, "holds a password: put it into GRAIN_KEY_NAME"),
        ({"base_url": "http://secret@127.0.0.1/v1"}, "holds a password: put it into GRAIN_KEY_NAME"),
        ({"base_url": "http://127.0.0.1/v1", "concurrency": 0}, "at least 1"),
    ],
)
def test_a_wrong_server_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        OpenAIDescriber("llava", **options)  # type: ignore[arg-type]
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        partial(SourceChoice, vqa="server"),
        partial(SourceChoice, vqa="none"),
        partial(DescriberChoice, "server"),
        partial(DescriberChoice, "photo"),
    ],
)
def test_no_settings_hold_a_password(settings: Callable[..., object]) -> None:
    assert settings(server="http://127.0.0.1:8000/v1")
    for secret in ("http://me:secret@127.0.0.1/v1", "http://secret@127.0.0.1/v1"):
        with pytest.raises(ValueError, match="holds a password: put it into GRAIN_KEY_NAME") as error:
            settings(server=secret)
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("prompts", PROMPTS)
def test_the_preview_is_what_is_sent_but_for_the_pictures_bytes_and_the_answers(prompts: str) -> None:
    image = Image.new("RGB", (1300, 650), COLOURS["red"])
    with fake_openai() as fake:
        describer = OpenAIDescriber("fake", base_url=fake.url, config=DescribeConfig(prompts), picture_side=400)
        requests = describer.preview(image)
        assert fake.requests == []
        describer.describe([image])
    assert [each.most_tokens for each in requests] == [body["max_tokens"] for body in fake.requests]
    for each, body in zip(requests, fake.requests, strict=True):
        for told, sent in zip(each.messages, body["messages"], strict=True):
            assert told["role"] == sent["role"]
            if told["role"] == "assistant":
                assert told["content"] == PLACEHOLDER
            else:
                assert told["content"][-1] == sent["content"][-1] and len(told["content"]) == len(sent["content"])
    [picture] = [part for part in requests[0].messages[0]["content"] if part["type"] == "image_url"]
    assert picture["picture"].startswith("400 × 200 pixels as JPEG, ")
