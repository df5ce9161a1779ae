"""Addresses of a server, and which of those it gives are its own; pure."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


class ForeignAddressError(Exception):
    """A server points to another one, or to what is no address on the web."""


def versioned(base_url: str) -> str:
    """A base URL with the version of the interface at its end."""
    base_url = base_url.strip().rstrip("/")
    last = base_url.rpartition("/")[2]
    return base_url if last[:1] == "v" and last[1:].replace(".", "").isdigit() else f"{base_url}/v1"


def own_address(link: str, seen_at: str, home: str) -> str:
    """A link of the server at ``home``, which stood in the answer of ``seen_at``, as an address of its own.

    Plain http on a server that is asked by https is https: those behind a proxy do not know better. From
    http to https on the usual ports is the same server.

    Raises ForeignAddressError for another host, another port, and everything else than the web: nobody but
    the user says whom to ask.
    """
    try:
        address = urljoin(seen_at, link)
        there, here = urlsplit(address), urlsplit(home)
        if _place(there) == _place(here):
            return address
        if there.hostname == here.hostname:
            schemes = here.scheme, there.scheme
            if schemes == ("https", "http"):
                return urlunsplit((here.scheme, here.netloc, *there[2:]))
            if schemes == ("http", "https") and (here.port or 80, there.port or 443) == (80, 443):
                return address
    except ValueError:
        pass  # no address at all
    raise ForeignAddressError(f"points to another server, {link!r:.200}")


def shown(url: str) -> str:
    """An address for a message: without its parameters, which may be long, and what no terminal shows."""
    return "".join(c if c.isprintable() else "?" for c in url.partition("?")[0])[:200]


def parameters(url: str) -> dict[str, str]:
    """The parameters in an address."""
    return dict(parse_qsl(urlsplit(url).query))


def with_parameters(url: str, **changes: int) -> str:
    """The address with other parameters."""
    parts = urlsplit(url)
    query = parameters(url) | {name: str(value) for name, value in changes.items()}
    return urlunsplit((*parts[:3], urlencode(query), ""))


def _place(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port or _DEFAULT_PORTS.get(address.scheme)
