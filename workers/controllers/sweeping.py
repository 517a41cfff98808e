"""The sweep: rows that are due, schedules that fire, and what is done once in a while."""

from webapp.control import registry
from webapp.jobs import ending
from webapp.operations import heartbeats, rotating
from webapp.schedules import firing, notifying
from webapp.usage import services as usage
from workers.controllers import CONTROLLERS, backing_up


def sweep() -> None:
    """Have everything looked at that is due. Raises at its end what broke: no part of it keeps back the others."""
    faults = []
    for part in (
        _beat,
        firing.sweep,
        notifying.sweep,
        _rows,
        notifying.expire,
        usage.expire,
        ending.expire,
        backing_up.begin_if_due,
        rotating.advance,
    ):
        try:
            part()
        except Exception as fault:
            faults.append(fault)
    if faults:
        raise ExceptionGroup("the sweep", faults)


def _beat() -> None:
    """A sweep that runs proves the clock that sent it and the worker that took it."""
    heartbeats.beat("beat")
    heartbeats.beat("worker")


def _rows() -> None:
    registry.sweep(controller.kind for controller in CONTROLLERS)
