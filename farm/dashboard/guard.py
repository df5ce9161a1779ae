"""In front of every page: is this host meant, who asks, may he, and was the form ours."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import ImmutableMultiDict, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from farm.dashboard.access import Access, Scope, Session
from farm.dashboard.answers import HEADERS, is_checkpoint, is_for_programs, refusal
from farm.dashboard.attempts import Attempts

COOKIE = "farm_session"
_OPEN_PATHS = ("/health", "/login")
_LARGEST_FORM = 65536
_MOST_FIELDS = 1000
_LONGEST_ADDRESS = 64
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_NOBODY = Session(scope=Scope.NOTHING)


class Guard:
    """ASGI middleware; puts the ``session`` and the fields of the ``form`` into the state of a request."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access
        self._attempts = Attempts()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.session, request.state.form = _NOBODY, ImmutableMultiDict()
        request.state.attempts = self._attempts
        send = _with_headers(send)
        answer = self._refused(request) or await self._refused_form(request)
        await (answer or self._app)(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        """Sets the session; an answer where the request may not go on."""
        if not self._access.is_own_host(request.headers.get("host", "")):
            return Response(
                "unknown host; start with --host-name for a name of your own\n", status_code=400
            )
        bearer = _token_of(request)
        if bearer is None:
            request.state.session = self._session_of_browser(request)
        elif not self._attempts.allowed(who := "bearer " + client_of(request), now_s := time.monotonic()):
            return refusal(request, 429, "Too many attempts", "too many wrong tokens", fix="Wait a minute")
        elif (found := self._access.scope_of_token(bearer)) is Scope.NOTHING:
            self._attempts.failed(who, now_s)
            return _unauthorised(request, "this token is not known")
        else:
            request.state.session = Session(scope=found)
        if _is_open(request.scope["path"]):
            return None
        if request.state.session.scope is Scope.NOTHING:
            return _unauthorised(request, "a token is needed to read")
        if request.method not in _SAFE_METHODS and request.scope["path"] != "/logout":
            return self._refused_act(request)
        return None

    def _refused_act(self, request: Request) -> Response | None:
        if request.state.session.scope is Scope.OPERATE:
            return None
        fix = "Log in with the token to operate" if self._access.keys else "Use the command line"
        return refusal(request, 403, "Not allowed", "only looking is allowed here", fix=fix)

    def _session_of_browser(self, request: Request) -> Session:
        cookie = request.cookies.get(COOKIE, "")
        if cookie and (session := self._access.session(cookie, time.time())):
            return session
        return Session(scope=Scope.READ if self._access.open_reading else Scope.NOTHING)

    async def _refused_form(self, request: Request) -> Response | None:
        """Sets the form's fields; an answer where it did not come from one of our own pages."""
        if request.method in _SAFE_METHODS:
            return None
        body = await _body(request)
        if body is None:
            return refusal(request, 413, "Too much", "this is more than any form here asks for")
        request.state.form = _fields(body)
        session = request.state.session
        # A bearer token comes from no page of somebody else; a cookie may.
        if not session.value and "authorization" in request.headers:
            return None
        # Who shows a token acts by that, whatever session he had.
        by_token = not session.value or request.scope["path"] == "/login"
        known = by_token or session.is_own_form(request.state.form.get("csrf", ""))
        if not known or not _is_same_origin(request.headers):
            message, fix = "this form is not of this session", "Go back, load the page again, and repeat"
            return refusal(request, 403, "Not allowed", message, fix=fix)
        return None


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            # What needs a token must not stay behind in a cache.
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return wrapped


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith("/static/")


def _unauthorised(request: Request, message: str) -> Response:
    if is_for_programs(request):
        answer = refusal(
            request, 401, "Not allowed", message, fix="Send it as `Authorization: Bearer TOKEN`"
        )
        answer.headers["WWW-Authenticate"] = 'Bearer realm="farm"'
        return answer
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    onward = f"?next={quote(wanted)}" if request.method == "GET" and wanted != "/" else ""
    return RedirectResponse("/login" + onward, status_code=303)


def _token_of(request: Request) -> str | None:
    """The token of a program; None: it showed none."""
    header = request.headers.get("authorization", "")
    kind, _, said = header.partition(" ")
    # What `farm pull --from https://farm:TOKEN@host/checkpoints` sends. A browser that remembers it
    # sends it with forms of other pages, too: nothing but files to be read may be asked for so.
    if kind.lower() == "basic" and request.method in _SAFE_METHODS and is_checkpoint(request.scope["path"]):
        return _password(said)
    return _bearer(header)


def _password(said: str) -> str:
    try:
        return b64decode(said, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _bearer(header: str) -> str | None:
    """The token of an Authorization header; None: there is no such header."""
    if not header:
        return None
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def client_of(request: Request) -> str:
    """The address that a request came from, or that a trusted proxy says: any text, so not all of it."""
    return request.client.host[:_LONGEST_ADDRESS] if request.client else ""


def _is_same_origin(headers: Mapping[str, str]) -> bool:
    # Programs send none; browsers do with every form.
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _fields(body: bytes) -> ImmutableMultiDict[str, str]:
    try:
        text = body.decode("utf-8", "replace")
        return ImmutableMultiDict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:  # more fields than any form here has
        return ImmutableMultiDict()


async def _body(request: Request) -> bytes | None:
    """None: it is longer than any form here."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > _LARGEST_FORM:
                return None
    except ClientDisconnect:
        pass
    return b"".join(parts)
