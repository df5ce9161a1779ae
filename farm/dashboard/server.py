"""The process that serves: one, on a socket that is open already, whether Redis answers or not."""

from __future__ import annotations

import logging
import socket

import redis
import uvicorn
from fastapi import FastAPI
from redis.backoff import NoBackoff
from redis.retry import Retry

from farm.backlog import Backlog

# A page takes less; what takes longer is a download.
_LAST_ANSWERS_S = 2

# A page says rather that Redis does not answer than that it is never there.
_CONNECT_S = 2.0
_ANSWER_S = 5.0


def patient_backlog(url: str, name: str) -> Backlog:
    """The backlog of a Redis that may be away now, and come back."""
    client = redis.Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_S,
        socket_timeout=_ANSWER_S,
        socket_keepalive=True,
        health_check_interval=25,
        # A connection that broke while nobody asked is made again, once.
        retry=Retry(NoBackoff(), 1),
    )
    return Backlog(client, name=name)


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_config=None,
        # Addresses may hold what somebody looked for; who did what is logged by the pages.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    uvicorn.Server(config).run(sockets=[listener])
