"""Home, playground, help, errors, and what holds for every page."""

import json
import re
import time

import pytest
from django.test import Client
from django.urls import get_resolver, reverse


def test_home_names_what_needs_a_person_first(client, ada, deployment, advance):
    advance(deployment.replicas.get(), "placing", "failed", text="Out of GPU memory.", advice="Lower the context.")
    client.force_login(ada)
    text = client.get("/").content.decode()
    assert "Out of GPU memory." in text
    assert "Lower the context." in text
    assert text.index("Needs attention") < text.index("Out of GPU memory.") < text.index("Running jobs")


def test_home_says_why_a_replica_waits(client, ada, deployment):
    deployment.replicas.update(reason_code="no_room", reason="No suitable host.", advice="Add a host.")
    client.force_login(ada)
    for url in ("/", "/deployments/"):
        assert "No suitable host." in client.get(url).content.decode()


def test_home_is_calm_when_nothing_is_wrong(client, ada, host, deployment):
    client.force_login(ada)
    assert "All clear." in client.get("/").content.decode()


def test_home_of_a_stranger_tells_nothing_of_the_team(client, eve, deployment, advance):
    advance(deployment.replicas.get(), "placing", "failed", text="Secret reason")
    client.force_login(eve)
    text = client.get("/").content.decode()
    assert "smollm2" not in text
    assert "Secret reason" not in text


def test_a_nearly_full_disk_is_a_concern(client, ada, host):
    host.disk_free_bytes = 1
    host.save()
    client.force_login(ada)
    assert "nearly full" in client.get("/").content.decode()


def test_home_costs_the_same_queries_for_one_and_for_forty(client, ada, make_deployment, count_queries):
    client.force_login(ada)
    make_deployment("d")
    few = count_queries(client, "/")
    for number in range(40):
        make_deployment(f"d{number}")
    assert count_queries(client, "/") == few


def token_for(client, deployment_id):
    return client.post(reverse("dashboard:playground_token"), {"deployment": deployment_id})


def choices(page):
    """The options of the first picker: {text: (is chosen, is disabled)}; and who is chosen in the second."""
    found = re.findall(r'<select[^>]*id="deployment-([ab])".*?</select>', page, re.DOTALL)
    assert found == ["a", "b"]
    pickers = {}
    for side, text in re.findall(r'<select[^>]*id="deployment-([ab])"(.*?)</select>', page, re.DOTALL):
        options = re.findall(r"<option([^>]*)>([^<]*)</option>", text)
        pickers[side] = {name: (" selected" in marks, " disabled" in marks) for marks, name in options}
    return pickers["a"], next((name for name, (chosen, _off) in pickers["b"].items() if chosen), None)


@pytest.fixture
def four(make_deployment, artifact):
    """By name: one that loads, one for vectors by its options, one by its model, and two to chat with."""
    from webapp.catalog.models import Artifact

    encoder = Artifact.objects.get(pk=artifact.pk)
    encoder.pk, encoder.quantisation, encoder.facts = None, "F16", {"architecture": "bert", "generates": False}
    encoder.save()
    rows = {
        "a-loading": make_deployment("a-loading"),
        "b-vectors": make_deployment("b-vectors", options={"embeddings": True}),
        "c-encoder": make_deployment("c-encoder"),
        "d-chat": make_deployment("d-chat"),
        "e-chat": make_deployment("e-chat"),
    }
    rows["c-encoder"].artifact = encoder
    rows["c-encoder"].save()
    for name, row in rows.items():
        row.replicas.update(state="loading" if name == "a-loading" else "ready")
    return rows


def test_the_playground_begins_with_what_people_can_chat_with_and_says_why_not_of_the_others(client, ada, four):
    client.force_login(ada)
    assert choices(client.get("/playground/").content.decode()) == (
        {
            "a-loading (loading)": (False, True),
            "b-vectors (serves embeddings)": (False, True),
            "c-encoder (serves embeddings)": (False, True),
            "d-chat (ready)": (True, False),
            "e-chat (ready)": (False, False),
        },
        "e-chat (ready)",
    )


def test_the_playground_keeps_what_a_link_asks_for_and_says_when_there_is_nothing(client, ada, four):
    client.force_login(ada)
    first, second = choices(client.get(f"/playground/?deployment={four['a-loading'].pk}").content.decode())
    assert first["a-loading (loading)"] == (True, True) and second == "d-chat (ready)"
    for name in ("d-chat", "e-chat"):
        four[name].replicas.update(state="failed")
    first, second = choices(client.get("/playground/").content.decode())
    assert first["none is ready to chat"] == (True, False) and second == "none is ready to chat"


@pytest.mark.parametrize("person", ["ada", "bob"])
def test_the_team_gets_a_token_for_its_deployment_alone(client, request, deployment, make_deployment, person):
    from webapp.foundation import secret_store
    from webapp.gateway.routing import playground_tokens

    make_deployment("other")
    client.force_login(request.getfixturevalue(person))
    before = time.time()
    reply = token_for(client, deployment.pk)
    after = time.time()
    claims = playground_tokens.verify(reply.json()["token"].encode(), secret_store.derive("playground"), after)
    assert (claims.team, claims.deployments) == (deployment.team_id, [deployment.pk])
    assert reply.json()["expires_in_s"] == 300
    assert before + 299 <= claims.exp <= after + 300
    assert "no-store" in reply.headers["Cache-Control"]


def test_a_granted_teams_talk_is_its_own_and_goes_by_the_deployments_path(client, ada, eve, root, deployment):
    from webapp.accounts.models import Membership
    from webapp.deployments import sharing
    from webapp.foundation import secret_store
    from webapp.gateway.routing import playground_tokens

    def team_that_asks(person):
        client.force_login(person)
        said = token_for(client, deployment.pk).json()
        assert said["url"] == "/d/research/smollm2/v1/chat/completions"
        return playground_tokens.verify(said["token"].encode(), secret_store.derive("playground"), time.time()).team

    strangers = eve.teams.get()
    sharing.grant(ada, deployment, strangers.slug)
    assert team_that_asks(eve) == strangers.pk
    Membership.objects.create(user=ada, team=strangers, role="viewer")
    assert team_that_asks(ada) == deployment.team_id, "who is on the owning team asks for that"
    assert team_that_asks(root) == deployment.team_id, "the installation's admin is in no team"


def test_a_stranger_gets_no_token(client, eve, deployment):
    client.force_login(eve)
    assert token_for(client, deployment.pk).status_code == 404


@pytest.mark.parametrize("wanted", ["", "x", "1 or 1", "²", "-1", "9" * 19, "9" * 5000])
def test_a_token_for_nonsense_is_a_404(client, ada, deployment, wanted):
    client.force_login(ada)
    assert token_for(client, wanted).status_code == 404


def test_a_token_needs_the_csrf_token(ada, deployment):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    assert token_for(client, deployment.pk).status_code == 403


def test_an_error_page_gives_the_fronts_request_id(client, ada):
    client.force_login(ada)
    reply = client.get("/nothing-here/", headers={"X-Request-Id": "req-42"})
    assert reply.status_code == 404
    assert "req-42" in reply.content.decode()
    assert reply.headers["X-Request-Id"] == "req-42"


def test_a_broken_page_says_so_with_an_id_that_stands_in_the_log(client, ada, monkeypatch, caplog):
    monkeypatch.setattr("webapp.interfaces.pages.dashboard.views.home_panel", lambda *args: 1 / 0)
    client.raise_request_exception = False
    client.force_login(ada)
    reply = client.get("/")
    assert reply.status_code == 500
    request_id = re.search(r"<code>(\w+)</code>", reply.content.decode())[1]
    assert request_id in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "ZeroDivisionError" not in reply.content.decode()


def pages():
    """Every page that needs no argument."""
    names = [
        f"{room}:{name}"
        for room, (_, patterns) in get_resolver().namespace_dict.items()
        if room != "api"
        for name in patterns.reverse_dict
        if isinstance(name, str)
    ]
    found = []
    for name in sorted(names):
        try:
            found.append(reverse(name))
        except Exception:  # needs an argument: its room's tests look at it
            continue
    return found


def test_the_list_of_pages_is_not_empty():
    assert len(pages()) > 10


@pytest.mark.parametrize("url", pages())
def test_every_page_wants_a_sign_in_and_has_a_strict_policy(client, root, deployment, url):
    assert client.get(url).status_code in (302, 405)
    client.force_login(root)  # who sees every page
    reply = client.get(url)
    if reply.status_code == 405:
        return
    assert reply.status_code == 200
    policy = reply.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    text = reply.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|hx-on|js:|javascript:", text)


def test_no_template_or_script_asks_anybody_else():
    from django.conf import settings

    for path in [*settings.BASE_DIR.glob("templates/**/*.html"), *settings.BASE_DIR.glob("static/*.*")]:
        text = path.read_text()
        found = re.findall(r"(?:src|href|url\(|fetch\()[=\"'(]*(https?://[^\"')\s]+)", text)
        assert not found, path


def test_what_htmx_is_told_is_json(client, ada):
    client.force_login(ada)
    text = client.get("/").content.decode()
    config = re.search(r"name=\"htmx-config\" content='([^']+)'", text)[1]
    assert json.loads(config)["ws"]["reconnectMaxDelay"] == 2000


def test_the_curl_line_of_a_page_asks_something_that_is_there(client, ada, deployment, host):
    client.force_login(ada)
    urls = [
        "/deployments/",
        f"/deployments/{deployment.pk}/",
        "/jobs/",
        "/hosts/",
        f"/hosts/{host.pk}/",
        "/models/",
        "/keys/",
    ]
    for url in urls:
        path = re.search(r"http://127.0.0.1:8000(/api/v1/[\w/]+)", client.get(url).content.decode())[1]
        assert client.get(path).status_code == 200
