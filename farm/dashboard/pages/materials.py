"""Page: all results of the store in a table to search, filter, sort and take away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from farm.dashboard.export import csv_parts, json_parts
from farm.dashboard.query import SORTABLE, Query, read_query
from farm.dashboard.rendering import render
from farm.dashboard.snapshot import Snapshot
from farm.errors import InputError
from farm.job import Engine, Outcome
from farm.protocol import PRESETS

router = APIRouter()

PAGE_ROWS = 50

_NUMERIC = frozenset(SORTABLE) - {"formula", "material_id", "space_group", "outcome"}
_OUTCOMES = [("", "any"), *((outcome.value, outcome.value) for outcome in Outcome)]
_ENGINES = [("", "any"), *((engine.value, engine.value) for engine in Engine)]
_PHYSICS = [("", "any"), ("kept", "as the protocol says"), ("changed", "changed by a correction")]
_RANGES = (
    ("Gap (eV)", "gap_min_ev", "gap_max_ev"),
    ("Atoms", "atoms_min", "atoms_max"),
    ("SC[RPA; IPA]", "sc_min", "sc_max"),
)


@router.get("/materials")
def materials(request: Request) -> HTMLResponse:
    """The table."""
    catalogue = request.app.state.farm.catalogue
    query = read_query(request.query_params)
    snapshot = catalogue.snapshot
    shown = _page(snapshot, query) if snapshot is not None else {"n_all": 0, "query": query}
    return render(request, "materials.html", store_error=catalogue.error, **shown)


@router.get("/materials.csv")
def materials_csv(request: Request) -> Response:
    """The same, all pages of it, as CSV."""
    answer = StreamingResponse(_all(request, csv_parts), media_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="materials.csv"'
    return answer


@router.get("/api/materials")
def materials_json(request: Request) -> Response:
    """The same as JSON: ``{"total": .., "materials": [..]}``."""
    return StreamingResponse(_all(request, json_parts), media_type="application/json")


def _all(request: Request, parts: Callable[..., Iterator[str]]) -> Iterator[str]:
    snapshot = request.app.state.farm.catalogue.snapshot
    if snapshot is None:
        return parts(None, ())
    query = read_query(request.query_params)
    if query.problems:
        raise InputError("; ".join(query.problems))
    return parts(snapshot.frame, snapshot.table.select(query))


def _page(snapshot: Snapshot, query: Query) -> dict[str, Any]:
    found, n_all = snapshot.table.select(query), len(snapshot.table)
    n_pages = max(1, -(-found.size // PAGE_ROWS))
    query = replace(query, page=min(query.page, n_pages))
    first = (query.page - 1) * PAGE_ROWS
    positions = found[first : first + PAGE_ROWS]
    return {
        "n_all": n_all,
        "n_found": int(found.size),
        "n_pages": n_pages,
        "first": first + 1,
        "last": first + positions.size,
        "query": query,
        "rows": _rows(snapshot, positions),
        "columns": SORTABLE,
        "numeric": _NUMERIC,
        "outcomes": _OUTCOMES,
        "engines": _ENGINES,
        "physics": _PHYSICS,
        "protocols": [("", "any"), *_protocols(snapshot)],
        "ranges": _RANGES,
    }


def _rows(snapshot: Snapshot, positions: Any) -> list[dict[str, Any]]:
    """Plain values; None where a calculation does not say."""
    frame = snapshot.frame.iloc[positions].astype(object)
    rows: list[dict[str, Any]] = frame.where(frame.notna(), None).to_dict("records")
    for row in rows:
        row["address"] = address_of(row, among_several=row["material_id"] in snapshot.table.repeated)
    return rows


def address_of(row: dict[str, Any], *, among_several: bool) -> str:
    """The page of a result; of its material where there is no other."""
    address = f"/materials/{quote(row['material_id'], safe='')}"
    if among_several:
        address += f"?protocol={row['protocol_hash'][:12]}&engine={row['engine']}"
    return address


def _protocols(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    names = {protocol.hash: name for name, protocol in PRESETS.items()}
    for hash_, n in snapshot.table.protocols.items():
        yield hash_[:12], f"{names.get(hash_, hash_[:8])} ({n:,})"
