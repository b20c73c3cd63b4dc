"""The server of the night's run knows a picture by what it shows, and fails where it is told to."""

from __future__ import annotations

import io
import json
import random

from PIL import Image

from benchmarks.night import PICTURES, NightServer, draw_number, number_of, sheet
from curation.annotate.messages import user_turn
from curation.annotate.openai_describer import _picture_part
from curation.annotate.prompts import TWO_STAGE, parse_descriptions


def asking(number: int, question: str) -> dict[str, object]:
    png = io.BytesIO()
    draw_number(number).save(png, "PNG")
    return {"messages": [user_turn(question, _picture_part(Image.open(png).convert("RGB")))]}


def test_a_picture_tells_its_number_after_it_was_sent_and_the_plain_one_of_a_probe_tells_none() -> None:
    numbers = [1, PICTURES, *random.Random(0).sample(range(1, PICTURES), 50)]
    assert [number_of(asking(number, "")) for number in numbers] == numbers
    grey = _picture_part(Image.new("RGB", (224, 224), "grey"))
    assert number_of({"messages": [user_turn("", grey)]}) == -1


def test_poison_is_dropped_each_time_and_every_other_picture_gets_its_own_list_sooner_or_later() -> None:
    server = NightServer(frozenset({3}))
    assert [server.reply(asking(3, TWO_STAGE.stage2)) for _ in range(5)] == [(0, b"")] * 5
    answers = [server.reply(asking(7, TWO_STAGE.stage2)) for _ in range(100)]
    assert 0 < server.errors < 20
    [said] = {body for code, body in answers if code == 200}
    text = json.loads(said)["choices"][0]["message"]["content"]
    assert parse_descriptions(text).descriptions[0] == sheet(7)
    assert server.answered[7] == 100 - server.errors
