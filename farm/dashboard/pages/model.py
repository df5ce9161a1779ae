"""The page of the model: the checkpoint in use, its history, and files to download."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException

from farm.dashboard.checkpoint_cards import CARD, Version, checkpoint_file, read_checkpoints
from farm.dashboard.farm_view import Farm
from farm.dashboard.rendering import render
from farm.dashboard.version_figures import decisions, learning_curve, told
from farm.errors import BrokerError, CheckpointError

router = APIRouter()

# The page shows the worst; `farm report --html` all.
_MOST_HELD_OUT = 50


@router.get("/model")
def model(request: Request) -> HTMLResponse:
    """The checkpoint in use, all versions, and the refit that runs."""
    farm: Farm = request.app.state.farm
    directory = farm.settings.checkpoints_dir
    found = read_checkpoints(directory)
    try:
        refit, away = farm.backlog.roster.refit_state(), ""
    except BrokerError as error:
        refit, away = {}, str(error)
    newest_first = list(reversed(found.versions))
    return render(
        request,
        "model.html",
        found=found,
        used=found.in_use,
        versions=[
            (version, line and told(line))
            for version in newest_first
            for line in [found.last_decision(version.name)]
        ],
        history=[(line, told(line)) for line in reversed(found.history)],
        files={version.name: _files(farm, version) for version in newest_first},
        held_out=found.in_use.held_out[:_MOST_HELD_OUT] if found.in_use else (),
        curve=learning_curve(found.versions, found.latest),
        decided=decisions(found.versions, found.history),
        refit=refit,
        away=away,
        address=str(request.base_url) + "checkpoints",
    )


@router.get("/checkpoints/{version}/{name}")
def checkpoint(request: Request, version: str, name: str) -> Response:
    """A file of a version, or of ``latest``: laid out as a checkpoints directory behind a web server."""
    farm: Farm = request.app.state.farm
    try:
        path = checkpoint_file(farm.settings.checkpoints_dir, version, name)
    except CheckpointError as error:
        raise HTTPException(404, str(error)) from error
    if path is None:
        raise HTTPException(404, f"no file {name} of a checkpoint {version}")
    kind = "application/json" if name == CARD else "application/octet-stream"
    return FileResponse(path, media_type=kind, filename=f"{path.parent.name}-{path.name}")


def _files(farm: Farm, version: Version) -> list[dict[str, Any]]:
    """Name, SHA-256 and size of each; no size for one that is missing."""
    directory = farm.settings.checkpoints_dir / version.name
    rows = []
    for name, digest in version.files.items():
        path = directory / name
        n_bytes = path.stat().st_size if path.is_file() else None
        rows.append(
            {"name": name, "sha256": digest, "megabytes": None if n_bytes is None else n_bytes / 1e6}
        )
    return rows
