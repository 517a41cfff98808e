"""The base line: a source is timed once for host, engine and text, and stands first where its results are shown."""

import pytest

from webapp.catalog.models import Artifact
from webapp.inventory import services as inventory
from webapp.jobs.decide import Create
from webapp.jobs.models import Job
from webapp.quantisation import comparison, measuring, services
from webapp.quantisation.models import Measurement
from webapp.quantisation.recipes import Measure, Recipe

from .test_services import Q4, TEXT, end, half, job, published  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db

TIMED = {"speed": [{"streams": 1, "prompt_per_s": 300, "decode_per_s": 50}], "load_s": 1.5, "peak_memory_bytes": 7}
LLAMACPP = {**published(), "baseline": TIMED}
VLLM = {
    **published(tool=""),
    "speed": {**TIMED, "tool": "vllm 0.32.0"},
    "baseline": {**TIMED, "tool": "vllm 0.32.0", "load_s": 30},
}


def another(job, result, **columns):  # noqa: F811
    """The same request once more, at the step before the base line."""
    params = {**job.params, **columns.pop("params", {})}
    before = {name: said for name, said in result.items() if name not in ("baseline", "publish")}
    host = columns.pop("host", job.host)
    return Job.objects.create(
        kind="quantise", team=job.team, artifact=job.artifact, host=host, params=params, result=before, **columns
    )


def test_the_source_is_timed_beside_its_first_result(job, half):  # noqa: F811
    assert measuring.why_no_baseline(another(job, LLAMACPP)) == ""
    end(job, LLAMACPP)
    row = Measurement.objects.get(artifact=half)
    assert (row.against, row.tool, row.host) == (None, "llama.cpp", job.host)
    assert {name: row.values[name] for name in TIMED} == TIMED and row.values["perplexity"] == 20.8
    assert row.values["size_bytes"] == half.size_bytes and row.values["bits_per_weight"] == 16


def test_it_is_not_timed_again_on_the_same_host_by_the_same_engine_with_the_same_text(job, ada, team):  # noqa: F811
    end(job, LLAMACPP)
    assert measuring.why_no_baseline(another(job, LLAMACPP)).startswith("It was measured before, on ")
    attic = inventory.register_host(None, "attic", "unix:///run/attic.sock")
    text = services.add_text(ada, team, "ours", TEXT).reference
    for fresh in (
        another(job, LLAMACPP, host=attic),
        another(job, VLLM),
        another(job, published(tool="llama.cpp 2")),
        another(job, LLAMACPP, params={"judging": text}),
    ):
        assert measuring.why_no_baseline(fresh) == ""


def test_what_was_timed_as_a_result_is_not_timed_again_as_a_source(job):  # noqa: F811
    made = end(job, LLAMACPP)
    child = another(job, LLAMACPP)
    child.artifact = made
    assert measuring.why_no_baseline(child)


def test_without_a_timed_result_there_is_nothing_to_compare(job):  # noqa: F811
    why = measuring.why_no_baseline(another(job, {**published(), "speed": {"missing": "no image"}}))
    assert why == "The result was not timed, so there is nothing to compare."


def test_a_step_that_is_known_has_no_container(job, sent_tasks):  # noqa: F811
    from workers.controllers.job import act as work

    end(job, LLAMACPP)
    steps = job.params["steps"]
    second = another(job, LLAMACPP, state="running", phase=steps.index("baseline"))
    work._create(object(), second, Create())  # type: ignore[arg-type]  whatever it asked of the engine would raise
    second.refresh_from_db()
    assert steps[second.phase] == "publish" and second.container_id == ""
    rows = {row["name"]: row for row in second.plan}
    assert rows["baseline"]["state"] == "skipped" and "measured before" in rows["baseline"]["why"]


@pytest.mark.parametrize("said", [LLAMACPP, VLLM], ids=("llama.cpp", "vllm"))
def test_a_second_result_adds_nothing_to_what_is_known_of_the_source(job, half, said):  # noqa: F811
    end(job, said)
    Artifact.objects.filter(parent=half).update(parent=None)
    end(another(job, said, state="queued"), {**said, "baseline": {"missing": "It was measured before."}})
    row = Measurement.objects.get(artifact=half)
    assert row.values["load_s"] == said["baseline"]["load_s"]


def test_a_base_line_that_cannot_be_timed_says_why_and_the_result_stays(job, half):  # noqa: F811
    made = end(job, {**published(), "baseline": {"missing": "It was OOM-killed: it exceeded its memory limit."}})
    assert Measurement.objects.get(artifact=made).values["speed"]
    assert Measurement.objects.get(artifact=half).values["speed_missing"].startswith("It was OOM-killed")


def test_the_source_is_the_first_row_once_for_each_engine(job, half, client, ada, team, host):  # noqa: F811
    end(job, LLAMACPP)
    awq = services.queue(ada, team, half, Recipe(method="awq", options={"group_size": 64}), host, None, Measure())
    Artifact.objects.filter(parent=half).update(parent=None)
    end(awq, VLLM)
    # Newer, but nobody timed it.
    Measurement.objects.create(artifact=half, host=host, values={"perplexity": 20.9}, tool="llama.cpp")
    rows = comparison.table(ada, list(Artifact.objects.all()))
    assert [(row.artifact, row.engine) for row in rows[:2]] == [(half, "llama.cpp"), (half, "vLLM")]
    assert {(row.engine, row.speed_1) for row in rows[2:]} == {("", 100), ("", 50)} and rows[0].speed_1 == 50
    assert [row.is_as_served for row in rows] == [False, True, True, True]
    client.force_login(ada)
    text = client.get("/models/smollm2/").content.decode()
    assert (
        text.index("the source in llama.cpp")
        < text.index("the source in vLLM")
        < text.index('<div class="text-secondary">Pareto-optimal')
    )
    points = comparison.plot(rows)
    assert [(point.label, point.speed) for point in points].count(("BF16", 50)) == 1 and len(points) == 3


def test_a_result_that_became_a_source_is_still_judged_as_a_result(job, ada, host):  # noqa: F811
    made = end(job, LLAMACPP)
    Measurement.objects.create(artifact=made, host=host, values={"perplexity": 21.3, **TIMED}, tool="llama.cpp")
    row = next(row for row in comparison.table(ada, list(Artifact.objects.all())) if row.artifact == made)
    assert row.engine == "" and row.values["kl_divergence"] == 0.04


def test_the_recipe_reserves_memory_for_the_source_in_vllm(half):  # noqa: F811
    from webapp.planner.facts import ModelFacts
    from webapp.quantisation import sizing

    needs = sizing.needs(ModelFacts.from_json(half.facts), "safetensors", Recipe(method="int8"), Measure())
    assert needs.memory_bytes >= sizing.VLLM_BYTES + 2 * half.facts["weights_bytes"]
    assert Q4.wants_text
