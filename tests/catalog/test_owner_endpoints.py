"""The page and the API of whose something is: the owner's people work it, strangers find nothing."""

import pytest
from django.urls import reverse

from webapp.catalog.models import Artifact
from webapp.quantisation.models import CalibrationSet, PromptSet

pytestmark = pytest.mark.django_db
KINDS = ("artifacts", "datasets", "golden-prompts")


@pytest.fixture(params=KINDS)
def owned(request, artifact, team):
    """One of each kind: the row, its page and its address in the API."""
    if request.param == "artifacts":
        Artifact.objects.update(is_shared=False)
        row, page = Artifact.objects.get(), "catalog:owner"
    elif request.param == "datasets":
        row = CalibrationSet.objects.create(team=team, name="ours", text="x", sha256="0" * 64, size_bytes=1)
        page = "quantisation:text_owner"
    else:
        row, page = PromptSet.objects.create(team=team, name="golden", sha256="0" * 64), "quantisation:prompts_owner"
    return row, reverse(page, args=[row.pk]), f"/api/v1/{request.param}/{row.pk}"


def send(client, path, **body):
    return client.post(path, body, content_type="application/json")


def test_the_api_grants_withdraws_shares_and_moves(client, owned, ada, eve, root):
    _row, _page, api = owned
    client.force_login(ada)
    assert send(client, f"{api}/grants", team="strangers").status_code == 201
    assert [one["team"] for one in client.get(f"{api}/grants").json()["items"]] == ["strangers"]
    assert client.delete(f"{api}/grants/strangers").status_code == 204
    assert client.delete(f"{api}/grants/strangers").status_code == 404
    assert send(client, f"{api}/share").json() == {"team": "research", "is_shared": True}
    assert send(client, f"{api}/unshare").json() == {"team": "research", "is_shared": False}
    assert send(client, f"{api}/move", team="strangers").status_code == 403
    client.force_login(root)
    assert send(client, f"{api}/move", team="strangers").json()["team"] == "strangers"
    client.force_login(ada)
    assert client.get(f"{api}/grants").status_code == 404


def test_the_page_does_the_same(client, owned, ada, eve, root):
    row, page, _api = owned
    client.force_login(ada)
    assert "Research owns it" in client.get(page).content.decode()
    assert client.post(page, {"do": "grant", "team": "strangers"}).status_code == 302
    assert "Strangers" in client.get(page).content.decode()
    assert client.post(page, {"do": "withdraw", "grant": eve.teams.get().pk}).status_code == 302
    assert not row.grants.exists()
    for word, shared in (("share", True), ("unshare", False)):
        assert client.post(page, {"do": word}).status_code == 302
        row.refresh_from_db()
        assert row.is_shared is shared
    assert client.post(page, {"do": "grant", "team": "nobody"}).status_code == 422
    assert client.post(page, {"do": "nonsense"}).status_code == 422
    client.force_login(root)
    client.post(page, {"do": "move", "team": "strangers"})
    client.force_login(ada)
    assert client.get(page).status_code == 404


def test_who_may_only_use_it_or_nothing_at_all_finds_no_such_page(client, owned, eve):
    row, page, api = owned
    client.force_login(eve)
    for is_granted in (False, True):
        if is_granted:
            row.grants.create(team=eve.teams.get())
        assert client.get(page).status_code == 404
        assert client.post(page, {"do": "share"}).status_code == 404
        assert client.get(f"{api}/grants").status_code == 404
        assert send(client, f"{api}/share").status_code == 404
    row.refresh_from_db()
    assert not row.is_shared


def test_the_models_page_says_whose_it_is_and_offers_deletion_to_the_owner_alone(client, artifact, ada, eve):
    page = reverse("catalog:detail", args=[artifact.catalog_model.slug])
    for person, offered in ((ada, True), (eve, False)):
        client.force_login(person)
        text = client.get(page).content.decode()
        assert "team Research, shared with every team" in text
        for name in ("catalog:delete", "catalog:owner"):
            assert (reverse(name, args=[artifact.pk]) in text) is offered
        assert (reverse("catalog:delete_copy", args=[artifact.copies.get().pk]) in text) is offered
