"""Structures from any OPTIMADE server (optimade.org), page by page.

The client of the package ``optimade`` is not used: it collects all pages before it gives any, ends at the
first answer 5xx and at the first broken connection, never waits longer after 429, takes an error for a
result, and follows a server's links to any host. Ours is a generator over ``requests``; the package gives
the grammar of filters. Nor are the package's models: they refuse an entry for any of thirty fields, and
five make a crystal.
"""

from farm.sources.optimade.providers import Provider, find_provider
from farm.sources.optimade.query import Query, check_filter
from farm.sources.optimade.reading import cut_optimade
from farm.sources.optimade.server import Server

__all__ = ["Provider", "Query", "Server", "check_filter", "cut_optimade", "find_provider"]
