"""`python -m workers.beat`, the clock: sends the sweep every 15 s and imports neither Django nor Docker."""

from typing import Any

from celery import Celery
from celery.signals import setup_logging

from webapp.foundation import logs
from webapp.foundation.broker import CELERY_SETTINGS, broker_url

SWEEP_EVERY_S = 15


@setup_logging.connect
def set_up_logs(**_signal: Any) -> None:
    """Celery then leaves logging alone."""
    logs.set_up()


app = Celery("modelyard-beat", broker=broker_url())
app.conf.update(CELERY_SETTINGS)
app.conf.update(
    # The schedule is static: nothing to remember between starts, so no file.
    beat_scheduler="celery.beat:Scheduler",
    beat_max_loop_interval=SWEEP_EVERY_S,
    beat_schedule={
        # A sweep that nobody took before the next one is worth nothing.
        "sweep": {"task": "sweep", "schedule": float(SWEEP_EVERY_S), "options": {"expires": SWEEP_EVERY_S - 1}},
    },
)

if __name__ == "__main__":
    app.Beat(loglevel="INFO").run()
