"""Pages of deployments: who sees them, what they say, what they ask for."""

import pytest
from django.urls import reverse

from webapp.deployments import services
from webapp.deployments.models import Deployment


@pytest.fixture
def page(deployment):
    return reverse("deployments:detail", args=[deployment.pk])


def test_a_visitor_is_asked_to_sign_in(client, page):
    reply = client.get(page)
    assert reply.status_code == 302
    assert reply.url == f"/accounts/login/?next={page}"


def test_htmx_of_a_visitor_reloads_instead_of_showing_the_sign_in_page_in_a_corner(client, page):
    reply = client.get(page, headers={"HX-Request": "true"})
    assert reply.status_code == 204
    assert reply.headers["HX-Refresh"] == "true"


def test_the_owner_sees_endpoint_snippets_and_state(client, ada, page):
    client.force_login(ada)
    text = client.get(page).content.decode()
    assert "http://127.0.0.1:8000/v1" in text
    assert "from openai import OpenAI" in text
    assert "pending" in text


def test_a_teammate_sees_it(client, bob, page):
    client.force_login(bob)
    assert client.get(page).status_code == 200


@pytest.mark.parametrize("name", ["detail", "start", "stop", "delete"])
def test_a_stranger_gets_404(client, eve, deployment, name):
    client.force_login(eve)
    url = reverse(f"deployments:{name}", args=[deployment.pk])
    reply = client.post(url, {"name": deployment.name}) if name != "detail" else client.get(url)
    assert reply.status_code == 404
    assert b"Request ID" in reply.content
    deployment.refresh_from_db()
    assert deployment.desired_state == "running"


def test_a_strangers_list_does_not_name_it(client, eve, deployment):
    client.force_login(eve)
    text = client.get(reverse("deployments:index")).content.decode()
    assert "No deployments yet" in text


@pytest.mark.parametrize("number", ["²", "-1", "9" * 19, "9" * 5000])
def test_a_number_that_no_row_has_is_answered(client, ada, page, deployment, number):
    client.force_login(ada)
    assert client.get(page, {"replica": number}).status_code == 200
    assert client.get(reverse("deployments:history", args=[deployment.pk]), {"replica": number}).status_code == 200
    assert client.get("/deployments/new/", {"from": number}).status_code == 200
    assert client.get("/playground/", {"deployment": number}).status_code == 200


def test_a_nul_is_no_error_of_the_database(client, ada, page, deployment):
    client.force_login(ada)
    for name in ("q", "state", "host", "team", "engine"):
        assert client.get("/deployments/", {name: "a\0b"}).status_code == 200
    assert client.post(f"{page}share/", {"team": "a\0b"}).status_code == 422
    assert client.post(f"{page}preset/", {"name": "a\0b"}).status_code == 302
    assert client.get("/usage/requests/", {"q": "a\0b"}).status_code == 200


def test_hosts_of_other_teams_are_neither_offered_nor_found_out(client, ada, eve, host, deployment, advance):
    from webapp.deployments import sharing

    advance(deployment.replicas.get(), "placing", host=host)
    sharing.grant(ada, deployment, "strangers")
    host.is_shared = False
    host.save()
    client.force_login(eve)
    text = client.get("/deployments/").content.decode()
    assert ">smollm2<" in text and "local" not in text
    assert ">smollm2<" not in client.get("/deployments/?host=local").content.decode()
    assert client.get("/api/v1/deployments?host=local").json()["count"] == 0
    client.force_login(ada)
    assert ">smollm2<" in client.get("/deployments/?host=local").content.decode()


def test_the_owner_stops_and_starts_it(client, ada, deployment):
    client.force_login(ada)
    reply = client.post(reverse("deployments:stop", args=[deployment.pk]))
    assert reply.status_code == 302
    deployment.refresh_from_db()
    assert deployment.desired_state == "stopped"
    client.post(reverse("deployments:start", args=[deployment.pk]))
    deployment.refresh_from_db()
    assert deployment.desired_state == "running"


def test_a_teammate_stops_it_by_htmx_and_gets_the_same_panel(client, bob, deployment):
    client.force_login(bob)
    reply = client.post(reverse("deployments:stop", args=[deployment.pk]), headers={"HX-Request": "true"})
    text = reply.content.decode()
    assert reply.status_code == 200
    assert text.startswith('<div id="deployment-panel">')
    assert 'id="messages" hx-swap-oob' in text
    assert "<html" not in text


def test_a_viewer_is_told_which_role_is_missing(client, deployment, team, django_user_model):
    from webapp.accounts.models import Membership

    viewer = django_user_model.objects.create_user(username="vera", password="vera-looks-only")
    Membership.objects.create(user=viewer, team=team, role="viewer")
    client.force_login(viewer)
    reply = client.post(reverse("deployments:stop", args=[deployment.pk]), follow=True)
    assert "needs the role operator" in reply.content.decode()
    deployment.refresh_from_db()
    assert deployment.desired_state == "running"


def test_a_verb_is_never_a_get(client, ada, deployment):
    client.force_login(ada)
    assert client.get(reverse("deployments:stop", args=[deployment.pk])).status_code == 405


def test_a_form_without_its_token_is_refused(deployment, ada):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    reply = client.post(reverse("deployments:stop", args=[deployment.pk]))
    assert reply.status_code == 403
    assert "session expired" in reply.content.decode()
    deployment.refresh_from_db()
    assert deployment.desired_state == "running"


def test_deleting_wants_the_name(client, ada, deployment):
    client.force_login(ada)
    url = reverse("deployments:delete", args=[deployment.pk])
    assert client.post(url, {"name": "another"}).status_code == 422
    deployment.refresh_from_db()
    assert deployment.desired_state == "running"
    assert client.post(url, {"name": deployment.name}).status_code == 302
    deployment.refresh_from_db()
    assert deployment.desired_state == "deleted"


def test_the_page_says_why_a_replica_failed_and_what_to_do(client, ada, deployment, advance):
    advance(
        deployment.replicas.get(),
        "placing",
        "failed",
        text="Not enough memory.",
        code="x",
        advice="Choose a smaller one.",
    )
    client.force_login(ada)
    text = client.get(reverse("deployments:detail", args=[deployment.pk])).content.decode()
    assert "Not enough memory." in text
    assert "Choose a smaller one." in text


def test_estimated_and_reported_memory_stand_side_by_side(client, ada, deployment):
    replica = deployment.replicas.get()
    replica.estimate = [{"name": "weights", "label": "Weights (Q8_0)", "bytes": 3 * 1024**3, "basis": "exact"}]
    replica.observed = {"CPU weights": 2 * 1024**3, "CUDA0 weights": 1024**3}
    replica.save()
    client.force_login(ada)
    text = client.get(reverse("deployments:detail", args=[deployment.pk])).content.decode()
    assert text.count("3.0 GiB") == 2


def test_the_form_creates_a_deployment_with_only_the_options_that_differ(client, ada, artifact, team):
    client.force_login(ada)
    typed = {"name": "chat", "artifact": artifact.pk, "team": team.pk, "engine": "llamacpp", "replicas": 2, "host": ""}
    typed |= defaults() | {"options-context_length": "2048"}
    reply = client.post(reverse("deployments:new"), typed)
    made = Deployment.objects.get(name="chat")
    assert reply.url == reverse("deployments:detail", args=[made.pk])
    assert made.options == {"context_length": 2048}
    assert made.replicas.count() == 2


def defaults():
    """What a browser sends when nobody touches the options."""
    from webapp import engines
    from webapp.deployments.options import options_form

    form = options_form(engines.get("llamacpp").Options)(prefix="options")
    values = {field.html_name: field.initial for field in form}
    return {name: "on" if value is True else value for name, value in values.items() if value not in (None, False)}


def test_an_option_out_of_range_is_refused_beside_its_field_and_nothing_typed_is_lost(client, ada, artifact, team):
    client.force_login(ada)
    typed = {"name": "chat", "artifact": artifact.pk, "team": team.pk, "engine": "llamacpp", "replicas": 1}
    typed |= defaults() | {"options-context_length": "3"}
    reply = client.post(reverse("deployments:new"), typed)
    text = reply.content.decode()
    assert reply.status_code == 422
    assert "A number from 256 to 1,048,576." in text
    assert 'value="chat"' in text
    assert not Deployment.objects.exists()


def test_a_name_that_is_taken_is_said_beside_the_name(client, ada, deployment, artifact, team):
    client.force_login(ada)
    typed = {"name": deployment.name, "artifact": artifact.pk, "team": team.pk, "engine": "llamacpp", "replicas": 1}
    reply = client.post(reverse("deployments:new"), typed | defaults())
    assert reply.status_code == 422
    assert "has a deployment named smollm2 already" in reply.content.decode()


def test_nobody_deploys_for_a_team_that_is_not_theirs(client, eve, artifact, team):
    client.force_login(eve)
    typed = {"name": "chat", "artifact": artifact.pk, "team": team.pk, "engine": "llamacpp", "replicas": 1}
    assert client.post(reverse("deployments:new"), typed | defaults()).status_code == 422
    assert not Deployment.objects.exists()


def test_the_fit_panel_names_the_terms_and_the_hosts(client, ada, artifact, host, team):
    artifact.facts = {
        "architecture": "llama", "layers": 30, "heads": 9, "kv_heads": 3, "embedding_length": 576, "vocabulary": 49152,
        "feed_forward_length": 1536, "weights_bytes": 143_000_000, "mapped_bytes": 143_000_000,
        "kv_groups": [{"layers": 30, "key_elements": 192, "value_elements": 192}],
    }  # fmt: skip
    artifact.save()
    client.force_login(ada)
    typed = {"artifact": artifact.pk, "team": team.pk, "engine": "llamacpp", "host": ""} | defaults()
    text = client.post(reverse("deployments:fit"), typed).content.decode()
    assert "Weights" in text
    assert "fits" in text
    assert host.name in text
    huge = typed | {"options-context_length": "1048576", "options-parallel_slots": "64"}
    text = client.post(reverse("deployments:fit"), huge).content.decode()
    assert "It needs" in text and "are free" in text
    assert "It fits with" in text


def test_the_fit_panel_says_that_a_drained_host_takes_nothing(client, ada, artifact, host, team):
    artifact.facts = {"architecture": "llama", "layers": 1}
    artifact.save()
    host.is_drained = True
    host.save()
    client.force_login(ada)
    typed = {"artifact": artifact.pk, "team": team.pk, "engine": "llamacpp"} | defaults()
    assert "drained" in client.post(reverse("deployments:fit"), typed).content.decode()


@pytest.fixture
def many(make_deployment):
    def make(number):
        for index in range(number):
            make_deployment(f"d{index:03}", replicas=2)

    return make


def test_the_list_costs_the_same_queries_for_three_and_for_sixty(client, ada, many, count_queries):
    client.force_login(ada)
    many(3)
    url = reverse("deployments:index")
    assert count_queries(client, url) == 10
    Deployment.objects.all().delete()
    many(60)
    assert count_queries(client, url) == 10


def test_the_list_comes_in_pages_of_25_and_can_be_searched_and_sorted(client, ada, many):
    client.force_login(ada)
    many(30)
    url = reverse("deployments:index")
    assert client.get(url).content.count(b'<tr id="deployment-') == 25
    assert client.get(url, {"page": 2}).content.count(b'<tr id="deployment-') == 5
    text = client.get(url, {"sort": "-name", "q": "d02"}).content.decode()
    assert text.index("d029") < text.index("d020")
    assert "No deployment matches" in client.get(url, {"q": "nothing"}).content.decode()
    assert client.get(url, {"sort": "team__password", "page": "x"}).status_code == 200


def test_htmx_gets_the_list_alone(client, ada, deployment):
    client.force_login(ada)
    reply = client.get(reverse("deployments:index"), headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert reply.content.startswith(b'<section id="deployments">')
    assert "HX-Request" in reply.headers["Vary"]


def test_among_many_hosts_the_filter_takes_a_part_of_a_name(client, ada, deployment, host):
    from webapp.inventory.models import Host

    deployment.replicas.update(host=host)
    client.force_login(ada)
    address = reverse("deployments:index")
    assert f"<option>{host.name}</option>" in client.get(address).content.decode()
    Host.objects.bulk_create(Host(name=f"gpu-{n:04}", endpoint=f"unix:///{n}.sock") for n in range(1000))
    text = client.get(address).content.decode()
    assert "gpu-0" not in text and 'name="host"' in text
    for typed, is_there in ((host.name[:3], True), (host.name, True), ("gpu-0001", False), ("gpu", False)):
        found = client.get(address, {"host": typed}).content.decode()
        assert (f"/deployments/{deployment.pk}/" in found) is is_there, typed


def test_hosts_that_a_person_does_not_see_are_not_in_the_filter(client, eve, deployment, host):
    host.is_shared = False
    host.save()
    client.force_login(eve)
    assert host.name not in client.get(reverse("deployments:index")).content.decode()


@pytest.mark.parametrize("actor", ["", "modelyard", "Modelyard"])
def test_the_events_call_modelyard_by_its_name(client, ada, deployment, actor):
    from webapp.deployments.models import ReplicaEvent

    services.scale(None, deployment, 2)
    assert ReplicaEvent.objects.filter(deployment=deployment).first().actor == "Modelyard"
    ReplicaEvent.objects.update(actor=actor)
    client.force_login(ada)
    for page in ("detail", "history"):
        text = client.get(reverse(f"deployments:{page}", args=[deployment.pk])).content.decode()
        assert "Modelyard scaled from 1 to 2 replicas" in text, page


def test_the_audit_log_calls_modelyard_by_its_name(client, root, team):
    from webapp.accounts.auditing import audit
    from webapp.accounts.models import AuditEntry

    audit(None, team, "team.rename", "x")
    audit(None, team, "team.rename", "y", who="system")
    assert AuditEntry.objects.filter(username="Modelyard").exists()
    client.force_login(root)
    text = client.get(reverse("audit:index")).content.decode()
    assert text.count('<td data-label="Who">Modelyard') == 2
