"""Hosts: what is on them, whether they answer, and what engines need there."""

from webapp.control.loop import Controller
from webapp.inventory.services import HOST
from workers.controllers.host import act, observe

CONTROLLER = Controller(HOST, observe.look, observe.step, act.carry_out)
