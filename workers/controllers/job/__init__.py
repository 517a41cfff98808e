"""Jobs: long work in containers, step after step, to a result or a reason."""

from webapp.control.loop import Controller
from webapp.jobs.services import JOB
from workers.controllers.job import act, observe

CONTROLLER = Controller(JOB, observe.look, observe.step, act.carry_out)
