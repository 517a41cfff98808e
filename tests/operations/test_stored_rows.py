"""An installation as it was before the catalogue had owners, upgraded: everything is there, and is whose it was."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from tests.operations.stored import looking
from tests.operations.stored.in_place import in_place
from webapp import settings as shipped
from webapp.accounts import sign_in
from webapp.accounts.models import User
from webapp.catalog import hubs
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact, Hub
from webapp.deployments.models import Deployment, Revision
from webapp.quantisation.models import CalibrationSet, Measurement, PromptSet
from webapp.schedules.models import TARGET_SECRET, Target

pytestmark = pytest.mark.django_db
TEAMS = {"bob": "research", "eve": "makers"}
# Only the installation's admins may.
FOR_ADMINS = {"/api/v1/people", "/api/v1/settings/sign-in", "/api/v1/master-key"}


@pytest.fixture(scope="module")
def stored(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What is told of the installation, which `make run` has upgraded."""
    with django_db_blocker.unblock(), in_place(tmp_path_factory.mktemp("stored")) as told:
        call_command("upgrade", "--while-starting", verbosity=0, stdout=io.StringIO())
        yield told


@pytest.fixture(autouse=True)
def _upgraded(stored: dict[str, Any], db: None) -> None:
    """Each test in a transaction of its own on that one."""


def person(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=name))
    return client


def test_every_artifact_has_the_team_that_made_it_and_those_that_use_it_go_on(stored: dict[str, Any]) -> None:
    found = {
        row.main_file: {
            "team": row.team and row.team.slug,
            "everybody": row.is_shared,
            "users": sorted(one.team.slug for one in row.grants.all()),
        }
        for row in Artifact.objects.all()
    }
    assert found == stored["owners"]


@pytest.mark.parametrize("name", TEAMS)
def test_a_page_and_the_api_show_what_is_ones_own_or_shared_and_hide_the_rest(
    name: str, stored: dict[str, Any]
) -> None:
    client, team = person(name), TEAMS[name]
    listed = {row["id"] for row in client.get("/api/v1/artifacts?limit=500").json()["items"]}
    for row in Artifact.objects.select_related("catalog_model"):
        about = stored["owners"][row.main_file]
        is_open = about["everybody"] or team in (about["team"], *about["users"])
        wanted = 200 if is_open else 404
        assert client.get(f"/api/v1/artifacts/{row.pk}").status_code == wanted, row.main_file
        assert client.get(reverse("quantisation:provenance", args=[row.pk])).status_code == wanted, row.main_file
        assert (row.pk in listed) is is_open


@pytest.mark.parametrize("name", TEAMS)
def test_texts_and_prompts_stay_the_teams_that_wrote_them(name: str, stored: dict[str, Any]) -> None:
    client, team = person(name), TEAMS[name]
    rows = [*CalibrationSet.objects.all(), *PromptSet.objects.all()]
    whose = {row.name: row.team and row.team.slug for row in rows}
    assert stored["texts"].items() <= whose.items()
    for path in ("datasets", "golden-prompts"):
        listed = {row["name"] for row in client.get(f"/api/v1/{path}").json()["items"]}
        assert listed
        assert {whose[one] for one in listed} <= {team, None}


def test_what_another_team_measured_of_a_file_is_its_own() -> None:
    found = {(row.text_name, row.artifact.main_file): row.team and row.team.slug for row in Measurement.objects.all()}
    assert found == {
        ("Research's text", "lab.gguf"): "research",
        ("Research's text", "lab-Q4_K_M.gguf"): None,
        ("Makers' text", "lab.gguf"): None,
        ("Makers' text", "lab-Q5_K_M.gguf"): None,
    }


def test_keys_and_passwords_let_in_whom_they_let_in(stored: dict[str, Any], settings: Any) -> None:
    for name, text in stored["keys"].items():
        answer = Client(headers={"Authorization": f"Bearer {text}"}).get("/api/v1/me")
        assert answer.status_code == (403 if name == "max" else 200), name
    assert Client(headers={"Authorization": f"Bearer {stored['revoked']}"}).get("/api/v1/me").status_code == 401
    settings.PASSWORD_HASHERS = shipped.PASSWORD_HASHERS
    assert Client().login(username="eve", password=stored["password"])
    assert not Client().login(username="eve", password="another one")


def test_secrets_can_be_read_with_the_key_of_before(stored: dict[str, Any]) -> None:
    hub, target = Hub.objects.get(name="Ours"), Target.objects.get()
    assert hubs.secret_headers(hub) == {"Authorization": f"Bearer {stored['secrets']['hub']}"}
    assert catalog.whole_url(Artifact.objects.get(main_file="signed.gguf")) == stored["secrets"]["address"]
    assert sign_in.client_secret(sign_in.current()) == stored["secrets"]["client"]
    assert TARGET_SECRET.decrypt(target) == stored["secrets"]["hook"]


def test_deployments_and_their_revisions_run_what_they_ran(stored: dict[str, Any]) -> None:
    def plain(row: Deployment | Revision) -> dict[str, Any]:
        spec = row.spec
        return {
            "file": spec.artifact.main_file, "engine": spec.engine, "image": spec.image, "options": spec.options,
            "labels": list(spec.placement_labels), "host": spec.host.name if spec.host else None,
        }  # fmt: skip

    now = {f"{row.team.slug}/{row.name}": plain(row) for row in Deployment.objects.all()}
    before = {f"{r.deployment.team.slug}/{r.deployment.name}/{r.number}": plain(r) for r in Revision.objects.all()}
    assert now | before == stored["specs"]


@pytest.mark.parametrize("name", ["ada", "eve"])
def test_every_page_that_leads_from_home_opens(name: str) -> None:
    opened = list(looking.pages(person(name)))
    assert [each for each in opened if each[1] not in (200, 302)] == []
    assert len(opened) > 40


@pytest.mark.parametrize("name", ["ada", "eve"])
def test_every_list_of_the_api_and_every_row_in_it_answers(name: str) -> None:
    answered = list(looking.rows(person(name), () if name == "ada" else FOR_ADMINS))
    assert [each for each in answered if each[1] != 200] == []
    assert len(answered) > 40
