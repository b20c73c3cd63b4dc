"""Write the messages of a conversation about a picture, and show them before they are sent."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.annotate.describe import DescribeConfig

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


def conversation(config: DescribeConfig, picture: Message) -> Generator[tuple[str, list[Message]], str, None]:
    """Yield each stage with the messages that ask it; send the answer, which the next one's messages hold."""
    messages: list[Message] = []
    for stage, question in config.words.questions.items():
        messages.append(user_turn(question, *([] if messages else [picture])))
        answer = yield stage, list(messages)
        messages.append({"role": "assistant", "content": answer})


def preview(config: DescribeConfig, picture: Message) -> list[PreviewedRequest]:
    """Return the requests of a conversation. picture: what stands for it."""
    asking, found = conversation(config, picture), []
    try:
        stage, messages = next(asking)
        while True:
            found.append(PreviewedRequest(stage, config.most_tokens[stage], tuple(messages)))
            stage, messages = asking.send(PLACEHOLDER)
    except StopIteration:
        return found
