"""Runs of schedules: wait, fetch, quantise, judge, serve."""

from webapp.control.loop import Controller
from webapp.schedules.lifecycle import RUN
from workers.controllers.run import act, observe

CONTROLLER = Controller(RUN, observe.look, observe.step, act.carry_out)
