"""What is allowed and probably not meant is said before anything runs; what is refused anyway cannot be pressed."""

import html
import json
import re
from types import SimpleNamespace

import pytest

from tests.engines.processors import AVX2
from tests.engines.toy.options import ToyOptions
from webapp import engines
from webapp.deployments.models import Deployment
from webapp.planner.facts import ModelFacts

TRAINED = {
    "architecture": "llama", "layers": 30, "heads": 9, "kv_heads": 3, "embedding_length": 576, "vocabulary": 49152,
    "feed_forward_length": 1536, "weights_bytes": 143_000_000, "mapped_bytes": 143_000_000, "context_length": 8192,
    "kv_groups": [{"layers": 30, "key_elements": 192, "value_elements": 192}],
}  # fmt: skip
BEYOND = "The model was trained for a context of 8,192 tokens, and 65,536 are asked for"


@pytest.fixture
def trained(artifact):
    """Files of a model that was trained for 8,192 tokens."""
    artifact.facts = TRAINED
    artifact.save()
    return artifact


@pytest.fixture
def typed(trained, team):
    return {
        "name": "chat", "artifact": trained.pk, "team": team.pk, "engine": "llamacpp", "options_of": "llamacpp",
        "replicas": 1, "options-context_length": 65_536, "options-parallel_slots": 2, "options-gpu_layers": -1,
        "options-batch_size": 2048, "options-micro_batch_size": 512, "options-cache_type_k": "f16",
        "options-cache_type_v": "f16", "options-flash_attention": "auto", "options-memory_map": "on",
        "options-pooling": "model", "options-prompt_cache_mib": 0, "options-context_checkpoints": 4,
    }  # fmt: skip


def button(page, key):
    """The attributes of the one button with that id."""
    [marks] = re.findall(rf'<button([^>]*id="{key}"[^>]*)>', page)
    return marks


@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
@pytest.mark.parametrize(
    ("trained", "asked", "instead"),
    [(8192, 65_536, [8192]), (8192, 8192, []), (8192, 8193, [8192]), (0, 65_536, []), (8, 4096, [])],
)
def test_a_context_beyond_the_training_is_warned_of_by_every_engine(engine, trained, asked, instead):
    adapter = engines.get(engine)
    found = adapter.warnings(ModelFacts("llama", context_length=trained), adapter.Options(context_length=asked))
    assert [warning.value for warning in found] == instead
    assert all(warning.option == "context_length" for warning in found)


def test_an_engine_without_a_context_warns_of_nothing():
    adapter = engines.get("llamacpp")
    assert adapter.warnings(ModelFacts("llama", context_length=8192), ToyOptions()) == ()
    assert adapter.warnings(ModelFacts("llama", context_length=8192), SimpleNamespace(context_length=9000)) != ()


def test_the_form_warns_with_one_click_to_the_right_value(client, ada, typed):
    client.force_login(ada)
    for page in (client.post("/deployments/new/fit/", typed), client.post("/deployments/new/", typed | {"name": ""})):
        text = html.unescape(page.content.decode())
        assert BEYOND in text
        assert 'name="use_value" value="context_length=8192"' in text and "Use 8,192" in text
        assert 'form="new-deployment"' in text and 'data-set="id_options-context_length"' in text
    # Without scripts the same button is sent, and nothing is done but that.
    page = client.post("/deployments/new/", typed | {"name": "", "use_value": "context_length=8192"})
    text = page.content.decode()
    assert page.status_code == 200 and BEYOND not in text and "This field is required" not in text
    assert re.search(r'name="options-context_length"[^>]*value="8192"', text)
    assert not Deployment.objects.exists()


def test_the_dry_run_and_the_estimate_carry_the_warning(client, ada, trained):
    client.force_login(ada)
    options = {"context_length": 65_536}
    for path, body in (
        ("/api/v1/deployments?dry_run=true", {"name": "chat", "artifact": trained.pk, "options": options}),
        ("/api/v1/estimates", {"artifact": trained.pk, "options": options}),
    ):
        said = client.post(path, json.dumps(body), content_type="application/json").json()
        [warning] = (said.get("fit") or said)["warnings"]
        assert warning["text"].startswith(BEYOND)
        assert (warning["option"], warning["value"]) == ("context_length", 8192)


@pytest.mark.parametrize(
    ("option", "wrong", "said"),
    [
        ("context_length", 8_388_608, "Context length: A number from 256 to 1,048,576."),
        ("parallel_slots", 0, "Parallel requests (slots): A number from 1 to 64."),
        ("threads", "x", "CPU threads: A number from 1 to 512."),
        ("gpu_layers", 5000, "GPU layers: A number from -1 to 4,096."),
    ],
)
def test_a_number_out_of_its_range_is_said_live_beside_its_field_and_by_name(client, ada, typed, option, wrong, said):
    client.force_login(ada)
    text = client.post("/deployments/new/fit/", typed | {f"options-{option}": wrong}).content.decode()
    slots = dict(re.findall(r'<div id="id_options-(\w+)_errors" hx-swap-oob="outerMorph">(.*?)</div>\n', text))
    assert {name for name, words in slots.items() if words} == {option}
    assert said.partition(": ")[2] in slots[option] and said in text
    refused = client.post("/deployments/new/", typed | {f"options-{option}": wrong})
    assert refused.status_code == 422 and said.partition(": ")[2] in refused.content.decode()
    body = {"name": "chat", "artifact": typed["artifact"], "options": {option: wrong}}
    answer = client.post("/api/v1/deployments", json.dumps(body), content_type="application/json")
    assert answer.status_code == 422 and f"options.{option}" in answer.content.decode()


def test_what_no_hosts_hardware_can_run_cannot_be_deployed_by_a_click_either(client, ada, typed, host):
    client.force_login(ada)
    assert " disabled" not in button(client.post("/deployments/new/fit/", typed).content.decode(), "deploy-go")
    host.accelerators.all().delete()
    host.facts = {"processor": {"name": "Some CPU", "flags": sorted(AVX2)}}
    host.save()
    artifact = type(host.copies.get().artifact).objects.get()
    artifact.format, artifact.quantisation = "safetensors", "AWQ 4-bit"
    artifact.facts = TRAINED | {"quantisation": "AWQ 4-bit"}
    artifact.save()
    more = {"engine": "vllm", "options_of": "vllm", "options-context_length": 4096, "options-cache_gib": 1}
    text = client.post("/deployments/new/fit/", typed | more).content.decode()
    assert "no kernel for AWQ with 4 bits" in text
    assert " disabled" in button(text, "deploy-go")


def test_an_edit_that_would_be_refused_cannot_be_applied_and_can_be_looked_at_again(client, ada, trained, team, host):
    from webapp.deployments import services

    wanted = services.DeploymentSpec(name="chat", artifact=trained)
    deployment = services.create(ada, team, wanted)
    client.force_login(ada)
    url = f"/deployments/{deployment.pk}/edit/"
    page = client.get(url).content.decode()
    assert " disabled" not in button(page, "apply-go")
    fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
    fields |= {"artifact": trained.pk, "engine": "llamacpp", "options-cache_type_k": "f16"}
    fields |= {"options-cache_type_v": "f16", "options-flash_attention": "auto", "options-pooling": "model"}
    fields |= {"options-memory_map": "on", "options-context_length": 2048, "preview": "yes"}
    fields.pop("apply", None)
    assert " disabled" not in button(client.post(url, fields).content.decode(), "apply-go")
    host.copies.all().delete()
    text = client.post(url, fields).content.decode()
    assert "are not on any host" in text and " disabled" in button(text, "apply-go")
    typing = client.post(f"/deployments/{deployment.pk}/edit/change/", fields).content.decode()
    assert " disabled" in button(typing, "apply-go") and "hx-swap-oob" in button(typing, "apply-go")


def test_the_forms_and_the_pages_beside_them_are_valid_html(client, ada, typed, make_deployment):
    from tests.browser.markup import faults

    deployment = make_deployment("there")
    deployment.replicas.update(container="modelyard-research-there-1-g1-a1", failed_starts=1)
    client.force_login(ada)
    wrong = typed | {"name": "", "options-context_length": 7}
    pages = {url: client.get(url) for url in (f"/deployments/{deployment.pk}/", "/deployments/new/", "/playground/")}
    pages |= {
        "refused": client.post("/deployments/new/", wrong),
        "warned": client.post("/deployments/new/", typed | {"name": ""}),
    }
    pages |= {"edit": client.get(f"/deployments/{deployment.pk}/edit/")}
    for name, page in pages.items():
        assert faults(page.content.decode()) == [], name
