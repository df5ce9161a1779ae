"""Templates to pages: one environment, what every page is told, and how numbers are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from farm.console import duration
from farm.dashboard.access import Scope

# A typographic dash: nothing is known, which is not 0.
NOTHING = "\N{EN DASH}"
_DIGITS = re.compile(r"(\d+)")

NAVIGATION = (
    ("/", "Overview"),
    ("/materials", "Materials"),
    ("/jobs", "Jobs"),
    ("/failures", "Failures"),
    ("/model", "Model"),
)


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A page of the dashboard; ``context`` is what its template asks for."""
    farm, session = request.app.state.farm, request.state.session
    text = (
        _environment()
        .get_template(template)
        .render(
            context,
            farm_name=farm.settings.name,
            path=request.url.path,
            navigation=NAVIGATION,
            session=session,
            may_act=session.scope is Scope.OPERATE,
            may_read=session.scope is not Scope.NOTHING,
            can_log_in=request.app.state.access.can_log_in,
        )
    )
    return HTMLResponse(text, status_code=status_code)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("farm.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "count": count,
        "seconds": seconds,
        "age": age,
        "formula": formula,
    }
    environment.filters.update(filters)
    environment.globals["static"] = static_address
    return environment


def number(value: Any, digits: int = 2) -> str:
    """So many digits behind the point; a dash for what is not known."""
    if value is None or value != value or not isinstance(value, int | float):
        return NOTHING
    return f"{value:,.{digits}f}"


def count(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def seconds(value: float | None) -> str:
    """In the unit that leaves two or three digits; a dash for what is not known."""
    if value is None or value != value:
        return NOTHING
    return f"{value:.1f} s" if value < 10 else duration(value)


def age(value_s: float) -> str:
    """How long something has been so, in whole units: ``3 d``."""
    if value_s < 172_800:
        return duration(max(0.0, value_s))
    return f"{value_s / 86400:.0f} d"


def formula(text: str) -> Markup:
    """``CaF2`` with its numbers below the line."""
    return Markup(_DIGITS.sub(r"<sub>\1</sub>", str(escape(text))))  # noqa: S704 - escaped before


@cache
def static_address(name: str) -> str:
    """Where a file of ``static`` is, with its hash: browsers may keep it until it changes."""
    data = files("farm.dashboard").joinpath("static", name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(data).hexdigest()[:12]}"
