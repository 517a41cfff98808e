"""How long answers may be: by page, API and command line's calls alike, at once and without a new replica."""

import html
from typing import Any

import pytest
from django.urls import reverse

from tests.deployments.test_fit import make_files, make_host
from tests.deployments.test_placement_labels import send
from webapp.accounts.models import AuditEntry
from webapp.deployments import routes, services
from webapp.deployments.models import Deployment
from webapp.deployments.spec import DeploymentPatch, DeploymentSpec
from webapp.foundation.errors import Invalid
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import ROUTES


@pytest.fixture
def files(db: None) -> Any:
    return make_files(1, make_host("only"))


@pytest.fixture
def made(ada: Any, team: Any, files: Any) -> Deployment:
    return services.create(ada, team, DeploymentSpec("chat", artifact=files, max_tokens_limit=500))


def known_to_gateways() -> tuple[int | None, int | None]:
    [found] = routes.build(0)["deployments"]
    return found["max_tokens_default"], found["max_tokens_limit"]


def test_gateways_are_told_at_once_and_no_replica_is_replaced(ada: Any, made: Deployment) -> None:
    assert known_to_gateways() == (None, 500)
    before, replicas = events.version(ROUTES), list(made.replicas.values_list("pk", flat=True))
    planned = services.edit(ada, made, DeploymentPatch(max_tokens_default=100, max_tokens_limit=0))
    assert (planned.rolls, planned.changes) == (False, [])
    assert known_to_gateways() == (100, None)
    assert events.version(ROUTES) != before
    made.refresh_from_db()
    assert (made.revision.number, list(made.replicas.values_list("pk", flat=True))) == (1, replicas)


def test_a_change_is_written_down_once_with_who_made_it(ada: Any, made: Deployment) -> None:
    services.edit(ada, made, DeploymentPatch(max_tokens_default=100))
    services.edit(ada, made, DeploymentPatch(max_tokens_default=100))
    [entry] = AuditEntry.objects.filter(verb="deployment.limits")
    assert entry.detail == {"changes": {"max_tokens_default": ["engine default", "100"]}}
    [line] = made.events.filter(text__contains="Default max tokens")
    assert (line.text, line.actor) == ("set Default max tokens: engine default → 100", "ada")


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"max_tokens_default": 501}, "max_tokens_default"),
        ({"max_tokens_limit": -1}, "max_tokens_limit"),
        ({"max_tokens_limit": 10**9}, "max_tokens_limit"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_field(
    ada: Any, team: Any, files: Any, made: Deployment, patch: dict[str, int], field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        services.edit(ada, made, DeploymentPatch(**patch))  # type: ignore[arg-type]
    assert set(refusal.value.fields) == {field}
    with pytest.raises(Invalid):
        services.create(ada, team, DeploymentSpec("other", artifact=files, **{"max_tokens_limit": 500} | patch))
    assert known_to_gateways() == (None, 500)


def test_the_api_tells_changes_and_tries_them_out(client: Any, ada: Any, eve: Any, team: Any, files: Any) -> None:
    body = {"name": "chat", "artifact": files.pk, "max_tokens_default": 100}
    made = send(client, ada, team, "post", "/deployments", body).json()
    assert (made["max_tokens_default"], made["max_tokens_limit"]) == (100, 0)
    path = f"/deployments/{made['id']}"
    planned = send(client, ada, team, "patch", f"{path}?dry_run=true", {"max_tokens_limit": 200}).json()
    assert (planned["rolls"], planned["changes"]) == (False, [])
    assert planned["limits"] == [
        {"name": "max_tokens_limit", "label": "Max tokens limit", "old": "engine default", "new": "200"}
    ]
    assert known_to_gateways() == (100, None)
    assert send(client, ada, team, "patch", path, {"max_tokens_limit": 200}).json()["max_tokens_limit"] == 200
    assert send(client, ada, team, "patch", path, {"replicas": 0}).json()["max_tokens_default"] == 100
    assert send(client, ada, team, "patch", path, {"max_tokens_limit": 50}).status_code == 422
    assert send(client, eve, eve.teams.get(), "patch", path, {"max_tokens_limit": 1}).status_code == 404


def test_the_page_makes_and_changes_them(client: Any, ada: Any, team: Any, files: Any) -> None:
    client.force_login(ada)
    typed = {"name": "chat", "artifact": files.pk, "team": team.pk, "engine": "llamacpp", "options_of": "llamacpp"}
    typed |= {"replicas": 1, "max_tokens_default": "100", "max_tokens_limit": "500"}
    assert client.post("/deployments/new/", typed).status_code == 302
    made = Deployment.objects.get()
    assert known_to_gateways() == (100, 500)
    edit = reverse("deployments:edit", args=[made.pk])
    assert 'value="500"' in client.get(edit).content.decode()
    changed = typed | {"max_tokens_limit": "", "base": 1}
    text = html.unescape(client.post(reverse("deployments:change", args=[made.pk]), changed).content.decode())
    assert "Max tokens limit: <del>500</del> → <ins>engine default</ins>" in text
    assert client.post(edit, changed).status_code == 302
    assert known_to_gateways() == (100, None)
    page = client.get(reverse("deployments:detail", args=[made.pk])).content.decode()
    assert "100 by default" in page
    wrong = client.post(edit, typed | {"max_tokens_limit": "50", "base": 1})
    assert wrong.status_code == 422 and "100 cannot be the default" in html.unescape(wrong.content.decode())
