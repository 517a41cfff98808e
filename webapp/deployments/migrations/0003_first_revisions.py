"""What ran before there were revisions becomes revision 1, put in service by rollout 1."""

from typing import Any

from django.db import migrations
from django.db.models import Max
from django.utils import timezone


def number(apps: Any, schema_editor: Any) -> None:
    """Give every deployment its first revision and its replicas that revision."""
    get = lambda name: apps.get_model("deployments", name)  # noqa: E731
    for deployment in get("Deployment").objects.filter(revision=None).select_related("artifact__catalog_model", "host"):
        artifact = deployment.artifact
        revision = get("Revision").objects.create(
            deployment=deployment,
            number=1,
            artifact=artifact,
            artifact_name=f"{artifact.catalog_model.name} {artifact.quantisation}".strip()[:200],
            engine=deployment.engine,
            image=deployment.image,
            options=deployment.options,
            host=deployment.host,
            host_name=deployment.host.name if deployment.host else "",
            note="as it ran before revisions were kept",
            actor="modelyard",
        )
        get("Rollout").objects.create(
            deployment=deployment,
            number=deployment.generation,
            revision=revision,
            kind="create",
            state="done",
            actor="modelyard",
            ended_at=timezone.now(),
        )
        deployment.replicas.update(revision=revision, generation=deployment.generation)
        deployment.revision = revision
        deployment.last_generation = deployment.generation
        deployment.last_replica = deployment.replicas.aggregate(most=Max("number"))["most"] or 0
        deployment.save()


class Migration(migrations.Migration):
    dependencies = [("deployments", "0002_rollouts")]
    operations = [migrations.RunPython(number, migrations.RunPython.noop)]
