"""Pages and REST endpoints of quantising: works, a teammate may, a stranger finds nothing."""

import json
import re

import pytest

from tests.browser.markup import faults
from webapp.accounts import keys
from webapp.catalog.models import Artifact
from webapp.jobs.models import Job
from webapp.quantisation import services, shipping
from webapp.quantisation.models import CalibrationSet, Measurement
from webapp.quantisation.recipes import Measure

from .test_services import Q4, TEXT, end, half, job, published  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client, ada):
    client.force_login(ada)
    return client


@pytest.fixture
def program(client, ada, team):
    _key, text = keys.create_key(ada, team, "program")

    def ask(method, path, body=None):
        return client.generic(
            method, f"/api/v1{path}", json.dumps(body) if body is not None else "", content_type="application/json",
            headers={"X-API-Key": text},
        )  # fmt: skip

    return ask


def typed(artifact, host, team, **more):
    return {
        "method": "gguf", "shown_method": "gguf", "host": host.pk, "team": team.pk, "measure": "on", "chunks": 4,
        "option-type": "Q4_K_M", "option-imatrix": "on", "option-calibration_chunks": 0, **more,
    }  # fmt: skip


def test_the_form_shows_every_method_and_what_the_default_takes(browser, half):  # noqa: F811
    text = browser.get(f"/quantise/artifacts/{half.pk}/").content.decode()
    assert "AWQ 4-bit" in text and "GPTQ" in text and "Disk while it runs" in text and "Steps: prepare" in text


@pytest.mark.parametrize(
    ("facts", "method", "is_missing"),
    [
        ({}, "gguf", False),  # nobody has looked
        ({"quantiser_images": []}, "gguf", True),
        ({"quantiser_images": ["modelyard/quantizer-gguf:1"]}, "gguf", False),
        ({"quantiser_images": ["modelyard/quantizer-gguf:1"]}, "gptq", True),
    ],
)
def test_a_missing_image_is_a_refusal_on_every_way(
    browser,
    program,
    half,  # noqa: F811
    host,
    team,
    facts,
    method,
    is_missing,
):
    host.facts = facts
    host.save()
    words = f"{host.name} does not have the image"
    body = typed(half, host, team, method=method)
    text = browser.post(f"/quantise/artifacts/{half.pk}/preview/", body).content.decode()
    assert (words in text, "`make quantizers` on that machine" in text) == (is_missing, is_missing)
    [button] = re.findall(r'<button[^>]*id="quantise-go"[^>]*>', text)
    assert (" disabled" in button) is is_missing and "hx-swap-oob" in button
    assert ("Steps: prepare" in text) is not is_missing
    asked = {"artifact": half.pk, "host": host.pk, "recipe": {"method": method}}
    said = program("POST", "/quantisations/preview", asked).json()
    assert any(words in refusal["what"] for refusal in said["refusals"]) is is_missing
    assert not (is_missing and said["is_possible"])
    page = browser.get(f"/models/{half.catalog_model.slug}/").content.decode()
    assert ("make quantizers" in page) is (facts == {"quantiser_images": []})
    if is_missing:
        for reply in (browser.post(f"/quantise/artifacts/{half.pk}/", body), program("POST", "/quantisations", asked)):
            assert reply.status_code == 422 and words in reply.content.decode()
        assert not Job.objects.exists()


def test_without_scripts_a_disabled_form_can_be_looked_at_again(browser, half, host, team):  # noqa: F811
    host.facts = {"quantiser_images": ["modelyard/quantizer-gguf:1"]}
    host.save()
    reply = browser.post(f"/quantise/artifacts/{half.pk}/", typed(half, host, team, preview="yes"))
    [button] = re.findall(r'<button[^>]*id="quantise-go"[^>]*>', reply.content.decode())
    assert (reply.status_code, " disabled" in button) == (200, False)
    assert not Job.objects.exists()


def test_the_preview_follows_what_is_typed(browser, half, host, team):  # noqa: F811
    body = typed(half, host, team, method="gptq")
    text = browser.post(f"/quantise/artifacts/{half.pk}/preview/", body).content.decode()
    assert 'name="option-group_size"' in text and "Groups of 128 do not divide" in text
    body |= {"shown_method": "gptq", "option-bits": 4, "option-group_size": 64, "option-samples": 8,
             "option-length": 128, "option-symmetric": "on"}  # fmt: skip
    text = browser.post(f"/quantise/artifacts/{half.pk}/preview/", body).content.decode()
    assert "do not divide" not in text and "Steps: prepare, quantise, judge, speed, baseline, publish" in text


def test_a_form_becomes_a_job_and_its_page_shows_the_steps(browser, half, host, team):  # noqa: F811
    reply = browser.post(f"/quantise/artifacts/{half.pk}/", typed(half, host, team))
    job = Job.objects.get(kind="quantise")  # noqa: F811
    assert reply.status_code == 302 and reply.url == f"/jobs/{job.pk}/"
    text = browser.get(reply.url).content.decode()
    assert "Steps" in text and "calibrate" in text and "waiting" in text
    assert job.params["measure"]["chunks"] == 4


def test_a_refused_form_keeps_what_was_typed(browser, half, host, team):  # noqa: F811
    body = typed(half, host, team, **{"option-type": "IQ2_XXS"})
    del body["option-imatrix"]
    reply = browser.post(f"/quantise/artifacts/{half.pk}/", body)
    assert reply.status_code == 422 and "needs an importance matrix" in reply.content.decode()
    assert not Job.objects.exists()


def test_a_stranger_cannot_ask_for_the_team(client, eve, half, host, team):  # noqa: F811
    client.force_login(eve)
    assert client.post(f"/quantise/artifacts/{half.pk}/", typed(half, host, team)).status_code == 422
    assert not Job.objects.exists()


def test_the_models_page_shows_table_plot_and_lineage(browser, job, half):  # noqa: F811
    made = end(job, published())
    text = browser.get(f"/models/{half.catalog_model.slug}/").content.decode()
    for word in ("Quality vs. size", "<svg", "Pareto-optimal", "Lineage", "2–5 % at 4 bits", "Provenance"):
        assert word in text, word
    assert f"/quantise/artifacts/{made.pk}/rebuild/" in text


def test_the_models_page_says_why_a_speed_is_missing(browser, job):  # noqa: F811
    why = "The image modelyard/vllm:cpu is not on local. Run `make quantizers` on that machine."
    end(job, {**published(), "speed": {"missing": why}})
    text = browser.get("/models/smollm2/").content.decode()
    assert f"Load time, memory and speed not measured: {why}" in text
    text = browser.get(f"/jobs/{job.pk}/").content.decode()
    assert "skipped" in text and why in text


def test_the_models_page_asks_as_many_questions_for_one_variant_as_for_many(
    browser, job, half, django_assert_max_num_queries  # noqa: F811
):  # fmt: skip
    made = end(job, published())
    for number in range(10):
        made.pk, made.main_file, made._state.adding = None, f"{number}.gguf", True
        made.save(force_insert=True)
        Measurement.objects.create(artifact=made, values={"kl_divergence": 0.1}, text_name="x", text_sha256="0")
    with django_assert_max_num_queries(24):
        browser.get(f"/models/{half.catalog_model.slug}/")


def test_the_pick_names_one_and_says_why(browser, job, half):  # noqa: F811
    end(job, published())
    asked = {"memory_gib": "8", "context": "2048", "users": "1", "priority": "size"}
    text = browser.get(f"/quantise/pick/{half.catalog_model.slug}/", asked).content.decode()
    assert "Q4_K_M" in text and "Smallest of the 2 that fit" in text
    text = browser.get(f"/quantise/pick/{half.catalog_model.slug}/", {"memory_gib": "a lot"}).content.decode()
    assert "must be greater than zero" in text


def test_the_provenance_is_a_file(browser, job):  # noqa: F811
    made = end(job, published())
    reply = browser.get(f"/quantise/artifacts/{made.pk}/provenance/")
    assert "attachment" in reply.headers["Content-Disposition"] and reply.json()["quantisation"] == "Q4_K_M"


def test_texts_are_added_and_deleted_on_their_page(browser, eve, team, client):
    body = {"name": "ours", "team": team.pk, "licence": "CC0", "text": TEXT}
    assert browser.post("/quantise/texts/", body).status_code == 302
    row = CalibrationSet.objects.get()
    assert "ours" in browser.get("/quantise/texts/").content.decode()
    client.force_login(eve)
    assert client.post(f"/quantise/texts/{row.pk}/delete/").status_code == 404
    client.force_login(row.created_by)
    client.post(f"/quantise/texts/{row.pk}/delete/")
    assert not CalibrationSet.objects.exists()


def test_the_api_tells_recipes_with_their_schemas(program):
    found = {row["method"]: row for row in program("GET", "/recipes").json()}
    assert set(found) == {"gguf", "awq", "gptq", "int8", "fp8"}
    assert "Q4_K_M" in found["gguf"]["options"]["properties"]["type"]["enum"]


def test_the_api_previews_quantises_and_tells_the_steps(program, half, host):  # noqa: F811
    body = {"artifact": half.pk, "recipe": {"method": "gptq"}, "host": host.pk}
    said = program("POST", "/quantisations/preview", body).json()
    assert not said["is_possible"] and said["refusals"][0]["field"] == "group_size" and said["result_bytes"] > 0
    assert program("POST", "/quantisations", body).status_code == 422
    body = {"artifact": half.pk, "recipe": {"options": {"type": "Q8_0"}}, "host": host.pk, "measure": {"chunks": 2}}
    reply = program("POST", "/quantisations", body)
    assert reply.status_code == 202 and reply.json()["steps"][0] == {
        "name": "prepare", "state": "waiting", "seconds": None, "why": "",
    }  # fmt: skip
    body["recipe"] = {"options": {"type": "Q4_K_XXXL"}}
    reply = program("POST", "/quantisations", body)
    assert reply.status_code == 422 and "type" in str(reply.json()["errors"])


def test_the_api_tells_evaluations_provenance_and_picks(program, job):  # noqa: F811
    made = end(job, published())
    rows = program("GET", f"/evaluations?artifact={made.pk}").json()["items"]
    assert rows[0]["values"]["kl_divergence"] == 0.04
    assert program("GET", f"/artifacts/{made.pk}/provenance").json()["made"]["tools"] == ["llama.cpp"]
    said = program("GET", "/picks?model=smollm2&memory_bytes=9000000000&priority=size").json()
    assert said["artifact_id"] == made.pk
    assert Artifact.objects.filter(pk=said["artifact_id"]).exists()


def test_the_api_keeps_texts(program):
    reply = program("POST", "/datasets", {"name": "ours", "text": TEXT})
    assert reply.status_code == 201
    number = reply.json()["id"]
    assert program("GET", f"/datasets/{number}").json()["text"] == TEXT
    assert program("DELETE", f"/datasets/{number}").status_code == 204
    assert program("GET", f"/datasets/{number}").status_code == 404


def test_a_measurement_is_named_in_the_job(job, ada, team, half, host):  # noqa: F811
    assert services.queue(ada, team, half, Q4, host, measure=Measure(chunks=3)) == job


def test_every_page_of_this_room_is_valid_html(browser, job, half, host, team):  # noqa: F811
    made = end(job, published())
    services.shipped(shipping.CALIBRATION)
    slug = half.catalog_model.slug
    pages = [
        f"/quantise/artifacts/{half.pk}/", f"/models/{slug}/", f"/jobs/{job.pk}/", "/quantise/texts/",
        f"/quantise/pick/{slug}/?memory_gib=8&context=2048&users=1&priority=size", f"/quantise/artifacts/{made.pk}/",
        "/help/quantisation/",
    ]  # fmt: skip
    for page in pages:
        assert faults(browser.get(page).content.decode()) == [], page


def test_the_best_of_their_size_are_told_by_the_files_own_sizes(half, host, ada):  # noqa: F811
    from webapp.quantisation import comparison

    rows = (("Q4_K_M", 100, 0.04), ("Q4_0", 102, 0.09), ("Q8_0", 140, 0.001))
    made = []
    for label, size, divergence in rows:
        made.append(
            Artifact.objects.create(
                catalog_model=half.catalog_model, format="gguf", quantisation=label, main_file=label, size_bytes=size
            )
        )
        values = {"kl_divergence": divergence}
        Measurement.objects.create(artifact=made[-1], against=half, host=host, values=values, text_name="x")
    assert [row.artifact.quantisation for row in comparison.table(ada, made) if row.is_best] == ["Q4_K_M", "Q8_0"]


def test_a_refusal_is_told_once_above_the_form(browser, half, host, team):  # noqa: F811
    body = typed(half, host, team, method="gptq", shown_method="gptq")
    body |= {"option-bits": 4, "option-group_size": 128, "option-samples": 8, "option-length": 128}
    reply = browser.post(f"/quantise/artifacts/{half.pk}/", body)
    assert reply.status_code == 422
    above = reply.content.decode().partition("<legend>What</legend>")[0]
    assert above.count("Groups of 128 do not divide") == 1
