"""Whether a host is quiet enough for work that can wait."""

from datetime import datetime, timedelta

from webapp.deployments.models import Replica
from webapp.inventory.models import Host
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.usage.models import UsageRecord


def why_busy(host: Host, idle_minutes: int, now: datetime) -> str:
    """What is going on there; empty when nothing was asked of the host for so long and no job runs on it."""
    job = Job.objects.filter(host=host, state=JobState.RUNNING).order_by("id").first()
    if job is not None:
        return f"{job} runs on {host.name}"
    served = list(Replica.objects.filter(host=host).values_list("deployment_id", flat=True).distinct())
    asked = UsageRecord.objects.filter(deployment_id__in=served, at__gt=now - timedelta(minutes=idle_minutes))
    last = asked.order_by("-at").values_list("at", flat=True).first()
    if last is None:
        return ""
    ago = max(0, int((now - last).total_seconds() // 60))
    return f"{host.name} was asked {ago} min ago, quiet for {idle_minutes} min is wanted"
