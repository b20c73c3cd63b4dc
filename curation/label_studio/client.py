"""Connect to a Label Studio server, and send a request again while its failure may pass.

Every step may be done again, so that whatever fails is: nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx
from label_studio_sdk.client import LabelStudio as Client
from label_studio_sdk.core.api_error import ApiError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from curation.label_studio.access import Access
from curation.label_studio.convert import LabelStudioError

Result = TypeVar("Result")

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before a request is sent again
ATTEMPTS = 6  # of one step
TIMEOUT = 30.0  # seconds for one request
HEALTH_S = 2  # for asking whether it is up: a page must not wait
PAGE = 200  # tasks a page
MOST_REASON_CHARACTERS = 200  # of the server's own words


class TaskRefusedError(LabelStudioError):
    """Label Studio, or its form, cannot take this one thing; others may pass."""


class LabelStudio:
    """A connection to a Label Studio server. A busy or failing one is asked again, later and later.

    sdk: the server's own client, for use within `retry`. The token stands in no message, and no proxy of the
    environment sees it.
    """

    def __init__(
        self, access: Access, *, timeout: float = TIMEOUT, first_wait: float = FIRST_WAIT, attempts: int = ATTEMPTS
    ) -> None:
        """timeout: seconds for one request. first_wait: seconds before the second of so many attempts.

        Raises: LabelStudioError: no http address, or one that holds a password; a token that no request can carry.
        """
        try:
            address = httpx.URL(access.url)
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host or address.userinfo:
            raise LabelStudioError("Label Studio's address must look like http://127.0.0.1:8081, without a password.")
        if not (access.token.isascii() and access.token.isprintable()):
            raise LabelStudioError("Label Studio's token must be letters, digits and signs of ASCII, as it shows it.")
        self.url = access.url.rstrip("/")
        self._first_wait, self._attempts = first_wait, attempts
        self._http = httpx.Client(timeout=timeout, trust_env=False)
        self.sdk: Any = Client(  # type: ignore[no-untyped-call]
            base_url=self.url, api_key=access.token, httpx_client=self._http, max_retries=0
        )
        self._people: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"LabelStudio({self.url!r})"

    def health(self, within: int = HEALTH_S) -> str:
        """Return "" when it is up and lets us in, else one sentence. Ask once, for so many seconds at most."""
        try:
            self._greet(request_options={"timeout_in_seconds": within})
        except LabelStudioError as error:
            return str(error)
        except (ApiError, httpx.HTTPError) as error:
            return str(self._explain(error))
        return ""

    def check(self) -> None:
        """Check that a Label Studio answers at the address, and lets us in; a busy one is asked again.

        Raises: LabelStudioError.
        """
        self.retry(self._greet)

    def _greet(self, **options: Any) -> None:
        """Ask who we are there: any Label Studio answers that with a person."""
        try:
            person, code = self.sdk.users.whoami(**options), 200
        except TypeError:  # JSON, but no object
            person, code = None, 200
        except ApiError as error:
            if error.status_code not in (404, 405):
                raise
            person, code = None, error.status_code
        if not isinstance(getattr(person, "id", None), int):
            raise LabelStudioError(self._no_label_studio(code))

    def tasks(self, project_id: int, query: Mapping[str, Any], **fields: Any) -> Iterator[dict[str, Any]]:
        """Yield tasks in the order of their ids: while pages are read, the set may grow before a place, never shrink.

        Raises: LabelStudioError: the server does not answer.
        """
        seen: set[int] = set()
        number = 1
        while True:
            page = self.task_page(project_id, number, query={**query, "ordering": ["tasks:id"]}, **fields)
            for task in page:
                if task["id"] not in seen:
                    seen.add(task["id"])
                    yield task
            if len(page) < PAGE:
                return
            number += 1

    def task_page(
        self, project_id: int, number: int, *, query: Mapping[str, Any], size: int = PAGE, **fields: Any
    ) -> list[dict[str, Any]]:
        """Return one page of a project's tasks, counted from 1.

        Raises: LabelStudioError: the server does not answer.
        """

        def step() -> list[dict[str, Any]]:
            try:
                pager = self.sdk.tasks.list(
                    project=project_id, page=number, page_size=size, query=json.dumps(query), **fields
                )
            except ApiError as error:
                if error.status_code == 404 and number > 1:  # the page before was the last, and full
                    return []
                raise
            return [task.model_dump() for task in pager.items or []]

        return self.retry(step)

    def person_name(self, person: Any) -> str:
        """Return the email address or name of a person, given by id or as the server describes people."""
        number = int(person["id"] if isinstance(person, Mapping) else person or 0)
        if number not in self._people:
            people = self.retry(lambda: list(self.sdk.users.list()))
            self._people |= {each.id: each.email or each.username or str(each.id) for each in people}
        return self._people.get(number, str(number))

    def retry(self, step: Callable[[], Result]) -> Result:
        """Do a step that may be done again, again while that may help.

        Raises: LabelStudioError.
        """
        again = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_attempt(self._attempts), wait=self._wait, reraise=True
        )
        try:
            return again(step)
        except (ApiError, httpx.HTTPError) as error:
            raise self._explain(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _wait(self, state: RetryCallState) -> float:
        """Return seconds before the next try: longer each time and random, no shorter than the server asks for."""
        error = state.outcome.exception() if state.outcome else None
        backoff = wait_random_exponential(multiplier=self._first_wait, max=LONGEST_WAIT)(state)
        headers = httpx.Headers(error.headers) if isinstance(error, ApiError) and error.headers else httpx.Headers()
        asked = headers.get("retry-after", "")
        return max(backoff, min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0)

    def _explain(self, error: ApiError | httpx.HTTPError) -> LabelStudioError:
        """Explain a failure to a person; of the server's words, quote only those about what we sent."""
        here = f"Label Studio at {self.url}"
        if isinstance(error, httpx.TimeoutException):
            return LabelStudioError(f"{here} did not answer in time: look at its log; what is left is done later.")
        if isinstance(error, httpx.HTTPError):
            return LabelStudioError(f"{here} cannot be reached: start it with make label-studio, or check its address.")
        code = error.status_code or 0
        if code in (401, 403):
            return LabelStudioError(
                f"{here} does not take the token ({code}): run make label-studio, or set its token."
            )
        if _may_pass(error):
            return LabelStudioError(
                f"{here} answers {code} again and again: look at its log; what is left is done later."
            )
        if code < 400:
            return LabelStudioError(self._no_label_studio(code))
        if code == 404:
            return LabelStudioError(f"{here} has no such project or task any more (404): push the pictures again.")
        body = error.body if isinstance(error.body, Mapping) else {}
        words = " ".join(str(body.get("validation_errors") or body.get("detail") or "").split())
        return TaskRefusedError(f"{here} refuses this ({code}): {words[:MOST_REASON_CHARACTERS]}")

    def _no_label_studio(self, code: int | None) -> str:
        return f"What answers at {self.url} is no Label Studio ({code}): check its address."


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status_code in (408, 429) or (error.status_code or 0) >= 500
    return isinstance(error, httpx.TransportError)
