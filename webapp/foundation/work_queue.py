"""Hand work to the workers. A message is only a wake-up call: the row says what to do, the sweep finds it."""

import logging
from functools import cache

from celery import Celery
from django.db import transaction

from webapp.foundation.broker import CELERY_SETTINGS, broker_url

logger = logging.getLogger(__name__)

__all__ = ["CELERY_SETTINGS", "broker_url", "enqueue", "send"]


@cache
def _producer() -> Celery:
    app = Celery("modelyard-producer", broker=broker_url(), set_as_current=False)
    app.conf.update(CELERY_SETTINGS)
    return app


def enqueue(task: str, row_id: int) -> None:
    """Run `task` for one row as soon as the current transaction has committed; at once when there is none."""
    transaction.on_commit(lambda: send(task, row_id), robust=True)


def send(task: str, row_id: int, in_s: float | None = None) -> None:
    """Send the message now, to be carried out after `in_s` seconds if given.

    A broker that is down costs a line in the log: the row is due and the sweep will see it.
    """
    try:
        _producer().send_task(task, args=[row_id], countdown=in_s, retry=False)
    except Exception as error:  # whatever the broker's client raises, the request is in the database already
        logger.warning("could not wake the workers for %s(%s): %s", task, row_id, error)
