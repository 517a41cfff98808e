"""The six kinds that live long, and the one way in to each: a task's name and a row's id."""

from typing import Any

from webapp.control import loop
from webapp.control.loop import Controller
from workers.controllers import host, job, notification, replica, rollout, run

CONTROLLERS: tuple[Controller[Any], ...] = (
    host.CONTROLLER, replica.CONTROLLER, rollout.CONTROLLER, job.CONTROLLER, run.CONTROLLER, notification.CONTROLLER,
)  # fmt: skip
_BY_TASK = {controller.kind.task: controller for controller in CONTROLLERS}


def work(task: str, pk: int, only_when_due: bool = False) -> None:
    """Look after one row of the kind whose task this is."""
    loop.work(_BY_TASK[task], pk, only_when_due)
