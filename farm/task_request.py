"""A Celery request that refuses what is not shaped like a call, instead of falling over it.

Celery takes the body of a message apart without a look; one of another shape ends the worker, which puts it
back as it goes, and so ends the next one, for ever.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request


class CheckedRequest(Request):  # type: ignore[misc]  # celery has no types
    """Raises InvalidTaskError, at which a worker says so and drops the message."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InvalidTaskError(f"not a call of a task: {error!r}") from error
