"""A deployment and the processors of its host: what they cannot run is refused before anything starts."""

import html
import json
from typing import Any

import pytest

from tests.engines.processors import AVX2, AVX512, UNKNOWN
from tests.parts.images import allow
from tests.quantisation.test_recipes import SMOL
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.deployments import fit, lifecycle, services
from webapp.deployments.models import Deployment
from webapp.deployments.spec import RevisionSpec
from webapp.foundation.errors import Invalid
from webapp.inventory import services as inventory
from webapp.inventory.models import Host

NO_KERNEL = "vLLM has no kernel for AWQ with 4 bits on processors without AVX-512."


def give(host: Any, flags: frozenset[str]) -> None:
    """The host as a look at its processors leaves it; without flags as before the first look."""
    facts = {**host.facts, "processor": {"name": "Some CPU", "flags": sorted(flags)}} if flags else {}
    Host.objects.filter(pk=host.pk).update(facts=facts)
    host.refresh_from_db()


@pytest.fixture
def plain(host: Any) -> Any:
    """The host without its cards."""
    host.accelerators.all().delete()
    return host


def make(host: Any, quantisation: str) -> Any:
    from webapp.catalog.models import CatalogModel

    model, _made = CatalogModel.objects.get_or_create(name="SmolLM2", slug="smollm2", architecture="llama")
    facts = {**SMOL.as_json(), "quantisation": quantisation}
    found = Artifact.objects.create(
        catalog_model=model, format="safetensors", quantisation=quantisation, main_file="config.json", facts=facts
    )
    ArtifactCopy.objects.create(artifact=found, host=host, state=CopyState.PRESENT)
    return found


@pytest.fixture
def awq(host: Any) -> Any:
    return make(host, "AWQ 4-bit")


@pytest.fixture
def half(host: Any) -> Any:
    return make(host, "BF16")


@pytest.mark.parametrize(
    ("flags", "is_refused"), [(AVX2, True), (AVX512, False), (UNKNOWN, False)], ids=["avx2", "avx512", "unknown"]
)
def test_four_bits_are_asked_for_where_the_processors_have_the_kernel_or_nobody_has_looked(
    plain: Any, awq: Any, ada: Any, team: Any, flags: frozenset[str], is_refused: bool
) -> None:
    give(plain, flags)
    asked = services.DeploymentSpec("chat", artifact=awq)
    if is_refused:
        with pytest.raises(Invalid, match="without AVX-512") as refusal:
            services.create(ada, team, asked)
        assert set(refusal.value.fields) == {"artifact"} and "GGUF with llama.cpp" in str(refusal.value)
    else:
        services.create(ada, team, asked)
    assert Deployment.objects.exists() is not is_refused


def test_a_pinned_host_is_the_field_and_a_card_or_an_image_of_ones_own_the_way_out(
    host: Any, awq: Any, ada: Any, team: Any
) -> None:
    give(host, AVX2)
    services.create(ada, team, services.DeploymentSpec("on-a-card", artifact=awq))
    host.accelerators.all().delete()
    with pytest.raises(Invalid) as refusal:
        services.create(ada, team, services.DeploymentSpec("chat", artifact=awq, host=host))
    assert set(refusal.value.fields) == {"host"}
    allow("me/vllm")
    services.create(ada, team, services.DeploymentSpec("mine", artifact=awq, host=host, image="me/vllm:avx2"))


def test_one_host_that_can_run_it_is_enough_and_placement_takes_that(plain: Any, awq: Any, ada: Any, team: Any) -> None:
    from workers.controllers.replica import placing

    give(plain, AVX2)
    attic = inventory.register_host(None, "attic", "unix:///run/attic.sock")
    gib = 1024**3
    facts = inventory.HostFacts(daemon_id="2", cpu_count=4, memory_bytes=64 * gib, disk_free_bytes=gib)
    inventory.record_facts(attic.pk, facts)
    inventory.record_engine_network(attic.pk, "modelyard-engines", "172.31.6.0/24")
    give(attic, AVX512)
    ArtifactCopy.objects.create(artifact=awq, host=attic, state=CopyState.PRESENT)
    places = {place.host.name: place.why for place in fit.answer(RevisionSpec(artifact=awq, engine="vllm")).places}
    assert NO_KERNEL in places["local"] and places["attic"] == ""
    replica = services.create(ada, team, services.DeploymentSpec("chat", artifact=awq)).replicas.get()
    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    placing.place(claimed)
    replica.refresh_from_db()
    assert replica.host == attic, replica.reason


def test_what_was_asked_for_before_anybody_looked_waits_with_the_reason(
    plain: Any, awq: Any, ada: Any, team: Any
) -> None:
    from workers.controllers.replica import placing

    replica = services.create(ada, team, services.DeploymentSpec("chat", artifact=awq)).replicas.get()
    give(plain, AVX2)
    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    placing.place(claimed)
    replica.refresh_from_db()
    assert replica.host is None and NO_KERNEL in replica.reason and "GGUF with llama.cpp" in replica.reason


def test_an_edit_to_what_cannot_run_changes_nothing(plain: Any, awq: Any, half: Any, ada: Any, team: Any) -> None:
    give(plain, AVX2)
    deployment = services.create(ada, team, services.DeploymentSpec("chat", artifact=half))
    for ask in (services.check_edit, services.edit):
        with pytest.raises(Invalid, match="without AVX-512"):
            ask(ada, deployment, services.DeploymentPatch({"artifact": awq}))
    deployment.refresh_from_db()
    assert deployment.artifact == half
    services.edit(ada, deployment, services.DeploymentPatch(replicas=2))


def test_a_deployment_that_cannot_run_may_still_be_scaled_and_stopped(
    plain: Any, awq: Any, ada: Any, team: Any
) -> None:
    """It was asked for before anybody looked; what is wrong with it must not hold fast what a person does about it."""
    deployment = services.create(ada, team, services.DeploymentSpec("chat", artifact=awq))
    give(plain, AVX2)
    services.edit(ada, deployment, services.DeploymentPatch(replicas=0))
    services.stop(ada, deployment)


def test_going_back_to_what_cannot_run_is_refused(plain: Any, awq: Any, half: Any, ada: Any, team: Any) -> None:
    deployment = services.create(ada, team, services.DeploymentSpec("chat", artifact=awq))
    services.edit(ada, deployment, services.DeploymentPatch({"artifact": half}, allow_downtime=True))
    give(plain, AVX2)
    with pytest.raises(Invalid, match="without AVX-512"):
        services.roll_back(ada, deployment, 1, allow_downtime=True)


def test_the_page_says_it_beside_the_form_and_refuses_what_is_sent(
    client: Any, plain: Any, awq: Any, ada: Any, team: Any
) -> None:
    give(plain, AVX2)
    client.force_login(ada)
    typed = {"name": "chat", "artifact": awq.pk, "team": team.pk, "engine": "vllm", "replicas": 1, "options_of": "vllm"}
    assert NO_KERNEL in html.unescape(client.post("/deployments/new/fit/", typed).content.decode())
    reply = client.post("/deployments/new/", typed)
    assert reply.status_code == 422 and NO_KERNEL in html.unescape(reply.content.decode())
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_the_api_refuses_it_with_its_field(client: Any, plain: Any, awq: Any, ada: Any, team: Any, query: str) -> None:
    from webapp.accounts import keys

    give(plain, AVX2)
    _key, secret = keys.create_key(ada, team, "program")
    headers = {"X-API-Key": secret}
    body = json.dumps({"name": "chat", "artifact": awq.pk})
    reply = client.post(f"/api/v1/deployments{query}", body, content_type="application/json", headers=headers)
    assert reply.status_code == 422 and "without AVX-512" in reply.content.decode(), reply.content
    body = json.dumps({"artifact": awq.pk})
    said = client.post("/api/v1/estimates", body, content_type="application/json", headers=headers).json()
    assert [place["fits"] for place in said["places"]] == [False] and NO_KERNEL in said["places"][0]["why"]
    assert not Deployment.objects.exists()
