"""The sweep: rows that are due, schedules that fire, and what is done once in a while."""

from webapp.control import registry
from webapp.operations import heartbeats
from webapp.schedules import firing, notifying
from webapp.usage import services as usage
from workers.controllers import CONTROLLERS, backing_up


def sweep() -> None:
    """Have everything looked at that is due."""
    # A sweep that runs proves the clock that sent it and the worker that took it.
    heartbeats.beat("beat")
    heartbeats.beat("worker")
    firing.sweep()
    notifying.sweep()
    registry.sweep(controller.kind for controller in CONTROLLERS)
    notifying.expire()
    usage.expire()
    backing_up.begin_if_due()
