"""Show a token once and get a session for it; and end that."""

from __future__ import annotations

import logging
import time

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from farm.dashboard.access import SESSION_S, Scope
from farm.dashboard.guard import COOKIE, client_of
from farm.dashboard.rendering import render

LOGGER = logging.getLogger(__name__)

router = APIRouter()

_TOO_MANY = "Too many wrong tokens came from your address; wait a minute."
_UNKNOWN = "This token is not known."


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """The form."""
    return _form(request, next, "")


@router.post("/login")
def log_in(request: Request) -> Response:
    """A session for a token."""
    form, access, attempts = request.state.form, request.app.state.access, request.state.attempts
    onward, who = form.get("next", "/"), "login " + client_of(request)
    now_s = time.monotonic()
    if not attempts.allowed(who, now_s):
        return _form(request, onward, _TOO_MANY, status_code=429)
    scope = access.scope_of_token(form.get("token", "").strip())
    if scope is Scope.NOTHING:
        attempts.failed(who, now_s)
        LOGGER.warning("a wrong token was shown by %s", client_of(request))
        return _form(request, onward, _UNKNOWN, status_code=401)
    LOGGER.info("%s logged in to %s", client_of(request), scope.name.lower())
    answer = RedirectResponse(_own_path(onward), status_code=303)
    answer.set_cookie(
        COOKIE,
        access.new_session(scope, time.time()),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def log_out() -> Response:
    """Let the browser forget its session."""
    answer = RedirectResponse("/", status_code=303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _form(request: Request, onward: str, problem: str, *, status_code: int = 200) -> Response:
    return render(request, "login.html", status_code=status_code, onward=_own_path(onward), problem=problem)


def _own_path(address: str) -> str:
    """Where to go on: a page of this server, and no other."""
    is_own = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_own and address.isprintable() else "/"
