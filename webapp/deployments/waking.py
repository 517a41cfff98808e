"""Who is told when a deployment changes: workers by task and id, pages and gateways by topic."""

from webapp.deployments.models import Deployment
from webapp.foundation import work_queue
from webapp.foundation.events.topics import ROUTES

RECONCILE = "deployments.reconcile"
ROLL = "deployments.roll"


def wake(deployment: Deployment) -> None:
    """Have the workers look at every replica as soon as the transaction has committed."""
    for replica_id in deployment.replicas.present().values_list("pk", flat=True):
        work_queue.enqueue(RECONCILE, replica_id)


def topics(deployment: Deployment) -> tuple[str, ...]:
    """The subjects that change when this deployment does: gateways, its page, the lists of all who see it."""
    teams = [deployment.team_id, *deployment.grants.values_list("team_id", flat=True)]
    return (ROUTES, f"deployment:{deployment.pk}", *(f"deployments:{team}" for team in teams))
