"""Write the messages of a conversation about a picture, and show them before they are sent."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from curation.annotate.prompts import Prompts

PLACEHOLDER = "(the answer)"  # stands for an answer that is not there yet
Message = dict[str, Any]


@dataclass(frozen=True)
class PreviewedRequest:
    """One request about a picture, as it would be sent.

    stage: of the prompts. most_tokens: of the answer. messages: of the conversation so far; PLACEHOLDER stands for
    answers, and a sentence for the picture. text: of a model on this machine, what its chat template makes of them.
    """

    stage: str
    most_tokens: int
    messages: tuple[Message, ...]
    text: str = ""


def user_turn(question: str, *before: Message) -> Message:
    """Write a turn of the user: the contents given in `before`, then the question."""
    return {"role": "user", "content": [*before, {"type": "text", "text": question}]}


def conversation(words: Prompts, picture: Message) -> Generator[tuple[str, list[Message]], str, None]:
    """Yield each stage with the messages that ask it; send the answer, which the next one's messages hold."""
    messages: list[Message] = []
    for stage, question in words.questions.items():
        messages.append(user_turn(question, *([] if messages else [picture])))
        answer = yield stage, list(messages)
        messages.append({"role": "assistant", "content": answer})


def preview(words: Prompts, most_tokens: Mapping[str, int], picture: Message) -> list[PreviewedRequest]:
    """Return the requests of a conversation. most_tokens: of each stage. picture: what stands for it."""
    asking, found = conversation(words, picture), []
    try:
        stage, messages = next(asking)
        while True:
            found.append(PreviewedRequest(stage, most_tokens[stage], tuple(messages)))
            stage, messages = asking.send(PLACEHOLDER)
    except StopIteration:
        return found
