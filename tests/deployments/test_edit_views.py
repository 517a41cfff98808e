"""Pages that change a deployment: who may, what they say before anything is changed, and that it happens."""

from typing import Any

import pytest
from django.urls import reverse

from webapp.deployments import presets, services
from webapp.deployments.models import Deployment
from webapp.deployments.spec import DeploymentPatch

FACTS = {
    "architecture": "llama", "layers": 2, "heads": 2, "kv_heads": 2, "embedding_length": 64, "weights_bytes": 1 << 20,
}  # fmt: skip


@pytest.fixture
def served(artifact: Any, ada: Any, team: Any) -> Any:
    artifact.facts = FACTS
    artifact.save()
    asked = services.DeploymentSpec(
        "chat", artifact=artifact, options={"batch_size": 512}, aliases=("gpt-4o",), replicas=2
    )
    return services.create(ada, team, asked)


def typed(deployment: Any, **changed: Any) -> dict[str, Any]:
    """What the browser sends of the edit page."""
    fields = {
        "artifact": deployment.artifact_id, "engine": "llamacpp", "image": "", "host": "", "replicas": 2,
        "aliases": "gpt-4o", "note": "", "base": 1, "options-context_length": 4096, "options-parallel_slots": 2,
        "options-batch_size": 512, "options-micro_batch_size": 512, "options-cache_type_k": "f16",
        "options-cache_type_v": "f16", "options-gpu_layers": -1, "options-flash_attention": "auto",
        "options-memory_map": "on", "options-pooling": "model", "options-prompt_cache_mib": 0,
        "options-context_checkpoints": 4,
    }  # fmt: skip
    return fields | changed


def address(name: str, deployment: Any, *more: Any) -> str:
    return reverse(f"deployments:{name}", args=[deployment.pk, *more])


@pytest.mark.parametrize("person", ["ada", "bob"])
def test_owner_and_teammate_edit_with_what_changes_shown_first(
    client: Any, request: Any, served: Any, person: str
) -> None:
    client.force_login(request.getfixturevalue(person))
    form = client.get(address("edit", served)).content.decode()
    assert 'value="512"' in form and 'value="gpt-4o"' in form
    change = {"options-context_length": 2048, "note": "shorter"}
    shown = client.post(address("change", served), typed(served, **change)).content.decode()
    assert "<del>4096</del>" in shown and "<ins>2048</ins>" in shown and "Reserved per replica" in shown
    previewed = client.post(address("edit", served), typed(served, preview="yes", **change)).content.decode()
    assert "<ins>2048</ins>" in previewed
    assert served.revisions.count() == 1, "nothing is changed by looking"
    reply = client.post(address("edit", served), typed(served, **change))
    assert reply.status_code == 302, reply.content.decode()
    newest = served.revisions.first()
    assert (newest.number, newest.options, newest.actor) == (2, {"context_length": 2048, "batch_size": 512}, person)


def test_a_stranger_gets_404_at_every_door(client: Any, eve: Any, served: Any) -> None:
    client.force_login(eve)
    for name, more in (("edit", ()), ("history", ()), ("share", ())):
        assert client.get(address(name, served, *more)).status_code == 404, name
    posts = [("edit", ()), ("change", ()), ("scale", ()), ("restart", ()), ("roll_back", (1,)), ("keep_preset", ()),
             ("share", ()), ("withdraw", (served.team_id,))]  # fmt: skip
    for name, more in posts:
        assert client.post(address(name, served, *more), {"replicas": 5}).status_code == 404, name
    served.refresh_from_db()
    assert served.desired_replicas == 2 and served.rollouts.count() == 1


def test_what_was_typed_wrong_keeps_its_value_and_says_why(client: Any, ada: Any, served: Any) -> None:
    client.force_login(ada)
    wrong = {"options-context_length": 7, "aliases": "Not!Good", "replicas": 1000}
    reply = client.post(address("edit", served), typed(served, **wrong))
    text = reply.content.decode()
    assert reply.status_code == 422
    assert 'value="7"' in text and 'value="1000"' in text and "A number from 256 to 1,048,576." in text
    reply = client.post(address("edit", served), typed(served, aliases="Not!Good"))
    assert reply.status_code == 422 and "cannot be an alias" in reply.content.decode()
    assert served.revisions.count() == 1


def test_the_panel_of_changes_names_what_to_mend(client: Any, ada: Any, served: Any) -> None:
    client.force_login(ada)
    shown = client.post(address("change", served), typed(served, **{"options-context_length": 999_999_999}))
    assert "Context length: " in shown.content.decode() and "A number from 256 to 1,048,576." in shown.content.decode()


def test_who_looked_at_an_older_revision_is_told(client: Any, ada: Any, bob: Any, served: Any) -> None:
    services.edit(bob, served, DeploymentPatch({"options": {"context_length": 1024}}))
    client.force_login(ada)
    reply = client.post(address("edit", served), typed(served, **{"options-context_length": 2048}))
    assert reply.status_code == 422 and "is at revision 2, you started from 1" in reply.content.decode()


def test_a_gap_is_announced_and_confirmed(client: Any, ada: Any, served: Any, host: Any) -> None:
    from workers.controllers.replica import placing

    services.scale(ada, served, 1)
    replica = served.replicas.get(number=1)
    placing.place(replica)
    size = host.reservations.filter(accelerator=None).get().size_bytes
    type(host).objects.update(usable_bytes=int(size * 1.5))
    client.force_login(ada)
    change = {"options-context_length": 2048, "replicas": 1}
    shown = client.post(address("change", served), typed(served, **change)).content.decode()
    assert (
        "Not enough memory to run the old and the new replica side by side" in shown
        and 'name="allow_downtime"' in shown
    )
    refused = client.post(address("edit", served), typed(served, **change))
    assert refused.status_code == 422 and "Allow downtime" in refused.content.decode()
    assert client.post(address("edit", served), typed(served, allow_downtime="on", **change)).status_code == 302
    assert served.rollouts.first().allow_downtime


def test_scaling_restarting_and_going_back_are_one_click_each(client: Any, ada: Any, served: Any) -> None:
    client.force_login(ada)
    client.post(address("scale", served), {"replicas": 3})
    assert Deployment.objects.get().desired_replicas == 3
    for nonsense in ("1000", "-1", "x", ""):
        reply = client.post(address("scale", served), {"replicas": nonsense}, follow=True)
        assert "Between 0 and 64 replicas" in reply.content.decode()
    client.post(address("restart", served))
    assert served.rollouts.first().kind == "restart"
    services.edit(ada, served, DeploymentPatch({"options": {}}))
    client.post(address("roll_back", served, 1))
    assert served.revisions.first().note == "roll back to revision 1"
    reply = client.post(address("roll_back", served, 77), follow=True)
    assert "has no revision 77" in reply.content.decode()


def test_the_page_says_what_a_rollout_waits_for_and_why_one_was_given_up(client: Any, ada: Any, served: Any) -> None:
    from django.utils import timezone

    served.rollouts.update(state="done", ended_at=timezone.now())
    served.replicas.update(state="ready", ready_at=timezone.now())
    services.edit(ada, served, DeploymentPatch({"options": {"context_length": 2048}}))
    client.force_login(ada)
    assert "waiting for #3 (pending)" in client.get(address("detail", served)).content.decode()
    served.replicas.filter(number=3).update(state="failed", next_due_at=None, reason="No such image.")
    from webapp.deployments import rolling

    rolling.advance(served.pk)
    text = client.get(address("detail", served)).content.decode()
    assert "Revision 2 was rolled back" in text and "Replica #3: No such image." in text
    history = client.get(address("history", served), {"revision": 2}).content.decode()
    assert "Roll back to revision 2" in history and "Context length: 4096" in history


def test_a_clone_and_a_preset_fill_in_the_form(client: Any, ada: Any, eve: Any, served: Any, team: Any) -> None:
    client.force_login(ada)
    cloned = client.get(reverse("deployments:new"), {"from": served.pk}).content.decode()
    assert 'value="chat-copy"' in cloned and 'value="512"' in cloned
    client.post(address("keep_preset", served), {"name": "Nightly"})
    [kept] = [preset for preset in presets.available(ada) if preset.team]
    filled = client.post(
        reverse("deployments:new"), {"use_preset": "yes", "preset": kept.key, "name": "typed", "replicas": 4}
    ).content.decode()
    assert 'value="typed"' in filled and 'value="512"' in filled and 'value="4"' in filled
    assert Deployment.objects.count() == 1
    client.force_login(eve)
    stranger = client.get(reverse("deployments:new"), {"from": served.pk, "preset": kept.key}).content.decode()
    assert "chat-copy" not in stranger and "Nightly" not in stranger
    forget = reverse("deployments:forget_preset", args=[int(kept.key.partition(":")[2])])
    assert client.post(forget).status_code == 404
    client.force_login(ada)
    assert forget in client.get(reverse("deployments:new")).content.decode()
    client.post(forget)
    assert not team.option_presets.exists()


def test_starts_are_shown_with_the_time_of_each_phase(client: Any, ada: Any, served: Any, advance: Any) -> None:
    advance(served.replicas.get(number=1), "placing", "starting", "loading", "ready")
    client.force_login(ada)
    text = client.get(address("history", served), {"replica": 1}).content.decode()
    for phase in ("placing", "starting", "loading"):
        assert f'<span class="text-secondary">{phase}</span>' in text
