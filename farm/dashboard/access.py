"""Who may see and do what on the dashboard: decisions about tokens, sessions and hosts; pure.

A *token* is a secret that whoever runs the farm gave it. A *session* is what a browser gets for one: the
scope and the time it ends, signed with a key made from the token, so that a new token ends all sessions.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from farm.errors import SettingsError
from farm.listening import is_loopback

OPERATE_VARIABLE = "FARM_DASHBOARD_TOKEN"
VIEW_VARIABLE = "FARM_DASHBOARD_VIEW_TOKEN"
SESSION_S = 12 * 3600
_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 512
# A name or an address, and a port: with anything else in it an address is made of it that leads elsewhere.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?")
_MAKE_ONE = "Make one with `python -c 'import secrets; print(secrets.token_urlsafe(24))'`"


class Scope(IntEnum):
    """What somebody may do; each includes those before."""

    NOTHING = 0
    READ = 1
    OPERATE = 2


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the cookie of a browser says.

    value: the cookie itself; empty where there is none
    csrf:  what the forms of this session carry
    """

    scope: Scope
    value: str = ""
    csrf: str = ""

    def is_own_form(self, csrf: str) -> bool:
        """Whether a form carries what this session's forms do."""
        return hmac.compare_digest(_plain(csrf).encode(), self.csrf.encode())


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may do what on one server.

    keys:         of each scope that has a token; signs its sessions and tells its token
    open_reading: whether everybody may read
    host_names:   names this server is known by, beside loopback and addresses
    """

    keys: Mapping[Scope, bytes]
    open_reading: bool
    host_names: frozenset[str] = frozenset()

    @property
    def can_log_in(self) -> bool:
        """Whether there is a token to log in with."""
        return bool(self.keys)

    def scope_of_token(self, token: str) -> Scope:
        """What a token allows."""
        key, found = _key(token), Scope.NOTHING
        # All are compared, so that the time taken says nothing.
        for scope, own in self.keys.items():
            if hmac.compare_digest(key, own):
                found = max(found, scope)
        return found

    def new_session(self, scope: Scope, now_s: float) -> str:
        """The cookie for somebody who showed a token of that scope."""
        body = f"{scope.name.lower()}.{int(now_s) + SESSION_S}.{secrets.token_urlsafe(12)}"
        return f"{body}.{_signature(self.keys[scope], body)}"

    def session(self, cookie: str, now_s: float) -> Session | None:
        """The session of a cookie; None for one that is forged, altered or over."""
        body, _, signature = cookie.rpartition(".")
        name, _, rest = body.partition(".")
        expiry, _, _ = rest.partition(".")
        scope = Scope.__members__.get(name.upper(), Scope.NOTHING)
        key = self.keys.get(scope)
        if key is None or not hmac.compare_digest(_signature(key, body), _plain(signature)):
            return None
        # Signed by us, so it is a number.
        if int(expiry) <= now_s:
            return None
        return Session(scope=scope, value=cookie, csrf=_signature(key, "csrf:" + cookie))

    def is_own_host(self, host: str) -> bool:
        """Whether the Host header names this server.

        A page of somebody else whose name is made to mean this machine comes with its own name here.
        An address cannot be made to mean another one.
        """
        name = _host_name(host)
        if name in self.host_names or is_loopback(name):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def make_access(
    host: str,
    *,
    operate_token: str | None = None,
    view_token: str | None = None,
    host_names: tuple[str, ...] = (),
) -> Access:
    """The rules for a server that listens on ``host`` and is known as ``host_names``.

    Raises SettingsError where everybody could read beyond this machine, and for a token too short.
    """
    keys: dict[Scope, bytes] = {}
    given = ((Scope.OPERATE, OPERATE_VARIABLE, operate_token), (Scope.READ, VIEW_VARIABLE, view_token))
    for scope, variable, token in given:
        if not token:
            continue
        if len(token) < _SHORTEST_TOKEN:
            raise SettingsError(f"{variable} is shorter than {_SHORTEST_TOKEN} characters", fix=_MAKE_ONE)
        keys[scope] = _key(token)
    if len(set(keys.values())) < len(keys):
        raise SettingsError(f"{OPERATE_VARIABLE} and {VIEW_VARIABLE} are the same", fix=_MAKE_ONE)
    here_only = is_loopback(host) and not host_names
    if not here_only and not keys:
        flag = "--host-name" if is_loopback(host) else f"--host {host}"
        raise SettingsError(
            f"{flag}: others could reach it, so a token must be set",
            fix=f"Set {OPERATE_VARIABLE} to act or {VIEW_VARIABLE} to read. {_MAKE_ONE}",
        )
    names = frozenset(_host_name(name) for name in (host, *host_names))
    return Access(keys=keys, open_reading=here_only and Scope.READ not in keys, host_names=names)


def _key(token: str) -> bytes:
    # Compared and signed with in place of the token, always 32 bytes.
    text = token[:_LONGEST_TOKEN].encode("utf-8", "surrogateescape")
    return hmac.digest(b"farm dashboard", text, hashlib.sha256)


def _signature(key: bytes, text: str) -> str:
    digest = hmac.digest(key, _plain(text).encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _plain(text: str) -> str:
    """In ASCII: what is compared must be."""
    return text.encode("ascii", "replace").decode()


def _host_name(host: str) -> str:
    """Of a Host header, without port and brackets."""
    name = host.strip().lower()
    found = _HOST.fullmatch(name)
    # An IPv6 address may stand alone; what is left then is no name of any server.
    return name if found is None else found[1] or found[2]
