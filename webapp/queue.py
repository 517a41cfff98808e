"""Hand work to the workers. A message is only a wake-up call: the row says what to do, the sweep finds it."""

import logging
import os
from functools import cache

from celery import Celery
from django.db import transaction

from webapp import paths

logger = logging.getLogger(__name__)


def broker_url() -> str:
    """The broker's address in kombu's words, which differ from redis-py's for unix sockets."""
    url = os.environ.get("MODELYARD_REDIS_URL") or f"unix://{paths.broker_socket()}"
    return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url


# Measured: a task that outlives the visibility timeout is started a second time while it runs. So tasks end within
# 25 s, and a message whose worker died comes back soon after the timeout.
CELERY_SETTINGS = {
    "broker_transport_options": {
        "visibility_timeout": 120,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "global_keyprefix": "modelyard:",
    },
    "result_backend": None,
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "task_soft_time_limit": 20,
    "task_time_limit": 25,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_max_tasks_per_child": 1000,
    "task_serializer": "json",
    "accept_content": ["json"],
    "timezone": "UTC",
    "worker_hijack_root_logger": False,
}


@cache
def _producer() -> Celery:
    app = Celery("modelyard-producer", broker=broker_url(), set_as_current=False)
    app.conf.update(CELERY_SETTINGS)
    return app


def enqueue(task: str, row_id: int) -> None:
    """Run `task` for one row as soon as the current transaction has committed; at once when there is none."""
    transaction.on_commit(lambda: send(task, row_id), robust=True)


def send(task: str, row_id: int) -> None:
    """Send the message now. A broker that is down costs a line in the log: the row is due and the sweep will see it."""
    try:
        _producer().send_task(task, args=[row_id], retry=False)
    except Exception as error:  # whatever the broker's client raises, the wish is in the database already
        logger.warning("could not wake the workers for %s(%s): %s", task, row_id, error)
