"""The Celery app of the workers: the tasks. Every task re-reads its row and is safe to repeat."""

import gc
import os
from typing import Any

import django
from celery import Celery
from celery.signals import worker_before_create_process, worker_init

from webapp.foundation.broker import CELERY_SETTINGS, broker_url

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
django.setup()

# Rooms can be imported once Django is set up; here, so that the pool's processes share what was loaded before the fork
# and the first task of each does not spend a second on it.
from channels.layers import get_channel_layer  # noqa: E402

from webapp.operations.starting import refuse_unfit_schema  # noqa: E402
from webapp.schedules import firing  # noqa: E402
from workers import controllers, log_facts  # noqa: E402, F401  the latter connects itself to the tasks
from workers.broker_connection import QuickAMQP  # noqa: E402
from workers.controllers import sweeping  # noqa: E402

get_channel_layer()


app = Celery("modelyard", broker=broker_url(), amqp=QuickAMQP)
app.conf.update(CELERY_SETTINGS)


@worker_init.connect
def check_schema(**_signal: Any) -> None:
    """Before the first task."""
    refuse_unfit_schema()


@worker_before_create_process.connect
def share_what_is_loaded(**_signal: Any) -> None:
    """Before every fork of the pool: a collection writes to each object it looks at, and so copies its page.

    What was loaded before the fork is frozen out of collections and stays shared, as Python's documentation of
    `gc.freeze` advises.
    """
    gc.freeze()


def _look_after(task: str) -> None:
    """The task of one kind: look after the row. A message that was sent for a time counts only if it is time."""

    @app.task(name=task, bind=True)
    def look_after(self: Any, pk: int) -> None:
        controllers.work(task, pk, only_when_due=self.request.eta is not None)


for _task in controllers.TASKS:
    _look_after(_task)


@app.task(name="schedules.look")
def look_for_revision(schedule_id: int) -> None:
    """Ask a schedule's hub whether its source has a new revision."""
    firing.look(schedule_id)


@app.task(name="sweep")
def sweep() -> None:
    """Find every row that is due and wake its task; nothing else is needed for the system to converge."""
    sweeping.sweep()
