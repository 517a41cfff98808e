"""Quantising for vLLM on a host whose processors vLLM cannot serve the result on: made and judged, and told why not
timed. The tools' own needs are refusals."""

import html

import pytest

from tests.deployments.test_processors import give
from tests.engines.processors import AVX2, AVX512, OLD_X86, UNKNOWN
from webapp.foundation.errors import Invalid
from webapp.jobs.decide import Create
from webapp.jobs.models import Job
from webapp.quantisation import services
from webapp.quantisation.models import Measurement
from webapp.quantisation.recipes import Measure, Recipe

from .test_quantisation_views import browser, program, typed  # noqa: F401  fixtures
from .test_services import end, half, published  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db
AWQ = Recipe(method="awq", options={"group_size": 64})
WHY = "vLLM has no kernel for AWQ with 4 bits on processors without AVX-512."
CASES = pytest.mark.parametrize(
    ("flags", "is_timed"), [(AVX2, False), (AVX512, True), (UNKNOWN, True)], ids=["avx2", "avx512", "unknown"]
)


@CASES
def test_the_result_is_timed_where_vllm_runs_it_and_made_everywhere(
    half,  # noqa: F811
    host,
    ada,
    team,
    flags,
    is_timed,
):
    from workers.controllers.job import act as work

    give(host, flags)
    job = services.queue(ada, team, half, AWQ, host, measure=Measure())
    steps = job.params["steps"]
    assert steps == ["prepare", "quantise", "judge", "speed", "baseline", "publish"]
    Job.objects.filter(pk=job.pk).update(state="running", phase=steps.index("speed"))
    job.refresh_from_db()
    if is_timed:
        # What it would ask of the engine next raises: there is none here.
        with pytest.raises(AttributeError):
            work._create(object(), job, Create())
        assert "speed" not in job.result
        return
    work._create(object(), job, Create())  # whatever it asked of the engine would raise
    job.refresh_from_db()
    assert steps[job.phase] == "baseline" and job.container_id == ""
    rows = {row["name"]: row for row in job.plan}
    assert rows["speed"]["state"] == "skipped" and rows["speed"]["why"].startswith(WHY)
    work._create(object(), job, Create())
    job.refresh_from_db()
    assert steps[job.phase] == "publish", "the source is not timed for nothing"
    made = end(job, {**published(tool=""), **job.result})
    values = Measurement.objects.get(artifact=made).values
    assert values["speed_missing"].startswith(WHY) and "GGUF with llama.cpp" in values["speed_missing"]
    assert values["kl_divergence"] == 0.04


@CASES
def test_form_and_api_say_beforehand_that_it_will_not_be_timed(
    browser,  # noqa: F811
    program,  # noqa: F811
    half,  # noqa: F811
    host,
    team,
    flags,
    is_timed,
):
    give(host, flags)
    body = typed(half, host, team, method="awq", shown_method="awq", **{"option-group_size": 64})
    text = html.unescape(browser.post(f"/quantise/artifacts/{half.pk}/preview/", body).content.decode())
    asked = {"artifact": half.pk, "host": host.pk, "recipe": AWQ.model_dump(), "measure": {}}
    said = program("POST", "/quantisations/preview", asked).json()
    assert said["is_possible"] and "speed" in said["steps"]
    for words in (text, " ".join(said["notes"])):
        assert (f"It is made and evaluated on {host.name}, but not timed: {WHY}" in words) is not is_timed
    untimed = program("POST", "/quantisations/preview", {**asked, "measure": {"speed": False}}).json()
    assert WHY not in " ".join(untimed["notes"]), "nobody asked for it"
    if not is_timed:
        assert said["memory_bytes"] == untimed["memory_bytes"], "memory is not reserved for what does not run"


def test_gguf_is_refused_where_its_tools_would_die_of_an_unknown_instruction(
    half,  # noqa: F811
    host,
    ada,
    team,
):
    give(host, OLD_X86)
    with pytest.raises(Invalid, match="need AVX2, BMI2, F16C, FMA, which the processors of local lack") as refusal:
        services.queue(ada, team, half, Recipe(), host)
    assert set(refusal.value.fields) == {"host"} and not Job.objects.exists()
    give(host, AVX2)
    services.queue(ada, team, half, Recipe(), host)


def test_what_vllm_says_of_a_missing_kernel_is_told_in_words(half, host, ada, team):  # noqa: F811
    """Nobody had looked at the processors, so it was tried."""
    from workers.controllers.job.quantising import Quantise

    job = services.queue(ada, team, half, AWQ, host, measure=Measure())
    job.phase = job.params["steps"].index("speed")
    said = "vLLM did not run it: AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'"
    found = Quantise().result(job, {"step": "done", "result": {"missing": said}})
    assert found is not None
    assert found["speed"]["missing"].startswith("vLLM has no kernel for this model on this processor or GPU")
    assert "a host with AVX-512" in found["speed"]["missing"]
