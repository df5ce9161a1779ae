"""Page: where the farm stands."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from farm.dashboard.rendering import render

router = APIRouter()


@router.get("/")
def overview(request: Request) -> HTMLResponse:
    """Where the farm stands."""
    return render(request, "overview.html")


@router.get("/health")
def health() -> dict[str, bool]:
    """That this process answers."""
    return {"ok": True}
