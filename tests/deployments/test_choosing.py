"""The forms of a deployment offer what fits together and no more than a screenful; both work without scripts."""

import re
from typing import Any

import pytest
from django.urls import reverse

from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.deployments import services
from webapp.deployments.models import Deployment
from webapp.interfaces.kit.picking import SHOWN
from webapp.inventory.models import Host

NEW, FIT = "/deployments/new/", "/deployments/new/fit/"


@pytest.fixture
def halves(artifact: Any, host: Any) -> Any:
    """The same model as safetensors, which another engine loads."""
    found = Artifact.objects.create(catalog_model=artifact.catalog_model, format="safetensors", main_file="config.json")
    ArtifactCopy.objects.create(artifact=found, host=host, state=CopyState.PRESENT)
    return found


@pytest.fixture
def many(artifact: Any) -> Any:
    """Models and hosts beyond a screenful; artifact 60 of them is called needle."""
    models = CatalogModel.objects.bulk_create(
        CatalogModel(name="needle" if n == 60 else f"straw {n:02}", slug=f"m{n}") for n in range(61)
    )
    rows = Artifact.objects.bulk_create(Artifact(catalog_model=m, format="gguf", main_file=m.slug) for m in models)
    hosts = Host.objects.bulk_create(Host(name=f"host {n:02}", endpoint=f"unix:///{n}") for n in range(60))
    ArtifactCopy.objects.bulk_create(ArtifactCopy(artifact=a, host=hosts[0], state=CopyState.PRESENT) for a in rows)
    return rows


def options_in(text: str, name: str) -> list[str]:
    """The texts of a select's options."""
    found = re.search(rf'<select name="{name}".*?</select>', text, re.DOTALL)
    assert found, f"there is no choice {name}"
    return re.findall(r"<option[^>]*>\s*([^<]*?)\s*</option>", found[0])


def test_the_page_offers_the_engines_that_load_the_chosen_model(
    client: Any, ada: Any, artifact: Any, halves: Any
) -> None:
    client.force_login(ada)
    for chosen, title in ((artifact, "llama.cpp"), (halves, "vLLM")):
        text = client.get(NEW, {"artifact": chosen.pk}).content.decode()
        assert options_in(text, "engine") == [title]
    assert "KV cache (GiB)" in text, "and the options are that engine's"


def test_choosing_another_kind_of_file_brings_its_engine_and_options_along(
    client: Any, ada: Any, team: Any, artifact: Any, halves: Any
) -> None:
    client.force_login(ada)
    typed = {"artifact": halves.pk, "team": team.pk, "engine": "llamacpp", "options_of": "llamacpp"}
    text = client.post(FIT, typed).content.decode()
    assert '<fieldset class="step" id="how" hx-swap-oob="outerHTML settle:0">' in text
    assert options_in(text, "engine") == ["vLLM"] and 'name="options_of" value="vllm"' in text
    assert "The options changed for this engine" not in text
    same = client.post(FIT, typed | {"artifact": artifact.pk}).content.decode()
    assert 'id="how"' not in same, "options that are being typed are not taken away"


def test_without_scripts_the_form_comes_back_with_the_right_engine_and_its_defaults(
    client: Any, ada: Any, team: Any, halves: Any
) -> None:
    client.force_login(ada)
    typed = {"name": "chat", "artifact": halves.pk, "team": team.pk, "engine": "llamacpp", "replicas": 1}
    typed |= {"options_of": "llamacpp", "options-context_length": "4096"}
    reply = client.post(NEW, typed)
    text = reply.content.decode()
    assert reply.status_code == 422
    assert "llama.cpp does not load safetensors files" in text and "vLLM does" in text
    assert options_in(text, "engine") == ["vLLM"] and 'name="options_of" value="vllm"' in text
    sent = typed | {"engine": "vllm", "options_of": "vllm", "options-prefix_caching": "on"}
    assert client.post(NEW, sent).status_code == 302
    assert Deployment.objects.get().options == {}, "no option of the other engine was taken for one of this"


def test_options_that_nobody_has_seen_are_not_deployed(client: Any, ada: Any, team: Any, halves: Any) -> None:
    client.force_login(ada)
    typed = {"name": "chat", "artifact": halves.pk, "team": team.pk, "engine": "vllm", "replicas": 1}
    reply = client.post(NEW, typed | {"options_of": "llamacpp"})
    assert reply.status_code == 422 and "The options changed for this engine" in reply.content.decode()
    assert not Deployment.objects.exists()


def test_an_edit_to_another_kind_of_file_shows_what_changes_with_the_other_engine(
    client: Any, ada: Any, team: Any, artifact: Any, halves: Any
) -> None:
    client.force_login(ada)
    made = services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, options={"batch_size": 512}))
    page, change = (reverse(f"deployments:{name}", args=[made.pk]) for name in ("edit", "change"))
    assert options_in(client.get(page).content.decode(), "engine") == ["llama.cpp"]
    typed = {"artifact": halves.pk, "engine": "llamacpp", "options_of": "llamacpp", "replicas": 1, "base": 1}
    text = client.post(change, typed).content.decode()
    assert "<ins>vLLM</ins>" in text and 'id="how" hx-swap-oob' in text
    assert client.post(page, typed).status_code == 422
    sent = typed | {"engine": "vllm", "options_of": "vllm", "options-prefix_caching": "on"}
    assert client.post(page, sent).status_code == 302
    made.refresh_from_db()
    assert (made.engine, made.options, made.artifact) == ("vllm", {}, halves)


def test_a_long_choice_shows_a_screenful_and_the_one_that_is_chosen(
    client: Any, ada: Any, artifact: Any, many: Any
) -> None:
    client.force_login(ada)
    text = client.get(NEW, {"artifact": many[59].pk}).content.decode()
    models, hosts = options_in(text, "artifact"), options_in(text, "host")
    assert len(models) == SHOWN + 2 and "straw 59 (gguf)" in models
    assert len(hosts) == SHOWN + 1
    assert text.count("There are more than these") == 2


def test_a_search_without_scripts_narrows_the_choice_and_loses_nothing(
    client: Any, ada: Any, team: Any, artifact: Any, many: Any
) -> None:
    client.force_login(ada)
    typed = {"name": "mine", "artifact": artifact.pk, "artifact-q": "NEED", "team": team.pk, "search": "artifact"}
    reply = client.post(NEW, typed)
    text = reply.content.decode()
    assert reply.status_code == 200 and 'value="mine"' in text
    assert options_in(text, "artifact") == ["Choose a model …", "SmolLM2 135M Instruct Q8_0", "needle (gguf)"]
    assert 'role="alert"' not in text, "who searches is not told what is still missing"
    assert not Deployment.objects.exists()


def test_typing_in_the_search_box_brings_the_narrowed_choice_and_nothing_else(
    client: Any, ada: Any, team: Any, artifact: Any, many: Any
) -> None:
    client.force_login(ada)
    typed = {"artifact": artifact.pk, "team": team.pk, "artifact-q": "needle", "artifact-asked": ""}
    text = client.post(FIT, typed).content.decode()
    assert 'id="pick-artifact" hx-swap-oob="outerHTML settle:0"' in text and 'id="pick-host"' not in text
    assert "needle (gguf)" in options_in(text, "artifact")
    again = client.post(FIT, typed | {"artifact-asked": "needle"}).content.decode()
    assert 'id="pick-' not in again, "a list under somebody's hand is not exchanged"


def test_what_is_not_shown_may_still_be_chosen(client: Any, ada: Any, team: Any, artifact: Any, many: Any) -> None:
    client.force_login(ada)
    typed = {"name": "late", "artifact": many[60].pk, "team": team.pk, "engine": "llamacpp", "replicas": 1}
    assert client.post(NEW, typed).status_code == 302


def test_the_fit_panel_answers_for_a_few_hosts_and_counts_the_others(
    client: Any, ada: Any, team: Any, artifact: Any, host: Any, many: Any
) -> None:
    artifact.facts = {
        "architecture": "llama",
        "layers": 2,
        "heads": 2,
        "embedding_length": 64,
        "weights_bytes": 1 << 20,
    }
    artifact.save()
    client.force_login(ada)
    text = client.post(FIT, {"artifact": artifact.pk, "team": team.pk}).content.decode()
    assert text.count('<div class="place">') == 6
    assert text.index(f"<strong>{host.name}</strong>") < text.index("<strong>host 00</strong>"), "what fits comes first"
    assert "55 more hosts: none could run it" in text


@pytest.mark.parametrize(
    ("quantisation", "has_cards", "why"),
    [("GPTQ 8-bit", False, "no kernel for GPTQ with 8 bits"), ("GPTQ 8-bit", True, ""), ("FP8", False, "")],
)
def test_what_vllm_does_not_run_on_processors_is_refused_before_anything_starts(
    halves: Any, host: Any, ada: Any, team: Any, quantisation: str, has_cards: bool, why: str
) -> None:
    from tests.quantisation.test_recipes import SMOL
    from webapp.deployments import fit, lifecycle
    from webapp.deployments.spec import RevisionSpec
    from workers.controllers.replica import placing

    Artifact.objects.filter(pk=halves.pk).update(facts={**SMOL.as_json(), "quantisation": quantisation})
    halves.refresh_from_db()
    # Asked for while the cards were there: what can never run is not taken at all.
    replica = services.create(ada, team, services.DeploymentSpec("chat", artifact=halves, engine="vllm")).replicas.get()
    if not has_cards:
        host.accelerators.all().delete()
    place = fit.answer(RevisionSpec(artifact=halves, engine="vllm")).places[0]
    assert why in place.why and bool(place.why) == bool(why)
    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    placing.place(claimed)
    replica.refresh_from_db()
    assert why in replica.reason and (replica.host is None) == bool(why)
