"""What people may ask of a deployment: one function per verb, called by page, API and command line alike."""

from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from pydantic import ValidationError as OptionsError

from webapp import engines, queue
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog.models import Artifact
from webapp.deployments.models import Deployment, Replica, ReplicaEvent
from webapp.deployments.states import Desired, ReplicaState
from webapp.errors import Conflict, Invalid
from webapp.events import services as events
from webapp.inventory.models import Host

RECONCILE = "deployments.reconcile"
MAX_REPLICAS = 64


@dataclass(frozen=True)
class Wish:
    """What a person types to get a deployment."""

    name: str
    artifact: Artifact
    engine: str = "llamacpp"
    options: dict[str, Any] = field(default_factory=dict)
    replicas: int = 1
    host: Host | None = None
    image: str = ""


def create(user: User | None, team: Team, wish: Wish) -> Deployment:
    """Write the wish down; workers make it true. Raises Invalid, Conflict or NotAllowed and then changes nothing."""
    require(user, team, Role.OPERATOR)
    options = _checked_options(wish)
    deployment = Deployment(
        team=team,
        name=wish.name,
        artifact=wish.artifact,
        engine=wish.engine,
        options=options,
        desired_replicas=wish.replicas,
        host=wish.host,
        image=wish.image,
        created_by=user,
    )
    try:
        deployment.clean_fields(exclude=["team", "artifact", "created_by", "host", "options"])
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise Invalid(" ".join(fields.values()), fields=fields) from error
    with transaction.atomic():
        _save_new(deployment)
        replicas = [
            Replica(deployment=deployment, number=number, next_due_at=Now()) for number in range(1, wish.replicas + 1)
        ]
        Replica.objects.bulk_create(replicas)
        _write(deployment, user, "asked to run")
        audit(user, team, "deployment.create", deployment.name, {"artifact": str(wish.artifact), "options": options})
        _announce(deployment)
        wake(deployment)
    return deployment


def start(user: User | None, deployment: Deployment) -> None:
    """Ask for a stopped or failed deployment to run; a failed replica is tried again at once."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        _wish(deployment, Desired.RUNNING)
        # A person who presses start has seen the reason: the count of crashes begins anew.
        deployment.replicas.filter(state__in=[ReplicaState.FAILED, ReplicaState.STOPPED]).update(
            crash_count=0, next_due_at=Now()
        )
        deployment.replicas.filter(next_due_at=None).update(next_due_at=Now())
        _write(deployment, user, "asked to run")
        audit(user, deployment.team, "deployment.start", deployment.name)
        _announce(deployment)
        wake(deployment)


def stop(user: User | None, deployment: Deployment) -> None:
    """Ask for a deployment to stop; running requests may finish."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        _wish(deployment, Desired.STOPPED)
        deployment.replicas.update(next_due_at=Now())
        _write(deployment, user, "asked to stop")
        audit(user, deployment.team, "deployment.stop", deployment.name)
        _announce(deployment)
        wake(deployment)


def delete(user: User | None, deployment: Deployment) -> None:
    """Ask for a deployment to go away. The row goes last, after its containers, bookings and addresses."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        if not Deployment.objects.filter(pk=deployment.pk).update(desired_state=Desired.DELETED):
            return
        deployment.replicas.update(next_due_at=Now())
        _write(deployment, user, "asked to be deleted")
        audit(user, deployment.team, "deployment.delete", deployment.name)
        _announce(deployment)
        wake(deployment)


def wake(deployment: Deployment) -> None:
    """Have the workers look at every replica as soon as the transaction has committed."""
    for replica_id in deployment.replicas.values_list("pk", flat=True):
        queue.enqueue(RECONCILE, replica_id)


def topics(deployment: Deployment) -> tuple[str, ...]:
    """The subjects that change when this deployment does."""
    return ("gateway", f"deployments:{deployment.team_id}", f"deployment:{deployment.pk}")


def _wish(deployment: Deployment, desired: Desired) -> None:
    """Write the wish. A deployment that is being deleted takes no other wish."""
    changed = (
        Deployment.objects.filter(pk=deployment.pk).exclude(desired_state=Desired.DELETED).update(desired_state=desired)
    )
    if not changed:
        raise Conflict(f"{deployment.name} is being deleted.", "Create a new deployment.")
    deployment.desired_state = desired


def _checked_options(wish: Wish) -> dict[str, Any]:
    if not 1 <= wish.replicas <= MAX_REPLICAS:
        message = f"Between 1 and {MAX_REPLICAS} replicas, not {wish.replicas}."
        raise Invalid(message, fields={"replicas": message})
    if wish.engine not in engines.names():
        message = f"There is no engine {wish.engine!r}; choose among {', '.join(engines.names())}."
        raise Invalid(message, fields={"engine": message})
    engine = engines.get(wish.engine)
    if wish.artifact.format not in engine.formats:
        message = f"{engine.title} does not load {wish.artifact.format} files."
        raise Invalid(message, "Choose another artifact or engine.", fields={"artifact": message})
    try:
        options = engine.Options.model_validate(wish.options)
    except OptionsError as error:
        fields = {
            "options." + ".".join(str(part) for part in problem["loc"]): str(problem["msg"])
            for problem in error.errors()
        }
        text = "; ".join(f"{name.removeprefix('options.')}: {message}" for name, message in fields.items())
        raise Invalid(text, fields=fields) from error
    return options.model_dump(mode="json", exclude_unset=True)


def _save_new(deployment: Deployment) -> None:
    try:
        with transaction.atomic():
            deployment.save(force_insert=True)
    except IntegrityError as error:
        message = f"The team has a deployment named {deployment.name} already."
        raise Conflict(
            message, "Choose another name, or delete the other one first.", fields={"name": message}
        ) from error


def _write(deployment: Deployment, user: User | None, text: str) -> None:
    ReplicaEvent.objects.create(deployment=deployment, text=text, actor=user.username if user else "modelyard")


def _announce(deployment: Deployment) -> None:
    events.publish(*topics(deployment))
