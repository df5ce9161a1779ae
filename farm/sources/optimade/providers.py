"""Providers by name: the well-known ones from a table, all others through OPTIMADE's public list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from farm.errors import InputError, SourceError
from farm.sources.optimade.server import RefusedError, Server, TooLargeError

PROVIDERS_URL = "https://providers.optimade.org"


@dataclass(frozen=True)
class Provider:
    """A database behind an OPTIMADE server.

    name:      begins the ids of its materials, unless
    keeps_ids: its ids stand for themselves, as in its files
    """

    name: str
    base_url: str
    keeps_ids: bool = False


_ALEXANDRIA = "https://alexandria.icams.rub.de"
_KNOWN = {
    provider.name: provider
    for provider in (
        Provider("alexandria", f"{_ALEXANDRIA}/pbe", keeps_ids=True),
        # The same materials under the same ids, other cells: these must not be taken for those of PBE.
        Provider("alexandria.pbesol", f"{_ALEXANDRIA}/pbesol"),
        Provider("cod", "https://www.crystallography.net/cod/optimade"),
        Provider("gnome", "https://optimade-gnome.odbx.science"),
        Provider("jarvis", "https://jarvis.nist.gov/optimade/jarvisdft"),
        Provider("mc3d", "https://aiida.materialscloud.org/mc3d/optimade"),
        Provider("mp", "https://optimade.materialsproject.org"),
        Provider("nmd", "https://nomad-lab.eu/prod/v1/optimade"),
        Provider("odbx", "https://optimade.odbx.science"),
        Provider("oqmd", "https://oqmd.org/optimade"),
        Provider("tcod", "https://www.crystallography.net/tcod/optimade"),
        Provider("twodmatpedia", "http://optimade.2dmatpedia.org"),
    )
}
_ALIASES = {"alexandria.pbe": "alexandria", "mcloud.mc3d": "mc3d", "odbx.gnome": "gnome"}


def find_provider(
    name: str | None,
    base_url: str | None,
    *,
    make_server: Callable[[str, str], Server] = Server,
    providers_url: str = PROVIDERS_URL,
) -> Provider:
    """The provider that is meant; ``base_url`` is asked in place of what is known for a name.

    Raises InputError for a name that is nowhere and an address that is none, SourceError where the public
    list cannot be read.
    """
    name = name.lower() if name is not None else None
    if base_url is not None:
        host = _checked_address(base_url)
        if name is None:
            return Provider(host, base_url)
        known = _KNOWN.get(_ALIASES.get(name, name), Provider(name, base_url))
        return replace(known, base_url=base_url)
    if name is None:
        raise InputError(
            "--source optimade asks one provider, and none is named",
            fix=f"Add --provider ({', '.join(_KNOWN)}, ...) or --base-url URL",
        )
    if known_one := _KNOWN.get(_ALIASES.get(name, name)):
        return known_one
    return _looked_up(name, make_server, providers_url)


def _checked_address(base_url: str) -> str:
    """The host of an address, which names what comes from there."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port  # raises for a port that is none
    except ValueError:
        host, parts = None, None
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise InputError(
            f"--base-url {base_url!r:.120} is not an address",
            fix="Give it like https://example.org/optimade",
        )
    return host


def _looked_up(name: str, make_server: Callable[[str, str], Server], providers_url: str) -> Provider:
    """``name`` is a provider that has one database, or ``provider.database``."""
    provider_id, _, database = name.partition(".")
    providers = _links("the list of providers", providers_url, make_server)
    found = next((p for p in providers if p["id"].lower() == provider_id), None)
    if found is None:
        with_url = sorted(p["id"] for p in providers if p["base_url"])
        raise InputError(
            f"--provider {name}: not in OPTIMADE's list",
            fix=f"There are {', '.join(with_url)}; or --base-url",
        )
    if not found["base_url"]:
        raise InputError(
            f"--provider {name}: has no OPTIMADE server", fix="Give another one, or --base-url"
        )
    databases = {
        link["id"]: link["base_url"]
        for link in _links(provider_id, found["base_url"], make_server)
        if link["link_type"] == "child" and link["base_url"]
    }
    names = {database, f"{provider_id}-{database}", f"{provider_id}.{database}"}
    chosen = [url for key, url in databases.items() if not database or key.lower() in names]
    if len(chosen) != 1:
        listed = ", ".join(f"{provider_id}.{key.removeprefix(f'{provider_id}-')}" for key in databases)
        raise InputError(
            f"--provider {name}: it has several databases"
            if chosen
            else f"--provider {name}: no such database",
            fix=f"There are {listed or 'none'}",
        )
    return Provider(name, chosen[0])


def _links(name: str, base_url: str, make_server: Callable[[str, str], Server]) -> list[Mapping[str, str]]:
    """The links that an index of databases gives; those that make no sense left out."""
    with make_server(name, base_url) as server:
        try:
            answer = server.get(f"{server.url}/links")
        except (RefusedError, TooLargeError) as error:
            raise server.error(f"{server.url}/links", str(error), "Give --base-url") from error
        except SourceError as error:
            raise SourceError(error.message, fix="Try again later, or give --base-url") from error
    entries = answer.get("data")
    read = (_link(entry) for entry in entries) if isinstance(entries, list) else ()
    return [link for link in read if link is not None]


def _link(entry: Any) -> Mapping[str, str] | None:
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    if not isinstance(attributes, dict) or not isinstance(entry.get("id"), str):
        return None
    if not entry["id"].isprintable():
        return None
    url = attributes.get("base_url")
    url = url.get("href") if isinstance(url, dict) else url
    kind = attributes.get("link_type")
    usable = isinstance(url, str) and url.startswith(("http://", "https://"))
    return {
        "id": entry["id"],
        "base_url": url if usable else "",
        "link_type": kind if isinstance(kind, str) else "",
    }
