"""A schedule whose results the host's processors can or cannot serve."""

from dataclasses import replace

import pytest

from tests.deployments.test_processors import give
from tests.engines.processors import AVX2, AVX512, OLD_X86, UNKNOWN
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.deployments import services as deployments
from webapp.foundation.errors import Conflict, Invalid
from webapp.quantisation.recipes import Recipe
from webapp.schedules import firing, services, serving

pytestmark = pytest.mark.django_db
AWQ = Recipe(method="awq", options={"group_size": 64})
INT8 = Recipe(method="int8")
NO_KERNEL = "no kernel for AWQ with 4 bits on processors without AVX-512"


@pytest.fixture
def half(source, host):
    """The source as safetensors, on the host, which has no cards."""
    host.accelerators.all().delete()
    Artifact.objects.filter(pk=source.pk).update(format="safetensors", main_file="config.json")
    source.refresh_from_db()
    return source


@pytest.fixture
def served(half, ada, team):
    return deployments.create(ada, team, deployments.DeploymentSpec("chat", artifact=half))


@pytest.mark.parametrize(
    ("flags", "recipes", "is_refused"),
    [
        (AVX2, (AWQ,), True),
        (AVX2, (AWQ, INT8), False),
        (AVX512, (AWQ,), False),
        (UNKNOWN, (AWQ,), False),
    ],
    ids=["avx2", "one of two", "avx512", "unknown"],
)
def test_a_schedule_that_could_serve_none_of_its_results_is_refused(
    spec, half, served, host, ada, team, flags, recipes, is_refused
):
    give(host, flags)
    wanted = replace(spec, artifact=half, recipes=recipes, deployment=served)
    if is_refused:
        with pytest.raises(Invalid, match=NO_KERNEL) as refusal:
            services.create(ada, team, wanted)
        assert set(refusal.value.fields) == {"deployment"}
    else:
        services.create(ada, team, wanted)
    # Without a deployment it only makes files, which other hosts may serve.
    services.create(ada, team, replace(wanted, name="files", deployment=None))


def test_a_recipe_whose_tools_do_not_run_there_is_refused(spec, host, ada, team):
    give(host, OLD_X86)
    with pytest.raises(Invalid, match="need AVX2") as refusal:
        services.create(ada, team, spec)
    assert set(refusal.value.fields) == {"recipes"}


def made(half, host, label):
    facts = {**half.facts, "quantisation": label}
    found = Artifact.objects.create(
        catalog_model=half.catalog_model, format="safetensors", quantisation=label, main_file="config.json", facts=facts
    )
    ArtifactCopy.objects.create(artifact=found, host=host, state=CopyState.PRESENT)
    return {"artifact": found.pk, "is_passed": True}


def test_of_what_passed_the_first_that_can_run_is_served(spec, half, served, host, ada, team, now):
    schedule = services.create(ada, team, replace(spec, artifact=half, recipes=(AWQ, INT8), deployment=served))
    give(host, AVX2)
    run = firing.begin(schedule, now)
    four, eight = made(half, host, "AWQ 4-bit"), made(half, host, "INT8 W8A8")
    with pytest.raises(Conflict, match=f"chat can run none of the results. .*{NO_KERNEL}"):
        serving.begin(run, [four])
    schedule.allow_downtime = True
    schedule.save()
    run.refresh_from_db()
    serving.begin(run, [four, eight])
    served.refresh_from_db()
    assert served.artifact_id == eight["artifact"]


@pytest.fixture
def now():
    from django.utils import timezone

    return timezone.now()
