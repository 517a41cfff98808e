"""Replicas: one engine container each, brought to what is wanted of it."""

from webapp.control.loop import Controller
from webapp.deployments.lifecycle import REPLICA
from workers.controllers.replica import act, observe

CONTROLLER = Controller(REPLICA, observe.look, observe.step, act.carry_out)
