"""Pages of hubs, repositories, addresses and disks: who may, what is refused, and that they work as plain forms."""

import pytest
from django.urls import reverse

from tests.catalog.gguf_file import gguf_bytes
from tests.catalog.safetensors_file import CONFIG, safetensors_bytes
from tests.parts.hub import COMMIT, TOKEN
from webapp.catalog import services
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CodeApproval, CopyState, Hub
from webapp.jobs import deleting
from webapp.jobs.models import Job, JobKind

pytestmark = pytest.mark.django_db


@pytest.fixture
def repo(small_hub):
    return small_hub.add(
        "org/Tiny-GGUF", {"Tiny-Q8_0.gguf": gguf_bytes(), "Tiny-00001-of-00002.gguf": gguf_bytes(), "a.bin": b"x"}
    )


def page(client, to, *args, **query):
    return client.get(reverse(to, args=args), query).content.decode()


def test_a_hub_is_searched_only_when_somebody_asks_for_it(client, ada, hub, repo, small_hub):
    client.force_login(ada)
    assert "org/Tiny-GGUF" not in page(client, "catalog:index", q="tiny")
    assert small_hub.asked == []
    assert "org/Tiny-GGUF" in page(client, "catalog:index", q="tiny", hubs="1")


def test_without_a_hub_in_reach_the_page_says_what_else_there_is(client, ada, hub):
    Hub.objects.update(endpoint="http://127.0.0.1:1")
    client.force_login(ada)
    text = page(client, "catalog:index", q="tiny", hubs="1")
    assert "cannot be reached" in text and "import local files" in text
    assert '<a href="/models/hubs/">Hubs and mirrors</a>' in text
    assert '"/help/models/#on-mirrors-and-proxies"' in text
    assert 'id="on-mirrors-and-proxies"' in client.get("/help/models/").content.decode()


def test_popular_models_say_where_they_would_fit(client, ada, host, hub):
    client.force_login(ada)
    text = page(client, "catalog:index", q="llama 8b")
    assert "Llama 3.1 8B Instruct" in text and "local: GPU" in text
    assert "?name=bartowski/Meta-Llama-3.1-8B-Instruct-GGUF" in text
    assert "Phi-3" not in text


def test_a_repository_shows_its_variants_with_what_fits_where(client, ada, team, host, hub, repo):
    client.force_login(ada)
    text = page(client, "catalog:repo", hub.pk, name="org/Tiny-GGUF")
    assert COMMIT in text and "Q8_0" in text and "local: GPU" in text
    assert "Part 2 of 2 is missing." in text and "1 pickled file left out" in text
    assert text.count('name="variant"') == 1


def test_a_repository_that_is_not_there_says_what_to_do(client, ada, hub):
    client.force_login(ada)
    reply = client.get(reverse("catalog:repo", args=[hub.pk]), {"name": "org/none"})
    assert reply.status_code == 422
    assert "Check the spelling" in reply.content.decode()


@pytest.mark.parametrize("name", ["ada", "bob"])
def test_an_operator_gets_a_variant(client, request, name, team, host, hub, repo):
    client.force_login(request.getfixturevalue(name))
    asked = {"repo": "org/Tiny-GGUF", "revision": COMMIT, "variant": "Tiny-Q8_0", "team": team.pk, "host": host.pk}
    reply = client.post(reverse("catalog:get", args=[hub.pk]), asked)
    job = Job.objects.get()
    assert reply.url == reverse("jobs:detail", args=[job.pk])
    text = client.get(reply.url).content.decode()
    assert "org/Tiny-GGUF" in text and COMMIT in text and "Tiny-Q8_0.gguf" in text
    assert "in the catalogue" in page(client, "catalog:repo", hub.pk, name="org/Tiny-GGUF")


def test_a_stranger_cannot_get_it_for_the_team(client, eve, team, host, hub, repo):
    client.force_login(eve)
    asked = {"repo": "org/Tiny-GGUF", "variant": "Tiny-Q8_0", "team": team.pk, "host": host.pk}
    client.post(reverse("catalog:get", args=[hub.pk]), asked)
    assert not Job.objects.exists() and not Artifact.objects.exists()


def test_a_hub_that_is_switched_off_is_not_asked_by_page_either(client, root, hub, repo, small_hub):
    Hub.objects.update(is_enabled=False)
    client.force_login(root)
    reply = client.get(reverse("catalog:repo", args=[hub.pk]), {"name": "org/Tiny-GGUF"})
    assert reply.status_code == 409 and "is disabled" in reply.content.decode()
    assert small_hub.asked == []


def test_what_changed_in_a_hub_stands_in_the_audit_log(root, team, hub):
    from webapp.accounts.models import AuditEntry

    services.save_hub(root, hub, name="Small", endpoint=hub.endpoint, allows_private=True, teams=[team], token="t")
    told = AuditEntry.objects.get(verb="hub.change").detail
    assert told["teams"] == {"before": [], "after": ["research"]} and told["token_kept"]["after"] is True
    assert "allows_private" not in told
    services.save_hub(root, hub, name="Small", endpoint="https://hub.example", is_enabled=False, teams=[team])
    told = AuditEntry.objects.filter(verb="hub.change").latest("pk").detail
    assert told["allows_private"] == {"before": True, "after": False} and told["is_enabled"]["after"] is False


def test_a_hub_of_another_team_is_a_404(client, eve, team, hub):
    hub.teams.add(team)
    client.force_login(eve)
    assert client.get(reverse("catalog:repo", args=[hub.pk]), {"name": "org/x"}).status_code == 404
    assert client.post(reverse("catalog:get", args=[hub.pk]), {}).status_code == 404


def test_a_variant_that_went_away_is_told_on_its_page(client, ada, team, host, hub, repo):
    client.force_login(ada)
    asked = {"repo": "org/Tiny-GGUF", "revision": COMMIT, "variant": "gone", "team": team.pk, "host": host.pk}
    reply = client.post(reverse("catalog:get", args=[hub.pk]), asked, follow=True)
    assert "has no variant" in reply.content.decode()


def hub_form(**more):
    return {"name": "Mirror", "endpoint": "https://mirror.example", "is_enabled": "on", **more}


def test_an_installation_admin_adds_changes_and_forgets_a_hub(client, root, team, hub):
    client.force_login(root)
    client.post(reverse("catalog:new_hub"), hub_form(token=TOKEN, teams=[team.pk]))
    mirror = Hub.objects.get(name="Mirror")
    assert mirror.sealed_token and list(mirror.teams.all()) == [team]
    shown = page(client, "catalog:hub", mirror.pk) + page(client, "catalog:hubs")
    assert TOKEN not in shown and mirror.sealed_token not in shown
    client.post(reverse("catalog:hub", args=[mirror.pk]), hub_form(name="Renamed"))
    mirror.refresh_from_db()
    assert mirror.name == "Renamed" and mirror.sealed_token
    client.post(reverse("catalog:hub", args=[mirror.pk]), hub_form(forget_token="on"))
    mirror.refresh_from_db()
    assert mirror.sealed_token == ""
    client.post(reverse("catalog:delete_hub", args=[mirror.pk]))
    assert not Hub.objects.filter(pk=mirror.pk).exists()


def test_a_hub_that_makes_no_sense_is_refused_beside_its_field(client, root, hub):
    client.force_login(root)
    reply = client.post(reverse("catalog:new_hub"), hub_form(endpoint="http://x.example"))
    assert reply.status_code == 422 and "use https" in reply.content.decode()
    reply = client.post(reverse("catalog:new_hub"), hub_form(name=hub.name))
    assert reply.status_code == 422 and "taken" in reply.content.decode()


@pytest.mark.parametrize("name", ["ada", "eve"])
def test_others_see_the_hubs_and_change_none(client, request, name, hub):
    client.force_login(request.getfixturevalue(name))
    assert "Small" in page(client, "catalog:hubs") and "Add a hub" not in page(client, "catalog:hubs")
    for address in (reverse("catalog:new_hub"), reverse("catalog:hub", args=[hub.pk])):
        assert client.post(address, hub_form()).status_code == 403
    assert client.post(reverse("catalog:delete_hub", args=[hub.pk])).status_code == 403
    assert client.post(reverse("catalog:approve", args=[hub.pk]), {"repo": "o/r", "commit": COMMIT}).status_code == 403
    assert Hub.objects.get().name == "Small"


def test_an_admin_approves_the_code_of_a_commit_on_its_page(client, root, hub, small_hub):
    import json

    config = json.dumps({**CONFIG, "auto_map": {"AutoModel": "m.M"}}).encode()
    small_hub.add("org/code", {"model.safetensors": safetensors_bytes(), "config.json": config, "m.py": b"pass"})
    client.force_login(root)
    assert "I reviewed this code" in page(client, "catalog:repo", hub.pk, name="org/code")
    client.post(reverse("catalog:approve", args=[hub.pk]), {"repo": "org/code", "commit": COMMIT})
    assert CodeApproval.objects.get().approved_by == root
    assert "An admin approved those" in page(client, "catalog:repo", hub.pk, name="org/code")


def address_form(team, host, url):
    return {"url": url, "model_name": "", "team": team.pk, "host": host.pk}


def test_a_file_is_fetched_by_its_address_and_what_is_secret_in_it_is_kept_so(
    client, ada, team, host, small_hub, monkeypatch
):
    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")
    small_hub.add("plain/files", {"tiny.gguf": gguf_bytes()})
    client.force_login(ada)
    url = f"{small_hub.url}/plain/tiny.gguf?signature=canary"
    reply = client.post(reverse("catalog:address"), address_form(team, host, url))
    job = Job.objects.get()
    assert reply.url == reverse("jobs:detail", args=[job.pk])
    assert services.whole_url(job.artifact) == url
    stored = str(Job.objects.values().get()) + str(Artifact.objects.values().get())
    assert "canary" not in stored + client.get(reply.url).content.decode()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.org/m.gguf", "Plain http"),
        ("https://127.0.0.1/m.gguf", "private address 127.0.0.1"),
        ("https://169.254.169.254/latest/m.gguf", "private address"),
        ("https://[::ffff:10.0.0.1]/m.gguf", "private address"),
        ("https://user:pw@example.org/m.gguf", "username or password"),
        ("https://example.org/m.safetensors", "Only GGUF files"),
        ("file:///etc/passwd.gguf", "is not a URL"),
        ("https://[::1/m.gguf", "Only GGUF files"),
    ],
)
def test_an_address_that_may_not_be_asked_is_refused_beside_its_field(client, ada, team, host, url, words):
    client.force_login(ada)
    reply = client.post(reverse("catalog:address"), address_form(team, host, url))
    assert reply.status_code == 422 and words in reply.content.decode()
    assert not Job.objects.exists()


def test_an_artifact_is_fetched_to_another_host(client, bob, team, host, hub, repo, artifact):
    from webapp.inventory.models import Host

    other = Host.objects.create(name="other", endpoint="unix:///other.sock", state="online")
    artifact.source = {"kind": "url", "url": "https://example.org/m.gguf"}
    artifact.save()
    client.force_login(bob)
    client.post(reverse("catalog:fetch", args=[artifact.pk]), {"team": team.pk, "host": other.pk})
    job = Job.objects.get()
    assert (job.host, job.params["files"][0]["sha256"]) == (other, "ab" * 32)
    assert ArtifactCopy.objects.get(host=other).state == CopyState.FETCHING
    reply = client.post(reverse("catalog:fetch", args=[artifact.pk]), {"team": team.pk, "host": host.pk}, follow=True)
    assert "is on local already" in reply.content.decode()


@pytest.fixture
def thousand_hosts(host):
    from webapp.inventory.models import Host

    rows = [Host(name=f"gpu-{number:04}", endpoint=f"unix:///{number}.sock", state="online") for number in range(1000)]
    Host.objects.bulk_create(rows)


def test_the_page_to_fetch_to_another_host_says_where_it_is_and_shows_fifty_hosts(
    client, bob, team, host, hub, artifact, thousand_hosts, count_queries
):
    artifact.source = {"kind": "url", "url": "https://example.org/m.gguf"}
    artifact.save()
    client.force_login(bob)
    address = reverse("catalog:fetch", args=[artifact.pk])
    assert f'href="{address}"' in page(client, "catalog:detail", artifact.catalog_model.slug)
    assert count_queries(client, address) < 15
    text = page(client, "catalog:fetch", artifact.pk)
    assert "It is on local already" in text and "There are more than these" in text
    assert text.count("<option") <= 52
    assert text.partition(" selected>")[2].startswith("gpu-0000<"), "one that lacks it is offered first"
    found = client.post(address, {"team": team.pk, "host-q": "0777", "search": "host"}).content.decode()
    assert "gpu-0777" in found and "gpu-0778" not in found and not Job.objects.exists()
    from webapp.inventory.models import Host

    client.post(address, {"team": team.pk, "host": Host.objects.get(name="gpu-0777").pk, "host-q": "0777"})
    assert Job.objects.get().host.name == "gpu-0777"


def test_who_may_not_fetch_sees_no_way_there_and_a_wrong_host_is_said_beside_its_field(
    client, ada, bob, team, artifact
):
    client.force_login(bob)
    reply = client.post(reverse("catalog:fetch", args=[artifact.pk]), {"team": team.pk, "host": 4711})
    assert reply.status_code == 422 and "host" in reply.context["form"].errors
    bob.memberships.update(role="viewer")
    assert "Copy to another host" not in page(client, "catalog:detail", artifact.catalog_model.slug)


def test_a_repository_offers_fifty_of_a_thousand_hosts_and_finds_the_others(
    client, ada, team, host, hub, repo, thousand_hosts
):
    client.force_login(ada)
    asked = {"name": "org/Tiny-GGUF"}
    text = page(client, "catalog:repo", hub.pk, **asked)
    assert "There are more than these" in text and text.count("<option") <= 52
    form = {"repo": "org/Tiny-GGUF", "revision": COMMIT, "team": team.pk, "search": "host", "host-q": "0777"}
    reply = client.post(reverse("catalog:get", args=[hub.pk]), form, follow=True)
    found = reply.content.decode()
    assert "gpu-0777" in found and "gpu-0778" not in found and 'value="0777"' in found
    assert not Job.objects.exists()


def test_deleting_says_what_it_frees_and_is_a_job(client, bob, team, artifact):
    client.force_login(bob)
    address = reverse("catalog:delete", args=[artifact.pk])
    assert "138.1 MiB" in client.get(address).content.decode()
    client.post(address, {"team": team.pk})
    job = Job.objects.get()
    assert (job.kind, job.artifact) == (JobKind.DELETE_COPY, artifact)
    assert ArtifactCopy.objects.get().state == CopyState.DELETING
    assert not Artifact.objects.deployable().exists()


def test_what_a_deployment_uses_is_not_deleted(client, ada, team, deployment):
    client.force_login(ada)
    copy = ArtifactCopy.objects.get()
    for address in (
        reverse("catalog:delete", args=[deployment.artifact_id]),
        reverse("catalog:delete_copy", args=[copy.pk]),
    ):
        assert "<strong>smollm2</strong> serves it" in client.get(address).content.decode()
        reply = client.post(address, {"team": team.pk}, follow=True)
        assert "is used: smollm2 serves it." in reply.content.decode()
    assert not Job.objects.exists() and ArtifactCopy.objects.get().state == CopyState.PRESENT


def test_the_owner_is_told_what_other_teams_use_it_for_and_how_to_take_it_back(client, ada, eve, make_deployment):
    deployment = make_deployment("evening", team=eve.teams.get(), desired_state="stopped")
    deployment.replicas.update(state="stopped")
    page, api = (
        reverse("catalog:delete", args=[deployment.artifact_id]),
        f"/api/v1/artifacts/{deployment.artifact_id}",
    )
    client.force_login(ada)
    text = client.get(page).content.decode()
    assert "<strong>evening of team Strangers</strong> would serve it when it is started" in text
    assert "Stop sharing it with team Strangers" in text
    assert reverse("catalog:owner", args=[deployment.artifact_id]) in text
    refused = client.delete(api)
    assert (refused.status_code, "evening of team Strangers" in refused.json()["title"]) == (409, True)
    client.post(reverse("catalog:owner", args=[deployment.artifact_id]), {"do": "unshare"})
    assert "It is still needed" not in client.get(page).content.decode()
    assert client.delete(api).status_code == 202
    deleting.finish(Job.objects.get(), {})
    left = client.get(reverse("catalog:detail", args=[deployment.artifact.catalog_model.slug])).content.decode()
    assert "The entry goes with the last stopped deployment of another team" in left
    assert reverse("catalog:fetch", args=[deployment.artifact_id]) in left


def test_who_may_only_use_it_has_no_page_to_delete_it(client, eve, deployment, artifact):
    client.force_login(eve)
    for address in (
        reverse("catalog:delete", args=[artifact.pk]),
        reverse("catalog:delete_copy", args=[artifact.copies.get().pk]),
    ):
        assert client.get(address).status_code == 404
        assert client.post(address, {"team": eve.teams.get().pk}).status_code == 404
    assert client.delete(f"/api/v1/artifacts/{artifact.pk}").status_code == 403
    assert not Job.objects.exists()


def test_a_copy_on_a_host_that_one_does_not_see_is_a_404(client, ada, eve, team, host, artifact):
    from webapp.inventory.models import HostGrant

    host.is_shared = False
    host.save()
    HostGrant.objects.create(host=host, team=team)
    address = reverse("catalog:delete_copy", args=[ArtifactCopy.objects.get().pk])
    client.force_login(eve)
    assert client.get(address).status_code == 404
    assert client.post(address, {"team": eve.teams.get().pk}).status_code == 404
    assert client.delete(f"/api/v1/artifacts/{artifact.pk}/copies/{host.pk}").status_code == 404
    assert not Job.objects.exists()
    client.force_login(ada)
    assert client.get(address).status_code == 200


def test_a_viewer_deletes_nothing(client, bob, team, artifact):
    bob.memberships.update(role="viewer")
    client.force_login(bob)
    client.post(reverse("catalog:delete", args=[artifact.pk]), {"team": team.pk})
    assert not Job.objects.exists()


def test_the_disk_page_says_what_nobody_uses(client, ada, artifact):
    client.force_login(ada)
    text = page(client, "catalog:disk")
    assert text.count("138.1 MiB") == 3 and "nothing" in text
    assert reverse("catalog:delete_copy", args=[ArtifactCopy.objects.get().pk]) in text


def test_the_pages_cost_the_same_queries_for_one_and_for_thirty(client, ada, artifact, host, hub, count_queries):
    client.force_login(ada)
    slug = artifact.catalog_model.slug
    urls = [reverse("catalog:disk"), reverse("catalog:hubs"), reverse("catalog:detail", args=[slug])]
    few = [count_queries(client, url) for url in urls]
    for number in range(30):
        model = CatalogModel.objects.create(name=f"m{number}", slug=f"m{number}")
        copied = Artifact.objects.create(catalog_model=model, format="gguf", main_file="m.gguf")
        ArtifactCopy.objects.create(artifact=copied, host=host)
        Hub.objects.create(name=f"hub {number}")
        sibling = Artifact.objects.create(catalog_model=artifact.catalog_model, format="gguf", main_file=f"{number}")
        ArtifactCopy.objects.create(artifact=sibling, host=host)
    assert [count_queries(client, url) for url in urls] == few
