"""The sweep: rows that are due, and hosts that were not seen for a while."""

import logging
from datetime import timedelta

from django.utils import timezone

from webapp import queue
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.waking import RECONCILE as RECONCILE_REPLICA
from webapp.deployments.waking import ROLL
from webapp.inventory.models import Host
from webapp.inventory.services import PROBE
from webapp.jobs.models import Job
from webapp.jobs.services import RECONCILE as RECONCILE_JOB
from webapp.operations import heartbeats
from webapp.schedules import firing, notifying
from webapp.usage import services as usage
from workers.controllers import backing_up

logger = logging.getLogger(__name__)

FACTS_EVERY_S = 60
MAX_PER_SWEEP = 500


def sweep() -> None:
    """Send one message per due row. A row that is held already costs its holder one more look."""
    # A sweep that runs proves the clock that sent it and the worker that took it.
    heartbeats.beat("beat")
    heartbeats.beat("worker")
    for replica_id in Replica.objects.due().order_by("next_due_at").values_list("pk", flat=True)[:MAX_PER_SWEEP]:
        queue.send(RECONCILE_REPLICA, replica_id)
    for deployment_id in Deployment.objects.rolling_due().values_list("pk", flat=True)[:MAX_PER_SWEEP]:
        queue.send(ROLL, deployment_id)
    for job_id in Job.objects.due().order_by("next_due_at").values_list("pk", flat=True)[:MAX_PER_SWEEP]:
        queue.send(RECONCILE_JOB, job_id)
    firing.sweep()
    notifying.sweep()
    notifying.expire()
    usage.expire()
    stale = timezone.now() - timedelta(seconds=FACTS_EVERY_S)
    for host in Host.objects.all():
        if host.seen_at is None or host.seen_at < stale or host.state != "online":
            queue.send(PROBE, host.pk)
    backing_up.begin_if_due()
