"""Let other teams use a deployment: they may ask it and see its state, no more."""

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Q, When

from webapp.accounts.auditing import actor_name
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.deployments import asking
from webapp.deployments.models import Deployment, DeploymentGrant, Replica, ReplicaEvent, has_ready_replica
from webapp.deployments.snippets import KEY, Snippet, snippets
from webapp.deployments.states import Desired
from webapp.deployments.waking import topics
from webapp.foundation.errors import Invalid
from webapp.foundation.events import services as events

# So many are looked through for one to show; a team with more shows the first.
MOST_ASKED = 200


def grant(user: User | None, deployment: Deployment, slug: str) -> DeploymentGrant:
    """Let the team with this slug use it, within a second. Granting twice changes nothing."""
    require(user, deployment.team, Role.OPERATOR)
    team = Team.objects.filter(slug=slug).first()
    if team is None or team.pk == deployment.team_id:
        message = f"There is no team {slug!r}." if team is None else "Its own team may use it anyway."
        raise Invalid(message, "Enter the slug of another team.", fields={"team": message})
    with transaction.atomic():
        made, is_new = DeploymentGrant.objects.get_or_create(
            deployment=deployment, team=team, defaults={"actor": actor_name(user)}
        )
        if is_new:
            _tell(user, deployment, team, "deployment.grant", f"granted team {team.name} access")
            events.publish(*topics(deployment))
    return made


def withdraw(user: User | None, deployment: Deployment, team: Team) -> None:
    """The team may not use it any more; gateways follow within a second. Answers that are under way end as they are."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        announced = topics(deployment)
        deleted, _per_model = DeploymentGrant.objects.filter(deployment=deployment, team=team).delete()
        if deleted:
            _tell(user, deployment, team, "deployment.withdraw", f"revoked the access of team {team.name}")
            events.publish(*announced)


def _tell(user: User | None, deployment: Deployment, team: Team, verb: str, text: str) -> None:
    who = actor_name(user)
    ReplicaEvent.objects.create(deployment=deployment, text=text, actor=who)
    audit(user, deployment.team, verb, deployment.name, {"team": team.slug})


def asking_team(user: User, deployment: Deployment) -> Team:
    """The team in whose name this person asks it: its own where they are in that, else one that it was granted to.

    For a deployment out of `visible_to`. An administrator, who is in none of them, asks in its owner's name.
    """
    granted = DeploymentGrant.objects.filter(deployment=deployment).values("team")
    mine = Team.objects.filter(memberships__user=user)
    own = mine.filter(pk=deployment.team_id).first()
    return own or mine.filter(pk__in=granted).order_by("name", "pk").first() or deployment.team


def asked_by(team: Team) -> Deployment | None:
    """What to show somebody who has a new key of this team: one that answers now before others, chat before
    embeddings, own before granted."""
    granted = DeploymentGrant.objects.filter(team=team).values("deployment")
    is_own, runs = Q(team=team), Q(desired_state=Desired.RUNNING)
    reached = (
        Deployment.objects.filter(is_own | Q(pk__in=granted))
        .exclude(desired_state=Desired.DELETED)
        .select_related("team", "artifact")
        .annotate(
            is_ready=has_ready_replica(),
            runs=Case(When(runs, then=1), default=0),
            is_own=Case(When(is_own, then=1), default=0),
        )
        .order_by("-is_ready", "-runs", "-is_own", "name", "pk")
    )

    def rank(row: Deployment) -> tuple[bool, bool]:
        return not row.is_ready, asking.serves_embeddings(row)  # type: ignore[attr-defined]

    return min(reached[:MOST_ASKED], key=rank, default=None)


def base_url(deployment: Deployment) -> str:
    """What comes before /v1. Another team's is asked by its own address: its name may mean something else to mine.

    For a deployment out of `visible_to` or `asked_by`, which say whose it is.
    """
    is_own = deployment.is_own  # type: ignore[attr-defined]
    return settings.MODELYARD_URL if is_own else deployment.endpoint.removesuffix("/v1")


def code(deployment: Deployment, key: str = KEY) -> list[Snippet]:
    """Code that asks it, with a deployment as `base_url` takes it."""
    return snippets(base_url(deployment), deployment.name, key, embeddings=asking.serves_embeddings(deployment))


def shown_replicas(deployment: Deployment) -> list[Replica]:
    """The replicas as the person may see them; reasons quote logs, so they are for the deployment's own team.

    For a deployment out of `visible_to`, which says whose it is.
    """
    replicas = list(deployment.replicas.all())
    if not deployment.is_own:  # type: ignore[attr-defined]
        for replica in replicas:
            replica.reason = replica.advice = replica.image = replica.progress_text = replica.container = ""
            replica.estimate, replica.observed, replica.host = [], {}, None
    return replicas
