"""Show a token once, get a session for it; and end that."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
