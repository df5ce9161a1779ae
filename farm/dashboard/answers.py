"""What is answered where there is no page to show: in HTML to people, in JSON to programs."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from farm.dashboard.rendering import render

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def is_for_programs(request: Request) -> bool:
    """Whether whoever asks reads JSON and no page."""
    path: str = request.scope["path"]
    open_to_programs = path.startswith("/api/") or path in ("/metrics", "/health") or is_checkpoint(path)
    return open_to_programs or "authorization" in request.headers


def is_checkpoint(path: str) -> bool:
    """Whether it is one of the files that `farm pull` asks for."""
    return path.startswith("/checkpoints/")


def refusal(request: Request, status_code: int, title: str, message: str, *, fix: str = "") -> Response:
    """Why there is nothing to show, and what mends it."""
    if is_for_programs(request):
        return JSONResponse({"error": message, "fix": fix}, status_code=status_code)
    return render(request, "error.html", status_code=status_code, title=title, message=message, fix=fix)
