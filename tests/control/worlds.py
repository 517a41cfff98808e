"""The six kinds, each with a world around one of its rows: what may happen, what a person may ask, when it rests."""

import contextlib
import json
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from tests.parts.images import allow
from webapp.control.lease import Leased
from webapp.control.loop import Controller
from webapp.deployments import lifecycle, services
from webapp.deployments.lifecycle import Reason
from webapp.deployments.models import Deployment, Replica, Rollout
from webapp.deployments.states import MOVES as REPLICA_MOVES
from webapp.deployments.states import ROLLOUT_MOVES, ReplicaState, RolloutState
from webapp.foundation.errors import ServiceError
from webapp.inventory.models import Host, HostLane
from webapp.inventory.states import MOVES as HOST_MOVES
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import ENDED as JOB_ENDED
from webapp.jobs.states import MOVES as JOB_MOVES
from webapp.jobs.states import JobState
from webapp.schedules import firing, targets
from webapp.schedules import services as schedules
from webapp.schedules.models import Notification, ScheduleRun
from webapp.schedules.states import ENDED as RUN_ENDED
from webapp.schedules.states import MOVES as RUN_MOVES
from webapp.schedules.states import NOTIFICATION_MOVES, NotificationState
from workers.controllers import CONTROLLERS

R = ReplicaState


def controller_of(task: str) -> Controller[Any]:
    return next(one for one in CONTROLLERS if one.kind.task == task)


class World(ABC):
    """One row under the control loop. `state_of`: the model whose state moves, where it is not the row's own."""

    task: str
    moves: dict[Any, frozenset[Any]]
    state_of: type[Any]

    def __init__(self, cast: Any) -> None:
        self.cast, self.runtime = cast, cast.runtime
        self.runtime.__init__(cast.host.daemon_id.split("@")[0])
        self.pk = self.begin()
        self.controller = controller_of(self.task)

    @abstractmethod
    def begin(self) -> int:
        """Write the row; its key."""

    @abstractmethod
    def shake(self, number: int) -> None:
        """Something happens outside."""

    def ask(self, number: int) -> None:  # noqa: B027  nobody asks anything of some kinds
        """A person asks for something."""

    @abstractmethod
    def calm(self) -> None:
        """From now on the world does what is expected of it; called before every look."""

    @abstractmethod
    def is_at_rest(self, row: Any) -> bool:
        """Nothing is left to do."""

    def row(self) -> Any:
        return self.controller.kind.rows().filter(pk=self.pk).first()

    def age(self, seconds: float) -> None:
        """So much time passes for the row and the lanes."""
        row = self.row()
        if row is None:
            return
        dates = {
            field.attname: getattr(row, field.attname) - timedelta(seconds=seconds)
            for field in row._meta.concrete_fields
            if field.get_internal_type() == "DateTimeField" and getattr(row, field.attname) is not None
        }
        type(row).objects.filter(pk=row.pk).update(**dates)
        HostLane.objects.update(lease_until=F("lease_until") - timedelta(seconds=seconds))

    def is_waiting(self, row: Leased) -> bool:
        """Somebody will look: it has a date, or was called for."""
        return row.next_due_at is not None or row.wakes > row.wakes_seen


class OneReplica(World):
    task, moves, state_of = "deployments.reconcile", REPLICA_MOVES, Replica

    def begin(self) -> int:
        allow("engine")
        self.deployment = services.create(
            self.cast.ada,
            self.cast.team,
            services.DeploymentSpec("chat", artifact=self.cast.artifact, image="engine:1"),
        )
        return int(self.deployment.replicas.get().pk)

    def shake(self, number: int) -> None:
        if number == 0:
            self.runtime.is_silent = not self.runtime.is_silent
        elif number == 1:
            for one in self.runtime.running("replica"):
                self.runtime.end(one.id, 1)
        elif number == 2:
            self.runtime.containers.clear()
        else:
            self._prove()

    def _prove(self) -> None:
        """What the watcher does."""
        row = self.row()
        if row is not None and row.state == R.LOADING and self.runtime.running("replica"):
            lifecycle.move(row, R.LOADING, R.READY, Reason("", "answered"), ready_at=timezone.now())

    def ask(self, number: int) -> None:
        (services.start, services.stop, services.stop)[number % 3](self.cast.ada, self.deployment)

    def calm(self) -> None:
        self.runtime.is_silent = False
        Host.objects.filter(state="unreachable").update(next_due_at=timezone.now())
        controller = controller_of("inventory.probe_host")
        for pk in controller.kind.due().values_list("pk", flat=True):
            work(controller, pk)
        self._prove()

    def is_at_rest(self, row: Any) -> bool:
        wanted = R.READY if Deployment.objects.get(pk=self.deployment.pk).desired_state == "running" else R.STOPPED
        is_final = row.state == R.FAILED and row.next_due_at is None
        return len(self.runtime.running("replica")) <= 1 and (row.state == wanted or is_final)


class OneJob(World):
    task, moves, state_of = "jobs.reconcile", JOB_MOVES, Job

    def begin(self) -> int:
        self.cast.artifact.copies.update(state="fetching")
        params = {
            "source_path": "/srv/m.gguf",
            "member": None,
            "files": [{"name": "m.gguf", "sha256": None, "size": 9}],
        }
        return int(jobs.queue_fetch(self.cast.ada, self.cast.team, self.cast.artifact, self.cast.host, params).pk)

    def shake(self, number: int) -> None:
        if number == 0:
            self.runtime.is_silent = not self.runtime.is_silent
        elif number == 1:
            self._end(137)
        elif number == 2:
            self.runtime.containers.clear()
        else:
            self._end(0)

    def _end(self, code: int) -> None:
        said = {"step": "done", "files": [{"name": "m.gguf", "size": 9, "sha256": "ab" * 32}]}
        for one in self.runtime.running("job"):
            self.runtime.end(one.id, code, json.dumps(said) if code == 0 else "")

    def ask(self, number: int) -> None:
        row = self.row()
        with contextlib.suppress(ServiceError):
            (jobs.cancel, jobs.retry)[number % 2](self.cast.ada, row)

    def calm(self) -> None:
        self.runtime.is_silent = False
        Host.objects.filter(state="unreachable").update(state="online")
        self._end(0)

    def is_at_rest(self, row: Any) -> bool:
        return row.state in JOB_ENDED and not self.runtime.running("job")


class OneHost(World):
    task, moves, state_of = "inventory.probe_host", HOST_MOVES, Host

    def begin(self) -> int:
        Host.objects.filter(pk=self.cast.host.pk).update(next_due_at=timezone.now())
        return int(self.cast.host.pk)

    def shake(self, number: int) -> None:
        if number % 2:
            self.runtime.daemon = "another" if self.runtime.daemon != "another" else "daemon-1"
        else:
            self.runtime.is_silent = not self.runtime.is_silent

    def calm(self) -> None:
        self.runtime.is_silent = False

    def is_at_rest(self, row: Any) -> bool:
        return bool(row.state == "online" and row.next_due_at > timezone.now())


class OneNotification(World):
    task, moves, state_of = "schedules.deliver", NOTIFICATION_MOVES, Notification

    def begin(self) -> int:
        self.receiver = self.cast.receiver
        self.receiver.status, self.receiver.got = 200, []
        target, _secret = targets.add(self.cast.ada, self.cast.team, "webhook", self.receiver.url, ["job.failed"])
        return int(targets.test(self.cast.ada, target).pk)

    def shake(self, number: int) -> None:
        self.receiver.status = 500 if number % 2 else 200

    def calm(self) -> None:
        self.receiver.status = 200

    def is_at_rest(self, row: Any) -> bool:
        return row.state in (NotificationState.SENT, NotificationState.FAILED)


class OneRun(World):
    task, moves, state_of = "schedules.advance", RUN_MOVES, ScheduleRun

    def begin(self) -> int:
        schedule = self.cast.make_schedule()
        run = firing.begin(schedule, timezone.now())
        assert run is not None
        return int(run.pk)

    def _going(self) -> Any:
        return self.row().jobs.exclude(state__in=[state.value for state in JOB_ENDED])

    def shake(self, number: int) -> None:
        for job in self._going():
            if number % 2 and job.state == JobState.QUEUED:
                jobs.move(job, JobState.QUEUED, JobState.FAILED, "The disk is full.")
            elif job.is_cancel_wanted:
                jobs.move(job, JobState(job.state), JobState.CANCELLED)
            elif number == 0:
                self.cast.end_job(job)

    def ask(self, number: int) -> None:
        with contextlib.suppress(ServiceError):
            schedules.cancel(self.cast.ada, self.row())

    def calm(self) -> None:
        for job in self._going():
            self.cast.end_job(job)

    def is_at_rest(self, row: Any) -> bool:
        return row.state in RUN_ENDED


class OneRollout(World):
    task, moves, state_of = "deployments.roll", ROLLOUT_MOVES, Rollout

    def begin(self) -> int:
        allow("engine")
        self.deployment = services.create(
            self.cast.ada,
            self.cast.team,
            services.DeploymentSpec("chat", artifact=self.cast.artifact, image="engine:1"),
        )
        self.edits = 0
        return int(self.deployment.pk)

    def shake(self, number: int) -> None:
        for replica in Replica.objects.filter(deployment=self.pk).exclude(state=R.STOPPED):
            if number == 0:
                self._fail(replica)
            else:
                self._bring(replica)

    def _fail(self, replica: Replica) -> None:
        if R.FAILED in REPLICA_MOVES[R(replica.state)]:
            lifecycle.record_crash(replica, Reason("exited", "It ended with code 1."), retry=False, counts=True)

    def _bring(self, replica: Replica) -> None:
        """One move further, as workers and watcher would."""
        way = [R.PENDING, R.PLACING, R.STARTING, R.LOADING, R.READY]
        state = R(replica.state)
        if replica.retired_at is not None and state in (R.READY, R.PENDING, R.FAILED, R.PLACING, R.STARTING, R.LOADING):
            lifecycle.finish_stop(replica, state, Reason("", ""))
        elif state == R.FAILED:
            lifecycle.begin_again(replica, R.FAILED, Reason("", ""))
        elif state in way[:-1]:
            new = way[way.index(state) + 1]
            settled = {"ready_at": timezone.now() - timedelta(minutes=1), "crash_count": 0} if new == R.READY else {}
            lifecycle.move(replica, state, new, Reason("", ""), **settled)

    def ask(self, number: int) -> None:
        self.edits += 1
        deployment = Deployment.objects.get(pk=self.pk)
        try:
            if number % 3 == 0:
                options = {"context_length": 1024 + 256 * self.edits}
                services.edit(
                    self.cast.ada, deployment, services.DeploymentPatch({"options": options}, allow_downtime=True)
                )
            elif number % 3 == 1:
                services.scale(self.cast.ada, deployment, 1 + self.edits % 2)
            else:
                services.start(self.cast.ada, deployment)
        except ServiceError:
            pass

    def calm(self) -> None:
        for replica in Replica.objects.filter(deployment=self.pk).exclude(state=R.STOPPED):
            self._bring(replica)

    def is_at_rest(self, row: Any) -> bool:
        return row.next_due_at is None and not row.rollouts.filter(state=RolloutState.RUNNING).exists()


def work(controller: Controller[Any], pk: int) -> None:
    from webapp.control import loop

    loop.work(controller, pk)


WORLDS: tuple[type[World], ...] = (OneReplica, OneRollout, OneJob, OneRun, OneHost, OneNotification)
