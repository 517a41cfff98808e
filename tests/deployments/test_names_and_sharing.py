"""Other names, other teams, presets, and lists that find what is looked for."""

import itertools
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from webapp.accounts.models import AuditEntry
from webapp.deployments import names, presets, routes, searching, services, sharing
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.spec import DeploymentPatch
from webapp.deployments.states import Desired, ReplicaState
from webapp.foundation.errors import Conflict, Invalid, NotAllowed


def entry() -> dict[str, Any]:
    [found] = routes.build(0)["deployments"]
    return dict(found)


def test_aliases_reach_the_gateways_and_replace_no_replica(ada: Any, deployment: Any) -> None:
    services.edit(ada, deployment, DeploymentPatch(aliases=("gpt-4o", "gpt-4o-mini")))
    assert entry()["aliases"] == ["gpt-4o", "gpt-4o-mini"]
    services.edit(ada, deployment, DeploymentPatch(aliases=("gpt-4o",)))
    assert entry()["aliases"] == ["gpt-4o"]
    assert deployment.replicas.count() == 1
    assert AuditEntry.objects.filter(verb="deployment.aliases").count() == 2


@pytest.mark.parametrize(
    "alias",
    ["meta-llama/Llama-3.1-8B", "qwen2.5:7b", "GPT-4o", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
     "ft:gpt-4o-mini:acme::7p4lURel", "claude-3-5-sonnet-v2@20241022", "@cf/meta/llama-3.1-8b", "a", "a" * 199, "v1.5",
     "a...b", "a/..b"],
)  # fmt: skip
def test_what_programs_send_may_be_an_alias(ada: Any, deployment: Any, alias: str) -> None:
    services.edit(ada, deployment, DeploymentPatch(aliases=(alias,)))
    assert entry()["aliases"] == deployment.aliases == [alias]


@pytest.mark.parametrize(
    "alias",
    ["", " ", "a b", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a/..", ".a", "a:", "a.", "-a", "a\n", "a\tb",
     "a,b", "a?b", "a#b", "a%2fb", "a\\b", "m\xf6del", "a\u202eb", "a" * 200, "<b>"],
)  # fmt: skip
def test_what_no_address_could_hold_is_no_alias(ada: Any, deployment: Any, alias: str) -> None:
    with pytest.raises(Invalid, match="cannot be an alias"):
        services.edit(ada, deployment, DeploymentPatch(aliases=(alias,)))


@pytest.mark.parametrize("name", ["GPT-4o", "meta/llama", "qwen:7b", "a" * 64])
def test_a_deployments_own_name_stays_strict(ada: Any, team: Any, artifact: Any, name: str) -> None:
    with pytest.raises(Invalid):
        services.create(ada, team, services.DeploymentSpec(name, artifact=artifact))


@pytest.mark.parametrize(
    ("aliases", "kind", "words"),
    [
        (["smollm2"], Invalid, "its name already"),
        (["other"], Conflict, "uses other already"),
        (["taken"], Conflict, "uses taken already"),
        (["Not Good"], Invalid, "cannot be an alias"),
        ([f"a{number}" for number in range(17)], Invalid, "At most 16"),
    ],
)
def test_a_bad_alias_is_refused(
    ada: Any, deployment: Any, make_deployment: Any, aliases: list[str], kind: type[Exception], words: str
) -> None:
    other = make_deployment("other")
    services.edit(ada, other, DeploymentPatch(aliases=("taken",)))
    with pytest.raises(kind, match=words):
        services.edit(ada, deployment, DeploymentPatch(aliases=tuple(aliases)))
    assert deployment.alias_set.count() == 0


def test_a_new_deployment_cannot_take_an_alias_as_its_name(ada: Any, team: Any, deployment: Any, artifact: Any) -> None:
    services.edit(ada, deployment, DeploymentPatch(aliases=("gpt-4o",)))
    with pytest.raises(Conflict, match="gpt-4o is an alias of smollm2"):
        services.create(ada, team, services.DeploymentSpec("gpt-4o", artifact=artifact))


def test_two_teams_may_use_the_same_alias(ada: Any, eve: Any, deployment: Any, make_deployment: Any) -> None:
    services.edit(ada, deployment, DeploymentPatch(aliases=("gpt-4o",)))
    theirs = make_deployment("theirs", team=eve.teams.get())
    services.edit(eve, theirs, DeploymentPatch(aliases=("gpt-4o",)))
    assert names.MAX_ALIASES == 16 and theirs.aliases == ["gpt-4o"]


def test_a_granted_team_may_infer_and_look_but_sees_no_settings_reasons_or_logs(
    client: Any, ada: Any, eve: Any, deployment: Any, advance: Any
) -> None:
    Deployment.objects.update(options={"context_length": 12345}, image="private/image:1")
    advance(deployment.replicas.get(), "placing", "failed", text="Its last complaint: secret words.", advice="Act.")
    page = reverse("deployments:detail", args=[deployment.pk])
    client.force_login(eve)
    assert client.get(page).status_code == 404
    sharing.grant(ada, deployment, "strangers")
    assert entry()["granted_teams"] == [eve.teams.get().pk]
    text = client.get(page).content.decode()
    assert "shared with you" in text and "from openai import OpenAI" in text
    for secret in ("secret words", "12345", "private/image", "<h2>Events", "hx-post"):
        assert secret not in text.split("deployment-panel")[1], secret
    listed = client.get(reverse("deployments:index")).content.decode()
    assert deployment.name in listed and "secret words" not in listed
    for name in ("edit", "history", "share"):
        assert client.get(reverse(f"deployments:{name}", args=[deployment.pk])).status_code == 404
    assert client.get(reverse("deployments:log", args=[deployment.pk, 1])).status_code == 404
    client.post(reverse("deployments:stop", args=[deployment.pk]))
    assert Deployment.objects.get().desired_state == "running"
    sharing.withdraw(ada, deployment, eve.teams.get())
    assert client.get(page).status_code == 404
    assert entry()["granted_teams"] == []


def test_granting_is_for_operators_and_written_down(ada: Any, bob: Any, eve: Any, deployment: Any) -> None:
    with pytest.raises(NotAllowed):
        sharing.grant(eve, deployment, "strangers")
    for slug in ("research", "nobody"):
        with pytest.raises(Invalid):
            sharing.grant(ada, deployment, slug)
    sharing.grant(bob, deployment, "strangers")
    sharing.grant(bob, deployment, "strangers")
    assert AuditEntry.objects.filter(verb="deployment.grant").count() == 1
    with pytest.raises(NotAllowed):
        sharing.withdraw(eve, deployment, eve.teams.get())


def test_our_presets_are_valid_options_of_their_engines() -> None:
    for preset in presets.ours():
        assert services.checked_options(preset.engine, preset.options) == preset.options


def test_a_team_keeps_presets_of_its_own(ada: Any, bob: Any, eve: Any, team: Any) -> None:
    kept = presets.save(bob, team, "llamacpp", "Nightly", {"context_length": 1024})
    assert [preset.name for preset in presets.available(ada) if preset.team] == ["Nightly"]
    assert [preset.name for preset in presets.available(eve) if preset.team] == []
    with pytest.raises(Conflict, match="a preset named Nightly already"):
        presets.save(ada, team, "llamacpp", "Nightly", {})
    with pytest.raises(Invalid):
        presets.save(ada, team, "llamacpp", "Bad", {"rm": 1})
    with pytest.raises(NotAllowed):
        presets.delete(eve, kept)
    presets.delete(ada, kept)
    assert not team.option_presets.exists()


STATES = list(ReplicaState)


def test_the_database_sums_up_replicas_in_the_same_word_as_the_page(make_deployment: Any) -> None:
    """Every pair of states, wanted and retired, waiting for another try or not, under every desired state."""
    now, made = timezone.now(), 0
    for first, second in itertools.combinations_with_replacement(STATES, 2):
        for desired, wanted in ((Desired.RUNNING, 2), (Desired.RUNNING, 1), (Desired.STOPPED, 2), (Desired.RUNNING, 0)):
            made += 1
            deployment = make_deployment(f"d{made}", replicas=2, desired_state=desired)
            Deployment.objects.filter(pk=deployment.pk).update(desired_replicas=wanted)
            rows = deployment.replicas.order_by("number")
            rows.filter(number=1).update(state=first, next_due_at=now if made % 2 else None)
            rows.filter(number=2).update(state=second, retired_at=now if wanted == 1 else None)
    Deployment.objects.filter(name="d7").update(desired_state=Desired.DELETED)
    said = {row.name: row.state for row in Deployment.objects.for_list()}
    assert said == dict(searching.with_word(Deployment.objects.all()).values_list("name", "word"))
    assert set(said.values()) == set(searching.WORDS)


def test_the_list_is_filtered_and_keeps_its_filters_in_every_address(
    client: Any, ada: Any, make_deployment: Any, advance: Any
) -> None:
    for number in range(30):
        deployment = make_deployment(f"d{number:02}")
        if number % 10:
            advance(deployment.replicas.get(), "placing")
    client.force_login(ada)
    text = client.get(reverse("deployments:index"), {"state": "placing"}).content.decode()
    assert "d01" in text and "d10" not in text.split("<tbody>")[1]
    assert "state=placing&amp;page=2" in text and "state=placing&amp;sort=name" in text
    none = client.get(reverse("deployments:index"), {"state": "lost", "team": "research"}).content.decode()
    assert "No deployment matches" in none


def test_many_are_asked_at_once_and_strangers_ones_are_left_alone(
    client: Any, ada: Any, eve: Any, make_deployment: Any
) -> None:
    mine = [make_deployment("one"), make_deployment("two")]
    theirs = make_deployment("theirs", team=eve.teams.get())
    client.force_login(ada)
    everything = [row.pk for row in (*mine, theirs)]
    client.post(reverse("deployments:bulk"), {"verb": "stop", "pk": everything})
    assert dict(Deployment.objects.values_list("name", "desired_state")) == {
        "one": "stopped", "two": "stopped", "theirs": "running",
    }  # fmt: skip
    asked = client.post(reverse("deployments:bulk"), {"verb": "delete", "pk": everything}).content.decode()
    assert "Delete 2 deployments?" in asked and "theirs" not in asked
    client.post(reverse("deployments:bulk"), {"verb": "delete", "sure": "yes", "pk": everything})
    assert set(Deployment.objects.filter(desired_state="deleted").values_list("name", flat=True)) == {"one", "two"}
    reply = client.post(reverse("deployments:bulk"), {"verb": "explode", "pk": ["x", "9" * 30]}, follow=True)
    assert "Select at least one deployment" in reply.content.decode()


def test_replicas_that_were_replaced_and_ended_are_on_no_page_but_in_the_history(
    client: Any, ada: Any, deployment: Any
) -> None:
    Replica.objects.create(deployment=deployment, number=9, state="stopped", retired_at=timezone.now())
    client.force_login(ada)
    assert "#9" not in client.get(reverse("deployments:detail", args=[deployment.pk])).content.decode()
    assert "#9 (removed)" in client.get(reverse("deployments:history", args=[deployment.pk])).content.decode()
