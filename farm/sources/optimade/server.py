"""One OPTIMADE server over HTTP: answers as dictionaries, tried again where that can help."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import requests

from farm.errors import SourceError
from farm.sources.opening import brief
from farm.sources.optimade.addresses import ForeignAddressError, own_address, shown, versioned

_LOGGER = logging.getLogger(__name__)

_CONNECT_S, _SILENCE_S = 10.0, 60.0
# Of one answer: a server may not drip for ever, nor fill the memory (500 cells of 100 atoms take 5 MB).
_LONGEST_ANSWER_S = 300.0
MOST_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 16
_N_ATTEMPTS = 6
_FIRST_PAUSE_S = 1.0
# Who asks for a longer pause is told of, not waited for.
_LONGEST_PAUSE_S = 300.0
# From here on a user shall know why nothing happens.
_PAUSE_TOLD_S = 4.0
_MOST_REDIRECTS = 5
_TRY_LATER = "Try again later: what was queued stays, and is skipped then"


class RefusedError(Exception):
    """The server does not take this question (HTTP 4xx, 501), with its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"HTTP {status}" + (f": {words}" if words else ""))
        self.status = status


class TooLargeError(Exception):
    """An answer of more than :data:`MOST_BYTES`."""


class StoppedError(Exception):
    """Whoever waits for the answer does not want it any longer."""


class _PassingError(Exception):
    """A trouble that may be gone at the next attempt."""

    def __init__(self, words: str, pause_s: float | None = None) -> None:
        super().__init__(words)
        self.pause_s = pause_s


@dataclass(frozen=True)
class Limits:
    """How much is borne: attempts at one question, bytes of one answer, seconds of silence in it."""

    n_attempts: int = _N_ATTEMPTS
    most_bytes: int = MOST_BYTES
    silence_s: float = _SILENCE_S


class Server:
    """Asks one server, and no other: where it points elsewhere, that is refused.

    name:     of the provider, for messages
    base_url: as providers give it, with or without the version at its end
    stopped:  asked while pausing; True ends the attempts by :class:`StoppedError`
    pause:    how to wait for so many seconds; None: by sleeping

    ``has_answered`` is True from the first answer on, good or bad.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        stopped: Callable[[], bool] = lambda: False,
        pause: Callable[[float], None] | None = None,
        limits: Limits = Limits(),
    ) -> None:
        self.name = name
        self.url = versioned(base_url)
        self._stopped = stopped
        self._pause = pause or self._sleep
        self.has_answered = False
        self._limits = limits
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/vnd.api+json, application/json"
        self._session.headers["User-Agent"] = "farm"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, url: str, n_attempts: int | None = None) -> dict[str, Any]:
        """The answer to one question; ``n_attempts`` in place of the usual number.

        Raises RefusedError, TooLargeError, StoppedError, and SourceError for a server that fails however
        often it is asked.
        """
        attempt, most = 0, n_attempts or self._limits.n_attempts
        while True:
            attempt += 1
            try:
                return self._once(url)
            except _PassingError as trouble:
                pause_s = trouble.pause_s or _FIRST_PAUSE_S * 2 ** (attempt - 1)
                # An address that has never answered is rather wrong than busy.
                if attempt == (most if self.has_answered else min(most, 2)):
                    raise self.error(url, f"{trouble}, {attempt} times", _TRY_LATER) from trouble
                if pause_s > _LONGEST_PAUSE_S:
                    raise self.error(
                        url, f"{trouble}, asks to wait {pause_s:.0f} s", _TRY_LATER
                    ) from trouble
                level = logging.WARNING if pause_s >= _PAUSE_TOLD_S else logging.INFO
                _LOGGER.log(level, "%s: %s, asked again in %.0f s", self.name, trouble, pause_s)
                self._pause(pause_s)
                if self._stopped():
                    raise StoppedError from trouble

    def error(self, url: str, what: str, fix: str) -> SourceError:
        """One clear error about an address of this server."""
        return SourceError(f"{self.name} ({shown(url)}): {what}", fix=fix)

    def own(self, link: str, seen_at: str) -> str:
        """A link that was in an answer. Raises SourceError where it leads to another server."""
        try:
            return own_address(link, seen_at, self.url)
        except ForeignAddressError as error:
            fix = "If you trust that one, ask it with --base-url"
            raise self.error(seen_at, str(error), fix) from None

    def _once(self, url: str) -> dict[str, Any]:
        for _ in range(_MOST_REDIRECTS):
            try:
                with self._session.get(
                    url,
                    stream=True,
                    allow_redirects=False,
                    timeout=(_CONNECT_S, self._limits.silence_s),
                ) as response:
                    if not response.is_redirect:
                        return self._read(response)
                    url = self.own(response.headers["location"], url)
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
                raise self.error(url, f"no usable address: {brief(error)}", "Check --base-url") from error
            except requests.exceptions.SSLError as error:
                raise self.error(url, f"its certificate is not good: {brief(error)}", _TRY_LATER) from error
            except (requests.exceptions.RequestException, OSError) as error:
                raise _PassingError(_connection_trouble(error)) from error
        raise self.error(url, "sends us from address to address", _TRY_LATER)

    def _read(self, response: requests.Response) -> dict[str, Any]:
        status = response.status_code
        self.has_answered = True
        if status == 429 or (status >= 500 and status != 501):
            raise _PassingError(f"HTTP {status}", _retry_after_s(response))
        body = bytearray()
        ends = time.monotonic() + _LONGEST_ANSWER_S
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._limits.most_bytes:
                raise TooLargeError(f"more than {self._limits.most_bytes >> 20} MB")
            if time.monotonic() > ends:
                raise _PassingError("too slow an answer")
        if status >= 400:
            raise RefusedError(status, _words(body))
        try:
            # NaN is no JSON, and would pass every comparison.
            answer = json.loads(body, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            raise _PassingError("answers with what is no JSON") from error
        if not isinstance(answer, dict):
            raise _PassingError("answers with something else than OPTIMADE")
        return answer

    def _sleep(self, seconds: float) -> None:
        # In slices, so that a stop need not wait for a server.
        ends = time.monotonic() + seconds
        while (left_s := ends - time.monotonic()) > 0 and not self._stopped():
            time.sleep(min(left_s, 0.1))


def _retry_after_s(response: requests.Response) -> float | None:
    """Seconds of a Retry-After header (a number, or a date); None where there is none to be understood."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None


def _words(body: bytes | bytearray) -> str:
    """What an answer says is wrong, in its own words; empty where it says nothing in OPTIMADE's form."""
    try:
        first = json.loads(body)["errors"][0]
        said = first.get("detail") or first.get("title") or ""
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    return brief(ValueError(str(said)))


def _connection_trouble(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "cannot be reached"
    if isinstance(error, requests.exceptions.Timeout):
        return "does not answer"
    if isinstance(
        error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError
    ):
        return "the answer broke off"
    if "Remote end closed" in str(error) or "reset" in str(error).lower():
        return "the connection broke off"
    return "cannot be reached"
