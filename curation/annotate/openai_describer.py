"""Ask a server that speaks OpenAI's chat schema (vLLM, SGLang, llama.cpp) about pictures."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
)
from curation.annotate.messages import PreviewedRequest, conversation, preview, user_turn
from curation.annotate.picture_sizes import PICTURE_SIDE, check_side, reduce_picture
from curation.annotate.prompts import name_question, storable
from curation.annotate.servers import check_address, key_of, key_variable
from curation.annotate.vlm_boxes import BoxAnswer
from grain.time_limit import check_time, seconds_left

JPEG_QUALITY = 92
MOST_LOGPROBS = 20  # of the first token of an answer: the schema's limit
MOST_BODY_BYTES = 8 * 2**20  # of a server's reply
MOST_REASON_CHARACTERS = 200  # of a server's own words on a picture
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before a request is sent again
LONGEST_PROBE_WAIT = 15.0  # seconds between two probes of a server that answers nothing
ATTEMPTS, ATTEMPTS_ALONE = 6, 2  # of one request among others, and of one whose picture is asked about again, alone
TIMEOUT, PATIENCE = 120.0, 1800.0  # seconds for one request, and for a server that answers nothing to come back
PROBE, PROBE_SIDE = "Is this picture grey?", 224  # asked to find out whether a server answers at all; pixels
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
NOT_THE_SCHEMA = "the server's answer is cut or not in OpenAI's schema"
UNREACHABLE = "the server cannot be reached"
DROPPED = "the server drops the connection each time"

log = logging.getLogger(__name__)


class _NoAnswerError(RuntimeError):
    """A request got no answer.

    passing: the same one may get one later. wait: seconds that the server asks for. slow: it took all its time, so that
    it is not sent again while others wait.
    """

    def __init__(self, reason: str, *, passing: bool = True, wait: float = 0.0, slow: bool = False) -> None:
        super().__init__(reason)
        self.passing, self.wait, self.slow = passing, wait, slow


class OpenAIDescriber:
    """A Describer behind a server. Pictures travel as bytes (data URLs), reduced once; several conversations at once.

    A busy or failing server is asked again, later and later. A picture whose request fails all the same is asked about
    once more, alone; what then fails is its own failure, and the others keep their answers. Only where a probe gets no
    answer either, the server itself is gone: it is waited for. The key is the server's own
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
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        first_wait: float = FIRST_WAIT,
        picture_side: int = PICTURE_SIDE,
        picture_step: int = 0,
    ) -> None:
        """model: as the server calls it. revision: what the server has loaded, which it does not tell.

        Args:   concurrency: requests at once. timeout: seconds for one. patience: seconds in which a server that
                answers nothing may come back. first_wait: seconds before the second try. picture_side, picture_step:
                see reduce_picture.
        Raises: ValueError: see check_address and check_side.
        """
        check_address(base_url)
        check_side(picture_side)
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        self.name, self.config = f"{model}@{revision}", config or DescribeConfig()
        self._model, self._server = model, base_url.rstrip("/")
        self._concurrency, self._timeout, self._first_wait = concurrency, timeout, first_wait
        self._patience, self._until = patience, math.inf
        self._side, self._step = picture_side, picture_step
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

        Raises: DescriberError: the server refuses us, or answers nothing at all and does not come back.
        """
        return self._all(images, self._conversation)

    def describe_names(self, names: Sequence[str]) -> list[DescriberResult]:
        """See TextDescriber. No picture is sent; what is refused has a problem, as in describe.

        Raises: DescriberError: as describe.
        """
        return self._all(names, self._describe_name)

    def yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """See curation.audit.evidence.Asked; None where the server tells no probabilities, or nothing of that picture.

        Raises: DescriberError: as describe.
        """
        pairs = [(image, each) for image, some in zip(images, questions, strict=True) for each in some]
        answers = iter(self._outcomes(pairs, self._yes))
        found = [[next(answers) for _ in some] for some in questions]
        return [[None if isinstance(each, _NoAnswerError) else each.yes for each in some] for some in found]

    def ask_each(self, images: Sequence[Image.Image], questions: Sequence[str], most_tokens: int) -> list[BoxAnswer]:
        """See BoxAnswerer. What the server refuses, or fails on again and again, has a problem for an answer.

        Raises: DescriberError: as describe.
        """

        def ask(pair: tuple[Image.Image, str], attempts: int) -> ModelAnswer:
            return self._ask([user_turn(pair[1], _picture_part(pair[0]))], most_tokens, attempts=attempts)

        small = [reduce_picture(image, self._side, self._step) for image in images]
        outcomes = self._outcomes([*zip(small, questions, strict=True)], ask)
        return [
            BoxAnswer("", image.size, image.size, problem=str(outcome))
            if isinstance(outcome, _NoAnswerError)
            else BoxAnswer(outcome.text, image.size, image.size)
            for image, outcome in zip(small, outcomes, strict=True)
        ]

    def _all(
        self, asked: Sequence[Asked], ask: Callable[[Asked, int], dict[str, ModelAnswer]]
    ) -> list[DescriberResult]:
        began = time.perf_counter()
        outcomes = self._outcomes(asked, ask)
        share = (time.perf_counter() - began) / max(1, len(asked))
        return [
            DescriberResult(problem=str(outcome), seconds=share)
            if isinstance(outcome, _NoAnswerError)
            else read_answers(outcome, share)
            for outcome in outcomes
        ]

    def _outcomes(self, asked: Sequence[Asked], ask: Callable[[Asked, int], Answer]) -> list[Answer | _NoAnswerError]:
        """Ask for all, several at once, and then again for each whose request failed, one by one.

        A picture that brings the server down fails its neighbours' requests as well; alone, each fails for itself.

        Args:    ask: takes one of them, and how often its requests may be sent.
        Returns: the answer to each or why there is none, in their order.
        Raises:  DescriberError: the server refuses us, or answers nothing at all and does not come back.
                 OutOfTimeError: some have no answer when the caller's time limit is over.
        """
        self._until = time.monotonic() + seconds_left()  # the threads below do not know the caller's limit

        def outcome(one: Asked, attempts: int) -> Answer | _NoAnswerError:
            try:
                return ask(one, attempts)
            except _NoAnswerError as failure:
                return failure

        pool = ThreadPoolExecutor(self._concurrency)
        try:
            outcomes = list(pool.map(lambda one: outcome(one, ATTEMPTS), asked))
        finally:
            pool.shutdown(cancel_futures=True)
        for place, failure in enumerate(outcomes):
            if not isinstance(failure, _NoAnswerError) or not failure.passing:
                continue
            check_time()
            if self._comes_back():
                outcomes[place] = outcome(asked[place], ATTEMPTS_ALONE)
            elif all(isinstance(each, _NoAnswerError) for each in outcomes):
                raise self._gone(failure)
            else:  # the answers that are there are kept; the next batch finds out whether this is the end
                break
        return outcomes

    def _comes_back(self) -> bool:
        """Return whether the server answers a probe, now or as long as it is waited for."""
        until, wait = time.monotonic() + min(self._patience, seconds_left()), self._first_wait
        while not self._answers():
            left = until - time.monotonic()
            if left <= 0:
                return False
            log.warning("The describer at %s answers nothing: waiting for it, %.0f s at most.", self._server, left)
            time.sleep(min(wait, left))
            wait = min(2 * wait, LONGEST_PROBE_WAIT)
        return True

    def _answers(self) -> bool:
        """Ask for one word about a plain picture; a refusal is an answer as well.

        Raises: DescriberError: the server refuses us.
        """
        picture = _picture_part(Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "grey"))
        try:
            self._ask([user_turn(PROBE, picture)], 1, attempts=1)
        except _NoAnswerError as failure:
            return not failure.passing
        return True

    def _gone(self, failure: _NoAnswerError) -> DescriberError:
        if str(failure) == UNREACHABLE:
            return DescriberError(f"The describer at {self._server} cannot be reached: start it, or check its address.")
        return DescriberError(f"The describer at {self._server} answers nothing ({failure}): look at its log.")

    def _describe_name(self, name: str, attempts: int) -> dict[str, ModelAnswer]:
        asked = [user_turn(name_question(name))]
        return {"stage2": self._ask(asked, self.config.stage2_tokens, attempts=attempts)}

    def _yes(self, pair: tuple[Image.Image, str], attempts: int) -> ModelAnswer:
        image, question = pair
        more = {"logprobs": True, "top_logprobs": MOST_LOGPROBS}
        return self._ask([user_turn(question, self._part_of(image))], 1, attempts=attempts, **more)

    def _conversation(self, image: Image.Image, attempts: int) -> dict[str, ModelAnswer]:
        """Ask all questions about one picture."""
        asking = conversation(self.config.words, self._part_of(image))
        answers: dict[str, ModelAnswer] = {}
        with suppress(StopIteration):
            stage, messages = next(asking)
            while True:
                answers[stage] = self._ask(messages, self.config.most_tokens[stage], attempts=attempts)
                stage, messages = asking.send(storable(answers[stage].text))
        return answers

    def preview(self, image: Image.Image) -> list[PreviewedRequest]:
        """Return the requests about a picture without sending any; a sentence stands for its bytes."""
        small = reduce_picture(image, self._side, self._step)
        size = len(_data_url(small)) * 3 // 4 // 1000
        words = f"{small.width} × {small.height} pixels as JPEG, {size:,} kB"
        return preview(self.config.words, self.config.most_tokens, {"type": "image_url", "picture": words})

    def _part_of(self, image: Image.Image) -> dict[str, Any]:
        return _picture_part(reduce_picture(image, self._side, self._step))

    def _ask(self, messages: list[dict[str, Any]], most_tokens: int, *, attempts: int, **more: Any) -> ModelAnswer:
        """Send one request, again and again while that may help.

        Raises: _NoAnswerError: no answer about this picture. DescriberError: the server refuses us.
        """
        request = {"model": self._model, "messages": messages, "max_tokens": most_tokens, "temperature": 0, **more}
        again = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_attempt(attempts), wait=self._wait, reraise=True
        )
        return again(self._once, request)

    def _once(self, request: dict[str, Any]) -> ModelAnswer:
        left = min(self._timeout, self._until - time.monotonic())
        if left <= 0:
            raise self._too_slow()
        late = time.monotonic() + left  # httpx's own limit is for each piece of a reply
        body = bytearray()
        try:
            asked = self._client.stream("POST", f"{self._server}/chat/completions", json=request, timeout=left)
            with asked as response:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MOST_BODY_BYTES:
                        reason = f"the server's reply has more than {MOST_BODY_BYTES:,} bytes"
                        raise _NoAnswerError(reason, passing=False)
                    if time.monotonic() > late:
                        raise self._too_slow()
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise self._too_slow() from error
        except httpx.NetworkError as error:
            raise _NoAnswerError(UNREACHABLE if isinstance(error, httpx.ConnectError) else DROPPED) from error
        except httpx.RemoteProtocolError as error:
            raise _NoAnswerError(DROPPED) from error
        except httpx.TransportError as error:
            raise _NoAnswerError(UNREACHABLE) from error
        except httpx.DecodingError as error:
            raise _NoAnswerError(NOT_THE_SCHEMA) from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.headers, bytes(body))
        return _read(bytes(body))

    def _too_slow(self) -> _NoAnswerError:
        return _NoAnswerError(f"the server did not answer within {self._timeout:g} s", slow=True)

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
        wait = max(backoff, error.wait) if isinstance(error, _NoAnswerError) else backoff
        return max(0.0, min(wait, self._until - time.monotonic()))


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _NoAnswerError) and error.passing and not error.slow


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


def _picture_part(image: Image.Image) -> dict[str, Any]:
    """Return the part of a message that holds a picture."""
    return {"type": "image_url", "image_url": {"url": _data_url(image)}}


def _data_url(image: Image.Image) -> str:
    """Encode an RGB picture as JPEG in a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
