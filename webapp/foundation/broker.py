"""Where the broker is and how Celery speaks to it. No Django: the scheduler imports this and stays small."""

import os
from typing import Any

from webapp.foundation import paths


def broker_url() -> str:
    """The broker's address in kombu's words, which differ from redis-py's for unix sockets."""
    url = os.environ.get("MODELYARD_REDIS_URL") or f"unix://{paths.broker_socket()}"
    return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url


# Measured: a task that outlives the visibility timeout is started a second time while it runs. So tasks end within
# 25 s, and a message whose worker died comes back soon after the timeout.
CELERY_SETTINGS: dict[str, Any] = {
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
    # A task goes on when the broker is lost: one that comes twice is harmless (the lease of its row sees to that),
    # while Celery's way of ending it can leave half a result in the pool's pipe, which ended the whole worker.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_max_tasks_per_child": 1000,
    "task_serializer": "json",
    "accept_content": ["json"],
    "timezone": "UTC",
    "worker_hijack_root_logger": False,
}
