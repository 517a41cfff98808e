"""Notifications: each sent once, tried again when its receiver fails, given up in the end."""

from webapp.control.loop import Controller
from webapp.schedules.lifecycle import NOTIFICATION
from workers.controllers.notification import act, observe

CONTROLLER = Controller(NOTIFICATION, observe.look, observe.step, act.carry_out)
