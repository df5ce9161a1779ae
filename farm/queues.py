"""The Celery app: queues, routes, serializers, events.

Messages carry ids and fencing tokens, never results: a result waits in the backlog's outbox until
the writer has it on disk, because a message popped by a process that dies is gone without a trace.
"""

from __future__ import annotations

from celery import Celery, Task

COMPUTE = "workers.compute"
APPEND = "store.append"
REFIT = "trainer.fitting.refit"
RANK = "trainer.rank"

STORE_QUEUE = "store"
TRAINER_QUEUE = "trainer"


def cpu_queue(queue: str) -> str:
    """The Celery queue of the jobs of an engine that need slots of a class (``native.small``)."""
    return f"cpu.{queue}"


# Redelivery is not used: a lease of our own, renewed while the job runs, decides who has a job
# (farm.backlog). A month keeps kombu from handing a long job out twice; a copy would be refused.
_VISIBILITY_TIMEOUT_S = 30 * 24 * 3600


class _CheckedTask(Task):  # type: ignore[misc]  # celery has no types
    Request = "farm.task_request:CheckedRequest"


def make_app(url: str, *, name: str = "farm") -> Celery:
    """A Celery app on this Redis; ``name`` prefixes its keys, so that farms can share a server."""
    app = Celery(name, broker=url, task_cls=_CheckedTask, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "global_keyprefix": f"{name}:",
            "visibility_timeout": _VISIBILITY_TIMEOUT_S,
            "health_check_interval": 25,
            "socket_keepalive": True,
        },
        task_default_queue=STORE_QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # True would mark running tasks revoked when Redis restarts, and they would never run again.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        # Flower switches events on while it watches; else each job would publish five for nobody.
        worker_send_task_events=False,
        task_send_sent_event=False,
        task_track_started=True,
        worker_soft_shutdown_timeout=5.0,
        worker_enable_soft_shutdown_on_idle=False,
        timezone="UTC",
        enable_utc=True,
    )
    return app
