"""The six kinds that live long, and the one way in to each: a task's name and a row's id."""

from typing import Any

from webapp.control import loop
from webapp.control.loop import Controller
from workers.controllers import job, replica

CONTROLLERS: tuple[Controller[Any], ...] = (replica.CONTROLLER, job.CONTROLLER)
_BY_TASK = {controller.kind.task: controller for controller in CONTROLLERS}


def work(task: str, pk: int) -> None:
    """Look after one row of the kind whose task this is."""
    loop.work(_BY_TASK[task], pk)
