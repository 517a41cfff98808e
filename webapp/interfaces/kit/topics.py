"""Which topics there are, and who may follow them: the same for live pages and for programs that ask what changed."""

from collections.abc import Callable

from webapp.accounts.models import User
from webapp.deployments.models import Deployment, Replica
from webapp.foundation.text import parse_id
from webapp.inventory.models import Host
from webapp.jobs.models import Job
from webapp.schedules.models import Schedule


def is_known(topic: str) -> bool:
    """Whether this can be a topic of ours."""
    kind, _, key = topic.partition(":")
    return kind in _MAY_FOLLOW and (parse_id(key) is not None or (kind, key) in _WITHOUT_ID)


def may_follow(user: User, topic: str) -> bool:
    """Whether this is a topic of ours, and its subject the person's to see."""
    kind, _, key = topic.partition(":")
    return is_known(topic) and _MAY_FOLLOW[kind](user, key)


def _is_in(user: User, team: str) -> bool:
    return user.is_superuser or (team.isdigit() and user.memberships.filter(team_id=int(team)).exists())


_MAY_FOLLOW: dict[str, Callable[[User, str], bool]] = {
    "deployments": _is_in,
    "jobs": _is_in,
    "deployment": lambda user, key: Deployment.objects.visible_to(user).filter(pk=key).exists(),
    "replica-log": lambda user, key: Replica.objects.visible_to(user).filter(pk=key).exists(),
    "schedules": _is_in,
    "schedule": lambda user, key: Schedule.objects.visible_to(user).filter(pk=key).exists(),
    "job": lambda user, key: Job.objects.visible_to(user).filter(pk=key).exists(),
    "job-log": lambda user, key: Job.objects.visible_to(user).filter(pk=key).exists(),
    "host": lambda user, key: Host.objects.visible_to(user).filter(pk=key).exists(),
    "hosts": lambda user, key: True,
}
_WITHOUT_ID = {("hosts", ""), ("jobs", "all")}
