"""Revisions: what a deployment is to run, numbered and kept."""

from webapp.deployments.models import Deployment, Revision
from webapp.deployments.spec import RevisionSpec


def of(revision: Revision) -> RevisionSpec | None:
    """What a revision holds; None when its files have been deleted since."""
    return None if revision.artifact is None else revision.spec


def write(deployment: Deployment, spec: RevisionSpec, actor: str, note: str = "") -> Revision:
    """Number and store it. Inside the transaction that holds the deployment's row."""
    last = deployment.revisions.order_by("-number").values_list("number", flat=True).first() or 0
    return Revision.objects.create(
        deployment=deployment,
        number=last + 1,
        artifact_name=str(spec.artifact)[:200],
        host_name=spec.host.name if spec.host else "",
        note=note[:200],
        actor=actor,
        **spec.columns(),
    )
