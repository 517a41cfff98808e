"""Placement labels: a replica only goes to hosts that carry all of them, by page, API and worker alike."""

import html
import json
from typing import Any

import pytest
from django.urls import reverse

from tests.deployments.test_fit import ask_the_worker, dry_run, make_files, make_host, read
from webapp.control import lease
from webapp.deployments import lifecycle, services, sharing
from webapp.deployments.models import Deployment
from webapp.deployments.spec import DeploymentPatch, DeploymentSpec
from webapp.foundation.errors import Conflict, Invalid
from webapp.inventory.managing import HostChange, change_host

LABELS = ["gpu=a100", "rack-3"]


@pytest.fixture
def hosts(db: None, root: Any) -> Any:
    """`both` carries both labels, `one` one of them, `plain` none."""
    found = {name: make_host(name) for name in ("both", "one", "plain")}
    change_host(root, found["both"], HostChange(labels=[*LABELS, "eu"]))
    change_host(root, found["one"], HostChange(labels=LABELS[:1]))
    return found


@pytest.fixture
def files(hosts: Any) -> Any:
    return make_files(1, *hosts.values())


def send(client: Any, user: Any, team: Any, method: str, path: str, body: Any = None) -> Any:
    from webapp.accounts import keys

    _key, secret = keys.create_key(user, team, "program")
    sent = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    return getattr(client, method)(f"/api/v1{path}", **sent, headers={"X-API-Key": secret})


def test_only_the_host_with_all_labels_takes_it(client: Any, ada: Any, team: Any, files: Any) -> None:
    said = dry_run(client, files, {"placement_labels": LABELS}, team)
    assert [(place["host"], place["when"], place["why"]) for place in said] == [
        ("both", "now", ""),
        ("one", "never", "The host lacks the label rack-3."),
        ("plain", "never", "The host lacks the label gpu=a100, rack-3."),
    ]
    answers = [(one["host"], one["when"], one["where"], one["why"]) for one in said]
    ask_the_worker(ada, team, files, {"placement_labels": tuple(LABELS)}, answers)


def test_a_label_that_no_host_carries_is_told_with_how_to_set_it(
    client: Any, ada: Any, root: Any, team: Any, files: Any, hosts: Any
) -> None:
    from workers.controllers.replica import placing

    body = {"name": "chat", "artifact": files.pk, "placement_labels": ["gpu=h200"]}
    fit = send(client, ada, team, "post", "/deployments?dry_run=true", body).json()["fit"]
    assert fit["advice"].startswith("No host carries the label gpu=h200.")
    assert "`modelyard hosts update HOST --labels gpu=h200`" in fit["advice"]
    assert {place["why"] for place in fit["places"]} == {"The host lacks the label gpu=h200."}
    client.force_login(ada)
    typed = {"artifact": files.pk, "team": team.pk, "engine": "llamacpp", "options_of": "llamacpp"}
    page = client.post("/deployments/new/fit/", typed | {"placement_labels": "gpu=h200"}).content.decode()
    assert fit["advice"] in html.unescape(page)
    made = services.create(ada, team, DeploymentSpec("chat", artifact=files, placement_labels=("gpu=h200",)))
    replica = made.replicas.get()
    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    placing.place(claimed)
    replica.refresh_from_db()
    assert replica.host is None and replica.advice == fit["advice"]
    change_host(root, hosts["plain"], HostChange(labels=["gpu=h200"]))
    placing.place(claimed)
    replica.refresh_from_db()
    assert replica.host == hosts["plain"]


def test_the_page_makes_and_changes_them(client: Any, ada: Any, team: Any, files: Any) -> None:
    client.force_login(ada)
    typed = {"name": "chat", "artifact": files.pk, "team": team.pk, "engine": "llamacpp", "options_of": "llamacpp"}
    typed |= {"replicas": 1, "placement_labels": "gpu=a100, rack-3 gpu=a100"}
    assert client.post("/deployments/new/", typed).status_code == 302
    made = Deployment.objects.get()
    assert made.placement_labels == made.revision.placement_labels == LABELS
    edit = reverse("deployments:edit", args=[made.pk])
    assert 'value="gpu=a100 rack-3"' in client.get(edit).content.decode()
    assert 'value="gpu=a100 rack-3"' in client.get(f"/deployments/new/?from={made.pk}").content.decode()
    changed = typed | {"placement_labels": "eu", "base": 1}
    text = client.post(reverse("deployments:change", args=[made.pk]), changed).content.decode()
    assert "Placement labels" in text and "<ins>eu</ins>" in text and "gpu=a100, rack-3" in text
    assert client.post(edit, changed).status_code == 302
    made.refresh_from_db()
    assert (made.placement_labels, made.revision.number) == (["eu"], 2)
    history = html.unescape(client.get(reverse("deployments:history", args=[made.pk])).content.decode())
    assert "Placement labels: gpu=a100, rack-3 → eu" in history
    wrong = client.post(edit, changed | {"placement_labels": "GPU", "base": 2})
    assert wrong.status_code == 422 and "is no label" in html.unescape(wrong.content.decode())


def test_the_form_says_which_hosts_carry_them(client: Any, ada: Any, team: Any, files: Any) -> None:
    import re

    client.force_login(ada)
    typed = {"artifact": files.pk, "team": team.pk, "engine": "llamacpp", "options_of": "llamacpp"}
    typed |= {"placement_labels": "rack-3"}
    text = html.unescape(client.post("/deployments/new/fit/", typed).content.decode())
    said = read(re.findall(r'<div class="place">(.*?)\n</div>', text, re.DOTALL))
    assert [(host, when) for host, when, _where, _why in said] == [
        ("both", "now"),
        ("one", "never"),
        ("plain", "never"),
    ]


def test_the_api_tells_changes_and_hides_them(client: Any, ada: Any, bob: Any, eve: Any, team: Any, files: Any) -> None:
    body = {"name": "chat", "artifact": files.pk, "placement_labels": LABELS}
    made = send(client, ada, team, "post", "/deployments", body)
    assert made.status_code == 202 and made.json()["placement_labels"] == LABELS
    path = f"/deployments/{made.json()['id']}"
    kept = send(client, bob, team, "patch", path, {"options": {"context_length": 2048}})
    assert kept.json()["placement_labels"] == LABELS, "what is left out stays"
    change = {"placement_labels": []}
    planned = send(client, bob, team, "patch", f"{path}?dry_run=true", change).json()
    assert planned["changes"] == [
        {"name": "placement_labels", "label": "Placement labels", "old": "gpu=a100, rack-3", "new": "any host"}
    ]
    assert send(client, bob, team, "patch", path, change).json()["placement_labels"] == []
    revisions = send(client, ada, team, "get", f"{path}/revisions").json()["items"]
    assert [row["placement_labels"] for row in revisions] == [[], LABELS, LABELS]
    assert send(client, eve, eve.teams.get(), "patch", path, change).status_code == 404
    assert send(client, bob, team, "patch", path, {"placement_labels": LABELS}).status_code == 202
    sharing.grant(ada, Deployment.objects.get(), "strangers")
    assert send(client, eve, eve.teams.get(), "get", path).json()["placement_labels"] == []
    for wrong in (["GPU"], ["a="], [f"l{number}" for number in range(17)]):
        refused = send(client, ada, team, "patch", path, {"placement_labels": wrong})
        assert refused.status_code == 422 and "placement_labels" in refused.content.decode(), wrong


def test_the_order_of_labels_is_no_change(ada: Any, team: Any, files: Any) -> None:
    made = services.create(ada, team, DeploymentSpec("chat", artifact=files, placement_labels=("b", "a")))
    assert services.plan(made, DeploymentPatch({"placement_labels": ["a", "b", "a"]})).changes == []


def test_what_is_no_label_is_refused_by_its_field(ada: Any, team: Any, files: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        services.create(ada, team, DeploymentSpec("chat", artifact=files, placement_labels=("Rack 3",)))
    assert set(refusal.value.fields) == {"placement_labels"}


def test_going_back_brings_the_labels_back(ada: Any, team: Any, files: Any) -> None:
    made = services.create(ada, team, DeploymentSpec("chat", artifact=files, placement_labels=("gpu=a100",)))
    services.edit(ada, made, DeploymentPatch({"placement_labels": ()}))
    services.roll_back(ada, made, 1)
    made.refresh_from_db()
    assert made.placement_labels == ["gpu=a100"]


def test_a_restart_that_no_host_would_take_is_refused(ada: Any, root: Any, team: Any, files: Any, hosts: Any) -> None:
    made = services.create(ada, team, DeploymentSpec("chat", artifact=files, placement_labels=("rack-3",)))
    ask_to_place(made)
    change_host(root, hosts["both"], HostChange(labels=["eu"]))
    with pytest.raises(Conflict, match=r"^It doesn't fit on any host\. .*both: The host lacks the label rack-3\."):
        services.restart(ada, made, allow_downtime=True)
    assert made.replicas.get().retired_at is None
    change_host(root, hosts["both"], HostChange(labels=["rack-3"]))
    services.restart(ada, made)
    assert made.replicas.count() == 2
    assert {tuple(one.contents.placement_labels) for one in made.replicas.all()} == {("rack-3",)}


def test_a_change_to_a_label_that_no_host_carries_is_refused_with_how_to_set_it(
    ada: Any, root: Any, team: Any, files: Any, hosts: Any
) -> None:
    made = services.create(ada, team, DeploymentSpec("chat", artifact=files))
    ask_to_place(made)
    change_host(root, make_host("theirs"), HostChange(labels=["gpu=h200"], is_shared=False, teams=[]))
    with pytest.raises(Conflict, match="An administrator sets labels on the host's page"):
        services.edit(ada, made, DeploymentPatch({"placement_labels": ("gpu=h200",)}, allow_downtime=True))


def ask_to_place(deployment: Deployment) -> None:
    from workers.controllers.replica import placing

    for replica in deployment.replicas.all():
        claimed = lifecycle.REPLICA.claim(replica.pk)
        assert claimed is not None
        placing.place(claimed)
        lease.release(claimed, None)
