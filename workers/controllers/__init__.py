"""The six kinds that live long, and the one way in to each: a task's name and a row's id."""

from typing import Any

from webapp.control import loop
from webapp.control.loop import Controller
from webapp.inventory.services import HOST_LANE
from workers.controllers import host, job, notification, replica, rollout, run

CONTROLLERS: tuple[Controller[Any], ...] = (
    host.CONTROLLER, replica.CONTROLLER, rollout.CONTROLLER, job.CONTROLLER, run.CONTROLLER, notification.CONTROLLER,
)  # fmt: skip
TASKS = (HOST_LANE.task, *(controller.kind.task for controller in CONTROLLERS))
_BY_TASK = {controller.kind.task: controller for controller in CONTROLLERS}


def work(task: str, pk: int, only_when_due: bool = False) -> None:
    """Look after one row of the kind whose task this is, or after all due rows of a host."""
    if task == HOST_LANE.task:
        loop.work_lane(CONTROLLERS, HOST_LANE, pk)
    else:
        loop.work(_BY_TASK[task], pk, only_when_due)
