"""The web application of the dashboard, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from threading import Thread

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from farm.dashboard.access import Access
from farm.dashboard.answers import refusal
from farm.dashboard.farm_view import Farm
from farm.dashboard.guard import Guard
from farm.dashboard.pages import failures, jobs, login, material, materials, model, overview, programs
from farm.dashboard.structure_view import warm_up
from farm.errors import BrokerError, FarmError, InputError

PAGES = (overview, materials, jobs, failures, material, model, login, programs)


def make_app(farm: Farm, access: Access) -> FastAPI:
    """The application for one farm, under the given rules."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(farm.catalogue.start)
        # Beside the first pages: they do not need it.
        Thread(target=warm_up, name="warm-up", daemon=True).start()
        yield
        await to_thread.run_sync(farm.close)

    # Its own pages of the API load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.farm, app.state.access = farm, access
    app.add_middleware(Guard, access=access)
    for page in PAGES:
        app.include_router(page.router)
    app.mount("/static", _Static(directory=str(files("farm.dashboard") / "static")))
    app.add_exception_handler(FarmError, _farm_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    return app


class _Static(StaticFiles):
    """Files whose address has their hash: they may be kept."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


async def _farm_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FarmError)  # noqa: S101
    if isinstance(error, BrokerError):
        return refusal(request, 503, "Redis does not answer", error.message, fix=error.fix)
    if isinstance(error, InputError):
        return refusal(request, 400, "Not possible", error.message, fix=error.fix)
    return refusal(request, 500, "This could not be read", error.message, fix=error.fix)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    title = "Not found" if error.status_code == 404 else "Not possible"
    message = "there is no such page" if error.detail == "Not Found" else str(error.detail)
    return refusal(request, error.status_code, title, message)


async def _wrong_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    return refusal(request, 400, "Not possible", f"{first['loc'][-1]}: {first['msg']}")
