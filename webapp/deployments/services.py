"""What people may ask of a deployment: one function per verb, called by page, API and command line alike."""

from dataclasses import dataclass, replace

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from webapp import engines
from webapp.accounts.auditing import actor_name
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.catalog import images
from webapp.catalog import services as catalog
from webapp.deployments import limits, names, revisions, rolling, surge, timeline
from webapp.deployments.checking import check_count, check_files, check_hardware, check_shared, checked, hold_files
from webapp.deployments.checking import checked_options as checked_options
from webapp.deployments.models import MAX_REPLICAS as MAX_REPLICAS
from webapp.deployments.models import Deployment, ReplicaEvent, Revision
from webapp.deployments.spec import Change, DeploymentPatch, DeploymentSpec, RevisionSpec, diff
from webapp.deployments.states import Desired, ReplicaState
from webapp.deployments.waking import RECONCILE as RECONCILE
from webapp.deployments.waking import topics as topics
from webapp.deployments.waking import wake as wake
from webapp.foundation.errors import Conflict, Invalid
from webapp.foundation.events import services as events


@dataclass(frozen=True)
class Plan:
    """What an edit would do, before anything is changed."""

    spec: RevisionSpec
    changes: list[Change]
    # New replicas are needed; False when only numbers or names change, or nothing runs.
    rolls: bool
    # Memory cannot hold old and new together: an old one must go first.
    needs_downtime: bool
    # How many seconds that would take, from the last start; None when none is known.
    downtime_s: float | None
    # Why it fits nowhere; empty when it does.
    refusal: str
    # What the gateways would heed from then on: no replica is touched for it.
    limits: tuple[Change, ...] = ()


def create(user: User | None, team: Team, wanted: DeploymentSpec) -> Deployment:
    """Write it down; workers make it true. Raises Invalid, Conflict or NotAllowed and then changes nothing."""
    spec = check(user, team, wanted)
    deployment = Deployment(
        team=team, name=spec.name, desired_replicas=spec.replicas, created_by=user, **spec.columns(), **spec.limits
    )  # fmt: skip
    try:
        deployment.clean_fields(exclude=["team", "artifact", "created_by", "host", "options", "revision"])
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise Invalid(" ".join(fields.values()), fields=fields) from error
    with transaction.atomic():
        hold_files(spec.artifact)
        names.hold(team)
        names.check_free(team, spec.name)
        _save_new(deployment)
        names.write(deployment, spec.aliases)
        _write(deployment, user, "requested a start")
        rolling.first(deployment, actor_name(user))
        detail = {"artifact": str(spec.artifact), "options": spec.options}
        audit(user, team, "deployment.create", deployment.name, detail)
        _announce(deployment)
    return deployment


def check(user: User | None, team: Team, wanted: DeploymentSpec) -> DeploymentSpec:
    """What would run, with options as they are stored. Raises Invalid or NotAllowed."""
    require(user, team, Role.OPERATOR)
    check_count(wanted.replicas)
    check_shared(wanted.artifact, team)
    limits.check(wanted.limits)
    spec = checked(wanted)
    check_hardware(spec, team)
    return spec


def check_edit(user: User | None, deployment: Deployment, wanted: DeploymentPatch) -> Plan:
    """What `edit` would do, or why it would not; room is part of the plan."""
    require(user, deployment.team, Role.OPERATOR)
    _check_base(deployment, wanted.base)
    planned = plan(deployment, wanted)
    if wanted.replicas is not None:
        check_count(wanted.replicas)
    if planned.changes:
        check_shared(planned.spec.artifact, deployment.team)
        check_files(planned.spec)
        check_hardware(planned.spec, deployment.team)
    return planned


def plan(deployment: Deployment, patch: DeploymentPatch) -> Plan:
    """What the edit would do. Raises Invalid for what cannot be run."""
    old, given = deployment.spec, dict(patch.spec)
    if given.get("engine", old.engine) != old.engine:
        given.setdefault("options", {})  # those of one engine mean nothing to another
    # Numbers and names may change whatever has become of the list of images: nothing is started for them.
    new = checked(replace(old, **given)) if given else old
    changes = diff(old, new)
    runs = deployment.desired_state == Desired.RUNNING and deployment.replicas.present().exists()
    rolls = bool(changes) and runs
    needs_downtime = rolls and not surge.beside(deployment, new)
    refusal = surge.refusal(deployment, new) if needs_downtime else ""
    downtime_s = timeline.last_start_s(deployment) if needs_downtime else None
    told = tuple(limits.changes(deployment, patch.limits))
    return Plan(new, changes, rolls, needs_downtime, downtime_s, refusal, told)


def edit(user: User | None, deployment: Deployment, wanted: DeploymentPatch) -> Plan:
    """Change what runs, how often and under which names. What runs changes by a rollout, as a new revision.

    Raises Conflict when there is no room for old and new together and the person has not allowed downtime, or when
    somebody else has changed it since `base`; nothing is changed then.
    """
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        deployment = _held(deployment)
        _check_base(deployment, wanted.base)
        planned, before = plan(deployment, wanted), deployment.artifact_id
        if planned.changes:
            hold_files(planned.spec.artifact)
            check_shared(planned.spec.artifact, deployment.team)
            check_files(planned.spec)
            check_hardware(planned.spec, deployment.team)
            _check_room(planned, wanted.allow_downtime)
            revision = revisions.write(deployment, planned.spec, actor_name(user), wanted.note)
            rolling.begin(deployment, "edit", revision, actor_name(user), wanted.allow_downtime)
            _tell_change(user, deployment, revision, planned.changes, wanted.note)
            catalog.forget_left(before)
        if wanted.aliases is not None and sorted(set(wanted.aliases)) != deployment.aliases:
            names.replace(user, deployment, wanted.aliases)
        limits.change(user, deployment, wanted.limits)
        if wanted.replicas is not None:
            _scale(user, deployment, wanted.replicas)
        rolling.advance(deployment.pk)
        _announce(deployment)
    return planned


def scale(user: User | None, deployment: Deployment, replicas: int) -> None:
    """Want so many replicas. Those too many finish what they are answering."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        deployment = _held(deployment)
        _scale(user, deployment, replicas)
        rolling.advance(deployment.pk)
        _announce(deployment)


def restart(user: User | None, deployment: Deployment, allow_downtime: bool = False) -> None:
    """Replace every replica by a new one of the same revision, new before old. Raises Conflict as `edit` does."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        deployment = _held(deployment)
        if deployment.desired_state != Desired.RUNNING:
            raise Conflict(f"{deployment.name} is not running.", "Start it instead.")
        check_shared(deployment.artifact, deployment.team)
        spec = deployment.spec
        # Before anything that runs is replaced by what may not start.
        images.check(spec.image)
        needs_downtime = not surge.beside(deployment, spec)
        downtime_s = timeline.last_start_s(deployment) if needs_downtime else None
        # Where nothing has a place yet there is nothing to lose.
        has_place = deployment.replicas.present().exclude(host=None).exists()
        refusal = surge.refusal(deployment, spec) if needs_downtime and has_place else ""
        _check_room(Plan(spec, [], True, needs_downtime, downtime_s, refusal), allow_downtime)
        revision = deployment.revision or revisions.write(deployment, spec, actor_name(user))
        rolling.begin(deployment, "restart", revision, actor_name(user), allow_downtime)
        _write(deployment, user, "requested a restart")
        audit(user, deployment.team, "deployment.restart", deployment.name)
        rolling.advance(deployment.pk)
        _announce(deployment)


def roll_back(user: User | None, deployment: Deployment, number: int, allow_downtime: bool = False) -> None:
    """Run again what revision `number` of this deployment ran, as a new revision."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        deployment = _held(deployment)
        earlier = deployment.revisions.select_related("artifact", "host").filter(number=number).first()
        if earlier is None:
            message = f"{deployment.name} has no revision {number}."
            raise Invalid(message, "Choose one of its revisions.", fields={"revision": message})
        spec = revisions.of(earlier)
        if spec is None:
            raise Conflict(f"The files of {earlier.artifact_name} have been deleted.", "Fetch them again, then edit.")
        spec = checked(spec)
        changes = diff(deployment.spec, spec)
        if not changes:
            raise Conflict(f"It already runs what revision {number} ran.", "Restart it to replace its replicas.")
        hold_files(spec.artifact)
        check_shared(spec.artifact, deployment.team)
        check_files(spec)
        check_hardware(spec, deployment.team)
        _check_room(plan(deployment, DeploymentPatch(spec.columns())), allow_downtime)
        before = deployment.artifact_id
        note = f"roll back to revision {number}"
        revision = revisions.write(deployment, spec, actor_name(user), note)
        rolling.begin(deployment, "rollback", revision, actor_name(user), allow_downtime)
        _tell_change(user, deployment, revision, changes, note)
        catalog.forget_left(before)
        rolling.advance(deployment.pk)
        _announce(deployment)


def start(user: User | None, deployment: Deployment) -> None:
    """Ask for a stopped or failed deployment to run; a failed replica is tried again at once."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        deployment = _held(deployment)
        images.check(deployment.image)
        check_shared(deployment.artifact, deployment.team)
        hold_files(deployment.artifact)
        _set_desired(deployment, Desired.RUNNING)
        if not deployment.desired_replicas:
            _scale(user, deployment, 1)
        # A person who presses start has seen the reason: the count of crashes begins anew.
        resting = deployment.replicas.present().filter(state__in=[ReplicaState.FAILED, ReplicaState.STOPPED])
        resting.update(crash_count=0, failed_starts=0, next_due_at=Now())
        deployment.replicas.present().filter(next_due_at=None).update(next_due_at=Now())
        rolling.advance(deployment.pk)
        _write(deployment, user, "requested a start")
        audit(user, deployment.team, "deployment.start", deployment.name)
        _announce(deployment)
        wake(deployment)


def stop(user: User | None, deployment: Deployment) -> None:
    """Ask for a deployment to stop; running requests may finish."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        _set_desired(deployment, Desired.STOPPED)
        deployment.replicas.present().update(next_due_at=Now())
        _write(deployment, user, "requested a stop")
        audit(user, deployment.team, "deployment.stop", deployment.name)
        _announce(deployment)
        wake(deployment)


def delete(user: User | None, deployment: Deployment) -> None:
    """Ask for a deployment to go away. The row goes last, after its containers, reservations and addresses."""
    require(user, deployment.team, Role.OPERATOR)
    with transaction.atomic():
        if not Deployment.objects.filter(pk=deployment.pk).update(desired_state=Desired.DELETED):
            return
        deployment.replicas.update(next_due_at=Now())
        if not deployment.replicas.present().exists():
            rolling.wake_again(deployment.pk)
        _write(deployment, user, "requested deletion")
        audit(user, deployment.team, "deployment.delete", deployment.name)
        _announce(deployment)
        wake(deployment)


def _set_desired(deployment: Deployment, desired: Desired) -> None:
    """Write the desired state. A deployment that is being deleted takes no other."""
    changed = (
        Deployment.objects.filter(pk=deployment.pk).exclude(desired_state=Desired.DELETED).update(desired_state=desired)
    )
    if not changed:
        raise Conflict(f"{deployment.name} is being deleted.", "Create a new deployment.")
    deployment.desired_state = desired


def _held(deployment: Deployment) -> Deployment:
    """The row as it is now, held until the transaction ends. Raises Conflict for one that is being deleted."""
    held = rolling.hold(deployment.pk)
    if held is None or held.desired_state == Desired.DELETED:
        raise Conflict(f"{deployment.name} is being deleted.", "Create a new deployment.")
    return held


def _scale(user: User | None, deployment: Deployment, replicas: int) -> None:
    check_count(replicas)
    before = deployment.desired_replicas
    if replicas == before:
        return
    if replicas > before:
        images.check(deployment.image)
        check_shared(deployment.artifact, deployment.team)
    deployment.desired_replicas = replicas
    deployment.save(update_fields=["desired_replicas"])
    _write(deployment, user, f"scaled from {before} to {replicas} replicas")
    audit(user, deployment.team, "deployment.scale", deployment.name, {"from": before, "to": replicas})


def _tell_change(
    user: User | None, deployment: Deployment, revision: Revision, changes: list[Change], note: str
) -> None:
    words = "; ".join(f"{change.label}: {change.old} → {change.new}" for change in changes)
    about = f" ({note})" if note else ""
    _write(deployment, user, f"requested revision {revision.number}{about}: {words}")
    detail = {"revision": revision.number, "note": note, "changes": {c.name: [c.old, c.new] for c in changes}}
    audit(user, deployment.team, "deployment.edit", deployment.name, detail)


def _check_base(deployment: Deployment, base: int | None) -> None:
    now = deployment.revision.number if deployment.revision else 0
    if base is not None and base != now:
        raise Conflict(
            f"Someone else changed {deployment.name} meanwhile: it is at revision {now}, you started from {base}.",
            "Reload it, then make your change again.",
        )


def _check_room(planned: Plan, allow_downtime: bool) -> None:
    if not planned.rolls or not planned.needs_downtime:
        return
    if planned.refusal:
        raise Conflict(
            f"It doesn't fit on any host. {planned.refusal}"[:500],
            "Reduce context length or parallel requests, or stop something first.",
        )
    if not allow_downtime:
        lasting = f"about {planned.downtime_s:.0f} s" if planned.downtime_s is not None else "as long as a start takes"
        raise Conflict(
            "Not enough memory to run the old and the new replica side by side: "
            f"one replica would be missing for {lasting}.",
            "Allow downtime, or free memory first.",
            fields={"allow_downtime": "Allow downtime to continue."},
        )


def _save_new(deployment: Deployment) -> None:
    try:
        with transaction.atomic():
            deployment.save(force_insert=True)
    except IntegrityError as error:
        raise _taken(deployment) from error


def _taken(wanted: Deployment) -> Conflict:
    """Why the name is not free, and when it will be."""
    other = Deployment.objects.filter(team=wanted.team, name=wanted.name).first()
    if other is None or other.desired_state != Desired.DELETED:
        message = f"The team has a deployment named {wanted.name} already."
        return Conflict(message, "Choose another name, or delete the other one first.", fields={"name": message})
    left = other.replicas.present().count()
    engine = engines.get(other.engine)
    message = (
        f"{wanted.name} is being deleted; its name is free when {left} replica{'' if left == 1 else 's'} "
        f"ha{'s' if left == 1 else 've'} stopped, which takes up to {engine.drain_s + engine.stop_timeout_s} s."
    )
    return Conflict(message, "Wait for that, or choose another name.", fields={"name": message})


def _write(deployment: Deployment, user: User | None, text: str) -> None:
    number = deployment.revision.number if deployment.revision else None
    ReplicaEvent.objects.create(deployment=deployment, revision_number=number, text=text[:500], actor=actor_name(user))


def _announce(deployment: Deployment) -> None:
    events.publish(*topics(deployment))
