"""Asking for a quantised artifact, its end, and texts: works, a teammate may, a stranger may not."""

import pytest
from django.db import connection

from webapp.accounts.models import AuditEntry
from webapp.catalog import services as catalog
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.inventory import services as inventory
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.quantisation import finishing, services, shipping
from webapp.quantisation.models import CalibrationSet, Measurement
from webapp.quantisation.provenance import provenance
from webapp.quantisation.recipes import Measure, Recipe

from .test_recipes import SMOL

pytestmark = pytest.mark.django_db
Q4 = Recipe(method="gguf", options={"type": "Q4_K_M"})
TEXT = "One paragraph of a text to calibrate on.\n\n" * 100


@pytest.fixture
def half(host, team):
    """SmolLM2's 16-bit files, present on the host; the team shares them with everybody."""
    model = CatalogModel.objects.create(name="SmolLM2", slug="smollm2", architecture="llama")
    files = [{"name": name, "size_bytes": 10, "sha256": "a" * 64} for name in ("config.json", "model.safetensors")]
    row = Artifact.objects.create(
        team=team, is_shared=True, catalog_model=model, format="safetensors",
        quantisation="BF16", main_file="config.json", files=files,
        facts=SMOL.as_json(), size_bytes=269_060_552, source={"kind": "path", "path": "/srv/x"},
    )  # fmt: skip
    ArtifactCopy.objects.create(artifact=row, host=host, state=CopyState.PRESENT)
    return row


@pytest.fixture
def job(ada, team, half, host):
    return services.queue(ada, team, half, Q4, host, measure=Measure(chunks=3))


def published(**judged):
    facts = {**SMOL.as_json(), "quantisation": "Q4_K_M", "weights_bytes": 103_668_480}
    file = {"name": "smollm2-Q4_K_M.gguf", "size": 105_454_208, "sha256": "b" * 64}
    return {
        "publish": {"files": [file], "format": "gguf", "main_file": file["name"], "facts": facts},
        "judge": {"perplexity": 21.3, "base_perplexity": 20.8, "kl_divergence": 0.04, "tool": "llama.cpp", **judged},
        "speed": {"speed": [{"streams": 1, "prompt_per_s": 400, "decode_per_s": 100}], "load_s": 0.8},
    }


def end(job, result):
    """What the worker does when the last step has ended well."""
    Job.objects.filter(pk=job.pk).update(
        state="running", params={**job.params, "artifact_id": catalog.reserve_artifact_id(job.artifact.catalog_model)}
    )
    job.refresh_from_db()
    assert jobs.move(job, JobState.RUNNING, JobState.SUCCEEDED, result=result)
    finishing.finish(job, result)
    return Artifact.objects.get(parent=job.artifact)


def test_a_request_becomes_a_job_with_its_whole_plan(job, half, sent_tasks):
    assert (job.kind, job.state, job.artifact) == ("quantise", "queued", half)
    assert job.params["steps"][0] == "prepare" and job.params["steps"][-1] == "publish"
    assert job.params["recipe"]["options"]["type"] == "Q4_K_M" and job.params["recipe"]["options"]["imatrix"] is True
    assert job.params["calibration"]["name"] == shipping.CALIBRATION
    assert AuditEntry.objects.filter(verb="artifact.quantise").exists()


def test_the_same_request_twice_is_one_job_and_another_recipe_another(job, ada, team, half, host):
    assert services.queue(ada, team, half, Q4, host, measure=Measure(chunks=3)).pk == job.pk
    assert services.queue(ada, team, half, Recipe(options={"type": "Q8_0"}), host).pk != job.pk


def test_a_teammate_may_and_a_stranger_may_not(bob, eve, team, half, host):
    assert services.queue(bob, team, half, Q4, host)
    with pytest.raises(NotAllowed):
        services.queue(eve, team, half, Q4, host)


def test_a_refusal_names_its_field_and_queues_nothing(ada, team, half, host):
    with pytest.raises(Invalid) as refused:
        services.queue(ada, team, half, Recipe(method="gptq"), host)
    assert "group_size" in refused.value.fields and "Choose 64" in refused.value.advice
    assert not Job.objects.exists()


def test_a_host_without_the_source_is_refused(ada, team, half, host):
    half.copies.all().delete()
    with pytest.raises(Invalid, match="is not on local"):
        services.queue(ada, team, half, Q4, host)


def test_the_end_brings_artifact_copy_and_measurements_together(job, half, host):
    inventory.reserve(job.reservation_owner, host.pk, 1000)
    made = end(job, published())
    assert (made.parent, made.made_by, made.quantisation) == (half, job, "Q4_K_M")
    assert made.copies.get().state == CopyState.PRESENT and made.size_bytes == 105_454_208
    values = Measurement.objects.get(artifact=made).values
    assert values["loss_percent"] == pytest.approx(2.404, abs=0.001) and values["bits_per_weight"] == 6.165
    baseline = Measurement.objects.get(artifact=half)
    assert baseline.values["perplexity"] == 20.8 and baseline.against is None
    host.refresh_from_db()
    assert host.reserved_bytes == 0


def test_speed_that_was_not_measured_says_why(job):
    why = "The image modelyard/vllm:cpu is not on local. Run `make quantizers` on that machine."
    judged = {"load_s": 0.3, "peak_memory_bytes": 5}
    made = end(job, {**published(**judged), "speed": {"missing": why}})
    values = Measurement.objects.get(artifact=made).values
    assert values["speed_missing"] == why and values["perplexity"] == 21.3
    assert not {"speed", "load_s", "peak_memory_bytes"} & set(values), "those of the judging program are no engine's"


def test_who_measured_what_is_written_down(job, half):
    made = end(job, {**published(), "speed": {"speed": [], "load_s": 30.5, "tool": "vllm 0.32.0"}})
    row = Measurement.objects.get(artifact=made)
    assert (row.tool, row.values["load_s"]) == ("llama.cpp, vllm 0.32.0", 30.5)
    assert Measurement.objects.get(artifact=half).tool == "llama.cpp"


def test_a_reserved_id_is_given_to_nobody_else(half):
    reserved = catalog.reserve_artifact_id(half.catalog_model)
    other = Artifact.objects.create(catalog_model=half.catalog_model, format="gguf", main_file="x")
    assert other.pk != reserved and Artifact.objects.count() == 2
    catalog.add_made(Artifact(pk=reserved, catalog_model=half.catalog_model, format="gguf", main_file="y"),
                     half.copies.get().host)  # fmt: skip
    third = Artifact.objects.create(catalog_model=half.catalog_model, format="gguf", main_file="z")
    assert third.pk not in (reserved, other.pk)
    assert connection.vendor in ("sqlite", "postgresql")


def test_another_try_goes_on_where_the_files_are_kept_and_else_begins_anew(job, ada):
    for kept, phase in ((True, 3), (False, 0)):
        result = {"work_kept": kept, "convert": {"seconds": 9}}
        Job.objects.filter(pk=job.pk).update(state="failed", phase=3, result=result)
        job.refresh_from_db()
        jobs.retry(ada, job)
        job.refresh_from_db()
        assert (job.state, job.phase, bool(job.result)) == ("queued", phase, kept)


def test_a_source_in_use_is_not_deleted(job, ada, team, half):
    from webapp.jobs import deleting

    with pytest.raises(Conflict, match="quantise job"):
        deleting.delete_artifact(ada, team, half)


def test_make_again_repeats_recipe_and_texts(job, ada, team, half, host):
    made = end(job, published())
    second = services.again(ada, team, made, host)
    kept = ("recipe", "calibration", "judging", "measure", "steps", "file")
    assert {name: second.params[name] for name in kept} == {name: job.params[name] for name in kept}
    with pytest.raises(Conflict, match="not made here"):
        services.again(ada, team, half, host)


def test_the_provenance_tells_the_whole_story_without_strangers_deployments(job, ada, eve):
    made = end(job, published())
    said = provenance(made, ada)
    assert said["made"]["parent"]["files"] and said["made"]["tools"] == ["llama.cpp"]
    assert said["measurements"][0]["values"]["kl_divergence"] == 0.04 and said["hosts"] == ["local"]
    assert provenance(made, eve)["deployments"] == []


def test_a_text_is_the_teams_and_its_names_are_its_own(ada, eve, team):
    row = services.add_text(ada, team, "ours", TEXT, "CC0")
    assert row.sha256 == shipping.digest(TEXT)
    with pytest.raises(Conflict):
        services.add_text(ada, team, "ours", TEXT)
    assert not CalibrationSet.objects.visible_to(eve).exists()
    with pytest.raises(NotAllowed):
        services.delete_text(eve, row)
    with pytest.raises(NotAllowed):
        services.add_text(ada, None, "for all", TEXT)


@pytest.mark.parametrize("text", ["short", "x" * (4 * 1024**2 + 1), TEXT + "\0", TEXT + "\ud800"])
def test_a_text_that_is_no_use_is_refused(ada, team, text):
    with pytest.raises(Invalid):
        services.add_text(ada, team, "x", text)


def test_the_texts_that_ship_are_used_as_they_are():
    for name in shipping.SHIPPED:
        row = services.shipped(name)
        assert row.text == shipping.SHIPPED[name].read_text() and row.team is None
        assert services.shipped(name).pk == row.pk


def test_what_was_made_here_cannot_be_fetched_and_says_so(job, ada, team, host):
    from webapp.jobs import fetching

    made = end(job, published())
    with pytest.raises(Conflict, match="quantise it there"):
        fetching.to_host(ada, team, made, host)
