"""Page: one material, from the store and the backlog; and what is downloaded of it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from markupsafe import Markup
from starlette.exceptions import HTTPException

from farm.crystal import MATERIAL_ID
from farm.dashboard.band_panel import band_figure, edges_text
from farm.dashboard.farm_view import Farm
from farm.dashboard.material_facts import asked, ladder_of, stage_costs, step_shares, used
from farm.dashboard.material_rows import neighbours, rows_of
from farm.dashboard.query import read_query
from farm.dashboard.queued import queued_jobs
from farm.dashboard.rendering import render
from farm.dashboard.spectrum_panels import QUANTITIES, panels, readout, rungs_of, spectra_document
from farm.dashboard.structure_view import cell_of, cif, element_look, picture
from farm.errors import BrokerError
from farm.job import Engine
from farm.result import Result
from farm.store import StoredRow

router = APIRouter()

Protocol = Annotated[str, Query(pattern="^[0-9a-f]{0,64}$")]
EngineName = Annotated[Engine | None, Query()]
QuantityName = Annotated[str, Query(pattern="^[a-z-]{1,32}$")]


@router.get("/materials/{material_id}")
def material(
    request: Request,
    material_id: str,
    protocol: Protocol = "",
    engine: EngineName = None,
    quantity: QuantityName = "eps",
) -> HTMLResponse:
    """The page of a material."""
    farm: Farm = request.app.state.farm
    if quantity not in QUANTITIES:
        raise HTTPException(400, f"no quantity {quantity!r}: there are {', '.join(QUANTITIES)}")
    rows, chosen, result = _result(farm, material_id, protocol, engine)
    try:
        jobs, away = queued_jobs(farm.backlog, material_id, [] if chosen is None else rows), ""
    except BrokerError as error:
        jobs, away = [], str(error)
    if result is None and not jobs:
        if away:
            raise BrokerError(away)
        raise HTTPException(404, f"no material {material_id} in the store or in the backlog")
    query = read_query(request.query_params)
    context: dict[str, Any] = {
        "material_id": material_id,
        "jobs": jobs,
        "away": away,
        "query": query,
        "neighbours": neighbours(farm.catalogue.snapshot, query, material_id),
    }
    if result is None or chosen is None:
        return render(request, "queued_material.html", **context)
    return render(
        request,
        "material.html",
        **context,
        **_structure(result),
        **_spectra(result, chosen, quantity),
        result=result,
        row=chosen,
        rows=rows,
        ladder=ladder_of(result),
        stages=stage_costs(result),
        steps=list(zip(result.steps, step_shares(result.steps), strict=True)),
        asked=asked(result.protocol),
        used=used(result.parameters),
        bands=band_figure(result.band_structure) if result.band_structure else None,
        band_edges=edges_text(result.band_structure) if result.band_structure else "",
    )


@router.get("/materials/{material_id}/structure.cif")
def structure_cif(
    request: Request, material_id: str, protocol: Protocol = "", engine: EngineName = None
) -> Response:
    """The computed cell."""
    text = cif(_stored(request, material_id, protocol, engine).crystal)
    return _download(text, f"{material_id}.cif", "chemical/x-cif")


@router.get("/materials/{material_id}/spectra.json")
def spectra_json(
    request: Request, material_id: str, protocol: Protocol = "", engine: EngineName = None
) -> Response:
    """All spectra of all rungs."""
    result = _with_spectra(_stored(request, material_id, protocol, engine))
    text = json.dumps(spectra_document(result), allow_nan=False)
    return _download(text, f"{material_id}.json", "application/json")


@router.get("/materials/{material_id}/readout.json")
def readout_json(
    request: Request,
    material_id: str,
    protocol: Protocol = "",
    engine: EngineName = None,
    quantity: QuantityName = "eps",
) -> Response:
    """The values of the figures, for the pointer."""
    if quantity not in QUANTITIES:
        raise HTTPException(404, f"no quantity {quantity!r}")
    result = _with_spectra(_stored(request, material_id, protocol, engine))
    return JSONResponse(readout(result, QUANTITIES[quantity]))


def _result(
    farm: Farm, material_id: str, protocol: str, engine: Engine | None
) -> tuple[list[StoredRow], StoredRow | None, Result | None]:
    """All current rows of a material, the newest first, the one that is asked for, and its result."""
    if not MATERIAL_ID.fullmatch(material_id):
        raise HTTPException(404, "there is no such material")
    with farm.store() as store:
        if store is None:
            return [], None, None
        rows = rows_of(store, material_id)
        fitting = [
            row for row in rows if row.protocol_hash.startswith(protocol) and engine in (None, row.engine)
        ]
        if not fitting:
            if rows:
                raise HTTPException(404, f"{material_id} has no result of that protocol and engine")
            return [], None, None
        return rows, fitting[0], store.result(fitting[0].index)


def _stored(request: Request, material_id: str, protocol: str, engine: Engine | None) -> Result:
    _, _, result = _result(request.app.state.farm, material_id, protocol, engine)
    if result is None:
        raise HTTPException(404, f"the store has no result of {material_id}")
    return result


def _with_spectra(result: Result) -> Result:
    if not result.ladder:
        raise HTTPException(404, f"{result.crystal.material_id} has no spectra")
    return result


def _structure(result: Result) -> dict[str, Any]:
    crystal = result.crystal
    # In a script element only "</" could end it early; "<" alone is enough to be sure.
    text = json.dumps(picture(crystal), separators=(",", ":")).replace("<", "\\u003c")
    return {
        "crystal": crystal,
        "cell": cell_of(crystal),
        "looks": [element_look(symbol) for symbol in sorted(crystal.elements)],
        "picture": Markup(text),  # noqa: S704 - escaped above
        # Rounded first: what is 1 then is 0.
        "sites": [
            (symbol, [round(x, 5) % 1.0 for x in at])
            for symbol, at in zip(crystal.species, crystal.frac_coords, strict=True)
        ],
    }


def _spectra(result: Result, row: StoredRow, quantity: str) -> dict[str, Any]:
    return {
        "quantities": QUANTITIES,
        "quantity": quantity,
        "panels": panels(result, QUANTITIES[quantity]) if result.ladder else [],
        "rungs": rungs_of(result),
        # Of the result that is shown, whatever comes meanwhile.
        "which": f"protocol={row.protocol_hash[:12]}&engine={row.engine.value}",
    }


def _download(text: str, name: str, media_type: str) -> Response:
    # The name is a material id: letters, digits, "_", "-" and "+".
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=media_type, headers=headers)
