"""A result that is good enough takes the place of what is served: by the deployment's own rollout."""

from dataclasses import replace
from typing import Any

from django.db import transaction

from webapp import engines
from webapp.catalog.models import Artifact
from webapp.deployments import fit
from webapp.deployments import services as deployments
from webapp.deployments.models import Deployment
from webapp.deployments.spec import DeploymentPatch
from webapp.deployments.states import RolloutState
from webapp.foundation.errors import Conflict
from webapp.schedules.models import ScheduleRun


def begin(run: ScheduleRun, passed: list[dict[str, Any]]) -> None:
    """Ask the deployment to run the first of these that its engine loads. After a ServiceError nothing has changed."""
    with transaction.atomic():
        deployment = _deployment(run)
        formats = engines.get(deployment.engine).formats
        ids = [result["artifact"] for result in passed]
        usable = Artifact.objects.open_to([deployment.team])
        found = usable.select_related("catalog_model").in_bulk(ids)
        fitting = [found[key] for key in ids if key in found and found[key].format in formats]
        if not fitting:
            raise Conflict(f"{deployment.name} loads none of the results.", "Choose recipes for its engine.")
        specs = [replace(deployment.spec, artifact=one) for one in fitting]
        whys = [fit.why_on_no_hardware(spec, deployment.team) for spec in specs]
        if all(whys):
            raise Conflict(f"{deployment.name} can run none of the results. {whys[0]}")
        artifact = next(one for one, why in zip(fitting, whys, strict=True) if not why)
        patch = DeploymentPatch(
            {"artifact": artifact}, note=f"schedule {run.schedule.name}", allow_downtime=run.schedule.allow_downtime
        )
        planned = deployments.edit(None, deployment, patch)
        fresh = Deployment.objects.get(pk=deployment.pk)
        run.served = f"{deployment.name} serves {artifact}"[:200]
        run.rollout = fresh.generation if planned.changes else None
        ScheduleRun.objects.filter(pk=run.pk).update(served=run.served, rollout=run.rollout)


def why_not_yet(run: ScheduleRun) -> str | None:
    """None: it is served, or will be when somebody starts it; empty: it rolls; else why the result was given up."""
    deployment = run.schedule.deployment
    if deployment is None or run.rollout is None:
        return None
    rollout = deployment.rollouts.filter(number=run.rollout).first()
    if rollout is None or rollout.state == RolloutState.DONE:
        return None
    if rollout.state == RolloutState.RUNNING:
        # A deployment that somebody stopped rolls when it is started: the run need not wait for that.
        return "" if deployment.desired_state == "running" and deployment.desired_replicas else None
    if rollout.state == RolloutState.SUPERSEDED:
        return f"Someone else changed {deployment.name} before the result was rolled out."
    return f"{deployment.name} was rolled back: {rollout.reason}"


def _deployment(run: ScheduleRun) -> Deployment:
    deployment = run.schedule.deployment
    if deployment is None or deployment.team_id != run.schedule.team_id:
        raise Conflict("The deployment that it deploys to has been deleted.", "Choose another one.")
    return deployment
