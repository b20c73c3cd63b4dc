"""Ask a server that speaks OpenAI's chat schema (vLLM, SGLang, llama.cpp) to describe pictures."""

from __future__ import annotations

import base64
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
from PIL import Image
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from curation.annotate.describe import (
    DescribeConfig,
    DescriberError,
    DescriberResult,
    ModelAnswer,
    read_answers,
    user_turn,
)
from curation.annotate.prompts import name_question, storable
from curation.annotate.servers import check_address, key_of, key_variable

PICTURE_SIDE = 1008  # pixels of the longer side of a picture that is sent: LLaVA-NeXT's largest grid
JPEG_QUALITY = 92
MOST_LOGPROBS = 20  # of the first token of an answer: the schema's limit
MOST_BODY_BYTES = 8 * 2**20  # of a server's reply
MOST_REASON_CHARACTERS = 200  # of a server's own words on a picture
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before a request is sent again
ATTEMPTS = 6  # of one request
Asked = TypeVar("Asked")
NOT_THE_SCHEMA = "the server's answer is cut or not in OpenAI's schema"


class _NoAnswerError(RuntimeError):
    """A request got no answer. passing: the same one may get one later. wait: seconds that the server asks for."""

    def __init__(self, reason: str, *, passing: bool = True, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.passing, self.wait = passing, wait


class OpenAIDescriber:
    """See Describer. Pictures travel as bytes (data URLs), reduced once; several conversations go on at once.

    A busy or failing server is asked again, later and later. The key is the server's own
    (curation/annotate/servers.py) and stands in no message.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        revision: str = "served",
        config: DescribeConfig | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """model: as the server calls it. revision: what the server has loaded, which it does not tell.

        Args:   concurrency: requests at once. timeout: seconds for one. first_wait: seconds before the second try.
        Raises: ValueError: see check_address.
        """
        check_address(base_url)
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        self.name, self.config = f"{model}@{revision}", config or DescribeConfig()
        self._model, self._server = model, base_url.rstrip("/")
        self._concurrency, self._timeout, self._first_wait = concurrency, timeout, first_wait
        key = key_of(base_url)
        self._client = httpx.Client(
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency),
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )

    def __repr__(self) -> str:
        return f"OpenAIDescriber({self.name!r}, base_url={self._server!r})"

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        """See Describer. A picture that the server refuses, or fails on again and again, has no answer but a problem.

        Raises: DescriberError: the server is not there, refuses us, or answers nothing at all.
        """
        return self._all(images, self._conversation)

    def describe_names(self, names: Sequence[str]) -> list[DescriberResult]:
        """See TextDescriber. No picture is sent; what is refused has a problem, as in describe.

        Raises: DescriberError: the server is not there, refuses us, or answers nothing at all.
        """
        return self._all(names, self._told)

    def _told(self, name: str) -> dict[str, ModelAnswer] | _NoAnswerError:
        try:
            return {"stage2": self._ask([user_turn(name_question(name))], self.config.stage2_tokens)}
        except _NoAnswerError as failure:
            return failure

    def _all(
        self, asked: Sequence[Asked], ask: Callable[[Asked], dict[str, ModelAnswer] | _NoAnswerError]
    ) -> list[DescriberResult]:
        """Ask for all, several at once, and return the results in their order.

        Raises: DescriberError: the server is not there, refuses us, or answers nothing at all.
        """
        began = time.perf_counter()
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            outcomes = list(pool.map(ask, asked))
        finally:
            pool.shutdown(cancel_futures=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, _NoAnswerError)]
        if failures and len(failures) == len(asked) and all(failure.passing for failure in failures):
            raise DescriberError(f"The describer at {self._server} answers nothing ({failures[0]}): look at its log.")
        share = (time.perf_counter() - began) / max(1, len(asked))
        return [
            DescriberResult(problem=str(outcome), seconds=share)
            if isinstance(outcome, _NoAnswerError)
            else read_answers(outcome, share)
            for outcome in outcomes
        ]

    def yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """See curation.audit.evidence.Asked; None where the server tells no probabilities, or nothing of that picture.

        Raises: DescriberError: the server is not there or refuses us.
        """
        pairs = [(image, each) for image, some in zip(images, questions, strict=True) for each in some]
        with ThreadPoolExecutor(self._concurrency) as pool:
            answers = iter(list(pool.map(lambda pair: self._yes(*pair), pairs)))
        return [[next(answers) for _ in some] for some in questions]

    def _yes(self, image: Image.Image, question: str) -> float | None:
        picture = {"type": "image_url", "image_url": {"url": _data_url(image)}}
        try:
            said = self._ask([user_turn(question, picture)], 1, logprobs=True, top_logprobs=MOST_LOGPROBS)
        except _NoAnswerError:
            return None
        return said.yes

    def _conversation(self, image: Image.Image) -> dict[str, ModelAnswer] | _NoAnswerError:
        """Ask all questions about one picture; return the answers, or why there are none."""
        picture = {"type": "image_url", "image_url": {"url": _data_url(image)}}
        messages: list[dict[str, Any]] = []
        answers: dict[str, ModelAnswer] = {}
        try:
            for stage, question in self.config.words.questions.items():
                messages.append(user_turn(question, *([] if messages else [picture])))
                answers[stage] = self._ask(messages, self.config.most_tokens[stage])
                messages.append({"role": "assistant", "content": storable(answers[stage].text)})
        except _NoAnswerError as failure:
            return failure
        return answers

    def _ask(self, messages: list[dict[str, Any]], most_tokens: int, **more: Any) -> ModelAnswer:
        """Send one request, again and again while that may help.

        Raises: _NoAnswerError: no answer about this picture. DescriberError: the server is not there or refuses us.
        """
        request = {"model": self._model, "messages": messages, "max_tokens": most_tokens, "temperature": 0, **more}
        again = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_attempt(ATTEMPTS), wait=self._wait, reraise=True
        )
        try:
            return again(self._once, request)
        except httpx.TransportError as error:
            sentence = f"The describer at {self._server} cannot be reached: start it, or check its address."
            raise DescriberError(sentence) from error

    def _once(self, request: dict[str, Any]) -> ModelAnswer:
        late = time.monotonic() + self._timeout  # httpx's own limit is for each piece of a reply
        body = bytearray()
        try:
            with self._client.stream("POST", f"{self._server}/chat/completions", json=request) as response:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MOST_BODY_BYTES:
                        reason = f"the server's reply has more than {MOST_BODY_BYTES:,} bytes"
                        raise _NoAnswerError(reason, passing=False)
                    if time.monotonic() > late:
                        raise _NoAnswerError("the server did not answer in time")
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise _NoAnswerError("the server did not answer in time") from error
        except httpx.DecodingError as error:
            raise _NoAnswerError(NOT_THE_SCHEMA) from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.headers, bytes(body))
        return _read(bytes(body))

    def _refusal(self, code: int, headers: Mapping[str, str], body: bytes) -> Exception:
        """Return the error that a status means; it repeats only the server's words about a picture."""
        if code in (401, 403):
            return DescriberError(
                f"The describer at {self._server} wants a key ({code}): set {key_variable(self._server)}."
            )
        if code == 404 or code < 400:
            return DescriberError(
                f"The describer at {self._server} knows no {self._model} ({code}): check its name and the address."
            )
        if code in (408, 409, 429) or code >= 500:
            asked = headers.get("retry-after", "")
            wait = min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0
            return _NoAnswerError(f"the server answers {code} again and again", wait=wait)
        words = storable(" ".join(body.decode(errors="replace").split()))[:MOST_REASON_CHARACTERS]
        return _NoAnswerError(f"the server refuses this picture ({code}): {words}", passing=False)

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next try: random, longer each time, at least what the server asks for."""
        error = state.outcome.exception() if state.outcome else None
        backoff = wait_random_exponential(multiplier=self._first_wait, max=LONGEST_WAIT)(state)
        return max(backoff, error.wait) if isinstance(error, _NoAnswerError) else backoff


def _may_pass(error: BaseException) -> bool:
    return error.passing if isinstance(error, _NoAnswerError) else isinstance(error, httpx.TransportError)


def _read(body: bytes) -> ModelAnswer:
    """Read a completion in OpenAI's schema.

    Raises: _NoAnswerError: it is cut, or has another form.
    """
    try:
        reply = json.loads(body)
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        text = choice["message"]["content"] or ""
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        read, written = int(usage.get("prompt_tokens") or 0) - int(cached), int(usage.get("completion_tokens") or 0)
        if not isinstance(text, str):
            raise TypeError(f"expected a text, got {type(text).__name__}")
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _NoAnswerError(NOT_THE_SCHEMA) from error
    return ModelAnswer(text, choice.get("finish_reason") != "length", read, written, _yes_share(choice))


def _yes_share(choice: Mapping[str, Any]) -> float | None:
    """Return the share of "yes" among yes and no as the first token; None where the reply does not tell."""
    shares = {"yes": 0.0, "no": 0.0}
    try:
        for one in choice["logprobs"]["content"][0]["top_logprobs"]:
            word = str(one["token"]).strip().lower()
            if word in shares:
                shares[word] += math.exp(min(0.0, float(one["logprob"])))
    except (LookupError, TypeError, ValueError):
        return None
    return shares["yes"] / sum(shares.values()) if sum(shares.values()) > 0 else None


def _data_url(image: Image.Image) -> str:
    """Encode a picture as JPEG in a data URL, reduced to PICTURE_SIDE."""
    small = image.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
