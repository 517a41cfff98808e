"""An engine that the product has never seen needs its folder and one line: pages, API and placement know it then."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.engines.toy.adapter import Toy
from webapp import engines

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def toy() -> Iterator[Any]:
    """The one line, and its end."""
    engines.register(Toy())
    yield engines.get("toy")
    engines.unregister("toy")


@pytest.fixture
def artifact(artifact: Any) -> Any:
    """With what its header says."""
    artifact.facts = {"architecture": "llama", "weights_bytes": 1 << 20}
    artifact.save()
    return artifact


@pytest.fixture
def api(ada: Any, team: Any) -> Client:
    from webapp.accounts import services as accounts

    _key, text = accounts.create_key(ada, team, "test", accounts.SCOPES)
    return Client(headers={"Authorization": f"Bearer {text}"})


def post(client: Client, path: str, data: dict[str, Any]) -> Any:
    return client.post(f"/api/v1/{path}", json.dumps(data), content_type="application/json")


def test_it_is_offered_behind_the_others_and_only_once(toy: Any) -> None:
    assert engines.names() == ("llamacpp", "vllm", "toy") and engines.all()[-1] is toy
    with pytest.raises(ValueError, match="called 'toy' already"):
        engines.register(Toy())


def test_the_form_shows_its_options_and_its_presets(client: Client, ada: Any, team: Any, artifact: Any) -> None:
    client.force_login(ada)
    asked = {"artifact": artifact.pk, "engine": "toy", "options_of": "llamacpp", "team": team.pk}
    shown = client.post(reverse("deployments:fit"), asked).content.decode()
    assert "Sheets of stickers that it keeps in memory." in shown and "A brittle one breaks at the start." in shown
    assert shown.index('name="options-stickers"') < shown.index("More options") < shown.index('name="options-mood"')
    chosen = client.get(reverse("deployments:new"), {"artifact": artifact.pk, "preset": "ours:toy:chat"})
    assert 'value="9"' in chosen.content.decode(), "and not what another engine's preset of that name says"
    assert "Playroom" in chosen.content.decode()


def test_a_files_usual_engine_stays_what_it_was(api: Client, artifact: Any) -> None:
    made = post(api, "deployments", {"name": "usual", "artifact": artifact.pk}).json()
    assert made["engine"] == "llamacpp"


def test_the_api_lists_it_and_the_dry_run_names_its_terms(api: Client, artifact: Any) -> None:
    [told] = [engine for engine in api.get("/api/v1/engines").json() if engine["name"] == "toy"]
    assert (told["title"], told["formats"]) == ("Toy", ["gguf"]) and "stickers" in told["options"]["properties"]
    asked = {"name": "box", "artifact": artifact.pk, "engine": "toy", "options": {"stickers": 5}}
    answer = post(api, "deployments?dry_run=true", asked)
    assert answer.status_code == 200, answer.content
    terms = {term["name"]: term["bytes"] for term in answer.json()["fit"]["terms"]}
    assert terms.keys() == {"weights", "stickers", "clockwork"} and terms["stickers"] == 5 * 1024**2
    refused = post(api, "deployments", asked | {"options": {"stickers": 0, "context_length": 4096}})
    assert (
        refused.status_code == 422 and {"options.stickers", "options.context_length"} <= refused.json()["errors"].keys()
    )


def test_a_host_that_is_too_small_is_told_with_its_own_advice(api: Client, artifact: Any, host: Any) -> None:
    host.usable_bytes = 700 * 1024**2
    host.save()
    asked = {"artifact": artifact.pk, "engine": "toy", "options": {"stickers": 4000}}
    [place] = post(api, "estimates", asked).json()["places"]
    assert "It needs" in place["why"] and place["instead"] == "fits with 1 sheet of stickers"


def test_admins_see_it_among_the_engines(client: Client, root: Any) -> None:
    client.force_login(root)
    shown = client.get(reverse("dashboard:settings_engines")).content.decode()
    assert 'id="engine-toy"' in shown and "modelyard-test/toy:1" in shown
