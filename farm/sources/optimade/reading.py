"""The entries of a server that answer a query, page by page."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import urlencode

from farm.errors import InputError, SourceError
from farm.sources.items import Rejected, Unparsed
from farm.sources.opening import Meter
from farm.sources.optimade.addresses import parameters, with_parameters
from farm.sources.optimade.entries import read_entry
from farm.sources.optimade.providers import Provider
from farm.sources.optimade.query import Query, names_given, response_fields
from farm.sources.optimade.server import RefusedError, Server, StoppedError, TooLargeError

# Most servers take 500 a page, some 100; without a word of it they give 10 to 20.
_PAGE_SIZES = (500, 100, None)
_SMALLER_PAGES = (10, 1)
_MOST_EMPTY_PAGES = 3
_MOST_LARGE_ENTRIES = 3
_LEFT_OUT = "It is left out; report it to the provider"
_REPORT = "Report it to the provider; what came before is used"


def cut_optimade(
    query: Query, provider: Provider, server: Server, meter: Meter | None = None
) -> Iterator[Unparsed | Rejected]:
    """The structures that answer a query, unparsed; bad ones are named. One page is in memory at a time.

    meter: is told how many came, and of how many

    Raises InputError for a query the server refuses or whose filters it can never fulfil, SourceError when
    it cannot be read on; what came before is good.
    """
    meter = meter or Meter()
    try:
        yield from _entries(query, provider, server, meter)
    except StoppedError:
        return


def _entries(
    query: Query, provider: Provider, server: Server, meter: Meter
) -> Iterator[Unparsed | Rejected]:
    advertised = _advertised(server)
    names = names_given(advertised)
    _check_promises(query, provider, names, advertised)
    url = f"{server.url}/structures"
    number = 0
    for page in _pages(server, *_first_page(query, server, url, names, advertised)):
        if isinstance(page, Rejected):
            yield page
            continue
        entries = page.get("data")
        if not isinstance(entries, list):
            raise server.error(url, f"a page after entry {number} has no list `data`", _REPORT)
        meter.n_entries_expected = _expected(page)
        for entry in entries:
            number += 1
            meter.n_entries = number
            yield read_entry(entry, number, provider, names, server.url)


def _advertised(server: Server) -> frozenset[str] | None:
    """The properties of a server's structures; None where it does not say."""
    try:
        answer = server.get(f"{server.url}/info/structures", n_attempts=2)
    except (RefusedError, TooLargeError):
        return None
    except SourceError:
        # Nobody there is the end; a server that fails at this may still give structures.
        if server.has_answered:
            return None
        raise
    data = answer.get("data")
    properties = data.get("properties") if isinstance(data, dict) else None
    return frozenset(properties) if isinstance(properties, dict) and properties else None


def _check_promises(
    query: Query, provider: Provider, names: dict[str, str], advertised: Collection[str] | None
) -> None:
    """Raise InputError where a filter would throw away all that is downloaded."""
    if advertised is None:
        return
    for flag, bound, ours, what in (
        ("--min-gap", query.filters.min_gap_ev, "band_gap_ind", "band gaps"),
        ("--max-hull", query.filters.max_hull_ev, "e_above_hull", "energies above the hull"),
    ):
        if bound is not None and ours not in names:
            raise InputError(
                f"{provider.name} gives no {what} that are known here: {flag} would leave nothing",
                fix=f"Leave {flag} out; --filter can name any property of the provider",
            )


def _first_page(
    query: Query, server: Server, url: str, names: dict[str, str], advertised: Collection[str] | None
) -> tuple[str, dict[str, Any]]:
    """The first page and its address, of the size and with as much of the filter as the server takes."""
    fields = {"response_fields": ",".join(response_fields(names, advertised))}
    filters = dict.fromkeys(
        (query.for_server(names, advertised), f"({query.filter})" if query.filter else "")
    )
    refused: Exception | None = None
    for text in filters:
        for size in _PAGE_SIZES:
            asked = {**fields, **({"filter": text} if text else {})}
            asked |= {"page_limit": str(size)} if size else {}
            try:
                address = f"{url}?{urlencode(asked)}"
                return address, server.get(address)
            except (RefusedError, TooLargeError) as error:
                refused = error
            except SourceError as error:
                # Some servers fail over conditions that they do not know.
                refused = error
                break
    if isinstance(refused, SourceError):
        raise refused
    if isinstance(refused, RefusedError) and refused.status in (400, 422, 501):
        raise InputError(f"{server.name} does not take this query: {refused}", fix="Change --filter")
    raise server.error(url, f"does not take our questions: {refused}", "Check --provider or --base-url")


def _pages(server: Server, url: str, page: dict[str, Any]) -> Iterator[dict[str, Any] | Rejected]:
    """All pages from the first on; an entry too large for any page is named in their place."""
    visited, n_empty = {hash(url)}, 0
    while True:
        yield page
        n_empty = 0 if page.get("data") else n_empty + 1
        link = _next_link(page)
        if link is None:
            if _says_more(page):
                raise server.error(url, "says that there is more, and gives no link to it", _REPORT)
            return
        url = server.own(link, url)
        if hash(url) in visited or n_empty == _MOST_EMPTY_PAGES:
            raise server.error(url, "its pages lead nowhere", _REPORT)
        visited.add(hash(url))
        found, n_large = _fitting(server, url), 0
        while isinstance(found, TooLargeError):
            n_large += 1
            if n_large > _MOST_LARGE_ENTRIES:
                raise server.error(url, f"entry after entry of {found}", _REPORT)
            yield Rejected(f"{server.url}/structures, at {_offset(url)}", f"an entry of {found}", _LEFT_OUT)
            url = with_parameters(url, page_offset=_offset(url) + 1)
            found = _fitting(server, url)
        page = found


def _fitting(server: Server, url: str) -> dict[str, Any] | TooLargeError:
    """A page, or a smaller one; TooLargeError where a single entry is too large and can be passed over."""
    asked = parameters(url)
    # Pages that are counted by number would begin elsewhere if they were smaller.
    smaller = () if "page_number" in asked else _SMALLER_PAGES
    for address in (url, *(with_parameters(url, page_limit=size) for size in smaller)):
        try:
            return server.get(address)
        except TooLargeError as error:
            too_large = error
        except RefusedError as error:
            raise server.error(url, str(error), _REPORT) from error
    if asked.get("page_offset", "").isdecimal():
        return too_large
    raise server.error(url, f"a page of {too_large}", _REPORT) from too_large


def _offset(url: str) -> int:
    return int(parameters(url)["page_offset"])


def _next_link(page: dict[str, Any]) -> str | None:
    links = page.get("links")
    link = links.get("next") if isinstance(links, dict) else None
    link = link.get("href") if isinstance(link, dict) else link
    return link if isinstance(link, str) and link else None


def _says_more(page: dict[str, Any]) -> bool:
    meta = page.get("meta")
    return isinstance(meta, dict) and meta.get("more_data_available") is True


def _expected(page: dict[str, Any]) -> int | None:
    meta = page.get("meta")
    number = meta.get("data_returned") if isinstance(meta, dict) else None
    return number if type(number) is int and number >= 0 else None
